"""Executors beside which other threads destroy what they wait for."""

from __future__ import annotations

import threading

from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException


def spin(executor: Executor, ending: threading.Event) -> None:
    """Execute callbacks until ``ending`` is set and the executor woken, or its context is shut down.

    rclpy's executor gives up when a publisher that has events is destroyed in another thread just before
    it waits for them. This one goes on. Shut the executor down only after this has returned: it
    may be about to wait for what that destroys.

    Args:
        executor: has its nodes.
        ending: set by who wants it to return.
    """
    while not ending.is_set():
        try:
            executor.spin_once()
        except InvalidHandle:
            continue
        except ExternalShutdownException:
            return
