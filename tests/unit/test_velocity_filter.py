"""Velocities out of positions, against the low-pass's differential equation."""

import math

import numpy as np
import pytest

from hebb_controller.velocity_filter import VelocityFilter

CUTOFF = 5.0
RATE = 2.0 * math.pi * CUTOFF  # 1/s


def test_it_starts_at_rest_wherever_the_joints_are():
    assert VelocityFilter(CUTOFF).update(np.array([3.0, -4.0]), 100.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("stamps", [np.arange(0.0, 0.2, 0.02), [0.0, 0.001, 0.05, 0.051, 0.18]])
def test_a_joint_that_begins_to_move_is_followed_exponentially_however_uneven_the_stamps(stamps):
    estimate = VelocityFilter(CUTOFF)
    for stamp in stamps:
        found = estimate.update(np.array([2.0 * stamp, 1.0 - 3.0 * stamp]), 7.0 + stamp)
        expected = 1.0 - math.exp(-RATE * stamp)  # the solution of v' = RATE·(wanted − v)
        # stamps are rounded to whole ns: 1e-9 of 0.001 s
        assert found == pytest.approx([2.0 * expected, -3.0 * expected], rel=1e-6, abs=1e-9)


def test_at_the_cutoff_frequency_a_sine_passes_by_one_over_root_two():
    estimate, step = VelocityFilter(CUTOFF), 1e-4
    times = np.arange(0.0, 2.0, step)
    speeds = [estimate.update(np.array([math.sin(RATE * t) / RATE]), t)[0] for t in times]
    late = np.array(speeds)[len(times) // 2 :]
    # the input's speed has amplitude 1; a straight line between samples errs by (RATE·step)²/8
    assert late.max() == pytest.approx(math.sqrt(0.5), rel=(RATE * step) ** 2)


def test_a_stamp_that_does_not_come_later_changes_nothing():
    estimate = VelocityFilter(CUTOFF)
    estimate.update(np.zeros(1), 1.0)
    before = estimate.update(np.ones(1), 1.02)
    for stamp in (1.02, 1.01, 0.0):
        assert estimate.update(np.full(1, 9.0), stamp).tolist() == before.tolist()
    again = estimate.update(np.ones(1), 1.04)
    assert again[0] == pytest.approx(before[0] * math.exp(-RATE * 0.02), rel=1e-9)


def test_each_joint_goes_by_its_own_stamps():
    """One is measured every 20 ms, the other 7 ms later and then not again."""
    estimate, alone = VelocityFilter(CUTOFF), VelocityFilter(CUTOFF)
    for tick in range(8):
        first, second = 0.02 * tick, 0.02 * min(tick, 4) + 0.007
        both = estimate.update(np.array([first, 2.0 * second]), np.array([first, second]))
        assert both[0] == alone.update(np.array([first]), first)[0]
    wanted = 2.0 * (1.0 - math.exp(-RATE * 0.08))
    assert both[1] == pytest.approx(wanted, rel=1e-6)


def test_a_reset_forgets_speed_and_position():
    estimate = VelocityFilter(CUTOFF)
    estimate.update(np.zeros(1), 0.0)
    estimate.update(np.ones(1), 0.02)
    estimate.reset()
    assert estimate.update(np.full(1, 50.0), 0.04).tolist() == [0.0]


def test_the_largest_numbers_stay_finite():
    estimate = VelocityFilter(CUTOFF)
    for tick, position in enumerate((1.7e308, -1.7e308, 1.7e308, 0.0, 1.7e308)):
        assert np.isfinite(estimate.update(np.full(2, position), tick * 1e-9)).all()


def test_what_it_takes_and_gives_is_the_callers_own():
    estimate, position = VelocityFilter(CUTOFF), np.zeros(1)
    estimate.update(position, 0.0)
    position[0] = 1.0
    first = estimate.update(position, 0.02)
    kept = first.tolist()
    assert kept[0] > 0.0
    estimate.update(np.zeros(1), 0.04)
    assert first.tolist() == kept
