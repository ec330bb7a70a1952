"""Simulated robots that stand, fall and are damaged."""

import numpy as np
import pybullet

from hebb_sim.damage import parse_damages

SEED = 3


def damage(world, text):
    world.damage(parse_damages(text, world.robot))


def stand(world, command, ticks=75, text="none"):
    """Return the last reading of a standing robot, damaged from the first tick on."""
    world.reset(np.random.default_rng(SEED))
    damage(world, text)
    for _ in range(ticks):
        reading = world.step(command())
    return reading


def in_the_air(world):
    """Start an episode 30 m above the ground, which leaves 2.4 s of fall."""
    world.reset(np.random.default_rng(SEED))
    _, q = pybullet.getBasePositionAndOrientation(world._body, physicsClientId=world._client)
    pybullet.resetBasePositionAndOrientation(
        world._body, [0, 0, 30], q, physicsClientId=world._client
    )
