"""Measures of episodes that were written down by hand."""

import math

import numpy as np
import pytest
from toys import make_record

from hebb_controller.train.metrics import (
    GRID,
    SPEED_WINDOW,
    Outcome,
    RewardSpec,
    fall_rate,
    final_heading,
    fitness,
    mean_speed,
    outcome,
    recovery_time,
    retained_speed,
    speed_between,
    speed_trace,
    velocity,
)

# All terms off but the first; a test turns on what it is about. Binary fractions, so sums are exact.
PLAIN = {
    "target": 0.5,
    "limit": 9.0,
    "fast": 0.0,
    "heading": 0.0,
    "sideways": 0.0,
    "power": 0.0,
    "fall": 0.0,
}


def reward(**fields):
    return RewardSpec(**{**PLAIN, **fields})


def straight(speed, ticks=8, period=0.125, **fields):
    """Return an episode along x at a constant speed, m/s."""
    rows = [(speed * period * (i + 1), 0.0, 0.0) for i in range(ticks)]
    return make_record(rows, period=period, **fields)


def test_speed_is_a_mean_over_a_quarter_of_a_second():
    assert SPEED_WINDOW == 0.25
    # 0.125 s a tick, so the mean of two; over what there is at the start. The robot jumps 1 m in
    # tick 3 and slides 0.5 m to the left in tick 4.
    record = make_record([(0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0.5, 0), (1, 0.5, 0)], period=0.125)
    assert velocity(record)[:, 0].tolist() == [0.0, 0.0, 4.0, 4.0, 0.0]
    assert velocity(record)[:, 1].tolist() == [0.0, 0.0, 0.0, 2.0, 2.0]


def test_the_start_counts_from_the_origin():
    record = make_record([(0.25, 0, 0), (0.25, 0, 0), (0.25, 0, 0)], period=0.125)
    # 0.25 m in the first tick; the second looks back over two ticks, the third no longer sees it
    assert velocity(record)[:, 0].tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize(("speed", "earns"), [(0.5, 1.0), (0.25, 0.5), (0.0, 0.0), (-0.5, -1.0)])
def test_speed_pays_up_to_the_target(speed, earns):
    assert fitness(straight(speed), reward()) == earns
    assert fitness(straight(4.0), reward()) == 1.0


def test_every_charge_is_a_mean_over_the_ticks():
    # at 2 m/s, 1 above the limit of 1, charged 0.25 per m/s
    assert fitness(straight(2.0), reward(limit=1.0, fast=0.25)) == 0.75
    # heading −0.5 in half of the ticks, 0.5 per rad: 0.125
    heading = np.array([-0.5] * 4 + [0.0] * 4)
    assert fitness(straight(0.5, heading=heading), reward(heading=0.5)) == 0.875
    # 100 W in one tick of eight, 0.01 per W
    power = np.array([100.0] + [0.0] * 7)
    assert fitness(straight(0.5, power=power), reward(power=0.01)) == pytest.approx(0.875)
    # sliding right at 0.5 m/s, charged 0.5 per m/s
    rows = [(0.0, -0.0625 * (i + 1), 0.0) for i in range(8)]
    assert fitness(make_record(rows, period=0.125), reward(sideways=0.5)) == -0.25


def test_turning_round_is_charged_as_two_radians():
    heading = np.full(8, -7.0)
    assert fitness(straight(0.5, heading=heading), reward(heading=0.25)) == 0.5


def test_ticks_lost_by_a_fall_earn_nothing_and_the_fall_is_charged_once():
    record = straight(0.5, ticks=4, duration=1.0, fallen=True)  # half of the episode
    assert record.ticks == 4
    assert record.planned_ticks == 8
    assert fitness(record, reward(fall=0.25)) == 0.25
    assert fitness(straight(0.5, ticks=4, duration=1.0), reward(fall=0.25)) == 0.5


def test_an_episode_that_never_began_is_a_fall():
    record = make_record([], duration=1.0, fallen=True)
    assert fitness(record, reward(fall=0.25)) == -0.25
    assert mean_speed(record) == 0.0
    assert final_heading(record) == 0.0
    assert speed_between(record, 0.0, 1.0) == 0.0


def test_numbers_that_are_not_finite_show():
    assert math.isnan(fitness(straight(math.nan), reward()))


def test_mean_speed_is_over_the_whole_duration_fallen_or_not():
    assert mean_speed(straight(0.5)) == 0.5
    assert mean_speed(straight(0.5, ticks=4, duration=1.0, fallen=True)) == 0.25


def test_speed_between_two_moments():
    # still for 1 s, then 1 m/s for 1 s
    rows = [(0.0, 0, 0)] * 8 + [(0.125 * (i + 1), 0, 0) for i in range(8)]
    record = make_record(rows, period=0.125)
    assert speed_between(record, 0.0, 1.0) == 0.0
    assert speed_between(record, 1.0, 2.0) == 1.0
    assert speed_between(record, 0.0, 2.0) == 0.5
    assert speed_between(record, 1.5, 2.0) == 1.0


