"""Golden vectors are repeated to rounding, and nothing else passes for it."""

from dataclasses import replace

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller.errors import RuleFileError
from hebb_controller.golden import compare_golden, record_golden
from hebb_controller.plasticity import RULE_KINDS
from hebb_controller.rule import make_rule
from hebb_controller.rule_file import load_rule, save_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

UPDATE = update_spec(trace_window=4.0, interval=2, decay=0.1, normalisation="clip", bound=1.0)


def golden_rule(kind="ABCD_eta", update=UPDATE, ticks=40):
    rule = toy_rule(kind, update=update)
    rng = np.random.default_rng(1)
    seen = [rng.standard_normal(6).astype(np.float32) for _ in range(ticks)]
    golden = record_golden(NumpyRuntime(rule), seen, np.random.default_rng(2))
    layers = [{n: t for n, t in layer.items() if n in rule.stored} for layer in rule.layers]
    return make_rule(rule.header, layers, neurons=rule.neurons, golden=golden)


@pytest.mark.parametrize("kind", RULE_KINDS)
@pytest.mark.parametrize("update", [UPDATE, update_spec()], ids=["traced", "plain"])
def test_the_runtime_that_recorded_them_repeats_them_after_saving_and_loading(
    tmp_path, kind, update
):
    path = tmp_path / "x.rule.safetensors"
    save_rule(golden_rule(kind, update), path)
    loaded = load_rule(path)
    assert loaded.golden.ticks == 32
    compare_golden(loaded, NumpyRuntime(loaded))


class Wrong(NumpyRuntime):
    """Is off by a little in one place, from the fifth tick on."""

    def __init__(self, rule, place, amount):
        super().__init__(rule)
        self.place, self.amount = place, amount

    def step(self, observation):
        action = super().step(observation)
        if self._tick >= 5:
            target = {"action": action, "weights": self._weights, "trace": self._trace}
            target[self.place][1] += np.float32(self.amount)
        return action


@pytest.mark.parametrize("place", ["action", "weights", "trace"])
@pytest.mark.parametrize("amount", [1e-5, np.nan])
def test_a_runtime_that_is_off_is_told_where(place, amount):
    rule = golden_rule()
    with pytest.raises(RuleFileError, match=rf"golden tick 4: {place}\[1\] is"):
        compare_golden(rule, Wrong(rule, place, amount))


def test_other_coefficients_than_those_recorded_are_noticed():
    rule = golden_rule()
    layers = [{name: t.copy() for name, t in layer.items()} for layer in rule.layers]
    layers[0]["A"][0, 0] += 0.01
    changed = make_rule(rule.header, layers, golden=rule.golden)
    with pytest.raises(RuleFileError, match=r"golden tick 1: weights\[0\]"):
        compare_golden(changed, NumpyRuntime(changed))


def test_a_rule_without_any_says_how_to_get_them():
    rule = toy_rule()
    with pytest.raises(RuleFileError, match="hebb export --rule"):
        compare_golden(rule, NumpyRuntime(rule))


def test_a_large_network_records_fewer_ticks():
    rule = toy_rule(hidden=(5_000, 40))
    seen = [np.zeros(6, dtype=np.float32)] * 32
    golden = record_golden(NumpyRuntime(rule), seen, np.random.default_rng(0))
    assert 1 <= golden.ticks < 32


@pytest.mark.parametrize(
    ("field", "shape"),
    [("initial", (3,)), ("weights", (32, 40)), ("observation", (33, 6)), ("action", (32, 3))],
)
def test_golden_vectors_of_another_shape_are_refused(field, shape):
    rule = golden_rule()
    golden = replace(rule.golden, **{field: np.zeros(shape, dtype=np.float32)})
    with pytest.raises(RuleFileError, match=r"golden\."):
        make_rule(rule.header, [dict(layer) for layer in rule.layers], golden=golden)
