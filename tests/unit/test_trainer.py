"""A training run on a toy: resuming, refusing, and candidates that go wrong; all in this process."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from toys import REWARD, InlineExecutor, ToyCondition, slide, toy_training

from hebb_controller.errors import TrainingError
from hebb_controller.train.checkpoint import NAME, load_checkpoint, save_checkpoint
from hebb_controller.train.task import FAILED, Task, run_task
from hebb_controller.train.trainer import LOG_NAME, Trainer


def conditions(generation):
    return (ToyCondition(), ToyCondition())


def train(directory, robot_file, *, generations=4, seed=7, resume=False, stop=None, spoil=False):
    """Return the trainer after a run, or after ``stop`` generations of it."""
    given = (lambda g: (ToyCondition(spoil=True),)) if spoil else conditions
    spec = toy_training(robot_file, generations=generations, seed=seed)
    trainer = Trainer(spec, slide, given, directory, resume=resume)
    run = trainer.run(InlineExecutor)
    for _ in range(generations if stop is None else stop):
        next(run, None)
    run.close()
    return trainer


def log(directory):
    """Return the log without wall times."""
    lines = (directory / LOG_NAME).read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


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


def test_each_generation_is_rewarded_by_its_stage(tmp_path, robot_file):
    """A stage that pays twice as much from generation 2 on changes the fitness from there on."""
    spec = toy_training(robot_file)
    staged = replace(spec, rewards=((0, REWARD), (2, replace(REWARD, target=0.5, limit=9.0))))
    fitness = []
    for name, each in (("plain", spec), ("staged", staged)):
        trainer = Trainer(each, slide, conditions, tmp_path / name)
        fitness.append([line.fitness for line in trainer.run(InlineExecutor)])
    assert fitness[0][:2] == fitness[1][:2]
    # The same mean in generation 2; a speed below 0.5 earns twice as much of the target.
    assert abs(fitness[0][2]) < 0.5
    assert fitness[1][2] == pytest.approx(2.0 * fitness[0][2])


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
    with pytest.raises(TrainingError, match=r"holds a run already. Add --resume"):
        train(tmp_path / "run", robot_file)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == kept


def test_a_finished_run_may_be_continued_further_than_was_planned(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file, generations=4)
    train(tmp_path / "short", robot_file, generations=2)
    longer = train(tmp_path / "short", robot_file, generations=4, resume=True)
    assert longer.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert log(tmp_path / "short") == log(tmp_path / "whole")


def test_resuming_with_other_options_is_refused_and_changes_nothing(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(TrainingError, match="started with other options"):
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


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    arrays = {"mean": np.array([1.5, -2.0], dtype=np.float32)}
    save_checkpoint(tmp_path, arrays, {"generation": 3, "spec": {"seed": [1, "x", None]}})
    read, document = load_checkpoint(tmp_path)
    assert read["mean"].tolist() == [1.5, -2.0]
    assert document == {"generation": 3, "spec": {"seed": [1, "x", None]}}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_episodes_that_are_not_finite_are_scored_and_do_not_spread(tmp_path, robot_file):
    trainer = train(tmp_path / "run", robot_file, spoil=True, generations=6)
    assert np.isfinite(trainer.evolution.mean).all()
    lines = log(tmp_path / "run")
    assert min(line["population_fitness"] for line in lines) < -1.0  # some were spoiled …
    assert max(line["best_fitness"] for line in lines) > -1.0  # … and some were not
    assert all(math.isfinite(value) for line in lines for value in line.values())


def task(robot_file, *, mean, candidates, spoil=False):
    spec = toy_training(robot_file)
    return Task(
        spec.genome,
        REWARD,
        slide,
        robot_file,
        mean,
        0.2,
        tuple(candidates),
        ((ToyCondition(spoil=spoil), 1), (ToyCondition(spoil=spoil), 2)),
    )


def test_a_candidate_that_is_no_rule_is_scored_as_failed_and_the_next_one_runs(robot_file):
    mean = np.zeros(24, dtype=np.float32)
    mean[3] = np.nan
    scores = run_task(task(robot_file, mean=mean, candidates=[(1, 1), (1, -1)]))
    assert [score.fitness for score in scores] == [(FAILED, FAILED)] * 2
    assert [score.ticks for score in scores] == [0, 0]


def test_scores_do_not_depend_on_which_other_candidates_share_the_task(robot_file):
    mean = np.linspace(-1, 1, 24, dtype=np.float32)
    candidates = [(5, 1), (5, -1), (6, 1), (0, 0)]
    together = run_task(task(robot_file, mean=mean, candidates=candidates))
    alone = [run_task(task(robot_file, mean=mean, candidates=[c]))[0] for c in candidates]
    assert together == alone
    assert len({score.fitness for score in together}) == 4


def test_a_failed_episode_is_worse_than_anything_an_episode_earns(robot_file):
    mean = np.zeros(24, dtype=np.float32)
    plain = run_task(task(robot_file, mean=mean, candidates=[(s, 1) for s in range(6)]))
    spoiled = run_task(
        task(robot_file, mean=mean, candidates=[(s, 1) for s in range(6)], spoil=True)
    )
    pairs = [
        (a, b)
        for one, other in zip(plain, spoiled, strict=True)
        for a, b in zip(one.fitness, other.fitness, strict=True)
    ]
    assert {b == FAILED for _, b in pairs} == {True, False}
    for earned, scored in pairs:
        assert scored == earned or (scored == FAILED and earned > FAILED)
