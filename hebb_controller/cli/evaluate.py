"""``hebb evaluate``."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import tempfile
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from click.core import ParameterSource

from ..errors import HebbError
from ..train.metrics import SPAN, STANDS, final_heading, final_speed, mean_speed, speed_between
from ..train.source import Source
from .episodes import DAMAGE_ONSET, check_record, walk_episodes, write_first
from .options import FiniteRange, example, json_option, robot_option, workers_option
from .say import say

if TYPE_CHECKING:
    from ..record import EpisodeRecord

MAX_DURATION = 3600.0  # s, as in a scenario

# Options of one mode that mean nothing in the other.
ONE_RULE = ("damage_episodes", "duration", "record")
SUITE = ("out", "speed_asked", "controls", "pictures")


@click.command(
    epilog=example(
        "hebb evaluate rules/a1_walk.rule.safetensors --episodes 200",
        "hebb evaluate rules/a1_walk.rule.safetensors --scenario limp_leg --out eval",
        "hebb evaluate plastic='runs/p*/rule.rule.safetensors' examples.own_controller:trot --suite",
    )
)
@click.argument("controllers", nargs=-1, required=True, metavar="CONTROLLER...")
@robot_option
@click.option(
    "--episodes",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Undamaged episodes; with scenarios, per scenario and controller.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="NAME|FILE.yaml",
    help="Compare all controllers in this scenario; may be given several times.",
)
@click.option("--suite", is_flag=True, help="Compare all controllers in every shipped scenario.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the scenarios' tables (JSON, Markdown) and plots.",
)
@click.option(
    "--speed-asked",
    type=FiniteRange(min=0.0, min_open=True),
    default=0.6,
    show_default=True,
    help="Requested speed v* in the scenarios' measures, m/s.",
)
@click.option(
    "--controls",
    is_flag=True,
    help="Also freeze, restore, transplant and lesion weights, and scramble coefficients.",
)
@click.option(
    "--pictures",
    is_flag=True,
    help="Also draw the first controller's weights in the first scenario, into --out.",
)
@click.option(
    "--damage-episodes",
    type=click.IntRange(min=0),
    default=40,
    show_default=True,
    help="Episodes per kind of damage, which sets in after 5 s, on each leg in turn; 0 for none.",
)
@click.option(
    "--duration",
    type=FiniteRange(min=DAMAGE_ONSET + SPAN, max=MAX_DURATION),
    default=10.0,
    show_default=True,
    help="Length of an episode, s; scenarios set their own.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1_000_000, show_default=True)
@click.option(
    "--plasticity-gain",
    type=FiniteRange(min=0.0),
    default=1.0,
    show_default=True,
    help="Factor on every weight change; 0 leaves the random weights as they are.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.mcap",
    help="Write what the network saw and did in the first episode, for `hebb replay`.",
)
@workers_option
@json_option
@click.pass_context
def evaluate(
    context: click.Context,
    controllers: tuple[str, ...],
    robot: str,
    episodes: int,
    scenarios: tuple[str, ...],
    suite: bool,
    out: Path | None,
    speed_asked: float,
    controls: bool,
    pictures: bool,
    damage_episodes: int,
    duration: float,
    seed: int,
    plasticity_gain: float,
    record: Path | None,
    workers: int,
    as_json: bool,
) -> None:
    """Walk controllers in simulation, undamaged and damaged, from new random weights every time.

    A CONTROLLER is a rule file, a baseline file, or package.module:factory with factory(robot) ->
    Controller. With scenarios there may be several, named with NAME=…; files that match a pattern
    (NAME='runs/*/rule.rule.safetensors') are training seeds of one contender.
    """
    if not suite and not scenarios:
        if len(controllers) > 1:
            raise click.UsageError("several controllers need --scenario NAME or --suite.")
        _refuse(context, SUITE, "needs --scenario NAME or --suite")
        source = Source(controllers[0], robot, plasticity_gain).pinned()
        if record is not None:
            check_record(source, record)
        records, stopped = walk_episodes(
            source,
            episodes=episodes,
            damage_episodes=damage_episodes,
            duration=duration,
            seed=seed,
            workers=workers,
        )
        if records:
            report = _report(records, DAMAGE_ONSET, duration)
            try:
                if record is not None and stopped is None:
                    write_first(source, record, duration=duration, seed=seed)
            finally:  # neither is lost with the other
                _print(json.dumps(report, indent=2) if as_json else _table(report))
        _end_early(stopped, context, kept=records)
        return
    from hebb_sim.scenario import available_scenarios

    from .suite import SuiteOptions, blaming_others, evaluate_suite, write

    _refuse(context, ONE_RULE, "cannot be combined with --scenario or --suite")
    if pictures and out is None:
        raise click.UsageError("--pictures needs --out DIR.")
    needed = ["train.statistics"]
    if out is not None:
        make_directory(out)
        needed.append("plots.evaluation")
    for module in needed:  # a missing package fails here, not after all episodes
        importlib.import_module(f"hebb_controller.{module}")
    options = SuiteOptions(
        controllers,
        tuple(dict.fromkeys([*scenarios, *(available_scenarios() if suite else ())])),
        robot=robot,
        episodes=episodes,
        seed=seed,
        asked=speed_asked,
        plasticity_gain=plasticity_gain,
        controls=controls,
        workers=workers,
    )
    evaluation = evaluate_suite(options)
    try:
        if out is not None and evaluation.cells:
            write(evaluation, out)
            if pictures and evaluation.stopped is None:
                from .pictures import draw_pictures

                first, trials = evaluation.contenders[0], next(iter(evaluation.trials.values()))
                with blaming_others(first, "while its pictures were drawn"):
                    draw_pictures(first, trials, out)
            click.echo(f"{out}/: {', '.join(sorted(p.name for p in out.iterdir()))}", err=True)
    finally:  # neither is lost with the other
        if evaluation.cells:
            _print(json.dumps(evaluation.report, indent=2) if as_json else evaluation.text)
    _end_early(evaluation.stopped, context, kept=evaluation.cells)


def _end_early(stopped: BaseException | None, context: click.Context, *, kept: Sized) -> None:
    """Say that what was printed is not all, or raise the error because of which it is not."""
    if isinstance(stopped, KeyboardInterrupt) and kept:
        say("Stopped: this is what was finished.")
        context.exit(130)
    if stopped is not None:
        raise stopped


def make_directory(path: Path) -> None:
    """Create the output directory and write to it, before anything is run.

    Raises:
        HebbError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise HebbError(f"{path}: cannot be written to: {error.strerror}.") from error


