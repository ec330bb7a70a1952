"""A robot that walks, whole or damaged, tracks its targets well enough; one without power does not."""

import numpy as np
import pytest

from hebb_controller.controller import controller_for
from hebb_controller.node.tracking import PATIENCE, TrackingMonitor
from hebb_controller.rule_file import load_rule
from hebb_controller.share import shipped
from hebb_sim.damage import parse_damages
from hebb_sim.world import World

SECONDS = 7.0
ONSET = 2.0  # s
RULES = ("a1_walk", "a1_robust")
DAMAGES = ("none", "FR:limp", "RR:limp", "FR:weak:0.3", "RR:weak:0.3", "FR:locked", "RR:locked")


def longest_off_target(robot, name, damages):
    """Return for how long at a stretch too many joints were off target, s, as the node counts it."""
    rule = load_rule(shipped("rules", f"{name}.rule.safetensors"))
    controller, monitor = controller_for(rule, robot), TrackingMonitor(robot, max_step=0.1)
    period = rule.header.tick_period
    world = World(robot, tick_period=period)
    reading = world.reset(np.random.default_rng(0))
    controller.reset(np.random.default_rng((0, 1)), reading.joint_position)
    off, longest = 0.0, 0.0
    for tick in range(round(SECONDS / period)):
        if tick == round(ONSET / period):
            world.damage(parse_damages(damages, robot))
        command = controller.step(reading, reading.received)
        if command.limits.tripped:
            break  # it fell: the node damps
        reading = world.step(command)
        count = monitor.joints_off_target(reading.joint_position, command.position)
        off = off + period if count else 0.0
        longest = max(longest, off)
    world.close()
    return longest


@pytest.mark.parametrize("damages", DAMAGES)
@pytest.mark.parametrize("name", RULES)
def test_no_damage_that_a_rule_may_cope_with_is_taken_for_lost_power(a1, name, damages):
    assert longest_off_target(a1, name, damages) < PATIENCE / 2


@pytest.mark.parametrize("name", RULES)
def test_lost_power_is_noticed(a1, name):
    assert longest_off_target(a1, name, "motors:limp") > 2.0 * PATIENCE
