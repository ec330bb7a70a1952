"""``hebb evaluate``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from .options import example, json_option, robot_option, rule_argument, workers_option

if TYPE_CHECKING:
    from hebb_sim.episode import Condition

    from ..record import EpisodeRecord
    from ..recording import Recording

# Kinds of damage that are tried, each on every leg in turn.
DAMAGE_KINDS = ("weak:0.3", "limp", "locked")
DAMAGE_ONSET = 5.0  # s
SPEED_SPAN = 3.0  # s before the damage, and at the end, over which speeds are compared
EPISODES_PER_TASK = 5


@click.command(epilog=example("hebb evaluate rules/a1_walk.rule.safetensors --episodes 200"))
@rule_argument
@robot_option
@click.option("--episodes", type=click.IntRange(min=1), default=100, show_default=True)
@click.option(
    "--damage-episodes",
    type=click.IntRange(min=0),
    default=40,
    show_default=True,
    help="Per kind of damage, put in force after 5 s on one leg after the other; 0 for none.",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=DAMAGE_ONSET + SPEED_SPAN),
    default=10.0,
    show_default=True,
    help="Of an episode, s.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1_000_000, show_default=True)
@click.option(
    "--plasticity-gain",
    type=click.FloatRange(min=0.0),
    default=1.0,
    show_default=True,
    help="Factor on every weight change; 0 leaves the random weights as they are.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.recording.safetensors",
    help="Write what the network saw and did in the first episode, for `hebb replay`.",
)
@workers_option
@json_option
def evaluate(
    rule: str,
    robot: str,
    episodes: int,
    damage_episodes: int,
    duration: float,
    seed: int,
    plasticity_gain: float,
    record: Path | None,
    workers: int,
    as_json: bool,
) -> None:
    """Walk a rule in simulation, whole and damaged, from new random weights every time."""
    from hebb_sim.episode import Condition

    from ..controller import controller_for
    from ..recording import LAYOUT, save_recording
    from ..robot import load_robot
    from ..rule_file import load_rule
    from ..tensor_file import check_name
    from ..train.executor import TaskRunner, local_processes

    if record is not None:
        check_name(Path(record), LAYOUT)
    spec = load_robot(robot)
    controller_for(load_rule(rule), spec)  # fails here, once, if they do not fit
    groups: dict[str, list[Condition]] = {"": [Condition(duration)] * episodes}
    onset = DAMAGE_ONSET
    for kind in DAMAGE_KINDS if damage_episodes else ():
        groups[kind] = [
            Condition(duration, damages, onset)
            for damages in _damages(kind, list(spec.legs), damage_episodes, robot)
        ]
    tasks = [
        EpisodesTask(rule, robot, plasticity_gain, tuple(part), seed + start)
        for conditions in groups.values()
        for start, part in _chunks(conditions, EPISODES_PER_TASK)
    ]
    bar = click.progressbar(length=len(tasks), label="Episodes", file=sys.stderr)
    with TaskRunner(local_processes(workers)) as runner, bar:
        parts = runner.map(run_episodes, tasks, on_result=lambda: bar.update(1))
    done = iter([record for part in parts for record in part])
    records = {kind: [next(done) for _ in group] for kind, group in groups.items()}
    report = _report(records, onset, duration)
    if record is not None:
        save_recording(_record(tasks[0]), record)
        click.echo(f"Recording of the first episode: {record}", err=True)
    click.echo(json.dumps(report, indent=2) if as_json else _table(report))


@dataclass(frozen=True)
class EpisodesTask:
    """A share of an evaluation: episodes with seeds that count up from ``first_seed``."""

    rule: str
    robot: str
    plasticity_gain: float
    conditions: tuple[Condition, ...]
    first_seed: int


def run_episodes(task: EpisodesTask) -> list[EpisodeRecord]:
    """Return the record of every episode of a task, in order."""
    from hebb_sim.episode import EpisodeRunner

    from ..controller import controller_for
    from ..robot import load_robot
    from ..rule_file import load_rule

    runner = EpisodeRunner(task.robot)
    controller = controller_for(load_rule(task.rule), load_robot(task.robot))
    controller.runtime.plasticity_gain = task.plasticity_gain
    return [
        runner(controller, condition, task.first_seed + i)
        for i, condition in enumerate(task.conditions)
    ]


def _record(task: EpisodesTask) -> Recording:
    """Return a recording of the first episode of a task, walked once more: the same bits."""
    from hebb_sim.episode import EpisodeRunner

    from ..controller import controller_for
    from ..recording import Recorder
    from ..robot import load_robot
    from ..rule_file import load_rule

    rule = load_rule(task.rule)
    controller = controller_for(rule, load_robot(task.robot))
    recorder = Recorder(controller.runtime)
    recorder.plasticity_gain = task.plasticity_gain
    controller.runtime = recorder
    EpisodeRunner(task.robot)(controller, task.conditions[0], task.first_seed)
    return recorder.recording(rule)


def _damages(kind: str, legs: Sequence[str], count: int, robot: str) -> list[tuple[object, ...]]:
    from hebb_sim.damage import parse_damages

    from ..robot import load_robot

    spec = load_robot(robot)
    return [parse_damages(f"{legs[i % len(legs)]}:{kind}", spec) for i in range(count)]


def _chunks(conditions: Sequence[Condition], size: int) -> list[tuple[int, Sequence[Condition]]]:
    return [(i, conditions[i : i + size]) for i in range(0, len(conditions), size)]


def _report(
    records: dict[str, list[EpisodeRecord]], onset: float, duration: float
) -> dict[str, object]:
    from ..train.metrics import final_heading, mean_speed, speed_between

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
        before = float(np.mean([speed_between(r, onset - SPEED_SPAN, onset) for r in group]))
        after = float(
            np.mean(
                [
                    0.0 if r.fallen else speed_between(r, duration - SPEED_SPAN, duration)
                    for r in group
                ]
            )
        )
        damage[kind] = {
            "episodes": len(group),
            "speed_before": before,
            "speed_after": after,
            "retained_speed": after / before if before > 0 else None,
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
