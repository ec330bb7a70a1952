"""The envelope bounds long runs, and rules whose weights diverge are refused with the run that shows it."""

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller.envelope import stability_envelope
from hebb_controller.errors import RuleFileError
from hebb_controller.network import InitialSpec
from hebb_controller.rule import make_rule

SEEN = [np.full(6, value, dtype=np.float32) for value in (0.5, -0.25, 0.125, 0.0)]


def envelope(rule, horizon=40, seed=0):
    rng = np.random.default_rng(seed)
    return stability_envelope(rule, SEEN, horizon=horizon, rng=rng)


def test_it_is_what_was_reached_by_hand():
    # A is 0: W ← W + 0.5·D − 0.25·(W − W0). The first change is 0.5·D, the largest; from a start near
    # zero the weights go up to 0.5·D / 0.25.
    update = update_spec(decay=0.25, learning_rate=0.5)
    rule = toy_rule("AD", update=update, initial=InitialSpec("uniform", 1e-6))
    layers = [{"A": np.zeros_like(la["A"]), "D": la["D"]} for la in rule.layers]
    found = envelope(make_rule(rule.header, layers))
    assert found.ticks == 400
    for layer, bound in zip(layers, found.layers, strict=True):
        norm = float(np.linalg.norm(layer["D"].astype(np.float64)))
        assert bound.change == pytest.approx(0.5 * norm, rel=1e-5)
        assert bound.norm == pytest.approx(2.0 * norm, rel=1e-5)  # 0.75**400 is nothing


def test_saturation_is_the_share_of_neurons_at_their_ends():
    rule = toy_rule("A", scale=0.0, initial=InitialSpec("normal", 1e6))
    for layer in envelope(rule).layers:
        assert layer.saturation > 0.95
        assert layer.change == 0.0


def test_weights_that_run_away_are_refused_with_layer_and_run():
    # W ← W + 0.5·D at every tick and nothing that holds it
    rule = toy_rule("AD", update=update_spec(normalisation="none", decay=0.0))
    with pytest.raises(
        RuleFileError, match=r"layer 0: on recorded observations the weights keep g"
    ):
        envelope(rule)


def test_weights_that_overflow_are_refused_with_the_tick():
    # 1e9 · 1e9 a tick: in a norm that is squared, and 1e36 times some hundred is beyond float32
    rule = toy_rule("AD", update=update_spec(learning_rate=1e9), scale=3e8)
    with pytest.raises(RuleFileError, match="stop being finite at tick"):
        envelope(rule)


def test_the_same_random_numbers_give_the_same_envelope():
    rule = toy_rule(update=update_spec(decay=0.2))
    assert envelope(rule, seed=3) == envelope(rule, seed=3)
