"""The ROS side of ``doctor/``: listens to a robot's topics and, if asked to, moves its joints.

Nothing is published before :meth:`Doctor.move`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from rclpy.duration import Duration, Infinite
from rclpy.publisher import Publisher
from rclpy.qos import (
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import Imu, JointState

from ..doctor.heard import Arrival, Ends, Heard, ImuMessage, JointMessage
from ..doctor.moves import PERIOD, Moves
from ..errors import MessageError
from ..robot import RobotSpec
from ..safety import damp_command
from ..signals import Command
from .conversions import ReadingAssembler, joint_command, nanoseconds
from .graph import type_name
from .operator_client import Operator
from .qos import command_qos, sensor_qos
from .values import Sample

NAME = "hebb_doctor"
FOUND = 5.0  # s allowed for discovering publishers
HEARD_AT_ONCE = 200  # messages that may wait for this process
LOOK_AROUND = 0.5  # s between two checks of who else is there, while joints move
LAST_DAMP = 0.3  # s for which DAMP is published at the end
ACKNOWLEDGE = Duration(nanoseconds=200_000_000)


@dataclass(frozen=True)
class Topics:
    """Full names of the topics."""

    joint_states: str
    imu: str
    joint_command: str


@final
class Doctor:
    """Listens to a robot's topics; a context manager.

    Args:
        robot: the robot.
        topics: its sensor and command topics.
    """

    def __init__(self, robot: RobotSpec, topics: Topics) -> None:
        self._robot = robot
        self._topics = topics
        self._lock = threading.Lock()
        self._joints: list[JointMessage] = []
        self._imu: list[ImuMessage] = []
        self._assembler = ReadingAssembler(robot, paired=False)
        self._sample: Sample | None = None
        self._commanding = False
        self._operator = Operator(name=NAME)
        qos = QoSProfile(depth=HEARD_AT_ONCE, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._operator.watch(JointState, topics.joint_states, self._on_joints, qos)
        self._operator.watch(Imu, topics.imu, self._on_imu, qos)

    def __enter__(self) -> Doctor:
        return self

    def __exit__(self, *_: object) -> None:
        self._operator.close()

    def listen(self, seconds: float) -> Heard:
        """Return what is heard in ``seconds`` s, once both topics have been heard for the first time."""
        end = time.monotonic() + FOUND
        while time.monotonic() < end and not (self._joints and self._imu):
            time.sleep(0.05)
        with self._lock:
            self._joints.clear()
            self._imu.clear()
        begin = time.monotonic()
        time.sleep(seconds)
        ends = self.ends()
        with self._lock:
            return Heard(begin, time.monotonic(), tuple(self._joints), tuple(self._imu), ends)

    def ends(self) -> Ends:
        """Return who else publishes and subscribes to the topics now."""
        node, topics = self._operator.node, self._topics
        joints = node.get_publishers_info_by_topic(topics.joint_states)
        imu = node.get_publishers_info_by_topic(topics.imu)
        commanders = node.get_publishers_info_by_topic(topics.joint_command)
        receivers = node.get_subscriptions_info_by_topic(topics.joint_command)
        incompatible = [
            *_unfit(topics.joint_states, joints, JointState, sensor_qos()),
            *_unfit(topics.imu, imu, Imu, sensor_qos()),
            *_unfit(topics.joint_command, receivers, JointState, command_qos(), taken=True),
        ]
        return Ends(
            joint_states=_names(joints),
            imu=_names(imu),
            commanders=self._others(_names(commanders)),
            receivers=_names(receivers),
            incompatible=tuple(incompatible),
        )

    def move(self, moves: Moves, stopping: Callable[[], bool]) -> tuple[JointMessage, ...]:
        """Command moves until they are done, or until ``stopping``; the last command is DAMP.

        Returns:
            The joint messages received meanwhile.
        """
        with self._lock:
            self._joints.clear()
        node = self._operator.node
        publisher = node.create_publisher(JointState, self._topics.joint_command, command_qos())
        self._commanding = True
        try:
            self._command(moves, publisher, stopping)
        finally:
            end = time.monotonic() + LAST_DAMP
            while time.monotonic() < end:
                self._publish(publisher, damp_command(self._robot))
                time.sleep(PERIOD)
            publisher.wait_for_all_acked(ACKNOWLEDGE)
            node.destroy_publisher(publisher)
            self._commanding = False
        with self._lock:
            return tuple(self._joints)

    def _others(self, commanders: Sequence[str]) -> tuple[str, ...]:
        """Return the commanders other than this doctor; a second doctor counts."""
        others = list(commanders)
        own = self._operator.node.get_fully_qualified_name()
        if self._commanding and own in others:
            others.remove(own)
        return tuple(others)

    def _command(
        self, moves: Moves, publisher: Publisher[JointState], stopping: Callable[[], bool]
    ) -> None:
        end = time.monotonic() + FOUND
        while publisher.get_subscription_count() == 0 and time.monotonic() < end:
            time.sleep(0.05)
        deadline = looked = time.monotonic()
        while not moves.done:
            if stopping():
                moves.abort("interrupted", "")
            elif time.monotonic() - looked > LOOK_AROUND:
                looked = time.monotonic()
                self._look_around(moves)
            # In this order: a reading that arrives in between is not from the future.
            sample = self._sample
            now = time.monotonic()
            if sample is None:
                moves.abort("there is no complete reading", "see the checks above")
            else:
                self._publish(publisher, moves.step(sample.reading, now))
            deadline = max(deadline + PERIOD, now)
            time.sleep(max(0.0, deadline - time.monotonic()))

    def _look_around(self, moves: Moves) -> None:
        ends = self.ends()
        if ends.commanders:
            others = ", ".join(ends.commanders)
            moves.abort(f"joint_command is also published by {others}", "end it")
        elif not ends.receivers:
            moves.abort("nobody subscribes to joint_command any more", "check the driver")

    def _publish(self, publisher: Publisher[JointState], command: Command) -> None:
        stamp = 0 if self._sample is None else self._sample.stamp
        publisher.publish(joint_command(command, self._robot, stamp))

    def _on_joints(self, message: JointState) -> None:
        at = _arrival(nanoseconds(message.header.stamp))
        heard = JointMessage(
            at, tuple(message.name), tuple(message.position), tuple(message.velocity)
        )
        with self._lock:
            self._joints.append(heard)
        self._assemble(lambda: self._assembler.add_joint_states(message, at.received))

    def _on_imu(self, message: Imu) -> None:
        at = _arrival(nanoseconds(message.header.stamp))
        fields = ("orientation", "angular_velocity", "linear_acceleration")
        absent = [f for f in fields if getattr(message, f"{f}_covariance")[0] == -1.0]
        q, rate, force = message.orientation, message.angular_velocity, message.linear_acceleration
        heard = ImuMessage(
            at,
            np.array([q.x, q.y, q.z, q.w]),
            np.array([rate.x, rate.y, rate.z]),
            np.array([force.x, force.y, force.z]),
            tuple(absent),
        )
        with self._lock:
            self._imu.append(heard)
        self._assemble(lambda: self._assembler.add_imu(message, at.received))

    def _assemble(self, add: Callable[[], Sample | None]) -> None:
        try:
            self._sample = add() or self._sample
        except MessageError:  # the checks report it; readings go stale meanwhile
            return


def _arrival(stamp: int) -> Arrival:
    return Arrival(time.monotonic(), time.time(), stamp * 1e-9)


def _names(infos: Sequence[TopicEndpointInfo]) -> tuple[str, ...]:
    return tuple(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos)


def _unfit(
    topic: str,
    infos: Sequence[TopicEndpointInfo],
    kind: type[JointState | Imu],
    ours: QoSProfile,
    *,
    taken: bool = False,
) -> list[str]:
    """Return a sentence about each endpoint whose type or quality of service does not match ours."""
    sentences = []
    wanted = type_name(kind)
    # Discovered profiles have infinite durations where one that was never used has none.
    ours = QoSProfile(
        depth=ours.depth,
        reliability=ours.reliability,
        durability=ours.durability,
        deadline=Infinite,
        liveliness_lease_duration=Infinite,
    )
    for name, info in zip(_names(infos), infos, strict=True):
        if info.topic_type != wanted:
            sentences.append(f"{name} has {info.topic_type} on {topic}, not {wanted}")
            continue
        pair = (ours, info.qos_profile) if taken else (info.qos_profile, ours)
        verdict, reason = qos_check_compatible(*pair)
        if verdict == QoSCompatibility.ERROR:
            sentences.append(f"{name} on {topic}: {reason.removeprefix('ERROR: ').rstrip('; ')}")
    return sentences
