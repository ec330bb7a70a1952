"""The network under any observation: actions stay within one, snapshots replay, the order of the
layers does not matter."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference_tick
from toys import toy_rule, update_spec

from hebb_controller.plasticity import NORMALISATIONS, RULE_KINDS
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

kinds = st.sampled_from(list(RULE_KINDS))
updates = st.builds(
    update_spec,
    interval=st.integers(1, 4),
    trace_window=st.sampled_from([1.0, 2.5, 10.0]),
    decay=st.sampled_from([0.0, 0.04, 1.0]),
    normalisation=st.sampled_from(NORMALISATIONS),
    bound=st.sampled_from([0.5, 3.0]),
)
observations = st.lists(
    st.lists(st.floats(-5.0, 5.0, width=32), min_size=6, max_size=6), min_size=1, max_size=6
)


@given(kind=kinds, update=updates, seen=observations, seed=st.integers(0, 99))
@settings(max_examples=60)
def test_every_rule_follows_the_reference_on_any_observations(kind, update, seen, seed):
    rule = toy_rule(kind, update=update, seed=seed, scale=0.3, hidden=(3,))
    runtime = NumpyRuntime(rule)
    runtime.reset(np.random.default_rng(seed))
    for values in seen:
        observation = np.array(values, dtype=np.float32)
        expected = reference_tick(rule, runtime.state, observation)
        action = runtime.step(observation)
        weights = runtime.state["weights"]
        assert (np.abs(action - expected.action) <= expected.action_bound).all()
        assert (np.abs(weights - expected.weights) <= expected.weights_bound).all()


@given(kind=kinds, update=updates, seen=observations, cut=st.integers(0, 6))
@settings(max_examples=60)
def test_a_snapshot_at_any_tick_replays_bit_for_bit(kind, update, seen, cut):
    rule = toy_rule(kind, update=update)
    runtime = NumpyRuntime(rule)
    runtime.reset(np.random.default_rng(1))
    vectors = [np.array(values, dtype=np.float32) for values in seen]
    for vector in vectors[:cut]:
        runtime.step(vector)
    kept = runtime.state
    first = [runtime.step(vector).tobytes() for vector in vectors]
    runtime.restore(kept)
    assert [runtime.step(vector).tobytes() for vector in vectors] == first


@given(seen=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=6, max_size=6))
def test_actions_stay_within_one_even_for_huge_observations(seen):
    runtime = NumpyRuntime(toy_rule("static"))
    runtime.reset(np.random.default_rng(0))
    action = runtime.step(np.array(seen, dtype=np.float32))
    assert np.isfinite(action).all()
    assert (np.abs(action) <= 1.0).all()
