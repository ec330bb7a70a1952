"""Transitions of a lifecycle node that report why they failed."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Protocol, TypeVar

from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn as Result

from ..errors import HebbError
from .control_thread import ControlThreadError


class Reporting(Protocol):
    """A node that reports its lifecycle state; ``in transition`` while it changes."""

    lifecycle: str

    def get_logger(self) -> RcutilsLogger:
        """Return its logger."""

    def publish_diagnostics(self) -> None:
        """Publish the state."""


N = TypeVar("N", bound=Reporting)


def transition(
    ends_in: str, *, may_fail: bool = False, fails_in: str = ""
) -> Callable[[Callable[[N, LifecycleState], Result]], Callable[[N, LifecycleState], Result]]:
    """Wrap a transition callback to log what escapes it, which rclpy would swallow.

    Args:
        ends_in: the state that it leads to.
        may_fail: whether it may be refused, since the robot is as safe in the state before;
            otherwise every error goes to ``on_error``, which damps.
        fails_in: the state after an error; empty for the state before.
    """

    def wrap(
        callback: Callable[[N, LifecycleState], Result],
    ) -> Callable[[N, LifecycleState], Result]:
        @functools.wraps(callback)
        def run(node: N, state: LifecycleState) -> Result:
            before, node.lifecycle = node.lifecycle, "in transition"
            try:
                result = callback(node, state)
            except ControlThreadError as error:  # the thread may have begun what it was asked to do
                node.get_logger().error(str(error))
                result = Result.ERROR
            except HebbError as error:
                node.get_logger().error(str(error))
                result = Result.FAILURE if may_fail else Result.ERROR
            except Exception:
                node.get_logger().error(traceback.format_exc())
                result = Result.ERROR
            node.lifecycle = ends_in if result == Result.SUCCESS else fails_in or before
            try:
                node.publish_diagnostics()
            except Exception:  # the transition was made anyway
                node.get_logger().error(traceback.format_exc())
            return result

        return run

    return wrap
