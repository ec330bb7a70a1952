"""Commands that simulate: what they write, and that bad input is one line and exit code 2."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from hebb_controller import cli
from hebb_controller.cli import presets
from hebb_controller.network import InitialSpec
from hebb_controller.observation import Channel
from hebb_controller.rule_file import load_rule, save_rule
from hebb_controller.share import share_dir
from hebb_controller.train.baseline_file import BASELINE_KINDS, load_baseline
from hebb_controller.train.trainer import LOG_NAME
from hebb_sim.episode import Condition


@pytest.fixture
def hebb(monkeypatch, capfd):
    """Return a function that runs ``hebb`` and returns its exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hebb", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        output, errors = capfd.readouterr()
        return code, output, errors

    return run


@pytest.fixture
def rule_path(tmp_path, a1_rule):
    path = tmp_path / "a1.rule.safetensors"
    save_rule(a1_rule, path)
    return path


def one_error(code, errors, words):
    assert code == 2
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert words in lines[0]


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


# --- the suite ---

LIMP = """
duration: 8.0
timeline:
  - onset: {choice: [3.0, 3.2]}
    damages:
      - {part: {any: leg}, kind: limp}
"""
CELL_KEYS = {
    "scenario",
    "controller",
    "episodes",
    "speed_before",
    "speed_after",
    "retained_speed",
    "ci_low",
    "ci_high",
    "recovery_median_s",
    "never_recovered",
    "fall_rate",
}


@pytest.fixture
def limp(tmp_path):
    path = tmp_path / "limp.yaml"
    path.write_text(LIMP, encoding="utf-8")
    return path


@pytest.fixture
def root(monkeypatch):
    """Go where the examples can be imported from."""
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_suite_puts_rules_and_ones_own_controller_into_one_table(
    hebb, root, rule_path, limp, tmp_path
):
    who = [f"two={rule_path.parent}/*.rule.safetensors", "examples.own_controller:trot"]
    save_rule(load_rule(rule_path), tmp_path / "again.rule.safetensors")
    options = ["--scenario", limp, "--episodes", 3, "--json"]
    reports = []
    for workers in (1, 2):
        code, output, errors = hebb("evaluate", *who, *options, "--workers", workers)
        assert code == 0, errors
        reports.append(json.loads(output))
    assert reports[0] == reports[1]
    two, own = reports[0]["cells"]
    assert set(two) >= CELL_KEYS
    assert (two["scenario"], two["controller"], two["episodes"]) == ("limp", "two", 6)
    assert (own["controller"], own["episodes"]) == ("examples.own_controller:trot", 3)
    assert two["speed_after_by_seed"][0] == two["speed_after_by_seed"][1]  # the same rule twice
    assert own["speed_before"] > 0.5  # it walks
    assert two["retained_speed"] is None  # nobody evolved that one
    assert reports[0]["first_seed"] >= 2**31


def test_a_suite_leaves_tables_plots_and_pictures(hebb, rule_path, limp, tmp_path):
    out = tmp_path / "out"
    code, output, errors = hebb(
        *("evaluate", rule_path, "--scenario", limp, "--episodes", 2, "--workers", 1),
        *("--controls", "--pictures", "--out", out),
    )
    assert code == 0, errors
    assert output.strip() == (out / "evaluation.md").read_text(encoding="utf-8").strip()
    report = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    names = [cell["controller"] for cell in report["cells"]]
    assert names == ["a1", "a1 (random)", "a1 (shuffled)"]
    (controls,) = report["controls"]
    assert controls["episodes"] == 2
    assert set(controls["interventions"]) == {"freeze", "restore", "transplant", "lesion"}
    for name in ("speed", "retained", "recovery", "plane", "lesion"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "weights.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scenario", "limp_lag"], "scenario 'limp_lag': no such scenario. Shipped: "),
        (["nobodys.module:make", "--scenario", "limp_leg"], "No module named 'nobodys'"),
        (["x=gone*.rule.safetensors", "--scenario", "limp_leg"], "no such file"),
        (["--scenario", "limp_leg", "--seed", 2**31], "--seed 2147483648: at most"),
    ],
)
def test_a_suite_that_cannot_be_run_is_one_line_and_exit_code_2(hebb, rule_path, options, words):
    code, output, errors = hebb("evaluate", rule_path, *options)
    assert output == ""
    one_error(code, errors, words)


