"""Joint velocities for a robot that measures none: filtered differences of position."""

from __future__ import annotations

import math

import numpy as np

from .robot import FloatArray

MAX_SPEED = 1e6  # rad/s, of a difference, which could overflow otherwise


class VelocityFilter:
    """A first-order low-pass over differences of position; it starts at rest.

    v ← v + (1 − exp(−2π·cutoff·Δt))·(Δq/Δt − v): the exact response of the low-pass to a velocity that
    is constant between two readings, so an uneven Δt needs no special treatment.

    Args:
        cutoff: frequency at which the low-pass has a gain of 1/√2, Hz.
    """

    def __init__(self, cutoff: float) -> None:
        self._rate = 2.0 * math.pi * cutoff
        self._before: tuple[FloatArray, FloatArray] | None = None
        self._velocity: FloatArray = np.zeros(0)

    def reset(self) -> None:
        """Forget the past: the next position is taken to be at rest."""
        self._before = None

    def update(self, position: FloatArray, stamp: float | FloatArray) -> FloatArray:
        """Return the velocity, (n,) rad/s.

        Args:
            position: (n,) rad; must be finite.
            stamp: when it was measured, s, or (n,) per joint; a stamp that is not later than the last
                changes nothing.
        """
        stamps = np.broadcast_to(stamp, position.shape)
        if self._before is None:
            self._before = position.copy(), stamps.copy()
            self._velocity = np.zeros(len(position))
            return self._velocity
        last, since = self._before
        # Stamps on the wire are whole nanoseconds: rounding gives the same difference there and here.
        step = np.maximum(np.round((stamps - since) * 1e9) * 1e-9, 0.0)
        new = step > 0.0
        with np.errstate(over="ignore"):
            speed = np.clip((position - last) / np.where(new, step, 1.0), -MAX_SPEED, MAX_SPEED)
        self._velocity = self._velocity - np.expm1(-self._rate * step) * (speed - self._velocity)
        self._before = np.where(new, position, last), np.where(new, stamps, since)
        return self._velocity
