"""What every runtime promises, whatever it runs on: add a row to RUNTIMES and it is tested, too."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from toys import CHANNELS, toy_baseline, toy_rule, update_spec

from hebb_controller.errors import ShapeError
from hebb_controller.network import InitialSpec
from hebb_controller.rule import Rule
from hebb_controller.runtime.base import Runtime
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.runtime.onnx_runtime import OnnxRuntime
from hebb_controller.train.baseline_file import Baseline
from hebb_controller.train.baselines import baseline_runtime

RUNTIMES = {"numpy": NumpyRuntime, "onnxruntime": OnnxRuntime.from_rule}

LIVELY = update_spec(
    interval=3, trace_window=5.0, decay=0.04, normalisation="clip", bound=1.5, learning_rate=0.25
)
RULES: Mapping[str, Rule] = {
    "static": toy_rule("static"),
    "A": toy_rule("A"),
    "ABC_eta, max": toy_rule("ABC_eta", update=update_spec(normalisation="max")),
    "ABCD_eta, everything": toy_rule("ABCD_eta", update=LIVELY, hidden=(8, 4)),
    "E outside, normal": toy_rule("ABCD_eta_E_outside", initial=InitialSpec("normal", 0.3)),
    "AD, evolved": toy_rule("AD", initial=InitialSpec("evolved", 1.0), channels=CHANNELS[:2]),
}


BASELINES = {"stacked": toy_baseline("stacked"), "gru": toy_baseline("gru")}
CASES = [*itertools.product(RULES, RUNTIMES), *((name, "baseline") for name in BASELINES)]


@pytest.fixture(params=CASES, ids=" on ".join)
def case(request):
    return request.param


@pytest.fixture
def rule(case):
    """Return what is run: a rule, or a baseline, whose weights do not move and are evolved."""
    return {**RULES, **BASELINES}[case[0]]


@pytest.fixture
def make(case, rule):
    """Return a function that makes a runtime for the rule."""
    if case[1] == "onnxruntime":
        pytest.importorskip("onnxruntime")
    return lambda: {**RUNTIMES, "baseline": baseline_runtime}[case[1]](rule)


def observations(rule, ticks, seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.standard_normal((ticks, rule.header.layer_sizes[0])).astype(np.float32))


def run(runtime: Runtime, seen):
    return [runtime.step(observation).tobytes() for observation in seen]


def snapshot(runtime: Runtime):
    return {name: array.tobytes() for name, array in runtime.state.items()}


def test_the_same_generator_gives_the_same_run_bit_for_bit(make, rule):
    seen = observations(rule, 20)
    one, other = make(), make()
    one.reset(np.random.default_rng(5))
    other.reset(np.random.default_rng(5))
    assert run(one, seen) == run(other, seen)
    assert snapshot(one) == snapshot(other)


def test_a_reset_forgets_everything_of_the_run_before(make, rule):
    fresh, used = make(), make()
    used.reset(np.random.default_rng(1))
    run(used, observations(rule, 20, seed=9))
    for runtime in (fresh, used):
        runtime.reset(np.random.default_rng(5))
    # The last activations may stand in the state where no trace is kept; the next tick replaces them.
    assert run(fresh, observations(rule, 10)) == run(used, observations(rule, 10))
    assert snapshot(fresh) == snapshot(used)


def test_another_generator_gives_other_weights_unless_they_are_evolved(make, rule):
    runtime = make()
    weights = []
    for seed in (1, 2):
        runtime.reset(np.random.default_rng(seed))
        weights.append(runtime.state["weights"].tobytes())
    evolved = isinstance(rule, Baseline) or rule.header.initial.distribution == "evolved"
    assert (weights[0] == weights[1]) == evolved


def test_actions_are_float32_one_for_each_joint_within_one(make, rule):
    runtime = make()
    runtime.reset(np.random.default_rng(0))
    for observation in observations(rule, 20):
        action = runtime.step(100.0 * observation)
        assert action.shape == (rule.header.layer_sizes[-1],)
        assert action.dtype == np.float32
        assert (np.abs(action) <= 1.0).all()


def test_an_observation_is_left_alone(make, rule):
    runtime = make()
    runtime.reset(np.random.default_rng(0))
    for observation in observations(rule, 5):
        kept = observation.tobytes()
        runtime.step(observation)
        assert observation.tobytes() == kept


@pytest.mark.parametrize("extra", [-1, 1])
def test_an_observation_of_another_length_is_refused_and_changes_nothing(make, rule, extra):
    runtime = make()
    runtime.reset(np.random.default_rng(0))
    before = snapshot(runtime)
    with pytest.raises(ShapeError):
        runtime.step(np.zeros(rule.header.layer_sizes[0] + extra, dtype=np.float32))
    assert snapshot(runtime) == before


def test_a_restored_state_replays_bit_for_bit_in_this_runtime_and_another(make, rule):
    runtime, other = make(), make()
    runtime.reset(np.random.default_rng(0))
    other.reset(np.random.default_rng(77))
    run(runtime, observations(rule, 7))  # in the middle of an interval
    kept = runtime.state
    future = observations(rule, 20, seed=3)
    first, after = run(runtime, future), snapshot(runtime)
    runtime.restore(kept)
    assert run(runtime, future) == first
    assert snapshot(runtime) == after
    other.restore(kept)
    assert run(other, future) == first
    assert snapshot(other) == after


def test_the_state_is_a_copy(make, rule):
    runtime = make()
    runtime.reset(np.random.default_rng(0))
    before = snapshot(runtime)
    kept = runtime.state
    run(runtime, observations(rule, 7))
    assert {name: array.tobytes() for name, array in kept.items()} == before
    for array in runtime.state.values():
        array[...] = 1
    now = snapshot(runtime)
    restored = {name: array.copy() for name, array in kept.items()}
    runtime.restore(restored)
    for array in restored.values():
        array[...] = 1
    assert snapshot(runtime) == before
    assert now != before


def test_weights_move_unless_the_rule_is_static_and_gain_zero_freezes_them(make, rule):
    runtime = make()
    runtime.reset(np.random.default_rng(0))
    start = runtime.state["weights"].tobytes()
    runtime.plasticity_gain = 0.0
    run(runtime, observations(rule, 10))
    assert runtime.state["weights"].tobytes() == start
    runtime.plasticity_gain = 1.0
    run(runtime, observations(rule, 10))
    still = isinstance(rule, Baseline) or rule.header.kind == "static"
    assert (runtime.state["weights"].tobytes() == start) == still


def test_the_gain_survives_a_reset_for_it_is_the_operators(make):
    runtime = make()
    assert runtime.plasticity_gain == 1.0
    runtime.plasticity_gain = 0.25
    runtime.reset(np.random.default_rng(0))
    assert runtime.plasticity_gain == 0.25


def test_a_long_run_stays_finite(make, rule):
    runtime = make()
    runtime.reset(np.random.default_rng(0))
    for observation in observations(rule, 500):
        action = runtime.step(observation)
        assert np.isfinite(action).all()
    assert all(np.isfinite(array).all() for array in runtime.state.values())