def test_ctrl_c_keeps_the_scenarios_that_were_done(hebb, rule_path, limp, tmp_path, monkeypatch):
    from hebb_controller.cli import suite

    other = tmp_path / "other.yaml"
    other.write_text(LIMP, encoding="utf-8")
    run = suite.run_suite

    def interrupted(contenders, scenarios, *more, **named):
        if "other" in scenarios:
            raise KeyboardInterrupt
        return run(contenders, scenarios, *more, **named)

    monkeypatch.setattr(suite, "run_suite", interrupted)
    out = tmp_path / "out"
    options = ["--scenario", limp, "--scenario", other, "--episodes", 1, "--controls", "--json"]
    code, output, errors = hebb("evaluate", rule_path, *options, "--workers", 1, "--out", out)
    assert code == 130
    assert "Stopped" in errors
    report = json.loads(output)
    assert {cell["scenario"] for cell in report["cells"]} == {"limp"}
    assert report["controls"] == []
    assert json.loads((out / "evaluation.json").read_text(encoding="utf-8")) == report


def test_a_scenario_too_short_for_the_controls_is_one_line(hebb, rule_path, limp):
    limp.write_text(LIMP.replace("8.0", "7.0"), encoding="utf-8")
    code, _, errors = hebb("evaluate", rule_path, "--scenario", limp, "--controls")
    one_error(code, errors, "the controls need 4.5 s after what is compared begins")


def test_a_scenario_too_short_to_compare_speeds_is_one_line(hebb, rule_path, limp):
    limp.write_text(LIMP.replace("8.0", "6.0"), encoding="utf-8")
    code, _, errors = hebb("evaluate", rule_path, "--scenario", limp)
    one_error(code, errors, "3.2 of 6 s; it needs 3 s before it and 3 s after it")


@pytest.mark.parametrize("option", ["--duration", "--speed-asked", "--plasticity-gain"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_no_number_is_outside_of_every_range(hebb, rule_path, option, value):
    code, _, errors = hebb("evaluate", rule_path, option, value)
    assert code == 2
    assert "is not a finite number" in errors or "is not in the range" in errors


def test_a_name_that_no_file_can_have_is_one_line(hebb):
    code, _, errors = hebb("evaluate", "a" * 300, "--robot", "a1")
    one_error(code, errors, "File name too long")


def test_a_file_in_a_directory_with_brackets_is_found(hebb, rule_path, limp, tmp_path):
    place = tmp_path / "runs[1]"
    place.mkdir()
    shutil.copy(rule_path, place / "it.rule.safetensors")
    words = ("--scenario", limp, "--episodes", 1, "--workers", 1)
    code, output, errors = hebb("evaluate", place / "it.rule.safetensors", *words)
    assert code == 0, errors
    assert "| it  " in output


def test_a_model_that_is_no_urdf_is_one_line(hebb, rule_path, tmp_path):
    document = yaml.safe_load((share_dir() / "config" / "robots" / "a1.yaml").read_text())
    (tmp_path / "dog.urdf").write_text("<robot name='dog'>", encoding="utf-8")
    document["simulation"]["urdf"] = str(tmp_path / "dog.urdf")
    path = tmp_path / "dog.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    code, _, errors = hebb("evaluate", rule_path, "--robot", path, "--workers", 1)
    assert code == 2
    assert "dog.urdf cannot be read as a URDF" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "x"], "--out needs --scenario NAME or --suite"),
        (["--controls"], "--controls needs --scenario"),
        (["--scenario", "limp_leg", "--duration", "9"], "--duration belongs to"),
        (["--scenario", "limp_leg", "--pictures"], "--pictures needs --out"),
        (["another.rule.safetensors"], "several controllers are compared by --scenario"),
    ],
)
def test_options_of_the_other_use_are_refused(hebb, rule_path, options, words):
    code, output, errors = hebb("evaluate", rule_path, *options)
    assert (code, output) == (2, "")
    assert words in errors
    assert "Traceback" not in errors


# --- training ---


@pytest.fixture
def small(monkeypatch):
    """Make the preset small: a pair of candidates, episodes of a few ticks, three generations."""
    recipe = presets.fast

    def tiny(seed, robot="a1"):
        preset = recipe(seed, robot).until(3, None)
        genome = replace(
            preset.spec.genome,
            layer_sizes=(12, 12),
            contract=replace(
                preset.spec.genome.contract, channels=(Channel("joint_position", 1.0, 5.0),)
            ),
            initial=InitialSpec("uniform", 0.1),
            mirrors=None,
        )
        spec = replace(
            preset.spec, genome=genome, evolution=replace(preset.spec.evolution, pairs=2)
        )
        return presets.Preset(spec, lambda stage, generation: (Condition(0.2),))

    monkeypatch.setitem(presets.PRESETS, "fast", tiny)


