"""The bound on float32 against the slow reference, which derives it anew, synapse by synapse."""

import numpy as np
import pytest
from reference import reference_tick
from toys import toy_rule, update_spec

from hebb_controller.network import InitialSpec
from hebb_controller.plasticity import NORMALISATIONS, RULE_KINDS
from hebb_controller.rounding import tick_bounds
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

UPDATES = [
    {"normalisation": "none"},
    {"normalisation": "clip", "bound": 0.6, "trace_window": 10.0, "decay": 0.04, "interval": 3},
    *({"normalisation": name, "bound": 0.75} for name in NORMALISATIONS),
]


def ticks(rule, count=7):
    runtime = NumpyRuntime(rule)
    rng = np.random.default_rng(4)
    runtime.reset(rng)
    for _ in range(count):
        observation = rng.standard_normal(rule.header.layer_sizes[0]).astype(np.float32)
        before = runtime.state
        runtime.step(observation)
        yield before, observation


@pytest.mark.parametrize("kind", RULE_KINDS)
@pytest.mark.parametrize("update", UPDATES, ids=str)
def test_values_and_bounds_are_the_references(kind, update):
    rule = toy_rule(kind, update=update_spec(**update), hidden=(4,), scale=0.3)
    for before, observation in ticks(rule):
        found = tick_bounds(rule, before, observation)
        expected = reference_tick(rule, before, observation)
        for name in ("action", "weights", "trace"):
            bounded = getattr(found, name)
            # both are float64: sums of fewer than 20 terms of at most a few units
            assert bounded.value == pytest.approx(getattr(expected, name), abs=1e-12), name
            reference = getattr(expected, f"{name}_bound")
            # Neither may promise much less than the other: tanh is granted twice as much here.
            assert (bounded.bound >= 0.5 * reference).all(), name
            assert (bounded.bound <= 4.0 * reference + 1e-15).all(), name


def test_an_evolved_start_and_no_plasticity_are_bounded_too():
    rule = toy_rule("static", initial=InitialSpec("evolved", 1.0))
    for before, observation in ticks(rule, 2):
        found = tick_bounds(rule, before, observation)
        assert (found.weights.bound == 0).all()
        assert (found.weights.value == before["weights"]).all()
