"""The forward pass, and the distributions from which weights are drawn."""

import math

import numpy as np
import pytest
from reference import reference_tick
from toys import toy_rule

from hebb_controller.errors import RuleFileError
from hebb_controller.network import InitialSpec, forward, random_weights
from hebb_controller.plasticity import layer_views


def test_one_layer_by_hand():
    weights = np.array([[1.0, -2.0], [0.5, 0.25]], dtype=np.float32)
    activations = [np.array([0.5, 1.0], np.float32), np.zeros(2, np.float32)]
    forward([weights], activations)
    # 0.5 − 2 = −1.5 and 0.25 + 0.25 = 0.5, exact; tanh to float32's last places
    assert activations[1] == pytest.approx([math.tanh(-1.5), math.tanh(0.5)], rel=2**-21)


@pytest.mark.parametrize("hidden", [(), (7,), (32, 16)])
def test_the_forward_pass_agrees_with_a_loop_in_double_precision(hidden):
    rule = toy_rule("static", hidden=hidden)
    sizes = rule.header.layer_sizes
    rng = np.random.default_rng(1)
    weights = (0.3 * rng.standard_normal(rule.n_synapses)).astype(np.float32)
    activations = [np.zeros(n, dtype=np.float32) for n in sizes]
    activations[0][:] = rng.standard_normal(sizes[0])
    state = {
        "weights": weights,
        "initial": weights,
        "trace": np.zeros(sum(sizes)),
        "tick": np.array(0),
    }
    expected = reference_tick(rule, state, activations[0])
    forward(layer_views(weights, sizes), activations)
    assert (np.abs(activations[-1] - expected.action) <= expected.action_bound).all()
    assert expected.action_bound.max() < 1e-4


def test_no_weight_and_no_input_is_changed():
    weights = np.ones((2, 2), dtype=np.float32)
    activations = [np.ones(2, np.float32), np.zeros(2, np.float32)]
    forward([weights], activations)
    assert (weights == 1).all()
    assert (activations[0] == 1).all()


def test_uniform_weights_fill_their_range_and_never_leave_it():
    weights = random_weights(InitialSpec("uniform", 0.25), 20_000, np.random.default_rng(0))
    assert weights.dtype == np.float32
    assert np.abs(weights).max() <= 0.25
    # Of 20,000 draws the chance that none falls into the last thousandth is 0.999^20000 = 2e-9.
    assert weights.max() > 0.2495
    assert weights.min() < -0.2495
    # The mean has standard deviation 0.25/√(3·20000) = 0.00102; six of them.
    assert abs(float(weights.mean())) < 0.0062


def test_normal_weights_have_the_scale_as_standard_deviation():
    weights = random_weights(InitialSpec("normal", 0.024), 20_000, np.random.default_rng(0))
    assert weights.dtype == np.float32
    # Standard errors: of the mean 0.024/√20000, of the deviation 0.024/√40000; six of each.
    assert abs(float(weights.mean())) < 6 * 0.024 / math.sqrt(20_000)
    assert abs(float(weights.std()) - 0.024) < 6 * 0.024 / math.sqrt(40_000)
    assert np.abs(weights).max() > 2 * 0.024  # not uniform


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_the_generator_decides_the_weights(distribution):
    spec = InitialSpec(distribution, 0.1)
    one, same, other = (random_weights(spec, 50, np.random.default_rng(s)) for s in (4, 4, 5))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (InitialSpec("gaussian", 0.1), "'gaussian' is unknown. Known: uniform, normal, evolved"),
        (InitialSpec("uniform", 0.0), "scale is 0.0"),
        (InitialSpec("normal", -1.0), "scale is -1.0"),
    ],
)
def test_a_senseless_start_is_refused(spec, word):
    with pytest.raises(RuleFileError, match=word):
        spec.check("initial")
