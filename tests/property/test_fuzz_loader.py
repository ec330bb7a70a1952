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
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from rule_bytes import frame, pack, rule_bytes
from spoiled import COUNTS, NEVER_LOADS, one_of, taken_apart
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


# --- what is promised ---

TYPES = (
    *(RuleHeader, UpdateSpec, InitialSpec, Contract, JointContract, Channel, Golden),
    *(Envelope, LayerEnvelope, StaticTwin),
)
assert all(is_dataclass(kind) for kind in TYPES)
FIELDS = {field.name for kind in TYPES for field in fields(kind)}
NAMED = re.compile(
    rf"\b(layer\d*|neurons\d*|computed\d*|golden|tensor|header|bytes|beginning|joint|channel|last layer"
    rf"|first layer|{'|'.join(sorted(FIELDS))})\b|duplicate key '.+'|this is a|not an ONNX model|part of the model|operator|input|output|graph|nodes|metadata|functions"
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
            rewrite(path, spoil(rng, FILES))
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
            rewrite(path, spoil(rng, FILES))
            tracemalloc.start()
            try:
                attempt(path)
                assert tracemalloc.get_traced_memory()[1] < MEMORY
            finally:
                tracemalloc.stop()


# --- files as large as they may be ---

FILL = LAYOUT.max_bytes - 2 * MAX_HEADER_BYTES


def large_tensor():
    document, tensors, *_ = taken_apart(FILES[0])
    return pack(document, {**tensors, "layer0.A": np.zeros(FILL // 4, dtype=np.float32)})


def many_objects():
    """As much JSON as may be, of what takes most memory for its length, before large tensors."""
    document, tensors, *_ = copy.deepcopy(taken_apart(FILES[0]))
    text = json.dumps(document).replace(
        '"by hand"', f"[{'{},' * (MAX_HEADER_BYTES // 3 - 3_000)}0]"
    )
    return pack(text, {**tensors, "layer0.A": np.zeros(FILL // 4, dtype=np.float32)})


def much_metadata():
    *_, outer, body = copy.deepcopy(taken_apart(FILES[0]))
    outer["__metadata__"] |= {str(k): "" for k in range(MAX_HEADER_BYTES // 16)}
    outer["x"] = {
        "dtype": "F32",
        "shape": [FILL // 4],
        "data_offsets": [len(body), len(body) + FILL],
    }
    return frame(json.dumps(outer).encode(), body + bytes(FILL))


def long_shape():
    """A product of a hundred thousand large numbers."""
    *_, outer, body = copy.deepcopy(taken_apart(FILES[0]))
    outer["x"] = {"dtype": "F32", "shape": [10**9] * 80_000, "data_offsets": [0, 0]}
    return frame(json.dumps(outer).encode(), body)


def long_number():
    document, tensors, *_ = taken_apart(FILES[0])
    return pack(json.dumps(document).replace('"by hand"', "1" * 900_000), tensors)


def many_layers():
    document, tensors, *_ = copy.deepcopy(taken_apart(FILES[0]))
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
    document, tensors, *_ = taken_apart(FILES[2])
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
        document, tensors, *_ = copy.deepcopy(taken_apart(FILES[i]))
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
