"""Takes rule files apart and reassembles them byte by byte, to make invalid ones."""

import json
import tempfile
from pathlib import Path

import numpy as np

from hebb_controller.rule import Rule
from hebb_controller.rule_file import save_rule

DTYPES = {"float32": "F32", "float64": "F64", "float16": "F16", "int32": "I32", "bool": "BOOL"}


def rule_bytes(rule: Rule) -> bytes:
    """Return the bytes of a rule's file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.rule.safetensors"
        save_rule(rule, path)
        return path.read_bytes()


def unpack(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the JSON document and the tensors (float32) in the bytes of a valid rule file."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header.pop("__metadata__")["hebb_rule"])
    body = data[8 + length :]
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        tensors[name] = np.frombuffer(body[start:stop], dtype="<f4").reshape(entry["shape"]).copy()
    return document, tensors


def pack(document: object, tensors: dict[str, np.ndarray]) -> bytes:
    """Return the bytes of a safetensors file.

    Args:
        document: stored under ``hebb_rule`` as JSON, or verbatim if a string; None for no such key.
        tensors: of any type.
    """
    header: dict[str, object] = {}
    if document is not None:
        text = document if isinstance(document, str) else json.dumps(document)
        header["__metadata__"] = {"hebb_rule": text}
    body = b""
    for name, tensor in tensors.items():
        data = tensor.tobytes()
        header[name] = {
            "dtype": DTYPES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    return frame(json.dumps(header).encode(), body)


def frame(header: bytes, body: bytes = b"") -> bytes:
    """Return a file: header length, header padded to a multiple of eight bytes, and body."""
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + body
