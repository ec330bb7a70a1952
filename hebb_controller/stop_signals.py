"""SIGINT, SIGTERM and SIGHUP as an event, whichever thread the kernel hands them to."""

from __future__ import annotations

import atexit
import signal
import threading

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_event() -> threading.Event:
    """Return an event that SIGINT, SIGTERM and SIGHUP set from now on; call it in the main thread, early.

    SIGHUP is what a lost terminal sends; ``nohup``, which has it ignored, stays in force.

    Blocking the signals and waiting for them is not enough: threads that a library started earlier
    (BLAS starts some when numpy is imported) do not block them, may receive one, and Python then raises
    KeyboardInterrupt in the middle of the main thread. A second signal may follow (a terminal and a
    launcher each send one); it does not kill a process that is already ending.
    """
    event = threading.Event()

    def on_signal(*_: object) -> None:
        # Not set here: the main thread may be holding the event's own lock.
        if not event.is_set():
            threading.Thread(target=event.set, name="stop", daemon=True).start()

    def ignore() -> None:
        # Otherwise Python, which restores default handlers as it exits, would die of a late one.
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    atexit.register(ignore)
    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
    return event
