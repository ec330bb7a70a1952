"""Baselines in memory and on disk: header, tensors, and their validation.

A baseline is one ``.baseline.safetensors`` file: float32 tensors, and a JSON document under the
header key ``hebb_baseline``, described by :class:`BaselineHeader`. Nothing in it is executable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ..contract import Contract
from ..errors import RuleFileError
from ..json_fields import MAX_NUMBER, Json, decode, parse_json, present
from ..network import InitialSpec
from ..plasticity import Array, UpdateSpec
from ..rule import RuleHeader, check_header
from ..tensor_file import Layout, read_file, split, write_file

SUFFIX = ".baseline.safetensors"
LAYOUT = Layout(
    what="a baseline file",
    suffix=SUFFIX,
    key="hebb_baseline",
    max_bytes=8 * 1024 * 1024,
    dtypes={"F32": "<f4"},
)
BASELINE_KINDS = ("stacked", "gru")
FRAMES = 5  # observations that a stacked network sees
MAX_FRAMES = 32


@dataclass(frozen=True)
class BaselineHeader:
    """The JSON document of a baseline file.

    Attributes:
        format_version: version of this layout: 1.
        kind: one of ``BASELINE_KINDS``.
        layer_sizes: neurons per layer, from one observation to the action.
        frames: observations that the network sees at once, newest first; 1 for a GRU.
        tick_period: s.
        contract: what the network expects of the robot.
        provenance: origin of the network; free-form JSON.
        license: SPDX identifier.
    """

    format_version: int
    kind: str
    layer_sizes: tuple[int, ...]
    frames: int
    tick_period: float
    contract: Contract
    provenance: Mapping[str, Json]
    license: str


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor: a layer's neurons, repeated ``times``; of length 1 for None."""

    layer: int | None
    times: int = 1

    def size(self, layer_sizes: tuple[int, ...]) -> int:
        """Return its length."""
        return 1 if self.layer is None else self.times * layer_sizes[self.layer]


def axes(kind: str, n_layers: int, frames: int) -> Mapping[str, tuple[Axis, Axis]]:
    """Return the (rows, columns) axes of a kind's tensors by name.

    Args:
        kind: one of ``BASELINE_KINDS``.
        n_layers: layers of neurons.
        frames: observations that the network sees at once.
    """
    if kind == "gru":  # gates concatenated: update, reset, candidate
        return {
            "input": (Axis(1, 3), Axis(0)),
            "recurrent": (Axis(1, 3), Axis(1)),
            "bias": (Axis(1, 3), Axis(None)),
            "readout": (Axis(2), Axis(1)),
        }
    return {f"layer{k}": (Axis(k + 1), Axis(k, 1 if k else frames)) for k in range(n_layers - 1)}


@dataclass(frozen=True)
class Baseline:
    """A network that does not rewire itself.

    Attributes:
        header: the JSON document.
        tensors: name -> (rows, columns), as :func:`axes` says; float32.
    """

    header: BaselineHeader
    tensors: Mapping[str, Array]

    @property
    def n_parameters(self) -> int:
        """Number of parameters; a pair tied by symmetry counts as two."""
        return sum(tensor.size for tensor in self.tensors.values())


def make_baseline(
    header: BaselineHeader, tensors: Mapping[str, Array], *, where: str = "baseline"
) -> Baseline:
    """Return a baseline after checking its every field and tensor.

    Raises:
        RuleFileError: something is missing, unknown, of the wrong shape or not finite.
    """
    if header.kind not in BASELINE_KINDS:
        raise RuleFileError(
            f"{where}: kind '{header.kind}' is unknown. Known: {', '.join(BASELINE_KINDS)}."
        )
    check_header(header_as_rule(header), where)
    most = MAX_FRAMES if header.kind == "stacked" else 1
    if not 1 <= header.frames <= most:
        raise RuleFileError(f"{where}: frames is {header.frames}; it must be 1 to {most}.")
    if header.kind == "gru" and len(header.layer_sizes) != 3:
        raise RuleFileError(
            f"{where}: layer_sizes must have three entries: a GRU has three layers of neurons."
        )
    wanted = axes(header.kind, len(header.layer_sizes), header.frames)
    if tensors.keys() != wanted.keys():
        raise RuleFileError(
            f"{where}: a {header.kind} network has the tensors {', '.join(wanted)}."
        )
    for name, (rows, columns) in wanted.items():
        shape = (rows.size(header.layer_sizes), columns.size(header.layer_sizes))
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise RuleFileError(
                f"{where}: {name} is {tensor.dtype} {tensor.shape}; it must be float32 {shape}."
            )
        if not (np.abs(tensor) <= MAX_NUMBER).all():  # catches NaN too
            raise RuleFileError(f"{where}: {name} must be finite, and within ±{MAX_NUMBER:g}.")
    return Baseline(header, MappingProxyType({name: tensors[name] for name in wanted}))


def save_baseline(baseline: Baseline, path: str | Path) -> None:
    """Write a baseline file atomically.

    Raises:
        RuleFileError: the name does not end in ``.baseline.safetensors``, or writing failed.
    """
    header = baseline.header
    document = asdict(replace(header, provenance={}), dict_factory=present)
    document["provenance"] = dict(header.provenance)
    write_file(Path(path), LAYOUT, json.dumps(document, allow_nan=False), baseline.tensors)


def load_baseline(path: str | Path) -> Baseline:
    """Return the baseline in a file, fully validated.

    Raises:
        RuleFileError: the file is missing, not a baseline file, malformed, or holds NaN or inf.
    """
    where = str(path)
    document, tensors = split(read_file(Path(path), LAYOUT), LAYOUT, where)
    header = decode(BaselineHeader, parse_json(document.encode(), where), where)
    floats = {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}
    return make_baseline(header, floats, where=where)


def header_as_rule(header: BaselineHeader) -> RuleHeader:
    """Return the header of a static rule with the same wiring, so that the same checks apply."""
    return RuleHeader(
        format_version=header.format_version,
        kind="static",
        layer_sizes=header.layer_sizes,
        update=UpdateSpec(1, 1.0, 0.0, "none", bound=1.0, learning_rate=1.0),
        initial=InitialSpec("evolved", 1.0),
        tick_period=header.tick_period,
        contract=header.contract,
        provenance=header.provenance,
        license=header.license,
    )
