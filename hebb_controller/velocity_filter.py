"""Joint velocities for a robot that measures none: filtered differences of position."""

from __future__ import annotations

import math

import numpy as np

from .robot import FloatArray

MAX_SPEED = 1e6  # rad/s, of a difference: with the largest numbers it would not be finite


class VelocityFilter:
    """A first-order low-pass over differences of position; it starts at rest.

    v ← v + (1 − exp(−2π·cutoff·Δt))·(Δq/Δt − v): the exact answer of the low-pass to a velocity that is
    constant between two readings, so that an uneven Δt needs no other treatment.

    Args:
        cutoff: frequency at which the low-pass lets 1/√2 pass, Hz.
    """

    def __init__(self, cutoff: float) -> None:
        self._rate = 2.0 * math.pi * cutoff
        self._before: tuple[FloatArray, FloatArray] | None = None
        self._velocity: FloatArray = np.zeros(0)

    def reset(self) -> None:
        """Forget what was: the next position is one at rest."""
        self._before = None

    def update(self, position: FloatArray, stamp: float | FloatArray) -> FloatArray:
        """Return the velocity, (n,) rad/s.

        Args:
            position: (n,) rad; must be finite.
            stamp: when it was measured, s, or (n,) when each was; one that does not come after the last
                changes nothing.
        """
        stamps = np.broadcast_to(stamp, position.shape)
        if self._before is None:
            self._before = position.copy(), stamps.copy()
            self._velocity = np.zeros(len(position))
            return self._velocity
        last, since = self._before
        # Stamps on a wire are whole nanoseconds: the difference is the same there and here.
        step = np.maximum(np.round((stamps - since) * 1e9) * 1e-9, 0.0)
        new = step > 0.0
        with np.errstate(over="ignore"):
            speed = np.clip((position - last) / np.where(new, step, 1.0), -MAX_SPEED, MAX_SPEED)
        self._velocity = self._velocity - np.expm1(-self._rate * step) * (speed - self._velocity)
        self._before = np.where(new, position, last), np.where(new, stamps, since)
        return self._velocity
