"""What a robot carries, what pushes it, and what it stands on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hebb_controller.rotation import IDENTITY, Quaternion, Vector

from .damage import Damage

GRAVITY = 9.81  # m/s²


@dataclass(frozen=True)
class Surroundings:
    """Surroundings of a robot; the defaults are those of an undamaged one.

    A slope leaves the ground in place and tilts gravity: the same physics in another frame, as long
    as the imu readings account for it.

    Attributes:
        payload: point mass added at the trunk's centre of mass, kg.
        friction: coefficient between the ground and whatever touches it; None as built.
        gravity: gravity in the ground frame, m/s².
        incline: rotation from the ground frame to one with a vertical z axis, xyzw.
        push: force on the trunk's centre of mass in the ground frame, N; None for none.
        twist: torque on the trunk in the ground frame, N·m; None for none.
    """

    payload: float = 0.0
    friction: float | None = None
    gravity: Vector = (0.0, 0.0, -GRAVITY)
    incline: Quaternion = IDENTITY
    push: Vector | None = None
    twist: Vector | None = None


def surroundings(begun: Sequence[tuple[Damage, float]]) -> Surroundings:
    """Return the surroundings that the damages in force make; other kinds are ignored.

    Masses, forces and torques add up; of several frictions or slopes, the last applies.

    Args:
        begun: damages, each with the robot's yaw when it began, rad, which directs pushes and
            slopes.
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
