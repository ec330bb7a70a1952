"""What the control loop makes of readings: when it ticks, and what damps."""

import numpy as np
import pytest
from driven import MS, PERIOD, TIMEOUT, Driven, sample

from hebb_controller.node.guard import LOCK_STEP_WATCHDOG
from hebb_controller.node.values import Phase
from hebb_controller.robot import load_robot
from hebb_controller.signals import Mode


@pytest.fixture(scope="module")
def robot():
    return load_robot("a1")


def test_a_repeated_stamp_is_answered_by_the_same_command_without_a_tick(robot):
    driven = Driven(robot).to_run()
    first = driven.step()
    ticks = driven.loop.ticks
    again = driven.loop.tick(sample(robot, driven.stamp), driven.stamp * 1e-9)
    assert again is first
    assert driven.loop.ticks == ticks


@pytest.mark.parametrize("rate", [2, 4, 10])
def test_readings_faster_than_the_rule_tick_it_at_its_own_period(robot, rate):
    driven = Driven(robot).to_run()
    before = driven.loop.ticks
    start = driven.stamp
    for i in range(1, 50 * rate + 1):
        given = sample(robot, start + i * PERIOD // rate)
        driven.loop.tick(given, given.reading.received)
    assert driven.loop.ticks - before == 50


@pytest.mark.parametrize("lock_step", [False, True])
def test_a_stamp_that_is_repeated_for_long_damps_but_not_in_lock_step(robot, lock_step):
    """A simulator in lock-step repeats its reading for who did not hear it."""
    driven = Driven(robot, frozen_timeout=0.5, lock_step=lock_step).to_run()
    driven.step()
    since = driven.stamp * 1e-9
    for received in since + np.arange(0.05, 0.51, 0.05):
        again = sample(robot, driven.stamp, received=received)
        assert driven.loop.tick(again, received).mode is Mode.POSITION
    again = sample(robot, driven.stamp, received=since + 0.51)
    command = driven.loop.tick(again, since + 0.51)
    assert command.mode is (Mode.POSITION if lock_step else Mode.DAMP)
    said = driven.loop.status.reason
    assert said == ("" if lock_step else "the stamps have stood still for 0.51 s: damping")


@pytest.mark.parametrize("alive", ["orientation", "angular_velocity_base"])
def test_an_imu_that_reads_the_same_for_long_damps(robot, alive):
    """One value that changes in its last bit is alive."""
    driven = Driven(robot, frozen_timeout=0.5).to_run()
    still = {"orientation": np.array([0.0, 0.0, 0.0, 1.0]), "angular_velocity_base": np.ones(3)}
    for tick in range(50):
        moving = still[alive] + np.eye(len(still[alive]))[0] * tick * 1e-9
        driven.step(**{**still, alive: moving})
    assert driven.phase is Phase.RUN
    for _ in range(25):
        driven.step(**still)
    assert driven.phase is Phase.RUN  # the first of them was new
    driven.step(**still)
    driven.step(**still)
    assert driven.loop.status.reason == "the imu has read the same for 0.52 s: damping"


def test_readings_at_the_rules_own_rate_that_jitter_tick_it_every_time(robot):
    driven = Driven(robot).to_run()
    before = driven.loop.ticks
    start = driven.stamp
    for i in range(1, 51):
        given = sample(robot, start + i * PERIOD + (3 * MS if i % 2 else -3 * MS))
        driven.loop.tick(given, given.reading.received)
    assert driven.loop.ticks - before == 50


def test_no_reading_at_all_damps_once_the_timeout_has_passed_since_the_start(robot):
    loop = Driven(robot).loop
    loop.start(10.0)
    assert loop.tick(None, 10.0 + TIMEOUT) is None
    assert loop.tick(None, 10.0 + TIMEOUT + 0.001).mode is Mode.DAMP
    assert loop.status.phase is Phase.DAMPED
    assert "no complete sensor reading" in loop.status.reason


def test_a_reading_from_before_the_start_does_not_count(robot):
    loop = Driven(robot).loop
    loop.start(10.0)
    assert loop.tick(sample(robot, 0, received=9.99), 10.0) is None
    assert loop.status.phase is Phase.TO_DEFAULT_POSE


def test_stale_sensors_damp_and_stay_damped_when_they_return(robot):
    driven = Driven(robot).to_run()
    last = sample(robot, driven.stamp)
    now = last.reading.received
    assert driven.loop.tick(last, now + TIMEOUT).mode is Mode.POSITION
    assert driven.loop.tick(last, now + TIMEOUT + 0.001).mode is Mode.DAMP
    assert "101 ms old" in driven.loop.status.reason
    for _ in range(100):
        assert driven.step().mode is Mode.DAMP


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"joint_velocity": np.full(12, np.nan)}, "not finite"),
        ({"orientation": np.array([1.0, 0.0, 0.0, 0.0])}, "tilted by 3.14 rad"),
    ],
)
@pytest.mark.parametrize("running", [True, False])
def test_a_reading_that_cannot_be_trusted_damps(robot, changes, reason, running):
    driven = Driven(robot)
    if running:
        driven.to_run()
    else:
        driven.loop.start(0.0)
    assert driven.step(**changes).mode is Mode.DAMP
    assert driven.phase is Phase.DAMPED
    assert reason in driven.loop.status.reason


def test_a_bad_reading_damps_even_between_two_ticks(robot):
    driven = Driven(robot).to_run()
    driven.step()
    upside_down = np.array([1.0, 0.0, 0.0, 0.0])
    given = sample(robot, driven.stamp + 2 * MS, orientation=upside_down)
    assert driven.loop.tick(given, given.reading.received).mode is Mode.DAMP


def test_a_loop_that_stood_still_damps_though_its_readings_are_new(robot):
    """A process that was stopped and goes on: the receiver of its commands has damped meanwhile."""
    driven = Driven(robot).to_run()
    driven.step()
    driven.stamp += 80 * MS  # with the step, as long as sensors may be quiet
    assert driven.step().mode is Mode.POSITION
    driven.stamp += 90 * MS
    assert driven.step().mode is Mode.DAMP
    assert driven.loop.status.reason == "the control loop stood still for 0.11 s: damping"


def test_a_backward_jump_of_the_stamps_damps(robot):
    driven = Driven(robot).to_run()
    now = driven.stamp * 1e-9 + 0.02
    driven.stamp = 0
    assert driven.step(received=now).mode is Mode.DAMP
    assert "jumped back" in driven.loop.status.reason


def test_in_lock_step_only_stamps_age_until_the_watchdog(robot):
    driven = Driven(robot, lock_step=True).to_run()
    last = sample(robot, driven.stamp)
    now = last.reading.received
    assert driven.loop.tick(last, now + LOCK_STEP_WATCHDOG).mode is Mode.POSITION
    assert driven.loop.tick(last, now + LOCK_STEP_WATCHDOG + 0.01).mode is Mode.DAMP


def test_in_lock_step_stamps_that_jump_ahead_damp(robot):
    driven = Driven(robot, lock_step=True).to_run()
    driven.stamp += round(TIMEOUT * 1e9)
    assert driven.step().mode is Mode.DAMP
    assert "jumped ahead by 0.120 s" in driven.loop.status.reason
