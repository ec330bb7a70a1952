"""ROS messages to readings, commands to ROS messages.

``joint_states`` is matched by name: any order, and joints may come spread over several messages.
``imu/data`` gives the orientation (xyzw, body into world) and the angular velocity in the body's
frame (REP 145).
"""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Imu, JointState

from ..errors import MessageError
from ..robot import RobotSpec
from ..signals import Command, Mode, SensorReading
from .values import Sample


def nanoseconds(stamp: Time) -> int:
    """Return a stamp as nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def time_message(stamp: int) -> Time:
    """Return nanoseconds as a stamp."""
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def joint_command(command: Command, robot: RobotSpec, stamp: int) -> JointState:
    """Return a command as a message: POSITION as positions, anything else as DAMP.

    DAMP is an empty ``position`` with zero ``velocity`` for every joint.

    Args:
        command: what the joint controllers shall do.
        robot: names the joints.
        stamp: of the reading that the command answers, ns.
    """
    message = JointState(name=list(robot.joint_names))
    message.header.stamp = time_message(stamp)
    if command.mode is Mode.POSITION:
        message.position = array("d", command.position.tolist())
    else:
        message.velocity = array("d", bytes(8 * robot.n_joints))
    return message


class ReadingAssembler:
    """Makes readings out of what the two topics bring.

    Args:
        robot: its joints, in the order of the vectors.
        paired: a reading is made of messages with one stamp only, and each of them is used once;
            otherwise it is made of the latest of everything, however often.
    """

    def __init__(self, robot: RobotSpec, *, paired: bool) -> None:
        n = robot.n_joints
        self._robot = robot
        self._paired = paired
        self._index = {name: i for i, name in enumerate(robot.joint_names)}
        self._names: list[str] = []
        self._order: list[tuple[int, int]] = []
        self._position = np.zeros(n)
        self._velocity = np.zeros(n)
        self._joint_stamp = [0] * n
        self._joint_received = [-np.inf] * n
        self._seen = [False] * n
        self._stamp: int | None = None
        self._imu: tuple[Imu, int, float] | None = None

    def add_joint_states(self, message: JointState, received: float) -> Sample | None:
        """Return a reading if this message completes one.

        Args:
            message: positions and velocities of some joints; others than the robot's are ignored.
            received: when it arrived, s, on the steady clock.

        Raises:
            MessageError: positions or velocities do not match the names.
        """
        names = list(message.name)
        if names != self._names:
            self._order = self._match(names)
            self._names = names
        for field in ("position", "velocity"):
            if len(getattr(message, field)) != len(names):
                raise MessageError(
                    f"joint_states: {len(names)} names, but {len(getattr(message, field))} values "
                    f"of {field}. The driver must publish one for each name."
                )
        stamp = nanoseconds(message.header.stamp)
        if self._paired and stamp != self._stamp:
            self._seen = [False] * len(self._seen)
            self._stamp = stamp
        for ours, theirs in self._order:
            self._position[ours] = message.position[theirs]
            self._velocity[ours] = message.velocity[theirs]
            self._joint_stamp[ours] = stamp
            self._joint_received[ours] = received
            self._seen[ours] = True
        return self._complete()

    def add_imu(self, message: Imu, received: float) -> Sample | None:
        """Return a reading if this message completes one.

        Raises:
            MessageError: the orientation or the angular velocity is marked as absent.
        """
        for field in ("orientation", "angular_velocity"):
            if getattr(message, f"{field}_covariance")[0] == -1.0:
                raise MessageError(
                    f"imu/data: {field} is absent ({field}_covariance[0] is -1). "
                    f"The controller needs it: configure the IMU's driver to publish it."
                )
        self._imu = (message, nanoseconds(message.header.stamp), received)
        return self._complete()

    def _match(self, names: list[str]) -> list[tuple[int, int]]:
        order = [(self._index[name], i) for i, name in enumerate(names) if name in self._index]
        if len({ours for ours, _ in order}) != len(order):
            raise MessageError("joint_states: a joint is named twice.")
        return order

    def _complete(self) -> Sample | None:
        if self._imu is None or not all(self._seen):
            return None
        imu, imu_stamp, imu_received = self._imu
        if self._paired:
            if imu_stamp != self._stamp:
                return None
            self._imu, self._seen = None, [False] * len(self._seen)
        stamp = max(imu_stamp, *self._joint_stamp)
        q, rate = imu.orientation, imu.angular_velocity
        reading = SensorReading(
            stamp=stamp * 1e-9,
            received=min(imu_received, *self._joint_received),
            joint_position=self._position.copy(),
            joint_velocity=self._velocity.copy(),
            orientation=np.array([q.x, q.y, q.z, q.w]),
            angular_velocity_base=np.array([rate.x, rate.y, rate.z]),
        )
        return Sample(reading, stamp)