def coefficients(directory):
    rule = load_rule(directory / "rule.rule.safetensors")
    return [{name: t.tobytes() for name, t in layer.items()} for layer in rule.layers]


def log(directory):
    lines = (directory / LOG_NAME).read_text(encoding="utf-8").splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if not k.endswith("seconds")} for line in lines
    ]


def test_a_budget_of_ticks_ends_a_run_too(hebb, small, tmp_path):
    # a generation: 2 pairs and the mean, an episode of 10 ticks each
    code, _, errors = hebb("train", "--out", tmp_path / "run", "--workers", 1, "--ticks", 51)
    assert code == 0, errors
    assert [line["ticks"] for line in log(tmp_path / "run")] == [50, 100]
    rule = load_rule(tmp_path / "run" / "rule.rule.safetensors")
    assert "--ticks 51 --network hebbian" in rule.header.provenance["command"]
    assert "--generations" not in rule.header.provenance["command"]


def test_another_robot_is_trained_by_the_same_recipe(hebb, small, tmp_path):
    out = tmp_path / "run"
    static = ("--network", "static", "--workers", 1)
    code, _, errors = hebb("train", "--out", out, *static, "--robot", "mini_cheetah")
    assert code == 0, errors
    header = load_rule(out / "rule.rule.safetensors").header
    assert header.contract.robot == "mini_cheetah"
    assert header.provenance["command"].endswith("--robot mini_cheetah")
    code, _, errors = hebb("train", "--out", out, *static, "--resume")
    one_error(code, errors, "started with other options")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--robot", "mini_cheta"), "Shipped: a1, ant, mini_cheetah"),
        (("--preset", "ant", "--robot", "a1"), "preset 'ant' is for robot 'ant' alone"),
        (("--preset", "paper", "--robot", "a1"), "preset 'paper' is for robot 'ant' alone"),
    ],
)
def test_a_robot_that_does_not_go_with_the_preset_is_one_line(hebb, tmp_path, words, message):
    code, _, errors = hebb("train", "--out", tmp_path / "run", *words)
    one_error(code, errors, message)
    assert not (tmp_path / "run").exists()


def test_a_robot_without_a_mirror_is_no_quadruped_for_these_presets(hebb, tmp_path):
    document = yaml.safe_load((share_dir() / "config" / "robots" / "a1.yaml").read_text())
    del document["mirror"]
    path = tmp_path / "dog.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    code, _, errors = hebb("train", "--out", tmp_path / "run", "--robot", path)
    one_error(code, errors, "its spec states no 'mirror'. Add it.")


def test_training_leaves_a_rule_its_provenance_a_log_and_a_curve(hebb, small, tmp_path):
    out = tmp_path / "run"
    code, _, errors = hebb("train", "--out", out, "--workers", 1, "--seed", 3)
    assert code == 0, errors
    assert "fitness" in errors
    assert "steps/s" in errors
    assert len(log(out)) == 3
    rule = load_rule(out / "rule.rule.safetensors")
    assert rule.header.provenance["generations"] == 3
    assert rule.header.provenance["seed"] == 3
    assert "hebb train --preset fast --seed 3" in rule.header.provenance["command"]
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    # the run is not overwritten
    code, _, errors = hebb("train", "--out", out, "--workers", 1, "--seed", 3)
    one_error(code, errors, "holds a run already")
    # nor continued with other options
    code, _, errors = hebb("train", "--out", out, "--workers", 1, "--seed", 4, "--resume")
    one_error(code, errors, "started with other options")
    assert rule.sha256 == load_rule(out / "rule.rule.safetensors").sha256


