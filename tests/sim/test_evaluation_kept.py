"""What remains of an evaluation that ends early, or whose output cannot be written."""

import contextlib
import json
import os
import sys
from pathlib import Path

import pytest
from command_line import one_error

from hebb_controller.errors import TrainingError

ROOT = Path(__file__).resolve().parents[2]
LIMP = """
duration: 8.0
timeline:
  - onset: 3.0
    damages: [{part: FR, kind: limp}]
"""
OTHER = "examples.own_controller:trot"
FAILING = """
import os

from examples.own_controller import Trot, trot


class Failing(Trot):
    def step(self, observation):
        {}


def make(robot):
    controller = trot(robot)
    controller.runtime = Failing()
    return controller
"""


@pytest.fixture
def first(tmp_path, monkeypatch):
    """Return a scenario; go where it is, with the examples on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    path = tmp_path / "first.yaml"
    path.write_text(LIMP, encoding="utf-8")
    return path


@pytest.fixture
def once(first, tmp_path):
    """Return the options for one episode in the scenario."""
    return ("--scenario", first, "--episodes", 1, "--workers", 1, "--out", tmp_path / "out")


def written(once):
    return json.loads((once[-1] / "evaluation.json").read_text(encoding="utf-8"))


ENDS = {
    KeyboardInterrupt: (130, "Stopped: this is what was finished."),
    TrainingError: (2, "error: planted"),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_the_controls_early_keeps_those_that_were_done(
    hebb, once, tmp_path, monkeypatch, end
):
    from hebb_controller.cli import suite

    second = tmp_path / "second.yaml"
    second.write_text(LIMP, encoding="utf-8")
    adaptation = suite.adaptation

    def ended(scenario, *more):
        if scenario == "second":
            raise end("planted")
        return adaptation(scenario, *more)

    monkeypatch.setattr(suite, "adaptation", ended)
    options = (*once, "--scenario", second, "--controls", "--json")
    code, output, errors = hebb("evaluate", OTHER, *options)
    assert (code, errors.splitlines()[-1]) == ENDS[end]
    report = json.loads(output)
    assert [cell["scenario"] for cell in report["cells"]] == ["first", "second"]
    assert [one["scenario"] for one in report["controls"]] == ["first"]
    assert written(once) == report


FAILURES = {
    "raise SystemExit(7)": "own: raised SystemExit(7) in scenario first.",
    "1 / 0": "own: raised ZeroDivisionError('division by zero') in scenario first.",
    "os._exit(9)": "the worker processes ended 4 times without a result",
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_controller_that_fails_does_not_cost_what_others_did(
    hebb, rule_path, once, tmp_path, how
):
    (tmp_path / "failing.py").write_text(FAILING.format(how), encoding="utf-8")
    code, output, errors = hebb("evaluate", rule_path, "own=failing:make", *once, "--json")
    assert code == 2
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith(f"error: {FAILURES[how]}")
    report = json.loads(output)
    assert [cell["controller"] for cell in report["cells"]] == ["a1"]
    assert written(once) == report


LATE = """
from examples.own_controller import Trot, trot


class Late(Trot):
    runs = 0

    def reset(self, rng):
        Late.runs += 1
        if Late.runs > {}:
            raise {}


def make(robot):
    controller = trot(robot)
    controller.runtime = Late()
    return controller
