"""Scenarios × controllers × seeds, on the robot of two joints and without a simulator."""

import itertools
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from toys import InlineExecutor, make_record, toy_baseline, toy_reading, toy_robot, toy_rule

from hebb_controller.controller import controller_for
from hebb_controller.errors import HebbError, RuleFileError
from hebb_controller.rule_file import save_rule
from hebb_controller.train import suite
from hebb_controller.train.baseline_file import save_baseline
from hebb_controller.train.executor import TaskRunner
from hebb_controller.train.metrics import Outcome
from hebb_controller.train.source import Source
from hebb_controller.train.suite import (
    TEST_SEEDS,
    Cell,
    Contender,
    Trial,
    contrasts,
    count_shares,
    run_suite,
)
from hebb_controller.train.tables import tables

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def toy_controller(seed):
    return controller_for(toy_rule(seed=seed), toy_robot())


def glide(controller, condition, seed):
    """Return 12 s at the speed of the condition, plus a little that tells controller and seed."""
    controller.reset(np.random.default_rng(seed))
    reading = toy_reading(controller.robot, 0.0)
    controller.step(reading, reading.received)
    speed = condition + 0.01 * float(controller.last_action[0]) + 1e-4 * (seed % 100)
    return make_record([(speed * 0.125 * (i + 1), 0, 0) for i in range(96)])


CONTENDERS = [
    Contender("two", [partial(toy_controller, 0), partial(toy_controller, 1)]),
    Contender("one", [partial(toy_controller, 2)]),
]
SCENARIOS = {
    "slow": [Trial(0.25, 5.0, TEST_SEEDS + i) for i in range(7)],
    "fast": [Trial(1.0, 5.0, TEST_SEEDS + i) for i in range(7)],
}


def run(runner):
    return run_suite(CONTENDERS, SCENARIOS, glide, runner, asked=1.0)


def numbers(cells):
    return [(o.before, o.after, o.fallen) for cell in cells for o in cell.outcomes]


def test_every_contender_goes_through_the_same_episodes():
    with TaskRunner(InlineExecutor) as runner:
        cells = run(runner)
    assert [(c.scenario, c.controller) for c in cells] == [
        ("slow", "two"),
        ("slow", "one"),
        ("fast", "two"),
        ("fast", "one"),
    ]
    assert [[len(seed) for seed in c.seeds] for c in cells] == [[7, 7], [7], [7, 7], [7]]
    expected = [
        glide(toy_controller(n), trial.condition, trial.seed).position[-1, 0] / 12
        for trials in SCENARIOS.values()
        for contender in ((0, 1), (2,))
        for n in contender
        for trial in trials
    ]
    assert [after for _, after, _ in numbers(cells)] == pytest.approx(expected)


def test_the_result_does_not_depend_on_the_shares(monkeypatch):
    with TaskRunner(InlineExecutor) as runner:
        kept = numbers(run(runner))
        done = []
        monkeypatch.setattr(suite, "EPISODES_PER_SHARE", 3)
        run_suite(CONTENDERS, SCENARIOS, glide, runner, asked=1.0, on_result=lambda: done.append(1))
        assert len(done) == count_shares(CONTENDERS, SCENARIOS) == 3 * 2 * 3
        assert numbers(run(runner)) == kept


@pytest.mark.parametrize(
    ("shares", "kept"), [(1, []), (2, [3]), (5, [6]), (6, [7]), (8, [7, 6]), (10, [7, 7])]
)
def test_an_interrupted_suite_keeps_the_episodes_that_all_seeds_have_been_through(
    monkeypatch, shares, kept
):
    monkeypatch.setattr(suite, "EPISODES_PER_SHARE", 3)
    left = itertools.count(shares - 1, -1)

    def stop():
        if next(left) == 0:
            raise KeyboardInterrupt

    cells = []
    with TaskRunner(InlineExecutor) as runner:
        with pytest.raises(KeyboardInterrupt):
            run_suite(CONTENDERS, SCENARIOS, glide, runner, asked=1.0, on_result=stop, cells=cells)
        whole = run(runner)[: len(kept)]
    assert [[len(seed) for seed in c.seeds] for c in cells] == [
        [count] * len(cell.seeds) for count, cell in zip(kept, whole, strict=True)
    ]
    for cell, all_of_it in zip(cells, whole, strict=True):
        assert (cell.scenario, cell.controller) == (all_of_it.scenario, all_of_it.controller)
        for seed, every in zip(cell.speeds(), all_of_it.speeds(), strict=True):
            assert seed.tolist() == every[: len(seed)].tolist()


