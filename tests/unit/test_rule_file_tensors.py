"""The tensors in a rule file: each must be there, of the right shape and type, and finite."""

import copy
import json
import math

import numpy as np
import pytest
from rule_bytes import frame, pack
from toys import toy_rule

from hebb_controller.errors import RuleFileError
from hebb_controller.rule import make_rule


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["layer0.A", "layer1.eta"])
def test_a_coefficient_that_is_not_finite_is_refused_with_its_place(refuse, parts, name, value):
    document, tensors = parts
    tensors[name][1, 3] = value
    assert f"{name}[1, 3] is {value}" in refuse(pack(document, tensors))


def test_a_coefficient_so_large_that_products_would_overflow_is_refused(refuse, parts):
    document, tensors = parts
    tensors["layer0.B"][2, 0] = 2e9
    assert "layer0.B[2, 0] is 2000000000.0; every coefficient must be" in refuse(
        pack(document, tensors)
    )


@pytest.mark.parametrize("name", ["layer0.A", "layer0.eta", "layer1.D"])
def test_a_missing_tensor_is_named(refuse, parts, name):
    document, tensors = parts
    del tensors[name]
    assert f"{name} is missing. Required: A, B, C, D, eta" in refuse(pack(document, tensors))


def test_a_rule_without_tensors_is_refused(refuse, parts):
    assert "layer0.A is missing" in refuse(pack(parts[0], {}))


def test_an_evolved_start_needs_its_tensor(refuse, parts):
    document, tensors = parts
    document["initial"]["distribution"] = "evolved"
    assert "layer0.initial is missing" in refuse(pack(document, tensors))


@pytest.mark.parametrize(
    "name",
    [
        *("layer0.E", "layer0.initial", "layer0.a", "layer0.", "layer0", "layer0.A.x"),
        *("layer2.A", "layer-1.A", "layer00.A", "layer.A", "layer٠.A", "Layer0.A", "W", ""),
        *("layer" + "9" * 5000 + ".A", "layer0.\n"),
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_an_unknown_tensor_is_refused_by_name(refuse, parts, name):
    document, tensors = parts
    tensors[name] = tensors["layer0.A"]
    message = refuse(pack(document, tensors))
    assert repr(name[:40])[1:-1] in message


@pytest.mark.parametrize("shape", [(6, 5), (30,), (5, 6, 1), (1, 5, 6), (10, 3)])
def test_a_tensor_of_another_shape_is_refused_with_both(refuse, parts, shape):
    document, tensors = parts
    tensors["layer0.B"] = tensors["layer0.B"].reshape(shape)
    assert f"layer0.B has shape {shape}, the layer sizes require (5, 6)" in refuse(
        pack(document, tensors)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.bool_])
def test_a_tensor_of_another_type_is_refused(refuse, parts, dtype):
    document, tensors = parts
    tensors["layer1.C"] = tensors["layer1.C"].astype(dtype)
    message = refuse(pack(document, tensors))
    assert "layer1.C is" in message
    assert "must be F32" in message


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "XYZ", "", 3, None])
def test_a_type_that_numpy_does_not_have_is_refused(refuse, parts, dtype):
    tensor = {"dtype": dtype, "shape": [0], "data_offsets": [0, 0]}
    metadata = {"hebb_rule": json.dumps(parts[0])}
    refuse(frame(json.dumps({"__metadata__": metadata, "layer0.A": tensor}).encode()))


@pytest.mark.parametrize("shape", [[2**63, 0], [2**62, 0], [0] * 70, [-1], [1.5], [2**64], [[]]])
def test_a_shape_from_another_world_is_refused(refuse, parts, shape):
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
    metadata = {"hebb_rule": json.dumps(parts[0])}
    refuse(frame(json.dumps({"__metadata__": metadata, "layer0.A": tensor}).encode()))


def test_make_rule_checks_what_load_rule_checks():
    rule = toy_rule()
    layers = [dict(layer) for layer in rule.layers]
    broken = copy.deepcopy(layers)
    broken[0]["A"][0, 0] = math.nan
    with pytest.raises(RuleFileError, match=r"layer0\.A\[0, 0\] is nan"):
        make_rule(rule.header, broken)
    with pytest.raises(RuleFileError, match="1 'layer' groups of tensors"):
        make_rule(rule.header, layers[:1])
