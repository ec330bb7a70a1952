"""A PyBullet world with one robot: commands in, sensor readings out, one tick at a time.

Damage is handled in four places: the :class:`Actuator` weakens motors, the :class:`Stage` holds
joints and changes what the robot carries and stands on, the :class:`Sensors` fail, and a shortened
leg is another stage, onto which the state is copied.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pybullet

from hebb_controller.robot import FloatArray, RobotSpec
from hebb_controller.rotation import Vector, inverse, rotate, yaw
from hebb_controller.signals import Command, SensorReading

from .actuator import Actuator
from .damage import Damage, as_begun, check_damage, damaged_joints, numbered
from .sensors import Sensors
from .stage import RobotState, Stage
from .surroundings import surroundings

TICK_PERIOD = 0.02  # s
MAX_STAGES = 4  # with shortened legs, kept ready; each takes 35 MB and 40 ms to build
POSE_NOISE = 0.1  # rad, how far from the default pose a joint may start


@dataclass(frozen=True)
class BaseState:
    """True position and velocity of the trunk's centre of mass, which no sensor reports.

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
        visual: whether camera frames will be requested.

    Attributes:
        truth: the present state as healthy sensors would report it, orientation in the ground
            frame.
        physics_seconds: time spent in the physics engine so far.
    """

    def __init__(
        self, robot: RobotSpec, *, tick_period: float = TICK_PERIOD, visual: bool = False
    ) -> None:
        self.robot = robot
        self.tick_period = tick_period
        self.physics_seconds = 0.0
        self._visual = visual
        self._actuator = Actuator(robot)
        self._sensors = Sensors(robot)
        self._damages: tuple[Damage, ...] = ()
        self._headings: dict[tuple[Damage, int], float] = {}  # of the robot when each began, rad
        self._push: Vector | None = None  # N, in the ground frame
        self._twist: Vector | None = None  # N·m
        self._tick = 0
        self._power = 0.0
        self._states: Sequence[Sequence[float]] = ()
        self._position: Sequence[float] = ()
        self._velocity: Sequence[float] = ()
        self._whole = Stage(robot, tick_period, visual=visual, shortened={})
        self._shortened: dict[tuple[tuple[int, float], ...], Stage] = {}
        self._driven = list(range(robot.n_joints))  # joints that take torque: all but the locked
        self._enter(self._whole)
        self.truth = self._look()
        self._last = self.truth

    def close(self) -> None:
        """Disconnect the physics clients."""
        for stage in (self._whole, *self._shortened.values()):
            stage.close()

    def reset(self, rng: np.random.Generator) -> SensorReading:
        """Return the first reading of a new, healthy robot in a random pose and heading.

        Args:
            rng: draws the joint angles, within POSE_NOISE of the default, and the yaw; a child of
                it drives random sensor faults.
        """
        robot = self.robot
        self._sensors.reset(rng.spawn(1)[0])
        self._enter(self._whole)
        self._stage.clear()
        half_yaw = 0.5 * rng.uniform(-np.pi, np.pi)
        pose = robot.default + rng.uniform(-POSE_NOISE, POSE_NOISE, robot.n_joints)
        pose = np.clip(pose, robot.lower, robot.upper)
        zero = [0.0] * 3
        self._stage.place(
            RobotState(
                position=[0.0, 0.0, robot.simulation.start_height],
                orientation=[0.0, 0.0, math.sin(half_yaw), math.cos(half_yaw)],
                linear_velocity=zero,
                angular_velocity=zero,
                joint_position=pose.tolist(),
                joint_velocity=[0.0] * robot.n_joints,
            )
        )
        self._tick = 0
        self._power = 0.0
        self._damages = ()
        self._headings = {}
        self._push = self._twist = None
        self._actuator.damage(())
        self._driven = list(range(robot.n_joints))
        return self.sense()

    @property
    def damages(self) -> tuple[Damage, ...]:
        """The damages in force."""
        return self._damages

    def damage(self, damages: Sequence[Damage]) -> None:
        """Put exactly these damages in force from the next tick on; none heals the robot.

        Those already in force stay as they are: a locked joint keeps its angle, a constant sensor
        its value, a slope and a push their direction.

        Raises:
            DamageError: the robot cannot have one of them; nothing has been changed.
        """
        for damage in damages:
            check_damage(damage, self.robot)
        damages = as_begun(self._damages, damages)
        self._stand_on(self._stage_for(damages))
        heading = yaw(self.truth.orientation)
        self._headings = {one: self._headings.get(one, heading) for one in numbered(damages)}
        self._damages = tuple(damages)
        self._actuator.damage(damages)
        if self._actuator.stiffer:
            step = self.tick_period / self._stage.substeps
            self._actuator.soften(self._stage.mobility, step)
        locked = self._actuator.locked
        self._driven = [i for i in range(self.robot.n_joints) if i not in locked]
        self._stage.hold(locked, self._actuator.folding)
        around = surroundings([(damage, begun) for (damage, _), begun in self._headings.items()])
        self._stage.surround(around)
        self._push, self._twist = around.push, around.twist
        self._sensors.damage(damages, incline=around.incline, last=self._last)

    def step(self, command: Command) -> SensorReading:
        """Return the reading one tick after a command was taken."""
        client, body, joints = self._client, self._body, self._joints
        actuator = self._actuator
        actuator.command(command)
        driven = self._driven
        some_locked = len(driven) < len(joints)
        states = self._states
        for substep in range(self._stage.substeps):
            if self._push is not None:
                self._apply_push(self._push)
            if self._twist is not None:
                pybullet.applyExternalTorque(
                    body, -1, self._twist, pybullet.WORLD_FRAME, physicsClientId=client
                )
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
        given = actuator.given
        self._power = sum([abs(given[i] * states[i][1]) for i in driven])
        self._tick += 1
        reading = self.sense()
        self._stage.keep_ground_under(self._position)
        return reading

    @property
    def power(self) -> float:
        """Sum of |torque · velocity| over the motors in the last substep, W.

        What moves or holds a joint besides its motor is not counted: the friction of a limp joint,
        the stops of a narrowed one, and what holds a locked or folded one. The mean over the tick
        is higher.
        """
        return self._power

    def base(self) -> BaseState:
        """Return the true position and velocity of the trunk."""
        return BaseState(np.array(self._position), np.array(self._velocity))

    def show(
        self, position: Sequence[float], orientation: Sequence[float], joints: Sequence[float]
    ) -> None:
        """Put the robot into a recorded state, for the camera, without simulating.

        Args:
            position: (3,) of the trunk's centre of mass, m.
            orientation: (4,) of the trunk, xyzw.
            joints: (n,) joint positions in spec order, rad.
        """
        self._stage.place_base(position, orientation)
        for joint, angle in zip(self._joints, joints, strict=True):
            pybullet.resetJointState(self._body, joint, angle, physicsClientId=self._client)
        self.truth = self._look()

    def camera(self, *, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Return an RGB frame, (height, width, 3), from a camera that follows the robot."""
        distance = 5.0 * self.robot.simulation.start_height
        view = pybullet.computeViewMatrixFromYawPitchRoll(
            [self._position[0], self._position[1], 0.2], distance, 40.0, -20.0, 0.0, 2
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

    def sense(self) -> SensorReading:
        """Return a new sensor reading; :meth:`step` and :meth:`reset` already return one."""
        self.truth = self._look()
        self._last = self._sensors.read(self.truth)
        return self._last

    def _look(self) -> SensorReading:
        """Return the true state, read from the physics."""
        client, body = self._client, self._body
        states = pybullet.getJointStates(body, self._joints, physicsClientId=client)
        self._states = states
        self._position, orientation = self._stage.base()
        self._velocity, angular = pybullet.getBaseVelocity(body, physicsClientId=client)
        stamp = self._tick * self.tick_period
        return SensorReading(
            stamp=stamp,
            received=stamp,
            joint_position=np.array([state[0] for state in states]),
            joint_velocity=np.array([state[1] for state in states]),
            orientation=np.array(orientation),
            angular_velocity_base=np.array(rotate(inverse(orientation), angular)),
        )

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        self._client, self._body, self._joints = stage.client, stage.body, stage.joints

    def _stand_on(self, stage: Stage) -> None:
        """Continue on another stage in the same state, except for contacts, which form anew.

        A leg that grows back into the ground lifts the robot.
        """
        if stage is self._stage:
            return
        state = self._stage.state()
        stage.clear()
        stage.place(state)
        stage.keep_ground_under(state.position)
        if any(stage.shortened.get(j, 1.0) > left for j, left in self._stage.shortened.items()):
            stage.lift_out_of_the_ground()
        self._enter(stage)
        self.truth = self._look()

    def _stage_for(self, damages: Sequence[Damage]) -> Stage:
        """Return the stage whose robot has exactly these legs shortened."""
        left: dict[int, float] = {}
        for damage in damages:
            if damage.kind == "shortened":
                joint = damaged_joints(damage, self.robot)[-1]
                left[joint] = min(left.get(joint, 1.0), damage.amount)
        key = tuple(sorted(left.items()))
        if not key:
            return self._whole
        stage = self._shortened.pop(key, None)
        if stage is None:
            names = {self.robot.joint_names[joint]: fraction for joint, fraction in key}
            stage = Stage(self.robot, self.tick_period, visual=self._visual, shortened=names)
            for old in [k for k, s in self._shortened.items() if s is not self._stage]:
                if len(self._shortened) < MAX_STAGES:
                    break
                self._shortened.pop(old).close()
        self._shortened[key] = stage  # most recently used last
        return stage

    def _apply_push(self, force: Sequence[float]) -> None:
        position, _ = pybullet.getBasePositionAndOrientation(
            self._body, physicsClientId=self._client
        )
        pybullet.applyExternalForce(
            self._body, -1, force, position, pybullet.WORLD_FRAME, physicsClientId=self._client
        )
