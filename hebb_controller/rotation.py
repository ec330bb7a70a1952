"""Rotations as unit quaternions (x, y, z, w), in plain floats, for one vector at a time.

Unit norm is assumed and never checked: any other norm gives a wrong result, not an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Quaternion = tuple[float, float, float, float]
Vector = tuple[float, float, float]

IDENTITY: Quaternion = (0.0, 0.0, 0.0, 1.0)


def quaternion(values: Sequence[float]) -> Quaternion:
    """Return four numbers, x, y, z, w, as a quaternion.

    Raises:
        ValueError: they are not four.
    """
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
    """Return the inverse rotation."""
    x, y, z, w = q
    return -x, -y, -z, w


def rotate(q: Quaternion, vector: Sequence[float]) -> Vector:
    """Return a rotated vector of three numbers, in its own unit: v + 2 q × (q × v + w v)."""
    x, y, z, w = q
    a, b, c = vector
    tx, ty, tz = y * c - z * b + w * a, z * a - x * c + w * b, x * b - y * a + w * c
    return (
        a + 2.0 * (y * tz - z * ty),
        b + 2.0 * (z * tx - x * tz),
        c + 2.0 * (x * ty - y * tx),
    )


def projected_gravity(orientation: npt.NDArray[np.float64]) -> Vector:
    """Return the unit vector of gravity in the body's frame; (0, 0, −1) when upright.

    Args:
        orientation: (4,) unit quaternion xyzw.
    """
    x, y, z, w = orientation.tolist()
    return 2.0 * (w * y - x * z), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0


def yaw(orientation: npt.NDArray[np.float64]) -> float:
    """Return the rotation about the vertical, rad, of a (4,) unit quaternion xyzw."""
    x, y, z, w = orientation.tolist()
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def wrap_angle(angle: float) -> float:
    """Return the same angle in [−pi, pi), rad."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


def from_rpy(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Return the rotation about the fixed x, then y, then z axis, rad: a URDF's ``rpy``."""
    about_x = math.sin(0.5 * roll), 0.0, 0.0, math.cos(0.5 * roll)
    about_y = 0.0, math.sin(0.5 * pitch), 0.0, math.cos(0.5 * pitch)
    about_z = 0.0, 0.0, math.sin(0.5 * yaw), math.cos(0.5 * yaw)
    return multiply(about_z, multiply(about_y, about_x))


def matrix_from_rpy(roll: float, pitch: float, yaw: float) -> tuple[Vector, Vector, Vector]:
    """Return the rows of the rotation matrix of the same rotation, angles in rad."""
    (sr, sp, sy), (cr, cp, cy) = (map(f, (roll, pitch, yaw)) for f in (math.sin, math.cos))
    return (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
