"""THE rule file: what is in it, how it is written, read and checked.

One ``.rule.safetensors`` file: float32 tensors ``layer{k}.{A,B,C,D,eta,E,initial}`` of shape
(n_out, n_in), k from 0, and one JSON document under the header's key ``hebb_rule``. Nothing in it
is executable. Every field of the JSON document is validated; unknown fields are refused by name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from .errors import ContractError, HebbError, RuleFileError
from .network import InitialSpec
from .observation import Channel, observation_size
from .plasticity import RULE_KINDS, Array, UpdateSpec
from .robot import RobotSpec

FORMAT_VERSION = 1
SUFFIX = ".rule.safetensors"
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_HEADER_BYTES = 1024 * 1024
MAX_LAYER_SIZE = 65_536
MAX_SYNAPSES = MAX_FILE_BYTES // 4  # one float32 each: what a file of that size could state
MAX_STRING = 200  # characters of a name in the header
MAX_NUMBER = 1e9  # of the header: its square is still a float32
ACTUATORS = ("pd",)

_HEADER_KEY = "hebb_rule"
_FOREIGN_MAGIC = {
    b"\x80": "a Python pickle",
    b"PK\x03\x04": "a zip archive (a torch checkpoint?)",
    b"\x93NUMPY": "a numpy array file",
    b"\x89HDF": "an HDF5 file",
}

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True)
class JointContract:
    """What a rule was trained to expect of one joint: SI units, radians.

    ``default`` is the action's zero, ``action_scale`` what an action of 1 adds to it; the rest are
    the gains and limits that held in training.
    """

    name: str
    default: float
    action_scale: float
    kp: float
    kd: float
    torque: float
    lower: float
    upper: float
    max_target_rate: float


@dataclass(frozen=True)
class Contract:
    """Everything about the robot that a rule was trained under.

    Attributes:
        robot: name of the robot.
        actuator: how a target becomes torque; ``pd`` is clip(kp(q* − q) − kd·q̇, ±torque).
        latency_ticks: ticks between a reading and the command computed from it.
        channels: the observation.
        joints: in the order of the vectors.
    """

    robot: str
    actuator: str
    latency_ticks: int
    channels: tuple[Channel, ...]
    joints: tuple[JointContract, ...]


@dataclass(frozen=True)
class RuleHeader:
    """The JSON document of a rule file.

    Attributes:
        format_version: version of this layout.
        kind: a key of ``RULE_KINDS``.
        layer_sizes: neurons per layer; first the observation, last the action.
        update: when and how far weights move.
        initial: the weights at the start of a run.
        tick_period: s.
        contract: what the rule expects of the robot.
        provenance: where the rule comes from; free JSON.
        license: SPDX identifier.
    """

    format_version: int
    kind: str
    layer_sizes: tuple[int, ...]
    update: UpdateSpec
    initial: InitialSpec
    tick_period: float
    contract: Contract
    provenance: Mapping[str, Json]
    license: str


@dataclass(frozen=True)
class Rule:
    """A rule: its header and its tensors.

    Attributes:
        header: the JSON document.
        layers: per layer, tensor name -> (n_out, n_in) float32, read-only.
        sha256: of the file it was read from, in hexadecimal; empty for a rule made in memory.
    """

    header: RuleHeader
    layers: tuple[Mapping[str, Array], ...]
    sha256: str = ""

    @property
    def n_synapses(self) -> int:
        """Number of synapses."""
        sizes = self.header.layer_sizes
        return sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))

    @property
    def n_parameters(self) -> int:
        """Number of evolved numbers."""
        return sum(tensor.size for layer in self.layers for tensor in layer.values())


def make_rule(
    header: RuleHeader, layers: Sequence[Mapping[str, Array]], *, where: str = "rule"
) -> Rule:
    """Return a rule after checking every field and tensor of it.

    Raises:
        RuleFileError: something is missing, unknown, of a wrong shape or not finite.
    """
    _check_header(header, where)
    _check_layers(header, layers, where)
    frozen = []
    for layer in layers:
        copies = {name: np.array(tensor, dtype=np.float32) for name, tensor in layer.items()}
        for copy in copies.values():
            copy.setflags(write=False)
        frozen.append(MappingProxyType(copies))
    return Rule(header, tuple(frozen))


def save_rule(rule: Rule, path: str | Path) -> None:
    """Write a rule file; it appears whole or not at all.

    Raises:
        RuleFileError: the name does not end in ``.rule.safetensors``, or writing failed.
    """
    target = Path(path)
    if not target.name.endswith(SUFFIX):
        raise RuleFileError(f"{target}: the name of a rule file ends in {SUFFIX}.")
    tensors = {
        f"layer{k}.{name}": np.ascontiguousarray(tensor)
        for k, layer in enumerate(rule.layers)
        for name, tensor in layer.items()
    }
    # asdict copies, and a header that was loaded holds a mapping that cannot be copied
    fields = dataclasses.asdict(dataclasses.replace(rule.header, provenance={}))
    fields["provenance"] = dict(rule.header.provenance)
    try:
        document = json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RuleFileError(f"{target}: the header is not JSON: {error}.") from error
    payload = safetensors.numpy.save(tensors, metadata={_HEADER_KEY: document})
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_bytes(payload)
        partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise RuleFileError(f"{target}: cannot be written: {error.strerror}.") from error


def load_rule(path: str | Path) -> Rule:
    """Return the rule in a file, fully validated.

    Raises:
        RuleFileError: the file is missing, not a rule file, malformed, or holds NaN or inf.
    """
    where = str(path)
    data = _read(Path(path), where)
    document, tensors = _split(data, where)
    header = _decode(RuleHeader, document, where)
    assert isinstance(header, RuleHeader)  # noqa: S101 - for the type checker
    _check_header(header, where)
    n_layers = len(header.layer_sizes) - 1
    layers: dict[str, dict[str, Array]] = {f"layer{k}": {} for k in range(n_layers)}
    for key, tensor in sorted(tensors.items()):  # safetensors gives another order every time
        stem, _, name = key.partition(".")
        if stem not in layers:
            raise RuleFileError(
                f"{where}: tensor {key[:40]!r} is unknown. "
                f"Known: layer0.A … layer{n_layers - 1}.eta."
            )
        layers[stem][name] = tensor
    rule = make_rule(header, list(layers.values()), where=where)
    return dataclasses.replace(rule, sha256=hashlib.sha256(data).hexdigest())


def check_contract(rule: Rule, robot: RobotSpec, *, where: str = "rule") -> None:
    """Check that a rule may drive this robot.

    Raises:
        ContractError: joints, gains or actuator differ, or the rule was trained beyond a limit of
            the robot; the message names the first disagreement.
    """
    contract = rule.header.contract
    names = tuple(joint.name for joint in contract.joints)
    if names != robot.joint_names:
        missing = [n for n in names if n not in robot.joint_names]
        extra = [n for n in robot.joint_names if n not in names]
        detail = (
            f"the robot has no {', '.join(missing)}"
            if missing
            else f"the rule does not know {', '.join(extra)}"
            if extra
            else "the order of the joints differs"
        )
        raise ContractError(
            f"{where}: trained for robot '{contract.robot}' ({len(names)} joints), "
            f"this is '{robot.name}' ({robot.n_joints}): {detail}. "
            f"Retrain for this robot, or name the right one."
        )
    for i, joint in enumerate(contract.joints):
        place = f"{where}: joint '{joint.name}'"
        for field in ("kp", "kd"):
            trained, has = float(getattr(joint, field)), float(getattr(robot, field)[i])
            if not math.isclose(trained, has, rel_tol=1e-6):
                raise ContractError(
                    f"{place}: trained with {field} {trained:g}, robot '{robot.name}' has {has:g}. "
                    f"Retrain, or mend the robot spec."
                )
        for field, sign in (("lower", -1), ("upper", 1), ("torque", 1), ("max_target_rate", 1)):
            trained, has = float(getattr(joint, field)), float(getattr(robot, field)[i])
            if sign * (trained - has) > 1e-6:
                raise ContractError(
                    f"{place}: trained with {field} {trained:g}, beyond the limit {has:g} of robot "
                    f"'{robot.name}'. Retrain within the limit."
                )


def joint_contracts(robot: RobotSpec, action_scale: Sequence[float]) -> tuple[JointContract, ...]:
    """Return what a rule trained on this robot expects of its joints.

    Args:
        robot: the robot.
        action_scale: (n,) what an action of 1 adds to the default position, rad.
    """
    return tuple(
        JointContract(
            name=name,
            default=float(robot.default[i]),
            action_scale=float(action_scale[i]),
            kp=float(robot.kp[i]),
            kd=float(robot.kd[i]),
            torque=float(robot.torque[i]),
            lower=float(robot.lower[i]),
            upper=float(robot.upper[i]),
            max_target_rate=float(robot.max_target_rate[i]),
        )
        for i, name in enumerate(robot.joint_names)
    )


def _check_header(header: RuleHeader, where: str) -> None:
    if header.format_version != FORMAT_VERSION:
        raise RuleFileError(
            f"{where}: format_version is {header.format_version}; "
            f"this release reads {FORMAT_VERSION}. Mend: update hebb_controller."
        )
    if header.kind not in RULE_KINDS:
        raise RuleFileError(
            f"{where}: kind '{header.kind}' is unknown. Known: {', '.join(RULE_KINDS)}."
        )
    if header.contract.actuator not in ACTUATORS:
        raise RuleFileError(
            f"{where}: contract.actuator '{header.contract.actuator}' is unknown. "
            f"Known: {', '.join(ACTUATORS)}."
        )
    if header.contract.latency_ticks != 0:
        raise RuleFileError(
            f"{where}: contract.latency_ticks is {header.contract.latency_ticks}; this release "
            f"applies a command in the tick of its reading and reads 0 only."
        )
    sizes = header.layer_sizes
    if len(sizes) < 2 or any(not 1 <= size <= MAX_LAYER_SIZE for size in sizes):
        raise RuleFileError(
            f"{where}: layer_sizes {list(sizes)}: at least two, each 1 to {MAX_LAYER_SIZE}."
        )
    synapses = sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))
    if synapses > MAX_SYNAPSES:
        raise RuleFileError(
            f"{where}: layer_sizes {list(sizes)} make {synapses} synapses; at most {MAX_SYNAPSES}."
        )
    if not 0.001 <= header.tick_period <= 1.0:
        raise RuleFileError(
            f"{where}: tick_period is {header.tick_period} s; it must be 0.001 to 1."
        )
    header.update.check(f"{where}: update")
    header.initial.check(f"{where}: initial")
    n = len(header.contract.joints)
    if sizes[-1] != n:
        raise RuleFileError(f"{where}: the last layer has {sizes[-1]} neurons for {n} joints.")
    if len({joint.name for joint in header.contract.joints}) != n:
        raise RuleFileError(f"{where}: contract.joints: a name is listed twice.")
    try:
        observed = observation_size(header.contract.channels, n)
    except ContractError as error:
        raise RuleFileError(f"{where}: contract.channels: {error}") from error
    if sizes[0] != observed:
        raise RuleFileError(
            f"{where}: the first layer has {sizes[0]} neurons, the channels make {observed}."
        )
    for channel in header.contract.channels:
        if channel.clip <= 0:
            raise RuleFileError(f"{where}: channel '{channel.name}': clip must be positive.")
    for joint in header.contract.joints:
        if not joint.lower < joint.upper or joint.torque <= 0 or joint.max_target_rate <= 0:
            raise RuleFileError(f"{where}: joint '{joint.name}': a limit is empty.")


def _check_layers(header: RuleHeader, layers: Sequence[Mapping[str, Array]], where: str) -> None:
    sizes = header.layer_sizes
    if len(layers) != len(sizes) - 1:
        raise RuleFileError(f"{where}: {len(layers)} layers of tensors for sizes {list(sizes)}.")
    wanted = [*RULE_KINDS[header.kind].tensors]
    if header.initial.distribution == "evolved":
        wanted.append("initial")
    for k, layer in enumerate(layers):
        for name in wanted:
            if name not in layer:
                raise RuleFileError(
                    f"{where}: layer{k}.{name} is missing; kind '{header.kind}' needs "
                    f"{', '.join(wanted)}."
                )
        shape = (sizes[k + 1], sizes[k])
        for name, tensor in layer.items():
            if name not in wanted:
                raise RuleFileError(
                    f"{where}: tensor {f'layer{k}.{name}'[:40]!r} is not part of kind '{header.kind}' "
                    f"({', '.join(wanted) or 'no tensors'})."
                )
            if tensor.shape != shape:
                raise RuleFileError(
                    f"{where}: layer{k}.{name} has shape {tensor.shape}, the layer sizes ask for "
                    f"{shape}."
                )
            if tensor.dtype != np.float32:
                raise RuleFileError(
                    f"{where}: layer{k}.{name} is {tensor.dtype}; it must be float32."
                )
            if not np.isfinite(tensor).all():
                row, column = np.argwhere(~np.isfinite(tensor))[0]
                raise RuleFileError(
                    f"{where}: layer{k}.{name}[{row}, {column}] is {tensor[row, column]}; "
                    f"every coefficient must be finite."
                )


def _read(path: Path, where: str) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a directory, or a pipe that would never end
            raise RuleFileError(f"{where}: not a file.")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise RuleFileError(f"{where}: no such file.") from error
    except OSError as error:
        raise RuleFileError(f"{where}: cannot be read: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise RuleFileError(f"{where}: larger than {MAX_FILE_BYTES} bytes.")
    for magic, what in _FOREIGN_MAGIC.items():
        # A pickle's first byte may also begin the length of a header; the next seven tell.
        if data.startswith(magic) and int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
            raise RuleFileError(f"{where}: this is {what}, not a rule file ({SUFFIX}).")
    return data


def _split(data: bytes, where: str) -> tuple[Json, dict[str, Array]]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > MAX_HEADER_BYTES:
        raise RuleFileError(f"{where}: not a rule file ({SUFFIX}), or its beginning is damaged.")
    if 8 + length > len(data):
        raise RuleFileError(f"{where}: truncated: the header is not complete.")
    outer = _parse_json(data[8 : 8 + length], where)
    metadata = outer.get("__metadata__") if isinstance(outer, dict) else None
    document = metadata.get(_HEADER_KEY) if isinstance(metadata, dict) else None
    if not isinstance(document, str):
        raise RuleFileError(f"{where}: a safetensors file, but without a '{_HEADER_KEY}' header.")
    try:
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise RuleFileError(f"{where}: truncated or damaged: {error}.") from error
    return _parse_json(document.encode(), where), tensors


def _parse_json(text: bytes, where: str) -> Json:
    def no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        keys = dict(pairs)
        if len(keys) != len(pairs):
            twice = next(k for k, _ in pairs if [name for name, _ in pairs].count(k) > 1)
            raise RuleFileError(f"{where}: header: {twice[:40]!r} stands twice.")
        return keys

    def no_constant(name: str) -> Json:
        raise RuleFileError(f"{where}: header: {name} is not a number.")

    try:
        parsed: Json = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant)
    except HebbError:
        raise
    except (ValueError, RecursionError) as error:
        raise RuleFileError(f"{where}: header is not readable as JSON: {error}.") from error
    return parsed


def _decode(wanted: object, node: Json, where: str, field: str = "header") -> object:
    """Return ``node`` as the wanted type, or raise RuleFileError naming the field."""
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        if not isinstance(node, dict):
            raise _wrong(where, field, "an object", node)
        hints = typing.get_type_hints(wanted)
        for key in node:
            if key not in hints:
                raise RuleFileError(
                    f"{where}: {field}: unknown field {key[:40]!r}. Known: {', '.join(hints)}."
                )
        values = {}
        for key, hint in hints.items():
            if key not in node:
                raise RuleFileError(f"{where}: {field}: '{key}' is missing.")
            values[key] = _decode(hint, node[key], where, f"{field}.{key}")
        return wanted(**values)
    if typing.get_origin(wanted) is tuple:
        if not isinstance(node, list):
            raise _wrong(where, field, "a list", node)
        item = typing.get_args(wanted)[0]
        return tuple(_decode(item, n, where, f"{field}[{i}]") for i, n in enumerate(node))
    if wanted is float:
        if isinstance(node, bool) or not isinstance(node, (int, float)):
            raise _wrong(where, field, "a number", node)
        if not abs(node) <= MAX_NUMBER:  # nor NaN
            raise _wrong(where, field, f"a number within ±{MAX_NUMBER:g}", node)
        return float(node)
    if wanted is int:
        if isinstance(node, bool) or not isinstance(node, int):
            raise _wrong(where, field, "a whole number", node)
        return node
    if wanted is str:
        if not isinstance(node, str):
            raise _wrong(where, field, "a string", node)
        if not node.isprintable() or len(node) > MAX_STRING:  # it will stand in one line of a log
            raise _wrong(where, field, f"printable, at most {MAX_STRING} characters", node)
        return node
    if not isinstance(node, dict):  # Mapping[str, Json]
        raise _wrong(where, field, "an object", node)
    return MappingProxyType(node)


def _wrong(where: str, field: str, wanted: str, node: Json) -> RuleFileError:
    return RuleFileError(f"{where}: {field} must be {wanted}, found {str(node)[:40]!r}.")
