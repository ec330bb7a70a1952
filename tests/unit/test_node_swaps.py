"""One rule takes over from another: blend, probation, the way back."""

from dataclasses import replace

import numpy as np
import pytest
from plastic_loop import NS, SWAP, Driven, loaded
from toys import PERIOD, toy_reading

from hebb_controller.node.succession import SwapSettings
from hebb_controller.node.values import Phase, Plasticity, Sample, SwapState
from hebb_controller.signals import Mode


def test_a_swap_goes_through_blend_and_probation_by_the_tick():
    driven = Driven()
    assert driven.loop.stage(loaded("two")) == ""
    assert (driven.status.swap, driven.status.swap_state) == (0, SwapState.NONE)
    states = []
    for _ in range(18):
        driven.step()
        states.append(driven.status.swap_state)
    expected = [SwapState.BLENDING] * 3 + [SwapState.PROBATION] * 12 + [SwapState.KEPT] * 3
    assert states == expected
    assert (driven.status.swap, driven.status.rule_file, driven.status.sha256) == (1, "two", "two")


def test_commands_are_mixed_by_a_share_that_grows_to_one():
    """The targets of both rules are computed here by their own controllers, each on its own."""
    driven = Driven(swap=replace(SWAP, blend=4 * PERIOD))
    old, new = driven.first.controller, loaded("two").controller
    wanted = {}
    for name, controller in (("old", old), ("new", new)):
        act = controller.act

        def noted(reading, position, act=act, name=name):
            wanted[name] = act(reading, position)
            return wanted[name]

        controller.act = noted
    made = loaded("two")
    driven.loop.stage(replace(made, controller=new))
    before = driven.loop.controller.last_position
    for share in (0.25, 0.5, 0.75, 1.0):
        (command,) = driven.step()
        mixed = (1 - share) * wanted["old"] + share * wanted["new"]
        step = driven.robot.max_target_rate * PERIOD
        bounded = np.clip(mixed, before - step, before + step)
        np.testing.assert_allclose(command.position, bounded)
        before = command.position
    wanted.clear()
    driven.step()
    assert set(wanted) == {"new"}


def test_an_inactive_swap_needs_no_blend():
    driven = Driven(run=False)
    driven.loop.stage(loaded("two"))
    driven.step()
    assert (driven.status.swap, driven.status.swap_state) == (1, SwapState.PROBATION)
    driven.loop.start(0.0)
    driven.step(40)
    assert driven.status.swap_state is SwapState.KEPT


@pytest.mark.parametrize("fault", ["tilt", "sensors", "estop", "exception"])
def test_a_trip_on_probation_damps_and_brings_the_old_rule_back_with_its_weights(fault):
    driven = Driven()
    driven.step(20)
    before = driven.state
    driven.loop.stage(loaded("two"))
    driven.step(7)
    assert driven.state != before
    if fault == "tilt":
        driven.step(orientation=(1.0, 0.0, 0.0, 0.0))
    elif fault == "sensors":
        driven.step(joint_velocity=(np.nan, 0.0))
    else:
        driven.loop.damp(fault)
    assert driven.status.phase is Phase.DAMPED
    assert (driven.status.rule_file, driven.status.swap) == ("one", 2)
    assert driven.status.swap_state is SwapState.ROLLED_BACK
    assert driven.status.swap_reason in driven.status.reason
    assert driven.loop.asked == "./one"
    assert driven.state == before


def test_after_its_probation_a_rule_stays_whatever_trips():
    driven = Driven()
    driven.loop.stage(loaded("two"))
    driven.step(17)
    driven.loop.damp("pulled")
    assert (driven.status.rule_file, driven.status.swap) == ("two", 1)


