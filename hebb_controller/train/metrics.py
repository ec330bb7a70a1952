"""Measures of an episode: pure functions of an EpisodeRecord."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..record import EpisodeRecord
from ..robot import FloatArray

SPEED_WINDOW = 0.25  # s, over which speed is averaged


@dataclass(frozen=True)
class RewardSpec:
    """Weights of the reward of a tick.

    reward = min(v, target)/target − fast·max(0, v − limit) − heading·min(|heading|, 2)
             − sideways·|v_y| − power·P, with v the speed along the initial heading.

    Attributes:
        target: speed that earns 1, m/s.
        limit: speed above which ``fast`` charges, m/s.
        fast: charge per m/s.
        heading: charge per rad.
        sideways: charge per m/s.
        power: charge per W.
        fall: charge for a fall, once.
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

    Each row is a mean over the ``SPEED_WINDOW`` before it (over what there is, at the start).
    """
    window = max(round(SPEED_WINDOW / record.period), 1)
    path = np.vstack([np.zeros((1, 2)), record.position[:, :2]])
    ticks = np.arange(1, len(path))
    before = np.maximum(ticks - window, 0)
    speed: FloatArray = (path[ticks] - path[before]) / ((ticks - before) * record.period)[:, None]
    return speed


def fitness(record: EpisodeRecord, reward: RewardSpec) -> float:
    """Return the mean reward per planned tick; ticks lost by a fall earn nothing."""
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
    """Return the mean speed along the initial heading between two moments, m/s.

    Time lost by a fall counts as standing still.

    Args:
        record: the episode.
        start, stop: s since the start of the episode.
    """
    path = np.concatenate([[0.0], record.position[:, 0]])
    first = min(round(start / record.period), record.ticks)
    last = min(round(stop / record.period), record.ticks)
    return float(path[last] - path[first]) / (stop - start)


def final_heading(record: EpisodeRecord) -> float:
    """Return |heading| at the end of the episode, rad."""
    return abs(float(record.heading[-1])) if record.ticks else 0.0
