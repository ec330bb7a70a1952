"""How the process and its control thread are scheduled, so that little comes between two ticks."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

SWITCH_INTERVAL = 0.0002  # s; by Python's own 5 ms a busy thread would delay the control thread


def prepare_process() -> None:
    """Have threads give way quickly, and garbage be collected only where :func:`collect` is called."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.disable()


def settle() -> None:
    """Collect all garbage, and pass over what lives now in later collections: it is here to stay."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def collect() -> None:
    """Collect garbage, once a second: after :func:`settle` that stops the threads for some 40 µs."""
    gc.collect()


def prepare_thread(priority: int, cpu: int) -> str:
    """Schedule the calling thread; return what came of it, for people.

    Args:
        priority: of SCHED_FIFO, 1 to 99; 0 leaves the thread as it is.
        cpu: the one that it shall run on; -1 for any.
    """
    done = []
    if priority:
        parameters = os.sched_param(priority)
        done.append(
            _attempt(
                f"SCHED_FIFO {priority}",
                lambda: os.sched_setscheduler(0, os.SCHED_FIFO, parameters),
                "give the user rtprio in /etc/security/limits.conf, or the process CAP_SYS_NICE",
            )
        )
    if cpu >= 0:
        there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        done.append(
            _attempt(
                f"CPU {cpu}", lambda: os.sched_setaffinity(0, {cpu}), f"there are the CPUs {there}"
            )
        )
    return "; ".join(done) or "normal"


def _attempt(what: str, act: Callable[[], None], mend: str) -> str:
    try:
        act()
    except (OSError, ValueError) as error:  # PermissionError is one
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return f"not {what}: {reason}. Mend: {mend}"
    return what