def test_test_seeds_lie_beyond_those_that_training_draws():
    assert TEST_SEEDS == 2**31  # trainer.py draws them by rng.integers(2**31)
    # and below 2**32, so that (seed, stream) are two words for numpy: no seed's stream is another's
    words = [np.random.SeedSequence((TEST_SEEDS + 1, s)).generate_state(2) for s in (0, 1, 2)]
    assert len({tuple(w) for w in words}) == 3


# --- the table ---


def made(before, after, recovery, *, fallen=False):
    return Outcome(before, after, recovery, 5.0, fallen, np.zeros(71))


CELL = Cell(
    "limp",
    "plastic",
    0.5,
    (
        (made(0.5, 0.25, 1.0), made(0.5, 0.5, 0.0)),
        (made(0.5, 0.0, None, fallen=True), made(0.5, 0.25, 2.0)),
    ),
)
OFTEN = replace(CELL, seeds=tuple(4 * seed for seed in CELL.seeds))


def test_a_row_by_hand():
    pytest.importorskip("scipy")
    row = OFTEN.row(np.random.default_rng(0))
    assert {
        "scenario": "limp",
        "controller": "plastic",
        "episodes": 16,
        "speed_before": 0.5,
        "speed_after": 0.25,
        "retained_speed": 0.5,
        "recovery_median_s": 1.0,  # 0 and 1 s: half of the four
        "never_recovered": 0.25,
        "fall_rate": 0.25,
        "speed_after_by_seed": [0.375, 0.125],
        "retained_by_seed": [0.75, 0.25],
    }.items() <= row.items()
    assert 0.0 <= row["ci_low"] < 0.5 < row["ci_high"] <= 1.0
    assert row["fall_low"] < 0.25 < row["fall_high"]
    json.dumps(row, allow_nan=False)


def test_where_hardly_anybody_walks_on_a_bootstrap_would_be_too_sure():
    pytest.importorskip("scipy")
    fell, walked = made(1.0, 0.0, None), made(1.0, 0.5, 1.0)
    for walking, known in ((0, False), (4, False), (5, True)):
        seed = (*(fell,) * (40 - walking), *(walked,) * walking)
        row = Cell("limp", "lame", 1.0, (seed,)).row(np.random.default_rng(0))
        assert row["retained_speed"] == walking / 80
        assert (row["ci_low"] is not None) == (row["ci_high"] is not None) == known


def test_who_walks_too_slowly_has_no_retained_speed_but_a_speed_after():
    pytest.importorskip("scipy")
    cell = Cell("limp", "lame", 1.0, ((made(0.5, 0.25, None),) * 3,))
    row = cell.row(np.random.default_rng(0))
    assert row["speed_after"] == 0.25
    assert row["retained_speed"] is row["ci_low"] is row["ci_high"] is None
    assert row["recovery_median_s"] is None
    assert row["never_recovered"] == 1.0


def test_where_more_than_half_never_recover_one_late_recovery_is_no_median():
    pytest.importorskip("scipy")
    never = replace(made(0.5, 0.25, None), watched=1.0)
    late = replace(made(0.5, 0.25, 2.0), watched=4.0)
    for seed, median in (((never,) * 3 + (late,), None), ((never,) * 2 + (late,) * 2, 2.0)):
        # after 1 s only those that recover late are left, so the curve falls from 1 to 0
        row = Cell("limp", "late", 0.5, (seed,)).row(np.random.default_rng(0))
        assert row["recovery_median_s"] == median


def test_contrasts_compare_training_seeds_within_a_scenario():
    pytest.importorskip("scipy")

    def cell(scenario, name, speeds):
        return Cell(scenario, name, 0.5, tuple((made(0.5, v, 0.0),) * 3 for v in speeds))

    rows = contrasts(
        [
            cell("limp", "a", (0.5, 0.625, 0.75, 0.875, 1.0)),
            cell("limp", "b", (0.0, 0.125, 0.25, 0.375, 0.4375)),
            cell("weak", "a", (0.5, 0.5)),
            cell("weak", "c", (0.25,)),
        ]
    )
    assert [(r["scenario"], r["controller"], r["against"]) for r in rows] == [
        ("limp", "a", "b"),
        ("weak", "a", "c"),
    ]
    assert rows[0]["p"] == pytest.approx(2 / 252)
    assert rows[0]["speed_after_difference"] == 0.75 - 0.2375
    assert rows[1]["p"] is None


def test_contrasts_with_a_cell_cut_short_leave_out_the_episodes_that_it_lacks():
    pytest.importorskip("scipy")
    easy, hard = made(0.5, 1.0, 0.0), made(0.5, 0.0, None)
    whole = Cell("limp", "a", 0.5, ((easy, hard),) * 2)
    short = Cell("limp", "b", 0.5, ((easy,),) * 2)
    for cells in ([whole, short], [short, whole]):
        assert contrasts(cells)[0]["speed_after_difference"] == 0.0
        assert contrasts(cells)[0]["p"] == 1.0


