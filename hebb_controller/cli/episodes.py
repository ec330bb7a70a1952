"""What ``hebb evaluate`` does without scenarios: walk one controller, undamaged and damaged."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import HebbError
from ..train.executor import TaskRunner
from ..train.source import Source, blaming
from ..train.suite import EPISODES_PER_SHARE, Share, Trial, run_share, shares
from .until_stopped import until_stopped

if TYPE_CHECKING:
    from hebb_sim.condition import Condition
    from hebb_sim.damage import Damage

    from ..record import EpisodeRecord
    from ..recording import Labels, Recording

# Kinds of damage that are tried, each on every leg in turn.
DAMAGE_KINDS = ("weak:0.3", "limp", "locked")
DAMAGE_ONSET = 5.0  # s


def walk_episodes(
    source: Source,
    *,
    episodes: int,
    damage_episodes: int,
    duration: float,
    seed: int,
    workers: int,
) -> tuple[dict[str, list[EpisodeRecord]], BaseException | None]:
    """Return the records of undamaged episodes under ``""``, of damaged ones under their kind.

    Also returns Ctrl-C or the error that came before the end, after which there are only the records of
    episodes that were finished.

    Args:
        source: source of the controller.
        episodes: number of undamaged episodes.
        damage_episodes: number per kind of damage, on each leg in turn; 0 for none.
        duration: length of an episode, s.
        seed: seed of the first episode of each group.
        workers: worker processes.

    Raises:
        HebbError: the controller cannot be used.
    """
    from hebb_sim.condition import Condition
    from hebb_sim.episode import EpisodeRunner

    source()  # fails here, once, if it does not fit
    groups: dict[str, list[Condition]] = {"": [Condition(duration)] * episodes}
    for kind in DAMAGE_KINDS if damage_episodes else ():
        groups[kind] = [
            Condition(duration, damages, DAMAGE_ONSET)
            for damages in _damages(kind, source.robot, damage_episodes)
        ]
    runner = EpisodeRunner(source.robot)
    kinds: list[str] = []
    tasks: list[Share[Trial[Condition], Condition]] = []
    for kind, conditions in groups.items():
        trials = [
            Trial(condition, DAMAGE_ONSET, seed + i) for i, condition in enumerate(conditions)
        ]
        parts = shares([source], trials, runner, EPISODES_PER_SHARE)
        tasks += parts
        kinds += [kind] * len(parts)
    done: dict[int, list[EpisodeRecord]] = {}
    bar = click.progressbar(length=len(tasks), label="Episodes", file=sys.stderr)

    def work(pool: TaskRunner) -> None:
        with contextlib.nullcontext() if source.is_file else blaming(source.text, "in an episode"):
            pool.map(run_share, tasks, on_result=lambda: bar.update(1), results=done)

    with bar:
        stopped = until_stopped(workers, work)
    records: dict[str, list[EpisodeRecord]] = {}
    for i, share in sorted(done.items()):
        records.setdefault(kinds[i], []).extend(share)
    return records, stopped


def check_record(source: Source, path: Path) -> None:
    """Check that an episode can be recorded, before anything is run.

    Raises:
        RecordingError: the path cannot be that of a new recording.
        HebbError: the source is not a rule file.
    """
    from ..mcap_file import check_name

    check_name(path)
    if not source.is_rule:
        raise HebbError(f"{source.text}: only a rule file can be recorded.")


def write_first(source: Source, path: Path, *, duration: float, seed: int) -> None:
    """Write what the network sees and does in the first undamaged episode.

    Raises:
        RecordingError: the recording cannot be written.
    """
    from hebb_sim.condition import Condition

    from ..mcap_file import write_recording

    write_recording(*record_first(source, Condition(duration), seed), path)
    click.echo(f"Recording of the first episode: {path}", err=True)


def record_first(source: Source, condition: Condition, seed: int) -> tuple[Recording, Labels]:
    """Walk an episode again, bit for bit, and return its recording and labels.

    Raises:
        RuleFileError: the source is not a rule file, or cannot be read.
    """
    from hebb_sim.episode import EpisodeRunner

    from ..recording import Recorder, labels_of

    rule = source.rule()
    controller = source()
    recorder = Recorder(controller.runtime, rule)
    recorder.plasticity_gain = source.plasticity_gain
    controller.runtime = recorder
    EpisodeRunner(source.robot)(controller, condition, seed)
    return recorder.recording(), labels_of(rule, "numpy")


def _damages(kind: str, robot: str, count: int) -> list[tuple[Damage, ...]]:
    from hebb_sim.damage import parse_damages

    from ..robot import load_robot

    spec = load_robot(robot)
    legs = list(spec.legs)
    if not legs:
        raise HebbError(
            f"robot '{robot}' has no legs to damage. Add --damage-episodes 0, or state its legs."
        )
    return [parse_damages(f"{legs[i % len(legs)]}:{kind}", spec) for i in range(count)]
