"""One rule takes over from another: blend, probation, the way back; and what is asked of weights."""

from dataclasses import replace

import numpy as np
import pytest
from toys import PERIOD, toy_reading, toy_robot, toy_rule, update_spec

from hebb_controller.controller import controller_for
from hebb_controller.network import InitialSpec
from hebb_controller.node.loop import ControlLoop
from hebb_controller.node.succession import SwapSettings
from hebb_controller.node.supervisor import SupervisorSettings
from hebb_controller.node.values import Loaded, LoopSettings, Phase, Sample
from hebb_controller.rule import Envelope, LayerEnvelope
from hebb_controller.signals import Mode

NS = round(PERIOD * 1e9)
GENTLE = {"scale": 0.125, "update": update_spec(normalisation="clip", decay=0.125)}
# A blend of 4 ticks, a probation of 16.
SWAP = SwapSettings(blend=4 * PERIOD, probation=16 * PERIOD)


def loaded(name, *, norm=None, robot=None, **rule):
    """Return a rule; with ``norm``, one whose envelope it leaves at once if that is small."""
    made = toy_rule(seed=sum(map(ord, name)), **{**GENTLE, **rule})
    envelope = None
    if norm is not None:
        layers = len(made.header.layer_sizes) - 1
        envelope = Envelope(1, (LayerEnvelope(norm, 1e9, 1.0),) * layers)
    made = replace(made, sha256=name, header=replace(made.header, envelope=envelope))
    return Loaded(controller_for(made, robot or toy_robot()), made, name, asked=f"./{name}")


