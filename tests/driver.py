"""A robot's driver in this process, over real DDS, with the faults of real drivers."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Imu, JointState

from hebb_controller.node.operator_client import Operator
from hebb_controller.robot import RobotSpec


@final
class Driver:
    """Joints that go where they are told; a context manager.

    Args:
        robot: the robot, which begins in its default pose.
        rate: rate of both topics, Hz.
        names: joint names to publish, in the order of the robot's joints.
        scale: factor on each joint's position and velocity readings; one, or one per joint.
        wiring: joint told to move -> joint that does.
        orientation: xyzw.
        latched: whether joint_command is subscribed to with QoS that a plain publisher does not
            offer.

    Attributes:
        quiet: whether the sensors publish nothing.
        commands: all messages on joint_command.
        commanders: nodes seen to publish it.
    """

    def __init__(
        self,
        robot: RobotSpec,
        *,
        rate: float = 100.0,
        names: Sequence[str] | None = None,
        scale: Sequence[float] | float = 1.0,
        wiring: Mapping[str, str] | None = None,
        orientation: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
        latched: bool = False,
    ) -> None:
        self._robot = robot
        self._names = list(robot.joint_names if names is None else names)
        self._scale = np.broadcast_to(scale, robot.n_joints)
        self._wiring = wiring or {}
        self._period = 1.0 / rate
        self._position = robot.default.copy()
        self._before = self._position
        self._target = self._position.copy()
        self.quiet = False
        self.commands: list[JointState] = []
        self.commanders: set[str] = set()
        self.operator = Operator(name="driver")
        node = self.operator.node
        self._joints = node.create_publisher(JointState, "joint_states", 1)
        self._imu = node.create_publisher(Imu, "imu/data", 1)
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=1, durability=durability)
        self.operator.watch(JointState, "joint_command", self._on_command, qos)
        self._inertial = Imu()
        q = self._inertial.orientation
        q.x, q.y, q.z, q.w = map(float, orientation)
        self._inertial.linear_acceleration_covariance[0] = -1.0
        node.create_timer(self._period, self._tick)
        node.create_timer(0.2, self._look)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.operator.close()

    @property
    def damped(self) -> bool:
        """Whether the last command was DAMP."""
        last = self.commands[-1]
        return len(last.position) == 0 and list(last.velocity) == [0.0] * len(last.name)

    def wait_for_motion(self, timeout: float = 60.0) -> None:
        """Wait until a joint is told to move."""
        end = time.monotonic() + timeout
        while not (abs(self._target - self._robot.default) > 0.01).any():
            assert time.monotonic() < end, "nothing was told to move"
            time.sleep(0.02)

    def _on_command(self, message: JointState) -> None:
        self.commands.append(message)
        for name, target in zip(message.name, message.position, strict=False):
            moved = self._wiring.get(name, name)
            self._target[self._robot.joint_names.index(moved)] = target

    def _tick(self) -> None:
        if self.quiet:
            return
        self._position = self._target.copy()
        velocity = (self._position - self._before) / self._period
        self._before = self._position
        now = self.operator.node.get_clock().now().to_msg()
        message = JointState(name=self._names)
        message.header.stamp = self._inertial.header.stamp = now
        message.position = array("d", (self._scale * self._position).tolist())
        message.velocity = array("d", (self._scale * velocity).tolist())
        self._joints.publish(message)
        self._imu.publish(self._inertial)

    def _look(self) -> None:
        found = self.operator.node.get_publishers_info_by_topic("joint_command")
        self.commanders |= {info.node_name for info in found}
