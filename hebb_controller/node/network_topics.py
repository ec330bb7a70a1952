"""The topics from which a run can be replayed: observation and action of every tick, and the weights.

Nothing is noted or published unless somebody subscribes, and then only after the command has left.
"""

from __future__ import annotations

from array import array

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from ..plasticity import Array
from ..recording import FRONT, Labels, Moment, Tap, Wanted, labels_of, parts_of
from ..runtime.base import State
from .loop import ControlLoop
from .values import Loaded, Phase

HISTORY = {"observation": 200, "action": 200, "weights": 50}
"""Messages that are kept for a listener who lags behind, as in lock-step one may."""


class NetworkTopics:
    """Publishes ``~/observation``, ``~/action`` and ``~/weights``.

    All calls come from the control thread, but the first two and the last one.

    Args:
        node: publishes.
        every: ticks between two messages of weights; 0 for where a run begins or ends, or the weights are
            set, only.
        runtime: name of what runs the networks.
    """

    def __init__(self, node: Node, *, every: int, runtime: str) -> None:
        self._node = node
        self._every = every
        self._runtime = runtime
        self._publishers = {
            name: node.create_publisher(Float64MultiArray, f"~/{name}", depth)
            for name, depth in HISTORY.items()
        }
        self._labels: dict[str, Labels] = {}  # by the sha256 of the rule
        self._wanted = Wanted()
        self._heard = 0  # how many subscribe
        self._tick = 0
        self._open: tuple[Tap, str] | None = None  # whose run has to be closed

    def tap(self, loaded: Loaded) -> Loaded:
        """Have the ticks of a rule noted from now on; return the rule."""
        loaded.controller.runtime = Tap(loaded.controller.runtime, self._wanted)
        return loaded

    def publish(self, loop: ControlLoop, stamp: int) -> None:
        """Publish what the last tick of a loop has brought.

        Args:
            loop: whose rules were given to :meth:`tap`.
            stamp: of the reading that was answered, ns.
        """
        ran = loop.ran
        tap = ran.controller.runtime
        if not isinstance(tap, Tap):
            return
        seen = tap.take()
        if seen is not None:
            labels = self._labels_of(ran)
            moment = Moment(stamp, self._tick, seen.network_tick, seen.gain, seen.anew)
            if seen.before is not None:
                self._send_state(labels, moment, seen.before)
            self._send("observation", labels, moment, seen.observation)
            self._send("action", labels, moment, seen.action)
            self._tick += 1
            self._open = tap, ran.sha256
        elif self._open is not None and loop.status.phase is not Phase.RUN:
            if self._open[0] is tap and not tap.anew:
                gain = tap.plasticity_gain
                moment = Moment(stamp, self._tick, tap.network_tick, gain, anew=False)
                self._send_state(self._labels_of(ran), moment, tap.state)
            self._open = None
        self._listen(ticked=seen is not None)

    def close(self) -> None:
        """Publish no more."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _listen(self, *, ticked: bool) -> None:
        """Say what is wanted of the next tick."""
        before, wanted = self._heard, self._wanted
        self._heard = sum(p.get_subscription_count() for p in self._publishers.values())
        wanted.ticks = self._heard > 0
        # Whoever has just come needs weights to begin with, at the next tick, not the next command.
        asked = wanted.state and not ticked
        due = self._every > 0 and self._tick % self._every == 0
        wanted.state = asked or due or self._heard > before

    def _labels_of(self, loaded: Loaded) -> Labels:
        key = loaded.sha256
        if key not in self._labels:
            self._labels = {key: labels_of(loaded.rule, self._runtime)}
        return self._labels[key]

    def _send_state(self, labels: Labels, moment: Moment, state: State) -> None:
        self._send("weights", labels, moment, parts_of(state))

    def _send(self, name: str, labels: Labels, moment: Moment, values: Array) -> None:
        size = values.size
        dimension = MultiArrayDimension(label=getattr(labels, name), size=size, stride=size)
        layout = MultiArrayLayout(dim=[dimension], data_offset=len(FRONT))
        data = array("d", moment.front())
        data.frombytes(values.astype(np.float64).tobytes())
        self._publishers[name].publish(Float64MultiArray(layout=layout, data=data))
