"""The plastic update against the slow reference, and against numbers worked out on paper."""

import numpy as np
import pytest
from reference import reference_tick
from toys import toy_rule, update_spec

from hebb_controller.network import InitialSpec
from hebb_controller.plasticity import (
    NORMALISATIONS,
    RULE_KINDS,
    PlasticUpdate,
    expand,
    fold,
    layer_views,
    normalise,
)
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

PLASTIC_KINDS = [kind for kind in RULE_KINDS if kind != "static"]

# What the method's paper and this project name; the table may not lose one.
KNOWN_KINDS = {
    "static": (),
    "A": ("A",),
    "AD": ("A", "D"),
    "AD_eta": ("A", "D", "eta"),
    "ABC": ("A", "B", "C"),
    "ABC_eta": ("A", "B", "C", "eta"),
    "ABCD": ("A", "B", "C", "D"),
    "ABCD_eta": ("A", "B", "C", "D", "eta"),
    "ABCD_eta_D_outside": ("A", "B", "C", "eta", "D"),
    "ABCD_eta_E_outside": ("A", "B", "C", "D", "eta", "E"),
    "ABCD_eta_neuron": ("A", "B", "C", "D", "eta"),
}


def follow(rule, *, ticks=12, gain=1.0, seed=3):
    """Check every tick of a run, each from the float32 state that the runtime had before it.

    Returns the largest change of a weight in a tick, and the largest bound.
    """
    runtime = NumpyRuntime(rule)
    runtime.plasticity_gain = gain
    rng = np.random.default_rng(seed)
    runtime.reset(rng)
    change, bound = 0.0, 0.0
    for _ in range(ticks):
        observation = rng.standard_normal(rule.header.layer_sizes[0]).astype(np.float32)
        before = runtime.state
        expected = reference_tick(rule, before, observation, gain)
        action = runtime.step(observation)
        after = runtime.state
        assert (np.abs(action - expected.action) <= expected.action_bound).all()
        assert (np.abs(after["weights"] - expected.weights) <= expected.weights_bound).all()
        assert (np.abs(after["trace"] - expected.trace) <= expected.trace_bound).all()
        assert int(after["tick"]) == expected.tick
        assert (after["initial"] == before["initial"]).all()
        change = max(change, float(np.abs(after["weights"] - before["weights"]).max()))
        bound = max(bound, float(expected.weights_bound.max()))
    return change, bound


def test_the_table_holds_every_kind_of_the_literature_with_its_tensors():
    assert {kind: row.tensors for kind, row in RULE_KINDS.items()} == KNOWN_KINDS


@pytest.mark.parametrize("kind", PLASTIC_KINDS)
def test_every_kind_follows_its_equation_synapse_by_synapse(kind):
    change, bound = follow(toy_rule(kind, scale=0.3))
    assert change > 1e4 * bound  # the bound tells right from wrong: weights move far more than it


# The coefficients of a kind per neuron, once they are expanded, are those of another kind.
PER_SYNAPSE = [kind for kind in PLASTIC_KINDS if not RULE_KINDS[kind].per_neuron]


@pytest.mark.parametrize("kind", PER_SYNAPSE)
def test_no_two_kinds_are_the_same_rule(kind):
    """The tensors of the fullest kind under two names give different weights."""
    states = {}
    for other in PER_SYNAPSE:
        rule = toy_rule(other, seed=5)
        shared = toy_rule("ABCD_eta_E_outside", seed=5)
        layers = [
            {name: full[name] for name in layer}
            for layer, full in zip(rule.layers, shared.layers, strict=True)
        ]
        runtime = NumpyRuntime(type(rule)(rule.header, tuple(layers)))
        runtime.reset(np.random.default_rng(0))
        runtime.step(np.ones(6, dtype=np.float32))
        states[other] = runtime.state["weights"]
    for other in PER_SYNAPSE:
        assert (other == kind) == np.array_equal(states[kind], states[other])


