"""The topics from which a run can be replayed: observation and action of every tick, and the weights.

Nothing is noted or published unless somebody subscribes. The control thread only takes notes; another
thread makes and publishes the messages while the control thread waits for its next tick.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import traceback
from array import array

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from ..plasticity import Array
from ..recording import FRONT, Labels, Moment, Tap, Wanted, labels_of, parts_of
from .loop import ControlLoop
from .values import Loaded, Phase

HISTORY = {"observation": 1000, "action": 1000, "weights": 50}
"""Topic -> messages kept for a listener that lags behind, as it may in lock-step."""

MAX_WAITING = 1000  # ticks that may wait to be published; a replay notices lost ones
LOOK_PERIOD = 0.1  # s between two checks for listeners
ACKNOWLEDGE_TIMEOUT = 0.1  # s allowed for the last weights to arrive


class NetworkTopics:
    """Publishes ``~/observation``, ``~/action`` and ``~/weights``.

    Args:
        node: publishes.
        every: ticks between two messages of weights; 0 to publish them only where a run begins or ends,
            or the weights are set.
        runtime: name of the runtime of the networks.
    """

    def __init__(self, node: Node, *, every: int, runtime: str) -> None:
        self._node = node
        self._every = every
        self._runtime = runtime
        self._wanted = Wanted()
        self._listeners = 0
        self._newcomer = self._closing = False
        self._tick = 0
        self._open: Tap | None = None  # its run is still to be closed by its last weights
        self._labels: dict[str, Labels] = {}  # of the rule in force, by its sha256
        self._waiting: queue.SimpleQueue[tuple[Loaded, Moment, dict[str, Array]] | None] = (
            queue.SimpleQueue()
        )
        self._publishers = {
            name: node.create_publisher(Float64MultiArray, f"~/{name}", depth)
            for name, depth in HISTORY.items()
        }
        self._thread = threading.Thread(target=self._run, name="network topics", daemon=True)
        self._thread.start()

    def tap(self, loaded: Loaded) -> Loaded:
        """Note the ticks of a rule from now on; return the rule."""
        loaded.controller.runtime = Tap(loaded.controller.runtime, self._wanted)
        return loaded

    def publish(self, loop: ControlLoop, stamp: int) -> None:
        """Queue the outcome of a loop's last tick for publishing; for the control thread.

        Args:
            loop: whose rules were given to :meth:`tap`.
            stamp: of the reading that was answered, ns.
        """
        ran, wanted = loop.ran, self._wanted
        tap = ran.controller.runtime
        if not isinstance(tap, Tap):
            return
        seen = tap.take()
        if seen is not None:
            moment = Moment(stamp, self._tick, seen.network_tick, seen.gain, seen.anew)
            arrays = {} if seen.before is None else {"weights": parts_of(seen.before)}
            arrays |= {"observation": seen.observation, "action": seen.action}
            self._have_sent(ran, moment, arrays)
            self._tick += 1
            self._open = tap
            wanted.state = self._every > 0 and self._tick % self._every == 0
        elif self._open is not None and loop.status.phase is not Phase.RUN:
            if self._open is tap and not tap.anew:
                gain, ticks = tap.plasticity_gain, tap.network_tick
                moment = Moment(stamp, self._tick, ticks, gain, anew=False)
                self._have_sent(ran, moment, {"weights": parts_of(tap.state)})
            self._open = None
        wanted.ticks = self._listeners > 0
        if self._newcomer:  # it needs weights to begin with
            self._newcomer, wanted.state = False, True

    def close(self) -> None:
        """Publish what is queued, then stop."""
        self._closing = True
        self._waiting.put(None)
        self._thread.join(timeout=ACKNOWLEDGE_TIMEOUT)
        if self._listeners and self._node.context.ok():
            timeout = Duration(nanoseconds=round(ACKNOWLEDGE_TIMEOUT * 1e9))
            self._publishers["weights"].wait_for_all_acked(timeout)
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _have_sent(self, ran: Loaded, moment: Moment, arrays: dict[str, Array]) -> None:
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put((ran, moment, arrays))

    def _run(self) -> None:
        next_look = 0.0
        try:
            while True:
                # rclpy's events would show it, too, but a publisher that has one cannot be destroyed
                # safely while an executor runs.
                if (now := time.monotonic()) >= next_look:
                    next_look = now + LOOK_PERIOD
                    listeners = self._count()
                    self._newcomer |= listeners > self._listeners
                    self._listeners = listeners
                with contextlib.suppress(queue.Empty):
                    item = self._waiting.get(timeout=LOOK_PERIOD)
                    if item is None:
                        return
                    self._send(*item)
        except Exception:
            self._listeners = 0
            if self._node.context.ok() and not self._closing:
                self._node.get_logger().error(traceback.format_exc())

    def _count(self) -> int:
        return sum(publisher.get_subscription_count() for publisher in self._publishers.values())

    def _send(self, ran: Loaded, moment: Moment, arrays: dict[str, Array]) -> None:
        key = ran.sha256
        if key not in self._labels:
            self._labels = {key: labels_of(ran.rule, self._runtime)}
        front = moment.front()
        for name, values in arrays.items():
            label, size = getattr(self._labels[key], name), values.size
            dimension = MultiArrayDimension(label=label, size=size, stride=size)
            layout = MultiArrayLayout(dim=[dimension], data_offset=len(FRONT))
            data = array("d", front)
            data.frombytes(values.astype(np.float64).tobytes())
            self._publishers[name].publish(Float64MultiArray(layout=layout, data=data))
