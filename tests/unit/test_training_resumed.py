"""A training run on a toy that is continued: to the bit, or not at all."""

from dataclasses import replace

import pytest
from toy_runs import conditions, log, train
from toys import REWARD, InlineExecutor, ToyCondition, slide, toy_training

from hebb_controller.errors import TrainingError
from hebb_controller.train.checkpoint import load_checkpoint
from hebb_controller.train.curriculum import PROOF, Stage
from hebb_controller.train.trainer import LOG_NAME, Trainer


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


def test_a_run_is_not_continued_on_a_robot_that_was_changed(tmp_path, robot_file):
    spec = toy_training(robot_file)
    next(Trainer(spec, slide, conditions, tmp_path / "run", robot="1").run(InlineExecutor))
    with pytest.raises(TrainingError, match=r"started with different options: robot\."):
        Trainer(spec, slide, conditions, tmp_path / "run", robot="2", resume=True)
    elsewhere = replace(spec, robot="elsewhere")
    Trainer(elsewhere, slide, conditions, tmp_path / "run", robot="1", resume=True)


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


def test_resuming_a_finished_run_does_nothing(tmp_path, robot_file):
    whole = train(tmp_path / "run", robot_file)
    before = (tmp_path / "run" / LOG_NAME).read_bytes()
    again = train(tmp_path / "run", robot_file, resume=True)
    assert again.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert (tmp_path / "run" / LOG_NAME).read_bytes() == before


def test_a_finished_run_may_be_continued_further_than_was_planned(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file, generations=4)
    train(tmp_path / "short", robot_file, generations=2)
    longer = train(tmp_path / "short", robot_file, generations=4, resume=True)
    assert longer.evolution.mean.tobytes() == whole.evolution.mean.tobytes()
    assert log(tmp_path / "short") == log(tmp_path / "whole")


def test_resuming_with_other_options_is_refused_and_changes_nothing(tmp_path, robot_file):
    train(tmp_path / "run", robot_file, stop=1)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(TrainingError, match=r"started with different options: spec\.seed\."):
        train(tmp_path / "run", robot_file, resume=True, seed=8)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == kept


def test_resuming_where_nothing_was_is_refused(tmp_path, robot_file):
    with pytest.raises(TrainingError, match="no such checkpoint"):
        train(tmp_path / "run", robot_file, resume=True)
