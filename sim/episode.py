"""One episode: a controller drives the simulated robot, and the result is recorded."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from hebb_controller.controller import Controller
from hebb_controller.record import EpisodeRecord
from hebb_controller.robot import FloatArray, load_robot
from hebb_controller.rotation import wrap_angle, yaw

from .condition import Condition
from .world import World


@functools.cache
def world_for(robot: str, tick_period: float) -> World:
    """Return this process's world for a robot and a tick period, s.

    It is made only once, since PyBullet does not free all of its memory.
    """
    return World(load_robot(robot), tick_period=tick_period)


@dataclass(frozen=True)
class EpisodeRunner:
    """Runs episodes on one robot; picklable, and each process uses its own world.

    Attributes:
        robot: name of the robot spec.
    """

    robot: str

    def __call__(self, controller: Controller, condition: Condition, seed: int) -> EpisodeRecord:
        """Return what happened in one episode; the same seed gives the same bits.

        Args:
            controller: the controller, reset first; it ticks at its own period.
            condition: what the episode puts it through.
            seed: seed of the pose and, unless the condition has its own, of the initial weights.
        """
        world = world_for(self.robot, controller.interface.period)
        return run_episode(controller, world, condition, seed)


def run_episode(
    controller: Controller, world: World, condition: Condition, seed: int
) -> EpisodeRecord:
    """Return what happened in one episode; see :class:`EpisodeRunner`."""
    pose_rng = np.random.default_rng((seed, 0))
    weights = condition.weight_seed
    weight_rng = np.random.default_rng((seed if weights is None else weights, 1))
    reading = world.reset(pose_rng)
    changes = condition.changes(world.tick_period)
    if changes[0][0]:
        world.damage(changes[0][0])
        reading = world.sense()
    controller.reset(weight_rng, reading.joint_position, turn=condition.turn)
    ticks = round(condition.duration / world.tick_period)
    velocity = np.array(condition.velocity_command)
    rows: list[tuple[float, ...]] = []
    positions: list[FloatArray] = []
    joints: list[FloatArray] = []
    damaged: list[bool] = []
    is_damaged = changes[0][1]
    origin = world.base().position
    last_yaw = yaw(world.truth.orientation)
    kept_yaw = last_yaw + condition.turn
    heading = -condition.turn
    fall_height = world.robot.simulation.fall_height
    fallen = False
    for tick in range(ticks):
        if tick and tick in changes:
            in_force, is_damaged = changes[tick]
            world.damage(in_force)
        reading = replace(reading, velocity_command=velocity)
        command = controller.step(reading, reading.received)
        if command.limits.tripped:
            fallen = True
            break
        reading = world.step(command)
        truth = world.truth
        position = world.base().position
        now_yaw = yaw(truth.orientation)
        heading += wrap_angle(now_yaw - last_yaw)
        last_yaw = now_yaw
        joints.append(truth.joint_position)
        positions.append(position)
        rows.append((heading, world.power))
        damaged.append(is_damaged)
        if position[2] < fall_height:
            fallen = True
            break
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 2)
    path = np.array(positions, dtype=np.float64).reshape(len(rows), 3)
    angles = np.array(joints, dtype=np.float64).reshape(len(rows), world.robot.n_joints)
    beyond = np.maximum(world.robot.lower - angles, angles - world.robot.upper)
    return EpisodeRecord(
        period=world.tick_period,
        duration=condition.duration,
        position=_in_heading_frame(path - origin, kept_yaw),
        heading=table[:, 0],
        power=table[:, 1],
        damaged=np.array(damaged, dtype=np.bool_),
        beyond_limits=np.maximum(beyond, 0.0).max(axis=1),
        fallen=fallen,
    )


def _in_heading_frame(displacement: FloatArray, heading: float) -> FloatArray:
    cosine, sine = math.cos(heading), math.sin(heading)
    turned: FloatArray = displacement @ np.array(
        [[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]
    )
    return turned
