"""A training run on a toy: resuming, refusing, and what interrupts it; all in this process."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from toys import REWARD, InlineExecutor, ToyCondition, slide, toy_training

from hebb_controller.errors import TrainingError
from hebb_controller.train.checkpoint import NAME, load_checkpoint, save_checkpoint
from hebb_controller.train.curriculum import PROOF, Progress, Stage
from hebb_controller.train.scalars import with_scalars
from hebb_controller.train.trainer import LOG_NAME, Generation, Trainer


def conditions(stage, generation):
    return (ToyCondition(), ToyCondition())


def train(directory, robot_file, *, generations=4, seed=7, resume=False, stop=None, spoil=False):
    """Return the trainer after a run, or after ``stop`` generations of it."""
    given = (lambda *_: (ToyCondition(spoil=True),)) if spoil else conditions
    spec = toy_training(robot_file, generations=generations, seed=seed)
    trainer = Trainer(spec, slide, given, directory, resume=resume)
    run = trainer.run(InlineExecutor)
    for _ in range(generations if stop is None else stop):
        next(run, None)
    run.close()
    return trainer


def log(directory, *, torn=False):
    """Return the log without wall times; of a torn one, without the last line."""
    lines = (directory / LOG_NAME).read_text(encoding="utf-8").splitlines()
    lines = lines[:-1] if torn else lines
    return [
        {k: v for k, v in json.loads(line).items() if not k.endswith("seconds")} for line in lines
    ]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path, robot_file):
    runs = [
        train(tmp_path / name, robot_file, seed=seed)
        for name, seed in (("one", 7), ("same", 7), ("other", 8))
    ]
    means = [run.evolution.mean.tobytes() for run in runs]
    assert means[0] == means[1]
    assert means[0] != means[2]
    assert log(tmp_path / "one") == log(tmp_path / "same")


def test_training_improves_what_is_rewarded(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, generations=12)
    fitness = [line["fitness"] for line in log(tmp_path / "run")]
    # The speed is the action, so it is within ±1; from random weights it is around 0 by symmetry.
    assert abs(fitness[0]) < 0.5
    assert fitness[-1] > fitness[0] + 0.25


def test_the_log_says_what_was_done(tmp_path, robot_file):
    trainer = train(tmp_path / "run", robot_file)
    lines = log(tmp_path / "run")
    assert [line["generation"] for line in lines] == [1, 2, 3, 4]
    # 6 mirrored pairs and the mean itself, two episodes of 8 ticks each
    assert [line["ticks"] for line in lines] == [208, 416, 624, 832]
    assert trainer.ticks == 832
    assert [line["sigma"] for line in lines] == pytest.approx([0.2, 0.18, 0.162, 0.1458])
    for line in lines:
        assert line["best_fitness"] >= line["population_fitness"]
        assert all(math.isfinite(value) for value in line.values())
        assert line["worst"] <= line["fitness"]


def test_each_generation_is_rewarded_by_its_stage(tmp_path, robot_file):
    """A stage that pays twice as much from generation 2 on changes the fitness from there on."""
    spec = toy_training(robot_file)
    twice = replace(REWARD, target=0.5, limit=9.0)
    staged = replace(spec, stages=(Stage(REWARD, generations=2), Stage(twice)))
    fitness = []
    for name, each in (("plain", spec), ("staged", staged)):
        trainer = Trainer(each, slide, conditions, tmp_path / name)
        fitness.append([line.fitness for line in trainer.run(InlineExecutor)])
    assert fitness[0][:2] == fitness[1][:2]
    # The same mean in generation 2; a speed below 0.5 earns twice as much of the target.
    assert abs(fitness[0][2]) < 0.5
    assert fitness[1][2] == pytest.approx(2.0 * fitness[0][2])
    assert [line["stage"] for line in log(tmp_path / "staged")] == [1, 1, 2, 2]


def test_pairs_take_draws_by_turns_and_the_mean_is_put_through_all(tmp_path, robot_file):
    spec = replace(toy_training(robot_file, generations=2), draws=3)
    asked, met = [], []

    def given(stage, draw):
        asked.append((stage, draw))
        return (ToyCondition(), ToyCondition())

    def seen(controller, condition, seed):
        met.append(seed)
        return slide(controller, condition, seed)

    trainer = Trainer(spec, seen, given, tmp_path / "run")
    asked.clear()
    next(trainer.run(InlineExecutor))
    assert asked == [(0, 0), (0, 1), (0, 2)]
    # two episodes a candidate; 6 pairs, both of one under the same seeds, and the mean three times
    episodes = list(zip(met[::2], met[1::2], strict=True))
    assert len(episodes) == 2 * 6 + 3
    pairs = episodes[:12:2]
    assert pairs == episodes[1:12:2]
    assert pairs[:3] == pairs[3:]
    assert episodes[12:] == pairs[:3]
    assert len({*pairs}) == 3
    assert trainer.ticks == 15 * 2 * 8
    list(trainer.run(InlineExecutor))
    assert asked[3:] == [(0, 3), (0, 4), (0, 5)]


@pytest.mark.parametrize("stop", [3, 6])
def test_a_run_resumed_within_a_stage_goes_on_to_the_next_at_the_same_generation(
    tmp_path, robot_file, stop
):
    """A mark that is always reached ends a stage after as many generations as prove it."""
    stages = (Stage(REWARD, mark=-99.0, settles=False), Stage(REWARD))
    spec = replace(toy_training(robot_file, generations=8), stages=stages)
    seen = []

    def run(name, *, resume=False, stop=8):
        def given(stage, generation):
            seen.append((stage, generation))
            return conditions(stage, generation)

        trainer = Trainer(spec, slide, given, tmp_path / name, resume=resume)
        seen.clear()
        generations = trainer.run(InlineExecutor)
        for _ in range(stop):
            next(generations, None)
        generations.close()

    run("whole")
    assert seen == [(0, g) for g in range(PROOF)] + [(1, g) for g in range(PROOF, 8)]
    run("parts", stop=stop)
    run("parts", resume=True)
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    sigmas = [line["sigma"] for line in log(tmp_path / "whole")]
    assert sigmas == pytest.approx([0.2] * (PROOF + 1) + [0.2 * 0.9, 0.2 * 0.9**2])


def test_a_run_is_not_continued_under_other_conditions(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=2)
    spec = toy_training(robot_file)

    def other(stage, draw):
        return (ToyCondition(), ToyCondition(spoil=draw == 3))

    with pytest.raises(TrainingError, match="started with different options"):
        Trainer(spec, slide, other, tmp_path / "run", resume=True)
    Trainer(spec, slide, conditions, tmp_path / "run", resume=True)


def test_a_run_is_not_continued_on_a_robot_that_was_changed(tmp_path, robot, robot_file):
    spec, heavier = toy_training(robot_file), replace(robot, kp=2.0 * robot.kp)
    next(Trainer(spec, slide, conditions, tmp_path / "run", body=robot).run(InlineExecutor))
    with pytest.raises(TrainingError, match="started with different options"):
        Trainer(spec, slide, conditions, tmp_path / "run", body=heavier, resume=True)
    Trainer(spec, slide, conditions, tmp_path / "run", body=robot, resume=True)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_equals_one_that_was_never_stopped_bit_for_bit(tmp_path, robot_file, stop):
    whole = train(tmp_path / "whole", robot_file)
    train(tmp_path / "parts", robot_file, stop=stop)
    resumed = train(tmp_path / "parts", robot_file, resume=True)
    assert resumed.evolution.generation == 4
    assert resumed.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert resumed.ticks == whole.ticks
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    a, b = (load_checkpoint(tmp_path / name)[0] for name in ("parts", "whole"))
    assert {k: v.tobytes() for k, v in a.items()} == {k: v.tobytes() for k, v in b.items()}


def test_a_generation_that_was_logged_but_not_saved_is_done_again(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file)
    train(tmp_path / "killed", robot_file, stop=2)
    with (tmp_path / "killed" / LOG_NAME).open("a", encoding="utf-8") as file:
        file.write('{"generation": 3, "torn": true}\n')
    resumed = train(tmp_path / "killed", robot_file, resume=True)
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    assert resumed.evolution.mean.tobytes() == whole.evolution.mean.tobytes()


def test_resuming_a_finished_run_does_nothing(tmp_path, robot_file):
    whole = train(tmp_path / "run", robot_file)
    before = (tmp_path / "run" / LOG_NAME).read_bytes()
    again = train(tmp_path / "run", robot_file, resume=True)
    assert again.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert (tmp_path / "run" / LOG_NAME).read_bytes() == before


def test_a_directory_that_holds_a_run_is_not_overwritten(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(TrainingError, match=r"already holds a run. Add --resume"):
        train(tmp_path / "run", robot_file)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == kept


def test_a_run_whose_first_checkpoint_was_not_written_is_begun_anew(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file)
    (tmp_path / "run" / f".{NAME}.partial").mkdir(parents=True)
    with pytest.raises(TrainingError, match="Fix this, or name another --out") as told:
        train(tmp_path / "run", robot_file)
    assert "checkpoint" not in str(told.value)
    assert len(log(tmp_path / "run")) == 1
    (tmp_path / "run" / f".{NAME}.partial").rmdir()
    anew = train(tmp_path / "run", robot_file)
    assert anew.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert log(tmp_path / "run") == log(tmp_path / "whole")
    (tmp_path / "run" / NAME).unlink()  # a log of more than that is not thrown away
    with pytest.raises(TrainingError, match="already holds a run"):
        train(tmp_path / "run", robot_file)


def test_a_finished_run_may_be_continued_further_than_was_planned(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file, generations=4)
    train(tmp_path / "short", robot_file, generations=2)
    longer = train(tmp_path / "short", robot_file, generations=4, resume=True)
    assert longer.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert log(tmp_path / "short") == log(tmp_path / "whole")


@pytest.mark.parametrize(("ticks", "generations"), [(208, 1), (209, 2), (416, 2)])
def test_a_run_ends_with_the_generation_that_spends_its_ticks(
    tmp_path, robot_file, ticks, generations
):
    # a generation: 6 pairs and the mean, two episodes of 8 ticks each
    spec = replace(toy_training(robot_file), generations=None, ticks=ticks)
    trainer = Trainer(spec, slide, conditions, tmp_path / "run")
    assert len(list(trainer.run(InlineExecutor))) == generations
    assert trainer.ticks == 208 * generations
    assert trainer.done
    again = Trainer(spec, slide, conditions, tmp_path / "run", resume=True)
    assert list(again.run(InlineExecutor)) == []


def test_resuming_with_other_options_is_refused_and_changes_nothing(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(TrainingError, match="started with different options"):
        train(tmp_path / "run", robot_file, resume=True, seed=8)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == kept


def test_resuming_where_nothing_was_is_refused(tmp_path, robot_file):
    with pytest.raises(TrainingError, match="no such checkpoint"):
        train(tmp_path / "run", robot_file, resume=True)


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    path = tmp_path / "run" / NAME
    whole = path.read_bytes()
    for data in (b"", whole[:7], whole[:100], whole[:-1], b"\xff" * len(whole)):
        path.write_bytes(data)
        with pytest.raises(TrainingError, match="not a checkpoint, or damaged"):
            train(tmp_path / "run", robot_file, resume=True)


def test_a_checkpoint_of_another_shape_is_one_clear_error(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    arrays, document = load_checkpoint(tmp_path / "run")
    save_checkpoint(tmp_path / "run", {**arrays, "mean": arrays["mean"][:-1]}, document)
    with pytest.raises(TrainingError, match=r"the checkpoint's 'mean' has shape \(\d+,\), not"):
        train(tmp_path / "run", robot_file, resume=True)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("generation", "1", "generation must be a whole number, found '1'"),
        ("generation", -1, "generation -1 in stage 0 is impossible"),
        ("ticks", 1.5, "ticks must be a whole number"),
        ("seconds", float("nan"), "seconds must be a number within"),
        ("revisions", "unknown", "revisions must be a list"),
        ("progress", None, "progress must be an object"),
        ("progress", 3, "progress must be an object"),
        ("progress", {}, "progress: 'stage' is missing"),
        ("progress", {"stage": 1}, "progress: 'generations' is missing"),
        ("progress", {"worst": [], "x": 1}, "progress: unknown field 'x'"),
        (
            "progress",
            {"stage": 0, "generations": 1, "settled": 1, "worst": 4},
            "progress.worst must be a list",
        ),
        (
            "progress",
            {"stage": 9, "generations": 1, "settled": 1, "worst": []},
            "in stage 9 is impossible",
        ),
    ],
)
def test_a_damaged_field_of_a_checkpoint_is_one_clear_error(
    tmp_path, robot_file, field, value, told
):
    train(tmp_path / "run", robot_file, stop=1)
    arrays, document = load_checkpoint(tmp_path / "run")
    save_checkpoint(tmp_path / "run", arrays, {**document, field: value})
    with pytest.raises(TrainingError, match=f"run: checkpoint.*{re.escape(told)}"):
        train(tmp_path / "run", robot_file, resume=True)


def test_a_checkpoint_whose_document_is_no_object_is_one_clear_error(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    save_checkpoint(tmp_path / "run", load_checkpoint(tmp_path / "run")[0], 3)
    with pytest.raises(TrainingError, match="not a checkpoint, or damaged"):
        train(tmp_path / "run", robot_file, resume=True)


def test_progress_comes_back_from_a_checkpoint_to_the_bit(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    arrays, document = load_checkpoint(tmp_path / "run")
    progress = Progress(0, 3, 11, (0.1, 1 / 3, -0.25))
    save_checkpoint(tmp_path / "run", arrays, {**document, "progress": asdict(progress)})
    assert train(tmp_path / "run", robot_file, resume=True, stop=0).progress == progress


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    arrays = {"mean": np.array([1.5, -2.0], dtype=np.float32)}
    save_checkpoint(tmp_path, arrays, {"generation": 3, "spec": {"seed": [1, "x", None]}})
    read, document = load_checkpoint(tmp_path)
    assert read["mean"].tolist() == [1.5, -2.0]
    assert document == {"generation": 3, "spec": {"seed": [1, "x", None]}}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_directory_in_which_a_run_is_going_on_is_refused_and_left_as_it_is(tmp_path, robot_file):
    directory = tmp_path / "run"
    spec = toy_training(robot_file, generations=4, seed=7)
    first = Trainer(spec, slide, conditions, directory).run(InlineExecutor)
    next(first)
    second = Trainer(spec, slide, conditions, directory, resume=True)
    next(first)
    before = (directory / NAME).read_bytes(), (directory / LOG_NAME).read_bytes()
    with pytest.raises(TrainingError, match="another run is using it"):
        next(second.run(InlineExecutor))
    assert ((directory / NAME).read_bytes(), (directory / LOG_NAME).read_bytes()) == before
    first.close()
    train(directory, robot_file, resume=True, stop=2)
    assert len(log(directory)) == 4


# --- killed, interrupted, and a disk that is full ---

CHILD = """
import sys
from pathlib import Path
from toys import InlineExecutor, ToyCondition, slide, toy_training
from hebb_controller.train.trainer import Trainer

