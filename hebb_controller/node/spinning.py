"""Executors beside which other threads destroy what they wait for."""

from __future__ import annotations

from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException


def spin(executor: Executor) -> None:
    """Execute callbacks until the executor or its context is shut down.

    rclpy's executor gives up when a publisher that has events is destroyed in another thread just before
    it waits for them. This one goes on.

    Args:
        executor: has its nodes.
    """
    while True:
        try:
            executor.spin()
        except InvalidHandle:
            continue
        except ExternalShutdownException:
            pass
        return
