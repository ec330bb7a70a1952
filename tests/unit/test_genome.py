"""What an evolved vector stands for, and what a rule must be to begin as one."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
from toys import toy_genome

from hebb_controller.cli.networks import with_network
from hebb_controller.cli.presets import fast
from hebb_controller.controller import controller_for
from hebb_controller.errors import RuleFileError, TrainingError
from hebb_controller.network import InitialSpec
from hebb_controller.robot import load_robot
from hebb_controller.train.baseline_file import FRAMES
from hebb_controller.train.genome import Genome


def genome(**fields):
    return Genome(**{**vars(toy_genome()), "kind": "A", **fields})


def test_the_vector_is_laid_out_layer_by_layer_tensor_by_tensor():
    layout = genome(kind="AD_eta", layer_sizes=(6, 3, 2))
    assert layout.size == 3 * (6 * 3 + 3 * 2)
    vector = np.arange(layout.size, dtype=np.float32) / 128.0
    rule = layout.rule(vector)
    assert rule.layers[0]["A"].ravel().tolist() == vector[:18].tolist()
    assert rule.layers[0]["D"].ravel().tolist() == vector[18:36].tolist()
    assert rule.layers[1]["A"].ravel().tolist() == vector[54:60].tolist()
    assert rule.layers[1]["A"].shape == (2, 3)
    # eta is eta_max (0.1) times the logistic function; float32 rounding of three operations
    expected = [0.1 / (1.0 + math.exp(-value)) for value in vector[36:54]]
    assert rule.layers[0]["eta"].ravel() == pytest.approx(expected, rel=2**-20)


def test_the_start_of_the_fast_preset_is_pinned():
    """Rules are made anew from what their provenance says; eta is left out, exp is the platform's."""
    layout = fast(seed=0).spec.genome
    vector = layout.start(np.random.default_rng((0, 0)))
    rule = layout.rule(vector)
    digest = hashlib.sha256(vector.tobytes())
    for layer in rule.layers:
        for name in "ABCD":
            digest.update(layer[name].tobytes())
    assert digest.hexdigest() == PINNED


PINNED = "cdbf2bb35857ef60c0c8cb4d0adf133c81881d6958017a414b61a59c0c3cbe10"


def test_of_a_kind_per_neuron_the_vector_holds_the_neurons_then_the_evolved_start():
    layout = genome(kind="ABCD_eta_neuron", layer_sizes=(6, 2), initial=InitialSpec("evolved", 1.0))
    assert layout.size == 5 * 6 + 5 * 2 + 12
    vector = np.arange(layout.size, dtype=np.float32) / 64.0
    rule = layout.rule(vector)
    assert rule.neurons[0]["A"].tolist() == vector[:6].tolist()
    assert rule.neurons[0]["D"].tolist() == vector[18:24].tolist()
    assert rule.neurons[1]["C"].tolist() == vector[34:36].tolist()
    assert rule.layers[0]["initial"].ravel().tolist() == vector[40:].tolist()
    assert rule.n_parameters == layout.size
    # eta_max (0.1) times the logistic function, of the mean of two neurons
    eta = [0.1 / (1.0 + math.exp(-vector[k])) for k in (24, 38)]
    assert rule.layers[0]["eta"][0, 0] == pytest.approx(sum(eta) / 2, rel=2**-20)


def test_plasticity_may_begin_weak():
    even, weak = (
        genome(kind="AD_eta", layer_sizes=(6, 2), start_scale=0.25, eta_start=start)
        for start in (0.0, -3.0)
    )
    one, other = (layout.start(np.random.default_rng(0)) for layout in (even, weak))
    assert other[:24].tobytes() == one[:24].tobytes()  # A and D
    assert other[24:] - one[24:] == pytest.approx(-3.0, abs=1e-6)
    assert weak.rule(other).layers[0]["eta"].max() < 0.1 / (1.0 + math.exp(3.0 - 4 * 0.25))


def test_an_evolved_start_is_part_of_the_vector():
    plain, evolved = genome(), genome(initial=InitialSpec("evolved", 1.0))
    assert evolved.size == 2 * plain.size
    vector = np.arange(evolved.size, dtype=np.float32)
    rule = evolved.rule(vector)
    assert rule.layers[0]["initial"].ravel().tolist() == vector[12:].tolist()
    assert rule.header.initial.distribution == "evolved"


def test_the_start_has_the_scales_it_should():
    layout = genome(layer_sizes=(6, 400, 2), initial=InitialSpec("evolved", 1.0), start_scale=0.25)
    vector = layout.start(np.random.default_rng(0))
    assert vector.shape == (layout.size,)
    assert vector.dtype == np.float32
    coefficients, weights = vector[:2400], vector[2400:4800]
    # six standard errors of a standard deviation from 2,400 draws: 6/√4800 = 0.087
    assert coefficients.std() == pytest.approx(0.25, rel=0.087)
    assert weights.std() == pytest.approx(6**-0.5, rel=0.087)


