"""Subscriptions with a thread of their own."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile


class SensorThread:
    """Takes messages for a node, on a hidden node beside it.

    rclpy's executors go through everything that a node has at each message: beside a lifecycle node's
    twenty services that cost 1.5 ms a tick, here a tenth of it. Remappings and the namespace of the
    process hold for the hidden node too (tf2's listeners do the same).

    Args:
        node: whose process, context and namespace it shares.
        topics: topic -> its message type and what takes the messages, in this thread.
        qos: of all of them.
    """

    def __init__(
        self,
        node: Node,
        topics: Mapping[str, tuple[type[Any], Callable[[Any], None]]],
        qos: QoSProfile,
    ) -> None:
        # Arguments of a node win over those of the process, which may set the name.
        name = f"_{node.get_name()}_sensors"
        self._node = Node(
            name,
            context=node.context,
            cli_args=["--ros-args", "-r", f"__node:={name}"],
            enable_rosout=False,
            start_parameter_services=False,
        )
        for topic, (kind, take) in topics.items():
            self._node.create_subscription(kind, topic, take, qos)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="sensors", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more messages."""
        self._executor.shutdown(timeout_sec=0.2)
        self._thread.join(timeout=0.2)
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception:  # without readings the control loop damps
            self._node.get_logger().fatal(traceback.format_exc())
