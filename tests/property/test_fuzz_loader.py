"""Twenty thousand spoiled rule files: each loads and runs, or is one line that names what is wrong.

So do two thousand spoiled ONNX models. The generator is seeded: the same files every time.
"""

import copy
import json
import re
import sys
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from rule_bytes import frame, pack, rule_bytes, unpack
from toys import toy_rule, update_spec

from hebb_controller.contract import Contract, JointContract
from hebb_controller.errors import RuleFileError
from hebb_controller.network import InitialSpec
from hebb_controller.observation import Channel
from hebb_controller.plasticity import UpdateSpec
from hebb_controller.rule import (
    Envelope,
    Golden,
    LayerEnvelope,
    Rule,
    RuleHeader,
    StaticTwin,
    make_rule,
)
from hebb_controller.rule_file import LAYOUT, load_rule
from hebb_controller.runtime.base import Runtime
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.tensor_file import MAX_HEADER_BYTES

NAME = "any.rule.safetensors"
SECOND = 1.0  # of processor time, for one file
MEMORY = 64 * 2**20  # bytes

# --- what is spoiled ---


def whole_rule() -> Rule:
    """Return a rule that has everything a file can hold, but coefficients per neuron."""
    rule = toy_rule(initial=InitialSpec("evolved", 1.0), hidden=(4, 3))
    rng = np.random.default_rng(3)
    synapses, neurons, ticks = rule.n_synapses, sum(rule.header.layer_sizes), 2
    shapes = [(synapses,), (ticks + 1, synapses), (ticks + 1, neurons), (ticks, 6), (ticks, 2)]
    header = replace(
        rule.header,
        envelope=Envelope(ticks=500, layers=(LayerEnvelope(2.0, 0.1, 0.5),) * 3),
        static_twin=StaticTwin(episodes=4, duration=10.0, speed=0.5, fall_rate=0.25),
    )
    return make_rule(
        header,
        rule.layers,
        static=[layer["initial"] for layer in rule.layers],
        golden=Golden(*(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)),
    )


LIVELY = update_spec(interval=2, trace_window=3.0, decay=0.04, normalisation="clip", bound=3.0)
FILES = tuple(
    rule_bytes(rule)
    for rule in (
        whole_rule(),
        toy_rule("ABCD_eta_neuron", initial=InitialSpec("evolved", 1.0)),
        toy_rule("AD", update=LIVELY),
        toy_rule("ABCD_eta_E_outside", update=update_spec(normalisation="max")),
        toy_rule("static", hidden=()),
    )
)


@cache
def taken_apart(i: int):
    """Return document, tensors, outer header and body of a file; not to be changed."""
    data = FILES[i]
    length = int.from_bytes(data[:8], "little")
    return *unpack(data), json.loads(data[8 : 8 + length]), data[8 + length :]


def some_parts(rng):
    """Return document and tensors of one of the files, free to be changed."""
    document, tensors, *_ = taken_apart(rng.integers(len(FILES)))
    return copy.deepcopy(document), dict(tensors)


def some_file(rng) -> bytes:
    return FILES[rng.integers(len(FILES))]


def one_of(rng, choices):
    return choices[rng.integers(len(choices))]


# --- how it is spoiled: a generator in, bytes out ---

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


def truncated(rng):
    data = some_file(rng)
    return data[: rng.integers(len(data))]


def another_length(rng):
    data = some_file(rng)
    low = rng.integers(2) == 0
    length = int(rng.integers(len(data) + 40)) if low else one_of(rng, LENGTHS)
    return length.to_bytes(8, "little") + data[8:]


def flipped(rng):
    data = bytearray(some_file(rng))
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data)


def flipped_header(rng):
    data = bytearray(some_file(rng))
    header = int.from_bytes(data[:8], "little")
    for place in rng.integers(8 + header, size=rng.integers(1, 4)):
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def spliced(rng):
    data, other = some_file(rng), some_file(rng)
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
            return data[:a] + other[c:]  # begun as one, ended as another


