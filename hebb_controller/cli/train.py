"""``hebb train``."""

from __future__ import annotations

import importlib.metadata
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import RuleFileError
from .options import example, workers_option

if TYPE_CHECKING:
    from hebb_sim.episode import Condition

    from ..json_fields import Json
    from ..rule import Rule
    from ..train.trainer import Generation, Trainer

RULE_NAME = "rule.rule.safetensors"
CURVE_NAME = "curve.png"


@click.command(epilog=example("hebb train --preset fast --out runs/first"))
@click.option(
    "--preset", type=click.Choice(["fast"]), default="fast", show_default=True, help="The recipe."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory for the log, the checkpoint, the rule and the curve.",
)
@click.option("--generations", type=click.IntRange(min=1), help="Instead of the preset's number.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Continue the run in --out, bit for bit.")
@workers_option
def train(
    preset: str, out: Path, generations: int | None, seed: int, resume: bool, workers: int
) -> None:
    """Evolve a rule; Ctrl-C leaves a checkpoint and the rule so far."""
    from hebb_sim.episode import EpisodeRunner

    from ..train.executor import local_processes
    from ..train.trainer import Trainer
    from .presets import PRESETS

    recipe = PRESETS[preset](seed=seed, generations=generations)
    trainer = Trainer(
        recipe.spec, EpisodeRunner(recipe.spec.robot), recipe.conditions, out, resume=resume
    )
    interrupted = False
    # What ends a job politely is answered like Ctrl-C, with a checkpoint and the rule so far; a shell
    # starts a job in the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        _progress(trainer, trainer.run(local_processes(workers)))
    except KeyboardInterrupt:
        interrupted = True
    if interrupted and trainer.evolution.generation == 0:
        click.echo("Stopped in the first generation: there is nothing to keep yet.", err=True)
        sys.exit(130)
    _export(trainer, preset, out, workers)
    if interrupted:
        click.echo(f"Stopped. Continue with the same options and --resume: {out}", err=True)
        sys.exit(130)


def _progress(trainer: Trainer[Condition], generations: Iterable[Generation]) -> None:
    import tqdm

    total = trainer.spec.generations
    with tqdm.tqdm(total=total, initial=trainer.evolution.generation, unit="gen") as bar:
        started, ticks = time.monotonic(), trainer.ticks
        for generation in generations:
            rate = (generation.ticks - ticks) / (time.monotonic() - started)
            bar.set_postfix_str(f"fitness {generation.fitness:+.3f}, {rate:,.0f} steps/s")
            bar.update()


def _export(trainer: Trainer[Condition], preset: str, out: Path, workers: int) -> None:
    from ..rule_file import save_rule

    genome = trainer.spec.genome
    rule = genome.rule(trainer.evolution.mean, _provenance(trainer, preset, workers))
    path = out / RULE_NAME
    save_rule(rule, path)
    click.echo(f"Rule after {trainer.evolution.generation} generations: {path}", err=True)
    if trainer.evolution.generation >= trainer.spec.generations:
        _measure(rule, trainer, path)
    try:
        from ..plots import training_curve
    except ModuleNotFoundError:
        click.echo("No curve: pip install 'hebb_controller[plot]' draws it.", err=True)
        return
    training_curve(out, out / CURVE_NAME)
    click.echo(f"Curve: {out / CURVE_NAME}", err=True)


def _measure(rule: Rule, trainer: Trainer[Condition], path: Path) -> None:
    """Add to the file what an export adds; the rule as it is remains if that cannot be done."""
    from ..rule_file import save_rule
    from .export import with_measurements

    click.echo("Measuring static twin, golden vectors and envelope ...", err=True)
    try:
        save_rule(with_measurements(rule, trainer.spec.robot), path)
    except RuleFileError as error:
        click.echo(f"Not measured: {error}", err=True)


def _provenance(trainer: Trainer[Condition], preset: str, workers: int) -> dict[str, Json]:
    versions = ("hebb_controller", "numpy", "torch", "pybullet")
    return {
        "command": f"hebb train --preset {preset} --seed {trainer.spec.seed} "
        f"--generations {trainer.spec.generations}",
        "revision": _revision(),
        "seed": trainer.spec.seed,
        "generations": trainer.evolution.generation,
        "ticks": trainer.ticks,
        "wall_seconds": round(trainer.seconds),
        "workers": workers,
        "simulator": "pybullet",
        "versions": {name: _version(name) for name in versions},
        "python": platform.python_version(),
    }


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

    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=share_dir(),
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"
    return run.stdout.strip()
