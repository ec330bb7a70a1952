"""Moves one joint after another, gently, and judges each: a function of readings and time.

Every target goes through the robot's own safety, with a much lower rate limit than the robot's. Anything
unexpected ends it: from then on every command is DAMP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..robot import FloatArray, RobotSpec
from ..rotation import projected_gravity
from ..safety import Safety, damp_command
from ..signals import Command, Mode, SensorReading
from .heard import Finding, Level

PERIOD = 0.02  # s between two commands
SETTLE = 1.0  # s of holding before the first joint moves
RISE = 1.0  # s from the held position to the amplitude, and back
STAY = 0.5  # s at the amplitude, and again between two joints
MAX_RATE = 0.5  # rad/s, of any target; a move needs π/2 amplitudes a second

SAGGED = 0.3  # rad that a joint may yield when the robot begins to hold
TURNED = 0.2  # rad by which the body may tilt meanwhile
OTHERS = 0.5  # fraction of the amplitude by which another joint may move
BACKWARDS = 0.3  # fraction of the amplitude that a joint may move the wrong way
BEYOND = 1.5  # times the amplitude that a joint may move
RIGHT = (0.5, 1.3)  # fractions of what was asked that are about right
NOTHING = 0.2  # fraction of what was asked that does not count as a move


@dataclass
class _Move:
    """The move of one joint that is under way."""

    joint: int
    amplitude: float  # rad, with its direction
    begin: float  # s, steady time
    hold: FloatArray
    baseline: FloatArray
    judged: bool = False


class Moves:
    """Moves joints of a robot one at a time; call :meth:`step` every ``PERIOD``.

    Args:
        robot: its limits hold.
        joints: indices of the joints to move, in this order.
        amplitude: how far, rad; less where a joint's range is small.
        tell: called with each finding when it is made.
        announce: called with what moves next.

    Attributes:
        windows: joint -> when its move began and ended, s.
        done: whether all have moved, or it was aborted: from then on it commands DAMP.
    """

    def __init__(
        self,
        robot: RobotSpec,
        joints: Sequence[int],
        *,
        amplitude: float,
        tell: Callable[[Finding], None],
        announce: Callable[[str], None],
    ) -> None:
        gentle = replace(robot, max_target_rate=np.minimum(robot.max_target_rate, MAX_RATE))
        self._robot = robot
        self._safety = Safety(gentle, period=PERIOD)
        self._waiting = list(joints)
        self._amplitude = amplitude
        self._tell, self._announce = tell, announce
        self._first: SensorReading | None = None
        self._begin = 0.0
        self._last = np.empty(robot.n_joints)
        self._move: _Move | None = None
        self.windows: dict[str, tuple[float, float]] = {}
        self.done = False

    def step(self, reading: SensorReading, now: float) -> Command:
        """Return the next command.

        Args:
            reading: the latest.
            now: on the clock of ``reading.received``, s.
        """
        if not self.done:
            report = self._safety.check(reading, now)
            if report.tripped:
                self.abort(report.detail, "fix that first")
            elif self._first is None:
                self._first, self._begin = reading, now
                self._last = reading.joint_position.copy()
            else:
                self._watch(self._first, reading, now)
        if self.done or self._first is None:
            return damp_command(self._robot)
        target = self._first.joint_position.copy()
        if self._move is not None:
            target[self._move.joint] += self._move.amplitude * _shape(now - self._move.begin)
        self._last, report = self._safety.bound(target, self._last, reading.joint_position)
        return Command(Mode.POSITION, self._last, self._robot.kp, self._robot.kd, report)

    def abort(self, reason: str, fix: str) -> None:
        """End it: from now on every command is DAMP."""
        if not self.done:
            self.done = True
            self._tell(Finding("move", Level.FAIL, f"{reason}; damped", fix))

    def _watch(self, first: SensorReading, reading: SensorReading, now: float) -> None:
        cosine = float(np.dot(_down(first), _down(reading)))
        if cosine < math.cos(TURNED):
            self.abort("the body tilted", "hang the robot, or hold it, so that its legs are free")
        elif self._move is not None:
            self._follow(self._move, reading, now)
        elif now - self._begin < SETTLE:
            sag = abs(reading.joint_position - first.joint_position)
            if sag.max() > SAGGED:
                name = self._robot.joint_names[int(sag.argmax())]
                self.abort(
                    f"{name} moved by {sag.max():.2f} rad instead of holding",
                    "check its sign, its gains, and that the driver takes targets in rad",
                )
        else:
            self._next(first, reading, now)

    def _next(self, first: SensorReading, reading: SensorReading, now: float) -> None:
        if not self._waiting:
            self.done = True
            return
        robot, joint = self._robot, self._waiting.pop(0)
        hold = float(first.joint_position[joint])
        up, down = float(robot.upper[joint]) - hold, hold - float(robot.lower[joint])
        size = min(self._amplitude, 0.8 * max(up, down))
        amplitude = size if up >= down else -size
        self._announce(f"{robot.joint_names[joint]} by {amplitude:+.2f} rad: watch it")
        self._move = _Move(
            joint, amplitude, now, first.joint_position, reading.joint_position.copy()
        )

    def _follow(self, move: _Move, reading: SensorReading, now: float) -> None:
        names, size = self._robot.joint_names, abs(move.amplitude)
        name, moved = names[move.joint], reading.joint_position - move.baseline
        own = float(moved[move.joint]) * math.copysign(1.0, move.amplitude)
        others = abs(moved)
        others[move.joint] = 0.0
        other = int(others.argmax())
        if others[other] > OTHERS * size:
            self.abort(
                f"{name} should move, but {names[other]} moved by {moved[other]:+.2f} rad",
                "check the order of names in the driver, and the motors' cables",
            )
        elif own < -BACKWARDS * size:
            self.abort(
                f"{name} moves the wrong way",
                "have motor and encoder of this joint turn the same way",
            )
        elif own > BEYOND * size:
            self.abort(
                f"{name} moved by {own:.2f} rad where {size:.2f} was commanded",
                "check units and gear ratio in the driver",
            )
        elif now - move.begin > RISE + STAY and not move.judged:
            move.judged = True
            self._judge(name, own, size)
        elif now - move.begin > 2 * RISE + 2 * STAY:
            self._move = None
            self.windows[name] = move.begin, now

    def _judge(self, name: str, own: float, size: float) -> None:
        part = own / size
        said = f"{name} moved by {own:.3f} of {size:.3f} rad, alone, in the right direction"
        if part < NOTHING:
            said = f"{name} did not move: {own:.3f} of {size:.3f} rad"
            level, fix = Level.FAIL, "check that its motor is on, gets the target, and is free"
        elif not RIGHT[0] <= part <= RIGHT[1]:
            level, fix = Level.WARN, "check its gains, its load, and what it rubs against"
        else:
            level, fix = Level.OK, ""
        self._tell(Finding("move", level, said, fix))


def _shape(since: float) -> float:
    """Return the fraction of the amplitude to command ``since`` s after the start: there and back."""
    if since <= RISE + STAY:
        return 0.5 - 0.5 * math.cos(math.pi * min(since / RISE, 1.0))
    return 0.5 + 0.5 * math.cos(math.pi * min((since - RISE - STAY) / RISE, 1.0))


def _down(reading: SensorReading) -> FloatArray:
    return np.array(projected_gravity(reading.orientation))
