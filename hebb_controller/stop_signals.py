"""SIGINT and SIGTERM as an event, whichever thread the kernel hands them to."""

from __future__ import annotations

import atexit
import signal
import threading

STOPPING = (signal.SIGINT, signal.SIGTERM)


def stop_event() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set from now on; call it in the main thread, early.

    Blocking the signals and waiting for them is not enough: threads that a library made before (BLAS
    makes some when numpy is imported) do not block them, may be handed one, and Python then raises
    KeyboardInterrupt in the middle of the main thread. Who sends one may send a second (a terminal and a
    launcher do); it does not kill a process that is ending already.
    """
    event = threading.Event()

    def on_signal(*_: object) -> None:
        # Not here: the main thread may be inside the event's own lock.
        if not event.is_set():
            threading.Thread(target=event.set, name="stop", daemon=True).start()

    def ignore() -> None:
        # Or Python, whose end puts the default back in the place of handlers, dies of a late one.
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    atexit.register(ignore)
    for number in STOPPING:
        signal.signal(number, on_signal)
    return event
