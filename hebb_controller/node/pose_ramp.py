"""The ramp from any pose to the default pose, slow enough for people beside the robot."""

from __future__ import annotations

import numpy as np

from ..controller import MOVE_RATE
from ..robot import FloatArray

DURATION = 0.5  # s, of the shortest ramp


class PoseRamp:
    """A straight line in joint space, timed by the stamps of the readings.

    Args:
        start: (n,) measured positions, rad.
        target: (n,) positions to reach, rad.
        stamp: of the reading that it starts from, ns.
        max_step: longest time that counts between two readings, s: a clock that jumps ahead must not
            move the robot there at once.
    """

    def __init__(
        self, start: FloatArray, target: FloatArray, stamp: int, *, max_step: float
    ) -> None:
        self._start, self._target = start.copy(), target
        furthest = float(np.abs(target - start).max())
        self._duration = round(max(DURATION, furthest / MOVE_RATE) * 1e9)
        self._max_step = round(max_step * 1e9)
        self._elapsed = 0
        self._stamp = stamp

    def at(self, stamp: int) -> FloatArray:
        """Return the (n,) positions, rad, at a stamp, ns."""
        self._elapsed += min(stamp - self._stamp, self._max_step)
        self._stamp = stamp
        share = min(1.0, self._elapsed / self._duration)
        return self._start + share * (self._target - self._start)

    @property
    def done(self) -> bool:
        """Whether :meth:`at` has reached the target."""
        return self._elapsed >= self._duration
