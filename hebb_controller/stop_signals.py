"""SIGINT and SIGTERM as an event, whichever thread the kernel hands them to."""

from __future__ import annotations

import signal
import threading

STOPPING = (signal.SIGINT, signal.SIGTERM)


def stop_event() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set from now on; call it in the main thread, early.

    Blocking the signals and waiting for them is not enough: threads that a library made before (BLAS
    makes some when numpy is imported) do not block them, may be handed one, and Python then raises
    KeyboardInterrupt in the middle of the main thread.
    """
    event = threading.Event()

    def on_signal(*_: object) -> None:
        # Not here: the main thread may be inside the event's own lock.
        threading.Thread(target=event.set, name="stop", daemon=True).start()

    for number in STOPPING:
        signal.signal(number, on_signal)
    return event
