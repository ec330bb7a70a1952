"""Where commands go: named targets for a driver, or bare ones for a forward controller."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from ..errors import ParameterError
from ..robot import FloatArray, RobotSpec
from ..signals import Command, Mode
from . import conversions, graph
from .parameters import Settings
from .qos import COMMANDS, command_qos

ACKNOWLEDGE_TIMEOUT = 0.2  # s allowed for the last command to arrive


def check_output(settings: Settings, robot: RobotSpec) -> None:
    """Check that the type of a robot's commands can express its safe action.

    Raises:
        ParameterError: it cannot.
    """
    if settings.forward and robot.safety.safe_action != "hold":
        raise ParameterError(
            f"command_type float64_multi_array cannot express DAMP: a forward controller repeats its "
            f"last targets forever, and robot '{robot.name}' has safe_action "
            f"'{robot.safety.safe_action}'. Set command_type to joint_state, or state "
            f"'safe_action: hold' in the robot spec if holding is safe."
        )


class CommandOutput:
    """Publishes the commands for one robot.

    Bare targets cannot express DAMP: the last ones are repeated instead, or nothing if there are none.

    Args:
        node: publishes.
        robot: names the joints.
        settings: give topic and type.
        incompatible: called with the topic if a subscription has an incompatible quality of service.
    """

    def __init__(
        self, node: Node, robot: RobotSpec, settings: Settings, incompatible: Callable[[str], None]
    ) -> None:
        self._node = node
        self._robot = robot
        self._forward = settings.forward
        self._dry_run = settings.dry_run
        self._held: FloatArray | None = None
        topic = "~/commands" if self._forward else COMMANDS
        self._publisher = node.create_publisher(
            Float64MultiArray if self._forward else JointState,
            "~/dry_run" if settings.dry_run else topic,
            command_qos(lock_step=settings.lock_step),
            event_callbacks=PublisherEventCallbacks(incompatible_qos=lambda _: incompatible(topic)),
        )
        self.topic = topic

    def begin(self) -> None:
        """Forget the last targets: the robot may have been moved since."""
        self._held = None

    def send(self, command: Command, stamp: int) -> None:
        """Publish a command.

        Args:
            command: command for the joint controllers.
            stamp: of the reading that it answers, ns.
        """
        if not self._forward:
            self._publisher.publish(conversions.joint_command(command, self._robot, stamp))
            return
        if command.mode is Mode.POSITION:
            self._held = command.position
        if self._held is not None:
            data = array("d", self._held.tolist())
            self._publisher.publish(Float64MultiArray(data=data))

    def others(self) -> tuple[str, ...]:
        """Return the full names of the other nodes that publish there."""
        if self._dry_run or not self._node.context.ok():
            return ()
        return graph.other_publishers(self._node, self.topic)

    def wait_until_heard(self) -> None:
        """Wait briefly for the last command to arrive."""
        self._publisher.wait_for_all_acked(Duration(nanoseconds=round(ACKNOWLEDGE_TIMEOUT * 1e9)))

    def close(self) -> None:
        """Stop publishing."""
        self._node.destroy_publisher(self._publisher)
