"""When a tick is due, whether the rate is the rule's, and the figures of the control thread."""

import math

import numpy as np
import pytest

from hebb_controller.errors import ParameterError
from hebb_controller.node.rates import Pace, RateWatch, TickStatistics, divide

MS = 1_000_000


@pytest.mark.parametrize(
    ("period", "rate", "ratio"),
    [(0.02, 0.0, 1), (0.02, 50.0, 1), (0.02, 500.0, 10), (0.001, 1000.0, 1), (1 / 30, 300.0, 10)],
)
def test_a_command_rate_that_is_a_multiple_of_the_rules_is_taken(period, rate, ratio):
    assert divide(period, rate) == ratio


@pytest.mark.parametrize("rate", [25.0, 75.0, 499.0, 50.01, 1.0])
def test_any_other_is_refused_with_the_rates_that_would_do(rate):
    with pytest.raises(ParameterError, match=r"ticks at 50 Hz.*e\.g\. 50, 100 or 200"):
        divide(0.02, rate)


def test_of_commands_at_500_hz_every_tenth_is_a_tick_however_they_jitter():
    pace = Pace(20 * MS, early=1 * MS)
    jitter = [0, 900_000, -900_000, 300_000]
    due = [pace.due(2 * MS * k + (jitter[k % 4] if k else 0)) for k in range(100)]
    assert [k for k, is_due in enumerate(due) if is_due] == list(range(0, 100, 10))


@pytest.mark.parametrize("readings", [1, 2, 3, 4, 5, 8, 10, 16, 20])
@pytest.mark.parametrize("drift", [0.0, 5e-6, -2e-5, 1e-4])
def test_ticks_are_even_whatever_the_rate_of_the_sensors_and_the_drift_of_their_clock(
    readings, drift
):
    """Of sensors at a multiple of the rule's rate, for two minutes."""
    rng, interval = np.random.default_rng(0), 20 * MS / readings
    pace = Pace(20 * MS, early=5 * MS, drifts=True)
    moments = interval * (1.0 + drift) * np.arange(6000 * readings)
    stamps = np.rint(moments + rng.uniform(-1e5, 1e5, len(moments))).astype(np.int64)
    ticks = [moment for moment in stamps.tolist() if pace.due(moment)]
    assert len(ticks) == 6000
    assert np.abs(np.diff(ticks) - 20 * MS).max() < 0.25 * MS


def test_another_period_counts_from_the_last_tick():
    pace = Pace(20 * MS, early=0)
    assert pace.due(100 * MS)
    pace.follow(40 * MS, early=0)
    due = [t for t in range(102, 200, 2) if pace.due(t * MS)]
    assert due == [140, 180]


def test_a_tick_that_was_missed_is_not_made_up_for():
    pace = Pace(20 * MS, early=0)
    assert pace.due(0)
    assert pace.due(90 * MS)
    assert not pace.due(100 * MS)
    assert pace.due(110 * MS)


@pytest.mark.parametrize(
    ("interval", "off"), [(0.02, False), (0.023, False), (0.017, False), (0.04, True), (0.01, True)]
)
def test_the_rate_is_off_when_ticks_keep_coming_too_fast_or_too_slow(interval, off):
    watch = RateWatch(0.02, tolerance=0.2)
    for k in range(500):
        watch.tick(interval * k)
    assert watch.off is off
    # an average over a second: after ten of them nothing is left of the start
    assert watch.period == pytest.approx(interval, rel=1e-3)


def test_one_long_gap_is_no_other_rate():
    watch = RateWatch(0.02, tolerance=0.2)
    stamps = [0.02 * k for k in range(50)]
    stamps += [stamps[-1] + 0.1 + 0.02 * k for k in range(50)]
    assert not any(watch.tick(stamp) for stamp in stamps)


def test_a_rate_that_returns_counts_once_it_is_well_inside():
    watch = RateWatch(0.02, tolerance=0.2)
    now, changes = 0.0, []
    for interval in [0.04] * 200 + [0.02] * 400:
        now += interval
        if watch.tick(now):
            changes.append((watch.off, watch.period))
    assert [off for off, _ in changes] == [True, False]
    assert changes[0][1] > 0.024
    assert changes[1][1] <= 0.022


def test_the_figures_are_those_of_what_was_noted():
    statistics = TickStatistics()
    assert statistics.summary() == {"rate_hz": 0.0, "overruns": 0}
    for k in range(101):
        statistics.began(10.0 + 0.002 * k, 1e-6 * k, 2 if k == 50 else 0)
        statistics.answered(1e-3)
    assert statistics.summary() == pytest.approx(
        {
            "rate_hz": 500.0,
            "jitter_p50_us": 50.0,
            "jitter_p99_us": 99.0,
            "latency_p50_us": 1000.0,
            "latency_p99_us": 1000.0,
            "overruns": 2,
        }
    )


def test_the_figures_are_of_the_last_ticks_only():
    statistics = TickStatistics()
    for k in range(5000):
        statistics.began(0.01 * k, 1.0 if k < 2500 else 0.0, 0)
    assert statistics.summary()["jitter_p99_us"] == 0.0
    assert math.isclose(statistics.summary()["rate_hz"], 100.0)
