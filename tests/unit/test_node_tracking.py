"""Whether a robot goes where it is told."""

from dataclasses import replace

import numpy as np
import pytest

from hebb_controller.node.tracking import NEAR, PATIENCE, TrackingMonitor
from hebb_controller.robot import load_robot

MS = 1_000_000  # ns
ALL = 12


@pytest.fixture(scope="module")
def robot():
    return load_robot("a1")


@pytest.fixture
def tracking(robot):
    return TrackingMonitor(robot, max_step=0.1)


def moved(robot, joints, by):
    position = robot.default.copy()
    position[:joints] += by
    return position


@pytest.mark.parametrize(("joints", "off_target"), [(0, 0), (3, 0), (4, 0), (5, 5), (12, 12)])
@pytest.mark.parametrize("side", [-1, 1])
def test_as_many_joints_may_be_off_target_as_a_limp_leg_has_and_one_more(
    tracking, robot, joints, off_target, side
):
    assert (
        tracking.joints_off_target(moved(robot, joints, side * (NEAR - 1e-9)), robot.default) == 0
    )
    assert (
        tracking.joints_off_target(moved(robot, joints, side * (NEAR + 1e-9)), robot.default)
        == off_target
    )


def test_a_stiff_joint_is_off_target_when_it_strains(robot):
    stiff = TrackingMonitor(replace(robot, torque=0.1 * robot.kp), max_step=0.1)
    assert stiff.joints_off_target(moved(robot, ALL, 0.09 - 1e-9), robot.default) == 0
    assert stiff.joints_off_target(moved(robot, ALL, 0.09 + 1e-9), robot.default) == ALL


def test_a_joint_that_reads_nothing_is_nowhere(tracking, robot):
    """The finite stage stands before; a comparison with NaN must not say that the joint is near."""
    assert tracking.joints_off_target(np.full(ALL, np.nan), robot.default) == ALL


def look(tracking, robot, first, last, *, by=1.0):
    """Return what is said at readings that come every 100 ms."""
    position = moved(robot, ALL, by)
    said = [
        tracking.tracking_fault(position, robot.default, ms * MS)
        for ms in range(first, last + 1, 100)
    ]
    assert not any(said[:-1])
    return said[-1]


def test_a_robot_that_is_off_target_for_a_second_does_not_follow(tracking, robot):
    assert PATIENCE == 1.0
    assert look(tracking, robot, 0, 900) == ""
    assert look(tracking, robot, 1000, 1000) == (
        "12 of 12 joints have not followed their targets for 1.0 s: do commands reach the motors?"
    )


def test_the_second_begins_anew_with_a_joint_that_comes_and_with_a_start(tracking, robot):
    assert look(tracking, robot, 0, 900) == ""
    assert look(tracking, robot, 1000, 1000, by=0.0) == ""
    assert look(tracking, robot, 1100, 1900) == ""
    tracking.restart()
    assert look(tracking, robot, 2000, 2900) == ""
    assert "1.0 s" in look(tracking, robot, 3000, 3000)


def test_neither_a_clock_that_jumps_ahead_nor_one_that_stands_still_is_a_reason(tracking, robot):
    assert look(tracking, robot, 0, 0) == ""
    assert look(tracking, robot, 3_600_000, 3_600_800) == ""
    for _ in range(100):
        assert look(tracking, robot, 3_600_800, 3_600_800) == ""
    assert "1.0 s" in look(tracking, robot, 3_600_900, 3_600_900)
