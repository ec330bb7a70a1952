"""Rates: when a tick is due, whether ticks come at the rule's rate, and how punctual they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import ParameterError

WINDOW = 1.0  # s over which the rate is averaged
KEPT = 1024  # ticks covered by the statistics
FOLLOWED = 1 / 16  # share of a moment's distance from its due time that the later ones move by


def divide(tick_period: float, command_rate: float) -> int:
    """Return how many commands go out in one tick of the rule; a rate of 0 means one.

    Args:
        tick_period: of the rule, s.
        command_rate: commands per second.

    Raises:
        ParameterError: it is not a whole number.
    """
    if command_rate == 0.0:
        return 1
    exact = tick_period * command_rate
    whole = round(exact)
    if whole < 1 or abs(exact - whole) > 1e-6 * whole:
        rate = 1.0 / tick_period
        raise ParameterError(
            f"command_rate is {command_rate:g} Hz; the rule ticks at {rate:g} Hz, and it must be a "
            f"whole multiple of that, e.g. {rate:g}, {2 * rate:g} or {4 * rate:g}."
        )
    return whole


class Pace:
    """Says when a tick is due: at the first moment at or after each multiple of the period.

    Args:
        period: of the rule, ns.
        early: how much earlier still counts as due, ns: moments of the same nominal rate jitter.
        drifts: whether the moments come by another clock, at a rate that is not known. Then none counts as
            due that the next one is nearer to, and the multiples follow that clock.
    """

    def __init__(self, period: int, *, early: int, drifts: bool = False) -> None:
        self._period = period
        self._early = early
        self._drifts = drifts
        self._due: int | None = None
        self._moment = 0

    def restart(self) -> None:
        """Make the next moment due, and count from there."""
        self._due = None

    def follow(self, period: int, *, early: int) -> None:
        """Tick at another period from the last tick on."""
        if self._due is not None:
            self._due += period - self._period
        self._period, self._early = period, early

    def due(self, moment: int) -> bool:
        """Return whether a tick is due at this moment, ns; if so, count on to the next one."""
        early, since = self._early, moment - self._moment
        self._moment = moment
        if self._drifts:
            early = min(early, since // 2)
        due = moment if self._due is None else self._due
        if moment < due - early:
            return False
        if moment >= due + self._period:  # ticks were missed
            due = moment
        elif self._drifts and moment <= due + early:
            due += round(FOLLOWED * (moment - due))
        self._due = due + self._period
        return True


class RateWatch:
    """Tells whether ticks come at the rule's rate: a rule learns per tick, not per second.

    Args:
        period: of the rule, s.
        tolerance: fraction by which the average may be off; half of it once it has been exceeded.
    """

    def __init__(self, period: float, tolerance: float) -> None:
        self.nominal = period
        self._tolerance = tolerance
        self._alpha = min(period / WINDOW, 1.0)
        self._last: float | None = None
        self.period = period
        self.off = False

    @property
    def hertz(self) -> float:
        """The average rate, Hz."""
        return 1.0 / max(self.period, 1e-9)

    def restart(self) -> None:
        """Forget what was measured."""
        self._last, self.period, self.off = None, self.nominal, False

    def tick(self, stamp: float) -> bool:
        """Take the stamp of a tick, s; return whether the rate left or regained the tolerance."""
        if self._last is not None:
            self.period += self._alpha * (stamp - self._last - self.period)
        self._last = stamp
        allowed = self._tolerance * (0.5 if self.off else 1.0)
        off = abs(self.period / self.nominal - 1.0) > allowed
        changed, self.off = off is not self.off, off
        return changed


class TickStatistics:
    """How late ticks began, how long commands took after their readings, and how many ticks were missed."""

    def __init__(self) -> None:
        self.overruns = 0
        self._late = np.zeros(KEPT)
        self._latency = np.zeros(KEPT)
        self._begun = np.zeros(KEPT)
        self.ticks = self._answers = 0

    def began(self, now: float, late: float, missed: int) -> None:
        """Record that a tick began ``late`` s after its deadline and ``missed`` ticks before it did not."""
        self.overruns += missed
        i = self.ticks % KEPT
        self._begun[i], self._late[i] = now, late
        self.ticks += 1

    def answered(self, latency: float) -> None:
        """Record that a command left ``latency`` s after its reading arrived."""
        self._latency[self._answers % KEPT] = latency
        self._answers += 1

    def summary(self) -> Mapping[str, float]:
        """Return the figures of the last ticks, in Hz, µs and periods."""
        n, m = min(self.ticks, KEPT), min(self._answers, KEPT)
        begun = np.sort(self._begun[:n])
        span = float(begun[-1] - begun[0]) if n > 1 else 0.0
        rate = (n - 1) / span if span > 0 else 0.0
        return {
            "rate_hz": rate,
            **_percentiles("jitter", self._late[:n]),
            **_percentiles("latency", self._latency[:m]),
            "overruns": self.overruns,
        }


def _percentiles(name: str, seconds: np.typing.NDArray[np.float64]) -> dict[str, float]:
    if not seconds.size:
        return {}
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
    return {f"{name}_p50_us": float(p50), f"{name}_p99_us": float(p99)}
