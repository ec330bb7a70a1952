"""What an operator does to nodes: transitions, parameters, triggers, and watching their topics."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, final

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from ..errors import HebbError
from .spinning import spin
from .values import Value

M = TypeVar("M")

STATES = {
    State.PRIMARY_STATE_UNCONFIGURED: "unconfigured",
    State.PRIMARY_STATE_INACTIVE: "inactive",
    State.PRIMARY_STATE_ACTIVE: "active",
    State.PRIMARY_STATE_FINALIZED: "finalized",
}
LEADS_TO = {
    "configure": "inactive",
    "activate": "active",
    "deactivate": "inactive",
    "cleanup": "unconfigured",
    "shutdown": "finalized",
}

ANSWER = 15.0  # s within which a node answers; one that is just starting on a busy machine needs most of it
VALIDATED = 70.0  # s; a new rule file is validated first, for a minute at most
ASK_AGAIN = (
    2.0  # s; an answer may be lost while a node and its client are still discovering each other
)


class NodeTimeoutError(HebbError, TimeoutError):
    """A node did not answer in time."""


@final
class Operator:
    """A node in a context of its own, spinning in a thread; a context manager.

    Args:
        domain_id: the ROS domain; None for that of the environment.
        name: of the node.
    """

    def __init__(self, *, domain_id: int | None = None, name: str = "operator") -> None:
        self._context = Context()
        rclpy.init(
            args=[],
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.node = Node(name, context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Client[Any, Any]] = {}
        self._ending: Future[None] = Future()
        self._thread = threading.Thread(
            target=spin, args=(self._executor, self._ending), name="operator", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Operator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave ROS."""
        self._ending.set_result(None)
        self._thread.join(timeout=1.0)
        self._executor.shutdown(timeout_sec=1.0)
        self._context.try_shutdown()

    def watch(
        self, message: type[M], topic: str, take: Callable[[M], None], qos: QoSProfile | int = 10
    ) -> None:
        """Call ``take`` with every message of a topic, in the operator's thread."""
        self.node.create_subscription(message, topic, take, qos)

    def state(self, node: str, *, timeout: float = ANSWER) -> str:
        """Return the lifecycle state of a node.

        Raises:
            NodeTimeoutError: it does not answer.
        """
        answer = self._ask(GetState, f"{node}/get_state", GetState.Request(), timeout)
        return STATES.get(answer.current_state.id, str(answer.current_state.label))

    def change_state(self, node: str, transition: str, *, timeout: float = ANSWER) -> bool:
        """Have a node make a transition, e.g. configure, activate, shutdown; return whether it did.

        If the answer is lost, return whether the node is in the state that the transition leads to.

        Raises:
            NodeTimeoutError: it does not answer.
        """
        request = ChangeState.Request(transition=Transition(label=transition))

        def look(left: float) -> ChangeState.Response:
            state = self.state(node, timeout=left)
            return ChangeState.Response(success=state == LEADS_TO.get(transition))

        answer = self._call(ChangeState, f"{node}/change_state", request, timeout, look=look)
        return bool(answer.success)

    def set_parameter(
        self, node: str, name: str, value: Value, *, timeout: float = VALIDATED
    ) -> str:
        """Set a parameter of a node; return why it was refused, or an empty string.

        If the answer is lost, return what other value the parameter has, or an empty string.

        Raises:
            NodeTimeoutError: it does not answer.
        """
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])

        def look(left: float) -> SetParameters.Response:
            found = self.get_parameter(node, name, timeout=left)
            reason = f"no answer, and {name} is {found}"
            result = SetParametersResult(successful=found == value, reason=reason)
            return SetParameters.Response(results=[result])

        service = f"{node}/set_parameters"
        (result,) = self._call(SetParameters, service, request, timeout, look=look).results
        return "" if result.successful else result.reason or "refused without a reason"

    def get_parameter(self, node: str, name: str, *, timeout: float = ANSWER) -> Value:
        """Return the value of a node's parameter.

        Raises:
            NodeTimeoutError: it does not answer.
        """
        request = GetParameters.Request(names=[name])
        (value,) = self._ask(GetParameters, f"{node}/get_parameters", request, timeout).values
        found = parameter_value_to_python(value)
        return found if isinstance(found, bool | int | float | str) else str(found)

    def switch(self, service: str, *, on: bool, timeout: float = ANSWER) -> str:
        """Call a std_srvs/SetBool service; return why it refused, or an empty string.

        Raises:
            NodeTimeoutError: it does not answer.
        """
        answer = self._call(SetBool, service, SetBool.Request(data=on), timeout)
        return "" if answer.success else answer.message or "refused without a reason"

    def trigger(self, service: str, *, timeout: float = ANSWER) -> str:
        """Call a std_srvs/Trigger service; return why it refused, or an empty string.

        Raises:
            NodeTimeoutError: it does not answer.
        """
        answer = self._call(Trigger, service, Trigger.Request(), timeout)
        return "" if answer.success else answer.message or "refused without a reason"

    def _ask(self, kind: type[Any], name: str, request: object, timeout: float) -> Any:  # noqa: ANN401 - messages have no types
        """Return the answer to a request that may safely be repeated."""
        return self._call(kind, name, request, timeout, again=ASK_AGAIN)

    def _call(
        self,
        kind: type[Any],
        name: str,
        request: object,
        timeout: float,
        *,
        again: float = math.inf,
        look: Callable[[float], Any] | None = None,
    ) -> Any:  # noqa: ANN401 - messages have no types
        """Return the answer of a service.

        Args:
            kind, name, request: the service, and what it is asked.
            timeout: s within which an answer must arrive.
            again: s after which the request is repeated.
            look: for a request that must not be repeated, called with the s left when its answer may have
                been lost: finds out its outcome by a request that the node answers after it, and
                returns the answer that the node must have given.
        """
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(kind, name)
        end = time.monotonic() + timeout
        if not client.wait_for_service(timeout_sec=timeout):
            raise NodeTimeoutError(
                f"{name}: not found within {timeout:g} s. Is the node running, in this ROS domain?"
            )
        while (left := end - time.monotonic()) > 0.0:
            done = threading.Event()
            future = client.call_async(request)
            future.add_done_callback(functools.partial(_set, done))
            if done.wait(min(left, again if look is None else ASK_AGAIN)):
                return future.result()
            if look is not None and (left := end - time.monotonic()) > 0.0:
                seen = look(left)
                return future.result() if done.wait(ASK_AGAIN) else seen
            client.remove_pending_request(future)
        raise NodeTimeoutError(
            f"{name}: no answer within {timeout:g} s. Its node is there, but busy or stopped."
        )


def _set(event: threading.Event, _: object) -> None:
    event.set()
