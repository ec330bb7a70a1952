"""The control loop's phases, without ROS, threads or clocks."""

import numpy as np
import pytest
from driven import TIMEOUT, Driven, loaded

from hebb_controller.node.values import Phase
from hebb_controller.robot import load_robot
from hebb_controller.signals import Mode


@pytest.fixture(scope="module")
def robot():
    return load_robot("a1")


def test_an_inactive_loop_commands_nothing_but_damps_in_lock_step(robot):
    assert Driven(robot).step() is None
    assert Driven(robot, lock_step=True).step().mode is Mode.DAMP


def test_the_same_seed_starts_the_same_weights_and_a_negative_one_draws_new_ones(robot):
    first, second = (Driven(robot, seed=5).to_run().weights for _ in range(2))
    other = Driven(robot, seed=6).to_run().weights
    drawn = [Driven(robot, seed=-1).to_run().weights for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert (drawn[0] != drawn[1]).any()


@pytest.mark.parametrize(("can_damp", "word"), [(True, "damping"), (False, "holding")])
def test_the_reason_says_what_the_receiver_will_do(robot, can_damp, word):
    driven = Driven(robot, can_damp=can_damp).to_run()
    driven.loop.damp("pulled")
    assert driven.loop.status.reason == f"pulled: {word}"


def test_a_tick_that_took_too_long_is_not_commanded(robot):
    driven = Driven(robot).to_run()
    command = driven.step()
    assert driven.loop.in_time(command, TIMEOUT) is command
    assert driven.loop.in_time(command, TIMEOUT + 0.01).mode is Mode.DAMP
    assert driven.loop.status.reason == "the control loop stood still for 0.11 s: damping"
    assert driven.step().mode is Mode.DAMP


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
