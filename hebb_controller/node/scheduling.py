"""Scheduling of the process and its threads, so that little delays a tick."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]

SWITCH_INTERVAL = (
    0.0002  # s; at Python's default, 5 ms, a busy thread would delay the control thread
)


class Scheduling(NamedTuple):
    """How a thread is scheduled.

    Attributes:
        granted: whether everything asked for was granted.
        detail: the outcome, for people.
    """

    granted: bool
    detail: str


NORMAL = Scheduling(granted=True, detail="normal")


def prepare_process() -> None:
    """Make threads yield quickly, and collect garbage only where :func:`collect` is called."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.disable()


def settle() -> None:
    """Collect all garbage, and exempt what lives now from later collections: it is here to stay."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def collect() -> None:
    """Collect garbage, once a second: after :func:`settle` this stops the threads for some 40 µs."""
    gc.collect()


def steady_clock() -> Clock:
    """Return a clock for timers that keep running with ``use_sim_time`` while ``/clock`` stands still."""
    return Clock(clock_type=ClockType.STEADY_TIME)


def prepare_thread(priority: int, cpu: int) -> Scheduling:
    """Schedule the calling thread; return the outcome.

    Args:
        priority: SCHED_FIFO priority, 1 to 99; 0 leaves the thread as it is.
        cpu: CPU to run on; -1 for any.
    """
    done = []
    if priority:
        done.append(
            _attempt(
                f"SCHED_FIFO {priority}",
                lambda: _raise(0, priority),
                "give the user rtprio in /etc/security/limits.conf, or the process CAP_SYS_NICE",
            )
        )
    if cpu >= 0:
        there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        done.append(
            _attempt(
                f"CPU {cpu}",
                lambda: os.sched_setaffinity(0, {cpu}),
                f"choose one of the CPUs {there}",
            )
        )
    if not done:
        return NORMAL
    granted = all(part.granted for part in done)
    return Scheduling(granted, "; ".join(part.detail for part in done))


def raise_others(priority: int) -> None:
    """Schedule the other threads of this process one below the one that ticks.

    Only one thread at a time holds Python's lock: one that is preempted while holding it keeps the
    control thread waiting, whatever that thread's priority. Processes started later are scheduled as
    usual, and threads with a priority of their own are left alone.

    Args:
        priority: SCHED_FIFO priority of the control thread; 0 does nothing.
    """
    if not priority:
        return
    for task in Path("/proc/self/task").iterdir():
        thread = int(task.name)
        # One may have ended since; a lack of permission was reported for the control thread.
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(thread) == os.SCHED_OTHER:
                _raise(thread, max(priority - 1, 1))


def _raise(thread: int, priority: int) -> None:
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(thread, policy, os.sched_param(priority))


def _attempt(what: str, act: Callable[[], None], fix: str) -> Scheduling:
    try:
        act()
    except (OSError, ValueError) as error:  # PermissionError is one
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Scheduling(granted=False, detail=f"not {what}: {reason}. Fix: {fix}")
    return Scheduling(granted=True, detail=what)
