"""The ground and one robot in a physics client, with every change to them reversible.

A stage is built once; :meth:`Stage.clear` restores the state saved then, including contact caches,
and :meth:`Stage.place` undoes every change and releases every motor, so nothing leaks from one
episode into the next. (Rebuilding for each episode would take 8 ms and leak 0.3 MB.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pybullet
import pybullet_data

from hebb_controller.errors import RobotSpecError
from hebb_controller.robot import FloatArray, RobotSpec
from hebb_controller.rotation import IDENTITY, Quaternion, Vector, inverse, multiply, quaternion

from .actuator import bound_used
from .robot_model import add_inertia, load_model, rotor_inertia
from .surroundings import Surroundings

PENETRATION = 0.002  # m, depth to which feet on the ground sink in anyway
SUBSTEPS = 4  # least number per tick
MAX_STEP = 0.005  # s, longest physics step: 200 Hz
GROUND_REACH = 60.0  # m from the middle of the ground, beyond which it is moved along
GROUND_STEP = 50.0  # m, the grid on which it moves
LOCKED_SOLVER_ITERATIONS = 50  # with 5, a locked joint yields by 0.06 rad; with 50, by 0.001
LOCK_FORCE = 500.0  # N·m, holds a locked joint
FOLD_SPEED = 3.0  # rad/s, at which a leg moves to its folded pose
ROTOR_MULTIPLES = (1, 2, 4, 8, 16)  # of a shortened link's rotor inertia; the least that is stable


@dataclass(frozen=True)
class RobotState:
    """State of the base in the ground frame, and of the joints in spec order.

    Position and linear velocity are those of the trunk's centre of mass; the orientation, xyzw, is that
    of its link frame.
    """

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
        visual: whether camera frames will be requested.
        shortened: joint -> fraction left of the length of the link that it moves.

    Attributes:
        client, body: PyBullet's ids of the client and of the robot in it.
        shortened: as given.
        substeps: physics steps per tick.
        joints: PyBullet's indices of the joints, in spec order.
        folded: the folded pose, (n,) rad: the default pose, but with each leg's last joint at the
            end of its range that lifts the foot higher.
        mobility: inverse of the inertia that the joints move in the default pose, (n, n) 1/(kg·m²);
            the trunk is free, without a payload, and the rotors are included.
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
        # From the trunk's frame of inertia to its link frame; None, which keeps every bit, if equal.
        turn = quaternion(self._trunk[4])
        self._turn = None if turn == IDENTITY else turn
        self._middle = (0.0, 0.0)  # of the ground, m
        self._friction = pybullet.getDynamicsInfo(self._ground, -1, physicsClientId=client)[1]
        # A foot shortened to nothing has Bullet's default friction, not that of its model.
        feet = [self.joints[joints[-1]] for joints in robot.legs.values()]
        left = [link for link in feet if self._touches(link)]
        self._foot_friction = pybullet.getDynamicsInfo(
            self.body, left[0] if left else -1, physicsClientId=client
        )[1]
        if not self._foot_friction:
            raise RobotSpecError(
                f"robot '{robot.name}': {robot.simulation.model} states a friction of 0 for the feet: "
                f"no ground could hold them."
            )
        self.folded = self._find_folded(robot)
        self.mobility = self._make_stable(robot, tick_period / self.substeps)
        self._surroundings = Surroundings()
        self._held: dict[int, bool] = {}
        self._built = pybullet.saveState(physicsClientId=client)

    def close(self) -> None:
        """Disconnect the physics client."""
        if self.client >= 0:
            pybullet.disconnect(self.client)
            self.client = -1

    def clear(self) -> None:
        """Restore the stage as it was built; the robot must then be placed."""
        client, body = self.client, self.body
        # One step far from the ground dissolves every contact pair: pairs are solved in the order
        # in which they arose, and that order would otherwise carry over into the next episode.
        pybullet.resetBasePositionAndOrientation(
            body, [0.0, 0.0, 100.0], [0.0, 0.0, 0.0, 1.0], physicsClientId=client
        )
        pybullet.stepSimulation(physicsClientId=client)
        self._move_ground((0.0, 0.0))
        pybullet.restoreState(self._built, physicsClientId=client)

    def _mobility(self, added: FloatArray) -> FloatArray:
        """Return the mobility with (n,) kg·m² added to the links as loaded, about all their axes."""
        client, body = self.client, self.body
        moving = [
            j
            for j in range(pybullet.getNumJoints(body, physicsClientId=client))
            if pybullet.getJointInfo(body, j, physicsClientId=client)[2] != pybullet.JOINT_FIXED
        ]
        angles = dict(zip(self.joints, self._default, strict=True))
        pose = [angles.get(joint, 0.0) for joint in moving]
        still = [0.0] * len(moving)
        inertia = np.array(pybullet.calculateMassMatrix(body, pose, physicsClientId=client))
        for joint in np.flatnonzero(added):
            _, turning = pybullet.calculateJacobian(
                body, self.joints[joint], [0.0] * 3, pose, still, still, physicsClientId=client
            )
            inertia += added[joint] * np.transpose(turning) @ turning
        rows = [
            moving.index(joint) - len(moving) for joint in self.joints
        ]  # the trunk's rows come first
        found: FloatArray = np.linalg.inv(inertia)[np.ix_(rows, rows)]
        return found

    def _make_stable(self, robot: RobotSpec, step: float) -> FloatArray:
        """Multiply the rotor inertia of shortened links if the gains would shake; return the mobility."""
        short = [name in self.shortened for name in robot.joint_names]
        rotors = np.where(short, rotor_inertia(robot, self.shortened), 0.0)
        choices = [(multiple - 1) * rotors for multiple in ROTOR_MULTIPLES]
        stable = (
            added
            for added in choices
            if bound_used(robot.kp, robot.kd, self._mobility(added), step) < 1.0
        )
        added = next(stable, choices[0])
        for joint in np.flatnonzero(added):
            add_inertia(self.client, self.body, self.joints[joint], added[joint])
        return self._mobility(added)  # PyBullet's mass matrix stays as it was at its first call

    def keep_ground_under(self, position: Sequence[float]) -> None:
        """Keep ground under a robot at a position, m: the plane ends 100 m from its middle."""
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
        """Put the robot into a state, healthy and with motors released; clear the stage first."""
        client, body = self.client, self.body
        self.place_base(state.position, state.orientation)
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

    def base(self) -> tuple[Vector, Quaternion]:
        """Return the position of the trunk's centre of mass, m, and the orientation of its link, xyzw.

        PyBullet gives the orientation of the principal axes of inertia.
        """
        position, orientation = pybullet.getBasePositionAndOrientation(
            self.body, physicsClientId=self.client
        )
        if self._turn is not None:
            orientation = multiply(orientation, inverse(self._turn))
        return position, orientation

    def place_base(self, position: Sequence[float], orientation: Sequence[float]) -> None:
        """Put the trunk, at rest, where :meth:`base` will say it is."""
        if self._turn is not None:
            orientation = multiply(quaternion(orientation), self._turn)
        pybullet.resetBasePositionAndOrientation(
            self.body, position, orientation, physicsClientId=self.client
        )

    def state(self) -> RobotState:
        """Return the state of the base and the joints."""
        client, body = self.client, self.body
        position, orientation = self.base()
        linear, angular = pybullet.getBaseVelocity(body, physicsClientId=client)
        joints = pybullet.getJointStates(body, self.joints, physicsClientId=client)
        return RobotState(
            position, orientation, linear, angular, [s[0] for s in joints], [s[1] for s in joints]
        )

    def lift_out_of_the_ground(self) -> None:
        """Lift the robot until it is no deeper in the ground than feet are; keep its velocity."""
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
            # Given only a mass, PyBullet would recompute the inertia.
            pybullet.changeDynamics(
                self.body,
                -1,
                mass=self._trunk[0] + wanted.payload,
                localInertiaDiagonal=self._trunk[2],
                physicsClientId=client,
            )
        if wanted.friction != now.friction:
            # Bullet multiplies the coefficients of the two bodies in contact.
            own = self._friction
            if wanted.friction is not None:
                own = wanted.friction / self._foot_friction
            pybullet.changeDynamics(self._ground, -1, lateralFriction=own, physicsClientId=client)
        if wanted.gravity != now.gravity:
            pybullet.setGravity(*wanted.gravity, physicsClientId=client)
        self._surroundings = wanted

    def hold(self, locked: frozenset[int], folding: frozenset[int]) -> None:
        """Hold exactly these joints; new ones where they are, or in the folded pose.

        Args:
            locked: indices of the joints, in spec order.
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
        # Bullet's own position motor is a constraint: it holds a joint without drift as long as the
        # joint gets no torque command as well.
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
        # Every joint comes with a velocity motor that brakes it; zero force disables it.
        for joint in joints:
            pybullet.setJointMotorControl2(
                self.body,
                self.joints[joint],
                pybullet.VELOCITY_CONTROL,
                force=0.0,
                physicsClientId=self.client,
            )

    def _find_folded(self, robot: RobotSpec) -> list[float]:
        """Return the folded pose, leaving the robot as it was loaded."""
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
