"""Work on worker processes of which, when it ends early, what was finished is kept."""

from __future__ import annotations

import signal
from collections.abc import Callable

from ..train.executor import TaskRunner, local_processes


def until_stopped(workers: int, work: Callable[[TaskRunner], object]) -> BaseException | None:
    """Do work, and return Ctrl-C or the error that ended it early, or None.

    Args:
        workers: worker processes.
        work: does it, and keeps what it has finished.
    """
    stopped: BaseException | None = None
    handler = signal.getsignal(signal.SIGINT)
    try:
        with TaskRunner(local_processes(workers)) as pool:
            try:
                work(pool)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the caller's to raise
                stopped = error
            # The workers finish what they have started. An impatient second Ctrl-C would break off the
            # wait for them, lose finished work, and leave a process that never ends.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGINT, handler)
    return stopped
