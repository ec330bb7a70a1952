"""Who else is on a topic, and who does not match in type or quality of service."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo


def type_name(kind: type[Any]) -> str:
    """Return a message's type as the graph spells it, e.g. ``std_msgs/msg/Bool``."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def publishers(node: Node, topic: str) -> tuple[str, ...]:
    """Return the full names of the nodes that publish on a topic."""
    return tuple(_full_name(info) for info in node.get_publishers_info_by_topic(topic))


def of_another_type(node: Node, topic: str, kind: str) -> Iterator[str]:
    """Yield topic, publisher and type for each publisher of another type, which is not heard."""
    for info in node.get_publishers_info_by_topic(topic):
        if info.topic_type != kind:
            yield f"{topic} of {_full_name(info)} ({info.topic_type}, not {kind})"


def other_publishers(node: Node, topic: str) -> tuple[str, ...]:
    """Return the full names of the other nodes that publish on a topic."""
    found = [*publishers(node, topic)]
    own = node.get_fully_qualified_name()
    if own in found:  # once: a second node of the same name counts
        found.remove(own)
    return tuple(found)


def mismatches(node: Node, topic: str, own: Collection[str]) -> Iterator[str]:
    """Yield topic, node and reason for each node that quality of service disconnects from us.

    Args:
        node: node whose view of the graph is used.
        topic: topic to check.
        own: full names of our own nodes.
    """
    subscriptions = node.get_subscriptions_info_by_topic(topic)
    for publisher in node.get_publishers_info_by_topic(topic):
        for subscription in subscriptions:
            ends = _full_name(publisher), _full_name(subscription)
            theirs = [name for name in ends if name not in own]
            if len(theirs) != 1:
                continue
            fit, why = qos_check_compatible(publisher.qos_profile, subscription.qos_profile)
            if fit == QoSCompatibility.ERROR:
                why = why.replace("ERROR: ", " ").strip(" ;").lower()
                yield f"{topic} of {theirs[0]} ({why})"


def _full_name(info: TopicEndpointInfo) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
