"""Executors that survive other threads destroying what they wait for."""

from __future__ import annotations

from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.task import Future


def spin(executor: Executor, ending: Future[None]) -> None:
    """Execute callbacks until ``ending`` is done, or the executor's context is shut down.

    rclpy's executor gives up when a publisher that has events is destroyed in another thread just before
    it waits for them. This carries on. Shut the executor down only after this has returned: it may be
    about to wait for what the shutdown destroys.

    Args:
        executor: executor with its nodes.
        ending: given a result in another thread to make this return.
    """
    while not ending.done():
        try:
            executor.spin_until_future_complete(ending)
        except InvalidHandle:
            continue
        except ExternalShutdownException:
            pass
        return
