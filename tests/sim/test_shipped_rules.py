"""Every rule that ships is one that its robot can run, and walks."""

import pytest

from hebb_controller.controller import controller_for
from hebb_controller.robot import load_robot
from hebb_controller.rule_file import load_rule
from hebb_controller.share import share_dir
from hebb_sim.condition import Condition
from hebb_sim.episode import run_episode
from hebb_sim.world import World

RULES = sorted((share_dir() / "rules").glob("*.rule.safetensors"))


def name(path):
    return path.name.partition(".")[0]


def test_there_is_one():
    assert "a1_walk" in map(name, RULES)


@pytest.mark.parametrize("path", RULES, ids=name)
def test_a_shipped_rule_is_the_same_on_every_runtime(hebb, path):
    robot = load_rule(path).header.contract.robot
    code, output, errors = hebb("verify", path, "--robot", robot)
    assert code == 0, output + errors


@pytest.mark.parametrize("path", RULES, ids=name)
def test_a_shipped_rule_walks(path):
    rule = load_rule(path)
    robot = load_robot(rule.header.contract.robot)
    world = World(robot, tick_period=rule.header.tick_period)
    record = run_episode(controller_for(rule, robot), world, Condition(duration=8.0), seed=2**31)
    world.close()
    assert not record.fallen
    ahead = record.position[-1, 0] - record.position[record.ticks // 2, 0]
    assert ahead / 4.0 > 0.3  # m/s along the first heading, in the second half
