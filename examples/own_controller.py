"""Your own controller in the same table as the rules: an open-loop trot on the A1.

    hebb evaluate rules/a1_walk.rule.safetensors examples.own_controller:trot --scenario limp_leg

Any object with the Runtime protocol will do. This one learns nothing: it has no state or weights.
"""

import numpy as np

from hebb_controller.controller import Controller, Interface
from hebb_controller.observation import Channel, Observer
from hebb_controller.plasticity import Array
from hebb_controller.robot import RobotSpec
from hebb_controller.runtime.base import State


class Trot:
    """A Runtime that swings diagonal legs together."""

    plasticity_gain = 1.0
    state: State = {}  # noqa: RUF012 - always empty

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run."""

    def restore(self, state: State) -> None:
        """Restore a state."""

    def step(self, observation: Array) -> Array:
        """Return hip, upper and lower joint actions per leg from the clock's (sin, cos)."""
        swing, lift = np.outer(observation, [1.0, -1.0, -1.0, 1.0])  # FR, FL, RR, RL
        hip, upper, lower = 0.0 * swing, -0.8 * swing, -0.6 * np.maximum(lift, 0.0)
        return np.column_stack([hip, upper, lower]).ravel().astype(np.float32)


def trot(robot: RobotSpec) -> Controller:
    """Return the controller; this is the factory named on the command line."""
    clock = Observer([Channel("clock", scale=1.0, clip=1.0)], robot)
    scale = np.full(robot.n_joints, 0.5)  # rad that an action of 1 adds to the default pose
    return Controller(robot, Interface(clock, robot.default, scale, period=0.02), Trot())
