"""What a repository of robot tests is promised by hebb_controller.testing."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hebb_controller.errors import HebbError, RuleFileError, ScenarioError
from hebb_controller.testing import SPAN, run_scenario, simulate
from hebb_controller.train import metrics

__all__ = ["simulate"]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "my_robot_tests"
SCENARIO = """
duration: 1.6
background:
  - {part: sensors, kind: noise, amount: 0.01}
timeline:
  - onset: 1.0
    damages: [{part: FR, kind: limp}]
"""


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "limp_early.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    return path


def children():
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_the_same_seed_gives_the_same_trajectory_bit_for_bit_and_another_another(
    simulate, rule_file, scenario
):
    before = children()
    first, second, other = (simulate(rule_file, scenario, seed=seed) for seed in (3, 3, 4))
    assert first.trajectory.tobytes() == second.trajectory.tobytes()
    assert first.trajectory.tobytes() != other.trajectory.tobytes()
    assert str(first) == str(second)
    assert children() == before

    assert first.deterministic
    assert first.ticks == 80
    assert first.trajectory.shape == (80, 8 + 12)
    assert first.trajectory[:, 0] == pytest.approx([0.02 * tick for tick in range(80)], abs=1e-9)
    background = "sensors:noise:0.01"
    assert first.damages == ((0.0, background), (1.0, f"{background},FR:limp"))
    assert [phase.name for phase in first.phases] == ["TO_DEFAULT_POSE", "RUN"]
    assert not first.fallen
    assert (first.swap, first.swap_state) == (0, "none")
    assert first.speed_before == first.speed(0.0, 1.0)
    assert first.speed_after == first.speed(1.0, 1.6)


def test_what_is_wrong_is_said_and_no_process_is_left(tmp_path, rule_file, scenario):
    before = children()
    with pytest.raises(RuleFileError, match="no such file"):
        run_scenario(tmp_path / "missing.rule.safetensors", scenario, logs=tmp_path)
    with pytest.raises(ScenarioError, match="no such scenario"):
        run_scenario(rule_file, "limping", logs=tmp_path)
    for duration in (0.0, math.nan):
        with pytest.raises(HebbError, match=f"duration is {duration}"):
            run_scenario(rule_file, scenario, duration=duration, logs=tmp_path)
    with pytest.raises(HebbError, match="unknown parameter 'nonsense'"):
        run_scenario(rule_file, scenario, controller={"nonsense": 1.0}, logs=tmp_path)
    refused = {"runtime": "abacus"}
    with pytest.raises(HebbError, match="abacus"):
        run_scenario(rule_file, scenario, controller=refused, logs=tmp_path)
    assert children() == before


def test_speeds_are_compared_over_the_span_of_the_measures():
    assert SPAN == metrics.SPAN


def test_the_example_repository_passes_from_anywhere_and_is_the_one_on_the_page(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s"],
        cwd=tmp_path / "copy",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "600 ticks, deterministic" in done.stdout
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    lines = page.splitlines()
    for name in ("conftest.py", "test_my_rule.py"):
        source = (EXAMPLE / "tests" / name).read_text(encoding="utf-8")
        code = [f"    {line}" for line in source.splitlines() if line and '"""' not in line]
        assert set(code) <= set(lines), name
