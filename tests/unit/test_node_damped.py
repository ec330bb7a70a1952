"""What a robot that was stopped is told to do, and when it may move again."""

from dataclasses import replace

import numpy as np
import pytest
from driven import MS, PERIOD, Driven, sample

from hebb_controller.node.values import Phase
from hebb_controller.robot import load_robot
from hebb_controller.signals import Mode

ON_ITS_SIDE = np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])


@pytest.fixture(scope="module")
def robot():
    return load_robot("a1")


@pytest.fixture(scope="module")
def holding(robot):
    return replace(robot, safety=replace(robot.safety, safe_action="hold"))


def blinded(driven):
    """Tick on with the reading of before until it is too old; return the last command."""
    old = sample(driven.robot, driven.stamp)
    while driven.phase is Phase.RUN:
        driven.stamp += PERIOD
        command = driven.loop.tick(old, driven.stamp * 1e-9)
    return command


def test_a_robot_that_holds_repeats_its_last_target_when_blind_but_damps_on_an_estop(holding):
    driven = Driven(holding).to_run()
    last = driven.step()
    blind = blinded(driven)
    assert blind.mode is Mode.POSITION
    np.testing.assert_array_equal(blind.position, last.position)
    assert driven.loop.status.reason.endswith(": holding")
    assert driven.loop.damp("pulled").mode is Mode.DAMP
    assert driven.loop.status.reason == "pulled: damping"
    assert driven.step().mode is Mode.DAMP


def test_a_robot_that_holds_its_pose_damps_when_it_tilts_afterwards(holding):
    driven = Driven(holding).to_run()
    assert blinded(driven).mode is Mode.POSITION
    assert driven.step().mode is Mode.POSITION
    assert driven.step(orientation=ON_ITS_SIDE).mode is Mode.DAMP
    assert "tilted by 1.57 rad" in driven.loop.status.reason
    assert driven.step().mode is Mode.DAMP  # also when it is upright again


@pytest.mark.parametrize(
    "unfit",
    [
        {"joint_position": np.full(12, np.nan)},
        {"joint_velocity": np.full(12, np.inf)},
        {"angular_velocity_base": np.full(3, np.nan)},
    ],
)
def test_nothing_else_that_is_wrong_hides_the_tilt_of_a_robot_that_holds(holding, unfit):
    driven = Driven(holding, heartbeat_timeout=0.05)
    driven.loop.guard.heartbeat(1.0)
    driven.to_run()
    while driven.phase is Phase.RUN:
        command = driven.step()
    assert "no heartbeat" in driven.loop.status.reason
    assert command.mode is Mode.POSITION
    assert driven.step(**unfit).mode is Mode.POSITION
    assert driven.step(**unfit, orientation=np.full(4, np.nan)).mode is Mode.POSITION
    assert driven.step(**unfit, orientation=np.zeros(4)).mode is Mode.POSITION
    assert driven.step(**unfit, orientation=ON_ITS_SIDE).mode is Mode.DAMP


@pytest.mark.parametrize("can_damp", [True, False])
def test_after_a_stall_a_robot_that_could_sink_meanwhile_is_not_pulled_back(holding, can_damp):
    driven = Driven(holding, can_damp=can_damp).to_run()
    driven.step()
    driven.stamp += 3000 * MS
    command = driven.step()
    assert driven.phase is Phase.DAMPED
    assert command.mode is (Mode.DAMP if can_damp else Mode.POSITION)
    action = "damping" if can_damp else "holding"
    assert driven.loop.status.reason == f"the control loop stood still for 3.02 s: {action}"
    assert driven.step().mode is command.mode


def test_a_tick_that_took_too_long_damps_a_robot_that_could_sink_meanwhile(holding):
    driven = Driven(holding).to_run()
    command = driven.step()
    assert driven.loop.in_time(command, 0.09) is command
    assert driven.loop.in_time(command, 0.11).mode is Mode.DAMP


def held_for_want_of_a_heartbeat(holding, **changes):
    driven = Driven(holding, heartbeat_timeout=0.05, **changes)
    driven.loop.guard.heartbeat(1.0)
    driven.to_run()
    while driven.phase is Phase.RUN:
        command = driven.step()
    assert command.mode is Mode.POSITION
    return driven


@pytest.mark.parametrize("can_damp", [True, False])
def test_a_robot_that_holds_its_pose_is_not_pulled_back_into_it_after_a_stall(holding, can_damp):
    driven = held_for_want_of_a_heartbeat(holding, can_damp=can_damp)
    driven.stamp += 3000 * MS
    command = driven.step()
    assert command.mode is (Mode.DAMP if can_damp else Mode.POSITION)
    stood_still = "the control loop stood still for 3.02 s: damping"
    assert (driven.loop.status.reason == stood_still) is can_damp
    assert driven.step().mode is command.mode


def test_a_tick_that_took_too_long_damps_a_robot_that_holds_its_pose(holding):
    driven = held_for_want_of_a_heartbeat(holding)
    command = driven.step()
    assert driven.loop.in_time(command, 0.09) is command
    assert driven.loop.in_time(command, 0.11).mode is Mode.DAMP
    assert driven.step().mode is Mode.DAMP


STILL = {
    "joints": {"joint_velocity": np.zeros(12)},
    "imu": {"angular_velocity_base": np.zeros(3)},
}


@pytest.mark.parametrize("what", STILL)
def test_sensors_that_froze_have_to_move_before_the_robot_may(robot, what):
    driven = Driven(robot, frozen_timeout=0.5).to_run()
    while driven.phase is Phase.RUN:
        driven.step(**STILL[what])
    for _ in range(100):
        driven.step(**STILL[what])
    refusal = driven.loop.reset_estop(driven.stamp * 1e-9)
    assert refusal.startswith("still unsafe: ")
    assert "read the same since; move the robot a little by hand" in refusal
    assert driven.phase is Phase.DAMPED
    driven.step()  # a single reading that is new
    driven.step(**STILL[what])
    assert driven.loop.reset_estop(driven.stamp * 1e-9) == ""
    assert driven.phase is Phase.TO_DEFAULT_POSE


def test_joints_and_imu_that_froze_one_after_the_other_both_have_to_move(robot):
    """A driver that dies does so between two messages."""
    driven = Driven(robot, frozen_timeout=0.5).to_run()
    driven.step(**STILL["joints"])
    while driven.phase is Phase.RUN:
        driven.step(**STILL["joints"], **STILL["imu"])
    assert "all joints have read the same" in driven.loop.status.reason
    driven.step(**STILL["imu"])
    refusal = driven.loop.reset_estop(driven.stamp * 1e-9)
    assert refusal.startswith("still unsafe: the imu has read the same since")
    driven.step(**STILL["joints"])
    assert driven.loop.reset_estop(driven.stamp * 1e-9) == ""


def test_stamps_that_stood_still_have_to_go_on_before_the_robot_may(robot):
    driven = Driven(robot, frozen_timeout=0.5).to_run()
    now = driven.stamp * 1e-9
    while driven.phase is Phase.RUN:
        now += 0.02
        driven.loop.tick(sample(robot, driven.stamp, received=now), now)
    assert "the stamps have stood still for" in driven.loop.reset_estop(now)
    driven.loop.tick(sample(robot, driven.stamp + PERIOD, received=now + 0.02), now + 0.02)
    assert driven.loop.reset_estop(now + 0.02) == ""
