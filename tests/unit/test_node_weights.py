"""What weights a run begins with, what is carried over, and what an operator asks of them."""

import numpy as np
import pytest
from plastic_loop import NS, Driven, loaded, run_again
from toys import PERIOD

from hebb_controller.network import InitialSpec
from hebb_controller.node.values import Phase, Plasticity


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
    assert driven.status.plasticity is not Plasticity.PLASTIC
    driven.loop.stage(loaded("two"))
    driven.step(6)
    driven.loop.damp("pulled")
    assert driven.status.rule_file == "one"
    run_again(driven)
    assert driven.state["weights"] == fresh


def given_up():
    driven = Driven(loaded("one", norm=1e-6), run=False)
    driven.loop.start(0.0)
    driven.step(8)
    assert driven.status.plasticity is Plasticity.GIVEN_UP
    assert driven.status.phase is Phase.DAMPED
    return driven


def test_weights_that_were_given_up_do_not_come_back_with_their_rule():
    driven = given_up()
    driven.loop.stop()
    driven.loop.stage(loaded("two"))
    driven.step()
    run_again(driven)
    assert driven.loop.roll_back() == ""
    assert (driven.status.rule_file, driven.status.plasticity) == ("one", Plasticity.PLASTIC)
    fresh = Driven(loaded("one", norm=1e-6), run=False)
    fresh.loop.reset_weights()
    assert driven.state["weights"] == fresh.state["weights"]
    driven.step(8)  # watched as before
    assert driven.status.plasticity is Plasticity.GIVEN_UP
    assert driven.status.phase is Phase.DAMPED


def test_a_rule_that_never_ran_comes_back_with_the_weights_that_it_would_have_begun_with():
    first = loaded("one")
    first.controller.runtime.reset(np.random.default_rng(0))
    first.controller.runtime.step(np.ones(6, dtype=np.float32))
    driven = Driven(first, run=False)
    driven.loop.stage(loaded("two"))
    driven.step()
    run_again(driven)
    assert driven.loop.roll_back() == ""
    fresh = Driven(loaded("one"), run=False)
    fresh.loop.reset_weights()
    assert driven.state == fresh.state


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


def test_freezing_by_hand_keeps_the_weights_until_they_are_let_go():
    driven = Driven()
    driven.loop.freeze(frozen=True)
    before = driven.state["weights"]
    driven.step(10)
    assert driven.state["weights"] == before
    assert driven.status.plasticity is Plasticity.FROZEN_BY_HAND
    driven.loop.freeze(frozen=False)
    driven.step(10)
    assert driven.state["weights"] != before
    assert driven.status.plasticity is Plasticity.PLASTIC


def test_ticks_at_half_the_rate_freeze_the_weights_until_the_rate_returns():
    driven = Driven(by_stamps=False, sensor_timeout=3 * PERIOD)
    driven.step(3)

    def slowly():
        driven.stamp += NS
        driven.step()

    for _ in range(20):
        slowly()
    assert "the rule needs 8 Hz" in driven.status.plasticity_reason
    before = driven.state["weights"]
    for _ in range(5):
        slowly()
    assert driven.state["weights"] == before
    driven.step(60)
    assert driven.status.plasticity is Plasticity.PLASTIC
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
