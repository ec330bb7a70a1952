"""The motors: how a command becomes torque at every physics substep, healthy or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hebb_controller.robot import FloatArray, RobotSpec
from hebb_controller.signals import Command, Mode

from .damage import LIMP_FRICTION, Damage, damaged_joints

# The stop of a narrowed joint: a stiff, damped spring, which yields to the whole torque of a motor by
# 0.11 rad; softer on a robot that it would shake (see stop_share).
STOP_STIFFNESS = 300.0  # N·m/rad
STOP_DAMPING = 0.5  # N·m·s/rad
STOP_CLOSES = 0.06  # rad a tick, where a joint is outside when its range is narrowed
STOP_MARGIN = 0.9  # of the bound of stability, to which stops are softened that are beyond it


def stop_share(robot: RobotSpec, mobility: FloatArray, step: float) -> float:
    """Return the share of a stop's gains at which a robot with all joints in their stops gains no energy.

    A spring k and a damper d that act once a step h are stable while k·h² + 2·d·h < 4·I, whichever
    way the joints swing together; k and d are those of the stop and of the joint's controller.

    Args:
        robot: has the gains of the controllers.
        mobility: (n, n) inverse of the inertia that the joints move, 1/(kg·m²).
        step: of the physics, s.
    """

    def used(share: float) -> float:
        """Return how much of the bound is used up: 1 is the limit. It is convex in the share."""
        stiffness = robot.kp + share * STOP_STIFFNESS
        damping = robot.kd + share * STOP_DAMPING
        root = np.sqrt(stiffness * step**2 + 2.0 * damping * step)
        return float(np.linalg.eigvalsh(root[:, None] * mobility * root)[-1]) / 4.0

    without, whole = used(0.0), used(1.0)
    if whole < 1.0:
        return 1.0
    return max((STOP_MARGIN - without) / (whole - without), 0.0)


@dataclass
class Stop:
    """The ends of a joint's range; a joint that is outside at first finds them closing slowly."""

    joint: int
    low: float
    high: float
    open: float = math.inf  # rad that it still gives way on either side; known at the first look
    share: float = 1.0  # of its stiffness and damping

    def torque(self, position: float, velocity: float) -> float:
        """Return what it gives the joint, N·m: nothing inside, and it never pulls outwards."""
        sign, beyond = 1.0, self.low - position
        if position > self.high:
            sign, beyond = -1.0, position - self.high
        self.open = max(min(self.open, beyond), 0.0)
        beyond -= self.open
        if beyond <= 0.0:
            return 0.0
        push = STOP_STIFFNESS * beyond - STOP_DAMPING * sign * velocity
        return sign * max(self.share * push, 0.0)


class Actuator:
    """Joint controllers of one robot: τ = strength · clip(kp(q* − q) − kd·q̇, ±torque).

    Plain Python numbers: for a dozen joints they are faster than arrays.

    Args:
        robot: whose torque limits hold, whatever the command says.

    Attributes:
        locked: joints that take no torque, since something holds them.
        folding: those of them that are moved to the folded pose and held there.
    """

    def __init__(self, robot: RobotSpec) -> None:
        self._robot = robot
        self._torque = robot.torque.tolist()
        self._default = robot.default.tolist()
        self._strength = [1.0] * robot.n_joints
        self._friction = [0.0] * robot.n_joints
        self._reversed: frozenset[int] = frozenset()
        self._stops: list[Stop] = []
        self.locked: frozenset[int] = frozenset()
        self.folding: frozenset[int] = frozenset()
        self._terms: list[tuple[float, float, float, float, float, float]] = []

    def damage(self, damages: Sequence[Damage], *, stop_share: float = 1.0) -> None:
        """Put exactly these damages in force; an empty sequence heals everything.

        Args:
            damages: of any kind; those that concern no motor are passed over.
            stop_share: of the stiffness and damping of stops.

        Raises:
            DamageError: the robot has no such part; nothing is changed then.
        """
        robot = self._robot
        strength, friction = [1.0] * robot.n_joints, [0.0] * robot.n_joints
        locked: set[int] = set()
        folding: set[int] = set()
        turned: set[int] = set()
        left = [1.0] * robot.n_joints
        for damage in damages:
            for joint in damaged_joints(damage, robot):
                if damage.kind == "limp":
                    strength[joint] = 0.0
                    friction[joint] = LIMP_FRICTION
                elif damage.kind in ("weak", "strength"):
                    strength[joint] *= damage.amount
                elif damage.kind == "locked":
                    locked.add(joint)
                elif damage.kind == "folded":
                    folding.add(joint)
                elif damage.kind == "narrowed":
                    left[joint] = min(left[joint], damage.amount)
                elif damage.kind == "reversed":
                    turned ^= {joint}
        self._strength, self._friction = strength, friction  # all of it, or nothing was raised
        self.locked, self.folding = frozenset(locked | folding), frozenset(folding)
        self._reversed = frozenset(turned)
        before = {(stop.joint, stop.low, stop.high): stop for stop in self._stops}
        narrowed = [(i, *self._range_left(i, part)) for i, part in enumerate(left) if part < 1.0]
        self._stops = [before.get(ends) or Stop(*ends) for ends in narrowed]
        for stop in self._stops:
            stop.share = stop_share

    def _range_left(self, joint: int, fraction: float) -> tuple[float, float]:
        """Return the limits of a joint narrowed to a fraction of its range about the default, rad."""
        robot, middle = self._robot, self._default[joint]
        low, high = float(robot.lower[joint]), float(robot.upper[joint])
        return middle + fraction * (low - middle), middle + fraction * (high - middle)

    def command(self, command: Command) -> None:
        """Take the command that holds until the next one."""
        n = self._robot.n_joints
        zero = [0.0] * n
        kp = command.kp.tolist() if command.mode is Mode.POSITION else zero
        kd = zero if command.mode is Mode.OFF else command.kd.tolist()
        target = command.position.tolist() if command.mode is Mode.POSITION else zero
        for joint in self._reversed:
            target[joint] = 2.0 * self._default[joint] - target[joint]
        for stop in self._stops:
            stop.open = max(stop.open - STOP_CLOSES, 0.0)
        self._terms = list(
            zip(target, kp, kd, self._torque, self._strength, self._friction, strict=True)
        )

    def torques(self, states: Sequence[Sequence[float]]) -> list[float]:
        """Return the torques for this substep, N·m.

        Args:
            states: per joint (position rad, velocity rad/s, …).
        """
        torques = []
        for state, (target, kp, kd, limit, strength, friction) in zip(
            states, self._terms, strict=True
        ):
            velocity = state[1]
            torque = kp * (target - state[0]) - kd * velocity
            if torque > limit:
                torque = limit
            elif torque < -limit:
                torque = -limit
            torques.append(strength * torque - friction * velocity)
        for stop in self._stops:
            torques[stop.joint] += stop.torque(states[stop.joint][0], states[stop.joint][1])
        return torques