def doubled_key(rng):
    """A key that stands twice, somewhere in the document or in the outer header."""
    i = rng.integers(len(FILES))
    document, tensors, outer, body = taken_apart(i)
    inner = rng.integers(2) == 0
    text = json.dumps(document if inner else outer)
    keys = list(re.finditer(r'(?<=[{ ])"([\w.]+)": ', text))
    key = one_of(rng, keys)
    value = json.dumps(one_of(rng, NASTY)) if rng.integers(2) else "1"
    text = f"{text[: key.start()]}{key.group()}{value}, {text[key.start() :]}"
    return pack(text, tensors) if inner else frame(text.encode(), body)


def another_dtype(rng):
    i = rng.integers(len(FILES) - 1)  # the last has no tensors
    *_, outer, body = copy.deepcopy(taken_apart(i))
    tensor = one_of(rng, [name for name in outer if name != "__metadata__"])
    outer[tensor]["dtype"] = one_of(rng, [*DTYPES, *NASTY])
    return frame(json.dumps(outer).encode(), body)


def converted(rng):
    """A tensor that is stored, correctly, as another type or in another shape."""
    document, tensors = some_parts(rng)
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


def another_shape(rng):
    """Shapes and offsets that lie."""
    i = rng.integers(len(FILES) - 1)
    *_, outer, body = copy.deepcopy(taken_apart(i))
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


def not_finite(rng):
    document, tensors = taken_apart(rng.integers(len(FILES) - 1))[:2]
    name = one_of(rng, list(tensors))
    tensor = tensors[name].copy()
    tensor.flat[rng.integers(tensor.size)] = one_of(rng, [np.nan, np.inf, -np.inf])
    return pack(document, {**tensors, name: tensor})


def extreme(rng):
    """Finite numbers at the ends of float32."""
    document, tensors = some_parts(rng)
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
    """Spoil one to three places of a JSON document."""
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


def another_document(rng):
    document, tensors = some_parts(rng)
    change_json(rng, document)
    return pack(document, tensors)


def measured_fields(rng):
    """Spoil what was measured: envelope, static twin, golden vectors."""
    document, tensors, *_ = copy.deepcopy(taken_apart(0))
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


def another_header(rng):
    *_, outer, body = copy.deepcopy(taken_apart(rng.integers(len(FILES))))
    change_json(rng, outer)
    return frame(json.dumps(outer).encode(), body)


def mixed(rng):
    """The document of one file with tensors of others under any names."""
    document, tensors = some_parts(rng)
    for name, tensor in some_parts(rng)[1].items():
        if rng.integers(2):
            stem = one_of(
                rng, ["layer0", "layer1", "layer9", "neurons0", "neurons9", "golden", "x"]
            )
            tensors[one_of(rng, [name, f"{stem}.A", f"{stem}.static", f"{stem}.\n", stem])] = tensor
    return pack(document, tensors)


def deep(rng):
    """Brackets within brackets, anywhere in the document or around it."""
    i = rng.integers(len(FILES))
    document, tensors, outer, body = taken_apart(i)
    depth = int(one_of(rng, [rng.integers(1, 60), rng.integers(700, 1100), rng.integers(100_000)]))
    start, end = one_of(rng, [("[", "]"), ('{"a":', "}")])
    nest = start * depth + ("0" if start != "[" else "") + (end * depth if rng.integers(4) else "")
    inner = rng.integers(4) != 0
    text = json.dumps(document if inner else outer)
    value = one_of(rng, list(re.finditer(r'(?<=: )("[^"\\]*"|[\d.]+)(?=[,}])', text)))
    text = text[: value.start()] + nest + text[value.end() :]
    return pack(text, tensors) if inner else frame(text.encode(), body)


def crowded(rng):
    """Very many keys, items or tensors within a header of lawful size."""
    document, tensors = some_parts(rng)
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

# --- what is promised ---

TYPES = (
    *(RuleHeader, UpdateSpec, InitialSpec, Contract, JointContract, Channel, Golden),
    *(Envelope, LayerEnvelope, StaticTwin),
)
assert all(is_dataclass(kind) for kind in TYPES)
FIELDS = {field.name for kind in TYPES for field in fields(kind)}
NAMED = re.compile(
    rf"\b(layer\d*|neurons\d*|computed\d*|golden|tensor|header|bytes|beginning|joint|channel|last layer"
    rf"|first layer|{'|'.join(sorted(FIELDS))})\b|'.+' stands twice|this is a|not an ONNX model|part of the model|operator|input|output|graph|nodes|metadata|functions"
)


