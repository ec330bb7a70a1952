"""Whether a rate is that of a value, with the right sign and unit."""

from __future__ import annotations

import math

import numpy as np

from ..robot import FloatArray

MOVED = 0.01  # rad, standard deviation of a value from which its rate can be judged
ALIKE = 0.7  # least correlation of a value and its integrated rate
DEGREE = math.pi / 180.0


def disagreement(time: FloatArray, value: FloatArray, rate: FloatArray) -> str | None:
    """Return why ``rate`` cannot be that of ``value``, "" if it can, None if it moved too little to tell.

    Args:
        time: (n,) s.
        value: (n,) rad.
        rate: (n,) rad/s.
    """
    if len(time) < 3 or not np.isfinite((time, value, rate)).all():
        return None
    steps = 0.5 * (rate[1:] + rate[:-1]) * np.diff(time)
    integral = np.concatenate(([0.0], np.cumsum(steps)))
    x, y = integral - integral.mean(), value - value.mean()
    if float(y.std()) < MOVED:
        return None
    if not rate.any():
        return "the rate always reads 0 while the value moves"
    scale = float(np.sqrt((x @ x) * (y @ y)))
    if scale == 0.0 or abs(float(x @ y)) / scale < ALIKE:
        return "the rate does not follow the value"
    ratio = float(x @ y) / float(x @ x)  # of the value's change to what the rate says
    if ratio < 0:
        return "the rate has the opposite sign"
    for factor, unit in (
        (DEGREE, "the rate is in degrees"),
        (1 / DEGREE, "the value is in degrees"),
    ):
        if 0.7 < ratio / factor < 1.4:
            return unit
    if not 0.5 < ratio < 2.0:
        return f"the value changes {ratio:.2g} times as fast as the rate says"
    return ""


def turns(orientation: FloatArray) -> FloatArray:
    """Return how far a body has turned since the first sample, about its own axes, (n, 3) rad.

    Args:
        orientation: (n, 4) unit quaternions xyzw, body into world, with small turns in between.
    """
    a, b = orientation[:-1], orientation[1:]
    av, aw, bv, bw = a[:, :3], a[:, 3:], b[:, :3], b[:, 3:]
    vector = aw * bv - bw * av - np.cross(av, bv)  # of conj(a)·b
    sign = np.where((a * b).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    return np.concatenate((np.zeros((1, 3)), np.cumsum(2.0 * sign * vector, axis=0)))