def test_the_markdown_table_has_a_line_per_cell_and_a_dash_for_what_there_is_not():
    pytest.importorskip("scipy")
    text = tables([OFTEN.row(np.random.default_rng(0))], [], [])
    head, rule, line = text.splitlines()
    assert head.count("|") == rule.count("|") == line.count("|") == 10
    assert "0.50 [" in line
    slow = Cell("limp", "lame", 1.0, ((made(0.5, 0.25, None),) * 3,))
    assert "permutation" not in text
    pair = {"scenario": "limp", "controller": "a", "against": "b", "speed_after_difference": -0.5}
    assert "-0.50" in tables([], [{**pair, "p": 0.008}], [])
    assert "-0.50" not in tables([], [{**pair, "p": None}], [])
    assert "–" in tables([slow.row(np.random.default_rng(0))], [], []).splitlines()[2]


# --- where controllers come from ---


def test_a_source_is_a_rule_file(tmp_path, robot_file):
    path = tmp_path / "toy.rule.safetensors"
    save_rule(toy_rule(), path)
    source = Source(str(path), robot_file, 0.5)
    assert source.is_file
    assert source.is_plastic
    controller = source()
    assert controller.robot.name == "toy"
    assert controller.runtime.plasticity_gain == 0.5
    with pytest.raises(RuleFileError, match="no such file"):
        Source(str(tmp_path / "gone.rule.safetensors"), robot_file)()


def test_a_source_is_a_baseline_file(tmp_path, robot_file):
    path = tmp_path / "toy.baseline.safetensors"
    save_baseline(toy_baseline("gru"), path)
    source = Source(str(path), robot_file)
    assert not source.is_plastic
    assert "memory" in source().runtime.state


@pytest.mark.parametrize("kind", ["rule", "baseline"])
def test_a_file_that_changes_while_it_is_evaluated_is_refused(tmp_path, robot_file, kind):
    path = tmp_path / f"toy.{kind}.safetensors"

    def save(seed):
        path.unlink(missing_ok=True)
        if kind == "rule":
            save_rule(toy_rule(seed=seed), path)
        else:
            save_baseline(
                replace(
                    toy_baseline("gru"),
                    header=replace(toy_baseline("gru").header, provenance={"seed": seed}),
                ),
                path,
            )

    save(0)
    source = Source(str(path), robot_file).pinned()
    source()
    save(1)
    with pytest.raises(HebbError, match=r"changed while it was being evaluated. Fix: evaluate a"):
        source()
    Source(str(path), robot_file).pinned()()


def test_a_source_is_a_factory_in_a_module(tmp_path, robot_file, monkeypatch):
    (tmp_path / "somebodys.py").write_text(
        "from test_suite_made import make\ndef factory(robot):\n    return make(robot)\n"
    )
    (tmp_path / "test_suite_made.py").write_text(
        "from hebb_controller.controller import controller_for\n"
        "from toys import toy_rule\n"
        "def make(robot):\n    return controller_for(toy_rule(), robot)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    source = Source("somebodys:factory", robot_file)
    assert not source.is_file
    assert not source.is_plastic
    assert source().robot.name == "toy"


@pytest.mark.parametrize(
    ("text", "words"),
    [("nobodys.module:make", "No module named 'nobodys'"), ("json:make", "no attribute 'make'")],
)
def test_a_factory_that_does_not_exist_is_one_line(robot_file, text, words):
    with pytest.raises(HebbError, match=words) as caught:
        Source(text, robot_file)()
    assert "package.module:factory" in str(caught.value)


def test_the_example_is_a_runtime_that_any_worker_can_make(monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    controller = Source("examples.own_controller:trot", "a1")()
    controller.reset(np.random.default_rng(0))
    # at a quarter of the clock's period sin = 1, cos = 0: front right and rear left swing forwards
    action = controller.runtime.step(np.array([1.0, 0.0], dtype=np.float32))
    expected = [[0, -0.8, 0], [0, 0.8, 0], [0, 0.8, 0], [0, -0.8, 0]]
    assert np.abs(action.reshape(4, 3) - expected).max() < 1e-6
    controller.runtime.restore(controller.runtime.state)


# --- pictures ---


def test_the_principal_plane_is_that_of_the_covariance():
    pytest.importorskip("matplotlib")
    from hebb_controller.plots.weights import principal_plane

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 5)) * [5.0, 1.0, 3.0, 0.5, 0.1] + 2.0
    mean, directions, share = principal_plane(rows)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    assert mean == pytest.approx(rows.mean(axis=0))
    assert share == pytest.approx(values[:-3:-1] / values.sum())
    for direction, vector in zip(directions, vectors.T[::-1], strict=False):
        assert abs(direction @ vector) == pytest.approx(1.0)