def test_coefficients_per_neuron_are_expanded_by_hand():
    # one neuron (A 2, B 3, C 5, D 7, eta 1) before two
    pre = {name: np.array([v], np.float32) for name, v in zip("ABCD", (2, 3, 5, 7), strict=True)}
    post = {
        name: np.array(v, np.float32)
        for name, v in {"A": (1, 10), "B": (2, 20), "C": (4, 40), "D": (8, 80)}.items()
    }
    eta = {"eta": np.array([1.0], np.float32)}, {"eta": np.array([0.0, 3.0], np.float32)}
    (layer,) = expand([pre | eta[0], post | eta[1]])
    assert {name: tensor.tolist() for name, tensor in layer.items()} == {
        "A": [[2], [20]],
        "B": [[3], [3]],  # of the neuron before
        "C": [[4], [40]],  # of the neuron after
        "D": [[56], [560]],
        "eta": [[0.5], [2.0]],
    }


def test_one_synapse_by_hand():
    # pre 0.5, post 0.25, A 2, B −1, C 4, D 0.125, eta 0.5:
    # 0.5 · (2·0.25·0.5 − 0.5 + 4·0.25 + 0.125) = 0.5 · 0.875 = 0.4375, all exact in binary
    layer = {
        name: np.array([[value]], dtype=np.float32)
        for name, value in {"A": 2.0, "B": -1.0, "C": 4.0, "D": 0.125, "eta": 0.5}.items()
    }
    weights = np.array([1.0], dtype=np.float32)
    update = PlasticUpdate(fold(RULE_KINDS["ABCD_eta"], [layer], 9.0), (1, 1), decay=0.0)
    activations = [np.array([0.5], dtype=np.float32), np.array([0.25], dtype=np.float32)]
    delta = update.step(weights, weights.copy(), activations, 1.0)
    assert delta.tolist() == [0.4375]
    assert weights.tolist() == [1.4375]


def test_decay_by_hand_leads_back_to_the_initial_weight_not_to_zero():
    # no rule but D = 0: W ← W + 0.25 (W0 − W) = 2 + 0.25 · (1 − 2) = 1.75
    layer = {name: np.zeros((1, 1), dtype=np.float32) for name in ("A", "D")}
    weights = np.array([2.0], dtype=np.float32)
    update = PlasticUpdate(fold(RULE_KINDS["AD"], [layer], 1.0), (1, 1), decay=0.25)
    one = np.ones(1, dtype=np.float32)
    update.step(weights, one, [one, one], 1.0)
    assert weights.tolist() == [1.75]


def test_rows_are_the_neurons_after_and_columns_the_neurons_before():
    # B alone: the change of W_ij is pre_j; C alone: post_i
    pre, post = np.array([1.0, 2.0, 4.0], dtype=np.float32), np.array([8.0, 16.0], dtype=np.float32)
    ones, zeros = np.ones((2, 3), dtype=np.float32), np.zeros((2, 3), dtype=np.float32)
    for given, expected in (
        ("B", [[1, 2, 4], [1, 2, 4]]),
        ("C", [[8, 8, 8], [16, 16, 16]]),
        ("A", [[8, 16, 32], [16, 32, 64]]),
    ):
        layer = {name: ones if name == given else zeros for name in "ABC"}
        weights = np.zeros(6, dtype=np.float32)
        update = PlasticUpdate(fold(RULE_KINDS["ABC"], [layer], 1.0), (3, 2), decay=0.0)
        update.step(weights, weights.copy(), [pre, post], 1.0)
        assert weights.reshape(2, 3).tolist() == expected


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_normalisation_follows_the_reference(normalisation):
    update = update_spec(normalisation=normalisation, bound=0.75)
    change, bound = follow(toy_rule(update=update, scale=0.3))
    assert change > 1e4 * bound