def test_weights_beyond_the_envelope_on_probation_bring_the_old_rule_back_while_it_walks():
    driven = Driven()
    driven.step(20)
    before = driven.loop.controller.runtime.state
    driven.loop.stage(loaded("two", norm=1e-3))
    (command,) = driven.step()
    assert driven.status.swap_state is SwapState.ROLLED_BACK
    assert "norm" in driven.status.swap_reason
    assert driven.status.phase is Phase.RUN
    assert driven.status.plasticity is Plasticity.PLASTIC
    for name, array in driven.loop.controller.runtime.state.items():
        np.testing.assert_array_equal(array, before[name])
    assert command.mode is Mode.POSITION
    after = driven.step(30)
    moves = np.diff([command.position, *(c.position for c in after)], axis=0)
    assert (np.abs(moves) <= driven.robot.max_target_rate * PERIOD + 1e-12).all()


def test_a_second_swap_on_probation_leaves_the_way_back_to_the_rule_that_was_proven():
    driven = Driven()
    driven.loop.stage(loaded("two"))
    driven.step(6)
    driven.loop.stage(loaded("three"))
    driven.step(6)
    driven.loop.damp("pulled")
    assert (driven.status.rule_file, driven.status.swap) == ("one", 3)


def test_the_operator_can_go_back_once_with_the_weights_as_they_were():
    driven = Driven()
    assert "nothing to roll back to" in driven.loop.roll_back()
    driven.step(9)
    before = driven.state
    driven.loop.stage(loaded("two"))
    driven.step(30)
    assert driven.loop.roll_back() == ""
    assert driven.state == before
    assert (driven.status.rule_file, driven.status.swap) == ("one", 2)
    assert driven.status.swap_reason == "by ~/rollback"
    driven.step(30)
    assert driven.status.phase is Phase.RUN
    assert "nothing to roll back to" in driven.loop.roll_back()


def test_a_damped_loop_refuses_and_drops_what_was_staged():
    driven = Driven()
    driven.loop.stage(loaded("two"))
    driven.loop.damp("pulled")
    assert "~/reset_estop" in driven.loop.stage(loaded("three"))
    driven.step(3)
    assert driven.status.rule_file == "one"
    assert driven.loop.asked == "./one"


def test_without_blend_or_probation_a_swap_is_kept_at_once():
    driven = Driven(swap=SwapSettings(blend=0.0, probation=0.0))
    driven.loop.stage(loaded("two"))
    driven.step()
    assert driven.status.swap_state is SwapState.KEPT


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_swap_between_commands_does_not_tick_twice(way):
    """Four commands a tick, by the clock: a tick stays every fourth of them."""
    driven = Driven(by_stamps=False, command_period=PERIOD / 4)

    def commands(count):
        ticks = []
        for _ in range(count):
            driven.stamp += NS // 4
            little = 1e-18 * driven.stamp
            noise = {"joint_velocity": [little] * 2, "angular_velocity_base": [little] * 3}
            reading = toy_reading(driven.robot, driven.stamp * 1e-9, **noise)
            before = driven.loop.ticks
            driven.loop.tick(Sample(reading, driven.stamp), reading.received)
            ticks.append(driven.loop.ticks - before)
        return ticks

    first = commands(8)
    assert sum(first) == 2
    driven.loop.stage(loaded("two", norm=None if way == "there" else 1e-3))
    assert commands(16) == first * 2
    assert driven.status.swap == (1 if way == "there" else 2)


def test_without_probation_nothing_is_taken_back_not_even_while_commands_are_mixed():
    driven = Driven(swap=replace(SWAP, probation=0.0))
    driven.loop.stage(loaded("two"))
    driven.step(2)
    assert driven.status.swap_state is SwapState.BLENDING
    driven.loop.damp("pulled")
    assert (driven.status.rule_file, driven.status.swap) == ("two", 1)


# Plasticity


def test_outside_probation_weights_beyond_the_envelope_are_frozen_and_it_says_so():
    driven = Driven(loaded("one", norm=1e-3))
    driven.step()
    # there are no good weights, and no twin
    assert driven.status.phase is Phase.DAMPED
    assert "nothing is left to try" in driven.status.reason
    assert driven.status.plasticity is Plasticity.GIVEN_UP
