"""What a robot has learned survives in a file, and goes to the rule that it is of only."""

from dataclasses import replace

import numpy as np
import pytest
from toys import toy_rule

from hebb_controller.errors import RuleFileError
from hebb_controller.node.snapshot_file import LAYOUT, load_snapshot, path_of, save_snapshot
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.tensor_file import write_file

RULE = replace(toy_rule(), sha256="a" * 64)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "limp.snapshot.safetensors"


def learned():
    runtime = NumpyRuntime(RULE)
    runtime.reset(np.random.default_rng(3))
    for _ in range(9):
        runtime.step(np.full(6, 0.5, dtype=np.float32))
    return runtime


def test_a_network_goes_on_from_a_file_as_if_it_had_never_stopped(path):
    ours, theirs = learned(), NumpyRuntime(RULE)
    save_snapshot(ours.state, RULE, "one.rule.safetensors", path)
    theirs.restore(load_snapshot(path, RULE))
    for _ in range(5):
        actions = [r.step(np.full(6, -0.25, dtype=np.float32)) for r in (ours, theirs)]
        assert actions[0].tobytes() == actions[1].tobytes()


@pytest.mark.parametrize(
    "where", ["/deep" * 60 + "/one.rule.safetensors", "/od\nd.rule.safetensors"]
)
def test_what_was_kept_can_be_restored_wherever_its_rule_lay(path, where):
    ours = learned()
    save_snapshot(ours.state, RULE, where, path)
    assert load_snapshot(path, RULE)["weights"].tobytes() == ours.state["weights"].tobytes()


def test_another_rules_snapshot_is_refused_with_both_hashes(path):
    save_snapshot(learned().state, RULE, "one.rule.safetensors", path)
    with pytest.raises(RuleFileError, match=r"another rule.*aaaaaa.*one\.rule.*bbbbbb"):
        load_snapshot(path, replace(RULE, sha256="b" * 64))


def document(**changes):
    import json

    header = {"format_version": 1, "rule_sha256": RULE.sha256, "rule_file": "x"}
    return json.dumps({**header, **changes})


@pytest.mark.parametrize(
    ("header", "tensors", "reason"),
    [
        ({"format_version": 2}, {}, "format_version is 2"),
        ({"extra": 1}, {}, "extra"),
        ({}, {"weights": None}, "'weights' is missing"),
        ({}, {"weights": np.zeros(3, dtype=np.float32)}, "'weights' is missing, or not float32"),
        ({}, {"tick": np.zeros((), dtype=np.float32)}, "'tick' is missing, or not int64"),
        ({}, {"tick": np.array(-1)}, "'tick' is -1"),
        ({}, {"other": np.zeros(3, dtype=np.float32)}, "'other' is unknown"),
        ({}, {"trace": np.full(13, np.nan, dtype=np.float32)}, "'trace' is not finite"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_by_name(path, header, tensors, reason):
    state = {**learned().state, **tensors}
    state = {name: array for name, array in state.items() if array is not None}
    write_file(path, LAYOUT, document(**header), state)
    with pytest.raises(RuleFileError, match=reason):
        load_snapshot(path, RULE)


def test_weights_that_are_not_finite_are_not_kept(path):
    state = dict(learned().state)
    state["weights"] = np.full_like(state["weights"], np.inf)
    with pytest.raises(RuleFileError, match="not finite"):
        save_snapshot(state, RULE, "x", path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "snapshot_file is not set"),
        ("x.npz", "must end in"),
        ("no/x.snapshot.safetensors", "no/"),
    ],
)
def test_a_path_that_cannot_be_is_refused(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuleFileError, match=reason):
        path_of(name)
