"""The way from wherever a robot is to its default pose, slow enough for whoever stands beside it."""

from __future__ import annotations

import numpy as np

from ..controller import MOVE_RATE
from ..robot import FloatArray

DURATION = 0.5  # s, the shortest way


class Way:
    """A straight line in joint space, by the time line of the stamps.

    Args:
        start: (n,) where the joints are, rad.
        target: (n,) where they shall be, rad.
        stamp: of the reading that it starts with, ns.
        max_step: what counts at most of the time between two readings, s: a clock that jumps ahead must
            not bring the robot there at once.
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
        """Return the (n,) positions to be at by this stamp, ns, rad."""
        self._elapsed += min(stamp - self._stamp, self._max_step)
        self._stamp = stamp
        share = min(1.0, self._elapsed / self._duration)
        return self._start + share * (self._target - self._start)

    @property
    def done(self) -> bool:
        """Whether :meth:`at` has come to the target."""
        return self._elapsed >= self._duration
