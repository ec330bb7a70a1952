"""The motors: turns a command into torque at every physics substep, healthy or damaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hebb_controller.robot import FloatArray, RobotSpec
from hebb_controller.signals import Command, Mode

from .damage import LIMP_FRICTION, Damage, damaged_joints

# The stop of a narrowed joint: a stiff, damped spring that yields to a motor's full torque by
# 0.11 rad; softer on a robot that it would shake (see stable_share).
STOP_STIFFNESS = 300.0  # N·m/rad
STOP_DAMPING = 0.5  # N·m·s/rad
STOP_CLOSES = 0.06  # rad per tick, if a joint is outside when its range is narrowed
MARGIN = 0.9  # of the stability bound, to which what is beyond it is softened


def bound_used(
    stiffness: FloatArray, damping: FloatArray, mobility: FloatArray, step: float
) -> float:
    """Return the used fraction of the stability bound; from 1 on, the joints gain energy.

    A spring k and damper d that act once per step h are stable while k·h² + 2·d·h < 4·I, for every
    mode of the joints.

    Args:
        stiffness, damping: (n,) k in N·m/rad and d in N·m·s/rad of each joint.
        mobility: (n, n) inverse of the inertia that the joints move, 1/(kg·m²).
        step: physics step, s.
    """
    root = np.sqrt(stiffness * step**2 + 2.0 * damping * step)
    return float(np.linalg.eigvalsh(root[:, None] * mobility * root)[-1]) / 4.0


def stable_share(
    robot: RobotSpec,
    stiffness: FloatArray,
    damping: FloatArray,
    *,
    mobility: FloatArray,
    step: float,
) -> float:
    """Return the share of springs and dampers that the joints of a robot bear besides its gains.

    Args:
        robot: provides the gains.
        stiffness, damping, mobility, step: as in :func:`bound_used`.
    """

    def used(share: float) -> float:
        """Return the used fraction of the bound; it is convex in the share."""
        k, d = robot.kp + share * stiffness, robot.kd + share * damping
        return bound_used(k, d, mobility, step)

    without, whole = used(0.0), used(1.0)
    if whole < 1.0:
        return 1.0
    return (MARGIN - without) / (whole - without) if without < MARGIN else 0.0


@dataclass
class Stop:
    """The ends of a joint's range; on a joint that starts outside they close slowly."""

    joint: int
    low: float
    high: float
    open: float = math.inf  # rad that it still gives way on either side; known at the first call
    share: float = 1.0  # of its stiffness and damping

    def torque(self, position: float, velocity: float) -> float:
        """Return its torque on the joint, N·m: zero inside the range, and never outwards."""
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
    """Joint controllers of one robot: τ = strength · clip(share·(kp(q* − q) − kd·q̇), ±torque).

    The share is 1, unless the robot would not bear the gains of motors stronger than its own (see
    :meth:`soften`). Uses plain Python numbers: for a dozen joints they are faster than arrays.

    Args:
        robot: the robot; its torque limits always apply.

    Attributes:
        locked: joints that take no torque, since something holds them.
        folding: the locked joints that are moved to the folded pose and held there.
        given: what the motors give of the last torques, N·m: without the friction of limp joints
            and without stops; those of locked joints are not applied.
    """

    def __init__(self, robot: RobotSpec) -> None:
        self._robot = robot
        self._torque = robot.torque.tolist()
        self._default = robot.default.tolist()
        self._strength = [1.0] * robot.n_joints
        self._friction = [0.0] * robot.n_joints
        self._reversed: frozenset[int] = frozenset()
        self._stops: list[Stop] = []
        self._share: list[float] | None = None  # of the gains; None for all of them
        self.given: list[float] = []
        self.locked: frozenset[int] = frozenset()
        self.folding: frozenset[int] = frozenset()
        self._terms: list[tuple[float, float, float, float, float, float]] = []

    @property
    def stiffer(self) -> bool:
        """Whether there are stops, or motors stronger than the robot's own, to be softened."""
        return bool(self._stops) or max(self._strength) > 1.0

    def damage(self, damages: Sequence[Damage]) -> None:
        """Put exactly these damages in force; an empty sequence heals everything.

        Args:
            damages: damages of any kind; those that affect no motor are ignored.

        Raises:
            DamageError: the robot has no such part; nothing has been changed.
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
        self._strength, self._friction = strength, friction  # only once all are valid
        self.locked, self.folding = frozenset(locked | folding), frozenset(folding)
        self._reversed = frozenset(turned)
        before = {(stop.joint, stop.low, stop.high): stop for stop in self._stops}
        narrowed = [(i, *self._range_left(i, part)) for i, part in enumerate(left) if part < 1.0]
        self._stops = [before.get(ends) or Stop(*ends) for ends in narrowed]
        for stop in self._stops:
            stop.share = 1.0
        self._share = None

    def soften(self, mobility: FloatArray, step: float) -> None:
        """Soften stops, and gains as far as strength raises them, to what the robot bears.

        Args:
            mobility, step: as in :func:`bound_used`.
        """
        robot, strength = self._robot, np.array(self._strength)
        more = np.maximum(strength - 1.0, 0.0)
        stops = 1.0 if self._stops else 0.0
        share = stable_share(
            robot,
            more * robot.kp + stops * STOP_STIFFNESS,
            more * robot.kd + stops * STOP_DAMPING,
            mobility=mobility,
            step=step,
        )
        for stop in self._stops:
            stop.share = share
        if share < 1.0:
            self._share = ((1.0 + share * more) / np.maximum(strength, 1.0)).tolist()

    def _range_left(self, joint: int, fraction: float) -> tuple[float, float]:
        """Return a joint's limits, rad, with a fraction of its range left about the default."""
        robot, middle = self._robot, self._default[joint]
        low, high = float(robot.lower[joint]), float(robot.upper[joint])
        return middle + fraction * (low - middle), middle + fraction * (high - middle)

    def command(self, command: Command) -> None:
        """Take the command to follow until the next one."""
        n = self._robot.n_joints
        zero = [0.0] * n
        kp = command.kp.tolist() if command.mode is Mode.POSITION else zero
        kd = zero if command.mode is Mode.OFF else command.kd.tolist()
        target = command.position.tolist() if command.mode is Mode.POSITION else zero
        if self._share is not None:
            kp = [share * gain for share, gain in zip(self._share, kp, strict=True)]
            kd = [share * gain for share, gain in zip(self._share, kd, strict=True)]
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
            states: (position rad, velocity rad/s, …) per joint.
        """
        torques, given = [], []
        for state, (target, kp, kd, limit, strength, friction) in zip(
            states, self._terms, strict=True
        ):
            velocity = state[1]
            torque = kp * (target - state[0]) - kd * velocity
            if torque > limit:
                torque = limit
            elif torque < -limit:
                torque = -limit
            given.append(strength * torque)
            torques.append(given[-1] - friction * velocity)
        self.given = given
        for stop in self._stops:
            torques[stop.joint] += stop.torque(states[stop.joint][0], states[stop.joint][1])
        return torques
