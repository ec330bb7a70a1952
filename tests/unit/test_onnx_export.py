"""``hebb export --onnx``: what it writes, and what it says when it cannot."""

import sys

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller.network import InitialSpec
from hebb_controller.rule_file import save_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.runtime.onnx_runtime import load_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RULE = toy_rule(
    update=update_spec(interval=3, trace_window=5.0, decay=0.04),
    initial=InitialSpec("evolved", 1.0),
    hidden=(5, 4),
)


@pytest.fixture
def rule_file(tmp_path):
    path = tmp_path / "toy.rule.safetensors"
    save_rule(RULE, path)
    return path


def test_it_writes_a_model_that_walks_like_the_rule(hebb, tmp_path, rule_file):
    target = tmp_path / "toy.onnx"
    code, output, errors = hebb("export", rule_file, "--onnx", target)
    assert code == 0, errors
    assert str(target) in output + errors
    exported, rule = load_onnx(target), NumpyRuntime(RULE)
    for runtime in (exported, rule):
        runtime.reset(np.random.default_rng(0))
    seen = np.ones(6, dtype=np.float32)
    assert np.allclose(exported.step(seen), rule.step(seen), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("none.rule.safetensors", "x.onnx", "no such file"),
        ("toy.rule.safetensors", "x.bin", "must end in .onnx"),
        ("toy.rule.safetensors", "none/x.onnx", "cannot be written"),
    ],
)
def test_it_says_what_is_wrong_in_one_line(hebb, rule_file, source, target, words):
    folder = rule_file.parent
    code, _, errors = hebb("export", folder / source, "--onnx", folder / target)
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert words in errors


def test_without_onnx_it_names_the_extra(hebb, rule_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "hebb_controller.onnx_export")
    code, _, errors = hebb("export", rule_file, "--onnx", "x.onnx")
    assert code == 2
    assert ".[onnx]" in errors
