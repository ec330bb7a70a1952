"""The JSON in a rule file: whatever is missing, unknown or makes no sense is refused by name."""

import copy
import json

import pytest
from rule_bytes import frame, pack, rule_bytes, unpack
from toys import toy_rule

from hebb_controller.json_fields import MAX_DEPTH

KEPT = rule_bytes(toy_rule())


def test_json_that_is_broken_is_refused(refuse, parts):
    assert "not valid JSON" in refuse(pack("{", parts[1]))
    assert "not valid JSON" in refuse(frame(b'{"__metadata__": '))


def test_json_nested_deeply_is_refused_however_deep(refuse, parts):
    document, tensors = parts
    # Around Python's limit of 1,000 some depths can be parsed and no longer be shown.
    for depth in (10, MAX_DEPTH, MAX_DEPTH + 1, 500, *range(930, 1000, 4), 5_000, 100_000):
        nested = "[" * depth + "]" * depth
        text = json.dumps(document).replace('"Apache-2.0"', nested)
        told = refuse(pack(text, tensors))
        if depth <= MAX_DEPTH:
            assert "license" in told
        elif depth < 930:
            assert f"header nests more than {MAX_DEPTH} deep" in told
        refuse(frame(b'{"__metadata__": ' + nested.encode() + b"}"))


def test_a_key_that_stands_twice_is_refused_by_name(refuse, parts):
    document, tensors = parts
    text = json.dumps(document)
    twice = text.replace('"tick_period": 0.125', '"tick_period": 0.125, "tick_period": 0.02')
    assert twice != text
    assert "duplicate key 'tick_period'" in refuse(pack(twice, tensors))
    inner = text.replace('"interval": 1', '"interval": 1, "interval": 1')
    assert inner != text
    assert "duplicate key 'interval'" in refuse(pack(inner, tensors))


def test_a_tensor_that_stands_twice_is_refused_by_name(refuse):
    length = int.from_bytes(KEPT[:8], "little")
    header = KEPT[8 : 8 + length].decode().rstrip()
    first = json.loads(header)["layer0.A"]
    doubled = header[:-1] + f', "layer0.A": {json.dumps(first)}}}'
    assert "duplicate key 'layer0.A'" in refuse(frame(doubled.encode(), KEPT[8 + length :]))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(refuse, parts, number):
    text = json.dumps(parts[0]).replace('"tick_period": 0.125', f'"tick_period": {number}')
    assert f"{number} is not a number" in refuse(pack(text, parts[1]))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + 400 * "0" + ".0"])
def test_a_number_beyond_those_of_the_processor_is_refused_wherever_it_is(refuse, parts, number):
    text = json.dumps(parts[0]).replace('"provenance": {', f'"provenance": {{"by": {number}, ')
    assert f"{number[:40]} is too large for a number" in refuse(pack(text, parts[1]))


def test_half_of_a_surrogate_pair_is_no_text(refuse, parts):
    text = json.dumps(parts[0]).replace('"provenance": {', '"provenance": {"by": "\\ud800", ')
    assert '"\\ud800"' in text
    assert "provenance contains invalid Unicode" in refuse(pack(text, parts[1]))


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
    (("layer_sizes",), [6, 4, 2], "layer0.A has shape (5, 6), the layer sizes require (4, 6)"),
    (("update", "interval"), 0, "update.interval is 0"),
    (("update", "interval"), 2**63, "it must be in [1, 1000000]"),
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
    (("contract", "joints", 0, "lower"), 2.0, "joint 'knee': lower must be below upper"),
    (("contract", "joints", 0, "torque"), 0.0, "joint 'knee': lower must be below upper"),
    (("contract", "joints", 0, "max_target_rate"), -1.0, "joint 'knee': lower must be below upper"),
    (("contract", "joints"), [], "for 0 joints"),
]


def test_every_senseless_value_is_refused_by_name(refuse, parts):
    for path, value, words in SENSELESS:
        document, tensors = copy.deepcopy(parts)
        holder(document, path)[path[-1]] = value
        assert words in refuse(pack(document, tensors))


def test_a_small_file_cannot_ask_for_a_huge_network(refuse, parts):
    document, _ = parts
    document["kind"] = "static"
    document["layer_sizes"] = [6, 65_536, 65_536, 2]
    assert "synapses; the maximum is" in refuse(pack(document, {}))
