"""The rule file: what was saved is loaded, and every bad file is one clear error."""

import copy
import hashlib
import io
import json
import math
import os
import pickle
import resource
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from rule_bytes import frame, pack, rule_bytes, unpack
from toys import toy_rule, update_spec

from hebb_controller import rule_file
from hebb_controller.errors import HebbError, RuleFileError
from hebb_controller.network import InitialSpec
from hebb_controller.plasticity import RULE_KINDS
from hebb_controller.rule import make_rule
from hebb_controller.rule_file import load_rule, save_rule

NAME = "toy.rule.safetensors"
KEPT = rule_bytes(toy_rule())


@pytest.fixture
def parts():
    """Return the document and the tensors of a valid file, free to be changed."""
    return unpack(KEPT)


@pytest.fixture(scope="module")
def refuse(tmp_path_factory):
    """Return a function that checks that bytes are refused, and returns the message."""
    path = tmp_path_factory.mktemp("refused") / NAME

    def check(data: bytes, kind: type[HebbError] = RuleFileError) -> str:
        path.write_bytes(data)
        with pytest.raises(HebbError) as caught:
            load_rule(path)
        assert type(caught.value) is kind
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert len(message) < len(str(path)) + 400
        return message

    return check


def same(one, other):
    assert one.header == other.header
    assert len(one.layers) == len(other.layers)
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].tobytes() == b[name].tobytes()
            assert a[name].shape == b[name].shape


# --- what is right ---


@pytest.mark.parametrize("kind", RULE_KINDS)
@pytest.mark.parametrize("distribution", ["uniform", "evolved"])
def test_what_was_saved_is_loaded_bit_for_bit(tmp_path, kind, distribution):
    rule = toy_rule(
        kind,
        update=update_spec(trace_window=10.0, decay=0.04, normalisation="clip", bound=3.0),
        initial=InitialSpec(distribution, 0.1),
        hidden=(4, 3),
    )
    path = tmp_path / NAME
    save_rule(rule, path)
    loaded = load_rule(path)
    same(loaded, rule)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [path]  # nothing is left beside it


def test_a_loaded_rule_can_be_saved_again(tmp_path):
    first, second = tmp_path / NAME, tmp_path / f"again.{NAME}"
    save_rule(toy_rule(), first)
    save_rule(load_rule(first), second)
    same(load_rule(first), load_rule(second))


def test_the_file_is_what_the_format_says(parts):
    document, tensors = parts
    assert set(document) == {
        *("format_version", "kind", "layer_sizes", "update", "initial", "tick_period"),
        *("contract", "provenance", "license"),
    }
    assert document["format_version"] == 1
    assert document["layer_sizes"] == [6, 5, 2]
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        f"layer{k}.{name}": shape
        for k, shape in enumerate([(5, 6), (2, 5)])
        for name in ("A", "B", "C", "D", "eta")
    }


def test_a_file_put_together_by_hand_loads(tmp_path, parts):
    (tmp_path / NAME).write_bytes(pack(*parts))
    same(load_rule(tmp_path / NAME), toy_rule())


def test_sizes_are_counted():
    rule = toy_rule()  # 6-5-2, five tensors
    assert rule.n_synapses == 6 * 5 + 5 * 2
    assert rule.n_parameters == 5 * (6 * 5 + 5 * 2)


def test_a_rule_owns_its_tensors_and_nobody_can_change_them():
    document = toy_rule()
    layers = [{name: t.copy() for name, t in layer.items()} for layer in document.layers]
    rule = make_rule(document.header, layers)
    kept = rule.layers[0]["A"].copy()
    layers[0]["A"][:] = 9.0
    assert rule.layers[0]["A"].tobytes() == kept.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        rule.layers[0]["A"][:] = 0.0
    with pytest.raises(TypeError):
        rule.layers[0]["A"] = kept


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / NAME
    save_rule(toy_rule(seed=1), path)
    save_rule(toy_rule(seed=2), path)
    same(load_rule(path), toy_rule(seed=2))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["rule.safetensors", "a.rule", "a.pt"])
