"""What a robot has learned, in a file: the state of one rule's network.

One ``.snapshot.safetensors`` file: a JSON document under the header's key ``hebb_snapshot``, and the
tensors of a runtime's state.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import RuleFileError
from ..json_fields import MAX_STRING, decode, parse_json
from ..rule import Rule
from ..runtime.base import State
from ..tensor_file import Layout, check_name, read_file, split, write_file

FORMAT_VERSION = 1
LAYOUT = Layout(
    what="a snapshot",
    suffix=".snapshot.safetensors",
    key="hebb_snapshot",
    max_bytes=8 * 1024 * 1024,  # three arrays of the largest network
    dtypes={"F32": "<f4", "I64": "<i8"},
)


@dataclass(frozen=True)
class SnapshotHeader:
    """The JSON document of a snapshot.

    Attributes:
        format_version: version of this layout.
        rule_sha256: of the rule file whose network this is, in hexadecimal.
        rule_file: where that file was, for people.
    """

    format_version: int
    rule_sha256: str
    rule_file: str


def path_of(snapshot_file: str) -> Path:
    """Return the path that the parameter ``snapshot_file`` names.

    Raises:
        RuleFileError: it is not set, or its name is not that of a snapshot.
    """
    if not snapshot_file:
        raise RuleFileError(
            f"snapshot_file is not set. Set it to the path of a file that ends in {LAYOUT.suffix}."
        )
    path = Path(snapshot_file).absolute()
    check_name(path, LAYOUT)
    return path


def save_snapshot(state: State, rule: Rule, rule_file: str, path: Path) -> None:
    """Write the state of a rule's network; the file appears whole or not at all.

    Raises:
        RuleFileError: the numbers are not finite, or the file cannot be written.
    """
    _check_finite(state, "the network")
    for_people = "".join(c if c.isprintable() else "?" for c in rule_file)[-MAX_STRING:]
    header = SnapshotHeader(FORMAT_VERSION, rule.sha256, for_people)
    write_file(path, LAYOUT, json.dumps(dataclasses.asdict(header)), state)


def load_snapshot(path: Path, rule: Rule) -> State:
    """Return the state in a file, which must be of this rule's network.

    Raises:
        RuleFileError: the file is missing or malformed, or of another rule.
    """
    where = str(path)
    document, tensors = split(read_file(path, LAYOUT), LAYOUT, where)
    header = decode(SnapshotHeader, parse_json(document.encode(), where), where)
    if header.format_version != FORMAT_VERSION:
        raise RuleFileError(
            f"{where}: format_version is {header.format_version}; this release reads "
            f"{FORMAT_VERSION}. Fix: update hebb_controller."
        )
    if header.rule_sha256 != rule.sha256:
        raise RuleFileError(
            f"{where}: is of another rule (sha256 {header.rule_sha256[:12]}…, {header.rule_file}); "
            f"the one in force has {rule.sha256[:12]}…. Set rule_file to the snapshot's rule first."
        )
    shapes = {
        "weights": (rule.n_synapses,),
        "initial": (rule.n_synapses,),
        "trace": (sum(rule.header.layer_sizes),),
        "tick": (),
    }
    for name, shape in shapes.items():
        kind = np.float32 if shape else np.int64
        if name not in tensors or tensors[name].shape != shape or tensors[name].dtype != kind:
            raise RuleFileError(
                f"{where}: '{name}' is missing, or not {kind.__name__} of shape {shape}."
            )
    for name in tensors.keys() - shapes.keys():
        raise RuleFileError(
            f"{where}: '{name[:40]}' is unknown. Known: {', '.join(sorted(shapes))}."
        )
    _check_finite(tensors, where)
    if not 0 <= int(tensors["tick"]) < 2**53:
        raise RuleFileError(f"{where}: 'tick' is {int(tensors['tick'])}; it counts from 0.")
    return dict(tensors)


def _check_finite(state: State, where: str) -> None:
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise RuleFileError(f"{where}: '{name}' is not finite.")
