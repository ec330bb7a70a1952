"""The inputs of a drive: sensors, a commanded velocity, and the switches that stop the robot."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool, Empty

from ..doctor.heard import same_joints
from ..errors import MessageError
from ..robot import RobotSpec
from . import conversions, graph
from .qos import sensor_qos
from .sensor_thread import SensorThread, Topic
from .values import Loaded, Sample
from .velocity_command import CHANNEL

REFUSED_FOR = 2.0  # s for which an unusable message is reported


class InputCallbacks(NamedTuple):
    """What :class:`Inputs` calls, in the thread that takes messages.

    Attributes:
        reading: with a complete reading.
        estop: when ``estop`` is published as true.
        heartbeat: with the steady time of a ``heartbeat``, s.
        incompatible: with a topic whose publisher offers insufficient quality of service.
        noticed: when there is news for the diagnostics.
    """

    reading: Callable[[Sample], None]
    estop: Callable[[], object]
    heartbeat: Callable[[float], object]
    incompatible: Callable[[str], None]
    noticed: Callable[[], None]


class Inputs:
    """Listens for one drive until it is closed.

    Args:
        node: whose namespace, context and logger it uses.
        robot: names the joints.
        lock_step: whether every message must arrive.
        paired: whether a reading is made only of messages with one stamp.
        callbacks: called with what arrives.

    Attributes:
        latest: the last complete reading.
    """

    def __init__(
        self,
        node: Node,
        robot: RobotSpec,
        callbacks: InputCallbacks,
        *,
        lock_step: bool,
        paired: bool,
    ) -> None:
        self.latest: Sample | None = None
        self._node = node
        self._callbacks = callbacks
        self._refused = ("", -math.inf)
        self._assembler = conversions.ReadingAssembler(robot, paired=paired)
        self._assembling = threading.Lock()
        self._hears_cmd_vel = False
        # A switch hears every publisher, reliable or not.
        switch = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        sensor = sensor_qos(lock_step=lock_step)
        self._thread = SensorThread(
            node,
            {
                "joint_states": Topic(JointState, self._on_joint_states, sensor),
                "imu/data": Topic(Imu, self._on_imu, sensor),
                "estop": Topic(Bool, self._on_estop, switch),
                "heartbeat": Topic(Empty, self._on_heartbeat, switch),
            },
            callbacks.incompatible,
        )
        self.name = self._thread.name

    def ensure_cmd_vel_subscription(self, loaded: Loaded) -> None:
        """Subscribe to cmd_vel if this is the first rule steered by it."""
        if steered(loaded) and not self._hears_cmd_vel:
            self._hears_cmd_vel = True
            qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._thread.subscribe("cmd_vel", Topic(TwistStamped, self._on_cmd_vel, qos))

    def quiet(self, now: float, limit: float) -> str:
        """Return what has not been heard for ``limit`` s at ``now``, or an empty string."""
        return self._assembler.quiet(now, limit)

    def refused(self, now: float) -> str:
        """Return why a message was refused shortly before ``now``, or an empty string."""
        reason, when = self._refused
        return reason if now - when < REFUSED_FOR else ""

    def velocity_complaint(self, now: float, loaded: Loaded) -> str:
        """Return a complaint if a rule steered by ``cmd_vel`` gets no velocity, or an empty string."""
        return self._assembler.velocity_complaint(now) if steered(loaded) else ""

    def strangers(self) -> tuple[str, ...]:
        """Return what is wrong with the publishers: a wrong type, or two for the same values."""
        found = [
            f"not heard because of its type: {text}"
            for topic, kind in self._thread.types.copy().items()
            for text in graph.of_another_type(self._node, topic, kind)
        ]
        drivers = graph.publishers(self._node, "joint_states")
        if shared := same_joints(drivers, self._assembler.names(time.monotonic())):
            found.append(f"joint_states: {shared}")
        if len(imus := set(graph.publishers(self._node, "imu/data"))) > 1:
            found.append(f"imu/data: {' and '.join(sorted(imus))} publish it")
        return tuple(found)

    def close(self) -> None:
        """Stop listening."""
        self._thread.close()

    def _on_estop(self, message: Bool) -> None:
        if message.data:
            self._callbacks.estop()

    def _on_heartbeat(self, message: Empty) -> None:
        self._callbacks.heartbeat(time.monotonic())

    def _on_joint_states(self, message: JointState) -> None:
        received = time.monotonic()
        self._assemble(lambda: self._assembler.add_joint_states(message, received))

    def _on_imu(self, message: Imu) -> None:
        received = time.monotonic()
        self._assemble(lambda: self._assembler.add_imu(message, received))

    def _on_cmd_vel(self, message: TwistStamped) -> None:
        received = time.monotonic()
        self._assemble(lambda: self._assembler.add_velocity_command(message, received))

    def _assemble(self, add: Callable[[], Sample | None]) -> None:
        try:
            with self._assembling:
                sample = add()
        except MessageError as error:
            self._refuse(str(error))
            return
        if sample is not None:
            self.latest = sample
            self._callbacks.reading(sample)

    def _refuse(self, reason: str) -> None:
        """Report an unusable message, but only once while it keeps coming."""
        now = time.monotonic()
        (before, when), self._refused = self._refused, (reason, now)
        if reason != before or now - when > REFUSED_FOR:
            self._node.get_logger().error(reason)
            self._callbacks.noticed()


def steered(loaded: Loaded) -> bool:
    """Return whether a rule observes the commanded velocity."""
    return CHANNEL in loaded.controller.interface.observer.slices
