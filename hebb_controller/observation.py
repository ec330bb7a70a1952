"""Observations: a table of named channels turned into one float32 vector.

A rule file lists the channels that its network was evolved with, each with a scale and a clip. The
slices of the vector follow from that list; none is typed by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import ContractError
from .robot import FloatArray, RobotSpec
from .rotation import projected_gravity, wrap_angle, yaw
from .signals import SensorReading
from .velocity_filter import VelocityFilter

CLOCK_FREQUENCY = 2.0  # Hz, of the `clock` channel


@dataclass(frozen=True)
class Channel:
    """One named part of the observation: ``clip(value · scale, ±clip)``."""

    name: str
    scale: float
    clip: float


class ObservationContext(NamedTuple):
    """Everything a channel may look at.

    Attributes:
        robot: the robot.
        reading: what was measured.
        joint_velocity: (n,) measured or estimated, as the robot spec says, rad/s.
        last_position: (n,) position targets applied before this tick, rad.
        heading_error: yaw relative to the heading to keep, rad, in [−pi, pi).
        elapsed: time since the start of the run, s.
    """

    robot: RobotSpec
    reading: SensorReading
    joint_velocity: FloatArray
    last_position: FloatArray
    heading_error: float
    elapsed: float


@dataclass(frozen=True)
class _ChannelKind:
    """How a channel is computed; ``mirror``: its mirrored signs, or None for one value per joint."""

    size: Callable[[int], int]
    value: Callable[[ObservationContext], Sequence[float] | FloatArray]
    mirror: tuple[int, ...] | None = None


def _clock(context: ObservationContext) -> tuple[float, float]:
    phase = 2.0 * math.pi * CLOCK_FREQUENCY * context.elapsed
    return math.sin(phase), math.cos(phase)


CHANNELS: Mapping[str, _ChannelKind] = {
    "gravity": _ChannelKind(
        lambda n: 3, lambda c: projected_gravity(c.reading.orientation), mirror=(1, -1, 1)
    ),
    "angular_velocity": _ChannelKind(
        lambda n: 3, lambda c: c.reading.angular_velocity_base, mirror=(-1, 1, -1)
    ),
    "heading": _ChannelKind(
        lambda n: 2,
        lambda c: (math.sin(c.heading_error), math.cos(c.heading_error)),
        mirror=(-1, 1),
    ),
    "joint_position": _ChannelKind(
        lambda n: n, lambda c: c.reading.joint_position - c.robot.default
    ),
    "joint_velocity": _ChannelKind(lambda n: n, lambda c: c.joint_velocity),
    "tracking_error": _ChannelKind(
        lambda n: n, lambda c: c.last_position - c.reading.joint_position
    ),
    "clock": _ChannelKind(lambda n: 2, _clock, mirror=(-1, -1)),  # half a period later
    "velocity_command": _ChannelKind(
        lambda n: 3, lambda c: c.reading.velocity_command, mirror=(1, -1, -1)
    ),
}
"""Channel name -> its size for n joints and its value in SI units."""


class Observer:
    """Turns readings into observations for one robot and one list of channels.

    Args:
        channels: the channels in the order of the vector.
        robot: the robot they are measured on.

    Raises:
        ContractError: a channel is unknown or listed twice.
    """

    def __init__(self, channels: Sequence[Channel], robot: RobotSpec) -> None:
        self._robot = robot
        self.slices = channel_slices(channels, robot.n_joints)
        size = observation_size(channels, robot.n_joints)
        self._values = [CHANNELS[channel.name].value for channel in channels]
        self._slices = list(self.slices.values())
        self._scale = np.empty(size, dtype=np.float64)
        self._limit = np.empty(size, dtype=np.float64)
        for channel, part in zip(channels, self._slices, strict=True):
            self._scale[part] = channel.scale
            self._limit[part] = channel.clip / abs(channel.scale) if channel.scale else np.inf
        self._buffer = np.zeros(size, dtype=np.float64)
        self._start: tuple[float, float] | None = None
        self._turn = 0.0
        cutoff = robot.velocity_cutoff if "joint_velocity" in self.slices else None
        self._filter = None if cutoff is None else VelocityFilter(cutoff)

    @property
    def size(self) -> int:
        """Length of the observation."""
        return int(self._buffer.size)

    def reset(self, *, turn: float = 0.0) -> None:
        """Forget the run: the next reading defines time zero and the heading to keep.

        Args:
            turn: angle from the robot's heading at that moment to the heading to keep, rad.
        """
        self._start = None
        self._turn = turn
        if self._filter is not None:
            self._filter.reset()

    def observe(self, reading: SensorReading, last_position: FloatArray) -> npt.NDArray[np.float32]:
        """Return the observation, shape (size,), dimensionless.

        Args:
            reading: what was measured; must be finite and of the robot's shapes, neither of which is
                checked here, since safety comes first.
            last_position: (n,) position targets applied before this tick, rad.
        """
        heading = yaw(reading.orientation)
        if self._start is None:
            self._start = (reading.stamp, heading + self._turn)
        start_stamp, start_heading = self._start
        velocity = reading.joint_velocity
        if self._filter is not None:
            stamp = reading.stamp if reading.joint_stamp is None else reading.joint_stamp
            velocity = self._filter.update(reading.joint_position, stamp)
        context = ObservationContext(
            self._robot,
            reading,
            velocity,
            last_position,
            wrap_angle(heading - start_heading),
            reading.stamp - start_stamp,
        )
        buffer = self._buffer
        for part, value in zip(self._slices, self._values, strict=True):
            buffer[part] = value(context)
        np.maximum(buffer, -self._limit, out=buffer)  # before scaling, so that nothing overflows
        np.minimum(buffer, self._limit, out=buffer)
        np.multiply(buffer, self._scale, out=buffer)
        return buffer.astype(np.float32)


def observation_size(channels: Sequence[Channel], n_joints: int) -> int:
    """Return the length of the observation that these channels make for n joints.

    Raises:
        ContractError: a channel is unknown or listed twice.
    """
    return max((part.stop for part in channel_slices(channels, n_joints).values()), default=0)


def channel_slices(channels: Sequence[Channel], n_joints: int) -> dict[str, slice]:
    """Return each channel's slice of the observation.

    Raises:
        ContractError: a channel is unknown or listed twice.
    """
    slices: dict[str, slice] = {}
    start = 0
    for channel in channels:
        if channel.name not in CHANNELS:
            raise ContractError(
                f"observation channel '{channel.name}' is unknown. Known: {', '.join(CHANNELS)}."
            )
        if channel.name in slices:
            raise ContractError(f"observation channel '{channel.name}' is listed twice.")
        size = CHANNELS[channel.name].size(n_joints)
        slices[channel.name] = slice(start, start + size)
        start += size
    return slices


def observation_limits(channels: Sequence[Channel], n_joints: int) -> npt.NDArray[np.float32]:
    """Return the largest magnitude of every element of the observation, (size,), dimensionless."""
    limits = np.empty(observation_size(channels, n_joints), dtype=np.float32)
    slices = channel_slices(channels, n_joints)
    for channel in channels:
        limits[slices[channel.name]] = channel.clip
    return limits
