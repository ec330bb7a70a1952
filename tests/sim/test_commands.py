"""Commands that simulate: what they write, and that bad input is one line and exit code 2."""

import json
import pickle

import pytest
from command_line import one_error

from hebb_controller.rule_file import load_rule


@pytest.mark.parametrize("command", [["evaluate"], ["inspect"], ["bench", "sim", "--rule"]])
def test_a_bad_rule_is_one_line_and_exit_code_2(hebb, tmp_path, rule_path, command):
    whole = rule_path.read_bytes()
    for data, words in (
        (whole[:-5], "truncated or damaged"),
        (pickle.dumps({"A": 1.0, "B": list(range(9))}), "a Python pickle"),
        (None, "no such file"),
    ):
        path = tmp_path / "bad.rule.safetensors"
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        code, output, errors = hebb(*command, path)
        assert output == ""
        one_error(code, errors, words)


def test_a_rule_for_another_robot_is_not_evaluated(hebb, rule_path, robot_file):
    code, _, errors = hebb("evaluate", rule_path, "--robot", robot_file)
    one_error(code, errors, "trained for robot 'a1' (12 joints), this is 'toy' (2)")


@pytest.mark.parametrize(
    ("damage", "words"), [("XX:limp", "no leg or joint 'XX'"), ("FR:explode", "kind 'explode'")]
)
def test_an_unknown_damage_does_not_start_the_demo(hebb, tmp_path, rule_path, damage, words):
    pytest.importorskip("rclpy")
    out = tmp_path / "out"
    code, _, errors = hebb("demo", "--rule", rule_path, "--damage", damage, "--out", out)
    one_error(code, errors, words)
    assert not out.exists()


def test_a_robot_without_a_shipped_walk_does_not_start_the_demo(hebb, tmp_path, robot_file):
    pytest.importorskip("rclpy")
    out = tmp_path / "out"
    code, _, errors = hebb("demo", "--robot", robot_file, "--out", out)
    one_error(code, errors, "toy_walk.rule.safetensors: no such file. Available: ")
    assert not out.exists()


def test_an_evaluation_says_the_same_for_any_number_of_workers(hebb, rule_path):
    options = ["--episodes", "2", "--damage-episodes", "1", "--duration", "8", "--json"]
    reports = []
    for workers in (1, 2):
        code, output, errors = hebb("evaluate", rule_path, *options, "--workers", workers)
        assert code == 0, errors
        assert "Traceback" not in errors
        reports.append(json.loads(output))
    assert reports[0] == reports[1]
    report = reports[0]
    assert {"speed_mean", "heading_p90_rad", "fall_rate", "episodes", "damage"} <= set(report)
    assert report["episodes"] == 2
    assert set(report["damage"]) == {"weak:0.3", "limp", "locked"}
    for row in report["damage"].values():
        assert {"retained_speed", "fall_rate"} <= set(row)


def test_an_episode_too_short_to_compare_speeds_is_refused(hebb, rule_path):
    code, output, errors = hebb("evaluate", rule_path, "--duration", "7")
    assert (code, output) == (2, "")
    assert "--duration" in errors
    assert "Traceback" not in errors


def test_inspect_shows_what_is_in_the_file_and_the_memory_horizon(hebb, rule_path):
    code, output, errors = hebb("inspect", rule_path, "--json")
    report = json.loads(output)
    assert (code, errors) == (0, "")
    assert report["sha256"] == load_rule(rule_path).sha256
    assert report["layer_sizes"] == [46, 16, 12]
    assert report["synapses"] == 46 * 16 + 16 * 12
    assert report["robot"] == "a1"
    horizon = report["memory_horizon"]
    assert horizon["measured"] is True
    assert horizon["ticks"] is None or horizon["seconds"] == pytest.approx(0.02 * horizon["ticks"])
    code, output, errors = hebb("inspect", rule_path)
    assert (code, errors) == (0, "")
    assert "memory_horizon:" in output


def test_the_simulator_bench_counts_ticks_and_the_share_of_physics(hebb, rule_path):
    code, output, errors = hebb("bench", "sim", "--rule", rule_path, "--seconds", "1", "--json")
    report = json.loads(output)
    assert (code, errors) == (0, "")
    assert set(report) == {"ticks", "ticks_per_s", "physics_share"}
    assert report["ticks_per_s"] > 50  # faster than real time
    assert 0 < report["physics_share"] < 1
