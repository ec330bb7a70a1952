"""``hebb train``: what it leaves, how it goes on, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pybullet_data
import pytest
import yaml
from command_line import one_error
from tiny_training import tiny

from hebb_controller import share
from hebb_controller.cli import presets
from hebb_controller.rule_file import load_rule
from hebb_controller.train.baseline_file import BASELINE_KINDS, load_baseline
from hebb_controller.train.trainer import LOG_NAME


@pytest.fixture
def small(monkeypatch):
    """Make the preset small."""
    monkeypatch.setitem(presets.PRESETS, "fast", tiny(presets.fast))


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
    one_error(
        code,
        errors,
        "different options: spec.genome.contract.joints, spec.genome.contract.robot, robot. R",
    )


def test_a_run_goes_on_wherever_its_robot_is_but_not_with_another_model(
    hebb, small, tmp_path, monkeypatch
):
    kept = tmp_path / "kept"
    kept.mkdir()
    document = yaml.safe_load((share.share_dir() / "config" / "robots" / "a1.yaml").read_text())
    model = Path(pybullet_data.getDataPath()) / document["simulation"]["urdf"]
    text = model.read_text(encoding="utf-8").replace("../", f"{model.parents[1]}/")
    (kept / "dog.urdf").write_text(text, encoding="utf-8")
    document["simulation"]["urdf"] = "dog.urdf"
    (kept / "dog.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    words = ("train", "--network", "static", "--workers", 1, "--out", tmp_path / "run")
    monkeypatch.chdir(kept)
    code, _, errors = hebb(*words, "--robot", "dog.yaml", "--generations", 1)
    assert code == 0, errors
    kept.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    code, _, errors = hebb(*words, "--robot", "moved/dog.yaml", "--generations", 2, "--resume")
    assert code == 0, errors
    (tmp_path / "moved" / "dog.urdf").write_text(f"{text}\n<!-- edited -->\n", encoding="utf-8")
    code, _, errors = hebb(*words, "--robot", "moved/dog.yaml", "--generations", 3, "--resume")
    one_error(code, errors, "started with different options: robot. Repeat")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--robot", "mini_cheta"), "Shipped: a1, ant, mini_cheetah"),
        (("--preset", "ant", "--robot", "a1"), "preset 'ant' is for robot 'ant' only"),
        (("--preset", "paper", "--robot", "a1"), "preset 'paper' is for robot 'ant' only"),
    ],
)
def test_a_robot_that_does_not_go_with_the_preset_is_one_line(hebb, tmp_path, words, message):
    code, _, errors = hebb("train", "--out", tmp_path / "run", *words)
    one_error(code, errors, message)
    assert not (tmp_path / "run").exists()


def test_a_robot_without_a_mirror_is_no_quadruped_for_these_presets(hebb, tmp_path):
    document = yaml.safe_load((share.share_dir() / "config" / "robots" / "a1.yaml").read_text())
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
    one_error(code, errors, "already holds a run")
    # nor continued with other options
    code, _, errors = hebb("train", "--out", out, "--workers", 1, "--seed", 4, "--resume")
    one_error(code, errors, "started with different options")
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
    assert errors.splitlines() == ["Stopped in the first generation: nothing to keep yet."]


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
    assert b"Stopping: finishing what is running" in seen
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
    one_error(code, errors, "started with different options")


def test_a_finished_run_that_is_resumed_keeps_its_rule_and_where_it_came_from(
    hebb, small, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    path = out / "rule.rule.safetensors"
    module = sys.modules["hebb_controller.cli.train"]
    export = sys.modules["hebb_controller.cli.export"]
    measure = export.with_measurements
    monkeypatch.setattr(module, "_revision", lambda: "one")

    def stopped(rule, robot):
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "with_measurements", stopped)
    code, _, errors = hebb("train", "--out", out, "--workers", 1)
    assert code == 130
    assert "Not measured: stopped." in errors
    assert load_rule(path).golden is None
    monkeypatch.setattr(export, "with_measurements", measure)
    assert hebb("train", "--out", out, "--workers", 1, "--resume")[0] == 0
    kept = path.read_bytes()
    assert load_rule(path).golden is not None
    monkeypatch.setattr(module, "_revision", lambda: "two")
    monkeypatch.setattr(export, "with_measurements", stopped)
    code, _, errors = hebb("train", "--out", out, "--workers", 1, "--resume")
    assert code == 0, errors
    assert ", unchanged: " in errors
    assert path.read_bytes() == kept


def test_a_run_says_under_which_revisions_it_has_been(hebb, small, tmp_path, monkeypatch):
    out = tmp_path / "run"
    module = sys.modules["hebb_controller.cli.train"]
    words = ("train", "--out", out, "--workers", 1, "--network", "static")
    for revision, generations in (("one", 1), ("one", 2), ("two", 2), ("two", 3), ("two", 4)):
        monkeypatch.setattr(module, "_revision", lambda revision=revision: revision)
        resume = ("--resume",) if generations > 1 else ()
        code, _, errors = hebb(*words, "--generations", generations, *resume)
        assert code == 0, errors
        provenance = load_rule(out / "rule.rule.safetensors").header.provenance
        assert ("The run was made with revision one" in errors) == (revision == "two")
        assert provenance["revision"] == ("one" if generations < 3 else "two")
    assert provenance["revisions"] == ["one", "two"]


def test_an_installation_inside_the_checkout_of_something_else_has_no_revision(
    tmp_path, monkeypatch
):
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\necho v1-2-g3\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(share, "share_dir", lambda: tmp_path)
    revision = sys.modules["hebb_controller.cli.train"]._revision
    assert revision() == "not a checkout"
    (tmp_path / "setup.py").touch()
    assert revision() == "v1-2-g3"
    git.write_text("#!/bin/sh\nexit 128\n")
    assert revision() == "not a checkout"


def test_a_log_that_cannot_be_read_costs_the_curve_alone(hebb, small, tmp_path):
    out = tmp_path / "run"
    words = ("train", "--out", out, "--workers", 1, "--network", "static")
    assert hebb(*words)[0] == 0
    (out / LOG_NAME).write_text("no log\n" * 3, encoding="utf-8")
    code, _, errors = hebb(*words, "--resume")
    assert code == 0
    assert f"No curve: {out}: its log cannot be read" in errors


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
    one_error(code, errors, "started with different options")


def test_runs_of_other_networks_may_begin_with_a_static_rule(hebb, small, tmp_path):
    first, on = tmp_path / "first", tmp_path / "on"
    assert hebb("train", "--out", first, "--network", "static", "--workers", 1)[0] == 0
    path = first / "rule.rule.safetensors"
    words = ("--network", "per-neuron", "--workers", 1, "--start", path, "--generations", 1)
    code, _, errors = hebb("train", "--out", on, *words)
    assert code == 0, errors
    one, other = load_rule(path), load_rule(on / "rule.rule.safetensors")
    assert other.header.kind == "ABCD_eta_neuron"
    step = 1.01 * presets.PRESETS["fast"](0).spec.evolution.step_min
    moved = other.layers[0]["initial"] - one.layers[0]["initial"]
    assert 0.0 < np.abs(moved).max() < step
    on = tmp_path / "stacked"
    words = ("--network", "stacked", "--workers", 1, "--start", path, "--generations", 1)
    code, _, errors = hebb("train", "--out", on, *words)
    assert code == 0, errors
    stacked = load_baseline(on / "stacked.baseline.safetensors").tensors
    newest, older = np.hsplit(stacked["layer0"], [one.header.layer_sizes[0]])
    assert 0.0 < np.abs(newest - one.layers[0]["initial"]).max() < step
    assert 0.0 < np.abs(older).max() < step


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--network", "static"), "it differs from what is evolved in kind, initial. Name the"),
        (("--network", "gru"), "only a static rule can start a --network that is no rule"),
        (
            ("--preset", "paper"),
            "it differs from what is evolved in layer_sizes, update, contract",
        ),
    ],
)
def test_a_rule_that_does_not_fit_is_no_start(hebb, tmp_path, words, message):
    rule = share.share_dir() / "rules" / "a1_walk.rule.safetensors"
    code, _, errors = hebb("train", "--out", tmp_path / "run", *words, "--start", rule)
    one_error(code, errors, message)
    assert not (tmp_path / "run").exists()


def test_a_cluster_that_is_not_there_is_one_line_and_exit_code_2(hebb, tmp_path):
    code, _, errors = hebb("train", "--out", tmp_path / "run", "--cluster", "slurm")
    one_error(code, errors, "cluster 'slurm' is unknown")
