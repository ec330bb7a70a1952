"""The rule file: how a rule is written and read.

One ``.rule.safetensors`` file: float32 tensors, and one JSON document under the header's key
``hebb_rule``; docs/rule_file.md describes both. Nothing in it is executable. Every field of the JSON
document is validated; unknown fields and tensors are refused by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from .errors import RuleFileError
from .json_fields import decode, parse_json, present
from .plasticity import Array
from .rule import Golden, Rule, RuleHeader, check_header, make_rule
from .signature import Trust
from .signature import check as check_signature
from .tensor_file import Layout, read_file, split, write_file

SUFFIX = ".rule.safetensors"
HEADER_KEY = "hebb_rule"
LAYOUT = Layout(
    what="a rule file",
    suffix=SUFFIX,
    key=HEADER_KEY,
    max_bytes=28 * 1024 * 1024,  # with everything made from it, less than 64 MiB
    dtypes={"F32": "<f4"},
)


def save_rule(rule: Rule, path: str | Path) -> None:
    """Write a rule file; it appears whole or not at all.

    Raises:
        RuleFileError: the name does not end in ``.rule.safetensors``, or writing failed.
    """
    document = header_text(rule.header, where=str(path))
    write_file(Path(path), LAYOUT, document, named_tensors(rule))


def load_rule(path: str | Path, *, trust: Trust | None = None) -> Rule:
    """Return the rule in a file, fully validated.

    Args:
        path: the file.
        trust: whose signature is required; None to load any file.

    Raises:
        SignatureError: ``trust`` is enforced, and none of its keys signed these bytes.
        RuleFileError: the file is missing, not a rule file, malformed, or holds NaN or inf.
    """
    where = str(path)
    data = read_file(Path(path), LAYOUT)
    if trust is not None and (warning := check_signature(data, path, trust)):
        trust.warn(warning)
    document, tensors = split(data, LAYOUT, where)
    header = parse_header(document, where)
    stems = ["golden", *(f"neurons{k}" for k in range(len(header.layer_sizes)))]
    stems += [f"layer{k}" for k in range(len(header.layer_sizes) - 1)]
    groups: dict[str, dict[str, Array]] = {stem: {} for stem in stems}
    for key, tensor in sorted(tensors.items()):  # safetensors returns another order every time
        stem, _, name = key.partition(".")
        if stem not in groups:
            raise RuleFileError(
                f"{where}: tensor {key[:40]!r} is unknown. "
                f"Known: layer0.A … layer{len(header.layer_sizes) - 2}.eta, neurons0.A …, golden.…"
            )
        groups[stem][name] = tensor.astype(np.float32, copy=False)
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
    # asdict copies, and a loaded header holds a mapping that cannot be copied
    bare = dataclasses.replace(header, provenance={})
    document = dataclasses.asdict(bare, dict_factory=present)
    document["provenance"] = dict(header.provenance)
    try:
        return json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RuleFileError(f"{where}: the header is not JSON: {error}.") from error


def parse_header(document: str | bytes, where: str) -> RuleHeader:
    """Return the header in a JSON text, fully validated.

    Args:
        document: the text; protobuf returns bytes if it is not UTF-8.
        where: named in errors.

    Raises:
        RuleFileError: a field is missing, unknown, or invalid.
    """
    if isinstance(document, str):
        document = document.encode(errors="surrogatepass")  # JSON escapes may be lone surrogates
    header = decode(RuleHeader, parse_json(document, where), where)
    check_header(header, where)
    return header


def named_tensors(rule: Rule) -> dict[str, Array]:
    """Return the tensors in the rule's file, by name."""
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
