"""The operator's node goes on listening, whatever is made and destroyed beside it, or lost on the way."""

import sys
import threading
import time

import pytest
import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.context import Context
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rig import PATIENCE
from sensor_msgs.msg import JointState
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from hebb_controller.node.operator_client import NodeTimeoutError, Operator
from hebb_controller.node.spinning import spin


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
        assert heard.wait(PATIENCE)


@pytest.fixture
def context():
    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    yield context
    context.try_shutdown()


@pytest.mark.parametrize("kind", [SingleThreadedExecutor, MultiThreadedExecutor])
def test_an_executor_with_nothing_to_do_returns_when_it_is_told_to(context, kind):
    executor = kind(context=context)
    executor.add_node(Node("idle", context=context, start_parameter_services=False))
    ending = Future()
    thread = threading.Thread(target=spin, args=(executor, ending), daemon=True)
    thread.start()
    time.sleep(0.5)  # until it waits
    ending.set_result(None)
    thread.join(15.0)
    assert not thread.is_alive()
    executor.shutdown()


@pytest.fixture
def forgetful(context):
    """Return the function that makes a node which takes one request, never answers it, and then goes on.

    It takes the kind and name of the service, what to do instead of an answer, and the node's other
    services: kind, name and callback of each.
    """
    node = Node("forgetful", context=context, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    ending = Future()
    threads = []

    def start(kind, name, instead, *others):
        service = node.create_service(kind, f"~/{name}", lambda _, response: response)
        for other, its_name, callback in others:
            node.create_service(other, f"~/{its_name}", callback)

        def run():
            with service.handle:
                while service.handle.service_take_request(kind.Request)[1] is None:
                    time.sleep(0.01)
            instead()
            executor.add_node(node)
            spin(executor, ending)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[0].start()

    yield start
    ending.set_result(None)
    for thread in threads:
        thread.join(5.0)
    executor.shutdown(timeout_sec=1.0)


@pytest.mark.parametrize("made", [True, False])
def test_a_transition_of_which_the_answer_is_lost_is_told_by_the_state_that_it_led_to(
    forgetful, made
):
    states = [State.PRIMARY_STATE_UNCONFIGURED]

    def get_state(_, response):
        response.current_state.id = states[-1]
        return response

    def instead():
        if made:
            states.append(State.PRIMARY_STATE_INACTIVE)

    forgetful(ChangeState, "change_state", instead, (GetState, "get_state", get_state))
    with Operator(name="operator_of_a_forgetful_node") as operator:
        assert operator.change_state("/forgetful", "configure", timeout=30.0) is made


@pytest.mark.parametrize(("found", "reason"), [(0.5, ""), (0.25, "no answer, and gain is 0.25")])
def test_a_parameter_of_which_the_answer_is_lost_is_looked_at(forgetful, found, reason):
    def get(_, response):
        response.values = [Parameter("gain", value=found).get_parameter_value()]
        return response

    forgetful(SetParameters, "set_parameters", lambda: None, (GetParameters, "get_parameters", get))
    with Operator(name="operator_of_a_forgetful_node") as operator:
        assert operator.set_parameter("/forgetful", "gain", 0.5, timeout=30.0) == reason


def test_what_never_answers_is_named(forgetful):
    forgetful(Trigger, "act", lambda: None)
    with Operator(name="operator_of_a_forgetful_node") as operator:
        assert operator.node.create_client(Trigger, "/forgetful/act").wait_for_service(30.0)
        told = pytest.raises(NodeTimeoutError, match=r"^/forgetful/act: no answer within 5 s")
        with told:
            operator.trigger("/forgetful/act", timeout=5.0)
