"""``hebb train``."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import RuleFileError, TrainingError
from .options import example, workers_option
from .say import say

if TYPE_CHECKING:
    from hebb_sim.condition import Condition

    from ..json_fields import Json
    from ..plasticity import Array
    from ..robot import RobotSpec
    from ..rule import Rule
    from ..train.trainer import Generation, Trainer, TrainingSpec

RULE_NAME = "rule.rule.safetensors"
BASELINE_NAME = "{}.baseline.safetensors"
CURVE_NAME = "curve.png"
SCALARS_NAME = "tensorboard"

NETWORK_NAMES = ("hebbian", "per-neuron", "static", "stacked", "gru")  # as in networks.NETWORKS


@click.command(epilog=example("hebb train --preset fast --out runs/first"))
@click.option(
    "--preset",
    type=click.Choice(["fast", "robust", "ant", "paper"]),
    default="fast",
    show_default=True,
    help="The recipe. fast: walks in half an hour. robust: keeps walking with a limp leg (hours of "
    "training). ant: the published bodies, in minutes. paper: as published, in 240 million ticks.",
)
@click.option(
    "--network",
    type=click.Choice(NETWORK_NAMES),
    default="hebbian",
    show_default=True,
    help="What is evolved: the preset's rule, or another network in its place.",
)
@click.option(
    "--robot",
    metavar="NAME|FILE",
    help="Robot spec to use instead of the preset's: a quadruped, with presets fast and robust.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory for the log, the checkpoint, the rule and the curve.",
)
@click.option(
    "--start",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Start from this rule, with sigma and step at the preset's minimum. A static rule may also "
    "start networks per-neuron and stacked.",
)
@click.option(
    "--generations", type=click.IntRange(min=1), help="Number to run instead of the preset's."
)
@click.option(
    "--ticks",
    type=click.IntRange(min=1),
    help="Control ticks after which no new generation starts, instead of the preset's.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Continue the run in --out, bit for bit.")
@click.option("--tensorboard", is_flag=True, help=f"Also write scalars to OUT/{SCALARS_NAME}.")
@click.option(
    "--cluster",
    default="local",
    show_default=True,
    metavar="local|auto|ray:ADDRESS",
    help="Where episodes run: local processes, this machine's Ray cluster, or another one.",
)
@workers_option
def train(
    preset: str,
    network: str,
    robot: str | None,
    out: Path,
    start: Path | None,
    generations: int | None,
    ticks: int | None,
    seed: int,
    resume: bool,
    tensorboard: bool,
    cluster: str,
    workers: int,
) -> None:
    """Evolve a rule; Ctrl-C leaves a checkpoint and the rule so far."""
    from hebb_sim.episode import EpisodeRunner

    from ..robot import load_robot
    from ..rule_file import load_rule
    from ..train.executor import executor_factory
    from ..train.scalars import with_scalars
    from ..train.trainer import Trainer
    from .networks import with_network
    from .presets import preset as preset_for

    factory = executor_factory(cluster, workers)
    recipe = with_network(preset_for(preset, seed, robot), network).until(generations, ticks)
    first = vector = None
    if start is not None:
        first = load_rule(start)
        recipe, vector = recipe.settled(), _vector(recipe.spec, first, start)
    trainer = Trainer(
        recipe.spec,
        EpisodeRunner(recipe.spec.robot),
        recipe.conditions,
        out,
        start=vector,
        robot=_digest(load_robot(recipe.spec.robot)),
        revision=_revision(),
        resume=resume,
    )
    if trainer.revisions not in {(), (_revision(),)}:
        before = ", ".join(trainer.revisions)
        say(f"The run was made with revision {before}; this is {_revision()}.")
    lines = trainer.run(factory)
    if tensorboard:
        lines = with_scalars(lines, out / SCALARS_NAME, done=trainer.evolution.generation)
    with _one_interrupt():
        interrupted = False
        try:
            _progress(trainer, lines)
        except (KeyboardInterrupt, BrokenPipeError):
            interrupted = True
        if interrupted and not trainer.rewind():
            say("Stopped in the first generation: nothing to keep yet.")
            sys.exit(130)
        provenance = _provenance(trainer, preset, network, workers)
        if robot is not None:
            provenance["command"] = f"{provenance['command']} --robot {robot}"
        if first is not None:
            provenance["command"] = f"{provenance['command']} --start {start}"
            provenance["start"] = {"sha256": first.sha256, **first.header.provenance}
        _export(trainer, provenance, out, network)
    if interrupted:
        say(f"Stopped. Continue with the same options and --resume: {out}")
        sys.exit(130)


def _digest(robot: RobotSpec) -> str:
    """Return what recognises a robot by its spec and its model, wherever their files are."""
    from hebb_sim.robot_model import model_path

    spec = replace(robot, simulation=replace(robot.simulation, model=""))
    return hashlib.sha256(repr(spec).encode() + model_path(robot).read_bytes()).hexdigest()


def _vector(spec: TrainingSpec, rule: Rule, path: Path) -> Array:
    """Return the evolved vector that stands for a rule, or for a static rule to begin as."""
    import numpy as np

    from ..train.genome import BaselineGenome, Genome

    genome = spec.genome
    try:
        if isinstance(genome, BaselineGenome) and rule.header.kind == "static":
            return genome.from_static(rule)
        if not isinstance(genome, Genome):
            raise TrainingError("only a static rule can start a --network that is no rule.")
        if rule.header.kind == "static" != genome.kind:
            return genome.from_static(rule, np.random.default_rng((spec.seed, 0)))
        return genome.vector(rule)
    except TrainingError as error:
        raise TrainingError(
            f"{path}: {error} Name the --preset and --network that made it (`hebb inspect`)."
        ) from error


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt once; later signals are answered with a request to wait.

    SIGTERM is handled like Ctrl-C, with a checkpoint and the rule so far, since a shell starts
    background jobs with SIGINT ignored.
    """

    def stop(*_: object) -> None:
        for number in kept:
            signal.signal(number, wait)
        raise KeyboardInterrupt

    def wait(*_: object) -> None:
        # Not by click: the signal may arrive in the middle of its own writing.
        with contextlib.suppress(OSError):
            os.write(2, b"\nStopping: finishing what is running, then writing the files.\n")

    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in kept:
        signal.signal(number, stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is stop:  # otherwise nothing may interrupt the exit
            for number, handler in kept.items():
                signal.signal(number, handler)


def _progress(trainer: Trainer[Condition], generations: Iterable[Generation]) -> None:
    import tqdm

    spec = trainer.spec
    by_ticks = spec.ticks is not None
    with tqdm.tqdm(
        total=spec.ticks if by_ticks else spec.generations,
        initial=trainer.ticks if by_ticks else trainer.evolution.generation,
        unit="tick" if by_ticks else "gen",
        unit_scale=by_ticks,
    ) as bar:
        started, ticks = time.monotonic(), trainer.ticks
        for line in generations:
            rate = (line.ticks - ticks) / (time.monotonic() - started)
            bar.set_postfix_str(f"fitness {line.fitness:+.3f}, {rate:,.0f} steps/s")
            bar.update((line.ticks if by_ticks else line.generation) - bar.n)


def _export(
    trainer: Trainer[Condition], provenance: dict[str, Json], out: Path, network: str
) -> None:
    from ..rule_file import save_rule
    from ..train.baseline_file import save_baseline
    from ..train.genome import BaselineGenome, Genome

    genome, done = trainer.spec.genome, trainer.evolution.generation
    vector = trainer.evolution.result
    if isinstance(genome, BaselineGenome):
        path = out / BASELINE_NAME.format(network)
        save_baseline(genome.baseline(vector, provenance), path)
        say(f"Network after {done} generations: {path}")
    elif isinstance(genome, Genome):
        path = out / RULE_NAME
        rule = genome.rule(vector, provenance)
        if trainer.done and _stands(rule, path):
            say(f"Rule after {done} generations, unchanged: {path}")
        else:
            save_rule(rule, path)
            say(f"Rule after {done} generations: {path}")
            if trainer.done and rule.header.kind != "static":
                _measure(rule, trainer, path)
    try:
        from ..plots.training import training_curve
    except ModuleNotFoundError:
        say("No curve: drawing it needs the extra plot.")
        return
    try:
        training_curve(out, out / CURVE_NAME)
    except OSError as error:
        say(f"No curve: {error.filename or out / CURVE_NAME}: {error.strerror}.")
        return
    except (ValueError, KeyError) as error:
        say(f"No curve: {out}: its log cannot be read: {error}.")
        return
    say(f"Curve: {out / CURVE_NAME}")


def _stands(rule: Rule, path: Path) -> bool:
    """Return whether a file holds this rule, measured if possible, and so its provenance, too."""
    from ..rule_file import load_rule

    try:
        old = load_rule(path)
    except RuleFileError:
        return False
    ours, theirs = (
        [(name, t.tobytes()) for group in (*r.neurons, *r.layers) for name, t in group.items()]
        for r in (rule, old)
    )
    return (old.golden is not None or rule.header.kind == "static") and ours == theirs


def _measure(rule: Rule, trainer: Trainer[Condition], path: Path) -> None:
    """Add to the file what an export adds; if that fails, the rule stays as it is."""
    from ..rule_file import save_rule
    from .export import with_measurements

    say("Measuring static twin, golden vectors and envelope ...")
    try:
        save_rule(with_measurements(rule, trainer.spec.robot), path)
    except RuleFileError as error:
        say(f"Not measured: {error}")
    except KeyboardInterrupt:
        say("Not measured: stopped. Fix: the same command with --resume.")
        sys.exit(130)


def _provenance(
    trainer: Trainer[Condition], preset: str, network: str, workers: int
) -> dict[str, Json]:
    versions = ("hebb_controller", "numpy", "torch", "pybullet")
    return {
        "command": f"hebb train --preset {preset} --seed {trainer.spec.seed} "
        f"{_end(trainer.spec)} --network {network}",
        "network": network,
        "revision": trainer.revisions[-1] if trainer.revisions else _revision(),
        **({"revisions": list(trainer.revisions)} if trainer.revisions[1:] else {}),
        "seed": trainer.spec.seed,
        "generations": trainer.evolution.generation,
        "ticks": trainer.ticks,
        "wall_seconds": round(trainer.seconds),
        "workers": workers,
        "simulator": "pybullet",
        "versions": {name: _version(name) for name in versions},
        "python": platform.python_version(),
    }


def _end(spec: TrainingSpec) -> str:
    ends = {"--generations": spec.generations, "--ticks": spec.ticks}
    return " ".join(f"{option} {end}" for option, end in ends.items() if end is not None)


def _version(name: str) -> str:
    names = (name, "pybullet-arm64") if name == "pybullet" else (name,)
    for candidate in names:
        try:
            return importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed as a distribution"


def _revision() -> str:
    from ..share import share_dir

    top = share_dir()
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=top,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"
    # An installation may be inside the checkout of something else.
    return run.stdout.strip() if (top / "setup.py").is_file() else "not a checkout"
