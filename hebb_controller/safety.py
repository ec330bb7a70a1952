"""What stands between the network and the motors.

Stages, in this order: finite → stale → tilt → range → rate → torque. The first three *trip*: the
command becomes the robot's safe action, and the report says why. The last three *bound* the target
positions. No argument turns a stage off. All of it is functions of arrays; time is passed in.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence

import numpy as np

from .errors import ShapeError
from .robot import FloatArray, RobotSpec
from .rotation import projected_gravity
from .signals import BOUNDS, NOTHING_ACTED, Command, Limit, LimitReport, Mode, SensorReading

BOUNDED = {
    acted: LimitReport(
        functools.reduce(operator.or_, itertools.compress(BOUNDS, acted), Limit.NONE)
    )
    for acted in itertools.product((False, True), repeat=len(BOUNDS))
}
"""Whether range, rate and torque acted -> the report; built once, since a tick is short."""

MAX_STAMP = 1e12  # s; a clock beyond 30,000 years is broken, and arithmetic on it could overflow


class Safety:
    """Checks readings and bounds commands for one robot.

    Args:
        robot: the robot, whose limits apply.
        period: time between targets, s; the rate limit is ``max_target_rate · period``.
    """

    def __init__(self, robot: RobotSpec, *, period: float) -> None:
        self._robot = robot
        self._max_step = robot.max_target_rate * period
        self._max_stretch = robot.torque / robot.kp
        self._min_gravity = math.cos(robot.safety.max_tilt)
        self._shapes = ((robot.n_joints,), (robot.n_joints,), (4,), (3,), (3,))
        self._low = np.empty(robot.n_joints)
        self._high = np.empty(robot.n_joints)

    def check(self, reading: SensorReading, now: float) -> LimitReport:
        """Report whether this reading may drive the network: finite, fresh and upright.

        Args:
            reading: what was measured.
            now: time on the clock of ``reading.received``, s.

        Raises:
            ShapeError: an array of the reading has another shape than the robot's.
        """
        self._check_shapes(reading)
        if (
            not _finite(
                reading.joint_position,
                reading.joint_velocity,
                reading.orientation,
                reading.angular_velocity_base,
                reading.velocity_command,
            )
            or not abs(reading.stamp) <= MAX_STAMP
        ):
            where = _not_finite(reading, self._robot.joint_names)
            return LimitReport(Limit.FINITE, f"a sensor value is not finite: {where}")
        norm = _norm2(reading.orientation)
        if not _is_rotation(norm):
            return LimitReport(Limit.FINITE, f"the orientation has norm² {norm:.3g}, not 1")
        age = now - reading.received
        if not -1e-9 <= age <= self._robot.safety.max_reading_age:
            return LimitReport(
                Limit.STALE,
                f"the reading is {age * 1e3:.0f} ms old "
                f"(limit {self._robot.safety.max_reading_age * 1e3:.0f} ms)",
            )
        return self.check_tilt(reading.orientation)

    def check_tilt(self, orientation: FloatArray) -> LimitReport:
        """Report whether the body is upright; a quaternion that is not a rotation cannot tell.

        Args:
            orientation: (4,) quaternion xyzw.
        """
        upright = -projected_gravity(orientation)[2]
        if upright < self._min_gravity and _is_rotation(_norm2(orientation)):
            tilt = math.acos(max(-1.0, min(1.0, upright)))
            return LimitReport(
                Limit.TILT,
                f"the body is tilted by {tilt:.2f} rad (limit {self._robot.safety.max_tilt:.2f})",
            )
        return NOTHING_ACTED

    def bound(
        self, target: FloatArray, last_position: FloatArray, joint_position: FloatArray
    ) -> tuple[FloatArray, LimitReport]:
        """Return the target within range, rate and torque, and which of the three acted.

        A target that is not finite trips and comes back as ``last_position``. The torque stage
        bounds the spring part kp·|q* − q| by the joint's torque; where that would leave the joint's
        range or exceed its rate, range and rate win (the joint controllers clip the torque as well):
        a joint that reads far away must not make the target jump there. A run that starts outside
        the range moves inwards at the rate limit.

        Args:
            target: (n,) requested positions, rad.
            last_position: (n,) positions commanded before, rad; must be finite.
            joint_position: (n,) measured positions, rad; must be finite.
        """
        if not _finite(target):
            return last_position.copy(), LimitReport(
                Limit.FINITE, "the network's output is not finite"
            )
        robot, low, high = self._robot, self._low, self._high
        ranged = np.minimum(np.maximum(target, robot.lower), robot.upper)
        np.subtract(last_position, self._max_step, out=low)
        np.add(last_position, self._max_step, out=high)
        rated = np.minimum(np.maximum(ranged, low), high)
        bounded = np.maximum(rated, joint_position - self._max_stretch)
        np.minimum(bounded, joint_position + self._max_stretch, out=bounded)
        np.maximum(bounded, low, out=bounded)
        np.minimum(bounded, high, out=bounded)
        np.maximum(bounded, np.minimum(robot.lower, last_position), out=bounded)
        np.minimum(bounded, np.maximum(robot.upper, last_position), out=bounded)
        # Comparing a dozen numbers is faster in plain lists than in arrays; all of them are finite.
        stages = [values.tolist() for values in (target, ranged, rated, bounded)]
        if stages[0] == stages[-1]:
            return bounded, NOTHING_ACTED
        acted = tuple(before != after for before, after in itertools.pairwise(stages))
        return bounded, BOUNDED[acted]

    def _check_shapes(self, reading: SensorReading) -> None:
        shapes = (
            reading.joint_position.shape,
            reading.joint_velocity.shape,
            reading.orientation.shape,
            reading.angular_velocity_base.shape,
            reading.velocity_command.shape,
        )
        if shapes != self._shapes:
            raise ShapeError(
                f"positions, velocities, orientation, angular velocity and commanded velocity of a reading "
                f"of robot '{self._robot.name}' must have shapes {self._shapes}, found {shapes}."
            )

    def safe_command(self, last_position: FloatArray, report: LimitReport) -> Command:
        """Return the command for a report that tripped.

        A tilted robot always damps; otherwise the robot's declared ``safe_action`` applies.

        Args:
            last_position: (n,) positions commanded before, rad; must be finite.
            report: why.
        """
        robot = self._robot
        if robot.safety.safe_action == "hold" and not report.acted & Limit.TILT:
            return Command(Mode.POSITION, last_position.copy(), robot.kp, robot.kd, report)
        return damp_command(robot, report)


def damp_command(robot: RobotSpec, report: LimitReport = NOTHING_ACTED) -> Command:
    """Return the command under which the robot sinks slowly: zero kp, the spec's kd."""
    zero = np.zeros(robot.n_joints)
    return Command(Mode.DAMP, zero, zero, robot.kd, report)


def _norm2(orientation: FloatArray) -> float:
    x, y, z, w = orientation.tolist()
    norm: float = x * x + y * y + z * z + w * w
    return norm


def _is_rotation(norm2: float) -> bool:
    return 0.98 <= norm2 <= 1.02


def _not_finite(reading: SensorReading, joints: Sequence[str]) -> str:
    """Return which of a reading's values is not finite."""
    for name in ("joint_position", "joint_velocity"):
        for joint, value in zip(joints, getattr(reading, name).tolist(), strict=True):
            if not math.isfinite(value):
                return f"{name} of {joint}"
    for name in ("orientation", "angular_velocity_base", "velocity_command"):
        if not _finite(getattr(reading, name)):
            return name
    return "the stamp, or one too large to calculate with"


def _finite(*arrays: FloatArray) -> bool:
    # NaN and inf survive a sum; finite values whose sum overflows are not sensor values either.
    total = 0.0
    for array in arrays:
        total += sum(array.tolist())
    return math.isfinite(total)