def test_the_rule_carries_where_it_comes_from():
    rule = genome().rule(np.zeros(12, dtype=np.float32), {"command": "by hand"})
    assert rule.header.provenance == {"command": "by hand"}
    assert rule.header.contract.robot == "toy"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_vector_that_is_not_finite_is_no_rule(value):
    vector = np.zeros(12, dtype=np.float32)
    vector[7] = value
    with pytest.raises(RuleFileError, match="candidate: layer0"):
        genome().rule(vector)


@pytest.mark.parametrize("network", ["hebbian", "per-neuron", "static"])
def test_a_rule_stands_in_the_vector_that_made_it(network):
    layout = with_network(fast(seed=0), network).spec.genome
    vector = layout.start(np.random.default_rng(3))
    again = layout.vector(layout.rule(vector))
    assert again.dtype == np.float32
    # but for numbers that a mirror makes zero in every rule, and the rounding of the logistic function
    free = layout.vector(layout.rule(np.ones_like(vector))) != 0
    assert free.mean() > 0.95
    assert again[free] == pytest.approx(vector[free], rel=1e-4, abs=1e-4)
    one, other = layout.rule(vector), layout.rule(again)
    for a, b in zip((*one.neurons, *one.layers), (*other.neurons, *other.layers), strict=True):
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-7)


def test_a_static_rule_may_start_one_that_is_plastic():
    preset = fast(seed=0)
    static, plastic = (
        with_network(preset, network).spec.genome for network in ("static", "per-neuron")
    )
    rule = static.rule(static.start(np.random.default_rng(3)))
    started = plastic.rule(plastic.from_static(rule, np.random.default_rng(4)))
    own = plastic.rule(plastic.start(np.random.default_rng(4)))
    for made, ours, theirs in zip(started.layers, own.layers, rule.layers, strict=True):
        assert made["initial"] == pytest.approx(theirs["initial"], rel=1e-6)
        assert not np.allclose(made["initial"], ours["initial"])
    for made, ours in zip(started.neurons, own.neurons, strict=True):
        assert all(np.array_equal(made[name], ours[name]) for name in made)
    random_start = preset.spec.genome
    with pytest.raises(TrainingError, match="it differs from what is evolved in initial"):
        random_start.from_static(rule, np.random.default_rng(4))


def test_stacked_frames_may_begin_as_a_static_rule():
    preset, a1 = fast(seed=0), load_robot("a1")
    static, stacked, gru = (
        with_network(preset, network).spec.genome for network in ("static", "stacked", "gru")
    )
    rule = static.rule(static.start(np.random.default_rng(3)))
    one, other = controller_for(rule, a1), stacked.controller(stacked.from_static(rule), a1)
    rng = np.random.default_rng(4)
    for controller in (one, other):
        controller.runtime.reset(rng)
    for _ in range(2 * FRAMES):
        observation = rng.standard_normal(static.layer_sizes[0]).astype(np.float32)
        action = one.runtime.step(observation)
        assert other.runtime.step(observation) == pytest.approx(action, abs=1e-5)
    with pytest.raises(TrainingError, match="a gru cannot do what a static rule does"):
        gru.from_static(rule)
    lopsided = replace(static, mirrors=None)
    with pytest.raises(TrainingError, match="layer0 is not its own mirror image"):
        stacked.from_static(lopsided.rule(lopsided.start(rng)))
    with pytest.raises(TrainingError, match="it differs from what is evolved in tick_period"):
        replace(stacked, tick_period=0.5).from_static(rule)


def test_an_eta_that_no_vector_can_stand_for_is_nearly_so():
    layout = genome(kind="AD_eta", layer_sizes=(6, 2))
    rule = layout.rule(np.full(layout.size, -200.0, dtype=np.float32))
    assert rule.layers[0]["eta"].max() == 0.0
    again = layout.rule(layout.vector(rule))
    assert again.layers[0]["eta"].max() == pytest.approx(0.1e-6, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "AD"}, "it differs from what is evolved in kind"),
        ({"layer_sizes": (6, 3, 2)}, "it differs from what is evolved in layer_sizes"),
        (
            {"tick_period": 0.5, "initial": InitialSpec("uniform", 0.7)},
            "it differs from what is evolved in initial, tick_period",
        ),
    ],
)
def test_a_rule_of_another_make_is_no_start(fields, words):
    other = genome(**fields)
    with pytest.raises(TrainingError, match=words):
        genome().vector(other.rule(np.zeros(other.size, dtype=np.float32)))


def test_a_rule_that_is_not_its_own_mirror_image_is_no_start_for_one_that_must_be():
    symmetric = fast(seed=0).spec.genome
    lopsided = replace(symmetric, mirrors=None)
    rule = lopsided.rule(lopsided.start(np.random.default_rng(0)))
    with pytest.raises(TrainingError, match="A is not its own mirror image"):
        symmetric.vector(rule)
