"""What happened in an episode: the value that every measure is a function of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .robot import FloatArray


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode, a row per tick after the command of that tick was carried out.

    Attributes:
        period: time between rows, s.
        duration: length the episode was meant to have, s; a fall ends it earlier.
        position: (T, 3) base position since the start, m, x along the heading to keep.
        heading: (T,) yaw from the heading to keep, rad, unwrapped.
        power: (T,) mechanical power, sum of |torque · velocity| over the joints, W, in the last step
            of the physics in a tick: with the shipped rules 11 to 47 % below the mean of the four of a tick.
        damaged: (T,) whether a damage was in force.
        beyond_limits: (T,) largest amount by which a joint was outside its limits, rad.
        fallen: whether the episode ended by a fall.
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
        """Number of ticks that were run."""
        return len(self.heading)

    @property
    def planned_ticks(self) -> int:
        """Number of ticks that the episode was meant to have."""
        return round(self.duration / self.period)
