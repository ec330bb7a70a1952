"""A training run on a toy, killed, interrupted, in the way of another, or on a disk that is full."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_runs import conditions, log, train
from toys import InlineExecutor, slide, toy_training

from hebb_controller.errors import TrainingError
from hebb_controller.train.checkpoint import NAME, load_checkpoint
from hebb_controller.train.trainer import LOG_NAME, Trainer


def test_a_generation_that_was_logged_but_not_saved_is_done_again(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file)
    train(tmp_path / "killed", robot_file, stop=2)
    with (tmp_path / "killed" / LOG_NAME).open("a", encoding="utf-8") as file:
        file.write('{"generation": 3, "torn": true}\n')
    resumed = train(tmp_path / "killed", robot_file, resume=True)
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    assert resumed.evolution.mean.tobytes() == whole.evolution.mean.tobytes()


def test_a_log_that_was_lost_meanwhile_gets_no_generation_twice(tmp_path, robot_file):
    train(tmp_path, robot_file, stop=2)
    (tmp_path / LOG_NAME).write_text('{"generation": 3}\n', encoding="utf-8")
    train(tmp_path, robot_file, resume=True)
    assert [line["generation"] for line in log(tmp_path)] == [3, 4]


def test_a_log_that_cannot_be_written_is_said_before_anything_is_run(tmp_path, robot_file):
    (tmp_path / LOG_NAME).mkdir()

    def nothing(*_):
        raise AssertionError

    trainer = Trainer(toy_training(robot_file), nothing, conditions, tmp_path)
    with pytest.raises(TrainingError, match=r"cannot be written to: Is a directory\. Fix this"):
        next(trainer.run(InlineExecutor))


def test_a_log_with_a_byte_that_is_no_text_does_not_stop_a_run(tmp_path, robot_file):
    whole = train(tmp_path / "whole", robot_file)
    train(tmp_path / "torn", robot_file, stop=2)
    with (tmp_path / "torn" / LOG_NAME).open("ab") as file:
        file.write(b"\xff\n")
    with pytest.raises(TrainingError, match="already holds a run"):
        train(tmp_path / "torn", robot_file)
    resumed = train(tmp_path / "torn", robot_file, resume=True)
    assert log(tmp_path / "torn") == log(tmp_path / "whole")
    assert resumed.evolution.mean.tobytes() == whole.evolution.mean.tobytes()


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
