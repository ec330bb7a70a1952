"""THE rule file: how a rule is written and read.

One ``.rule.safetensors`` file: float32 tensors, and one JSON document under the header's key
``hebb_rule``; docs/rule_file.md describes both. Nothing in it is executable. Every field of the JSON
document is validated; unknown fields and tensors are refused by name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path

import safetensors.numpy
from safetensors import SafetensorError

from .errors import RuleFileError
from .json_fields import decode, parse_json
from .plasticity import Array
from .rule import Golden, Rule, RuleHeader, check_header, make_rule

SUFFIX = ".rule.safetensors"
MAX_FILE_BYTES = 28 * 1024 * 1024  # read once and taken apart once: less than 64 MiB
MAX_HEADER_BYTES = 1024 * 1024
HEADER_KEY = "hebb_rule"

_FOREIGN_MAGIC = {
    b"\x80": "a Python pickle",
    b"PK\x03\x04": "a zip archive (a torch checkpoint?)",
    b"\x93NUMPY": "a numpy array file",
    b"\x89HDF": "an HDF5 file",
}


def save_rule(rule: Rule, path: str | Path) -> None:
    """Write a rule file; it appears whole or not at all.

    Raises:
        RuleFileError: the name does not end in ``.rule.safetensors``, or writing failed.
    """
    target = Path(path)
    if not target.name.endswith(SUFFIX):
        raise RuleFileError(f"{target}: the name of a rule file ends in {SUFFIX}.")
    document = header_text(rule.header, where=str(target))
    payload = safetensors.numpy.save(_named_tensors(rule), metadata={HEADER_KEY: document})
    if len(payload) > MAX_FILE_BYTES:
        raise RuleFileError(
            f"{target}: would have {len(payload)} bytes; at most {MAX_FILE_BYTES} can be loaded."
        )
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
    header = parse_header(document, where)
    stems = ["golden", *(f"neurons{k}" for k in range(len(header.layer_sizes)))]
    stems += [f"layer{k}" for k in range(len(header.layer_sizes) - 1)]
    groups: dict[str, dict[str, Array]] = {stem: {} for stem in stems}
    for key, tensor in sorted(tensors.items()):  # safetensors gives another order every time
        stem, _, name = key.partition(".")
        if stem not in groups:
            raise RuleFileError(
                f"{where}: tensor {key[:40]!r} is unknown. "
                f"Known: layer0.A … layer{len(header.layer_sizes) - 2}.eta, neurons0.A …, golden.…"
            )
        groups[stem][name] = tensor
    layers = [group for stem, group in groups.items() if stem.startswith("layer")]
    neurons = [group for stem, group in groups.items() if stem.startswith("neurons")]
    static = [layer.pop("static") for layer in layers if "static" in layer]
    rule = make_rule(
        header,
        layers,
        neurons=neurons if any(neurons) else (),
        static=static,
        golden=_golden(groups["golden"], where),
        where=where,
    )
    return dataclasses.replace(rule, sha256=hashlib.sha256(data).hexdigest())


def header_text(header: RuleHeader, *, where: str) -> str:
    """Return the JSON text of a header.

    Raises:
        RuleFileError: its provenance is not JSON.
    """
    # asdict copies, and a header that was loaded holds a mapping that cannot be copied
    document = dataclasses.asdict(dataclasses.replace(header, provenance={}))
    document = {key: value for key, value in document.items() if value is not None}
    document["provenance"] = dict(header.provenance)
    try:
        return json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RuleFileError(f"{where}: the header is not JSON: {error}.") from error


def parse_header(document: str, where: str) -> RuleHeader:
    """Return the header in a JSON text, fully validated.

    Raises:
        RuleFileError: a field is missing, unknown, or makes no sense.
    """
    header = decode(RuleHeader, parse_json(document.encode(), where), where)
    assert isinstance(header, RuleHeader)  # noqa: S101 - for the type checker
    check_header(header, where)
    return header


def _named_tensors(rule: Rule) -> dict[str, Array]:
    named = {
        f"layer{k}.{name}": tensor
        for k, layer in enumerate(rule.layers)
        for name, tensor in layer.items()
        if name in rule.stored
    }
    for k, part in enumerate(rule.neurons):
        named |= {f"neurons{k}.{name}": tensor for name, tensor in part.items()}
    named |= {f"layer{k}.static": tensor for k, tensor in enumerate(rule.static)}
    if rule.golden is not None:
        named |= {f"golden.{f.name}": getattr(rule.golden, f.name) for f in fields(Golden)}
    return named


def _golden(tensors: dict[str, Array], where: str) -> Golden | None:
    if not tensors:
        return None
    known = [field.name for field in fields(Golden)]
    for name in (*known, *tensors):
        if name not in tensors:
            raise RuleFileError(f"{where}: golden.{name} is missing.")
        if name not in known:
            raise RuleFileError(
                f"{where}: tensor {f'golden.{name}'[:40]!r} is unknown. Known: {', '.join(known)}."
            )
    return Golden(**tensors)


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


def _split(data: bytes, where: str) -> tuple[str, dict[str, Array]]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > MAX_HEADER_BYTES:
        raise RuleFileError(f"{where}: not a rule file ({SUFFIX}), or its beginning is damaged.")
    if 8 + length > len(data):
        raise RuleFileError(f"{where}: truncated: the header is not complete.")
    outer = parse_json(data[8 : 8 + length], where)
    metadata = outer.get("__metadata__") if isinstance(outer, dict) else None
    document = metadata.get(HEADER_KEY) if isinstance(metadata, dict) else None
    if not isinstance(document, str):
        raise RuleFileError(f"{where}: a safetensors file, but without a '{HEADER_KEY}' header.")
    try:
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise RuleFileError(f"{where}: truncated or damaged: {error}.") from error
    return document, tensors
