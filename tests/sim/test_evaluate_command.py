"""``hebb evaluate`` with several controllers and scenarios."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from command_line import one_error

from hebb_controller.rule_file import load_rule, save_rule
from hebb_controller.share import share_dir

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
    return root


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
    origins = reports[0]["controllers"]
    assert origins["two"][0] == {"file": str(rule_path), "sha256": load_rule(rule_path).sha256}
    assert origins["examples.own_controller:trot"] == [{"factory": "examples.own_controller:trot"}]


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
        (["--scenario", "limp_leg", "--seed", 2**31], "--seed 2147483648: at most 2147483548 with"),
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
    one_error(code, errors, "the controls need 4.5 s after the comparison starts")


def test_a_scenario_too_short_to_compare_speeds_is_one_line(hebb, rule_path, limp):
    limp.write_text(LIMP.replace("8.0", "6.0"), encoding="utf-8")
    code, _, errors = hebb("evaluate", rule_path, "--scenario", limp)
    one_error(code, errors, "3.2 of 6 s; it needs 3 s before and 3 s after")


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
        (
            ["--scenario", "limp_leg", "--duration", "9"],
            "--duration cannot be combined with --scenario",
        ),
        (["--scenario", "limp_leg", "--pictures"], "--pictures needs --out"),
        (["another.rule.safetensors"], "several controllers need --scenario"),
    ],
)
def test_options_of_the_other_use_are_refused(hebb, rule_path, options, words):
    code, output, errors = hebb("evaluate", rule_path, *options)
    assert (code, output) == (2, "")
    assert words in errors
    assert "Traceback" not in errors


def test_controllers_that_tick_at_different_rates_are_said_to(
    hebb, root, rule_path, limp, tmp_path
):
    sys.path.insert(0, str(tmp_path))
    text = (root / "examples" / "own_controller.py").read_text(encoding="utf-8")
    (tmp_path / "faster.py").write_text(
        text.replace("period=0.02", "period=0.01"), encoding="utf-8"
    )
    options = ("--scenario", limp, "--episodes", 1, "--workers", 1)
    code, _, errors = hebb("evaluate", rule_path, "faster:trot", *options)
    assert code == 0, errors
    assert "The controllers tick every 0.01, 0.02 s: their physics steps" in errors


BAD_FACTORIES = {
    "def make(robot): 1 / 0": "raised ZeroDivisionError('division by zero') when it was made.",
    "def make(robot): raise SystemExit": "raised SystemExit() when it was made.",
    "def make(": "raised SyntaxError(",
    "raise RuntimeError('no\\nway')": r"raised RuntimeError('no\nway') when it was made.",
    "from examples.own_controller import *\n"
    "def make(robot):\n    it = trot(robot)\n    it.interface = Interface(it.interface.observer, "
    "robot.default, robot.default[1:], 0.02)\n    return it": "its action_scale is (11,), not (12,).",
    "from examples.own_controller import *\n"
    "def make(robot):\n    it = trot(robot)\n    it.interface = Interface(it.interface.observer, "
    "robot.default, robot.default, 0.0)\n    return it": "its period is 0 s, not within (0, 1].",
}


@pytest.mark.parametrize("text", BAD_FACTORIES)
def test_a_factory_that_fails_is_one_line(hebb, root, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, str(root))
    monkeypatch.delitem(sys.modules, "made", raising=False)
    (tmp_path / "made.py").write_text(text, encoding="utf-8")
    for options in ((), ("--scenario", "limp_leg")):
        code, _, errors = hebb("evaluate", "made:make", "--episodes", 1, *options)
        one_error(code, errors, BAD_FACTORIES[text])


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("examples.own_controller:Trot", "not a factory(robot) -> Controller"),
        ("os:getcwd", "not a factory(robot) -> Controller"),
        ("builtins:repr", "it returned a str"),
        ("os:curdir", "not a factory(robot) -> Controller"),
    ],
)
def test_what_is_no_factory_is_one_line(hebb, root, factory, words):
    code, _, errors = hebb("evaluate", factory, "--episodes", 1)
    one_error(code, errors, words)


def test_what_cannot_be_recorded_is_said_before_anything_is_run(hebb, root, tmp_path):
    record = ("--record", tmp_path / "run.mcap")
    code, output, errors = hebb("evaluate", "examples.own_controller:trot", *record)
    one_error(code, errors, "examples.own_controller:trot: only a rule file can be recorded")
    assert not output


def test_a_robot_without_legs_is_not_damaged(hebb, rule_path, tmp_path):
    document = yaml.safe_load((share_dir() / "config" / "robots" / "a1.yaml").read_text())
    document["legs"] = {}
    document.pop("mirror", None)
    path = tmp_path / "bare.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    code, _, errors = hebb("evaluate", rule_path, "--robot", path, "--episodes", 1)
    one_error(code, errors, "has no legs to damage. Add --damage-episodes 0")


def test_ctrl_c_is_exit_code_130(hebb, rule_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    module = sys.modules["hebb_controller.cli.evaluate"]
    monkeypatch.setattr(module, "walk_episodes", stopped)
    assert hebb("evaluate", rule_path) == (130, "", "Stopped.\n")
