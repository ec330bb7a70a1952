"""Rotations as unit quaternions (x, y, z, w), in plain floats: for one vector at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

Quaternion = tuple[float, float, float, float]
Vector = tuple[float, float, float]

IDENTITY: Quaternion = (0.0, 0.0, 0.0, 1.0)


def quaternion(values: Sequence[float]) -> Quaternion:
    """Return four numbers as a quaternion."""
    x, y, z, w = values
    return x, y, z, w


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Return the rotation b followed by a."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def inverse(q: Quaternion) -> Quaternion:
    """Return the rotation back."""
    x, y, z, w = q
    return -x, -y, -z, w


def rotate(q: Quaternion, vector: Sequence[float]) -> Vector:
    """Return a vector turned: v + 2 q × (q × v + w v)."""
    x, y, z, w = q
    a, b, c = vector
    tx, ty, tz = y * c - z * b + w * a, z * a - x * c + w * b, x * b - y * a + w * c
    return (
        a + 2.0 * (y * tz - z * ty),
        b + 2.0 * (z * tx - x * tz),
        c + 2.0 * (x * ty - y * tx),
    )


def from_rpy(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Return the turns about the fixed x, then y, then z axis, rad: the ``rpy`` of a URDF's origin."""
    about_x = math.sin(0.5 * roll), 0.0, 0.0, math.cos(0.5 * roll)
    about_y = 0.0, math.sin(0.5 * pitch), 0.0, math.cos(0.5 * pitch)
    about_z = 0.0, 0.0, math.sin(0.5 * yaw), math.cos(0.5 * yaw)
    return multiply(about_z, multiply(about_y, about_x))
