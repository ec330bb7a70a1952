"""The operator's node goes on listening, whatever is made and destroyed beside it."""

import sys
import threading
import time

import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Empty

from hebb_controller.node.operator_client import Operator


@pytest.fixture
def hasty():
    """Have threads take turns so often that they meet each other everywhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_an_operator_hears_on_when_publishers_are_destroyed_in_another_thread(hasty):
    with Operator(name="operator_beside_a_destroyer") as operator:
        heard = threading.Event()
        operator.watch(Empty, "chatter", lambda _: heard.set())
        chatter = operator.node.create_publisher(Empty, "chatter", 10)
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            publisher = operator.node.create_publisher(JointState, "short_lived", 1)
            chatter.publish(Empty())
            operator.node.destroy_publisher(publisher)
        heard.clear()
        chatter.publish(Empty())
        assert heard.wait(15.0)
