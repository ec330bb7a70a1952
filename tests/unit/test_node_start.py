"""How the control loop brings a robot to its default pose, and what it makes of one that does not come along."""

from dataclasses import replace

import numpy as np
import pytest
from driven import MS, Driven, sample

from hebb_controller.node.values import Phase
from hebb_controller.robot import load_robot
from hebb_controller.signals import Mode


@pytest.fixture(scope="module")
def robot():
    return load_robot("a1")


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


def test_a_clock_that_jumps_ahead_does_not_speed_up_the_way_to_the_default_pose(robot):
    driven = Driven(robot)
    driven.loop.start(0.0)
    away = robot.default.copy()
    away[1] += 0.8
    targets = []
    for tick in range(10):
        driven.stamp += 3600 * 1000 * MS if tick == 5 else 0
        command = driven.step(joint_position=away, received=0.02 * tick)
        targets.append(command.position[1])
    np.testing.assert_allclose(-np.diff(targets), 0.02)
    assert driven.phase is Phase.TO_DEFAULT_POSE


@pytest.mark.parametrize(("joint", "angle"), [(0, 45.0), (2, 2 * np.pi - 1.8), (2, -3.8)])
def test_a_joint_far_outside_its_range_is_not_led_back_but_named(robot, joint, angle):
    driven = Driven(robot)
    driven.loop.start(0.0)
    position = robot.default.copy()
    position[joint] = angle
    assert driven.step(joint_position=position).mode is Mode.DAMP
    assert driven.phase is Phase.DAMPED
    reason = driven.loop.status.reason
    assert reason.startswith(f"{robot.joint_names[joint]} reads {angle:.2f} rad, its range is "), (
        reason
    )
    assert driven.loop.reset_estop(driven.stamp * 1e-9).startswith("still unsafe: ")
    driven.step()
    assert driven.loop.reset_estop(driven.stamp * 1e-9) == ""


def test_a_leg_that_loses_its_zero_in_the_run_damps(robot):
    driven = Driven(robot)
    driven.loop.start(0.0)
    while driven.phase is not Phase.RUN:
        driven.step()
    position = robot.default.copy()
    position[:3] += 2 * np.pi
    assert driven.step(joint_position=position).mode is Mode.DAMP
    assert driven.phase is Phase.DAMPED
    assert "check the driver's zero and unit" in driven.loop.status.reason


def test_a_joint_a_little_outside_its_range_is_led_back_at_the_speed_of_the_way(robot):
    driven = Driven(robot)
    driven.loop.start(0.0)
    position = robot.default.copy()
    position[2] = robot.lower[2] - 0.25
    targets = [driven.step(joint_position=position).position[2] for _ in range(20)]
    assert targets[0] == pytest.approx(position[2] + 0.02)
    steps = np.diff(targets)
    assert steps.min() > 0.0
    assert steps.max() <= 0.02 + 1e-9


@pytest.mark.parametrize("every", [1, 2, 3])
def test_however_many_readings_are_lost_a_run_begins_in_the_default_pose(robot, every):
    driven = Driven(robot)
    driven.loop.start(0.0)
    position = robot.default.copy()
    position[1] += 1.2
    while driven.phase is Phase.TO_DEFAULT_POSE:
        driven.stamp += (every - 1) * 20 * MS
        before = position
        position = driven.step(joint_position=before).position
        assert np.abs(position - before).max() <= 0.02 + 1e-9
    np.testing.assert_allclose(position, robot.default, atol=0.02)


def test_a_robot_whose_targets_move_slower_than_that_still_begins_in_the_default_pose(robot):
    slow = replace(robot, max_target_rate=np.full(robot.n_joints, 0.3))
    driven = Driven(slow)
    driven.loop.start(0.0)
    position = slow.default.copy()
    position[1] += 0.6
    while driven.phase is Phase.TO_DEFAULT_POSE:
        position = driven.step(joint_position=position).position
    np.testing.assert_allclose(position, slow.default, atol=0.006)


def test_the_network_does_not_tick_on_the_way_to_the_default_pose(robot):
    driven = Driven(robot)
    driven.loop.start(0.0)
    for _ in range(20):
        driven.step()
    assert int(driven.loop.controller.runtime.state["tick"]) == 0


@pytest.mark.parametrize("lock_step", [False, True])
def test_a_robot_is_not_commanded_until_any_topic_has_a_stamp(robot, lock_step):
    """A simulator that is paused at 0 goes on some day; drivers without stamps never do."""
    driven = Driven(robot, frozen_timeout=0.5, lock_step=lock_step)
    driven.loop.start(0.0)
    for received in np.arange(0.02, 5.0, 0.02):
        command = driven.loop.tick(sample(robot, 0, received=received), received)
        assert (command is not None) is lock_step
    assert driven.phase is Phase.TO_DEFAULT_POSE
    driven.stamp = 5000 * MS
    if not lock_step:
        assert driven.step().mode is Mode.POSITION


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


def test_stamps_that_stand_still_on_the_way_to_the_default_pose_are_told(robot):
    driven = Driven(robot, frozen_timeout=0.5)
    driven.loop.start(9.0)
    for received in 9.0 + np.arange(0.02, 0.5, 0.05):
        assert driven.loop.guard.stamp_stall(received) == ""
        driven.loop.tick(sample(robot, 0, received=received), received)
    assert driven.loop.guard.stamp_stall(9.6) == "the stamps have stood still for 0.58 s"
    driven.stamp = 9600 * MS
    driven.step()
    assert driven.loop.guard.stamp_stall(9.62) == ""
