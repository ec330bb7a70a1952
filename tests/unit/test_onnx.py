"""Exported models: what the checker and onnxruntime alone say of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller import cli
from hebb_controller.benchmark import bench_rule
from hebb_controller.errors import ShapeError
from hebb_controller.network import InitialSpec
from hebb_controller.plasticity import NORMALISATIONS, RULE_KINDS
from hebb_controller.rule import MAX_LAYER_SIZE, MAX_LAYERS, MAX_SYNAPSES
from hebb_controller.rule_file import HEADER_KEY, header_text
from hebb_controller.runtime.onnx_runtime import OnnxRuntime

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


from hebb_controller.onnx_export import OPERATORS, export_onnx  # noqa: E402
from hebb_controller.runtime.onnx_model import read_onnx  # noqa: E402

EVERYTHING = update_spec(
    interval=3, trace_window=5.0, decay=0.04, normalisation="clip", bound=0.75, learning_rate=0.25
)
EVOLVED = InitialSpec("evolved", 1.0)
RULE = toy_rule(update=EVERYTHING, initial=EVOLVED, hidden=(5, 4))
MODEL = export_onnx(RULE)


def all_rules():
    for kind in RULE_KINDS:
        for normalisation in NORMALISATIONS:
            for fields in ({}, {"interval": 2}, {"trace_window": 3.0}, {"decay": 0.5}):
                yield toy_rule(kind, update=update_spec(normalisation=normalisation, **fields))
    yield from (RULE, toy_rule("static", initial=EVOLVED), toy_rule("A", hidden=()))


def nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def test_every_model_passes_the_checker_states_its_opset_and_uses_the_listed_operators():
    used = set()
    for rule in all_rules():
        model = onnx.load_model_from_string(export_onnx(rule))
        onnx.checker.check_model(model, full_check=True)
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
        assert model.ir_version == 8
        used |= {node.op_type for node in nodes(model.graph)}
    assert used == set(OPERATORS)


def test_the_same_rule_gives_the_same_bytes():
    assert export_onnx(RULE) == MODEL
    assert export_onnx(toy_rule(update=EVERYTHING, initial=EVOLVED, hidden=(5, 4))) == MODEL


def test_the_header_is_inside_and_comes_back_whole():
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    text = session.get_modelmeta().custom_metadata_map[HEADER_KEY]
    assert text == header_text(RULE.header, where="rule")
    runtime = OnnxRuntime(MODEL)
    assert json.loads(header_text(runtime.header, where="rule")) == json.loads(text)
    assert runtime.header.contract == RULE.header.contract


@pytest.mark.parametrize(
    ("fields", "initial", "inputs", "optional", "outputs"),
    [
        (
            {},
            "uniform",
            {"observation": [6], "weights0": [5, 6], "weights1": [2, 5]},
            {"gain": []},
            {"activation1": [5], "action": [2], "weights0_out": [5, 6], "weights1_out": [2, 5]},
        ),
        (
            {"interval": 2, "trace_window": 2.0, "decay": 0.5},
            "evolved",
            {"observation": [6]},
            {
                "gain": [],
                "initial0": [5, 6],
                "initial1": [2, 5],
                "tick": [],
                "trace": [13],
                "weights0": [5, 6],
                "weights1": [2, 5],
            },
            {
                "activation1": [5],
                "action": [2],
                "tick_out": [],
                "trace_out": [13],
                "weights0_out": [5, 6],
                "weights1_out": [2, 5],
            },
        ),
    ],
    ids=["plain", "everything"],
)
def test_inputs_and_outputs_are_those_that_the_rule_needs(
    fields, initial, inputs, optional, outputs
):
    rule = toy_rule(update=update_spec(**fields), initial=InitialSpec(initial, 0.5))
    session = ort.InferenceSession(export_onnx(rule), providers=["CPUExecutionProvider"])
    for values, expected in (
        (session.get_inputs(), inputs),
        (session.get_overridable_initializers(), optional),
        (session.get_outputs(), outputs),
    ):
        assert {value.name: value.shape for value in values} == expected


def test_a_static_model_has_no_state_to_hand_back():
    session = ort.InferenceSession(
        export_onnx(toy_rule("static", update=EVERYTHING)), providers=["CPUExecutionProvider"]
    )
    assert {value.name for value in session.get_inputs()} == {"observation", "weights0", "weights1"}
    assert {value.name for value in session.get_outputs()} == {"activation1", "action"}


def test_the_graph_alone_runs_from_its_defaults_by_handing_outputs_back():
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    runtime = OnnxRuntime(MODEL)
    runtime.reset(np.random.default_rng(0))
    state = {}
    for observation in np.random.default_rng(1).standard_normal((10, 6)).astype(np.float32):
        given = dict(
            zip(names, session.run(None, {"observation": observation, **state}), strict=True)
        )
        state = {name[:-4]: array for name, array in given.items() if name.endswith("_out")}
        assert given["action"].tobytes() == runtime.step(observation).tobytes()
        assert int(state["tick"]) == int(runtime.state["tick"])
        assert state["trace"].tobytes() == runtime.state["trace"].tobytes()
        weights = np.concatenate([state[f"weights{k}"].ravel() for k in range(3)])
        assert weights.tobytes() == runtime.state["weights"].tobytes()
    assert set(state) == {"tick", "trace", "weights0", "weights1", "weights2"}


def test_weights_are_not_copied_from_tick_to_tick():
    runtime = OnnxRuntime.from_rule(bench_rule(np.random.default_rng(0)))
    runtime.reset(np.random.default_rng(0))
    places = []
    for _ in range(4):
        runtime.step(np.ones(28, dtype=np.float32))
        places.append(runtime.layers[0].ctypes.data)
    assert places[0] == places[2] != places[1] == places[3]


@pytest.mark.parametrize("name", ["weights", "initial", "trace", "tick"])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(name):
    runtime = OnnxRuntime(MODEL)
    runtime.reset(np.random.default_rng(0))
    runtime.step(np.ones(6, dtype=np.float32))
    before = {key: array.tobytes() for key, array in runtime.state.items()}
    state = {key: array + 1 for key, array in runtime.state.items()}
    for bad in (None, np.zeros(7), np.zeros((1, 1))):
        state[name] = bad
        if bad is None:
            del state[name]
        with pytest.raises(ShapeError, match=name):
            runtime.restore(state)
        assert {key: array.tobytes() for key, array in runtime.state.items()} == before


def test_the_largest_network_can_be_exported_and_read_back():
    rule = toy_rule(update=EVERYTHING, initial=EVOLVED, hidden=[MAX_LAYER_SIZE])
    assert rule.n_synapses == MAX_SYNAPSES
    model = read_onnx(export_onnx(rule), "x")
    start = np.concatenate([layer["initial"].ravel() for layer in rule.layers])
    assert model.start.tobytes() == start.tobytes()


def test_a_deep_network_of_every_kind_can_be_exported_and_read_back():
    for kind in RULE_KINDS:
        rule = toy_rule(kind, hidden=[3] * (MAX_LAYERS - 2), update=EVERYTHING)
        assert read_onnx(export_onnx(rule), "x").header.kind == kind


def test_without_onnxruntime_the_runtime_says_so_when_it_is_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        OnnxRuntime(MODEL)
    assert cli._EXTRAS[caught.value.name] == ("onnxruntime", "onnx")


def test_the_document_shows_the_program_that_is_in_the_examples():
    root = Path(__file__).resolve().parents[2]
    program = (root / "examples/onnx_cpp/main.cpp").read_text(encoding="utf-8")
    assert program in (root / "docs/onnx.md").read_text(encoding="utf-8")
