"""Subscriptions with a thread of their own."""

from __future__ import annotations

import functools
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from .graph import type_name


class Topic(NamedTuple):
    """What to take from a topic: the message type, its callback, and the quality of service."""

    kind: type[Any]
    take: Callable[[Any], None]
    qos: QoSProfile


class SensorThread:
    """Takes messages for a node, on a hidden node beside it.

    rclpy's executors go through everything that a node has at each message: on a lifecycle node with its
    twenty services that cost 1.5 ms a tick, here a tenth of it. Remappings and the namespace of the
    process apply to the hidden node too (tf2's listeners do the same).

    Args:
        node: whose process, context and namespace it shares.
        topics: by name; messages are taken in this thread.
        incompatible: called with a topic whose publisher offers insufficient quality of service.
    """

    def __init__(
        self,
        node: Node,
        topics: Mapping[str, Topic],
        incompatible: Callable[[str], None],
    ) -> None:
        # A node's arguments override those of the process, which may set the name.
        name = f"_{node.get_name()}_sensors"
        self._node = Node(
            name,
            context=node.context,
            cli_args=["--ros-args", "-r", f"__node:={name}"],
            enable_rosout=False,
            start_parameter_services=False,
        )
        self.name = self._node.get_fully_qualified_name()
        self._incompatible = incompatible
        self.types: dict[str, str] = {}
        for topic_name, topic in topics.items():
            self.subscribe(topic_name, topic)
        self._closing = False
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="sensors", daemon=True)
        self._thread.start()

    def subscribe(self, name: str, topic: Topic) -> None:
        """Take the messages of one more topic."""
        self.types[name] = type_name(topic.kind)
        events = SubscriptionEventCallbacks(
            incompatible_qos=functools.partial(_told, self._incompatible, name)
        )
        self._node.create_subscription(
            topic.kind, name, topic.take, topic.qos, event_callbacks=events
        )

    def close(self) -> None:
        """Stop taking messages."""
        self._closing = True
        self._executor.shutdown(timeout_sec=0.2)
        self._thread.join(timeout=0.2)
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception:  # without readings the control loop damps
            if self._closing:  # the receiver of its messages is gone
                return
            self._node.get_logger().fatal(traceback.format_exc())


def _told(incompatible: Callable[[str], None], name: str, _: object) -> None:
    incompatible(name)
