"""A topic whose messages arrive later and later is found, whatever its clock, and only then."""

import pytest

from hebb_controller.node.stamp_lag import DRIFT, StampLag
from hebb_controller.node.values import Source

LIMIT = 0.1  # s
TICK = 0.01  # s


def watched(seconds, *, imu, rate=1.0, joints=lambda now: 0.005):
    """Return what is said after a time of listening, and since when.

    Args:
        seconds: the time.
        imu, joints: steady time -> delay of the message that arrives then, s.
        rate: s of stamps per s of steady time.
    """
    lag, since = StampLag(LIMIT), None
    for tick in range(1, round(seconds / TICK) + 1):
        now = 1000.0 + tick * TICK
        sources = [
            Source(topic, round((rate * (now - 1000.0) + 1.7e9 - delay(now - 1000.0)) * 1e9), now)
            for topic, delay in (("joint_states", joints), ("imu/data", imu))
        ]
        lag.watch(sources, now)
        since = since or (now - 1000.0 if lag.fault(now) else None)
    return lag.fault(now), since


@pytest.mark.parametrize("rate", [0.2, 1.0])
def test_a_backlog_is_found_once_it_has_been_beyond_the_limit_for_as_long(rate):
    said, since = watched(3.0, imu=lambda now: max(0.0, 0.5 * (now - 1.0)), rate=rate)
    assert said.startswith("imu/data arrives 1.0")
    assert said.endswith(" s later than it did")
    assert since == pytest.approx(1.0 + LIMIT / 0.5 + LIMIT, abs=3 * TICK)


@pytest.mark.parametrize(
    "imu",
    [
        lambda now: 0.0,
        lambda now: 5.0,  # a clock of its own, or a slow filter
        lambda now: 0.5 if now < 0.3 else 0.0,  # the first ones waited in a queue
        lambda now: 2.0 if 1.0 < now < 1.0 + 0.9 * LIMIT else 0.0,  # a radio that hiccups
        lambda now: 0.9 * LIMIT * (now > 1.0),
        lambda now: 0.9 * DRIFT * now,  # two clocks
        lambda now: -0.5 * now,  # a backlog that is worked off
    ],
)
def test_what_is_no_backlog_is_not_taken_for_one(imu):
    assert watched(300.0, imu=imu) == ("", None)


def test_topics_that_are_late_together_are_not_told_from_a_slow_clock_nor_one_from_a_fast_clock():
    assert watched(10.0, imu=lambda now: 0.3 * now, joints=lambda now: 0.3 * now) == ("", None)
    assert watched(10.0, imu=lambda now: 0.3 * now, rate=10.0) == ("", None)


def test_what_was_late_is_not_late_once_it_has_caught_up():
    said, since = watched(5.0, imu=lambda now: 1.0 if 1.0 < now < 2.0 else 0.0)
    assert said == ""
    assert since == pytest.approx(1.0 + LIMIT, abs=3 * TICK)


def test_after_a_restart_any_delay_is_as_usual():
    lag = StampLag(LIMIT)

    def hear(now, delay):
        stamps = {"joint_states": now, "imu/data": now - delay}
        lag.watch([Source(topic, round(s * 1e9), now) for topic, s in stamps.items()], now)
        return lag.fault(now)

    assert hear(1.0, 0.0) == ""
    assert hear(2.0, 1.0) == ""
    assert hear(3.0, 1.0) == "imu/data arrives 1.00 s later than it did"
    lag.restart()
    assert hear(4.0, 1.0) == hear(5.0, 1.0) == ""
    assert hear(6.0, 3.0) == ""
    assert hear(7.0, 3.0) == "imu/data arrives 2.00 s later than it did"


def test_a_reading_without_sources_is_in_order():
    lag = StampLag(LIMIT)
    lag.watch((), 1.0)
    assert lag.fault(2.0) == ""