robot, directory, resume = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "resume"
spec = toy_training(robot, generations=60)
conditions = lambda stage, generation: (ToyCondition(), ToyCondition())
list(Trainer(spec, slide, conditions, directory, resume=resume).run(InlineExecutor))
"""


def killed_child(robot_file, directory, how, *, after):
    """Train in a process of its own, and kill it as soon as some generations are logged."""
    path = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, robot_file, str(directory), how],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )
    while process.poll() is None and not (
        (directory / NAME).exists() and len(log(directory, torn=True)) >= after
    ):
        time.sleep(0.001)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL


def test_a_run_killed_with_minus_nine_ends_as_one_that_was_not_bit_for_bit(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file, generations=60)
    killed = tmp_path / "killed"
    killed_child(robot_file, killed, "start", after=7)
    killed_child(robot_file, killed, "resume", after=23)
    assert 23 <= load_checkpoint(killed)[1]["generation"] + 1 < 60
    ended = train(killed, robot_file, generations=60, resume=True)
    assert ended.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert log(killed) == log(tmp_path / "whole")
    runs = [load_checkpoint(tmp_path / name) for name in ("killed", "whole")]
    (a, one), (b, other) = runs
    assert {k: v.tobytes() for k, v in a.items()} == {k: v.tobytes() for k, v in b.items()}
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize("full", [f".{NAME}.partial", LOG_NAME])
def test_a_full_disk_is_one_clear_error_and_the_last_checkpoint_stays(tmp_path, robot_file, full):
    whole = train(tmp_path / "whole", robot_file)
    directory = tmp_path / "run"
    train(directory, robot_file, stop=2)
    checkpoint, lines = (directory / NAME).read_bytes(), (directory / LOG_NAME).read_bytes()
    trainer = Trainer(toy_training(robot_file), slide, conditions, directory, resume=True)
    (directory / full).unlink(missing_ok=True)
    (directory / full).symlink_to("/dev/full")  # every write fails with ENOSPC
    with pytest.raises(TrainingError, match="cannot be written to: No space left on") as caught:
        list(trainer.run(InlineExecutor))
    assert "\n" not in str(caught.value)
    assert (directory / NAME).read_bytes() == checkpoint
    (directory / full).unlink(missing_ok=True)
    if full == LOG_NAME:
        (directory / full).write_bytes(lines)
    again = train(directory, robot_file, resume=True)
    assert again.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert log(directory) == log(tmp_path / "whole")


def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path, robot_file):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot be written to: Not a directory"):
        train(tmp_path / "file" / "run", robot_file)


def test_a_run_goes_back_to_its_checkpoint_after_an_interrupt_in_the_middle(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file)
    trainer = train(tmp_path / "run", robot_file, stop=2)
    kept = trainer.evolution.mean.tobytes()
    trainer.evolution.tell([1], np.array([[1.0], [0.0]]))  # half of a generation
    assert trainer.rewind()
    assert (trainer.evolution.mean.tobytes(), trainer.evolution.generation) == (kept, 2)
    list(trainer.run(InlineExecutor))
    assert trainer.evolution.mean.tobytes() == whole.evolution.mean.tobytes()


def test_there_is_nothing_to_go_back_to_before_the_first_checkpoint(tmp_path, robot_file):
    assert not train(tmp_path / "run", robot_file, stop=0).rewind()


def test_one_worker_is_busy_for_no_longer_than_the_generation_lasts(tmp_path, robot_file):
    train(tmp_path, robot_file, generations=3)
    lines = [json.loads(line) for line in (tmp_path / LOG_NAME).read_text().splitlines()]
    assert all(0.0 < line["worker_seconds"] <= line["seconds"] for line in lines)


def test_scalars_of_a_continued_run_hide_what_was_not_saved(tmp_path, robot_file):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = train(tmp_path / "run", robot_file, generations=3)
    assert trainer.ticks == 624
    lines = [Generation(**line, seconds=1.0, worker_seconds=1.5) for line in log(tmp_path / "run")]
    board = tmp_path / "board"
    assert list(with_scalars(lines, board, done=0)) == lines
    assert list(with_scalars(lines[2:], board, done=2)) == lines[2:]
    events = accumulator.EventAccumulator(str(board)).Reload()
    assert [event.step for event in events.Scalars("ticks")] == [1, 2, 3]
    assert [event.value for event in events.Scalars("ticks")] == [208, 416, 624]
    fitness = [event.value for event in events.Scalars("fitness")]
    assert fitness == pytest.approx([line.fitness for line in lines], rel=2**-23)  # float32
    assert "worst" in events.Tags()["scalars"]
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"scalars cannot be written: .*Not a directory"):
        next(with_scalars(lines, tmp_path / "file" / "board", done=0))


def test_episodes_that_are_not_finite_are_scored_and_do_not_spread(tmp_path, robot_file):
    trainer = train(tmp_path / "run", robot_file, spoil=True, generations=6)
    assert np.isfinite(trainer.evolution.mean).all()
    lines = log(tmp_path / "run")
    assert min(line["population_fitness"] for line in lines) < -1.0  # some were spoiled …
    assert max(line["best_fitness"] for line in lines) > -1.0  # … and some were not
    assert all(math.isfinite(value) for line in lines for value in line.values())
