"""The thread that runs a control loop, paced by absolute deadlines or by arriving readings."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from ..errors import HebbError
from ..safety import damp_command
from ..signals import Command
from .loop import ControlLoop
from .rates import TickStatistics
from .values import LoopStatus, Phase, Sample

T = TypeVar("T")

REQUEST_TIMEOUT = 0.5  # s, how long another thread waits for the control thread
MAKES_WAY = 0.002  # s at most that the thread delivering a reading stays out of its tick's way


class ControlThreadError(HebbError, TimeoutError):
    """The control thread did not answer in time."""


class ControlThread:
    """Runs a loop and passes on its commands.

    Once it runs, only this thread makes calls that change the loop: others go through :meth:`ask` or
    :meth:`post`, and read only what ``loop.py`` permits.

    Args:
        loop: the loop.
        period: time between two ticks, s; with ``by_reading``, the longest wait for a reading.
        by_reading: tick when a reading arrives instead of by the clock.
        answer_once: answer each reading once, and send nothing without one (lock-step).
        send: called with a command and the stamp of the reading that it answers, ns.
        changed: called with the loop's status when it has changed.
        failed: called with an exception that escaped a tick; the robot is damped by then.
        prepared: called first in the thread, to set its scheduling.
    """

    def __init__(
        self,
        loop: ControlLoop,
        *,
        period: float,
        by_reading: bool,
        answer_once: bool,
        send: Callable[[Command, int], None],
        changed: Callable[[LoopStatus], None],
        failed: Callable[[Exception], None],
        prepared: Callable[[], None] = lambda: None,
    ) -> None:
        self.statistics = TickStatistics()
        self._prepared = prepared
        self._loop = loop
        self._period = period
        self._by_reading = by_reading
        self._answer_once = answer_once
        self._send = send
        self._changed = changed
        self._failed = failed
        lock = threading.RLock()
        self._wake = threading.Condition(lock)
        self._ticked = threading.Condition(lock)
        self._heard = threading.Event()
        self._requests: deque[Callable[[], None]] = deque()
        self._sample: Sample | None = None
        self._fresh = False
        self._ending = False
        self._said: LoopStatus | None = None
        self._alive = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, sample: Sample) -> None:
        """Hand over the latest reading.

        If it triggers a tick, wait for that: two threads running Python slow each other down.
        """
        with self._wake:
            self._sample, self._fresh = sample, True
            self._heard.set()
            if self._by_reading:
                self._wake.notify()
                self._ticked.wait(MAKES_WAY)

    def wait_for_sample(self, timeout: float) -> bool:
        """Return whether a reading has arrived, waiting at most ``timeout`` s for the first."""
        return self._heard.wait(timeout)

    def hung(self, now: float) -> float:
        """Return for how long the thread has been stuck at ``now``, s; 0 unless that is too long."""
        silent = now - self._alive
        return silent if silent > self._period + REQUEST_TIMEOUT else 0.0

    def ask(self, request: Callable[[ControlLoop], T]) -> T:
        """Return the result of a request, carried out by the control thread between two ticks.

        Raises:
            ControlThreadError: it has ended, or did not get to it in time.
        """
        future = self.post(request)
        try:
            return future.result(timeout=REQUEST_TIMEOUT)
        except FutureTimeoutError as error:
            future.cancel()  # the caller has given up: it must not happen later
            raise ControlThreadError(
                f"the control thread did not answer within {REQUEST_TIMEOUT} s."
            ) from error

    def post(self, request: Callable[[ControlLoop], T]) -> Future[T]:
        """Have a request carried out by the control thread between two ticks, without waiting.

        Raises:
            ControlThreadError: it has ended.
        """
        future: Future[T] = Future()

        def carry_out() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(request(self._loop))
            except Exception as error:
                future.set_exception(error)

        with self._wake:
            if self._ending:
                raise ControlThreadError("the control thread has ended.")
            self._requests.append(carry_out)
            self._wake.notify()
        return future

    def leave(self) -> None:
        """Take the loop out of its active state, if it is in one, with a damping command."""

        def stop(loop: ControlLoop) -> None:
            command = loop.stop()
            if command is not None:
                self.send(command)

        self.ask(stop)

    def end(self) -> bool:
        """Stop the thread after a last damping command; return whether it ended in time."""
        try:
            self.leave()
        except Exception as error:  # the caller damps without the thread
            self._failed(error)
            return False
        finally:
            with self._wake:
                self._ending = True
                self._wake.notify()
            self._heard.set()
        self._thread.join(timeout=REQUEST_TIMEOUT)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._prepared()
        deadline = time.monotonic() + self._period
        while True:
            fresh = self._wait(deadline)
            self._alive = time.monotonic()
            while self._requests:
                self._requests.popleft()()
                self._tell()
            if self._ending:
                return
            now = time.monotonic()
            late, missed = now - deadline, 0
            due = late >= 0.0
            if due:
                missed = int(late / self._period)  # whole periods in which nothing happened
                deadline += (missed + 1) * self._period
            if due or (fresh and self._by_reading):
                if fresh or not self._by_reading:  # else only a wait for a reading timed out
                    self.statistics.began(now, 0.0 if self._by_reading else late, missed)
                self._tick(now)
                with self._ticked:
                    self._ticked.notify()

    def _wait(self, deadline: float) -> bool:
        """Wait until there is something to do; return whether there is a new reading."""
        with self._wake:
            while not (self._requests or self._ending or (self._fresh and self._by_reading)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._wake.wait(left):
                    break
            return self._fresh

    def _tick(self, now: float) -> None:
        loop, before = self._loop, self._loop.status.phase
        with self._wake:
            sample = self._sample
            fresh, self._fresh = self._fresh, False
            if sample is not None:  # it may have arrived since the time was taken
                now = max(now, sample.reading.received)
        try:
            command = loop.tick(sample, now)
        except Exception as error:
            command = self._damp(error)
        if command is not None:
            command = loop.in_time(command, time.monotonic() - now)
        damped = loop.status.phase is Phase.DAMPED
        newly = damped and before is not Phase.DAMPED
        repeat = not self._by_reading or (damped and not self._answer_once)
        if command is not None and (fresh or newly or repeat):
            self._pass_on(command, sample)
            if fresh and sample is not None and not damped:
                self.statistics.answered(time.monotonic() - sample.reading.received)
        self._tell()

    def _damp(self, error: Exception) -> Command | None:
        """Return the command after a failed tick; if the loop cannot even damp, damp without it."""
        try:
            command = self._loop.damp(f"the control thread failed: {type(error).__name__}: {error}")
        except Exception as worse:
            command = damp_command(self._loop.robot)
            self._failed(worse)
        self._failed(error)
        return command

    def send(self, command: Command) -> None:
        """Pass on a command; for requests, which run in this thread."""
        self._pass_on(command, self._sample)

    def _pass_on(self, command: Command, answered: Sample | None) -> None:
        try:
            self._send(command, 0 if answered is None else answered.stamp)
        except Exception as error:
            self._failed(error)

    def _tell(self) -> None:
        if self._loop.status is not self._said:
            self._said = self._loop.status
            try:
                self._changed(self._said)
            except Exception as error:
                self._failed(error)
