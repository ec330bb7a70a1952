"""Measures of an episode: pure functions of an EpisodeRecord."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..record import EpisodeRecord
from ..robot import FloatArray

SPEED_WINDOW = 0.25  # s, over which speed is averaged
SPAN = 3.0  # s before the damage, and at the end, over which speeds are compared
RECOVERY_WINDOW = 1.5  # s, over which speed is averaged to judge recovery
RECOVERED = 0.7  # of the speed asked for
ABLE = 0.8  # of the speed asked for: a controller slower than this before has nothing to retain
STANDS = 0.05  # m/s; a share of a mean speed below this is not worth stating
GRID = 0.1  # s between the points of the trace around a damage
TRACE_WINDOW = 0.5  # s, over which speed is averaged for a point of the trace


@dataclass(frozen=True)
class RewardSpec:
    """Weights of a tick's reward.

    reward = min(v, target)/target − fast·max(0, v − limit) − heading·min(|heading|, 2)
             − sideways·|v_y| − power·P, with v the speed along the initial heading.

    Attributes:
        target: speed that earns 1, m/s.
        limit: speed above which ``fast`` is charged, m/s.
        fast: penalty per m/s.
        heading: penalty per rad.
        sideways: penalty per m/s.
        power: penalty per W of the record's power, which is not the mean over a tick.
        fall: one-time penalty for a fall.
    """

    target: float
    limit: float
    fast: float
    heading: float
    sideways: float
    power: float
    fall: float


def velocity(record: EpisodeRecord) -> FloatArray:
    """Return the (T, 2) base velocity along and across the initial heading, m/s.

    Each row is a mean over the preceding ``SPEED_WINDOW`` (at the start, over what there is of it).
    """
    window = max(round(SPEED_WINDOW / record.period), 1)
    path = np.vstack([np.zeros((1, 2)), record.position[:, :2]])
    ticks = np.arange(1, len(path))
    before = np.maximum(ticks - window, 0)
    speed: FloatArray = (path[ticks] - path[before]) / ((ticks - before) * record.period)[:, None]
    return speed


def fitness(record: EpisodeRecord, reward: RewardSpec) -> float:
    """Return the mean reward per planned tick; ticks lost to a fall earn nothing."""
    if record.ticks == 0:
        return -reward.fall
    speed = velocity(record)
    rewards = (
        np.minimum(speed[:, 0], reward.target) / reward.target
        - reward.fast * np.maximum(0.0, speed[:, 0] - reward.limit)
        - reward.heading * np.minimum(np.abs(record.heading), 2.0)
        - reward.sideways * np.abs(speed[:, 1])
        - reward.power * record.power
    )
    return float(rewards.sum()) / record.planned_ticks - reward.fall * record.fallen


def mean_speed(record: EpisodeRecord) -> float:
    """Return the speed along the initial heading over the planned duration, m/s."""
    return float(record.position[-1, 0]) / record.duration if record.ticks else 0.0


def speed_between(record: EpisodeRecord, start: float, stop: float) -> float:
    """Return the mean speed along the initial heading between two times, m/s.

    Time lost to a fall counts as standing still.

    Args:
        record: the episode.
        start, stop: s since the start of the episode.
    """
    path = np.concatenate([[0.0], record.position[:, 0]])
    first = min(round(start / record.period), record.ticks)
    last = min(round(stop / record.period), record.ticks)
    return float(path[last] - path[first]) / (stop - start)


def final_speed(record: EpisodeRecord, span: float = SPAN) -> float:
    """Return the mean speed over the last ``span`` s of the planned duration, m/s; 0 after a fall."""
    end = record.duration
    return 0.0 if record.fallen else speed_between(record, end - span, end)


def final_heading(record: EpisodeRecord) -> float:
    """Return |heading| at the end of the episode, rad."""
    return abs(float(record.heading[-1])) if record.ticks else 0.0


@dataclass(frozen=True)
class Outcome:
    """What the measures around a damage need from one episode.

    Attributes:
        before: v0, mean speed over the ``SPAN`` before the damage, m/s.
        after: v∞, mean speed over the last ``SPAN``, m/s; 0 after a fall.
        recovery: s from the damage until the speed stays recovered; None if it never does.
        watched: s from the damage to the last moment at which recovery would have been seen.
        fallen: whether the episode ended in a fall.
        trace: speed every ``GRID`` from ``SPAN`` before the damage, m/s; see :func:`speed_trace`.
    """

    before: float
    after: float
    recovery: float | None
    watched: float
    fallen: bool
    trace: FloatArray


def outcome(record: EpisodeRecord, onset: float, *, asked: float) -> Outcome:
    """Return the measures of one episode around a damage.

    Args:
        record: the episode.
        onset: time of the damage, s since the start; without damage, the time to compare at.
        asked: v*, the speed asked for, m/s.
    """
    return Outcome(
        before=speed_between(record, max(onset - SPAN, 0.0), onset),
        after=final_speed(record),
        recovery=recovery_time(record, onset, asked=asked),
        watched=record.duration - RECOVERY_WINDOW - onset,
        fallen=record.fallen,
        trace=speed_trace(record, onset),
    )


def recovery_time(record: EpisodeRecord, onset: float, *, asked: float) -> float | None:
    """Return the s after the damage from which every ``RECOVERY_WINDOW`` is fast enough on average.

    Each window begins at or after the damage; fast enough is ``RECOVERED`` of the speed asked for.
    A robot that never slows down recovers after 0 s; one that falls, or is too slow in the last
    window, never does: None.
    """
    if record.fallen:
        return None
    window = max(round(RECOVERY_WINDOW / record.period), 1)
    first = round(onset / record.period)
    path = np.concatenate([[0.0], record.position[:, 0]])[first:]
    speeds = (path[window:] - path[:-window]) / (window * record.period)
    slow = np.flatnonzero(~(speeds >= RECOVERED * asked - 1e-9))  # nan counts as slow
    start = int(slow[-1]) + 1 if len(slow) else 0
    return start * record.period if start < len(speeds) else None


def speed_trace(record: EpisodeRecord, onset: float) -> FloatArray:
    """Return the speed every ``GRID`` from ``SPAN`` before the damage to the planned end, m/s.

    Each is a mean over the preceding ``TRACE_WINDOW``. A fallen robot stands still; a point whose
    window begins before the episode is nan.
    """
    times = onset - SPAN + GRID * np.arange(int((record.duration - onset + SPAN) / GRID + 1e-9) + 1)
    path = np.concatenate([[0.0], record.position[:, 0]])
    stops = np.rint(times / record.period).astype(np.int64)
    starts = np.rint((times - TRACE_WINDOW) / record.period).astype(np.int64)
    rows = np.clip(np.stack([starts, stops]), 0, record.ticks)
    speed: FloatArray = (path[rows[1]] - path[rows[0]]) / TRACE_WINDOW
    speed[starts < 0] = np.nan
    return speed


def retained_speed(outcomes: Sequence[Outcome], *, asked: float) -> float | None:
    """Return mean v∞ / mean v0: a ratio of means, not a mean of ratios.

    None for a controller whose mean v0 is below ``ABLE`` of the speed asked for: it has nothing to
    retain.
    """
    if not outcomes:
        return None
    before = float(np.mean([o.before for o in outcomes]))
    after = float(np.mean([o.after for o in outcomes]))
    return after / before if before >= ABLE * asked else None


def fall_rate(outcomes: Sequence[Outcome]) -> float:
    """Return the share of episodes that ended in a fall."""
    return float(np.mean([o.fallen for o in outcomes]))
