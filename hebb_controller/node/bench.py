"""How well the control thread keeps its deadlines, compared with a bare loop that only sleeps.

The node's own control thread and loop run in this process with the shipped walk, scheduled as in the
node: a second thread hands over sensor readings, commands are dropped, and no DDS is involved. The
yardstick sleeps with ``clock_nanosleep`` until the same deadlines and does nothing. The two alternate,
since machines are noisy, next to one busy process per processor.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from ..controller import controller_for
from ..errors import HebbError
from ..robot import load_shipped_robot
from ..rule_file import load_rule
from ..share import shipped
from ..signals import Command, Mode, SensorReading
from . import scheduling
from .control_thread import ControlThread
from .loop import ControlLoop
from .parameters import Settings
from .rates import TickStatistics
from .values import Loaded, Phase, Sample

RATE = 500  # commands per second
PATIENCE = 30.0  # s allowed for reaching the default pose
MAX_READING_AGE = 2.0  # s: a stall of the machine should be counted, not damp the robot
TIMER_ABSTIME = 1  # linux/time.h


class NodeBenchError(HebbError, RuntimeError):
    """The loop did not stay in RUN."""


@dataclass(frozen=True)
class Punctuality:
    """How late the ticks of one run began, µs, and how many periods passed without one."""

    p50_us: float
    p99_us: float
    max_us: float
    overruns: int
    ticks: int


class Record(TickStatistics):
    """Keeps how late every tick began since ``restart``."""

    def __init__(self) -> None:
        super().__init__()
        self.all_late: list[float] = []

    def restart(self) -> None:
        """Discard what was recorded."""
        self.overruns, self.all_late = 0, []

    def began(self, now: float, late: float, missed: int) -> None:
        """Record that a tick began ``late`` s after its deadline and ``missed`` ticks before it did not."""
        super().began(now, late, missed)
        self.all_late.append(late)

    @property
    def figures(self) -> Punctuality:
        """The figures of the recorded ticks."""
        p50, p99, largest = np.percentile(self.all_late, (50, 99, 100)) * 1e6
        return Punctuality(
            float(p50), float(p99), float(largest), self.overruns, len(self.all_late)
        )


def bare_loop(seconds: float, rt_priority: int = 0) -> Punctuality:
    """Return the figures of a thread that sleeps until absolute deadlines and does nothing."""
    with ThreadPoolExecutor(1, initializer=_scheduled(rt_priority)) as thread:
        return thread.submit(_sleep_to_deadlines, seconds).result()


def _sleep_to_deadlines(seconds: float) -> Punctuality:
    period = 1.0 / RATE
    sleep = ctypes.CDLL(None).clock_nanosleep
    record = Record()
    deadline = time.monotonic() + period
    end = deadline + seconds
    while deadline < end:
        whole, part = divmod(round(deadline * 1e9), 1_000_000_000)
        until = (ctypes.c_long * 2)(whole, part)  # struct timespec
        sleep(time.CLOCK_MONOTONIC, TIMER_ABSTIME, ctypes.byref(until), None)
        now = time.monotonic()
        late = max(now - deadline, 0.0)
        missed = int(late / period)
        deadline += (missed + 1) * period
        record.began(now, late, missed)
    return record.figures


def control_thread(seconds: float, rt_priority: int = 0) -> Punctuality:
    """Return the figures of the node's control thread running the shipped walk.

    Raises:
        NodeBenchError: the loop did not reach RUN, or was damped.
    """
    path = shipped("rules", "a1_walk.rule.safetensors")
    rule = load_rule(path)
    robot = load_shipped_robot(rule.header.contract.robot)
    robot = replace(robot, safety=replace(robot.safety, max_reading_age=MAX_READING_AGE))
    settings = Settings(sensor_timeout=MAX_READING_AGE)
    loop = ControlLoop(
        robot,
        Loaded(controller_for(rule, robot), rule, str(path)),
        settings.loop(1.0 / RATE),
        swap=settings.swap,
        supervisor=settings.supervisor,
    )
    failures: list[Exception] = []
    target = [robot.default]  # where the robot is: it follows exactly

    def send(command: Command, _: int) -> None:
        if command.mode is Mode.POSITION:
            target[0] = command.position

    thread = ControlThread(
        loop,
        period=1.0 / RATE,
        by_reading=False,
        answer_once=False,
        send=send,
        changed=lambda status: None,
        failed=failures.append,
        prepared=_scheduled(rt_priority, others=True),
    )
    thread.statistics = record = Record()
    rng, done = np.random.default_rng(0), threading.Event()

    def read() -> None:
        while not done.wait(1.0 / RATE):
            now = time.monotonic()
            reading = SensorReading(
                stamp=now,
                received=now,
                joint_position=target[0] + 0.01 * rng.standard_normal(robot.n_joints),
                joint_velocity=0.1 * rng.standard_normal(robot.n_joints),
                orientation=np.array((0.0, 0.0, 0.0, 1.0)),
                angular_velocity_base=0.1 * rng.standard_normal(3),
            )
            thread.offer(Sample(reading, round(now * 1e9)))

    sensors = threading.Thread(target=read, name="sensors", daemon=True)
    sensors.start()
    thread.begin()
    try:
        thread.wait_for_sample(PATIENCE)
        thread.ask(lambda loop: loop.start(time.monotonic()))
        _until(lambda: loop.status.phase is not Phase.TO_DEFAULT_POSE, PATIENCE)
        thread.ask(lambda _: record.restart())
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            scheduling.collect()
        figures = thread.ask(lambda _: record.figures)
        status = loop.status
    finally:
        thread.end()
        done.set()
        sensors.join()
    if status.phase is not Phase.RUN or failures:
        raise NodeBenchError(f"the loop was in {status.phase.value}: {status.reason or failures}.")
    return figures


def measure(seconds: float, *, pairs: int, rt_priority: int = 0) -> dict[str, float]:
    """Return the median figures over pairs of runs.

    Args:
        seconds: how long each run takes, s.
        pairs: number of pairs.
        rt_priority: SCHED_FIFO priority of both, or 0 for normal scheduling, as the node's parameter.

    Raises:
        NodeBenchError: a run did not stay in RUN, or the priority was not granted.
    """
    with ThreadPoolExecutor(1) as thread:  # only this thread gets the priority
        scheduled = thread.submit(scheduling.prepare_thread, rt_priority, -1).result()
    if not scheduled.granted:
        raise NodeBenchError(f"{scheduled.detail}.")
    runs: list[tuple[Punctuality, Punctuality]] = []
    with _as_in_the_node(), _load():
        for _ in range(pairs):
            scheduling.settle()
            runs.append((control_thread(seconds, rt_priority), bare_loop(seconds, rt_priority)))

    def median(of: Callable[[tuple[Punctuality, Punctuality]], float]) -> float:
        return float(np.median([of(run) for run in runs]))

    return {
        "p50_us": median(lambda run: run[0].p50_us),
        "p99_us": median(lambda run: run[0].p99_us),
        "max_us": median(lambda run: run[0].max_us),
        "bare_p50_us": median(lambda run: run[1].p50_us),
        "bare_p99_us": median(lambda run: run[1].p99_us),
        "overruns": median(lambda run: run[0].overruns),
        "bare_overruns": median(lambda run: run[1].overruns),
        "ticks": median(lambda run: run[0].ticks),
    }


def _scheduled(rt_priority: int, *, others: bool = False) -> Callable[[], None]:
    def prepare() -> None:
        scheduling.prepare_thread(rt_priority, -1)
        if others:
            scheduling.raise_others(rt_priority)

    return prepare


def _until(happened: Callable[[], bool], timeout: float) -> None:
    end = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > end:
            raise NodeBenchError(f"the loop did not reach RUN within {timeout:g} s.")
        time.sleep(0.01)


@contextlib.contextmanager
def _as_in_the_node() -> Iterator[None]:
    interval = sys.getswitchinterval()
    scheduling.prepare_process()
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
        gc.enable()


@contextlib.contextmanager
def _load() -> Iterator[None]:
    # The load runs at normal priority whatever this process has: as SCHED_FIFO it would stall the machine.
    normal = "os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))"
    busy = f"import os\n{normal}\nwhile os.getppid() == {os.getpid()}: sum(range(100_000))"
    command = [sys.executable, "-c", busy]
    processes = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
