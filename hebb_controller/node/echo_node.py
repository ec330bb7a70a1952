"""The least a node can do between a reading and a command: the yardstick of ``hebb bench latency``.

It subscribes to and publishes what the controller node does, with the same types and quality of service,
in the namespace ``echo``, and answers each reading with its own positions.
"""

from __future__ import annotations

from contextlib import suppress

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState

NAMESPACE = "echo"


class EchoNode(Node):
    """The node."""

    def __init__(self) -> None:
        super().__init__("echo_node", namespace=NAMESPACE)
        sensor = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._joints: JointState | None = None
        self._command = self.create_publisher(JointState, "joint_command", 1)
        self.create_subscription(JointState, "joint_states", self._keep, sensor)
        self.create_subscription(Imu, "imu/data", self._answer, sensor)

    def _keep(self, message: JointState) -> None:
        self._joints = message

    def _answer(self, message: Imu) -> None:
        if self._joints is not None:
            command = JointState(name=self._joints.name, position=self._joints.position)
            command.header.stamp = message.header.stamp
            self._command.publish(command)


def main() -> None:
    """Run the node until SIGINT."""
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(EchoNode())


if __name__ == "__main__":
    main()
