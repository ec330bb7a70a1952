"""Ray as a ``concurrent.futures.Executor``. Needs the ``ray`` extra.

The same large function (it holds the mean of the population) is submitted many times with small
arguments (seeds). The function goes to the object store once, and each node fetches it from there
once; the arguments go with each call, and numbers come back. Ray replaces a worker or node that
dies and repeats its calls; if it gives up, the pool counts as broken, as with local processes.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TypeVar

import ray
import ray.exceptions

from ..errors import HebbError, TrainingError
from .executor import ExecutorFactory

R = TypeVar("R")

RETRIES = 3  # of a call whose worker or node died, before the pool counts as broken
LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
)


def ray_cluster(address: str) -> ExecutorFactory:
    """Return a factory of executors on a Ray cluster; each connects to it anew.

    Args:
        address: ``host:port``; ``auto`` for the cluster that this machine belongs to; ``local`` to
            start one on this machine alone.
    """

    def make() -> Executor:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        on_main = threading.current_thread() is threading.main_thread()
        kept = signal.getsignal(signal.SIGTERM)
        try:
            _knock(address)
            ray.init(
                address=address,
                runtime_env={"env_vars": dict.fromkeys(threads, "1")},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise TrainingError(
                f"ray:{address}: no Ray cluster answers: {reason.rstrip('.')}. "
                f"Fix: start one with 'ray start --head', or use --cluster local."
            ) from error
        if on_main:
            signal.signal(signal.SIGTERM, kept)  # Ray installed its own handler
        return RayExecutor()

    return make


def _knock(address: str) -> None:
    """Raise OSError or ValueError at once where Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=10.0).close()


class RayExecutor(Executor):
    """Runs functions on the Ray cluster that this process is connected to, one CPU each."""

    def __init__(self) -> None:
        self._call = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
        self._function: object = None
        self._stored: object = None
        self._pending: set[object] = set()

    def submit(
        self, function: Callable[..., R], /, *arguments: object, **named: object
    ) -> Future[R]:
        """Return the future of ``function(*arguments, **named)``.

        Args:
            function: picklable; not sent again if it is the same object as in the previous call.
            arguments, named: picklable; always sent.
        """
        if function is not self._function:
            self._stored, self._function = ray.put(function), function
        reference = self._call.remote(self._stored, *arguments, **named)
        self._pending.add(reference)
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()

        def settle(done: Future[R]) -> None:
            self._pending.discard(reference)
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(_translated(error))

        reference.future().add_done_callback(settle)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Leave the cluster, which ends whatever still runs there for this process.

        Args:
            wait: let submitted calls finish first.
            cancel_futures: do not wait, even if ``wait`` is set.
        """
        if wait and not cancel_futures and self._pending:
            pending = list(self._pending)
            ray.wait(pending, num_returns=len(pending))
        ray.shutdown()


def _call(function: Callable[..., R], *arguments: object, **named: object) -> R:
    """Do the work in a worker, where Ray has replaced the reference by the function."""
    return function(*arguments, **named)


def _translated(error: BaseException) -> BaseException:
    """Return the error that a local pool would raise in place of Ray's."""
    text = str(error)
    if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, HebbError):
        return error.cause
    if isinstance(error, LOST):
        translated: BaseException = BrokenExecutor(f"Ray gave up: {text.partition(chr(10))[0]}")
    elif isinstance(error, ray.exceptions.RaySystemError) and "ModuleNotFoundError" in text:
        missing = text.strip().rpartition("\n")[2]
        translated = TrainingError(
            f"a Ray worker cannot import its task: {missing}. "
            f"Fix: install the same hebb_controller, with the extras sim and ray, on every node."
        )
    else:
        return error
    translated.__cause__ = error
    return translated
