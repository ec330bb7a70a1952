"""A training run on a toy: what it does, and says that it did; all in this process."""

import contextlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from toy_runs import conditions, log, train
from toys import REWARD, InlineExecutor, ToyCondition, slide, toy_training

from hebb_controller.errors import TrainingError
from hebb_controller.train.curriculum import Stage
from hebb_controller.train.scalars import with_scalars
from hebb_controller.train.trainer import LOG_NAME, Generation, Trainer


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
    spec, busy = toy_training(robot_file), tmp_path / "busy"
    with contextlib.closing(Trainer(spec, slide, conditions, busy).run(InlineExecutor)) as run:
        next(run)
        other = Trainer(spec, slide, conditions, busy, resume=True).run(InlineExecutor)
        with pytest.raises(TrainingError, match="another run is using it"):
            next(with_scalars(other, busy / "board", done=1))
    assert not (busy / "board").exists()


def test_episodes_that_are_not_finite_are_scored_and_do_not_spread(tmp_path, robot_file):
    trainer = train(tmp_path / "run", robot_file, spoil=True, generations=6)
    assert np.isfinite(trainer.evolution.mean).all()
    lines = log(tmp_path / "run")
    assert min(line["population_fitness"] for line in lines) < -1.0  # some were spoiled …
    assert max(line["best_fitness"] for line in lines) > -1.0  # … and some were not
    assert all(math.isfinite(value) for line in lines for value in line.values())
