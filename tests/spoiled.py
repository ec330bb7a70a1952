"""Every way in which a rule file may be corrupted: a generator and valid files in, bytes out.

The first of the valid files holds everything that a file can hold, the last no tensors. Some
results are valid after all; those of ``NEVER_LOADS`` never are.
"""

import copy
import json
import re
from functools import cache

import numpy as np
from rule_bytes import frame, pack, unpack


@cache
def taken_apart(data: bytes):
    """Return document, tensors, outer header and body of a file; do not modify them."""
    length = int.from_bytes(data[:8], "little")
    return *unpack(data), json.loads(data[8 : 8 + length]), data[8 + length :]


def some_parts(rng, files):
    """Return document and tensors of one of the files, as copies to modify."""
    document, tensors, *_ = taken_apart(files[rng.integers(len(files))])
    return copy.deepcopy(document), dict(tensors)


def some_file(rng, files) -> bytes:
    return files[rng.integers(len(files))]


def one_of(rng, choices):
    return choices[rng.integers(len(choices))]


# --- ways to corrupt it ---

LENGTHS = sorted({2**k + d for k in range(64) for d in (-1, 0, 1)} | {2**64 - 1})
DTYPES = (
    "F64",
    "F16",
    "BF16",
    "F8_E4M3",
    "F8_E5M2",
    "F4",
    "I8",
    "I32",
    "I64",
    "U64",
    "BOOL",
    "C64",
)
NASTY = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-320, 1e9, 1.1e9, 1e308, 2**31, 2**63, 10**400),
    *("", "x", "A", "uniform", "evolved", "max", "static", "ABCD_eta_neuron", "a\nb", "\x1b[2J"),
    *("\u2028", "\0", "../../etc/passwd", "/dev/zero", "__class__", "x" * 300, "\U0001f916"),
    *([], {}, [[]], [0], [1] * 3, [6, 65536, 2], [6, 2], [6, 5, 2], {"a": 1}, [{}], ["x"]),
    [65536, 65536],
    [1] * 2000,
)


def truncated(rng, files):
    data = some_file(rng, files)
    return data[: rng.integers(len(data))]


def another_length(rng, files):
    data = some_file(rng, files)
    low = rng.integers(2) == 0
    length = int(rng.integers(len(data) + 40)) if low else one_of(rng, LENGTHS)
    return length.to_bytes(8, "little") + data[8:]


def flipped(rng, files):
    data = bytearray(some_file(rng, files))
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data)


def flipped_header(rng, files):
    data = bytearray(some_file(rng, files))
    header = int.from_bytes(data[:8], "little")
    for place in rng.integers(8 + header, size=rng.integers(1, 4)):
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def spliced(rng, files):
    data, other = some_file(rng, files), some_file(rng, files)
    a, b = sorted(rng.integers(len(data) + 1, size=2))
    c = rng.integers(len(other) + 1)
    d = c + rng.integers(65)
    match rng.integers(5):
        case 0:
            return data[:a] + rng.bytes(int(rng.integers(1, 65))) + data[a:]  # inserted
        case 1:
            return data[:a] + data[b:]  # cut out
        case 2:
            return data[:b] + data[a:]  # repeated
        case 3:
            return data[:a] + other[c:d] + data[a:]  # from another file
        case _:
            return data[:a] + other[c:]  # start of one, end of another


def doubled_key(rng, files):
    """A key that appears twice, somewhere in the document or in the outer header."""
    i = rng.integers(len(files))
    document, tensors, outer, body = taken_apart(files[i])
    inner = rng.integers(2) == 0
    text = json.dumps(document if inner else outer)
    keys = list(re.finditer(r'(?<=[{ ])"([\w.]+)": ', text))
    key = one_of(rng, keys)
    value = json.dumps(one_of(rng, NASTY)) if rng.integers(2) else "1"
    text = f"{text[: key.start()]}{key.group()}{value}, {text[key.start() :]}"
    return pack(text, tensors) if inner else frame(text.encode(), body)


def another_dtype(rng, files):
    i = rng.integers(len(files) - 1)  # the last has no tensors
    *_, outer, body = copy.deepcopy(taken_apart(files[i]))
    tensor = one_of(rng, [name for name in outer if name != "__metadata__"])
    outer[tensor]["dtype"] = one_of(rng, [*DTYPES, *NASTY])
    return frame(json.dumps(outer).encode(), body)


def converted(rng, files):
    """A tensor correctly stored as another type or in another shape."""
    document, tensors = some_parts(rng, files)
    for name in list(tensors)[: 1 + rng.integers(3)]:
        tensor = tensors[name]
        match rng.integers(6):
            case 0:
                tensor = tensor.astype(one_of(rng, ["float64", "float16", "int32", "bool"]))
            case 1:
                tensor = tensor.T
            case 2:
                tensor = tensor.ravel()
            case 3:
                tensor = tensor[None]
            case 4:
                tensor = tensor[: rng.integers(len(tensor))]
            case _:
                tensor = np.resize(tensor, rng.integers(0, 5, size=rng.integers(5)))
        tensors[name] = tensor
    return pack(document, tensors)


def another_shape(rng, files):
    """Shapes and offsets that lie."""
    i = rng.integers(len(files) - 1)
    *_, outer, body = copy.deepcopy(taken_apart(files[i]))
    entry = outer[one_of(rng, [name for name in outer if name != "__metadata__"])]
    numbers = [0, 1, -1, 5, 6, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 2**64, len(body), 0.5, None]
    which = one_of(rng, ["shape", "data_offsets"])
    size = int(rng.integers(5)) if which == "shape" else 2
    match rng.integers(3):
        case 0:
            entry[which] = [one_of(rng, numbers) for _ in range(size)]
        case 1:
            entry[which] = one_of(rng, NASTY)
        case _:
            entry[which] = [n + int(rng.integers(-4, 5)) for n in entry[which]]
    return frame(json.dumps(outer).encode(), body)


