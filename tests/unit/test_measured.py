"""What an export adds to a rule: static twin, golden vectors, envelope."""

import numpy as np
import pytest
from toys import ToyCondition, slide, toy_robot, toy_rule, update_spec

from hebb_controller.errors import RuleFileError
from hebb_controller.golden import compare_golden
from hebb_controller.plasticity import RULE_KINDS
from hebb_controller.rule_file import load_rule, save_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.train.measured import TWIN_EPISODES, measured_rule, twin_of

UPDATE = update_spec(decay=0.2, trace_window=3.0, normalisation="clip", bound=1.0)
KINDS = [kind for kind in RULE_KINDS if kind != "static"]


def measured(rule):
    return measured_rule(rule, toy_robot(), slide, ToyCondition())


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_rule_is_the_same_rule_with_its_measurements(tmp_path, kind):
    rule = toy_rule(kind, update=UPDATE)
    save_rule(measured(rule), tmp_path / "x.rule.safetensors")
    loaded = load_rule(tmp_path / "x.rule.safetensors")
    for one, other in zip(loaded.layers, rule.layers, strict=True):
        assert {n: t.tobytes() for n, t in one.items()} == {
            n: t.tobytes() for n, t in other.items()
        }
    assert loaded.n_parameters == rule.n_parameters
    assert loaded.golden.ticks == 8  # the length of the reference episode
    compare_golden(loaded, NumpyRuntime(loaded))
    assert loaded.header.envelope.ticks == 80
    assert loaded.header.static_twin.episodes == TWIN_EPISODES
    assert measured(loaded).header == loaded.header  # the same again, bit for bit


def test_the_twin_is_the_weights_at_the_end_and_does_what_was_measured():
    rule = measured(toy_rule(update=UPDATE))
    runtime = NumpyRuntime(twin_of(rule, rule.static))
    runtime.reset(np.random.default_rng(0))
    start = runtime.state["weights"].tobytes()
    seen = np.array([0.5, 0.5, 0.0, 0.0, 0.0, 1.0], dtype=np.float32)
    runtime.step(seen)
    assert runtime.state["weights"].tobytes() == start
    assert start == np.concatenate([w.ravel() for w in rule.static]).tobytes()
    assert rule.header.static_twin.fall_rate == 0.0
    assert abs(rule.header.static_twin.speed) <= 1.0  # the action is the speed


def test_a_rule_whose_weights_diverge_is_not_exported():
    rule = toy_rule("AD", update=update_spec(normalisation="none", decay=0.0))
    with pytest.raises(RuleFileError, match="keep growing"):
        measured(rule)


def test_a_static_rule_has_nothing_to_measure():
    with pytest.raises(RuleFileError, match="static"):
        measured(toy_rule("static"))
