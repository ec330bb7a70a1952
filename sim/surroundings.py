"""What a robot carries, is pushed by and stands on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hebb_controller.rotation import IDENTITY, Quaternion, Vector

from .damage import Damage

GRAVITY = 9.81  # m/s²


@dataclass(frozen=True)
class Surroundings:
    """What is around a robot; the defaults are those of a healthy one.

    A slope leaves the ground where it is and tilts gravity: the same physics in another frame, as long
    as the imu is told.

    Attributes:
        payload: mass added at the trunk's centre of mass, a point, kg.
        friction: coefficient between the ground and whatever touches it; None as built.
        gravity: m/s², in the frame of the ground.
        incline: rotates the frame of the ground into one whose z axis is vertical, xyzw.
        push: force on the trunk's centre of mass, N, in the frame of the ground; None for none.
        twist: torque on the trunk, N·m, in the frame of the ground; None for none.
    """

    payload: float = 0.0
    friction: float | None = None
    gravity: Vector = (0.0, 0.0, -GRAVITY)
    incline: Quaternion = IDENTITY
    push: Vector | None = None
    twist: Vector | None = None


def surroundings(begun: Sequence[tuple[Damage, float]]) -> Surroundings:
    """Return what the damages in force put around the robot; the others are passed over.

    Masses, forces and torques add up; of several frictions or slopes the last holds.

    Args:
        begun: damages, each with the yaw of the robot when it began, rad: pushes and slopes go by it.
    """
    payload, friction, gravity, incline = 0.0, None, (0.0, 0.0, -GRAVITY), IDENTITY
    push_x = push_y = twist = 0.0
    for damage, heading in begun:
        amount, cosine, sine = damage.amount, math.cos(heading), math.sin(heading)
        if damage.kind == "payload":
            payload += amount
        elif damage.kind == "friction":
            friction = amount
        elif damage.kind == "slope":
            back = GRAVITY * math.sin(amount)
            gravity = (-back * cosine, -back * sine, -GRAVITY * math.cos(amount))
            half = math.sin(-0.5 * amount)  # about the axis to the left: the nose goes up
            incline = (-half * sine, half * cosine, 0.0, math.cos(0.5 * amount))
        elif damage.kind == "pull":
            push_x, push_y = push_x + amount * cosine, push_y + amount * sine
        elif damage.kind == "push":
            push_x, push_y = push_x - amount * sine, push_y + amount * cosine
        elif damage.kind == "twist":
            twist += amount
    return Surroundings(
        payload,
        friction,
        gravity,
        incline,
        push=(push_x, push_y, 0.0) if push_x or push_y else None,
        twist=(0.0, 0.0, twist) if twist else None,
    )
