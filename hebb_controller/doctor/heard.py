"""What the doctor heard, and what it finds."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..robot import FloatArray


class Level(enum.Enum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: what was looked at.
        level: how bad it is.
        detail: what was found.
        fix: how to fix it; empty if there is nothing to fix.
    """

    check: str
    level: Level
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Needs:
    """What the controller node asks of the sensors.

    Attributes:
        period: of the rule's ticks, s.
        sensor_timeout: sensors quiet for longer damp the robot, s.
    """

    period: float
    sensor_timeout: float


@dataclass(frozen=True)
class Arrival:
    """When a message arrived.

    Attributes:
        received: on the steady clock, s.
        wall: on the system's clock, s.
        stamp: what the message says, s.
    """

    received: float
    wall: float
    stamp: float


@dataclass(frozen=True)
class JointMessage:
    """One message of joint_states; the lengths may disagree."""

    at: Arrival
    names: tuple[str, ...]
    position: tuple[float, ...]
    velocity: tuple[float, ...]


@dataclass(frozen=True)
class ImuMessage:
    """One message of imu/data.

    Attributes:
        at: when it arrived.
        orientation: (4,) xyzw, body into world.
        angular_velocity: (3,) rad/s, in the body's frame.
        linear_acceleration: (3,) m/s², in the body's frame.
        absent: fields that the message marks as not measured.
    """

    at: Arrival
    orientation: FloatArray
    angular_velocity: FloatArray
    linear_acceleration: FloatArray
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ends:
    """The nodes at the ends of the topics, by their full names.

    Attributes:
        joint_states, imu: publish the sensors.
        commanders: publish joint_command.
        receivers: subscribe to joint_command.
        incompatible: sentences about ends that would not connect to the controller node.
    """

    joint_states: tuple[str, ...] = ()
    imu: tuple[str, ...] = ()
    commanders: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    incompatible: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heard:
    """Everything that was heard between two moments of the steady clock, s."""

    begin: float
    end: float
    joints: tuple[JointMessage, ...]
    imu: tuple[ImuMessage, ...]
    ends: Ends


def same_joints(publishers: Sequence[str], names: Collection[Sequence[str]]) -> str:
    """Return a complaint if several nodes publish the same joints, or an empty string.

    Args:
        publishers: full names of the nodes that publish joint_states; the same name is the same node,
            perhaps restarted.
        names: the distinct lists of joints that its messages have.
    """
    nodes = sorted(set(publishers))
    if len(nodes) < 2:
        return ""
    who = " and ".join(nodes)
    times = Counter(joint for joints in names for joint in set(joints))
    twice = [joint for joint, count in times.items() if count > 1]
    if twice:
        return f"{who} publish the same joints ({', '.join(twice)})"
    if len(names) < len(nodes):
        return f"{who} publish the same joints, unless one of them is silent"
    return ""


@dataclass(frozen=True)
class JointSeries:
    """What was heard of one joint: arrays of equal length, in the order of arrival.

    Attributes:
        received, stamp: s.
        position: rad; NaN where a message had none.
        velocity: rad/s; NaN where a message had none.
    """

    received: FloatArray
    stamp: FloatArray
    position: FloatArray
    velocity: FloatArray


def joint_series(messages: Sequence[JointMessage], name: str) -> JointSeries:
    """Return what the messages say of one joint."""
    rows = []
    for message in messages:
        if name in message.names:
            i = message.names.index(name)
            position = message.position[i] if i < len(message.position) else np.nan
            velocity = message.velocity[i] if i < len(message.velocity) else np.nan
            rows.append((message.at.received, message.at.stamp, position, velocity))
    return JointSeries(*np.array(rows, dtype=np.float64).reshape(-1, 4).T)
