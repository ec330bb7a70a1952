"""What a process holds and does, read from /proc, and what may be said of it over time."""

import os
import threading
import time
from pathlib import Path

import numpy as np
from scipy import ndimage, stats

from hebb_controller.node.guard import BEYOND_RANGE

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
FIELDS = ("time", "rss", "descriptors", "threads", "cpu", "pace")
SMOOTHED = 31  # samples: how fast a machine is changes by the minute


def sample(pid):
    """Return steady time, s; resident bytes; open files; threads; processor time so far, s; pace, s.

    The pace is the processor time that this process takes for the same work every time: when the machine
    becomes slower, both do.
    """
    proc = Path(f"/proc/{pid}")
    stat = (proc / "stat").read_text().rpartition(")")[2].split()
    return (
        time.monotonic(),
        int((proc / "statm").read_text().split()[1]) * PAGE,
        len(list((proc / "fd").iterdir())),
        len(list((proc / "task").iterdir())),
        (int(stat[11]) + int(stat[12])) / TICKS,
        pace(),
    )


def pace():
    begun = time.thread_time()
    for _ in range(200_000):
        pass
    return time.thread_time() - begun


class Watch:
    """Samples a process every now and then; a context manager.

    Args:
        pid: of the process.
        period: s.
    """

    def __init__(self, pid, *, period=1.0):
        self.rows = []
        self._pid, self._period = pid, period
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()

    def _run(self):
        while not self._stopping.wait(self._period):
            self.rows.append(sample(self._pid))

    def column(self, name):
        return np.array([row[FIELDS.index(name)] for row in self.rows])

    def on_an_even_machine(self, times, durations):
        """Return what durations at some times had been, had the machine kept its median pace."""
        paces = ndimage.median_filter(self.column("pace"), SMOOTHED, mode="nearest")
        return durations * np.median(paces) / np.interp(times, self.column("time"), paces)

    def spread(self, name):
        """Return the least, the median and the most of the second half."""
        later = self.column(name)[len(self.rows) // 2 :]
        return [int(f(later)) for f in (min, np.median, max)]

    def raised(self, name):
        """Return by how much the least has grown from the earlier to the later half, without the start.

        What a child that validates a rule holds comes and goes; what is never closed raises the least.
        """
        early, late = np.array_split(self.column(name)[len(self.rows) // 4 :], 2)
        return int(late.min() - early.min())


def slope(x, y):
    """Return the Theil-Sen slope of y over x and its 95 % interval, of the second half of x.

    Samples that follow each other closely are alike, and would make the interval too narrow: some forty
    medians of neighbours stand for all.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    later = x >= (x[0] + x[-1]) / 2
    groups = min(40, int(later.sum()))
    means = [
        (xs.mean(), np.median(ys))
        for xs, ys in zip(
            np.array_split(x[later], groups), np.array_split(y[later], groups), strict=True
        )
    ]
    found = stats.theilslopes([b for _, b in means], [a for a, _ in means], 0.95)
    return float(found.slope), (float(found.low_slope), float(found.high_slope))


class Within:
    """Takes commands, and keeps those that are neither DAMP nor finite positions within the limits.

    A run that begins with a joint outside its limits leads it inwards: such commands are counted.

    Args:
        robot: whose limits apply.

    Attributes:
        outside: (wall time of arrival, ns; message) of each.
        inwards: how many led a joint back inside.
    """

    def __init__(self, robot):
        self.commands = self.damping = self.inwards = 0
        self.outside = []
        self._robot = robot
        self._order = list(robot.joint_names)
        self._last = BEYOND_RANGE  # rad outside the limits, so far in this run

    def __call__(self, message):
        self.commands += 1
        damps = len(message.position) == 0
        self.damping += damps
        if list(message.name) != self._order:
            good = False
        elif damps:
            good = list(message.velocity) == [0.0] * len(self._order)
            self._last = BEYOND_RANGE
        else:
            out = np.maximum(beyond(self._robot, message.position), 0.0)
            good = bool((out <= self._last).all())  # never if a number is NaN
            self.inwards += good and bool(out.any())
            if good:
                self._last = out
        if not good:
            self.outside.append((time.time_ns(), message))


def beyond(robot, position):
    """Return how far each position is outside the limits, rad, below 0 inside; NaN stays NaN."""
    position = np.array(position)
    return np.maximum(robot.lower - position, position - robot.upper)
