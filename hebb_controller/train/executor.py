"""Where tasks run: on any ``concurrent.futures.Executor``."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from types import TracebackType
from typing import TypeVar

from ..errors import TrainingError

T = TypeVar("T")
R = TypeVar("R")

ExecutorFactory = Callable[[], Executor]
MAX_REBUILDS = 3


def executor_factory(cluster: str, workers: int) -> ExecutorFactory:
    """Return the factory that ``--cluster`` asks for.

    Args:
        cluster: ``local``; ``auto`` for the Ray cluster that this machine belongs to; or
            ``ray:ADDRESS``.
        workers: processes under ``local``; a cluster has one per CPU.

    Raises:
        TrainingError: ``cluster`` is anything else.
    """
    if cluster == "local":
        return local_processes(workers)
    kind, _, address = "ray:auto".partition(":") if cluster == "auto" else cluster.partition(":")
    if kind != "ray" or not address:
        raise TrainingError(
            f"cluster '{cluster}' is unknown. Name 'local', 'auto', or 'ray:ADDRESS' such as "
            f"'ray:10.0.0.1:6379'."
        )
    from .ray_executor import ray_cluster

    return ray_cluster(address)


def local_processes(workers: int) -> ExecutorFactory:
    """Return a factory of pools of worker processes, one numeric thread each."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # inherited by the workers

    def make() -> Executor:
        return ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(os.getpid(),),
        )

    return make


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM, which would leave a worker half started and its traceback.

    What came meanwhile is raised at the end. Workers inherit that Ctrl-C is blocked.
    """
    held: list[int] = []
    on_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if on_main else ()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    kept = {number: signal.signal(number, lambda n, _: held.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for caught in held:
            signal.raise_signal(caught)


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    # A worker waits on a pipe whose other end it also holds, so it would outlive a killed parent.
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def chunks(items: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Return the items in order, ``size`` at a time; the last chunk may be shorter."""
    return [tuple(items[i : i + size]) for i in range(0, len(items), size)]


class TaskRunner:
    """Runs tasks and returns their results in order, on a pool that is rebuilt when it breaks.

    Args:
        factory: makes a pool.
    """

    def __init__(self, factory: ExecutorFactory) -> None:
        self._factory = factory
        self._pool = factory()

    def __enter__(self) -> TaskRunner:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        on_result: Callable[[], object] = lambda: None,
        results: dict[int, R] | None = None,
    ) -> list[R]:
        """Return ``[function(task) for task in tasks]``.

        Args:
            function: picklable.
            tasks: picklable.
            on_result: called after each result, for a progress bar.
            results: filled with the result of each task by its index, in order, for whoever is
                interrupted.

        Raises:
            TrainingError: the pool broke over ``MAX_REBUILDS`` times in a row without a result.
        """
        results = {} if results is None else results
        broken = 0
        while True:
            before = len(results)
            try:
                self._collect(function, tasks, results, on_result)
            except BrokenExecutor as error:
                broken = broken + 1 if len(results) == before else 1
                if broken > MAX_REBUILDS:
                    raise TrainingError(
                        f"the worker processes ended {broken} times without a result: {error} "
                        f"If memory is short, use fewer --workers."
                    ) from error
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = self._factory()
            else:
                break
        return [results[i] for i in range(len(tasks))]

    def _collect(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        results: dict[int, R],
        on_result: Callable[[], object],
    ) -> None:
        with _no_interrupt():
            futures = [
                (i, self._pool.submit(function, task))
                for i, task in enumerate(tasks)
                if i not in results
            ]
        for i, future in futures:
            results[i] = future.result()
            on_result()
