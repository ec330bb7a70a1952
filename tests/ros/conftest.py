"""Real nodes in processes of their own, over real DDS; this process is the third that watches.

Every pytest process has a ROS domain of its own, and nothing leaves this machine.
"""

import importlib.util
import os
from pathlib import Path

import pytest

from hebb_controller.node.processes import own_domain, ros_environment
from hebb_controller.robot import load_robot
from hebb_controller.rule_file import load_rule, save_rule

os.environ.update(ros_environment(own_domain()))

TESTS = Path(__file__).parents[1]
NEEDED = ("rclpy", "sensor_msgs", "lifecycle_msgs", "std_srvs", "diagnostic_msgs", "pybullet")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if MISSING:
    collect_ignore_glob = ["test_*.py"]
else:
    from rig import RUNNING, gentle_rule, rigs


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Have a test that fails show what the nodes of its rig printed."""
    report = yield
    if report.failed and not MISSING:
        for made in RUNNING:
            report.sections.append(("what the nodes printed", made.logs()))
    return report


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
    """Return the function that starts a rig; the last one ends with the module."""
    with rigs(lambda: tmp_path_factory.mktemp("rig"), rule_file) as start:
        yield start


@pytest.fixture
def faulty(rig):
    """Return the function that starts a rig whose controller has a fault of tests/faulty_node.py."""

    def start(fault, **rest):
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        environment = {**ros_environment(), "HEBB_TEST_FAULT": fault, "PYTHONPATH": path}
        return rig(module="faulty_node", environment=environment, **{"patient": True, **rest})

    return start