def test_a_run_stopped_by_ctrl_c_is_continued_bit_for_bit(hebb, small, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert hebb("train", "--out", whole, "--workers", 1)[0] == 0
    module = sys.modules["hebb_controller.cli.train"]
    progress = module._progress

    def stop_after(count):
        def interrupted(trainer, generations):
            for _ in range(count):
                next(generations)
            raise KeyboardInterrupt

        return interrupted

    monkeypatch.setattr(module, "_progress", stop_after(2))
    code, _, errors = hebb("train", "--out", parts, "--workers", 2)
    assert code == 130
    assert "--resume" in errors
    assert load_rule(parts / "rule.rule.safetensors").header.provenance["generations"] == 2
    monkeypatch.setattr(module, "_progress", progress)
    assert hebb("train", "--out", parts, "--workers", 1, "--resume")[0] == 0
    assert coefficients(parts) == coefficients(whole)
    assert log(parts) == log(whole)
    assert np.isfinite([line["fitness"] for line in log(whole)]).all()


def test_ctrl_c_before_anything_was_done_is_no_traceback(hebb, small, tmp_path, monkeypatch):
    def interrupted(trainer, generations):
        raise KeyboardInterrupt

    module = sys.modules["hebb_controller.cli.train"]
    monkeypatch.setattr(module, "_progress", interrupted)
    code, _, errors = hebb("train", "--out", tmp_path / "run", "--workers", 1)
    assert code == 130
    assert errors.splitlines() == ["Stopped in the first generation: there is nothing to keep yet."]


def test_ctrl_c_twice_is_one_ordered_end(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "hebb_controller.cli", "train", "--workers", "1", "--out", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    seen = b""
    while seen.count(b"pybullet build time") < 2:  # in the command, and in its worker: it has begun
        seen += process.stderr.read1()
    os.set_blocking(process.stderr.fileno(), False)
    while b"Stopping" not in seen and process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        seen += process.stderr.read() or b""
    os.set_blocking(process.stderr.fileno(), True)
    seen += process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert b"Stopping: what runs is finished" in seen
    assert b"nothing to keep yet" in seen
    assert b"Traceback" not in seen


@pytest.mark.parametrize("network", ["per-neuron", "static", "stacked", "gru"])
def test_another_network_is_trained_in_the_place_of_the_presets_rule(
    hebb, small, tmp_path, network
):
    out = tmp_path / "run"
    words = ("train", "--out", out, "--workers", 1, "--network", network)
    code, _, errors = hebb(*words)
    assert code == 0, errors
    if network in BASELINE_KINDS:
        written = load_baseline(out / f"{network}.baseline.safetensors")
        kind = network
    else:
        written = load_rule(out / "rule.rule.safetensors")
        kind = {"per-neuron": "ABCD_eta_neuron", "static": "static"}[network]
        assert written.header.initial.distribution == "evolved"
    header = written.header
    assert header.kind == kind
    assert header.provenance["network"] == network
    assert header.provenance["command"].endswith(f"--network {network}")
    assert len(log(out)) == 3
    code, _, errors = hebb("train", "--out", out, "--workers", 1, "--resume")
    one_error(code, errors, "started with other options")


def test_a_run_may_begin_with_a_rule(hebb, small, tmp_path):
    first, on = tmp_path / "first", tmp_path / "on"
    static = ("--network", "static", "--workers", 1)  # of others the end measures more
    assert hebb("train", "--out", first, *static)[0] == 0
    path = first / "rule.rule.safetensors"
    words = ("train", "--out", on, *static)
    code, _, errors = hebb(*words, "--start", path, "--generations", 1)
    assert code == 0, errors
    # sigma and step are the preset's least: the mean moves by a step of Adam at most
    evolution = presets.PRESETS["fast"](0).spec.evolution
    assert [line["sigma"] for line in log(on)] == [evolution.sigma_min]
    one, other = load_rule(path), load_rule(on / "rule.rule.safetensors")
    moved = other.layers[0]["initial"] - one.layers[0]["initial"]
    assert 0.0 < np.abs(moved).max() < 1.01 * evolution.step_min
    assert other.header.provenance["start"]["sha256"] == one.sha256
    assert other.header.provenance["start"]["generations"] == 3
    assert f"--start {path}" in other.header.provenance["command"]
    # it is continued as what it is
    code, _, errors = hebb(*words, "--start", path, "--generations", 2, "--resume")
    assert code == 0, errors
    assert len(log(on)) == 2
    code, _, errors = hebb(*words, "--generations", 2, "--resume")
    one_error(code, errors, "started with other options")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--network", "static"), "its kind, initial are not those of what is evolved. Name the"),
        (("--network", "gru"), "a rule; --start is for networks that are one"),
        (("--preset", "paper"), "its layer_sizes, update, contract are not"),
    ],
)
def test_a_rule_that_does_not_fit_is_no_start(hebb, tmp_path, words, message):
    rule = share_dir() / "rules" / "a1_walk.rule.safetensors"
    code, _, errors = hebb("train", "--out", tmp_path / "run", *words, "--start", rule)
    one_error(code, errors, message)
    assert not (tmp_path / "run").exists()


def test_a_cluster_that_is_not_there_is_one_line_and_exit_code_2(hebb, tmp_path):
    code, _, errors = hebb("train", "--out", tmp_path / "run", "--cluster", "slurm")
    one_error(code, errors, "cluster 'slurm' is unknown")
