"""The control loop's phases, without ROS, threads or clocks."""

from dataclasses import replace

import numpy as np
import pytest

from hebb_controller.contract import Contract, joint_contracts
from hebb_controller.controller import controller_for
from hebb_controller.network import InitialSpec
from hebb_controller.node.guard import LOCK_STEP_WATCHDOG
from hebb_controller.node.loop import ControlLoop
from hebb_controller.node.values import Loaded, LoopSettings, Phase, Sample
from hebb_controller.observation import Channel
from hebb_controller.plasticity import UpdateSpec
from hebb_controller.robot import load_robot
from hebb_controller.rule import RuleHeader, make_rule
from hebb_controller.signals import Mode, SensorReading

MS = 1_000_000  # ns
PERIOD = 20 * MS
TIMEOUT = 0.1


@pytest.fixture(scope="module")
def robot():
    return load_robot("a1")


def loaded(robot, path="one", *, scale=0.3):
    """Return a controller whose weights, and so whose actions, follow from the seed alone."""
    channels = (Channel("joint_position", 1.0, 5.0), Channel("clock", 1.0, 1.0))
    n = robot.n_joints
    header = RuleHeader(
        format_version=1,
        kind="static",
        layer_sizes=(n + 2, n),
        update=UpdateSpec(1, 1.0, 0.0, "none", 1.0, 0.1),
        initial=InitialSpec("uniform", scale),
        tick_period=0.02,
        contract=Contract(robot.name, "pd", 0, channels, joint_contracts(robot, [0.1] * n)),
        provenance={},
        license="Apache-2.0",
    )
    rule = replace(make_rule(header, [{}]), sha256=f"sha256 of {path}")
    return Loaded(controller_for(rule, robot), rule, path)


def settings(**changes):
    values = {"sensor_timeout": TIMEOUT, "lock_step": False, "by_stamps": True, "seed": 1}
    return LoopSettings(**{**values, **changes})


def sample(robot, stamp, received=None, **changes):
    """Return a reading in the default pose; by default it is received at its stamp.

    Velocities differ each time, as on any robot: a driver that repeats itself is damped.
    """
    reading = SensorReading(
        stamp=stamp * 1e-9,
        received=stamp * 1e-9 if received is None else received,
        joint_position=robot.default,
        joint_velocity=np.full(robot.n_joints, stamp * 1e-15),
        orientation=np.array([0.0, 0.0, 0.0, 1.0]),
        angular_velocity_base=np.full(3, stamp * 1e-15),
    )
    return Sample(replace(reading, **changes), stamp)


class Driven:
    """A loop with the time line of its readings."""

    def __init__(self, robot, **changes):
        self.robot = robot
        self.loop = ControlLoop(robot, loaded(robot), settings(**changes))
        self.stamp = 0

    def step(self, **changes):
        self.stamp += PERIOD
        given = sample(self.robot, self.stamp, **changes)
        return self.loop.tick(given, given.reading.received)

    def to_run(self):
        self.loop.start(0.0)
        while self.loop.status.phase is Phase.TO_DEFAULT_POSE:
            self.step()
        return self

    @property
    def phase(self):
        return self.loop.status.phase

    @property
    def weights(self):
        return self.loop.controller.runtime.state["weights"]


def test_an_inactive_loop_commands_nothing_but_damps_in_lock_step(robot):
    assert Driven(robot).step() is None
    assert Driven(robot, lock_step=True).step().mode is Mode.DAMP


def test_the_way_to_the_default_pose_starts_where_the_robot_is_and_keeps_its_speed(robot):
    driven = Driven(robot)
    driven.loop.start(0.0)
    away = robot.default.copy()
    away[1] += 0.8  # at 1 rad/s this takes 0.8 s: 40 periods
    commands = [driven.step(joint_position=away) for _ in range(41)]
    targets = np.array([command.position for command in commands])
    np.testing.assert_allclose(targets[0], away)
    np.testing.assert_allclose(targets[-1], robot.default)
    assert np.abs(np.diff(targets, axis=0)).max() <= 0.02 + 1e-9
    assert driven.phase is Phase.RUN


def test_the_way_to_the_default_pose_takes_half_a_second_at_least(robot):
    driven = Driven(robot)
    driven.loop.start(0.0)
    for _ in range(25):
        driven.step()
        assert driven.phase is Phase.TO_DEFAULT_POSE
    driven.step()
    assert driven.phase is Phase.RUN


