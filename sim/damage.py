"""Damages as values: which part, which kind, how much.

As text a damage is ``PART:KIND[:AMOUNT]``, where PART is a leg (``FR``: all its joints) or one joint
(``FR_lower_joint``); several are separated by commas; ``none`` is no damage:

    FR:limp            no torque; the joints move freely, with a little friction
    RL:weak:0.3        the motors give 0.3 of their torque
    FR_lower_joint:locked   the joint keeps the angle it has at that moment
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hebb_controller.errors import DamageError
from hebb_controller.robot import RobotSpec

KINDS = ("limp", "weak", "locked")
LIMP_FRICTION = 0.15  # N·m·s/rad, what a motor without current still resists


@dataclass(frozen=True)
class Damage:
    """One damage.

    Attributes:
        part: a leg or a joint of the robot.
        kind: ``limp``, ``weak`` or ``locked``.
        amount: ``weak``: the fraction of torque that is left, in [0, 1); otherwise 0, unused.
    """

    part: str
    kind: str
    amount: float = 0.0

    def __str__(self) -> str:
        amount = f":{self.amount:g}" if self.kind == "weak" else ""
        return f"{self.part}:{self.kind}{amount}"


def parse_damages(text: str, robot: RobotSpec) -> tuple[Damage, ...]:
    """Return the damages in a text such as ``FR:limp,RL:weak:0.3``.

    Raises:
        DamageError: a part or kind is unknown, or an amount is missing or out of range.
    """
    text = text.strip()
    if text in ("", "none"):
        return ()
    damages = tuple(_parse_one(item.strip()) for item in text.split(","))
    for damage in damages:
        damaged_joints(damage, robot)
    return damages


def damaged_joints(damage: Damage, robot: RobotSpec) -> tuple[int, ...]:
    """Return the indices of the joints that a damage concerns.

    Raises:
        DamageError: the robot has no such part.
    """
    if damage.part in robot.legs:
        return robot.legs[damage.part]
    if damage.part in robot.joint_names:
        return (robot.joint_names.index(damage.part),)
    raise DamageError(
        f"damage '{damage}': robot '{robot.name}' has no leg or joint '{damage.part}'. "
        f"Legs: {', '.join(robot.legs)}; joints: {', '.join(robot.joint_names)}."
    )


def describe(damages: Sequence[Damage]) -> str:
    """Return the text that :func:`parse_damages` reads; ``none`` for no damage."""
    return ",".join(str(damage) for damage in damages) or "none"


def _parse_one(item: str) -> Damage:
    words = item.split(":")
    if len(words) < 2 or not all(words):
        raise DamageError(f"damage '{item}': write PART:KIND or PART:weak:AMOUNT, e.g. FR:limp.")
    part, kind, *rest = words
    if kind not in KINDS:
        raise DamageError(f"damage '{item}': kind '{kind}' is unknown. Known: {', '.join(KINDS)}.")
    if kind != "weak":
        if rest:
            raise DamageError(f"damage '{item}': kind '{kind}' takes no amount.")
        return Damage(part, kind)
    try:
        (amount,) = (float(word) for word in rest)
    except ValueError as error:
        raise DamageError(
            f"damage '{item}': 'weak' takes the fraction of torque left, e.g. {part}:weak:0.3."
        ) from error
    if not math.isfinite(amount) or not 0 <= amount < 1:
        raise DamageError(f"damage '{item}': the fraction must be in [0, 1).")
    return Damage(part, kind, amount)
