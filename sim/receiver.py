"""Between the wire and the simulated motors: takes commands, and damps when they stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hebb_controller.errors import MessageError
from hebb_controller.robot import RobotSpec
from hebb_controller.safety import damp_command
from hebb_controller.signals import Command, Mode


@dataclass(frozen=True)
class _Received:
    command: Command
    stamp: int
    when: float


class Receiver:
    """Holds the latest command for one robot.

    Args:
        robot: the robot; provides the gains, which the wire does not carry.
        timeout: time without a command after which the robot is damped, s of steady time.
    """

    def __init__(self, robot: RobotSpec, *, timeout: float) -> None:
        self._robot = robot
        self._timeout = timeout
        self._damp = damp_command(robot)
        self._latest: _Received | None = None

    def accept(
        self,
        names: Sequence[str],
        *,
        position: Sequence[float],
        velocity: Sequence[float],
        stamp: int,
        now: float,
    ) -> None:
        """Take a command; if it is refused, the previous one stays in force.

        Args:
            names: names of all joints, in any order.
            position: joint targets, rad; empty for DAMP.
            velocity: with an empty ``position``, zero for each joint.
            stamp: stamp of the reading that the command answers, ns.
            now: steady time, s.

        Raises:
            MessageError: a joint is missing or unknown, or the values are not a valid command.
        """
        self._latest = _Received(self._decode(names, position, velocity), stamp, now)

    def forget(self) -> None:
        """Drop the latest command, as if none had come."""
        self._latest = None

    def in_force(self, now: float) -> Command | None:
        """Return the command in force; None if it has timed out or none has come yet."""
        latest = self._latest
        if latest is None or now - latest.when > self._timeout:
            return None
        return latest.command

    def answer_to(self, stamp: int) -> Command | None:
        """Return the command that answers the reading with this stamp, if it has come."""
        latest = self._latest
        return latest.command if latest is not None and latest.stamp == stamp else None

    def _decode(
        self, names: Sequence[str], position: Sequence[float], velocity: Sequence[float]
    ) -> Command:
        robot = self._robot
        if sorted(names) != sorted(robot.joint_names):
            raise MessageError(
                f"joint_command: names {', '.join(names) or 'no joint'}; robot '{robot.name}' has "
                f"{', '.join(robot.joint_names)}. Name each once."
            )
        if len(position) == 0:
            if len(velocity) != len(names) or any(velocity):
                raise MessageError(
                    "joint_command: no positions. For DAMP, set a zero velocity for each joint."
                )
            return self._damp
        if len(position) != len(names):
            raise MessageError(f"joint_command: {len(position)} positions for {len(names)} names.")
        if not math.isfinite(sum(position)):
            raise MessageError("joint_command: a position is not finite.")
        by_name = dict(zip(names, position, strict=True))
        targets = np.array([by_name[name] for name in robot.joint_names])
        return Command(Mode.POSITION, targets, robot.kp, robot.kd)
