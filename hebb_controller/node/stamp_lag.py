"""Whether the readings of one topic fall behind: a driver or a queue that works through a backlog."""

from __future__ import annotations

from collections.abc import Sequence

from .values import Source

DRIFT = 1e-3  # s per s by which two clocks may drift apart; twice what NTP slews by


class StampLag:
    """Compares how late the messages of each topic arrive with how late they did.

    The lag of a message is the time of its arrival minus its stamp, on two clocks: alone it says nothing.
    How far it is above the topic's least lag so far says how much later than usual the message came, if
    the other topics are as late as usual: the clock of a slow simulator takes all of them along. So
    constant delays do not count, nor do clocks that were never set. In a simulator that is faster than
    real time, where every lag shrinks, nothing is found.

    Any thread may use :meth:`fault`.

    Args:
        limit: how much later than usual a topic may be, and for how long, s.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._least: dict[str, float] = {}  # topic -> lag, s
        self._now = 0.0
        self._late: dict[str, tuple[float, float]] = {}  # topic -> by how much, s, and since when

    def restart(self) -> None:
        """Learn anew what is usual."""
        self._least, self._late = {}, {}

    def watch(self, sources: Sequence[Source], now: float) -> None:
        """Take the topics of the latest reading, at steady time ``now``, s."""
        drift, self._now = DRIFT * (now - self._now), now
        lags = {topic: received - stamp * 1e-9 for topic, stamp, received in sources}
        self._least = {
            topic: min(lag, self._least.get(topic, lag) + drift) for topic, lag in lags.items()
        }
        excess = {topic: lag - self._least[topic] for topic, lag in lags.items()}
        usual = min(excess.values(), default=0.0)
        before = self._late
        self._late = {
            topic: (value - usual, before[topic][1] if topic in before else now)
            for topic, value in excess.items()
            if value - usual > self._limit
        }

    def fault(self, now: float) -> str:
        """Return which topics are late, and have been for long enough, or an empty string."""
        late = [
            f"{topic} arrives {by:.2f} s later than it did"
            for topic, (by, since) in self._late.items()
            if now - since > self._limit
        ]
        return " and ".join(late)
