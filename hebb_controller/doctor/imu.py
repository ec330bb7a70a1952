"""The checks of an IMU at rest in an upright body."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..robot import FloatArray
from ..rotation import Quaternion, inverse, multiply, projected_gravity, quaternion, rotate
from .agreement import MOVED, disagreement, turns
from .heard import Finding, ImuMessage, Level

UNIT = 0.02  # tolerance of the squared norm of a quaternion, as in safety
LEANING = 0.2  # rad from the vertical that calls for a warning in a robot that should be upright
AT_REST = 0.05  # rad/s, beyond a gyro's usual bias
TURNING = 0.5  # rad/s, beyond any bias
AXES = ("x", "y", "z")


def in_body(message: ImuMessage, mounting: Quaternion) -> ImuMessage:
    """Return a message in the body's frame, as the controller node has it.

    Args:
        message: in the IMU's own frame.
        mounting: rotates that frame into the body's, xyzw.
    """
    return replace(
        message,
        orientation=np.array(multiply(quaternion(message.orientation.tolist()), inverse(mounting))),
        angular_velocity=np.array(rotate(mounting, message.angular_velocity.tolist())),
        linear_acceleration=np.array(rotate(mounting, message.linear_acceleration.tolist())),
    )


def check_orientation(messages: Sequence[ImuMessage]) -> Finding | None:
    """Check that orientations are present, and unit quaternions."""
    if not messages:
        return None
    absent = {field for message in messages for field in message.absent}
    if needed := sorted(absent & {"orientation", "angular_velocity"}):
        return Finding(
            "orientation",
            Level.FAIL,
            f"imu/data marks {' and '.join(needed)} as absent (covariance[0] is -1)",
            "have the IMU fuse and publish it, or run a filter (imu_filter_madgwick)",
        )
    norms = (_quaternions(messages) ** 2).sum(axis=1)
    worst = float(norms[np.argmax(abs(norms - 1.0))]) if np.isfinite(norms).all() else math.nan
    if not abs(worst - 1.0) <= UNIT:
        return Finding(
            "orientation",
            Level.FAIL,
            f"the quaternion has norm² {worst:.3g}, not 1",
            "have the driver publish a fused, normalised orientation",
        )
    return Finding("orientation", Level.OK, "unit quaternions")


def check_gravity(messages: Sequence[ImuMessage], max_tilt: float) -> Finding | None:
    """Check that the body's z axis points up, as it should in a robot that stands or hangs upright.

    Args:
        messages: of a resting body.
        max_tilt: tilt beyond which the robot is damped, rad.
    """
    quaternions = _usable(messages)
    if quaternions is None:
        return None
    down = np.mean([projected_gravity(q) for q in quaternions], axis=0)
    tilt = math.acos(float(np.clip(-down[2], -1.0, 1.0)))
    axis = int(np.argmax(abs(down)))
    along = f"{'+' if down[axis] > 0 else '-'}{AXES[axis]}"
    said = f"tilted by {tilt:.2f} rad; gravity points along {along} of the body"
    rotate = "have the driver rotate it into the body's frame (REP 145): x forward, y left, z up"
    wxyz = np.mean([projected_gravity(np.roll(q, -1)) for q in quaternions], axis=0)
    if tilt > LEANING and -wxyz[2] > math.cos(LEANING):
        rotate += "; or its order is wxyz, in which it would be upright: have it publish xyzw"
    if tilt > max_tilt:
        return Finding("gravity", Level.FAIL, f"{said}; {max_tilt:g} rad damp the robot", rotate)
    if tilt > LEANING:
        return Finding("gravity", Level.WARN, said, f"put the robot upright, or {rotate}")
    if (apart := _apart_from_acceleration(messages, down)) > LEANING:
        return Finding(
            "gravity",
            Level.WARN,
            f"upright, but the acceleration points {apart:.2f} rad away from up",
            "check that both are in the body's frame; at rest the latter reads +9.81 upwards (REP 145)",
        )
    return Finding("gravity", Level.OK, f"upright, tilted by {tilt:.2f} rad")


def check_angular_velocity(messages: Sequence[ImuMessage]) -> Finding | None:
    """Check that the gyro reads next to nothing at rest, or the turn if the body was turned."""
    quaternions = _usable(messages)
    if quaternions is None:
        return None
    rate = np.array([message.angular_velocity for message in messages])
    if not np.isfinite(rate).all():
        return Finding("angular velocity", Level.FAIL, "it is not finite", "check the IMU's driver")
    time, turned = np.array([m.at.stamp for m in messages]), turns(quaternions)
    for axis, name in enumerate(AXES):
        if reason := disagreement(time, turned[:, axis], rate[:, axis]):
            return Finding(
                "angular velocity",
                Level.FAIL,
                f"the body was turned about its {name} axis, but {reason}",
                "have the driver publish rad/s in the body's frame, like the orientation",
            )
    if (turned.std(axis=0) > MOVED).any():
        return Finding("angular velocity", Level.OK, "agrees with the turn of the body")
    size = float(np.linalg.norm(rate.mean(axis=0)))
    said = f"{size:.3f} rad/s at rest"
    if size > AT_REST:
        level = Level.FAIL if size > TURNING else Level.WARN
        fix = "calibrate the gyro at rest; check that the driver publishes rad/s"
        return Finding("angular velocity", level, said, fix)
    return Finding("angular velocity", Level.OK, said)


def _quaternions(messages: Sequence[ImuMessage]) -> FloatArray:
    return np.array([message.orientation for message in messages])


def _usable(messages: Sequence[ImuMessage]) -> FloatArray | None:
    """Return the (n, 4) orientations, or None if they are not usable."""
    finding = check_orientation(messages)
    return None if finding is None or finding.level is Level.FAIL else _quaternions(messages)


def _apart_from_acceleration(messages: Sequence[ImuMessage], down: FloatArray) -> float:
    """Return the angle between the measured acceleration and up, rad; 0 if none is measured."""
    if any("linear_acceleration" in message.absent for message in messages):
        return 0.0
    mean = np.mean([message.linear_acceleration for message in messages], axis=0)
    size = float(np.linalg.norm(mean) * np.linalg.norm(down))
    if not math.isfinite(size) or size == 0.0:
        return 0.0
    return math.acos(float(np.clip(-(mean @ down) / size, -1.0, 1.0)))