@contextmanager
def little_memory():
    """Fail if the process grew, at its highest, by more than is allowed."""
    status = Path("/proc/self/status")

    def kibibytes(field: str) -> int:
        return int(re.search(rf"{field}:\s+(\d+)", status.read_text())[1])

    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    except OSError:
        pytest.skip("the kernel does not let a process watch its own memory")
    before = kibibytes("VmRSS")
    yield
    assert (kibibytes("VmHWM") - before) * 1024 < MEMORY


def run(runtime: Runtime) -> None:
    """Run three ticks; whether numbers this large stay finite is for safety to see."""
    with np.errstate(all="ignore"):
        runtime.reset(np.random.default_rng(0))
        n_in, n_out = (len(runtime.layers[0][0]), len(runtime.layers[-1]))
        for _ in range(3):
            assert runtime.step(np.ones(n_in, dtype=np.float32)).shape == (n_out,)


def rewrite(path: Path, data: bytes) -> None:
    """Put other bytes into a file; making it empty first would wait for the disk each time."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def attempt(path: Path, load=load_rule) -> str:
    """Return why a file is refused, or an empty string after running it; fail at anything else."""
    start = time.process_time()
    try:
        loaded = load(path)
    except RuleFileError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        said = message.removeprefix(f"{path}: ")
        assert said.isprintable(), ascii(said)
        assert len(said) < 400, said
        assert NAMED.search(said), said
        return said
    finally:
        assert time.process_time() - start < SECOND
    if load is load_rule:
        library = safetensors.numpy.load(path.read_bytes())  # nothing loads that it would refuse
        assert sum(tensor.size for tensor in library.values()) == n_numbers(loaded)
        with np.errstate(all="ignore"):
            loaded = NumpyRuntime(loaded)
    run(loaded)
    return ""


def n_numbers(rule: Rule) -> int:
    """Return how many numbers the file of a rule holds."""
    golden = [getattr(rule.golden, field.name) for field in fields(Golden)] if rule.golden else []
    return rule.n_parameters + sum(tensor.size for tensor in (*rule.static, *golden))


def test_the_files_load_before_they_are_spoiled(tmp_path):
    for data in FILES:
        (tmp_path / NAME).write_bytes(data)
        assert attempt(tmp_path / NAME) == ""


@pytest.mark.parametrize("spoil", COUNTS, ids=lambda spoil: spoil.__name__)
def test_a_spoiled_file_runs_or_is_one_line_that_names_what_is_wrong(tmp_path, spoil):
    path = tmp_path / NAME
    path.touch()
    rng = np.random.default_rng(sum(spoil.__name__.encode()))
    outcomes = Counter()
    with little_memory():
        for _ in range(COUNTS[spoil]):
            rewrite(path, spoil(rng))
            outcomes[attempt(path)] += 1
    assert outcomes.total() == COUNTS[spoil]
    assert len(outcomes) > 1
    assert not outcomes[""] or spoil not in NEVER_LOADS
    assert list(tmp_path.iterdir()) == [path]  # nothing is written


def test_they_are_twenty_thousand():
    assert sum(COUNTS.values()) >= 20_000


def test_python_itself_allocates_little_for_a_spoiled_file(tmp_path):
    path = tmp_path / NAME
    path.touch()
    rng = np.random.default_rng(1)
    for spoil in COUNTS:
        for _ in range(4):
            rewrite(path, spoil(rng))
            tracemalloc.start()
            try:
                attempt(path)
                assert tracemalloc.get_traced_memory()[1] < MEMORY
            finally:
                tracemalloc.stop()


# --- files as large as they may be ---

FILL = LAYOUT.max_bytes - 2 * MAX_HEADER_BYTES


def large_tensor():
    document, tensors, *_ = taken_apart(0)
    return pack(document, {**tensors, "layer0.A": np.zeros(FILL // 4, dtype=np.float32)})


def many_objects():
    """As much JSON as may be, of what takes most memory for its length, before large tensors."""
    document, tensors, *_ = copy.deepcopy(taken_apart(0))
    text = json.dumps(document).replace(
        '"by hand"', f"[{'{},' * (MAX_HEADER_BYTES // 3 - 3_000)}0]"
    )
    return pack(text, {**tensors, "layer0.A": np.zeros(FILL // 4, dtype=np.float32)})


def much_metadata():
    *_, outer, body = copy.deepcopy(taken_apart(0))
    outer["__metadata__"] |= {str(k): "" for k in range(MAX_HEADER_BYTES // 16)}
    outer["x"] = {
        "dtype": "F32",
        "shape": [FILL // 4],
        "data_offsets": [len(body), len(body) + FILL],
    }
    return frame(json.dumps(outer).encode(), body + bytes(FILL))


def long_shape():
    """A product of a hundred thousand large numbers."""
    *_, outer, body = copy.deepcopy(taken_apart(0))
    outer["x"] = {"dtype": "F32", "shape": [10**9] * 80_000, "data_offsets": [0, 0]}
    return frame(json.dumps(outer).encode(), body)


def long_number():
    document, tensors, *_ = taken_apart(0)
    return pack(json.dumps(document).replace('"by hand"', "1" * 900_000), tensors)


def many_layers():
    document, tensors, *_ = copy.deepcopy(taken_apart(0))
    document["layer_sizes"] = [6, *[1] * 200_000, 2]
    return pack(document, tensors)


@pytest.mark.parametrize(
    "make",
    [large_tensor, many_objects, much_metadata, long_shape, long_number, many_layers],
    ids=lambda make: make.__name__,
)
def test_a_file_as_large_as_may_be_takes_little_time_and_memory(tmp_path, make):
    path = tmp_path / NAME
    path.write_bytes(make())
    with little_memory():
        assert attempt(path)


def test_the_largest_golden_vectors_load_in_little_memory(tmp_path):
    rule = toy_rule(hidden=(2_000, 80))
    ticks, neurons = 32, sum(rule.header.layer_sizes)
    shapes = [(rule.n_synapses,), (ticks + 1, rule.n_synapses), (ticks + 1, neurons)]
    shapes += [(ticks, 6), (ticks, 2)]
    golden = Golden(*(np.zeros(shape, dtype=np.float32) for shape in shapes))
    path = tmp_path / NAME
    path.write_bytes(rule_bytes(make_rule(rule.header, rule.layers, golden=golden)))
    assert path.stat().st_size > 0.9 * LAYOUT.max_bytes
    del rule, golden
    with little_memory():
        load_rule(path)


@pytest.mark.parametrize("start", ["[", '{"a":'])
def test_no_depth_of_json_breaks_the_loader(tmp_path, start):
    document, tensors, *_ = taken_apart(2)
    path = tmp_path / NAME
    path.touch()
    for depth in range(800, 1_010):  # around Python's own limit
        nest = start * depth + "0" + {"[": "]"}.get(start, "}") * depth
        for field in ('"by hand"', '"Apache-2.0"', '"toy"', "0.125"):
            rewrite(path, pack(json.dumps(document).replace(field, nest), tensors))
            attempt(path)


# --- files that are none ---


def test_a_link_is_the_file_that_it_leads_to(tmp_path):
    (tmp_path / NAME).write_bytes(FILES[0])
    link = tmp_path / f"link.{NAME}"
    link.symlink_to(NAME)
    assert load_rule(link).sha256 == load_rule(tmp_path / NAME).sha256


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"link.{NAME}", "cannot be read"),  # itself
        ("gone", "no such file"),
        (".", "not a file"),
        ("/dev/zero", "not a file"),
        ("/proc/self/mem", "cannot be read"),
        ("/etc/passwd", "not a rule file"),
    ],
)
def test_a_link_to_something_else_is_one_clear_error(tmp_path, target, said):
    link = tmp_path / f"link.{NAME}"
    link.symlink_to(target)
    with little_memory(), pytest.raises(RuleFileError, match=said) as caught:
        load_rule(link)
    assert str(caught.value).startswith(f"{link}: ")
    assert "\n" not in str(caught.value)


def test_only_the_named_file_is_opened_whatever_it_says(tmp_path):
    """Names of other files, wherever a text may stand, are texts."""
    secret = tmp_path / "secret"
    secret.write_bytes(FILES[0])
    opened = []
    sys.addaudithook(
        lambda event, args: opened.append(args[0]) if event == "open" and listening else None
    )
    listening = False
    path = tmp_path / NAME
    for i in range(len(FILES)):
        document, tensors, *_ = copy.deepcopy(taken_apart(i))
        document["license"] = document["contract"]["robot"] = str(secret)
        document["contract"]["joints"][0]["name"] = f"../{secret.name}"
        document["provenance"] = {"file": str(secret), "location": str(secret)}
        path.write_bytes(pack(document, tensors))
        listening = True
        run(NumpyRuntime(load_rule(path)))
        listening = False
    assert {Path(name) for name in opened if isinstance(name, str)} == {path}


# --- ONNX models ---

MODELS = 2_400


def spoiled_model(rng, data: bytes) -> bytes:
    """Return a model with some bytes flipped, cut off, put in or put elsewhere."""
    a, b = sorted(int(place) for place in rng.integers(len(data) + 1, size=2))
    match rng.integers(4):
        case 0:
            return data[:a]
        case 1:
            spoiled = bytearray(data)
            for place in rng.integers(len(data), size=rng.integers(1, 5)):
                spoiled[place] ^= int(rng.integers(1, 256))
            return bytes(spoiled)
        case 2:
            return data[:a] + rng.bytes(int(rng.integers(1, 33))) + data[a:]
        case _:
            return data[:a] + data[b:] if rng.integers(2) else data[:b] + data[a:]


@pytest.fixture(scope="module")
def load_model():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from hebb_controller.runtime.onnx_runtime import load_onnx

    return load_onnx


@pytest.fixture(scope="module")
def models(load_model):
    from hebb_controller.onnx_export import export_onnx

    return [
        export_onnx(toy_rule("AD", update=LIVELY)),
        export_onnx(toy_rule("ABCD_eta", initial=InitialSpec("evolved", 1.0))),
    ]


def test_a_spoiled_model_runs_or_is_one_line_that_names_what_is_wrong(tmp_path, models, load_model):
    path = tmp_path / "any.onnx"
    path.write_bytes(models[0])
    assert attempt(path, load_model) == ""  # and loads the libraries
    rng = np.random.default_rng(2)
    outcomes = Counter()
    with little_memory():
        for _ in range(MODELS):
            rewrite(path, spoiled_model(rng, one_of(rng, models)))
            outcomes[attempt(path, load_model)] += 1
    assert outcomes.total() == MODELS >= 2_000
    assert len(outcomes) > 20
    assert outcomes[""]  # another coefficient


def with_external_data(model, directory):
    """A tensor whose numbers lie in another file, which is there."""
    tensor = model.graph.initializer[0]
    (directory / "secret").write_bytes(tensor.raw_data)
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="secret")
    tensor.ClearField("raw_data")
    return "secret|external|another file|lies"


def with_a_custom_operator(model, directory):
    model.graph.node[0].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    return "com.example"


def with_an_unlisted_operator(model, directory):
    model.graph.node[0].op_type = "Loop"
    return "Loop"


def with_a_function(model, directory):
    model.functions.add(name="f", domain="com.example")
    return "functions"


def with_training(model, directory):
    model.training_info.add()
    return "training"


def with_a_sparse_tensor(model, directory):
    model.graph.sparse_initializer.add()
    return "graph"


def with_nan(model, directory):
    tensor = model.graph.initializer[0]
    tensor.raw_data = np.full(len(tensor.raw_data) // 4, np.nan, dtype="<f4").tobytes()
    return "NaN|graph"


def with_huge_dimensions(model, directory):
    model.graph.initializer[0].dims[:] = [2**62, 2**62]
    return "asks for|graph"


def with_two_headers(model, directory):
    model.metadata_props.add(key="hebb_rule", value="{}")
    return "hebb_rule"


@pytest.mark.parametrize(
    "spoil",
    [
        *(with_external_data, with_a_custom_operator, with_an_unlisted_operator, with_a_function),
        *(with_training, with_a_sparse_tensor, with_nan, with_huge_dimensions, with_two_headers),
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_hostile_model_is_refused_by_name(tmp_path, models, load_model, spoil):
    import onnx

    model = onnx.ModelProto.FromString(models[0])
    said = spoil(model, tmp_path)
    path = tmp_path / "any.onnx"
    path.write_bytes(model.SerializeToString())
    with little_memory():
        message = attempt(path, load_model)
    assert re.search(said, message), message