def test_normalisations_by_hand():
    start = [0.5, -2.0, 0.25, 0.125]
    for normalisation, expected in {
        "none": [0.5, -2.0, 0.25, 0.125],
        "max": [0.25, -1.0, 1.0, 0.5],  # layer by layer: 2 and 0.25
        "max_above_one": [0.25, -1.0, 0.25, 0.125],  # the second layer is below one
        "clip": [0.5, -0.75, 0.25, 0.125],
    }.items():
        weights = np.array(start, dtype=np.float32)
        layers = layer_views(weights, (1, 2, 1))
        assert [layer.shape for layer in layers] == [(2, 1), (1, 2)]
        normalise(weights, layers, update_spec(normalisation=normalisation, bound=0.75))
        assert weights.tolist() == expected


def test_a_layer_of_zeros_survives_division_by_its_maximum():
    weights = np.zeros(2, dtype=np.float32)
    normalise(weights, layer_views(weights, (2, 1)), update_spec(normalisation="max"))
    assert weights.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "fields",
    [
        {"trace_window": 10.0},
        {"trace_window": 1.5, "decay": 0.04},
        {"interval": 4},
        {"interval": 3, "trace_window": 10.0, "decay": 0.04, "normalisation": "clip", "bound": 0.6},
    ],
    ids=str,
)
def test_traces_interval_and_decay_follow_the_reference(fields):
    change, bound = follow(toy_rule(update=update_spec(**fields), scale=0.3))
    assert change > 1e3 * bound


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_the_gain_scales_the_whole_change(gain):
    follow(toy_rule(update=update_spec(decay=0.1), scale=0.3), gain=gain)


def test_weights_move_at_every_interval_and_only_then():
    runtime = NumpyRuntime(toy_rule(update=update_spec(interval=3)))
    runtime.reset(np.random.default_rng(0))
    moved = []
    for _ in range(7):
        before = runtime.state["weights"]
        runtime.step(np.ones(6, dtype=np.float32))
        moved.append(bool((runtime.state["weights"] != before).any()))
    assert moved == [False, False, True, False, False, True, False]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_gain_zero_freezes_the_weights_bit_for_bit(normalisation):
    update = update_spec(normalisation=normalisation, bound=0.01, decay=0.5)
    runtime = NumpyRuntime(toy_rule(update=update))
    runtime.reset(np.random.default_rng(0))
    for _ in range(3):
        runtime.step(np.ones(6, dtype=np.float32))
    frozen = runtime.state["weights"].tobytes()
    runtime.plasticity_gain = 0.0
    for _ in range(5):
        runtime.step(np.full(6, -0.5, dtype=np.float32))
    assert runtime.state["weights"].tobytes() == frozen
    runtime.plasticity_gain = 1.0
    runtime.step(np.ones(6, dtype=np.float32))
    assert runtime.state["weights"].tobytes() != frozen


def test_a_static_rule_never_moves_whatever_its_update_says():
    rule = toy_rule(
        "static",
        update=update_spec(decay=0.5, normalisation="max"),
        initial=InitialSpec("evolved", 1.0),
    )
    runtime = NumpyRuntime(rule)
    runtime.reset(np.random.default_rng(0))
    evolved = np.concatenate([layer["initial"].ravel() for layer in rule.layers])
    for _ in range(5):
        runtime.step(np.ones(6, dtype=np.float32))
    assert runtime.state["weights"].tobytes() == evolved.tobytes()


def test_the_change_that_was_made_is_shown_layer_by_layer():
    runtime = NumpyRuntime(toy_rule())
    runtime.reset(np.random.default_rng(0))
    assert runtime.last_change is None
    before = [layer.copy() for layer in runtime.layers]
    runtime.step(np.ones(6, dtype=np.float32))
    for layer, old, change in zip(runtime.layers, before, runtime.last_change, strict=True):
        assert np.array_equal(old + change, layer)
    runtime.restore(runtime.state)
    assert runtime.last_change is None  # it was that of a tick before