def not_finite(rng, files):
    document, tensors = taken_apart(files[rng.integers(len(files) - 1)])[:2]
    name = one_of(rng, list(tensors))
    tensor = tensors[name].copy()
    tensor.flat[rng.integers(tensor.size)] = one_of(rng, [np.nan, np.inf, -np.inf])
    return pack(document, {**tensors, name: tensor})


def extreme(rng, files):
    """Finite numbers at the ends of float32."""
    document, tensors = some_parts(rng, files)
    for name in list(tensors):
        tensor = tensors[name].copy()
        tensor.flat[rng.integers(tensor.size)] = one_of(rng, [3e38, -3e38, 1e-45, 0.0, -0.0])
        tensors[name] = tensor
    return pack(document, tensors)


def places(node):
    """Yield every container in a document with each of its keys."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def change_json(rng, document):
    """Corrupt one to three places in a JSON document."""
    for _ in range(rng.integers(1, 4)):
        found = list(places(document))
        if not found:
            return
        node, key = one_of(rng, found)
        match rng.integers(6):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[str(one_of(rng, NASTY))[:60]] = node.pop(key)
            case 2 if isinstance(node, list):
                node.insert(key, copy.deepcopy(node[key]))
            case 3:
                other, place = one_of(rng, found)
                if place in other if isinstance(other, dict) else place < len(other):
                    node[key] = copy.deepcopy(other[place])  # what belongs elsewhere
            case _:
                node[key] = copy.deepcopy(one_of(rng, NASTY))


def another_document(rng, files):
    document, tensors = some_parts(rng, files)
    change_json(rng, document)
    return pack(document, tensors)


def measured_fields(rng, files):
    """Corrupt the measurements: envelope, static twin, golden vectors."""
    document, tensors, *_ = copy.deepcopy(taken_apart(files[0]))
    if rng.integers(2):
        change_json(rng, document[one_of(rng, ["envelope", "static_twin", "initial", "update"])])
    else:
        some = [name for name in tensors if name.startswith("golden") or name.endswith("static")]
        name = one_of(rng, some)
        tensor = tensors.pop(name)
        if rng.integers(2):
            stem = one_of(rng, ["golden", "layer0", "layer3", "neurons0", "golden.golden", ""])
            tensors[f"{stem}.{name.partition('.')[2]}"] = tensor
    return pack(document, tensors)


def another_header(rng, files):
    *_, outer, body = copy.deepcopy(taken_apart(files[rng.integers(len(files))]))
    change_json(rng, outer)
    return frame(json.dumps(outer).encode(), body)


def mixed(rng, files):
    """The document of one file with tensors of others under arbitrary names."""
    document, tensors = some_parts(rng, files)
    for name, tensor in some_parts(rng, files)[1].items():
        if rng.integers(2):
            stem = one_of(
                rng, ["layer0", "layer1", "layer9", "neurons0", "neurons9", "golden", "x"]
            )
            tensors[one_of(rng, [name, f"{stem}.A", f"{stem}.static", f"{stem}.\n", stem])] = tensor
    return pack(document, tensors)


def deep(rng, files):
    """Nested brackets, anywhere in the document or around it."""
    i = rng.integers(len(files))
    document, tensors, outer, body = taken_apart(files[i])
    depth = int(one_of(rng, [rng.integers(1, 60), rng.integers(700, 1100), rng.integers(100_000)]))
    start, end = one_of(rng, [("[", "]"), ('{"a":', "}")])
    nest = start * depth + ("0" if start != "[" else "") + (end * depth if rng.integers(4) else "")
    inner = rng.integers(4) != 0
    text = json.dumps(document if inner else outer)
    value = one_of(rng, list(re.finditer(r'(?<=: )("[^"\\]*"|[\d.]+)(?=[,}])', text)))
    text = text[: value.start()] + nest + text[value.end() :]
    return pack(text, tensors) if inner else frame(text.encode(), body)


def crowded(rng, files):
    """Very many keys, items or tensors within a header of permitted size."""
    document, tensors = some_parts(rng, files)
    n = int(rng.integers(1_000, 30_000))
    match rng.integers(6):
        case 0:
            text = json.dumps(document)
            twice = ", ".join(f'"{k}":0' for k in [*range(n), n - 1])
            return pack(f"{text[:-1]}, {twice}}}", tensors)
        case 1:
            document["layer_sizes"] = [1] * n
        case 2:
            document["contract"]["joints"] *= n // 100
        case 3:
            document["contract"]["channels"] *= n // 50
        case 4:
            document["provenance"] = {"all": [{}] * n}
        case _:
            tensors |= {f"t{k}": np.zeros(0, dtype=np.float32) for k in range(n // 8)}
    return pack(document, tensors)


COUNTS = {
    truncated: 1_500,
    another_length: 1_500,
    flipped: 2_500,
    flipped_header: 2_500,
    spliced: 2_500,
    doubled_key: 1_200,
    another_dtype: 1_000,
    converted: 1_000,
    another_shape: 1_500,
    not_finite: 600,
    extreme: 600,
    another_document: 2_500,
    measured_fields: 1_000,
    another_header: 1_000,
    mixed: 600,
    deep: 400,
    crowded: 100,
}
NEVER_LOADS = {truncated, doubled_key, not_finite}
