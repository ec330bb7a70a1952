"""The seam between robot, simulator and node: a reading comes in, a command goes out.

SI units and radians; vectors are in the order of ``RobotSpec.joint_names``. Frames follow REP 103:
x forward, y left, z up; quaternions are (x, y, z, w).
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, field

import numpy as np

from .robot import FloatArray

STANDSTILL: FloatArray = np.zeros(3)
STANDSTILL.setflags(write=False)


class Mode(enum.Enum):
    """What the joint controllers do with a command."""

    POSITION = "position"  # torque = clip(kp·(position − q) − kd·q̇)
    DAMP = "damp"  # torque = clip(−kd·q̇): the robot sinks slowly
    OFF = "off"  # no torque


class Limit(enum.Flag):
    """The safety stages, in the order in which they are tested."""

    NONE = 0
    FINITE = enum.auto()
    STALE = enum.auto()
    TILT = enum.auto()
    RANGE = enum.auto()
    RATE = enum.auto()
    TORQUE = enum.auto()


TRIPS = Limit.FINITE | Limit.STALE | Limit.TILT
"""Limits that replace the command with the robot's safe action."""

BOUNDS = (Limit.RANGE, Limit.RATE, Limit.TORQUE)
"""Limits that only bound it."""


@dataclass(frozen=True)
class LimitReport:
    """Which safety stages acted on a command.

    Attributes:
        acted: every stage that changed the command.
        detail: why, in one human-readable line; empty if no stage tripped.
    """

    acted: Limit
    detail: str = ""

    @functools.cached_property
    def tripped(self) -> bool:
        """Whether the command was replaced with the robot's safe action."""
        return bool(self.acted & TRIPS)


NOTHING_ACTED = LimitReport(Limit.NONE)


@dataclass(frozen=True)
class SensorReading:
    """What the robot measured at one moment, and how it is asked to move.

    Attributes:
        stamp: when it was measured, s, on the robot's or the simulator's clock.
        received: when it arrived, s, on the reader's steady clock; only staleness uses it.
        joint_position: (n,) rad.
        joint_velocity: (n,) rad/s; where the robot spec says it is estimated, it only has to be finite.
        orientation: (4,) quaternion xyzw, rotates body vectors into the world.
        angular_velocity_base: (3,) rad/s, in the body's frame.
        velocity_command: (3,) requested velocity forward and to the left, m/s, and about the vertical,
            rad/s, in the body's frame; zero if none is commanded.
        joint_stamp: (n,) when each joint was measured, s, on the clock of ``stamp``; None if all
            were measured at ``stamp``.
    """

    stamp: float
    received: float
    joint_position: FloatArray
    joint_velocity: FloatArray
    orientation: FloatArray
    angular_velocity_base: FloatArray
    velocity_command: FloatArray = field(default_factory=lambda: STANDSTILL)
    joint_stamp: FloatArray | None = None


@dataclass(frozen=True)
class Command:
    """What the joint controllers are to do.

    Attributes:
        mode: POSITION, DAMP or OFF.
        position: (n,) targets, rad; meaningless unless ``mode`` is POSITION.
        kp, kd: (n,) gains, N·m/rad and N·m·s/rad.
        limits: which safety stages acted.
    """

    mode: Mode
    position: FloatArray
    kp: FloatArray
    kd: FloatArray
    limits: LimitReport = NOTHING_ACTED