def test_time_lost_by_a_fall_is_standing_still():
    record = straight(1.0, ticks=4, duration=1.0, fallen=True)  # 0.5 m, fallen at 0.5 s
    assert speed_between(record, 0.0, 1.0) == 0.5
    assert speed_between(record, 0.25, 0.75) == 0.5
    assert speed_between(record, 0.5, 1.0) == 0.0


def test_heading_at_the_end_is_a_size():
    assert final_heading(straight(0.0, heading=np.array([0.0] * 7 + [-0.25]))) == 0.25


# --- around a damage ---


def walk(*legs, period=0.125, **fields):
    """Return an episode that goes on at each (speed in m/s, seconds) in turn."""
    steps = [speed * period for speed, seconds in legs for _ in range(round(seconds / period))]
    return make_record([(x, 0.0, 0.0) for x in np.cumsum(steps)], period=period, **fields)


def test_speeds_before_and_after_are_means_over_3_s():
    # the damage comes at 5 s; from 2 to 5 s it walks 1, 1 and 0.25 m
    record = walk((9, 2), (1, 2), (0.25, 1), (7, 4), (0.5, 1.5), (0.25, 1.5))
    around = outcome(record, 5.0, asked=1.0)
    assert around.before == 0.75
    assert around.after == 0.375
    assert around.watched == 5.5  # of 12 s, the last window of 1.5 s begins at 10.5


def test_after_a_fall_the_speed_is_0_however_far_it_came():
    record = walk((1, 10), duration=11.0, fallen=True)
    around = outcome(record, 5.0, asked=1.0)
    assert (around.before, around.after, around.recovery, around.fallen) == (1.0, 0.0, None, True)


def test_recovery_is_the_moment_from_which_1_5_s_means_stay_fast_enough():
    # It stands for 2 s. A window of 12 ticks may hold 3 standing ones: 9/12 ≥ 0.7 > 8/12. So the
    # first that will do begins 3 ticks before the end of standing: 13 of its 16 ticks.
    record = walk((1, 5), (0, 2), (1, 4))
    assert recovery_time(record, 5.0, asked=1.0) == 13 * 0.125
    # a second stop of 0.5 s, 4 ticks, starts it anew: the window has to begin after one of them
    record = walk((1, 5), (0, 2), (1, 2), (0, 0.5), (1, 4))
    assert recovery_time(record, 5.0, asked=1.0) == 4.0 + 0.125


def test_whoever_never_slows_down_recovers_at_once_and_who_ends_slow_never():
    assert recovery_time(walk((1, 10)), 5.0, asked=1.0) == 0.0
    assert recovery_time(walk((0.7, 10)), 5.0, asked=1.0) == 0.0
    assert recovery_time(walk((0.69, 10)), 5.0, asked=1.0) is None
    assert recovery_time(walk((1, 5), (0, 1), (1, 3), (0, 1)), 5.0, asked=1.0) is None
    assert recovery_time(walk((1, 9), duration=10.0, fallen=True), 5.0, asked=1.0) is None
    assert recovery_time(walk((math.nan, 10)), 5.0, asked=1.0) is None


def test_the_trace_is_a_mean_over_half_a_second_every_tenth():
    assert GRID == 0.1
    # 20 ms a tick; the damage at 4 s; it falls at 6 of 8 s
    record = walk((1, 4), (0.5, 2), period=0.02, duration=8.0, fallen=True)
    trace = speed_trace(record, 4.0)
    assert len(trace) == 71  # −3 to 4 s
    assert trace[[0, 30]] == pytest.approx([1.0, 1.0])
    assert trace[32] == pytest.approx((0.3 * 1.0 + 0.2 * 0.5) / 0.5)
    assert trace[[35, 50, 55, 70]] == pytest.approx([0.5, 0.5, 0.0, 0.0])
    assert np.isnan(speed_trace(record, 3.2)[:3]).all()  # 0.2 to 0.4 s look back before the start
    assert speed_trace(record, 3.2)[3] == pytest.approx(1.0)


def made(before, after, *, fallen=False):
    return Outcome(before, after, None, 5.0, fallen, np.zeros(0))


def test_retained_speed_is_a_ratio_of_means():
    # the mean of the ratios would be (1 + 1/3) / 2
    assert retained_speed([made(1.0, 1.0), made(3.0, 1.0)], asked=1.0) == 0.5


def test_who_is_slow_before_the_damage_has_nothing_to_retain():
    assert retained_speed([made(1.0, 0.5), made(0.5, 0.5)], asked=1.0) is None  # 0.75 < 0.8
    assert retained_speed([made(1.0, 0.5), made(0.5, 0.5)], asked=0.9) == pytest.approx(2 / 3)
    assert retained_speed([], asked=1.0) is None


def test_the_fall_rate_is_a_share():
    assert fall_rate([made(1, 0, fallen=True), made(1, 1), made(1, 1), made(1, 1)]) == 0.25