def test_a_robot_that_does_not_come_along_is_damped_and_never_runs(robot):
    """Its driver may listen to another topic, its motors may have no power."""
    driven = Driven(robot)
    driven.loop.start(0.0)
    away = robot.default + 1.0
    phases, modes = [], []
    for _ in range(100):
        modes.append(driven.step(joint_position=away).mode)
        phases.append(driven.phase)
    damped = phases.index(Phase.DAMPED)
    # on the way for 0.3 s until it is too far behind
    assert set(phases[:damped]) == {Phase.TO_DEFAULT_POSE}
    assert 50 + 15 <= damped < 50 + 25
    assert set(phases[damped:]) == {Phase.DAMPED}
    assert modes[damped - 1 : damped + 1] == [Mode.POSITION, Mode.DAMP]
    reason = driven.loop.status.reason
    assert reason.startswith("12 of 12 joints have not followed their targets for 1.0 s"), reason
    assert driven.loop.reset_estop(driven.stamp * 1e-9) == ""  # and it may try again
    driven.to_run()


def test_a_robot_that_comes_late_runs_from_then_on(robot):
    driven = Driven(robot)
    driven.loop.start(0.0)
    for _ in range(40):
        driven.step(joint_position=robot.default + 0.4)
    assert driven.phase is Phase.TO_DEFAULT_POSE
    driven.step()
    assert driven.phase is Phase.RUN


def test_a_robot_whose_power_is_cut_while_it_runs_is_damped(robot):
    driven = Driven(robot).to_run()
    for _ in range(49):
        assert driven.step(joint_position=robot.default + 0.5).mode is Mode.POSITION
    assert driven.step(joint_position=robot.default + 0.5).mode is Mode.DAMP
    assert "have not followed their targets" in driven.loop.status.reason


@pytest.mark.parametrize("changes", [{}, {"obeyed": False}], ids=["limp leg", "dry run"])
def test_a_limp_leg_need_not_follow_and_in_a_dry_run_nothing(robot, changes):
    driven = Driven(robot, **changes)
    driven.loop.start(0.0)
    away = robot.default + 0.5
    if not changes:
        away[3:] = robot.default[3:]
    for tick in range(200):
        driven.step(joint_position=away)
        assert driven.phase is (Phase.RUN if tick >= 25 else Phase.TO_DEFAULT_POSE)


def test_a_clock_that_jumps_ahead_does_not_shorten_the_way_to_the_default_pose(robot):
    """What counts of a step is the longest that sensors may be quiet."""
    driven = Driven(robot)
    driven.loop.start(0.0)
    away = robot.default.copy()
    away[1] += 0.8
    targets = []
    for tick in range(10):
        driven.stamp += 3600 * 1000 * MS if tick == 5 else 0
        command = driven.step(joint_position=away, received=0.02 * tick)
        targets.append(command.position[1])
    steps = -np.diff(targets)
    np.testing.assert_allclose(np.delete(steps, 4), 0.02)
    assert steps[4] == pytest.approx(TIMEOUT)
    assert driven.phase is Phase.TO_DEFAULT_POSE


def test_the_network_does_not_tick_on_the_way_to_the_default_pose(robot):
    driven = Driven(robot)
    driven.loop.start(0.0)
    for _ in range(20):
        driven.step()
    assert int(driven.loop.controller.runtime.state["tick"]) == 0


def test_the_same_seed_starts_the_same_weights_and_a_negative_one_draws_new_ones(robot):
    first, second = (Driven(robot, seed=5).to_run().weights for _ in range(2))
    other = Driven(robot, seed=6).to_run().weights
    drawn = [Driven(robot, seed=-1).to_run().weights for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert (drawn[0] != drawn[1]).any()


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


@pytest.mark.parametrize(("can_damp", "word"), [(True, "damping"), (False, "holding")])
def test_the_reason_says_what_the_receiver_will_do(robot, can_damp, word):
    driven = Driven(robot, can_damp=can_damp).to_run()
    driven.loop.damp("pulled")
    assert driven.loop.status.reason == f"pulled: {word}"


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


@pytest.mark.parametrize("heard", ["nothing", "before", "since"])
def test_a_loop_that_stood_still_before_its_first_command_begins_anew(robot, heard):
    driven = Driven(robot)
    driven.loop.start(0.0)
    old = sample(robot, 10 * MS)
    new = sample(robot, 190 * MS)
    given = {"nothing": None, "before": old, "since": new}[heard]
    now = 200 * MS * 1e-9
    assert driven.loop.tick(given, now) is None
    assert driven.phase is Phase.TO_DEFAULT_POSE
    driven.stamp = 190 * MS
    assert driven.step().mode is Mode.POSITION
    driven.stamp += 200 * MS  # from here on the robot is commanded
    assert driven.step().mode is Mode.DAMP


def test_a_tick_that_took_too_long_is_not_commanded(robot):
    driven = Driven(robot).to_run()
    command = driven.step()
    assert driven.loop.in_time(command, TIMEOUT) is command
    assert driven.loop.in_time(command, TIMEOUT + 0.01).mode is Mode.DAMP
    assert driven.loop.status.reason == "the control loop stood still for 0.11 s: damping"
    assert driven.step().mode is Mode.DAMP


def test_a_robot_that_holds_its_pose_damps_when_it_tilts_afterwards(robot):
    holds = replace(robot, safety=replace(robot.safety, safe_action="hold"))
    driven = Driven(holds).to_run()
    driven.stamp += 200 * MS
    assert driven.step().mode is Mode.POSITION
    assert driven.loop.status.reason.endswith("stood still for 0.22 s: holding")
    assert driven.step().mode is Mode.POSITION
    on_its_side = np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])
    assert driven.step(orientation=on_its_side).mode is Mode.DAMP
    assert "tilted by 1.57 rad" in driven.loop.status.reason
    assert driven.step().mode is Mode.DAMP  # also when it is upright again


