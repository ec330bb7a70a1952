"""Exported models: what the checker and onnxruntime alone say of them, and which files are refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller import cli
from hebb_controller.cli.bench import bench_rule
from hebb_controller.errors import RuleFileError, ShapeError
from hebb_controller.network import InitialSpec
from hebb_controller.plasticity import NORMALISATIONS, RULE_KINDS
from hebb_controller.rule import MAX_LAYER_SIZE, MAX_LAYERS, MAX_SYNAPSES
from hebb_controller.rule_file import HEADER_KEY, header_text
from hebb_controller.runtime.onnx_runtime import OnnxRuntime, load_onnx

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hebb_controller.onnx_export import MAX_ONNX_BYTES, OPERATORS, export_onnx  # noqa: E402
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


def changed(change, model=MODEL):
    """Return the bytes of a model after a change to it."""
    proto = onnx.load_model_from_string(model)
    change(proto)
    return proto.SerializeToString(deterministic=True)


def tensor(proto, name):
    return next(tensor for tensor in proto.graph.initializer if tensor.name == name)


def external_data(proto):
    entry = tensor(proto, "A0")
    entry.ClearField("raw_data")
    entry.data_location = TensorProto.EXTERNAL
    entry.external_data.add(key="location", value="/etc/passwd")


def external_unsaid(proto):
    tensor(proto, "alpha").external_data.add(key="location", value="../weights")


def foreign_domain(proto):
    proto.graph.node[0].domain = "com.microsoft"


def foreign_opset(proto):
    proto.opset_import.add(domain="com.evil", version=1)


def loop(proto):
    proto.graph.node[1].op_type = "Loop"


def deep_if(proto):
    branch = proto.graph.node[-1].attribute[0].g
    branch.node.append(onnx.NodeProto.FromString(proto.graph.node[-1].SerializeToString()))


def loop_in_a_branch(proto):
    proto.graph.node[-1].attribute[0].g.node[0].op_type = "Scan"


def function(proto):
    proto.functions.add(name="f", domain="")


def training(proto):
    proto.training_info.add()


def no_metadata(proto):
    del proto.metadata_props[:]


def two_headers(proto):
    proto.metadata_props.append(proto.metadata_props[0])


def bad_header(proto):
    document = json.loads(proto.metadata_props[0].value)
    document["kind"] = "ABCDEF"
    proto.metadata_props[0].value = json.dumps(document)


def other_kind(proto):
    document = json.loads(proto.metadata_props[0].value)
    document["kind"] = "ABCD_eta_E_outside"  # folds into the same tensors: the graph is the same
    document["update"]["interval"] = 4
    proto.metadata_props[0].value = json.dumps(document)


def a_hundred_thousand_layers(proto):
    document = json.loads(proto.metadata_props[0].value)
    document["kind"] = "static"
    document["layer_sizes"] = [6, *[1] * 100_000, 2]
    proto.metadata_props[0].value = json.dumps(document)


def wrong_shape(proto):
    entry = tensor(proto, "B1")
    entry.dims[0], entry.dims[1] = entry.dims[1], entry.dims[0]


def wrong_type(proto):
    tensor(proto, "B1").data_type = TensorProto.INT32


def other_start(proto):
    entry = tensor(proto, "initial1")
    entry.raw_data = b"\x00" * len(entry.raw_data)


def short_data(proto):
    entry = tensor(proto, "B1")
    entry.raw_data = entry.raw_data[:-4]


def missing_tensor(proto):
    proto.graph.initializer.remove(tensor(proto, "C0"))


def nan(proto):
    entry = tensor(proto, "D2")
    values = numpy_helper.to_array(entry).copy()
    values[1, 2] = np.nan
    entry.raw_data = values.tobytes()


def infinite_start(proto):
    entry = tensor(proto, "weights0")
    entry.raw_data = b"\x00\x00\x80\x7f" * (len(entry.raw_data) // 4)


def infinite_constant(proto):
    tensor(proto, "decay").raw_data = b"\x00\x00\x80\x7f"


def input_shape(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7


def input_symbol(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"


def input_type(proto):
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def more_outputs(proto):
    proto.graph.output.append(helper.make_tensor_value_info("secret", TensorProto.FLOAT, [1]))


def other_wiring(proto):
    proto.graph.node[2].input[0] = "action"


def sparse(proto):
    proto.graph.sparse_initializer.add().dims.append(1 << 40)


def no_text(proto):
    data = proto.SerializeToString().replace(b'"by hand"', b'"by \xff\xfend"')
    proto.ParseFromString(data)


def older_opset(proto):
    proto.opset_import[0].version = 13


HOSTILE = {
    external_data: "'A0' lies in another file",
    external_unsaid: "'alpha' lies in another file",
    foreign_domain: "domain 'com.microsoft'",
    foreign_opset: "com.evil",
    loop: "operator 'Loop' is none of Abs, Add",
    deep_if: "an If inside an If",
    loop_in_a_branch: "operator 'Scan'",
    function: "functions",
    training: "training",
    no_metadata: "0 'hebb_rule' entries",
    two_headers: "2 'hebb_rule' entries",
    bad_header: "kind 'ABCDEF' is unknown",
    other_kind: "not the one that its header asks for",
    a_hundred_thousand_layers: "2 to 32 layers",
    wrong_shape: r"'B1' is float32 \(5, 4\); the header asks for float32 \(4, 5\)",
    wrong_type: "'B1' is type 6",
    other_start: "differ",
    short_data: "'B1' has 76 bytes",
    missing_tensor: "'C0' is missing",
    nan: "'D2' holds NaN or inf",
    infinite_start: "'weights0' holds NaN or inf",
    infinite_constant: "not the one that its header asks for",
    input_shape: r"input 'observation' is float32 \(7\); the header asks for float32 \(6\)",
    input_symbol: r"input 'observation' is float32 \(\?\)",
    input_type: "input 'observation' is type 11",
    more_outputs: r"output 'secret' is float32 \(1\); the header asks for no such thing",
    other_wiring: "not the one that its header asks for",
    sparse: "not the one that its header asks for",
    no_text: "not text",
    older_opset: "only",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_a_hostile_model_is_refused_before_the_engine_sees_it(tmp_path, monkeypatch, change):
    def seen(*arguments, **named):
        pytest.fail("the engine was started")

    monkeypatch.setattr(ort, "InferenceSession", seen)
    path = tmp_path / "bad.onnx"
    path.write_bytes(changed(change))
    with pytest.raises(RuleFileError, match=HOSTILE[change]) as caught:
        load_onnx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_every_truncation_and_what_is_no_model_is_refused(tmp_path):
    for data in (b"", b"\x80\x04}q", b"\xff" * 100, b"{}", *(MODEL[:n] for n in range(0, 4000, 7))):
        with pytest.raises(RuleFileError):
            OnnxRuntime(data)
    for path, words in ((tmp_path, "not a file"), (tmp_path / "none.onnx", "no such file")):
        with pytest.raises(RuleFileError, match=words):
            load_onnx(path)


def test_what_would_grow_in_memory_is_refused_unparsed(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "ModelProto", None)  # parsing would be an AttributeError
    path = tmp_path / "bad.onnx"
    many = b"\x0a\x00" * 1_000_000  # a million empty nodes
    graph = b"\x3a" + bytes(
        [0x80 | len(many) & 0x7F, 0x80 | len(many) >> 7 & 0x7F, len(many) >> 14]
    )
    for data, words in (
        (b"\x00" * (MAX_ONNX_BYTES + 1), "larger than"),
        (graph + many, "more than"),
        (b"\x0a\x80\x80\x20" + b"a" * 2**19, "of graph; at most"),
    ):
        path.write_bytes(data)
        with pytest.raises(RuleFileError, match=words):
            load_onnx(path)


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_is_refused_or_changes_a_number(seed):
    rng = np.random.default_rng(seed)
    accepted = 0
    for _ in range(250):
        data = bytearray(MODEL)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            header = read_onnx(bytes(data), "x").header
        except RuleFileError:
            continue
        accepted += 1
        assert header.layer_sizes == RULE.header.layer_sizes
    assert accepted < 250


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
