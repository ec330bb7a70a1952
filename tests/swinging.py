"""How the tests of robots move them and compare their readings."""

import math

import numpy as np

from hebb_controller.signals import Command, Mode
from hebb_sim.stage import RobotState


def command(robot, position=None):
    return Command(
        Mode.POSITION, robot.default if position is None else position, robot.kp, robot.kd
    )


def wiggle(robot, tick):
    """Return targets that swing by 0.3 rad at 2 Hz, each joint with its own phase."""
    return robot.default + 0.3 * np.sin(0.08 * math.pi * tick + np.arange(robot.n_joints))


def bits(reading):
    return (
        reading.joint_position.tobytes(),
        reading.joint_velocity.tobytes(),
        reading.orientation.tobytes(),
        reading.angular_velocity_base.tobytes(),
    )


def put(world, pose, height):
    """Put a robot into the world at rest, level, facing along x."""
    zero = [0.0] * 3
    rest = [0.0] * world.robot.n_joints
    world._stage.clear()
    world._stage.place(
        RobotState([0.0, 0.0, height], [0.0, 0.0, 0.0, 1.0], zero, zero, pose.tolist(), rest)
    )
    world.sense()
