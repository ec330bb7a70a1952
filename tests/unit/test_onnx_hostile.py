"""ONNX models that are none of ours: refused before the engine sees them."""

import json

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller.errors import RuleFileError
from hebb_controller.network import InitialSpec
from hebb_controller.runtime.onnx_runtime import OnnxRuntime, load_onnx

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hebb_controller.onnx_export import MAX_ONNX_BYTES, export_onnx  # noqa: E402
from hebb_controller.runtime.onnx_model import read_onnx  # noqa: E402

RULE = toy_rule(
    update=update_spec(
        interval=3,
        trace_window=5.0,
        decay=0.04,
        normalisation="clip",
        bound=0.75,
        learning_rate=0.25,
    ),
    initial=InitialSpec("evolved", 1.0),
    hidden=(5, 4),
)
MODEL = export_onnx(RULE)


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
    loop: "operator 'Loop' is not one of Abs, Add",
    deep_if: "an If inside an If",
    loop_in_a_branch: "operator 'Scan'",
    function: "functions",
    training: "training",
    no_metadata: "0 'hebb_rule' entries",
    two_headers: "2 'hebb_rule' entries",
    bad_header: "kind 'ABCDEF' is unknown",
    other_kind: "not the one that its header requires",
    a_hundred_thousand_layers: "2 to 32 layers",
    wrong_shape: r"'B1' is float32 \(5, 4\); the header requires float32 \(4, 5\)",
    wrong_type: "'B1' is type 6",
    other_start: "differ",
    short_data: "'B1' has 76 bytes",
    missing_tensor: "'C0' is missing",
    nan: "'D2' holds NaN or inf",
    infinite_start: "'weights0' holds NaN or inf",
    infinite_constant: "not the one that its header requires",
    input_shape: r"input 'observation' is float32 \(7\); the header requires float32 \(6\)",
    input_symbol: r"input 'observation' is float32 \(\?\)",
    input_type: "input 'observation' is type 11",
    more_outputs: r"output 'secret' is float32 \(1\); the header requires no such thing",
    other_wiring: "not the one that its header requires",
    sparse: "not the one that its header requires",
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
