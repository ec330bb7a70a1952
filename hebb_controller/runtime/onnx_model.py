"""Untrusted ONNX models: read, checked in full, and rewritten before an engine sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from ..errors import RuleFileError
from ..onnx_export import (
    IR_VERSION,
    MAX_GRAPH_BYTES,
    MAX_ONNX_BYTES,
    OPERATORS,
    OPSET,
    filled,
    skeleton,
    tensor_shapes,
)
from ..plasticity import Array
from ..rule import RuleHeader
from ..rule_file import HEADER_KEY, parse_header
from ..tensor_file import MAX_HEADER_BYTES

MAX_PARTS = 10_000  # nodes, tensors, inputs and outputs of a graph
_FIX = "Fix: export it again from its rule file."


@dataclass(frozen=True)
class OnnxModel:
    """A model verified to be what :func:`~hebb_controller.onnx_export.export_onnx` writes.

    Attributes:
        header: the rule's header.
        start: (n_synapses,) the evolved start, or None where it is drawn at random.
        data: the model, rewritten.
    """

    header: RuleHeader
    start: Array | None
    data: bytes


def read_onnx(data: bytes, where: str) -> OnnxModel:
    """Return the model in ``data``, after checking all of it.

    Everything in an exported model but its numbers follows from its header, so the graph found is
    compared with the one that would be written for that header.

    Raises:
        RuleFileError: it is something else, or holds NaN or inf; the message says where.
    """
    _check_size(data, where)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise RuleFileError(f"{where}: not an ONNX model, or truncated.") from error
    document = _document(model, where)
    opsets = [(opset.domain, opset.version) for opset in model.opset_import]
    if opsets != [("", OPSET)] or model.ir_version != IR_VERSION:
        raise RuleFileError(
            f"{where}: operator sets {str(opsets)[:80]}, IR version {model.ir_version}; only "
            f"{[('', OPSET)]} and {IR_VERSION} are accepted. {_FIX}"
        )
    if model.functions or model.training_info:
        raise RuleFileError(f"{where}: holds functions or training steps. {_FIX}")
    _check_nodes(model.graph.node, where)
    header = parse_header(document, where)
    if len(model.graph.node) < len(header.layer_sizes) - 1:  # before a graph that large is built
        raise RuleFileError(f"{where}: fewer nodes than the header has layers. {_FIX}")
    tensors = _take_tensors(model.graph, header, where)
    expected = skeleton(header, document)
    _check_interface(model.graph.input, expected.graph.input, f"{where}: input")
    _check_interface(model.graph.output, expected.graph.output, f"{where}: output")
    if model.graph != expected.graph:
        raise RuleFileError(f"{where}: its graph is not the one that its header requires. {_FIX}")
    start = None
    if header.initial.distribution == "evolved":
        layers = range(len(header.layer_sizes) - 1)
        raw = b"".join(tensors[f"weights{k}"] for k in layers)
        start = np.frombuffer(raw, dtype="<f4")
        if any(
            tensors.get(f"initial{k}", tensors[f"weights{k}"]) != tensors[f"weights{k}"]
            for k in layers
        ):
            raise RuleFileError(f"{where}: tensors 'initial…' and 'weights…' differ. {_FIX}")
    del model  # a third of the memory
    return OnnxModel(header, start, filled(expected, tensors))


def _document(model: onnx.ModelProto, where: str) -> str:
    """Return the text of the header in a model."""
    documents = [entry.value for entry in model.metadata_props if entry.key == HEADER_KEY]
    if len(documents) != 1:
        raise RuleFileError(
            f"{where}: {len(documents)} '{HEADER_KEY}' entries in its metadata instead of one: "
            f"not a model that `hebb export --onnx` wrote."
        )
    if not isinstance(documents[0], str):  # protobuf returns bytes for what is not UTF-8
        raise RuleFileError(f"{where}: '{HEADER_KEY}' in its metadata is not text.")
    return documents[0]


def _check_size(data: bytes, where: str) -> None:
    """Refuse what would become much larger in memory: all but header and numbers must be small."""
    if len(data) > MAX_ONNX_BYTES:
        raise RuleFileError(f"{where}: an ONNX model larger than {MAX_ONNX_BYTES} bytes.")
    model = memoryview(data)
    header = sum(len(entry) for entry in _fields(model, 14, where))
    numbers = sum(
        len(raw)
        for graph in _fields(model, 7, where)
        for tensor in _fields(graph, 5, where, most=MAX_PARTS)
        for raw in _fields(tensor, 9, where)
    )
    if header > 2 * MAX_HEADER_BYTES or len(data) - header - numbers > MAX_GRAPH_BYTES:
        raise RuleFileError(
            f"{where}: {header} bytes of metadata and {len(data) - header - numbers} of graph; at most "
            f"{2 * MAX_HEADER_BYTES} and {MAX_GRAPH_BYTES} are accepted."
        )


def _fields(
    message: memoryview, number: int, where: str, *, most: int = 32
) -> Iterator[memoryview]:
    """Yield the contents of one field of a protobuf message: a graph's tensors, for example."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(message):
                break
            byte, at = message[at], at + 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise RuleFileError(f"{where}: not an ONNX model, or truncated.")

    for _ in range(most):
        if at == len(message):
            return
        key = varint()
        wire = key & 7
        if wire == 0:
            varint()
            continue
        length = varint() if wire == 2 else {1: 8, 5: 4}.get(wire, len(message))
        if at + length > len(message):
            raise RuleFileError(f"{where}: not an ONNX model, or truncated.")
        if wire == 2 and key >> 3 == number:
            yield message[at : at + length]
        at += length
    raise RuleFileError(f"{where}: more than {most} items in one part of the model.")