def _print(text: str) -> None:
    """Print the result.

    Raises:
        HebbError: it cannot be printed.
        BrokenPipeError: nobody reads it any more; click then exits quietly.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            sys.stdout.close()  # else Python tries again when it exits, and fails with code 120
        raise HebbError(f"standard output: cannot be written to: {error.strerror}.") from error


def _refuse(context: click.Context, names: Sequence[str], why: str) -> None:
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} {why}.")


def _report(
    records: dict[str, list[EpisodeRecord]], onset: float, duration: float
) -> dict[str, object]:
    whole = records[""]
    speeds = np.array([mean_speed(record) for record in whole])
    report: dict[str, object] = {
        "episodes": len(whole),
        "duration_s": duration,
        "speed_mean": float(speeds.mean()),
        "speed_std": float(speeds.std()),
        "heading_p90_rad": float(np.percentile([final_heading(r) for r in whole], 90)),
        "fall_rate": float(np.mean([record.fallen for record in whole])),
        "beyond_limits_max_rad": max(
            (float(r.beyond_limits.max()) for r in whole if r.ticks), default=0.0
        ),
    }
    damage = {}
    for kind, group in records.items():
        if not kind:
            continue
        before = float(np.mean([speed_between(r, onset - SPAN, onset) for r in group]))
        after = float(np.mean([final_speed(r) for r in group]))
        damage[kind] = {
            "episodes": len(group),
            "speed_before": before,
            "speed_after": after,
            "retained_speed": after / before if before >= STANDS else None,
            "fall_rate": float(np.mean([record.fallen for record in group])),
        }
    report["damage"] = damage
    return report


def _table(report: dict[str, object]) -> str:
    lines = [
        f"{report['episodes']} episodes of {report['duration_s']} s, undamaged",
        f"  speed along the initial heading  {report['speed_mean']:.3f} m/s",
        f"    standard deviation             {report['speed_std']:.3f} m/s",
        f"  |heading| at the end, p90        {report['heading_p90_rad']:.3f} rad",
        f"  fall rate                        {report['fall_rate']:.3f}",
        f"  joints beyond their limits       {report['beyond_limits_max_rad']:.4f} rad at most",
    ]
    damage = report["damage"]
    if isinstance(damage, dict) and damage:
        lines.append(
            f"{'damage':10s} {'before m/s':>10s} {'after m/s':>10s} {'retained':>9s} falls"
        )
        for kind, row in damage.items():
            kept = row["retained_speed"]
            lines.append(
                f"{kind:10s} {row['speed_before']:10.3f} {row['speed_after']:10.3f} "
                f"{'-' if kept is None else format(kept, '.2f'):>9s} {row['fall_rate']:.2f}"
            )
    return "\n".join(lines)
