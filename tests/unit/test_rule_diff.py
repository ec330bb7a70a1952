"""What differs between two rules is said: the contract first, then the header, then numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rule_bytes import pack, rule_bytes, unpack
from toys import CHANNELS, toy_rule, update_spec

from hebb_controller.rule import Golden, StaticTwin, make_rule
from hebb_controller.rule_diff import FieldDifference, compare

RULE = toy_rule()


def with_contract(rule, **fields):
    return replace(
        rule, header=replace(rule.header, contract=replace(rule.header.contract, **fields))
    )


def with_layers(change):
    layers = [{name: tensor.copy() for name, tensor in layer.items()} for layer in RULE.layers]
    change(layers)
    return make_rule(RULE.header, layers)


def test_a_rule_equals_itself_however_it_was_made():
    assert compare(RULE, toy_rule()).equal
    neuron = make_neuron_rule()
    assert compare(neuron, neuron).equal


def make_neuron_rule():
    sizes = RULE.header.layer_sizes
    header = replace(RULE.header, kind="ABCD_eta_neuron")
    parts = [{name: np.ones(n, np.float32) for name in ("A", "B", "C", "D", "eta")} for n in sizes]
    return make_rule(header, [{}] * (len(sizes) - 1), neurons=parts)


def test_a_joint_is_named_and_the_contract_comes_apart_from_the_rest():
    joints = RULE.header.contract.joints
    stiffer = with_contract(RULE, joints=(joints[0], replace(joints[1], kp=20.0)))
    stiffer = replace(stiffer, header=replace(stiffer.header, update=update_spec(interval=4)))
    found = compare(RULE, stiffer)
    assert found.contract == (FieldDifference("contract.joints[hip].kp", 16.0, 20.0),)
    assert found.header == (FieldDifference("update.interval", 1, 4),)
    assert not found.tensors


def test_joints_in_another_order_differ_by_their_order_only():
    joints = RULE.header.contract.joints
    found = compare(RULE, with_contract(RULE, joints=joints[::-1]))
    assert found.contract == (FieldDifference("contract.joints", ["knee", "hip"], ["hip", "knee"]),)


def test_a_channel_that_only_one_rule_has_is_shown_with_its_fields():
    found = compare(RULE, with_contract(RULE, channels=CHANNELS[:2]))
    assert [(item.field, item.b) for item in found.contract] == [
        ("contract.channels", ["joint_position", "tracking_error"]),
        ("contract.channels[clock].scale", None),
        ("contract.channels[clock].clip", None),
    ]


def test_provenance_is_compared_value_by_value():
    other = replace(RULE, header=replace(RULE.header, provenance={"made": "later", "seeds": [1]}))
    assert compare(RULE, other).header == (
        FieldDifference("provenance.made", "by hand", "later"),
        FieldDifference("provenance.seeds", [1, 2], [1]),
    )


def test_steps_of_one_name_are_told_apart_and_a_truth_is_no_number():
    def made(last, flag):
        steps = [{"name": "train", "seed": 1}, {"name": "train", "seed": last}]
        return replace(RULE, header=replace(RULE.header, provenance={"steps": steps, "b": flag}))

    assert compare(made(2, True), made(9, 1)).header == (
        FieldDifference("provenance.steps[1].seed", 2, 9),
        FieldDifference("provenance.b", True, 1),
    )


def test_numbers_are_compared_by_hand():
    def change(layers):
        layers[0]["A"] = -layers[0]["A"]
        layers[1]["eta"][0, 0] += 1.0

    negated, moved = compare(RULE, with_layers(change)).tensors
    size = RULE.layers[0]["A"].shape
    assert (negated.name, negated.shape_a, negated.shape_b) == ("layer0.A", size, size)
    assert negated.max_abs == 2 * float(np.abs(RULE.layers[0]["A"]).max())
    assert negated.relative == pytest.approx(2.0)
    assert negated.correlation == pytest.approx(-1.0)
    assert moved.name == "layer1.eta"
    assert moved.max_abs == pytest.approx(1.0)
    a = RULE.layers[1]["eta"].ravel().astype(float)
    b = a.copy()
    b[0] += 1.0
    assert moved.relative == pytest.approx(1.0 / np.sqrt((a * a).sum()))
    assert moved.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_what_means_nothing_is_none():
    zero = with_layers(lambda layers: layers[0]["B"].fill(0.0))
    one = with_layers(lambda layers: layers[0]["B"].fill(1.0))
    (found,) = compare(zero, one).tensors
    assert (found.max_abs, found.relative, found.correlation) == (1.0, None, None)


def test_the_sign_of_a_zero_is_a_difference():
    plus = with_layers(lambda layers: layers[0]["B"].fill(0.0))
    minus = with_layers(lambda layers: layers[0]["B"].fill(-0.0))
    assert not compare(plus, minus).equal


def test_twin_and_golden_vectors_that_only_one_rule_has_are_named():
    sizes, synapses = RULE.header.layer_sizes, RULE.n_synapses
    shapes = {
        "initial": (synapses,),
        "weights": (2, synapses),
        "trace": (2, sum(sizes)),
        "observation": (1, sizes[0]),
        "action": (1, sizes[-1]),
    }
    more = make_rule(
        replace(RULE.header, static_twin=StaticTwin(5, 10.0, 0.5, 0.25)),
        RULE.layers,
        static=[layer["A"] for layer in RULE.layers],
        golden=Golden(**{name: np.zeros(shape, np.float32) for name, shape in shapes.items()}),
    )
    found = compare(RULE, more)
    assert FieldDifference("static_twin.speed", None, 0.5) in found.header
    names = {"layer0.static", "layer1.static", *(f"golden.{name}" for name in shapes)}
    assert {tensor.name for tensor in found.tensors} == names
    assert {tensor.shape_a for tensor in found.tensors} == {None}


# The command


@pytest.fixture
def files(tmp_path):
    """Return two rule files that differ in a gain, a field and a tensor."""
    a, b = tmp_path / "a.rule.safetensors", tmp_path / "b.rule.safetensors"
    a.write_bytes(rule_bytes(RULE))
    document, tensors = unpack(a.read_bytes())
    document["contract"]["joints"][0]["kd"] = 2.0
    document["license"] = "MIT"
    tensors["layer0.A"] += 1
    b.write_bytes(pack(document, tensors))
    return a, b


def test_equal_files_print_nothing_and_exit_0(hebb, files):
    assert hebb("diff", files[0], files[0]) == (0, "", "")


def test_different_files_print_the_contract_first_and_exit_1(hebb, files):
    code, output, errors = hebb("diff", *files)
    assert (code, errors) == (1, "")
    lines = output.splitlines()
    assert lines[:4] == [
        "contract:",
        "  contract.joints[knee].kd: 1.0 → 2.0",
        "header:",
        "  license: Apache-2.0 → MIT",
    ]
    assert [line.split()[0] for line in lines[4:]] == ["tensors:", "layer0.A"]


def test_diff_speaks_json(hebb, files):
    code, output, _ = hebb("diff", *files, "--json")
    report = json.loads(output)
    assert code == 1
    assert set(report) == {"equal", "a", "b", "contract", "header", "tensors"}
    assert report["equal"] is False
    assert report["contract"] == [{"field": "contract.joints[knee].kd", "a": 1.0, "b": 2.0}]
    assert json.loads(hebb("diff", files[1], files[1], "--json")[1])["equal"] is True


def test_bad_input_is_exit_code_2(hebb, files):
    files[1].write_bytes(b"")
    code, output, errors = hebb("diff", *files)
    assert (code, output) == (2, "")
    assert errors.count("\n") == 1
