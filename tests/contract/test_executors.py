"""Training gives the same bits on whatever runs its tasks: this process, threads, worker processes,
and pools that break in the middle."""

import json
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from toys import InlineExecutor, ToyCondition, slide, toy_training, write_toy_robot

from hebb_controller.train.executor import MAX_REBUILDS, TaskRunner, local_processes
from hebb_controller.train.trainer import LOG_NAME, Trainer

FACTORIES = {
    "threads": lambda: ThreadPoolExecutor(2),
    "1 process": local_processes(1),
    "2 processes": local_processes(2),
}


def train(directory: Path, factory, *, crash_once: Path):
    """Return the mean and the log, without wall times, of a short run."""
    directory.mkdir()
    robot = write_toy_robot(directory.parent)

    def conditions(generation):
        # the path is given in every run, so that all see the same conditions
        return (ToyCondition(crash_once=str(crash_once) if generation == 1 else ""),)

    trainer = Trainer(toy_training(robot, generations=3), slide, conditions, directory / "run")
    list(trainer.run(factory))
    lines = (directory / "run" / LOG_NAME).read_text(encoding="utf-8").splitlines()
    log = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return trainer.evolution.mean.tobytes(), log


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the outcome without any pool."""
    directory = tmp_path_factory.mktemp("expected")
    (directory / "crashed").touch()
    return train(directory / "inline", InlineExecutor, crash_once=directory / "crashed")


@pytest.mark.parametrize("name", FACTORIES)
def test_every_executor_gives_the_same_bits(tmp_path, expected, name):
    (tmp_path / "crashed").touch()
    found = train(tmp_path / "run", FACTORIES[name], crash_once=tmp_path / "crashed")
    assert found == expected


def test_a_worker_that_dies_in_the_middle_changes_nothing(tmp_path, expected):
    found = train(tmp_path / "run", local_processes(2), crash_once=tmp_path / "crashed")
    assert (tmp_path / "crashed").exists()  # it did die
    assert found == expected


class Breaking(InlineExecutor):
    """A pool that does a number of tasks and then breaks; counts how many were made."""

    made = 0
    done = 0

    def __init__(self, good):
        type(self).made += 1
        self.left = good

    def submit(self, function, /, *arguments, **named):
        if self.left == 0:
            raise BrokenExecutor("gone")
        self.left -= 1
        type(self).done += 1
        return super().submit(function, *arguments, **named)


@pytest.fixture(autouse=True)
def _count_anew():
    Breaking.made = Breaking.done = 0


def double(x):
    return 2 * x


def test_results_come_in_the_order_of_the_tasks():
    with TaskRunner(lambda: ThreadPoolExecutor(4)) as runner:
        assert runner.map(double, range(50)) == [2 * x for x in range(50)]
        assert runner.map(double, []) == []


def test_a_pool_that_breaks_is_made_again():
    good = iter([3, 5, 100])
    with TaskRunner(lambda: Breaking(next(good))) as runner:
        assert runner.map(double, range(6)) == [0, 2, 4, 6, 8, 10]
    assert Breaking.made == 3


def test_a_pool_that_always_breaks_is_given_up():
    with TaskRunner(lambda: Breaking(2)) as runner, pytest.raises(BrokenExecutor):
        runner.map(double, range(10))
    assert Breaking.made == 1 + MAX_REBUILDS


def test_an_error_in_a_task_is_the_callers_and_no_reason_for_another_pool():
    with TaskRunner(lambda: Breaking(100)) as runner, pytest.raises(ZeroDivisionError):
        runner.map(lambda x: 1 // x, [1, 0])
    assert Breaking.made == 1
