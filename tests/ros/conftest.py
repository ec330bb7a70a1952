"""Real nodes in processes of their own, over real DDS; this process is the third that watches.

Every pytest process has a ROS domain of its own, and nothing leaves this machine.
"""

import importlib.util
import itertools
import os

import pytest

from hebb_controller.robot import load_robot
from hebb_controller.rule_file import load_rule, save_rule

os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

NEEDED = ("rclpy", "sensor_msgs", "lifecycle_msgs", "std_srvs", "diagnostic_msgs", "pybullet")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if MISSING:
    collect_ignore_glob = ["test_*.py"]
else:
    from rig import Rig, gentle_rule

    from hebb_controller.node.operator_client import Operator
    from hebb_controller.node.processes import CONTROLLER, SIMULATOR, NodeProcess


@pytest.fixture(scope="session")
def robot():
    return load_robot("a1")


@pytest.fixture(scope="session")
def rules(robot, tmp_path_factory):
    """Return a directory with two good rule files."""
    directory = tmp_path_factory.mktemp("rules")
    for seed, name in enumerate(("one", "two")):
        save_rule(gentle_rule(robot, seed=seed), directory / f"{name}.rule.safetensors")
    return directory


@pytest.fixture(scope="session")
def rule_file(rules):
    return rules / "one.rule.safetensors"


@pytest.fixture(scope="session")
def sha256():
    """Return the function that says which file a status must name."""
    return lambda path: load_rule(path).sha256


@pytest.fixture(scope="module")
def rig(tmp_path_factory, rule_file):
    """Return the function that starts a rig; all of them end with the module."""
    running = []
    watchers = []
    numbers = itertools.count()

    def start(
        *,
        sim=None,
        controller=None,
        lock_step=False,
        readings=True,
        module=CONTROLLER,
        environment=None,
    ):
        for process in running:  # one at a time: they share their topics
            process.end()
        running.clear()
        if watchers:
            watchers.pop().close()
        directory = tmp_path_factory.mktemp("rig")
        simulator = NodeProcess(
            SIMULATOR,
            {"paused": True, "real_time_factor": 0.0 if lock_step else 1.0, **(sim or {})},
            log=directory / "sim.log",
        )
        running.append(simulator)
        driver = NodeProcess(
            module,
            {
                "rule_file": str(rule_file),
                "tick_source": "sensor" if lock_step else "timer",
                "lock_step": lock_step,
                **(controller or {}),
            },
            environment=environment,
            log=directory / "controller.log",
        )
        running.append(driver)
        # A node of its own for each rig: what was heard of the one before is not heard again.
        watcher = Operator(name=f"watcher_{os.getpid()}_{next(numbers)}")
        watchers.append(watcher)
        made = Rig(directory, watcher, simulator, driver)
        made.listen(readings=readings)
        return made

    yield start
    for process in running:
        process.end()
    for watcher in watchers:
        watcher.close()
