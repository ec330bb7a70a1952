"""A rule as a self-contained ONNX graph: a tick, from observation and state to action and state.

docs/onnx.md describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .errors import RuleFileError
from .files import write_atomically
from .plasticity import RULE_KINDS, Array, UpdateSpec, fold, layer_views
from .rule import MAX_SYNAPSES, Rule, RuleHeader
from .rule_file import HEADER_KEY, header_text
from .tensor_file import MAX_HEADER_BYTES

SUFFIX = ".onnx"
OPSET = 17
IR_VERSION = 8  # the one released with the opset; onnxruntime 1.12 and later read both
MAX_GRAPH_BYTES = 256 * 1024  # all but header and numbers; in memory it may grow a hundredfold
# Four coefficients and two initial weights per synapse.
MAX_ONNX_BYTES = 6 * 4 * MAX_SYNAPSES + MAX_HEADER_BYTES + MAX_GRAPH_BYTES

OPERATORS = (
    *("Abs", "Add", "And", "Cast", "Clip", "Concat", "Div", "Equal", "Identity", "If", "MatMul"),
    *("Max", "Mod", "Mul", "ReduceMax", "Split", "Squeeze", "Sub", "Sum", "Tanh", "Unsqueeze"),
)


def export_onnx(rule: Rule) -> bytes:
    """Return a rule as an ONNX model; the same rule gives the same bytes.

    Raises:
        RuleFileError: its provenance is not JSON, or too long, or it has too many layers.
    """
    header = rule.header
    kind, sizes = RULE_KINDS[header.kind], header.layer_sizes
    folded = fold(kind, rule.layers, header.update.learning_rate)
    tensors: dict[str, Array] = {}
    for name, flat in zip("ABCD", (folded.a, folded.b, folded.c, folded.d), strict=True):
        if flat is not None:
            tensors |= {f"{name}{k}": view for k, view in enumerate(layer_views(flat, sizes))}
    for k, layer in enumerate(rule.layers):
        if "initial" in layer:
            tensors |= {f"weights{k}": layer["initial"], f"initial{k}": layer["initial"]}
    document = header_text(header, where="rule")
    if len(document) > MAX_HEADER_BYTES:
        raise RuleFileError(f"rule: its header is longer than {MAX_HEADER_BYTES} characters.")
    model = skeleton(header, document)
    numbers = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if model.ByteSize() - len(document) - numbers > MAX_GRAPH_BYTES:
        raise RuleFileError(
            f"rule: its {len(sizes) - 1} layers make a graph of more than {MAX_GRAPH_BYTES} bytes."
        )
    return filled(model, {name: tensor.astype("<f4").tobytes() for name, tensor in tensors.items()})


def save_onnx(rule: Rule, path: str | Path) -> None:
    """Write a rule as an ONNX model; it appears whole or not at all.

    Raises:
        RuleFileError: the name does not end in ``.onnx``, or writing failed.
    """
    target = Path(path)
    if target.suffix != SUFFIX:
        raise RuleFileError(f"{target}: the name of an ONNX model must end in {SUFFIX}.")
    data = export_onnx(rule)
    try:
        write_atomically(target, data)
    except OSError as error:
        raise RuleFileError(f"{target}: cannot be written: {error.strerror}.") from error


def tensor_shapes(header: RuleHeader) -> dict[str, tuple[int, int]]:
    """Return the names and shapes of the tensors that a model holds in addition to its header.

    ``A0`` … ``D0``, ``A1`` … with eta folded in and, where the start is evolved, the defaults of the
    inputs ``weights0`` … and ``initial0`` ….
    """
    sizes = header.layer_sizes
    stems = [*_coefficients(header.kind)]
    if header.initial.distribution == "evolved":
        stems += ["weights", *(["initial"] if _decays(header) else [])]
    return {
        f"{stem}{k}": shape
        for stem in stems
        for k, shape in enumerate(zip(sizes[1:], sizes, strict=False))
    }


def filled(model: onnx.ModelProto, tensors: Mapping[str, bytes]) -> bytes:
    """Return a skeleton as bytes, with its numbers filled in: float32, little-endian, row-major."""
    for tensor in model.graph.initializer:
        if not tensor.raw_data:
            tensor.raw_data = tensors[tensor.name]
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Block:
    """The nodes of a graph, or of one of its branches, under construction."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: int) -> str:
        """Add a node and return the name of its output."""
        out = out or f"{self.name}{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [out])
        node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
        self.nodes.append(node)
        return out


