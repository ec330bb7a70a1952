"""Any bytes in, one of our errors out, or what was put in: rule files, robot specs, damages."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rule_bytes import frame, pack, rule_bytes, unpack
from toys import toy_document, toy_rule, update_spec

from hebb_controller.errors import DamageError, HebbError, RobotSpecError
from hebb_controller.network import InitialSpec
from hebb_controller.plasticity import NORMALISATIONS, RULE_KINDS
from hebb_controller.robot import BODY_PARTS, load_robot, parse_robot
from hebb_controller.rule_file import load_rule, save_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_sim.damage import TABLE, Damage, describe, parse_damages

KEPT = rule_bytes(toy_rule())
A1 = load_robot("a1")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def load(data: bytes):
    """Return the rule in bytes, or None if they are refused in one line; fail at anything else."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "any.rule.safetensors"
        path.write_bytes(data)
        try:
            return load_rule(path)
        except HebbError as error:
            message = str(error)
    assert "\n" not in message
    assert message.startswith(str(path))
    return None


@given(st.binary(max_size=400))
def test_no_bytes_are_a_rule_and_none_break_the_loader(data):
    assert load(data) is None


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_no_bytes_behind_a_true_length_break_the_loader(header, body):
    assert load(frame(header, body)) is None


@given(st.integers(0, len(KEPT) - 1), st.integers(1, 255))
@settings(max_examples=400)
def test_a_rule_with_one_byte_changed_is_refused_or_still_a_whole_rule(place, flip):
    data = bytearray(KEPT)
    data[place] ^= flip
    rule = load(bytes(data))
    if rule is not None:  # another number, or another letter of a free text
        assert all(np.isfinite(t).all() for layer in rule.layers for t in layer.values())
        runtime = NumpyRuntime(rule)
        runtime.reset(np.random.default_rng(0))


@given(st.integers(0, len(KEPT) - 1))
def test_a_rule_cut_anywhere_is_refused(length):
    assert load(KEPT[:length]) is None


@given(st.data())
@settings(max_examples=200)
def test_a_rule_with_any_json_in_any_field_is_refused_or_runs(data):
    document, tensors = unpack(KEPT)
    node = document
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [v for v in (node.values() if isinstance(node, dict) else node) if v]
        inner = [v for v in inner if isinstance(v, (dict, list))]
        if inner:
            node = data.draw(st.sampled_from(inner))
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    node[data.draw(st.sampled_from(keys))] = data.draw(json_values)
    rule = load(pack(document, tensors))
    if rule is not None:
        runtime = NumpyRuntime(rule)
        runtime.reset(np.random.default_rng(0))
        runtime.step(np.zeros(6, dtype=np.float32))


finite = st.floats(-1e9, 1e9)


@given(
    kind=st.sampled_from(list(RULE_KINDS)),
    hidden=st.lists(st.integers(1, 5), max_size=3),
    distribution=st.sampled_from(["uniform", "normal", "evolved"]),
    scale=st.floats(1e-6, 100.0),
    normalisation=st.sampled_from(NORMALISATIONS),
    interval=st.integers(1, 1000),
    window=st.floats(1.0, 1e6),
    decay=st.floats(0.0, 1.0),
    learning_rate=finite,
    period=st.floats(0.001, 1.0),
    seed=st.integers(0, 2**32),
)
def test_every_rule_is_loaded_as_it_was_saved(
    *,
    kind,
    hidden,
    distribution,
    scale,
    normalisation,
    interval,
    window,
    decay,
    learning_rate,
    period,
    seed,
):
    rule = toy_rule(
        kind,
        seed=seed,
        hidden=hidden,
        tick_period=period,
        initial=InitialSpec(distribution, scale),
        update=update_spec(
            interval=interval,
            trace_window=window,
            decay=decay,
            normalisation=normalisation,
            learning_rate=learning_rate,
        ),
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "any.rule.safetensors"
        save_rule(rule, path)
        loaded = load_rule(path)
    assert loaded.header == rule.header
    for one, other in zip(loaded.layers, rule.layers, strict=True):
        assert {k: t.tobytes() for k, t in one.items()} == {
            k: t.tobytes() for k, t in other.items()
        }


yaml_text = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="[]{}:,-&*!|>?'\"%@ \n\tint01.e", max_size=60),
    st.sampled_from(
        ["!!int ''", "!!timestamp x", "!!python/object:os.system", "!!set {a}", "&a [*a]"]
    ),
)


@given(yaml_text)
@example("!!bool x")
def test_no_text_breaks_the_loader_of_robots(text):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "any.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with pytest.raises(RobotSpecError):
            load_robot(path)


@given(st.data())
@settings(max_examples=200)
def test_a_robot_with_anything_in_any_field_is_refused_or_has_finite_ordered_limits(data):
    document = toy_document()
    node = document
    for _ in range(data.draw(st.integers(0, 2))):
        inner = [value for value in node.values() if isinstance(value, dict)]
        if inner:
            node = data.draw(st.sampled_from(inner))
    key = data.draw(st.sampled_from(list(node)))
    node[key] = data.draw(st.one_of(json_values, st.floats(), st.integers(-(10**400), 10**400)))
    try:
        robot = parse_robot(document, where="any")
    except RobotSpecError:
        return
    for name in ("lower", "upper", "default", "velocity", "torque", "kp", "kd", "max_target_rate"):
        assert np.isfinite(getattr(robot, name)).all()
    assert (robot.lower < robot.upper).all()
    assert (robot.lower <= robot.default).all()
    assert (robot.default <= robot.upper).all()
    assert (robot.torque > 0).all()
    assert (robot.max_target_rate > 0).all()


NAMES = {"leg": tuple(A1.legs), "joint": A1.joint_names}


@st.composite
def damages(draw):
    """Return any damage of the table."""
    kind = draw(st.sampled_from(sorted(TABLE)))
    place = draw(st.sampled_from(TABLE[kind].parts))
    part = draw(st.sampled_from(NAMES.get(place, (place,))))
    amount = TABLE[kind].amount
    if amount is None:
        return Damage(part, kind)
    share = draw(st.integers(0, 99)) / 100
    number = amount.low + share * (amount.high - amount.low)
    return Damage(part, kind, float(round(number) if amount.whole else round(number, 3)))


@given(st.lists(damages(), max_size=4))
def test_damages_survive_being_written_and_read(some):
    assert parse_damages(describe(some), A1) == tuple(some)


@given(st.one_of(st.text(max_size=30), st.text(alphabet="FRLlimpweakd:,.0123 ", max_size=20)))
def test_no_text_breaks_the_reader_of_damages(text):
    try:
        found = parse_damages(text, A1)
    except DamageError:
        return
    for damage in found:
        amount = TABLE[damage.kind].amount
        assert damage.part in {*A1.legs, *A1.joint_names, *BODY_PARTS}
        assert damage.amount == 0 if amount is None else damage.amount in amount
