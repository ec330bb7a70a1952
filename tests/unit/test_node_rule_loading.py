"""Which file a node means, and what the process that looks at it may touch."""

import dataclasses

import pytest

pytest.importorskip("rclpy")

from toys import toy_robot, toy_rule

from hebb_controller.errors import RuleFileError
from hebb_controller.node import rule_loading
from hebb_controller.node.parameters import Settings
from hebb_controller.rule_file import load_rule, save_rule
from hebb_controller.signature import Trust

SUFFIX = ".rule.safetensors"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Return the settings of a node that was started beside its rule_dir; one file stands in both."""
    here, rules = tmp_path / "here", tmp_path / "rules"
    for seed, directory in enumerate((here, rules)):
        directory.mkdir()
        save_rule(toy_rule(seed=seed), directory / f"one{SUFFIX}")
    monkeypatch.chdir(here)
    return Settings(rule_dir=str(rules), rule_file=f"one{SUFFIX}")


def test_the_first_rule_is_looked_for_where_swaps_are(settings, tmp_path):
    loaded = rule_loading.first_rule(settings, toy_robot())
    assert loaded.path == str(tmp_path / "rules" / f"one{SUFFIX}")
    assert loaded.asked == f"one{SUFFIX}"


def test_without_a_rule_dir_it_counts_from_where_the_node_was_started(settings, tmp_path):
    own = dataclasses.replace(settings, rule_dir="")
    loaded = rule_loading.first_rule(own, toy_robot())
    assert loaded.path == str(tmp_path / "here" / f"one{SUFFIX}")


def test_the_first_rule_may_lie_elsewhere_if_its_whole_path_is_given(settings, tmp_path):
    elsewhere = tmp_path / "here" / f"one{SUFFIX}"
    own = dataclasses.replace(settings, rule_file=str(elsewhere))
    assert rule_loading.first_rule(own, toy_robot()).path == str(elsewhere)
    upwards = dataclasses.replace(settings, rule_file=f"../here/one{SUFFIX}")
    with pytest.raises(RuleFileError, match="outside rule_dir"):
        rule_loading.first_rule(upwards, toy_robot())


def test_what_lies_where_the_node_was_started_is_not_run_to_validate_a_rule(tmp_path, monkeypatch):
    path = tmp_path / f"one{SUFFIX}"
    save_rule(toy_rule(), path)
    for module in ("click", "numpy", "hebb_controller", "random"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('was run')")
    monkeypatch.chdir(tmp_path)
    trust = Trust("off", (), warn=print)
    with pytest.raises(RuleFileError) as refused:  # the toy has no golden vectors
        rule_loading.validate_rule_in_child(path, "a1", trust)
    assert "was run" not in str(refused.value)
    assert str(load_rule(path).header.contract.robot) in str(refused.value)