class Driven:
    """A loop, and a robot that always reads the same but for noise."""

    def __init__(self, first=None, *, run=True, swap=SWAP, **settings):
        self.robot = toy_robot()
        first = first or loaded("one")
        self.first = first
        self.loop = ControlLoop(
            self.robot,
            first,
            LoopSettings(
                **{"sensor_timeout": 0.25, "lock_step": False, "by_stamps": True, "seed": 1}
                | settings
            ),
            swap=swap,
            supervisor=SupervisorSettings(margin=1.0),
        )
        self.stamp = 0
        if run:
            self.loop.start(0.0)
            self.step(5)
            assert self.loop.status.phase is Phase.RUN

    def step(self, ticks=1, **fields):
        commands = []
        for _ in range(ticks):
            self.stamp += NS
            little = 1e-9 * (self.stamp // NS)
            noise = {
                "joint_velocity": np.full(2, little),
                "angular_velocity_base": np.full(3, little),
            }
            reading = toy_reading(self.robot, self.stamp * 1e-9, **{**noise, **fields})
            commands.append(self.loop.tick(Sample(reading, self.stamp), reading.received))
        return commands

    @property
    def status(self):
        return self.loop.status

    @property
    def state(self):
        return {k: v.tobytes() for k, v in self.loop.controller.runtime.state.items()}


def run_again(driven):
    """Have the robot go through its default pose to the first tick of its next run."""
    if driven.status.phase is Phase.DAMPED:
        assert driven.loop.reset_estop(driven.stamp * 1e-9) == ""
    else:
        driven.loop.start(driven.stamp * 1e-9)
    while driven.status.phase is Phase.TO_DEFAULT_POSE:
        driven.step()
    assert driven.status.phase is Phase.RUN


def test_a_swap_goes_through_blend_and_probation_by_the_tick():
    driven = Driven()
    assert driven.loop.stage(loaded("two")) == ""
    assert (driven.status.swap, driven.status.swap_state) == (0, "none")
    states = []
    for _ in range(18):
        driven.step()
        states.append(driven.status.swap_state)
    assert states == ["blending"] * 3 + ["probation"] * 12 + ["kept"] * 3
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
    assert (driven.status.swap, driven.status.swap_state) == (1, "probation")
    driven.loop.start(0.0)
    driven.step(40)
    assert driven.status.swap_state == "kept"


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
    assert driven.status.swap_state == "rolled back"
    assert driven.status.swap_reason in driven.status.reason
    assert driven.loop.asked == "./one"
    assert driven.state == before


def test_the_run_after_a_trip_on_probation_goes_on_from_what_the_old_rule_had_learned():
    driven = Driven()
    driven.step(20)
    learned = driven.loop.controller.runtime.state["weights"].tobytes()
    driven.loop.stage(loaded("two"))
    driven.step(6)
    driven.loop.damp("pulled")
    run_again(driven)
    assert driven.status.rule_file == "one"
    assert driven.state["weights"] == learned


def test_weights_that_had_to_be_mended_are_not_what_later_runs_begin_with():
    driven = Driven(loaded("one", norm=1e-3))
    fresh = Driven(loaded("one", norm=1e-3)).state["weights"]
    driven.step(40)
    assert driven.status.plasticity != "plastic"
    driven.loop.stage(loaded("two"))
    driven.step(6)
    driven.loop.damp("pulled")
    assert driven.status.rule_file == "one"
    run_again(driven)
    assert driven.state["weights"] == fresh


@pytest.mark.parametrize("carry", [True, False])
def test_a_rule_that_never_ran_leaves_nothing_to_those_that_follow(carry):
    """A rule is warmed up before it drives: what that leaves in its weights is nothing that it learned."""
    first, second = loaded("one"), loaded("two")
    for made in (first, second):
        made.controller.runtime.reset(np.random.default_rng(0))
        made.controller.runtime.step(np.ones(6, dtype=np.float32))
    driven = Driven(first, run=False)
    driven.loop.stage(second, carry=carry)
    driven.step()
    if not carry:
        assert driven.loop.roll_back() == ""
    run_again(driven)
    plain = Driven(loaded("two" if carry else "one"), run=False)
    run_again(plain)
    assert driven.status.rule_file == plain.status.rule_file
    assert driven.state["weights"] == plain.state["weights"]


@pytest.mark.parametrize("carry", [True, False])
def test_what_was_restored_is_handed_on_and_comes_back(carry):
    donor = Driven()
    donor.step(20)
    learned = donor.loop.controller.runtime.state
    driven = Driven(run=False)
    driven.loop.restore(learned)
    driven.loop.start(0.0)
    driven.step()  # on the way, where the network has been reset already
    driven.loop.stage(loaded("two"), carry=carry)
    driven.step()
    if not carry:
        assert driven.loop.roll_back() == ""
    while driven.status.phase is Phase.TO_DEFAULT_POSE:
        driven.step()
    assert driven.status.rule_file == ("two" if carry else "one")
    assert driven.state["weights"] == learned["weights"].tobytes()


@pytest.mark.parametrize("carry", [True, False])
def test_weights_carried_over_while_inactive_are_those_that_the_run_begins_with(carry):
    driven = Driven()
    driven.step(20)
    learned = driven.loop.controller.runtime.state["weights"].tobytes()
    driven.loop.stop()
    assert driven.loop.stage(loaded("two"), carry=carry) == ""
    driven.step()
    run_again(driven)
    assert driven.status.rule_file == "two"
    assert (driven.state["weights"] == learned) == carry


def test_on_the_way_into_a_run_there_is_nothing_yet_to_keep():
    driven = Driven()
    driven.step(3)
    assert driven.loop.supervisor.measured
    driven.loop.damp("pulled")
    assert driven.loop.supervisor.measured  # what was learned may still be kept
    driven.loop.reset_estop(driven.stamp * 1e-9)
    driven.step()
    assert driven.status.phase is Phase.TO_DEFAULT_POSE
    assert not driven.loop.supervisor.measured


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
    assert driven.status.swap_state == "rolled back"
    assert "norm" in driven.status.swap_reason
    assert driven.status.phase is Phase.RUN
    assert driven.status.plasticity == "plastic"
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


def test_weights_are_carried_over_where_the_layers_agree():
    driven = Driven()
    driven.step(20)
    weights = driven.loop.controller.runtime.state["weights"]
    other = loaded("two")
    seen = []
    step = other.controller.runtime.step
    other.controller.runtime.step = lambda observation: (
        seen.append(other.controller.runtime.state),
        step(observation),
    )[1]
    assert driven.loop.stage(other, carry=True) == ""
    driven.step()
    np.testing.assert_array_equal(seen[0]["weights"], weights)


def test_carried_weights_decay_to_the_rules_own_start_if_that_was_evolved():
    driven = Driven()
    driven.step(20)
    own = loaded("two", initial=InitialSpec("evolved", 1.0))
    driven.loop.stage(own, carry=True)
    driven.step()
    start = np.concatenate([layer["initial"].ravel() for layer in own.rule.layers])
    np.testing.assert_array_equal(driven.loop.controller.runtime.state["initial"], start)


def test_weights_of_other_layers_are_refused_and_nothing_changes():
    driven = Driven()
    undisturbed = Driven(loaded("one"))
    refused = driven.loop.stage(loaded("two", hidden=(7,)), carry=True)
    assert "[6, 5, 2]" in refused
    assert "[6, 7, 2]" in refused
    assert driven.status == undisturbed.status
    for _ in range(20):
        ((ours,), (theirs,)) = driven.step(), undisturbed.step()
        np.testing.assert_array_equal(ours.position, theirs.position)


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
    assert driven.status.swap_state == "kept"


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
    assert driven.status.swap_state == "blending"
    driven.loop.damp("pulled")
    assert (driven.status.rule_file, driven.status.swap) == ("two", 1)


# Plasticity


def test_outside_probation_weights_beyond_the_envelope_are_frozen_and_it_says_so():
    driven = Driven(loaded("one", norm=1e-3))
    driven.step()
    # there are no good weights, and no twin
    assert driven.status.phase is Phase.DAMPED
    assert "nothing is left to try" in driven.status.reason
    assert driven.status.plasticity.startswith("given up")


def test_freezing_by_hand_keeps_the_weights_until_they_are_let_go():
    driven = Driven()
    driven.loop.freeze(frozen=True)
    before = driven.state["weights"]
    driven.step(10)
    assert driven.state["weights"] == before
    assert driven.status.plasticity == "frozen: by ~/freeze"
    driven.loop.freeze(frozen=False)
    driven.step(10)
    assert driven.state["weights"] != before
    assert driven.status.plasticity == "plastic"


def test_ticks_at_half_the_rate_freeze_the_weights_until_the_rate_returns():
    driven = Driven(by_stamps=False, sensor_timeout=3 * PERIOD)
    driven.step(3)

    def slowly():
        driven.stamp += NS
        driven.step()

    for _ in range(20):
        slowly()
    assert "the rule needs 8 Hz" in driven.status.plasticity
    before = driven.state["weights"]
    for _ in range(5):
        slowly()
    assert driven.state["weights"] == before
    driven.step(60)
    assert driven.status.plasticity == "plastic"
    assert driven.state["weights"] != before


def test_resetting_weights_starts_the_network_anew():
    driven = Driven()
    start = driven.state
    driven.step(20)
    driven.loop.reset_weights()
    assert driven.state["weights"] == start["weights"]


def test_what_was_restored_is_what_later_runs_start_from_until_weights_are_reset():
    driven = Driven()
    fresh = driven.state["weights"]
    driven.step(20)
    learned = driven.loop.controller.runtime.state
    other = Driven(run=False)
    other.loop.restore(learned)
    for wanted in (learned["weights"].tobytes(), fresh):
        other.loop.start(other.stamp * 1e-9)
        other.step(5)
        assert other.status.phase is Phase.RUN
        assert other.state["weights"] == wanted
        other.step(3)
        other.loop.stop()
        other.loop.reset_weights()


# The guard


def test_all_joints_that_read_the_same_damp_and_one_does_not():
    driven = Driven(frozen_timeout=4 * PERIOD)
    for tick in range(30):
        driven.step(joint_position=(0.25, 1e-6 * tick), joint_velocity=(0.0, 0.0))
    assert driven.status.phase is Phase.RUN
    assert driven.loop.guard.constant_joints == ("knee",)
    frozen = {"joint_position": (0.25, 0.0), "joint_velocity": (0.0, 0.0)}
    driven.step(5, **frozen)
    assert driven.status.phase is Phase.RUN
    driven.step(**frozen)
    assert driven.status.phase is Phase.DAMPED
    assert "all joints have read the same for 0.62 s" in driven.status.reason


def test_without_a_heartbeat_the_robot_is_damped_and_not_let_go():
    driven = Driven(run=False, heartbeat_timeout=2 * PERIOD)
    driven.loop.start(0.0)
    for _ in range(10):
        driven.loop.guard.beat(driven.stamp * 1e-9)
        driven.step()
    assert driven.status.phase is Phase.RUN
    driven.step(2)
    assert driven.status.phase is Phase.DAMPED
    assert "no heartbeat for 375 ms (limit 250 ms)" in driven.status.reason
    now = driven.stamp * 1e-9
    assert "no heartbeat" in driven.loop.reset_estop(now)
    driven.loop.guard.beat(now)
    assert driven.loop.reset_estop(now) == ""
