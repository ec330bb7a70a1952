"""A PyBullet world with one robot: commands in, sensor readings out, one tick at a time.

The world is built once; a reset restores the state that was saved then, contact caches included, and
releases every motor, so nothing leaks from one episode into the next. (Building it anew for each
episode takes 8 ms and never gives 0.3 MB back.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pybullet
import pybullet_data

from hebb_controller.robot import FloatArray, RobotSpec
from hebb_controller.signals import Command, SensorReading

from .actuator import Actuator
from .damage import Damage
from .robot_model import load_model

TICK_PERIOD = 0.02  # s
SUBSTEPS = 4  # physics at 200 Hz
SOLVER_ITERATIONS = 5
LOCKED_SOLVER_ITERATIONS = 50  # with 5, a locked joint yields by 0.06 rad; with 50, by 0.001
LOCK_FORCE = 500.0  # N·m, what holds a locked joint
POSE_NOISE = 0.1  # rad, every joint starts within this of the default pose


@dataclass(frozen=True)
class BaseState:
    """Where the trunk really is; what no sensor tells.

    Attributes:
        position: (3,) m, world frame.
        linear_velocity: (3,) m/s, world frame.
    """

    position: FloatArray
    linear_velocity: FloatArray


class World:
    """One robot on a plane.

    Args:
        robot: the robot.
        tick_period: time between two commands, s.
        visual: whether camera frames will be asked for.
    """

    def __init__(
        self, robot: RobotSpec, *, tick_period: float = TICK_PERIOD, visual: bool = False
    ) -> None:
        self.robot = robot
        self.tick_period = tick_period
        self.physics_seconds = 0.0
        self._actuator = Actuator(robot)
        self._damages: tuple[Damage, ...] = ()
        self._tick = 0
        self._power = 0.0
        self._states: Sequence[Sequence[float]] = ()
        self._position: Sequence[float] = ()
        self._velocity: Sequence[float] = ()
        self._client = pybullet.connect(pybullet.DIRECT)
        pybullet.setGravity(0.0, 0.0, -9.81, physicsClientId=self._client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=tick_period / SUBSTEPS,
            numSolverIterations=SOLVER_ITERATIONS,
            deterministicOverlappingPairs=1,
            physicsClientId=self._client,
        )
        pybullet.loadURDF(f"{pybullet_data.getDataPath()}/plane.urdf", physicsClientId=self._client)
        self._body, self._joints = load_model(robot, self._client, visual=visual)
        self._driven = list(range(robot.n_joints))  # joints that take torque: not the locked ones
        self._built = pybullet.saveState(physicsClientId=self._client)

    def close(self) -> None:
        """Give the physics client back."""
        if self._client >= 0:
            pybullet.disconnect(self._client)
            self._client = -1

    def reset(self, rng: np.random.Generator) -> SensorReading:
        """Return the first reading of a new, healthy robot in a random pose and heading.

        Args:
            rng: draws the joint angles, within POSE_NOISE of the default, and the yaw.
        """
        client, robot, body = self._client, self.robot, self._body
        # Far from the ground for one step, every contact pair dissolves: pairs are solved in the
        # order in which they arose, and that order would otherwise survive into this episode.
        pybullet.resetBasePositionAndOrientation(
            body, [0.0, 0.0, 100.0], [0.0, 0.0, 0.0, 1.0], physicsClientId=client
        )
        pybullet.stepSimulation(physicsClientId=client)
        pybullet.restoreState(self._built, physicsClientId=client)
        half_yaw = 0.5 * rng.uniform(-np.pi, np.pi)
        pybullet.resetBasePositionAndOrientation(
            body,
            [0.0, 0.0, robot.simulation.start_height],
            [0.0, 0.0, math.sin(half_yaw), math.cos(half_yaw)],
            physicsClientId=client,
        )
        pybullet.resetBaseVelocity(body, [0.0] * 3, [0.0] * 3, physicsClientId=client)
        pose = robot.default + rng.uniform(-POSE_NOISE, POSE_NOISE, robot.n_joints)
        pose = np.clip(pose, robot.lower, robot.upper)
        for joint, angle in zip(self._joints, pose.tolist(), strict=True):
            pybullet.resetJointState(body, joint, angle, physicsClientId=client)
        self._tick = 0
        self._power = 0.0
        self.damage(())
        self._release(self._joints)
        return self._read()

    @property
    def damages(self) -> tuple[Damage, ...]:
        """The damages in force."""
        return self._damages

    def damage(self, damages: Sequence[Damage]) -> None:
        """Put exactly these damages in force from the next tick on; none heals the robot."""
        before = self._actuator.locked
        self._actuator.damage(damages)
        self._damages = tuple(damages)
        locked = self._actuator.locked
        self._driven = [i for i in range(self.robot.n_joints) if i not in locked]
        self._release([self._joints[i] for i in before - locked])
        if bool(locked) != bool(before):
            pybullet.setPhysicsEngineParameter(
                numSolverIterations=LOCKED_SOLVER_ITERATIONS if locked else SOLVER_ITERATIONS,
                physicsClientId=self._client,
            )
        for i in locked - before:
            angle = pybullet.getJointState(
                self._body, self._joints[i], physicsClientId=self._client
            )[0]
            # Bullet's own position motor is a constraint: it holds a joint without drifting, as
            # long as no torque is commanded to it besides.
            pybullet.setJointMotorControl2(
                self._body,
                self._joints[i],
                pybullet.POSITION_CONTROL,
                targetPosition=angle,
                force=LOCK_FORCE,
                physicsClientId=self._client,
            )

    def step(self, command: Command) -> SensorReading:
        """Return the reading one tick after a command was taken."""
        client, body, joints = self._client, self._body, self._joints
        actuator = self._actuator
        actuator.command(command)
        driven = self._driven
        some_locked = len(driven) < len(joints)
        states = self._states
        torques: list[float] = []
        for substep in range(SUBSTEPS):
            if substep:
                states = pybullet.getJointStates(body, joints, physicsClientId=client)
            torques = actuator.torques(states)
            pybullet.setJointMotorControlArray(
                body,
                [joints[i] for i in driven] if some_locked else joints,
                pybullet.TORQUE_CONTROL,
                forces=[torques[i] for i in driven] if some_locked else torques,
                physicsClientId=client,
            )
            start = time.perf_counter()
            pybullet.stepSimulation(physicsClientId=client)
            self.physics_seconds += time.perf_counter() - start
        self._power = sum(
            [abs(torque * state[1]) for torque, state in zip(torques, states, strict=True)]
        )
        self._tick += 1
        return self._read()

    @property
    def position(self) -> FloatArray:
        """The base's position, (3,) m, world frame."""
        return np.array(self._position)

    @property
    def power(self) -> float:
        """Sum of |torque · velocity| over the joints in the last substep, W."""
        return self._power

    def base(self) -> BaseState:
        """Return where the trunk really is."""
        return BaseState(np.array(self._position), np.array(self._velocity))

    def show(
        self, position: Sequence[float], orientation: Sequence[float], joints: Sequence[float]
    ) -> None:
        """Put the robot into a recorded state, for the camera; nothing moves by itself.

        Args:
            position: (3,) of the base, m.
            orientation: (4,) of the base, xyzw.
            joints: (n,) rad, in the order of the spec.
        """
        pybullet.resetBasePositionAndOrientation(
            self._body, position, orientation, physicsClientId=self._client
        )
        for joint, angle in zip(self._joints, joints, strict=True):
            pybullet.resetJointState(self._body, joint, angle, physicsClientId=self._client)
        self._read()

    def camera(self, *, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Return an RGB frame, (height, width, 3), of a camera that follows the robot."""
        view = pybullet.computeViewMatrixFromYawPitchRoll(
            [self._position[0], self._position[1], 0.2], 1.3, 40.0, -20.0, 0.0, 2
        )
        projection = pybullet.computeProjectionMatrixFOV(50.0, width / height, 0.05, 20.0)
        image = pybullet.getCameraImage(
            width,
            height,
            view,
            projection,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )[2]
        pixels = np.asarray(image, dtype=np.uint8).reshape(height, width, 4)
        return pixels[:, :, :3].copy()

    def _release(self, joints: Sequence[int]) -> None:
        # A joint comes with a velocity motor that brakes it; without force it does nothing.
        for joint in joints:
            pybullet.setJointMotorControl2(
                self._body,
                joint,
                pybullet.VELOCITY_CONTROL,
                force=0.0,
                physicsClientId=self._client,
            )

    def _read(self) -> SensorReading:
        client, body = self._client, self._body
        states = pybullet.getJointStates(body, self._joints, physicsClientId=client)
        self._states = states
        self._position, orientation = pybullet.getBasePositionAndOrientation(
            body, physicsClientId=client
        )
        self._velocity, angular = pybullet.getBaseVelocity(body, physicsClientId=client)
        stamp = self._tick * self.tick_period
        return SensorReading(
            stamp=stamp,
            received=stamp,
            joint_position=np.array([state[0] for state in states]),
            joint_velocity=np.array([state[1] for state in states]),
            orientation=np.array(orientation),
            angular_velocity_base=np.array(_into_base(orientation, angular)),
        )


def _into_base(orientation: Sequence[float], vector: Sequence[float]) -> tuple[float, float, float]:
    """Return a world vector in the frame of a body with this orientation (xyzw)."""
    x, y, z, w = orientation
    a, b, c = vector
    # v + 2 q × (q × v − w v): the inverse rotation
    tx, ty, tz = y * c - z * b - w * a, z * a - x * c - w * b, x * b - y * a - w * c
    return (
        a + 2.0 * (y * tz - z * ty),
        b + 2.0 * (z * tx - x * tz),
        c + 2.0 * (x * ty - y * tx),
    )
