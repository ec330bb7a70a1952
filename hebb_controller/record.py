"""What happened in an episode: the record that every measure is a function of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .robot import FloatArray


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode, a row per tick, taken after that tick's command was carried out.

    Attributes:
        period: time between rows, s.
        duration: planned length of the episode, s; a fall ends it earlier.
        position: (T, 3) base position since the start, m, x along the heading to keep.
        heading: (T,) yaw relative to the heading to keep, rad, unwrapped.
        power: (T,) mechanical power, sum of |torque · velocity| over the motors, W, in the last
            physics step of a tick; with the shipped rules, 11 to 47 % below the mean of a tick's four.
        damaged: (T,) whether damage was in force.
        beyond_limits: (T,) largest amount by which a joint was outside its limits, rad.
        fallen: whether the episode ended in a fall.
    """

    period: float
    duration: float
    position: FloatArray
    heading: FloatArray
    power: FloatArray
    damaged: npt.NDArray[np.bool_]
    beyond_limits: FloatArray
    fallen: bool

    @property
    def ticks(self) -> int:
        """Number of ticks run."""
        return len(self.heading)

    @property
    def planned_ticks(self) -> int:
        """Number of ticks planned."""
        return round(self.duration / self.period)
