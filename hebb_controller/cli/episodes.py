"""What ``hebb evaluate`` does without scenarios: walks one controller, whole and damaged."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import HebbError
from ..train.executor import TaskRunner, local_processes
from ..train.suite import Source

if TYPE_CHECKING:
    from hebb_sim.episode import Condition

    from ..record import EpisodeRecord
    from ..recording import Labels, Recording

# Kinds of damage that are tried, each on every leg in turn.
DAMAGE_KINDS = ("weak:0.3", "limp", "locked")
DAMAGE_ONSET = 5.0  # s
EPISODES_PER_TASK = 5


def walk_episodes(
    source: Source,
    *,
    episodes: int,
    damage_episodes: int,
    duration: float,
    seed: int,
    record: Path | None,
    workers: int,
) -> dict[str, list[EpisodeRecord]]:
    """Return the records of undamaged episodes under ``""``, and under each kind of damage its own.

    Args:
        source: of the controller.
        episodes: undamaged ones.
        damage_episodes: per kind of damage, on one leg after the other; 0 for none.
        duration: of an episode, s.
        seed: of the first episode of each group.
        record: where to write what the network saw and did in the first episode, or None.
        workers: processes.

    Raises:
        HebbError: the controller cannot be used, or the recording not be written.
    """
    from hebb_sim.episode import Condition

    if record is not None:
        from ..mcap_file import check_name

        check_name(Path(record))
        if not source.is_rule:
            raise HebbError(f"{source.text}: only what a rule file does can be recorded.")
    source()  # fails here, once, if it does not fit
    groups: dict[str, list[Condition]] = {"": [Condition(duration)] * episodes}
    for kind in DAMAGE_KINDS if damage_episodes else ():
        groups[kind] = [
            Condition(duration, damages, DAMAGE_ONSET)
            for damages in _damages(kind, source.robot, damage_episodes)
        ]
    tasks = [
        EpisodesTask(source.text, source.robot, source.plasticity_gain, tuple(part), seed + start)
        for conditions in groups.values()
        for start, part in _chunks(conditions, EPISODES_PER_TASK)
    ]
    bar = click.progressbar(length=len(tasks), label="Episodes", file=sys.stderr)
    with TaskRunner(local_processes(workers)) as runner, bar:
        parts = runner.map(run_episodes, tasks, on_result=lambda: bar.update(1))
    done = iter([record for part in parts for record in part])
    records = {kind: [next(done) for _ in group] for kind, group in groups.items()}
    if record is not None:
        from ..mcap_file import write_recording

        write_recording(*record_first(tasks[0]), Path(record))
        click.echo(f"Recording of the first episode: {record}", err=True)
    return records


@dataclass(frozen=True)
class EpisodesTask:
    """A share of an evaluation: episodes with seeds that count up from ``first_seed``."""

    controller: str
    robot: str
    plasticity_gain: float
    conditions: tuple[Condition, ...]
    first_seed: int

    @property
    def source(self) -> Source:
        """Where the controller comes from."""
        return Source(self.controller, self.robot, self.plasticity_gain)


def run_episodes(task: EpisodesTask) -> list[EpisodeRecord]:
    """Return the record of every episode of a task, in order."""
    from hebb_sim.episode import EpisodeRunner

    runner = EpisodeRunner(task.robot)
    controller = task.source()
    return [
        runner(controller, condition, task.first_seed + i)
        for i, condition in enumerate(task.conditions)
    ]


def record_first(task: EpisodesTask) -> tuple[Recording, Labels]:
    """Return a recording of the first episode of a task, walked once more: the same bits; its labels."""
    from hebb_sim.episode import EpisodeRunner

    from ..recording import Recorder, labels_of
    from ..rule_file import load_rule

    rule = load_rule(task.controller)
    controller = task.source()
    recorder = Recorder(controller.runtime, rule)
    recorder.plasticity_gain = task.plasticity_gain
    controller.runtime = recorder
    EpisodeRunner(task.robot)(controller, task.conditions[0], task.first_seed)
    return recorder.recording(), labels_of(rule, "numpy")


def _damages(kind: str, robot: str, count: int) -> list[tuple[object, ...]]:
    from hebb_sim.damage import parse_damages

    from ..robot import load_robot

    spec = load_robot(robot)
    legs = list(spec.legs)
    if not legs:
        raise HebbError(
            f"robot '{robot}' has no legs to damage. Add --damage-episodes 0, or state its legs."
        )
    return [parse_damages(f"{legs[i % len(legs)]}:{kind}", spec) for i in range(count)]


def _chunks(conditions: Sequence[Condition], size: int) -> list[tuple[int, Sequence[Condition]]]:
    return [(i, conditions[i : i + size]) for i in range(0, len(conditions), size)]