def _check_nodes(nodes: Iterable[onnx.NodeProto], where: str, *, nested: bool = False) -> None:
    for node in nodes:
        if node.domain:
            raise RuleFileError(
                f"{where}: operator {node.op_type[:40]!r} of domain {node.domain[:40]!r}; only "
                f"standard operators are accepted. {_FIX}"
            )
        if node.op_type not in OPERATORS:
            raise RuleFileError(
                f"{where}: operator {node.op_type[:40]!r} is not one of {', '.join(OPERATORS)}. {_FIX}"
            )
        if nested and node.op_type == "If":
            raise RuleFileError(f"{where}: an If inside an If. {_FIX}")
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                _check_nodes(graph.node, where, nested=True)


def _take_tensors(graph: onnx.GraphProto, header: RuleHeader, where: str) -> dict[str, bytes]:
    """Return the numbers that no header determines, and leave their places in the graph empty."""
    stored = {}
    for tensor in graph.initializer:
        if tensor.external_data or tensor.data_location != TensorProto.DEFAULT:
            raise RuleFileError(
                f"{where}: tensor {tensor.name[:40]!r} lies in another file, which is never opened. "
                f"{_FIX}"
            )
        stored[tensor.name] = tensor
    taken = {}
    for name, shape in tensor_shapes(header).items():
        place = f"{where}: tensor '{name}'"
        if name not in stored:
            raise RuleFileError(f"{place} is missing. {_FIX}")
        tensor = stored[name]
        if tensor.data_type != TensorProto.FLOAT or tuple(tensor.dims) != shape:
            raise RuleFileError(
                f"{place} is {_type_name(tensor.data_type)} {str(tuple(tensor.dims))[:40]}; the header "
                f"requires float32 {shape}. {_FIX}"
            )
        taken[name] = tensor.raw_data
        tensor.ClearField("raw_data")
        if len(taken[name]) != 4 * shape[0] * shape[1]:
            raise RuleFileError(f"{place} has {len(taken[name])} bytes for {shape} float32. {_FIX}")
        if not np.isfinite(np.frombuffer(taken[name], dtype="<f4")).all():
            raise RuleFileError(f"{place} holds NaN or inf; every number must be finite.")
    return taken


def _check_interface(
    found: Iterable[onnx.ValueInfoProto], expected: Iterable[onnx.ValueInfoProto], place: str
) -> None:
    have, want = ({value.name: _type_text(value) for value in side} for side in (found, expected))
    for name in (*want, *have):
        if have.get(name) != want.get(name):
            raise RuleFileError(
                f"{place} {name[:40]!r} is {have.get(name, 'missing')}; the header requires "
                f"{want.get(name, 'no such thing')}. {_FIX}"
            )


def _type_text(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else "?" for dim in tensor.shape.dim[:9]]
    return f"{_type_name(tensor.elem_type)} ({', '.join(map(str, dims))})"


def _type_name(data_type: int) -> str:
    known: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64"}
    return known.get(data_type, f"type {data_type}")