def test_another_name_is_refused_when_saving(tmp_path, name):
    with pytest.raises(RuleFileError, match=r"ends in \.rule\.safetensors"):
        save_rule(toy_rule(), tmp_path / name)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "nowhere" / NAME, tmp_path / "file" / NAME):
        with pytest.raises(RuleFileError, match="there is no directory"):
            save_rule(toy_rule(), place)


# --- what is no rule file at all ---


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RuleFileError, match=r"gone\.rule\.safetensors: no such file"):
        load_rule(tmp_path / "gone.rule.safetensors")


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(RuleFileError, match="not a file"):
        load_rule(tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_called_a_pickle_and_not_run(refuse, tmp_path, protocol):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    for payload in (Trap(), {"A": np.ones(3)}):
        assert "pickle" in refuse(pickle.dumps(payload, protocol))
    assert not (tmp_path / "sprung").exists()


def test_a_zip_archive_is_called_one(refuse):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    assert "zip archive" in refuse(buffer.getvalue())


def test_a_numpy_file_is_called_one(refuse):
    buffer = io.BytesIO()
    np.save(buffer, np.ones(4))
    assert "numpy array" in refuse(buffer.getvalue())


@pytest.mark.parametrize("data", [b"", b"\0", b"\0" * 8, b"\0" * 100, b"\xff" * 100, b"name: a1\n"])
def test_bytes_that_mean_nothing_are_refused(refuse, data):
    refuse(data)


def test_a_safetensors_file_of_somebody_else_is_told_from_a_rule(refuse, parts):
    assert "without a 'hebb_rule' header" in refuse(pack(None, parts[1]))


@pytest.mark.parametrize("length", [2**20 + 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_header_length_from_another_world_is_refused(refuse, length):
    refuse(length.to_bytes(8, "little") + KEPT[8:])


@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 100])
def test_a_header_length_that_is_too_short_is_refused(refuse, length):
    refuse(length.to_bytes(8, "little") + KEPT[8:])


def test_a_header_longer_than_the_file_is_called_truncated(refuse):
    assert "truncated" in refuse(len(KEPT).to_bytes(8, "little") + KEPT[8:])


def test_a_file_cut_at_any_length_is_refused(refuse):
    header = 8 + int.from_bytes(KEPT[:8], "little")
    lengths = {*range(40), *range(40, len(KEPT), 97), *range(header - 9, header + 9)}
    for length in sorted({*lengths, *range(len(KEPT) - 9, len(KEPT))}):
        refuse(KEPT[:length])


def test_bytes_behind_the_end_are_refused(refuse):
    refuse(KEPT + b"\0")


def test_a_file_above_the_cap_is_refused_without_being_read_whole(tmp_path):
    path = tmp_path / NAME
    with path.open("wb") as file:
        file.write(KEPT)
        file.truncate(8 * 2**30)  # a sparse file of 8 GiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RuleFileError, match="larger than 29360128 bytes"):
        load_rule(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 4 * rule_file.LAYOUT.max_bytes / 1024


# --- the JSON ---


def test_json_that_is_broken_is_refused(refuse, parts):
    assert "not readable as JSON" in refuse(pack("{", parts[1]))
    assert "not readable as JSON" in refuse(frame(b'{"__metadata__": '))


def test_json_nested_deeply_is_refused_however_deep(refuse, parts):
    document, tensors = parts
    # Around Python's limit of 1,000 some depths can be parsed and no longer be shown.
    for depth in (10, 500, *range(930, 1000, 4), 5_000, 100_000):
        nested = "[" * depth + "]" * depth
        text = json.dumps(document).replace('"Apache-2.0"', nested)
        assert "license" in refuse(pack(text, tensors)) or depth > 930
        refuse(frame(b'{"__metadata__": ' + nested.encode() + b"}"))


def test_a_key_that_stands_twice_is_refused_by_name(refuse, parts):
    document, tensors = parts
    text = json.dumps(document)
    twice = text.replace('"tick_period": 0.125', '"tick_period": 0.125, "tick_period": 0.02')
    assert twice != text
    assert "'tick_period' stands twice" in refuse(pack(twice, tensors))
    inner = text.replace('"interval": 1', '"interval": 1, "interval": 1')
    assert inner != text
    assert "'interval' stands twice" in refuse(pack(inner, tensors))


def test_a_tensor_that_stands_twice_is_refused_by_name(refuse):
    length = int.from_bytes(KEPT[:8], "little")
    header = KEPT[8 : 8 + length].decode().rstrip()
    first = json.loads(header)["layer0.A"]
    doubled = header[:-1] + f', "layer0.A": {json.dumps(first)}}}'
    assert "'layer0.A' stands twice" in refuse(frame(doubled.encode(), KEPT[8 + length :]))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(refuse, parts, number):
    text = json.dumps(parts[0]).replace('"tick_period": 0.125', f'"tick_period": {number}')
    assert f"{number} is not a number" in refuse(pack(text, parts[1]))


def fields(node, path=()):
    """Yield the path of every field of the document, without what is free to choose."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if path == () and key == "provenance":
            yield (key,)
            continue
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from fields(value, (*path, key))


ALL = list(fields(unpack(KEPT)[0]))
OBJECT_FIELDS = [path for path in ALL if isinstance(path[-1], str)]


def holder(document, path):
    for key in path[:-1]:
        document = document[key]
    return document


def test_every_missing_field_is_named(refuse, parts):
    assert len(OBJECT_FIELDS) > 40
    for path in OBJECT_FIELDS:
        document, tensors = copy.deepcopy(parts)
        del holder(document, path)[path[-1]]
        assert f"'{path[-1]}' is missing" in refuse(pack(document, tensors)), path


@pytest.mark.parametrize("value", [None, True, [], "?", {"a": 1}, 1.5], ids=repr)
def test_every_field_of_another_type_is_refused_by_name(refuse, parts, value):
    for path in ALL:
        document, tensors = copy.deepcopy(parts)
        old = holder(document, path)[path[-1]]
        if type(value) is type(old) and not isinstance(old, list):
            continue  # a value, not a type
        holder(document, path)[path[-1]] = value
        message = refuse(pack(document, tensors))
        name = next(str(key) for key in reversed(path) if isinstance(key, str))
        assert name in message, path


@pytest.mark.parametrize("path", [(), ("update",), ("initial",), ("contract",)], ids=str)
def test_an_unknown_field_is_refused_by_name(refuse, parts, path):
    document, tensors = parts
    holder(document, (*path, "new"))["new"] = 1
    assert "unknown field 'new'. Known: " in refuse(pack(document, tensors))


def test_a_field_name_with_line_breaks_stays_in_one_line(refuse, parts):
    document, tensors = parts
    document["a\nb" * 1000] = 1
    refuse(pack(document, tensors))


@pytest.mark.parametrize("text", ["a\nb", "\ud800", "x" * 201, "\x1b[2J"], ids=ascii)
@pytest.mark.parametrize("path", [("kind",), ("license",), ("contract", "robot")], ids=str)
def test_a_name_that_cannot_stand_in_a_log_is_refused(refuse, parts, path, text):
    document, tensors = parts
    holder(document, path)[path[-1]] = text
    assert "must be printable" in refuse(pack(document, tensors))


NUMBERS = [path for path in ALL if isinstance(holder(unpack(KEPT)[0], path)[path[-1]], float)]


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e300, 2e9], ids=lambda v: str(v)[:6])
def test_every_number_too_large_to_compute_with_is_refused_by_name(refuse, parts, value):
    assert len(NUMBERS) > 20
    for path in NUMBERS:
        document, tensors = copy.deepcopy(parts)
        holder(document, path)[path[-1]] = value
        assert path[-1] in refuse(pack(document, tensors)), path


SENSELESS = [
    (("format_version",), 2, "format_version is 2; this release reads 1"),
    (("format_version",), 0, "format_version is 0"),
    (("kind",), "XYZ", "kind 'XYZ' is unknown. Known: static, A,"),
    (("tick_period",), 0.0, "tick_period is 0.0"),
    (("tick_period",), -0.02, "tick_period"),
    (("tick_period",), 2.0, "tick_period"),
    (("layer_sizes",), [6], "2 to 32 layers"),
    (("layer_sizes",), [], "2 to 32 layers"),
    (("layer_sizes",), [6, 0, 2], "each of 1 to 65536 neurons"),
    (("layer_sizes",), [6, -5, 2], "each of 1 to 65536 neurons"),
    (("layer_sizes",), [6, 10**30, 2], "each of 1 to 65536 neurons"),
    (("layer_sizes",), [6, 5, 3], "the last layer has 3 neurons for 2 joints"),
    (("layer_sizes",), [7, 5, 2], "the first layer has 7 neurons, the channels make 6"),
    (("layer_sizes",), [6, 2], "tensor 'layer1.A' is unknown"),
    (("layer_sizes",), [6, 5, 5, 2], "layer1.A has shape"),
    (("layer_sizes",), [6, 4, 2], "layer0.A has shape (5, 6), the layer sizes ask for (4, 6)"),
    (("update", "interval"), 0, "update.interval is 0"),
    (("update", "trace_window"), 0.5, "update.trace_window is 0.5"),
    (("update", "decay"), -0.1, "update.decay"),
    (("update", "decay"), 1.1, "update.decay"),
    (("update", "normalisation"), "l2", "normalisation 'l2' is unknown. Known: none, max,"),
    (("update", "bound"), 0.0, "update.bound is 0.0"),
    (("initial", "distribution"), "zeros", "distribution 'zeros' is unknown"),
    (("initial", "scale"), 0.0, "initial.scale is 0.0"),
    (("contract", "actuator"), "magic", "actuator 'magic' is unknown. Known: pd"),
    (("contract", "latency_ticks"), 1, "latency_ticks is 1"),
    (("contract", "velocity_cutoff"), 0.0, "contract.velocity_cutoff is 0; it must be positive"),
    (("contract", "velocity_cutoff"), None, "velocity_cutoff must be a number, found 'None'"),
    (("contract", "channels", 0, "name"), "smell", "channel 'smell' is unknown. Known: gravity"),
    (("contract", "channels", 0, "name"), "clock", "'clock' is listed twice"),
    (("contract", "channels", 0, "clip"), 0.0, "clip must be positive"),
    (("contract", "joints", 0, "name"), "hip", "joints: a name is listed twice"),
    (("contract", "joints", 0, "lower"), 2.0, "joint 'knee': a limit is empty"),
    (("contract", "joints", 0, "torque"), 0.0, "joint 'knee': a limit is empty"),
    (("contract", "joints", 0, "max_target_rate"), -1.0, "joint 'knee': a limit is empty"),
    (("contract", "joints"), [], "for 0 joints"),
]


def test_the_cutoff_of_estimated_velocities_is_kept_and_absent_where_there_is_none(tmp_path):
    rule = toy_rule()
    assert "velocity_cutoff" not in unpack(rule_bytes(rule))[0]["contract"]
    contract = replace(rule.header.contract, velocity_cutoff=8.0)
    save_rule(replace(rule, header=replace(rule.header, contract=contract)), tmp_path / NAME)
    assert load_rule(tmp_path / NAME).header.contract == contract


def test_every_senseless_value_is_refused_by_name(refuse, parts):
    for path, value, words in SENSELESS:
        document, tensors = copy.deepcopy(parts)
        holder(document, path)[path[-1]] = value
        assert words in refuse(pack(document, tensors))


def test_a_small_file_cannot_ask_for_a_huge_network(refuse, parts):
    document, _ = parts
    document["kind"] = "static"
    document["layer_sizes"] = [6, 65_536, 65_536, 2]
    assert "synapses; at most" in refuse(pack(document, {}))


# --- the tensors ---


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["layer0.A", "layer1.eta"])
def test_a_coefficient_that_is_not_finite_is_refused_with_its_place(refuse, parts, name, value):
    document, tensors = parts
    tensors[name][1, 3] = value
    assert f"{name}[1, 3] is {value}" in refuse(pack(document, tensors))


def test_a_coefficient_so_large_that_products_would_overflow_is_refused(refuse, parts):
    document, tensors = parts
    tensors["layer0.B"][2, 0] = 2e9
    assert "layer0.B[2, 0] is 2000000000.0; every coefficient must be" in refuse(
        pack(document, tensors)
    )


@pytest.mark.parametrize("name", ["layer0.A", "layer0.eta", "layer1.D"])
def test_a_missing_tensor_is_named(refuse, parts, name):
    document, tensors = parts
    del tensors[name]
    assert f"{name} is missing; needed are A, B, C, D, eta" in refuse(pack(document, tensors))


def test_a_rule_without_tensors_is_refused(refuse, parts):
    assert "layer0.A is missing" in refuse(pack(parts[0], {}))


def test_an_evolved_start_needs_its_tensor(refuse, parts):
    document, tensors = parts
    document["initial"]["distribution"] = "evolved"
    assert "layer0.initial is missing" in refuse(pack(document, tensors))


@pytest.mark.parametrize(
    "name",
    [
        *("layer0.E", "layer0.initial", "layer0.a", "layer0.", "layer0", "layer0.A.x"),
        *("layer2.A", "layer-1.A", "layer00.A", "layer.A", "layer٠.A", "Layer0.A", "W", ""),
        *("layer" + "9" * 5000 + ".A", "layer0.\n"),
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_an_unknown_tensor_is_refused_by_name(refuse, parts, name):
    document, tensors = parts
    tensors[name] = tensors["layer0.A"]
    message = refuse(pack(document, tensors))
    assert repr(name[:40])[1:-1] in message


@pytest.mark.parametrize("shape", [(6, 5), (30,), (5, 6, 1), (1, 5, 6), (10, 3)])
def test_a_tensor_of_another_shape_is_refused_with_both(refuse, parts, shape):
    document, tensors = parts
    tensors["layer0.B"] = tensors["layer0.B"].reshape(shape)
    assert f"layer0.B has shape {shape}, the layer sizes ask for (5, 6)" in refuse(
        pack(document, tensors)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.bool_])
def test_a_tensor_of_another_type_is_refused(refuse, parts, dtype):
    document, tensors = parts
    tensors["layer1.C"] = tensors["layer1.C"].astype(dtype)
    message = refuse(pack(document, tensors))
    assert "layer1.C is" in message
    assert "must be F32" in message


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "XYZ", "", 3, None])
def test_a_type_that_numpy_does_not_have_is_refused(refuse, parts, dtype):
    tensor = {"dtype": dtype, "shape": [0], "data_offsets": [0, 0]}
    metadata = {"hebb_rule": json.dumps(parts[0])}
    refuse(frame(json.dumps({"__metadata__": metadata, "layer0.A": tensor}).encode()))


@pytest.mark.parametrize("shape", [[2**63, 0], [2**62, 0], [0] * 70, [-1], [1.5], [2**64], [[]]])
def test_a_shape_from_another_world_is_refused(refuse, parts, shape):
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
    metadata = {"hebb_rule": json.dumps(parts[0])}
    refuse(frame(json.dumps({"__metadata__": metadata, "layer0.A": tensor}).encode()))


def test_make_rule_checks_what_load_rule_checks():
    rule = toy_rule()
    layers = [dict(layer) for layer in rule.layers]
    broken = copy.deepcopy(layers)
    broken[0]["A"][0, 0] = math.nan
    with pytest.raises(RuleFileError, match=r"layer0\.A\[0, 0\] is nan"):
        make_rule(rule.header, broken)
    with pytest.raises(RuleFileError, match="1 'layer' groups of tensors"):
        make_rule(rule.header, layers[:1])


@pytest.mark.timeout(5)
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    path = tmp_path / "pipe.rule.safetensors"
    os.mkfifo(path)
    with pytest.raises(RuleFileError, match="not a file"):
        load_rule(path)
