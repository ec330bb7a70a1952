"""The motors: how a command becomes torque at every physics substep, healthy or not."""

from __future__ import annotations

from collections.abc import Sequence

from hebb_controller.robot import RobotSpec
from hebb_controller.signals import Command, Mode

from .damage import LIMP_FRICTION, Damage, damaged_joints


class Actuator:
    """Joint controllers of one robot: τ = strength · clip(kp(q* − q) − kd·q̇, ±torque).

    Plain Python numbers: for a dozen joints they are faster than arrays.

    Args:
        robot: whose torque limits hold, whatever the command says.
    """

    def __init__(self, robot: RobotSpec) -> None:
        self._robot = robot
        self._torque = robot.torque.tolist()
        self._strength = [1.0] * robot.n_joints
        self._friction = [0.0] * robot.n_joints
        self.locked: frozenset[int] = frozenset()
        self._terms: list[tuple[float, float, float, float, float, float]] = []

    def damage(self, damages: Sequence[Damage]) -> None:
        """Put exactly these damages in force; an empty sequence heals everything.

        Raises:
            DamageError: the robot has no such part; nothing is changed then.
        """
        n = self._robot.n_joints
        strength, friction = [1.0] * n, [0.0] * n
        locked: set[int] = set()
        for damage in damages:
            for joint in damaged_joints(damage, self._robot):
                if damage.kind == "limp":
                    strength[joint] = 0.0
                    friction[joint] = LIMP_FRICTION
                elif damage.kind == "weak":
                    strength[joint] *= damage.amount
                else:
                    locked.add(joint)
        self._strength, self._friction = strength, friction  # all of it, or nothing was raised
        self.locked = frozenset(locked)

    def command(self, command: Command) -> None:
        """Take the command that holds until the next one."""
        n = self._robot.n_joints
        zero = [0.0] * n
        kp = command.kp.tolist() if command.mode is Mode.POSITION else zero
        kd = zero if command.mode is Mode.OFF else command.kd.tolist()
        target = command.position.tolist() if command.mode is Mode.POSITION else zero
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
        return torques