"""


ENDS_OF_RUNS = {
    "ValueError('a\\nb')": (2, r"error: late:make: raised ValueError('a\nb') in {}."),
    "KeyboardInterrupt": ENDS[KeyboardInterrupt],
}


@pytest.fixture(params=ENDS_OF_RUNS)
def ended_after(request, hebb, tmp_path):
    """Return the function that has a controller end the command after a number of runs."""

    def evaluate(runs, where, *words):
        (tmp_path / "late.py").write_text(LATE.format(runs, request.param), encoding="utf-8")
        code, output, errors = hebb("evaluate", "late:make", *words, "--episodes", 2, "--json")
        expected, line = ENDS_OF_RUNS[request.param]
        assert (code, errors.splitlines()[-1]) == (expected, line.format(where))
        assert "Traceback" not in errors
        return json.loads(output)

    return evaluate


def test_a_walk_that_ends_early_keeps_the_episodes_that_were_done(first, monkeypatch, ended_after):
    from hebb_controller.cli import episodes

    monkeypatch.setattr(episodes, "EPISODES_PER_SHARE", 1)
    assert ended_after(1, "an episode", *ONE_RULE)["episodes"] == 1


def test_a_cell_that_ends_early_keeps_the_episodes_that_were_done(once, monkeypatch, ended_after):
    from hebb_controller.train import suite

    monkeypatch.setattr(suite, "EPISODES_PER_SHARE", 1)
    report = ended_after(1, "scenario first", *once)
    assert [cell["episodes"] for cell in report["cells"]] == [1]


def test_controls_that_end_early_keep_the_episodes_that_were_done(once, monkeypatch, ended_after):
    from hebb_controller.train import adaptation

    monkeypatch.setattr(adaptation, "EPISODES_PER_SHARE", 1)
    # twice in the scenario; an episode with its controls is at least seven runs
    report = ended_after(2 + 9, "scenario first", *once, "--controls")
    assert [cell["episodes"] for cell in report["cells"]] == [2]
    assert [one["episodes"] for one in report["controls"]] == [1]


def test_a_bug_of_ours_is_shown_after_what_was_done(hebb, rule_path, once, monkeypatch):
    from hebb_controller.cli import suite

    def bug(*_):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(suite, "adaptation", bug)
    with pytest.raises(ZeroDivisionError, match="planted"):
        hebb("evaluate", rule_path, *once, "--controls")
    assert len(written(once)["cells"]) == 3  # the rule, and scrambled twice


@pytest.fixture(params=["a full disk", "a closed pipe"])
def output(request):
    """Return a stream that cannot be written to."""
    if request.param == "a full disk":
        stream = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closed below
    else:
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w")
    yield stream
    with contextlib.suppress(OSError):
        stream.close()


def check_unprinted(output, code, errors):
    assert "Traceback" not in errors
    if output.name == "/dev/full":
        assert code == 2
        words = "error: standard output: cannot be written to: No space left on device."
        assert errors.splitlines()[-1] == words
        assert output.closed  # or Python fails once more when it exits, with code 120
    else:
        assert code == 1  # click's
        assert "error" not in errors


def test_a_table_that_cannot_be_printed_does_not_cost_the_files(
    hebb, rule_path, once, monkeypatch, output
):
    monkeypatch.setattr(sys, "stdout", output)
    code, _, errors = hebb("evaluate", rule_path, *once)
    check_unprinted(output, code, errors)
    assert len(written(once)["cells"]) == 1
    assert (once[-1] / "recovery.png").exists()


def test_files_that_cannot_be_written_do_not_cost_the_table(hebb, rule_path, once):
    (once[-1] / "evaluation.json").mkdir(parents=True)
    code, output, errors = hebb("evaluate", rule_path, *once)
    assert code == 2
    assert errors.splitlines()[-1].endswith("out: cannot be written: Is a directory.")
    assert "| first " in output


ONE_RULE = ("--episodes", 1, "--damage-episodes", 0, "--duration", 8, "--workers", 1)


def test_a_report_that_cannot_be_printed_does_not_cost_the_recording(
    hebb, rule_path, tmp_path, monkeypatch, output
):
    pytest.importorskip("mcap_ros2")
    from hebb_controller.mcap_file import read_recording

    record = tmp_path / "run.mcap"
    monkeypatch.setattr(sys, "stdout", output)
    code, _, errors = hebb("evaluate", rule_path, *ONE_RULE, "--record", record)
    check_unprinted(output, code, errors)
    assert read_recording(record)


def test_a_recording_that_cannot_be_written_does_not_cost_the_report(hebb, rule_path):
    pytest.importorskip("mcap_ros2")
    code, output, errors = hebb("evaluate", rule_path, *ONE_RULE, "--record", "/proc/run.mcap")
    assert code == 2
    assert errors.splitlines()[-1].startswith("error: /proc/run.mcap: cannot be written")
    assert "1 episodes of 8.0 s" in output


def test_a_directory_that_cannot_be_written_to_is_said_before_anything_is_run(
    hebb, rule_path, first
):
    for out in ("/proc", first / "out"):
        code, output, errors = hebb("evaluate", rule_path, "--scenario", first, "--out", out)
        assert output == ""
        one_error(code, errors, f"{out}: cannot be written to: ")
