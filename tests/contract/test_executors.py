"""Training gives the same bits on whatever runs its tasks: this process, threads, worker processes,
the nodes of a Ray cluster, and pools that break in the middle."""

import functools
import json
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from toys import InlineExecutor, ToyCondition, slide, toy_training, write_toy_robot

from hebb_controller.errors import RobotSpecError, TrainingError
from hebb_controller.robot import load_robot
from hebb_controller.train.executor import (
    MAX_REBUILDS,
    TaskRunner,
    executor_factory,
    local_processes,
)
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

    def conditions(stage, generation):
        # the path is given in every run, so that all see the same conditions
        return (ToyCondition(crash_once=str(crash_once) if generation == 1 else ""),)

    trainer = Trainer(toy_training(robot, generations=3), slide, conditions, directory / "run")
    list(trainer.run(factory))
    lines = (directory / "run" / LOG_NAME).read_text(encoding="utf-8").splitlines()
    log = [
        {k: v for k, v in json.loads(line).items() if not k.endswith("seconds")} for line in lines
    ]
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


@pytest.mark.parametrize("name", ["", "ray", "ray:", "slurm:here", "local:2"])
def test_an_unknown_cluster_is_refused_by_its_name(name):
    with pytest.raises(TrainingError, match=f"cluster '{name}' is unknown. Name 'local', 'auto'"):
        executor_factory(name, 1)


# --- Ray: two nodes on this machine, each with one worker ---


@pytest.fixture(scope="module")
def ray_address():
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node = {
        "num_cpus": 1,
        "object_store_memory": 80 * 2**20,
        "node_ip_address": "127.0.0.1",
        "include_dashboard": False,
    }
    # What Ray does on desktop systems: it stays on the loopback interface.
    loopback = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # toys.py, for the workers
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv(loopback, "0")
        environment.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(**node)
        yield cluster.address
        cluster.shutdown()


def test_two_ray_nodes_of_which_a_worker_dies_give_the_same_bits(tmp_path, expected, ray_address):
    factory = executor_factory(f"ray:{ray_address}", 1)
    found = train(tmp_path / "run", factory, crash_once=tmp_path / "crashed")
    assert (tmp_path / "crashed").exists()  # it did die
    assert found == expected


def test_on_ray_a_function_is_stored_once_however_often_it_is_called(ray_address, monkeypatch):
    import ray

    stored = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: stored.append(value) or put(value))
    heavy = functools.partial(sum_of, np.ones(100_000, dtype=np.float32))
    with TaskRunner(executor_factory(f"ray:{ray_address}", 1)) as runner:
        assert runner.map(heavy, range(6)) == [100_000.0 + x for x in range(6)]
        with pytest.raises(ZeroDivisionError):  # an error in a task is the caller's here, too
            runner.map(divide, [1, 0])
        with pytest.raises(RobotSpecError) as caught:
            runner.map(load_robot, ["nobody"])
    assert str(caught.value).startswith("robot 'nobody': no such spec. ")
    assert stored == [heavy, divide, load_robot]


def sum_of(array, x):
    return float(array.sum()) + x


def divide(x):
    return 1 // x


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


class Losing(InlineExecutor):
    """A pool that loses its worker after a number of tasks, which all of its later tasks are told."""

    made = 0

    def __init__(self):
        type(self).made += 1
        self.left = 2

    def submit(self, function, /, *arguments, **named):
        self.left -= 1
        if self.left < 0:
            lost = Future()
            lost.set_exception(BrokenExecutor("lost"))
            return lost
        return super().submit(function, *arguments, **named)


@pytest.fixture(autouse=True)
def _count_anew():
    Breaking.made = Breaking.done = Losing.made = 0


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
    with (
        TaskRunner(lambda: Breaking(2)) as runner,
        pytest.raises(TrainingError, match="ended 4 times without a result: gone"),
    ):
        runner.map(double, range(10))
    assert Breaking.made == 1 + MAX_REBUILDS


def test_a_pool_that_breaks_now_and_then_is_made_again_as_often():
    """Each brings on what it has submitted before it breaks."""
    with TaskRunner(Losing) as runner:
        assert runner.map(double, range(10)) == [2 * x for x in range(10)]
    assert Losing.made > 1 + MAX_REBUILDS


def test_an_error_in_a_task_is_the_callers_and_no_reason_for_another_pool():
    with TaskRunner(lambda: Breaking(100)) as runner, pytest.raises(ZeroDivisionError):
        runner.map(divide, [1, 0])
    assert Breaking.made == 1