def test_stamps_that_stand_still_on_the_way_to_the_default_pose_are_told(robot):
    driven = Driven(robot, frozen_timeout=0.5)
    driven.loop.start(9.0)
    for received in 9.0 + np.arange(0.02, 0.5, 0.05):
        assert driven.loop.guard.standing(received) == ""
        driven.loop.tick(sample(robot, 0, received=received), received)
    assert driven.loop.guard.standing(9.6) == "the stamps have stood still for 0.58 s"
    driven.stamp = 9600 * MS
    driven.step()
    assert driven.loop.guard.standing(9.62) == ""


def test_a_backward_jump_of_the_stamps_damps(robot):
    driven = Driven(robot).to_run()
    now = driven.stamp * 1e-9 + 0.02
    driven.stamp = 0
    assert driven.step(received=now).mode is Mode.DAMP
    assert "jumped back" in driven.loop.status.reason


def test_a_reset_leads_back_through_the_default_pose(robot):
    driven = Driven(robot).to_run()
    driven.loop.damp("pulled")
    driven.step()
    assert driven.loop.reset_estop(driven.stamp * 1e-9) == ""
    assert driven.phase is Phase.TO_DEFAULT_POSE
    assert driven.loop.status.reason == ""
    for _ in range(26):
        driven.step()
    assert driven.phase is Phase.RUN


def test_a_reset_is_refused_while_the_reason_still_holds(robot):
    driven = Driven(robot).to_run()
    assert "nothing to reset" in driven.loop.reset_estop(0.0)
    driven.step(orientation=np.array([1.0, 0.0, 0.0, 0.0]))
    assert "tilted" in driven.loop.reset_estop(driven.stamp * 1e-9)
    driven.step()
    assert "ms old" in driven.loop.reset_estop(driven.stamp * 1e-9 + 1.0)
    assert driven.phase is Phase.DAMPED


def test_the_first_reason_stays(robot):
    driven = Driven(robot).to_run()
    driven.loop.damp("first")
    driven.loop.damp("second")
    driven.step(orientation=np.array([1.0, 0.0, 0.0, 0.0]))
    assert driven.loop.status.reason.startswith("first")


def test_a_robot_that_holds_repeats_its_last_target_when_blind_but_damps_on_an_estop(robot):
    holding = replace(robot, safety=replace(robot.safety, safe_action="hold"))
    driven = Driven(holding).to_run()
    last = driven.step()
    blind = driven.loop.tick(sample(robot, driven.stamp), driven.stamp * 1e-9 + 1.0)
    assert blind.mode is Mode.POSITION
    np.testing.assert_array_equal(blind.position, last.position)
    assert driven.loop.damp("pulled").mode is Mode.DAMP
    assert driven.step().mode is Mode.DAMP


def test_a_swap_takes_over_at_the_next_tick_from_the_commanded_position(robot):
    driven = Driven(robot).to_run()
    last = driven.step()
    driven.loop.stage(loaded(robot, "two"))
    assert driven.loop.status.rule_file == "one"
    first = driven.step()
    status = driven.loop.status
    assert (status.rule_file, status.sha256, status.swap) == ("two", "sha256 of two", 1)
    assert status.phase is Phase.RUN
    step = np.abs(first.position - last.position)
    assert (step <= robot.max_target_rate * 0.02 + 1e-12).all()


def test_the_plasticity_gain_outlives_a_swap(robot):
    driven = Driven(robot).to_run()
    driven.loop.set_plasticity_gain(0.5)
    driven.loop.stage(loaded(robot, "two"))
    driven.step()
    assert driven.loop.controller.runtime.plasticity_gain == 0.5


def test_stopping_damps_if_there_was_something_to_stop(robot):
    driven = Driven(robot)
    assert driven.loop.stop() is None
    assert driven.to_run().loop.stop().mode is Mode.DAMP
    assert driven.phase is Phase.INACTIVE
    assert driven.step() is None


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
