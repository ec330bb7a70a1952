"""Files of tensors with one JSON document: safetensors, read with care.

Rule files, network snapshots and baselines are such files. They are written by the safetensors
library; reading is our own, since a file may hold anything: sizes are checked before memory is
allocated, nothing is copied, and errors name what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from .errors import RuleFileError
from .files import read_bounded, write_atomically
from .json_fields import Json, decode, parse_json

MAX_HEADER_BYTES = 1024 * 1024
MAX_DIMENSIONS = 8  # per tensor; more than any has

Tensors: TypeAlias = Mapping[str, npt.NDArray[np.generic]]

_FOREIGN_MAGIC = {
    b"\x80": "a Python pickle",
    b"PK\x03\x04": "a zip archive (a torch checkpoint?)",
    b"\x93NUMPY": "a numpy array file",
    b"\x89HDF": "an HDF5 file",
}


@dataclass(frozen=True)
class Layout:
    """One kind of file.

    Attributes:
        what: what it is, with an article, for messages.
        suffix: suffix of its name.
        key: key of the JSON document in the header.
        max_bytes: largest size of a file.
        dtypes: dtypes of its tensors: safetensors' name -> numpy's.
    """

    what: str
    suffix: str
    key: str
    max_bytes: int
    dtypes: Mapping[str, str]


def write_file(path: Path, layout: Layout, document: str, tensors: Tensors) -> None:
    """Write a file; it appears whole or not at all.

    Raises:
        RuleFileError: its suffix is wrong, it would be too large to read, or writing failed.
    """
    check_name(path, layout)
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    payload = safetensors.numpy.save(arrays, metadata={layout.key: document})
    if len(payload) > layout.max_bytes:
        raise RuleFileError(
            f"{path}: would have {len(payload)} bytes; at most {layout.max_bytes} can be read."
        )
    try:
        write_atomically(path, payload)
    except OSError as error:
        raise RuleFileError(f"{path}: cannot be written: {error.strerror}.") from error


def check_name(path: Path, layout: Layout) -> None:
    """Check that a file of this kind may be written at this path.

    Raises:
        RuleFileError: its suffix is wrong, or there is no such directory.
    """
    if not path.name.endswith(layout.suffix):
        raise RuleFileError(f"{path}: the name of {layout.what} must end in {layout.suffix}.")
    if not path.parent.is_dir():
        raise RuleFileError(f"{path}: there is no directory {path.parent}.")


def read_file(path: Path, layout: Layout) -> bytes:
    """Return the bytes of a file.

    Raises:
        RuleFileError: it is missing, too large, not a file, or plainly something else.
    """
    where = str(path)
    data = read_bounded(path, layout.max_bytes, RuleFileError)
    if len(data) > layout.max_bytes:
        raise RuleFileError(f"{where}: larger than {layout.max_bytes} bytes.")
    for magic, what in _FOREIGN_MAGIC.items():
        # A pickle's first byte may also begin a header's length; the next seven bytes tell.
        if data.startswith(magic) and int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
            raise RuleFileError(f"{where}: this is {what}, not {layout.what} ({layout.suffix}).")
    return data


def split(data: bytes, layout: Layout, where: str) -> tuple[str, Tensors]:
    """Return the JSON document and the tensors in ``data``: read-only views, nothing is copied.

    Raises:
        RuleFileError: they are damaged; the message names the field or the tensor.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > MAX_HEADER_BYTES:
        raise RuleFileError(
            f"{where}: not {layout.what} ({layout.suffix}), or its beginning is damaged."
        )
    if 8 + length > len(data):
        raise RuleFileError(f"{where}: truncated: the header is incomplete.")
    outer = parse_json(data[8 : 8 + length], where)
    metadata = outer.get("__metadata__") if isinstance(outer, dict) else None
    if not isinstance(outer, dict) or not isinstance(metadata, dict) or layout.key not in metadata:
        raise RuleFileError(f"{where}: a safetensors file, but without a '{layout.key}' header.")
    strings = {key: value for key, value in metadata.items() if isinstance(value, str)}
    for key in metadata.keys() - strings:
        raise RuleFileError(f"{where}: header: __metadata__ {key[:40]!r} must be a string.")
    return strings[layout.key], _tensors(outer, data, layout, start=8 + length, where=where)


@dataclass(frozen=True)
class _Entry:
    """What a safetensors header says about a tensor; offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, ...]


def _tensors(
    outer: dict[str, Json], data: bytes, layout: Layout, *, start: int, where: str
) -> Tensors:
    """Return the tensors that fill the bytes from ``start`` on."""
    tensors, spans = {}, []
    for name, node in outer.items():
        if name == "__metadata__":
            continue
        place = f"tensor {repr(name[:40])[1:-1]}"
        entry = decode(_Entry, node, where, place)
        span, shape = entry.data_offsets, entry.shape
        if entry.dtype not in layout.dtypes:
            known = ", ".join(layout.dtypes)
            raise RuleFileError(f"{where}: {place} is {entry.dtype[:20]}; it must be {known}.")
        dtype = np.dtype(layout.dtypes[entry.dtype])
        numbers = (*shape, *span)
        if (
            len(span) != 2
            or len(shape) > MAX_DIMENSIONS
            or not all(0 <= number <= len(data) for number in numbers)
        ):
            raise RuleFileError(f"{where}: {place}: invalid shape or data_offsets.")
        if span[1] - span[0] != dtype.itemsize * math.prod(shape) or start + span[1] > len(data):
            raise RuleFileError(
                f"{where}: truncated or damaged: {place} has data_offsets that do not fit its "
                f"shape, or the file."
            )
        flat = np.frombuffer(data, dtype, math.prod(shape), start + span[0])
        tensors[name] = flat.reshape(shape)
        spans.append((*span, place))
    end = 0
    for first, last, place in sorted(spans):
        if first != end:
            raise RuleFileError(f"{where}: {place} leaves a gap or an overlap before it.")
        end = last
    if start + end != len(data):
        raise RuleFileError(
            f"{where}: truncated or damaged: {end} bytes of tensors are announced, "
            f"{len(data) - start} found."
        )
    return tensors
