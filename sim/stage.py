"""Ground and one robot in a physics client, and what can be changed about them and taken back.

A stage is built once; :meth:`Stage.clear` restores the state that was saved then, contact caches
included, takes every change back and releases every motor, so nothing leaks from one episode into the
next. (Building it anew for each episode takes 8 ms and never gives 0.3 MB back.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pybullet
import pybullet_data

from hebb_controller.robot import FloatArray, RobotSpec

from .robot_model import load_model
from .surroundings import Surroundings

PENETRATION = 0.002  # m, that feet on the ground have anyway
SUBSTEPS = 4  # of a tick, at least
MAX_STEP = 0.005  # s, of the physics: 200 Hz
GROUND_REACH = 60.0  # m from the middle of the ground, at which it is moved along
GROUND_STEP = 50.0  # m, by multiples of which
LOCKED_SOLVER_ITERATIONS = 50  # with 5, a locked joint yields by 0.06 rad; with 50, by 0.001
LOCK_FORCE = 500.0  # N·m, what holds a locked joint
FOLD_SPEED = 3.0  # rad/s, at which a leg moves to its folded pose


@dataclass(frozen=True)
class RobotState:
    """Where everything is: base in the frame of the ground (orientation xyzw), joints by the spec."""

    position: Sequence[float]
    orientation: Sequence[float]
    linear_velocity: Sequence[float]
    angular_velocity: Sequence[float]
    joint_position: Sequence[float]
    joint_velocity: Sequence[float]


class Stage:
    """One physics client.

    Args:
        robot: the robot.
        tick_period: time between two commands, s.
        visual: whether camera frames will be asked for.
        shortened: joint -> the fraction that is left of the length of the link it moves.

    Attributes:
        client, body: PyBullet's numbers of the client and of the robot in it.
        shortened: as given.
        substeps: steps of the physics in a tick.
        joints: PyBullet's numbers of the joints in the order of the spec.
        folded: the folded pose, (n,) rad: each leg as by default but for its last joint, which is at
            that end of its range which lifts the foot higher.
    """

    def __init__(
        self,
        robot: RobotSpec,
        tick_period: float,
        *,
        visual: bool,
        shortened: Mapping[str, float],
    ) -> None:
        self._default = robot.default.tolist()
        self.shortened = shortened
        self.substeps = max(SUBSTEPS, math.ceil(tick_period / MAX_STEP))
        self._iterations = robot.simulation.solver_iterations
        self.client = client = pybullet.connect(pybullet.DIRECT)
        pybullet.setGravity(*Surroundings().gravity, physicsClientId=client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=tick_period / self.substeps,
            numSolverIterations=self._iterations,
            deterministicOverlappingPairs=1,
            physicsClientId=client,
        )
        plane = f"{pybullet_data.getDataPath()}/plane.urdf"
        self._ground = pybullet.loadURDF(plane, physicsClientId=client)
        self.body, self.joints = load_model(robot, client, visual=visual, shortened=shortened)
        self._trunk = pybullet.getDynamicsInfo(self.body, -1, physicsClientId=client)
        self._middle = (0.0, 0.0)  # of the ground, m
        self._friction = pybullet.getDynamicsInfo(self._ground, -1, physicsClientId=client)[1]
        # A foot that is shortened to nothing has Bullet's default, not that of its model.
        feet = [self.joints[joints[-1]] for joints in robot.legs.values()]
        left = [link for link in feet if self._touches(link)]
        self._foot_friction = pybullet.getDynamicsInfo(
            self.body, left[0] if left else -1, physicsClientId=client
        )[1]
        self.folded = self._find_folded(robot)
        self._surroundings = Surroundings()
        self._held: dict[int, bool] = {}
        self._built = pybullet.saveState(physicsClientId=client)

    def close(self) -> None:
        """Give the physics client back."""
        if self.client >= 0:
            pybullet.disconnect(self.client)
            self.client = -1

    def clear(self) -> None:
        """Restore the stage as it was built; the robot still has to be placed, then released."""
        client, body = self.client, self.body
        # Far from the ground for one step, every contact pair dissolves: pairs are solved in the
        # order in which they arose, and that order would otherwise survive into this episode.
        pybullet.resetBasePositionAndOrientation(
            body, [0.0, 0.0, 100.0], [0.0, 0.0, 0.0, 1.0], physicsClientId=client
        )
        pybullet.stepSimulation(physicsClientId=client)
        self._move_ground((0.0, 0.0))
        pybullet.restoreState(self._built, physicsClientId=client)

    @functools.cached_property
    def mobility(self) -> FloatArray:
        """How the joints yield by default, (n, n) 1/(kg·m²): the inverse of the inertia that they move.

        The trunk is free, and the rotors are included.
        """
        client, body = self.client, self.body
        moving = [
            j
            for j in range(pybullet.getNumJoints(body, physicsClientId=client))
            if pybullet.getJointInfo(body, j, physicsClientId=client)[2] != pybullet.JOINT_FIXED
        ]
        angles = dict(zip(self.joints, self._default, strict=True))
        inertia = pybullet.calculateMassMatrix(
            body, [angles.get(joint, 0.0) for joint in moving], physicsClientId=client
        )
        inverse = np.linalg.inv(inertia)
        rows = [
            moving.index(joint) - len(moving) for joint in self.joints
        ]  # those of the trunk first
        found: FloatArray = inverse[np.ix_(rows, rows)]
        return found

    def keep_ground_under(self, position: Sequence[float]) -> None:
        """Have a robot that went far, m, still walk on ground, which ends 100 m from its middle."""
        (x, y), (at_x, at_y) = position[:2], self._middle
        if max(abs(x - at_x), abs(y - at_y)) > GROUND_REACH:
            self._move_ground(
                (GROUND_STEP * round(x / GROUND_STEP), GROUND_STEP * round(y / GROUND_STEP))
            )

    def _move_ground(self, middle: tuple[float, float]) -> None:
        if middle != self._middle:
            self._middle = middle
            pybullet.resetBasePositionAndOrientation(
                self._ground, [*middle, 0.0], [0.0, 0.0, 0.0, 1.0], physicsClientId=self.client
            )

    def place(self, state: RobotState) -> None:
        """Put the robot into a state, healthy and released; the stage must have been cleared."""
        client, body = self.client, self.body
        pybullet.resetBasePositionAndOrientation(
            body, state.position, state.orientation, physicsClientId=client
        )
        pybullet.resetBaseVelocity(
            body, state.linear_velocity, state.angular_velocity, physicsClientId=client
        )
        for joint, angle, speed in zip(
            self.joints, state.joint_position, state.joint_velocity, strict=True
        ):
            pybullet.resetJointState(body, joint, angle, speed, physicsClientId=client)
        self.surround(Surroundings())
        self.hold(frozenset(), frozenset())
        self._release(range(len(self.joints)))

    def state(self) -> RobotState:
        """Return where everything is."""
        client, body = self.client, self.body
        position, orientation = pybullet.getBasePositionAndOrientation(body, physicsClientId=client)
        linear, angular = pybullet.getBaseVelocity(body, physicsClientId=client)
        joints = pybullet.getJointStates(body, self.joints, physicsClientId=client)
        return RobotState(
            position, orientation, linear, angular, [s[0] for s in joints], [s[1] for s in joints]
        )

    def lift_out_of_the_ground(self) -> None:
        """Lift the robot until it sticks in the ground no deeper than feet do, its velocity unchanged."""
        client, body = self.client, self.body
        points = pybullet.getClosestPoints(body, self._ground, 0.0, physicsClientId=client)
        depth = max((-point[8] for point in points), default=0.0)
        if depth > PENETRATION:
            (x, y, z), q = pybullet.getBasePositionAndOrientation(body, physicsClientId=client)
            velocity = pybullet.getBaseVelocity(body, physicsClientId=client)
            higher = x, y, z + depth - PENETRATION
            pybullet.resetBasePositionAndOrientation(body, higher, q, physicsClientId=client)
            pybullet.resetBaseVelocity(body, *velocity, physicsClientId=client)

    def surround(self, wanted: Surroundings) -> None:
        """Put exactly these surroundings in force."""
        client, now = self.client, self._surroundings
        if wanted.payload != now.payload:
            # Given a mass alone, PyBullet computes another inertia.
            pybullet.changeDynamics(
                self.body,
                -1,
                mass=self._trunk[0] + wanted.payload,
                localInertiaDiagonal=self._trunk[2],
                physicsClientId=client,
            )
        if wanted.friction != now.friction:
            # Bullet multiplies the coefficients of the two that touch.
            own = self._friction
            if wanted.friction is not None:
                own = wanted.friction / self._foot_friction
            pybullet.changeDynamics(self._ground, -1, lateralFriction=own, physicsClientId=client)
        if wanted.gravity != now.gravity:
            pybullet.setGravity(*wanted.gravity, physicsClientId=client)
        self._surroundings = wanted

    def hold(self, locked: frozenset[int], folding: frozenset[int]) -> None:
        """Hold exactly these joints, those that are new where they are or in the folded pose.

        Args:
            locked: indices into the joints of the spec.
            folding: those of them that move to the folded pose first.
        """
        wanted = {joint: joint in folding for joint in sorted(locked)}
        before = self._held
        if wanted == before:
            return
        self._release([joint for joint in before if joint not in wanted])
        if bool(wanted) != bool(before):
            least = LOCKED_SOLVER_ITERATIONS if wanted else 0
            pybullet.setPhysicsEngineParameter(
                numSolverIterations=max(self._iterations, least), physicsClientId=self.client
            )
        for joint, fold in wanted.items():
            if before.get(joint) is not fold:
                self._hold(joint, fold=fold)
        self._held = wanted

    def _touches(self, link: int) -> bool:
        """Return whether a link has a shape that could touch anything."""
        shapes = pybullet.getCollisionShapeData(self.body, link, physicsClientId=self.client)
        return bool(shapes)

    def _hold(self, joint: int, *, fold: bool) -> None:
        # Bullet's own position motor is a constraint: it holds a joint without drifting, as
        # long as no torque is commanded to it besides.
        number = self.joints[joint]
        angle = pybullet.getJointState(self.body, number, physicsClientId=self.client)[0]
        speed = {"maxVelocity": FOLD_SPEED} if fold else {}
        pybullet.setJointMotorControl2(
            self.body,
            number,
            pybullet.POSITION_CONTROL,
            targetPosition=self.folded[joint] if fold else angle,
            force=LOCK_FORCE,
            physicsClientId=self.client,
            **speed,
        )

    def _release(self, joints: Sequence[int]) -> None:
        # A joint comes with a velocity motor that brakes it; without force it does nothing.
        for joint in joints:
            pybullet.setJointMotorControl2(
                self.body,
                self.joints[joint],
                pybullet.VELOCITY_CONTROL,
                force=0.0,
                physicsClientId=self.client,
            )

    def _find_folded(self, robot: RobotSpec) -> list[float]:
        """Return the folded pose; leaves the robot as it was loaded."""
        client, body = self.client, self.body
        loaded = [pybullet.getJointState(body, j, physicsClientId=client)[0] for j in self.joints]
        pose: list[float] = robot.default.tolist()

        def foot_height(joint: int, angle: float) -> float:
            for number, value in zip(self.joints, robot.default.tolist(), strict=True):
                pybullet.resetJointState(body, number, value, physicsClientId=client)
            number = self.joints[joint]
            pybullet.resetJointState(body, number, angle, physicsClientId=client)
            return float(pybullet.getAABB(body, number, physicsClientId=client)[0][2])

        for *_, last in robot.legs.values():
            ends = (float(robot.lower[last]), float(robot.upper[last]))
            pose[last] = max((foot_height(last, angle), angle) for angle in ends)[1]
        for number, angle in zip(self.joints, loaded, strict=True):
            pybullet.resetJointState(body, number, angle, physicsClientId=client)
        return pose
