"""ROS messages to readings, commands to ROS messages.

``joint_states`` is matched by name: joints may come in any order, spread over the messages of several
publishers; a reading is as old as its oldest joint. ``imu/data`` gives the orientation (xyzw, its own
frame into the world) and the angular velocity in its own frame (REP 145); the robot spec says how that
is mounted. ``cmd_vel`` gives the commanded velocity.
"""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import Imu, JointState

from ..errors import MessageError
from ..robot import FloatArray, RobotSpec
from ..rotation import inverse, multiply, rotate
from ..signals import Command, Mode, SensorReading
from .values import Sample, Source
from .velocity_command import VelocityCommand

# The other way to fix a message that lacks values.
_OR = {
    "position": "",
    "velocity": ", or the robot spec state 'joint_velocity: {source: estimated, cutoff: …}', for rules "
    "trained that way",
}

LATELY = 3.0  # s for which a list of joint names counts as being published


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
        command: command for the joint controllers.
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
    """Assembles readings from the messages of the topics.

    Args:
        robot: gives the joints, in the order of the vectors.
        paired: make each reading from messages with one stamp, use each message once, and judge the age
            of ``cmd_vel`` by the stamps of the readings; otherwise make it from the latest messages,
            however often they were used, and judge that age by the steady clock.
    """

    def __init__(self, robot: RobotSpec, *, paired: bool) -> None:
        n = robot.n_joints
        self._robot = robot
        self._paired = paired
        self._index = {name: i for i, name in enumerate(robot.joint_names)}
        self._lists: dict[tuple[str, ...], float] = {}  # of joints -> when last heard, s
        self._names: list[str] = []
        self._order: list[tuple[int, int]] = []
        self._position = np.zeros(n)
        self._velocity = np.zeros(n)
        self._joint_stamp = [0] * n
        self._joint_received = [-np.inf] * n
        self._seen = [False] * n
        self._stamp: int | None = None
        self._imu: tuple[Imu, int, float] | None = None
        self._imu_received = -np.inf
        self._last_stamp = 0
        self._velocity_command = VelocityCommand()

    def add_joint_states(self, message: JointState, received: float) -> Sample | None:
        """Return a reading if this message completes one.

        Args:
            message: positions and velocities of some joints; joints that are not the robot's are ignored,
                and so are velocities where the robot spec has them estimated.
            received: when it arrived, s, on the steady clock.

        Raises:
            MessageError: positions or velocities do not match the names.
        """
        names = list(message.name)
        if names != self._names:
            self._order = self._match(names)
            self._names = names
            lately = self.names(received)
            self._lists = {known: when for known, when in self._lists.items() if known in lately}
        self._lists[tuple(names)] = received
        if not self._order:  # none of them is the robot's
            return None
        measured = self._robot.velocity_cutoff is None
        for field in ("position", "velocity") if measured else ("position",):
            if len(getattr(message, field)) != len(names):
                raise MessageError(
                    f"joint_states: {len(names)} names, but {len(getattr(message, field))} values "
                    f"of {field}. The driver must publish one for each name{_OR[field]}."
                )
        stamp = nanoseconds(message.header.stamp)
        if self._paired and stamp != self._stamp:
            self._seen = [False] * len(self._seen)
            self._stamp = stamp
        for ours, theirs in self._order:
            self._position[ours] = message.position[theirs]
            if measured:
                self._velocity[ours] = message.velocity[theirs]
            self._joint_stamp[ours] = stamp
            self._joint_received[ours] = received
            self._seen[ours] = True
        return self._complete(received)

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
        self._imu_received = received
        return self._complete(received)

    def add_velocity_command(self, message: TwistStamped, received: float) -> None:
        """Take the commanded velocity for the readings to come.

        Raises:
            MessageError: it is not finite.
        """
        self._velocity_command.take(message, self._clock(received))

    def velocity_complaint(self, now: float) -> str:
        """Return a complaint if no velocity is commanded at ``now`` (s, steady), or an empty string."""
        return self._velocity_command.complaint(self._clock(now))

    def names(self, now: float) -> set[tuple[str, ...]]:
        """Return the different lists of joints that joint_states had lately, at steady time ``now``, s."""
        return {names for names, heard in self._lists.copy().items() if now - heard < LATELY}

    def quiet(self, now: float, limit: float) -> str:
        """Return what was not heard within ``limit`` s before ``now``, or an empty string."""
        heard = zip(self._robot.joint_names, self._joint_received, strict=True)
        joints = [name for name, received in heard if now - received > limit]
        parts = []
        if joints:
            every = len(joints) == self._robot.n_joints
            parts.append("joint_states" if every else f"joint_states of {', '.join(joints)}")
        if now - self._imu_received > limit:
            parts.append("imu/data")
        return " and ".join(parts)

    def _joint_stamps(self) -> FloatArray | None:
        """Return when each joint was measured, (n,) s, for a robot whose velocities are estimated."""
        if self._robot.velocity_cutoff is None or self._paired:
            return None
        return 1e-9 * np.array(self._joint_stamp, dtype=np.float64)

    def _clock(self, now: float) -> float:
        """Return the time by which the age of ``cmd_vel`` is judged, s."""
        return self._last_stamp * 1e-9 if self._paired else now

    def _match(self, names: list[str]) -> list[tuple[int, int]]:
        order = [(self._index[name], i) for i, name in enumerate(names) if name in self._index]
        if len({ours for ours, _ in order}) != len(order):
            raise MessageError("joint_states: a joint is named twice.")
        return order

    def _complete(self, now: float) -> Sample | None:
        if self._imu is None or not all(self._seen):
            return None
        imu, imu_stamp, imu_received = self._imu
        if self._paired:
            if imu_stamp != self._stamp:
                return None
            self._imu, self._seen = None, [False] * len(self._seen)
        stamp = max(imu_stamp, *self._joint_stamp)
        if self._paired and stamp < self._last_stamp:  # its age is no longer known
            self._velocity_command = VelocityCommand()
        self._last_stamp = stamp
        q, rate = imu.orientation, imu.angular_velocity
        mounting = self._robot.imu_rotation
        reading = SensorReading(
            stamp=stamp * 1e-9,
            received=min(imu_received, *self._joint_received),
            joint_position=self._position.copy(),
            joint_velocity=self._velocity.copy(),
            orientation=np.array(multiply((q.x, q.y, q.z, q.w), inverse(mounting))),
            angular_velocity_base=np.array(rotate(mounting, (rate.x, rate.y, rate.z))),
            velocity_command=self._velocity_command.at(self._clock(now)),
            joint_stamp=self._joint_stamps(),
        )
        sources = (
            Source("joint_states", min(self._joint_stamp), min(self._joint_received)),
            Source("imu/data", imu_stamp, imu_received),
        )
        return Sample(reading, stamp, sources)