def skeleton(header: RuleHeader, document: str) -> onnx.ModelProto:
    """Return the model for a header, without the tensors that :func:`tensor_shapes` names.

    Args:
        header: determines the graph.
        document: the text of the header.
    """
    sizes, update = header.layer_sizes, header.update
    plastic = bool(RULE_KINDS[header.kind].tensors)
    layers = range(len(sizes) - 1)
    shapes = [(n_out, n_in) for n_in, n_out in zip(sizes, sizes[1:], strict=False)]
    names = [f"weights{k}" for k in layers]
    inputs = [_value("observation", sizes[:1]), *map(_value, names, shapes)]
    outputs = []
    constants: dict[str, npt.NDArray[np.generic]] = {"column": np.array([1])}

    tick = _Block("tick")
    row, column = "observation", tick.add("Unsqueeze", "observation", "column")
    rows, columns = [row], [column]
    for k in layers:  # a matrix times a column is much faster than times a vector
        column = tick.add("Tanh", tick.add("MatMul", names[k], column))
        out = "action" if k == layers[-1] else f"activation{k + 1}"
        row = tick.add("Squeeze", column, "column", out=out)
        rows.append(row)
        columns.append(column)
        outputs.append(_value(out, sizes[k + 1 : k + 2]))

    if plastic:
        inputs.append(_value("gain", ()))
        constants |= {"gain": np.array(1.0, dtype=np.float32), **_constants(update)}
        change, keep = _Block("change"), _Block("keep")
        wanted = tick.add("Cast", "gain", to=TensorProto.BOOL)
        if update.trace_window > 1:
            inputs.append(_value("trace", (sum(sizes),)))
            outputs.append(_value("trace_out", (sum(sizes),)))
            constants["trace"] = np.zeros(sum(sizes), dtype=np.float32)
            constants["sizes"] = np.array(sizes)
            gap = tick.add("Sub", tick.add("Concat", *rows, axis=0), "trace")
            tick.add("Add", "trace", tick.add("Mul", gap, "alpha"), out="trace_out")
            rows = [f"trace{k}" for k in range(len(sizes))]
            change.nodes.append(helper.make_node("Split", ["trace_out", "sizes"], rows, axis=0))
            columns = [change.add("Unsqueeze", row, "column") for row in rows]
        if update.interval > 1:
            inputs.append(_value("tick", (), TensorProto.INT64))
            outputs.append(_value("tick_out", (), TensorProto.INT64))
            constants["tick"] = np.array(0)
            tick.add("Add", "tick", "one", out="tick_out")
            due = tick.add("Equal", tick.add("Mod", "tick_out", "interval"), "zero")
            wanted = tick.add("And", wanted, due)
        if update.decay:
            inputs += map(_value, [f"initial{k}" for k in layers], shapes)
        changed = [_plastic_step(change, k, rows[k], columns[k + 1], header=header) for k in layers]
        kept = [keep.add("Identity", name) for name in names]
        results = [f"{name}_out" for name in names]
        branches = {
            "then_branch": helper.make_graph(
                change.nodes, "change", [], [*map(_value, changed, shapes)]
            ),
            "else_branch": helper.make_graph(keep.nodes, "keep", [], [*map(_value, kept, shapes)]),
        }
        tick.nodes.append(helper.make_node("If", [wanted], results, **branches))
        outputs += map(_value, results, shapes)
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    stored += [
        TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)
        for name, shape in tensor_shapes(header).items()
    ]
    graph = helper.make_graph(tick.nodes, "tick", inputs, outputs, stored)
    model = helper.make_model(
        graph,
        producer_name="hebb_controller",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, {HEADER_KEY: document})
    return model


def _constants(update: UpdateSpec) -> dict[str, npt.NDArray[np.generic]]:
    """Return the numbers that the nodes of an update refer to by name."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    if update.trace_window > 1:
        found["alpha"] = np.array(1.0 / update.trace_window, dtype=np.float32)
    if update.interval > 1:
        found |= {"zero": np.array(0), "one": np.array(1), "interval": np.array(update.interval)}
    if update.decay:
        found["decay"] = np.array(update.decay, dtype=np.float32)
    if update.normalisation == "clip":
        bound = np.array(update.bound, dtype=np.float32)
        found |= {"low": -bound, "high": bound}
    elif update.normalisation != "none":
        # `max` divides by the largest |W|, but a layer of zeros by something other than zero
        smallest = 1.0 if update.normalisation == "max_above_one" else np.finfo(np.float32).tiny
        found["smallest"] = np.array(smallest, dtype=np.float32)
    return found


def _plastic_step(block: _Block, k: int, pre: str, post: str, *, header: RuleHeader) -> str:
    """Add the plastic step of layer ``k`` and return the name of the updated weights.

    Args:
        block: receives the nodes.
        k: index of the layer.
        pre: name of the row, (n_in,).
        post: name of the column, (n_out, 1).
        header: determines the terms.
    """
    has, update, weights = _coefficients(header.kind), header.update, f"weights{k}"
    factor = ""
    if "A" in has:
        factor = block.add("Mul", f"A{k}", pre)
    if "C" in has:
        factor = block.add("Add", factor, f"C{k}") if factor else f"C{k}"
    terms = [block.add("Mul", factor, post)] if factor else []
    if "B" in has:
        terms.append(block.add("Mul", f"B{k}", pre))
    if "D" in has:
        terms.append(f"D{k}")
    if update.decay:
        terms.append(block.add("Mul", block.add("Sub", f"initial{k}", weights), "decay"))
    change = block.add("Sum", *terms) if len(terms) > 1 else terms[0]
    weights = block.add("Add", weights, block.add("Mul", change, "gain"))
    if update.normalisation == "none":
        return weights
    if update.normalisation == "clip":
        return block.add("Clip", weights, "low", "high")
    largest = block.add("ReduceMax", block.add("Abs", weights), keepdims=0)
    return block.add("Div", weights, block.add("Max", largest, "smallest"))


def _coefficients(kind: str) -> str:
    """Return which of A, B, C, D remain once eta, and any term outside it, is folded in."""
    row = RULE_KINDS[kind]
    return "".join(n for n in "ABCD" if n in row.inside or (n == "D" and row.outside))


def _decays(header: RuleHeader) -> bool:
    return bool(header.update.decay and RULE_KINDS[header.kind].tensors)


def _value(name: str, shape: Sequence[int], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)
