"""Damages and disturbances as values: which part, which kind, how much.

As text, a damage is ``PART:KIND[:AMOUNT]``; several are separated by commas; ``none`` is no damage.
``TABLE`` below lists them all; docs/damage.md says what each does to the physics. Examples::

    FR:limp                  no torque; the leg's joints move freely, with a little friction
    RL:weak:0.3              the motors give 0.3 of their torque
    FR_lower_joint:locked    the joint stays at the angle it has at that moment
    imu:bias:0.1             the orientation reads 0.1 rad of pitch too much
    ground:friction:0.2      between the ground and whatever touches it
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from hebb_controller.errors import DamageError
from hebb_controller.robot import BODY_PARTS, RobotSpec

LIMP_FRICTION = 0.15  # N·m·s/rad, the resistance of a motor without current


@dataclass(frozen=True)
class Amount:
    """Meaning and range of the number that a kind takes.

    Attributes:
        meaning: description for people, e.g. ``the fraction of torque left``.
        low, high: its range, inclusive unless ``open_end``.
        example: a valid amount.
        open_end: whether ``high`` itself is excluded.
        whole: whether it must be a whole number.
    """

    meaning: str
    low: float
    high: float
    example: str
    open_end: bool = False
    whole: bool = False

    def __str__(self) -> str:
        whole = "a whole number " if self.whole else ""
        return f"{whole}in [{self.low:g}, {self.high:g}{')' if self.open_end else ']'}"

    def __contains__(self, number: float) -> bool:
        fits = self.low <= number < self.high or (number == self.high and not self.open_end)
        return fits and (not self.whole or number == int(number))  # nan never fits


@dataclass(frozen=True)
class Kind:
    """One kind of damage.

    Attributes:
        parts: parts that it may affect: ``leg``, ``joint``, or any of ``BODY_PARTS``.
        amount: the number that it takes; None for kinds that take none.
    """

    parts: tuple[str, ...]
    amount: Amount | None = None


def _fraction(meaning: str, example: str) -> Amount:
    return Amount(meaning, 0.0, 1.0, example, open_end=True)


_JOINTS = ("leg", "joint", "motors")
_SENSORS = ("leg", "joint", "imu", "sensors")

TABLE: Mapping[str, Kind] = MappingProxyType(
    {
        "limp": Kind(_JOINTS),
        "weak": Kind(_JOINTS, _fraction("the fraction of torque left", "0.3")),
        "locked": Kind(_JOINTS),
        "folded": Kind(_JOINTS),
        "shortened": Kind(("leg", "joint"), _fraction("the fraction of length left", "0.25")),
        "narrowed": Kind(_JOINTS, _fraction("the fraction of range left", "0.2")),
        "strength": Kind(_JOINTS, Amount("a factor on the torque", 0.0, 2.0, "1.1")),
        "reversed": Kind(_JOINTS),
        "constant": Kind(_SENSORS),
        "noise": Kind(_SENSORS, Amount("a standard deviation in rad", 0.0, 1.0, "0.02")),
        "bias": Kind(("leg", "joint", "imu"), Amount("an offset in rad", -1.5, 1.5, "0.1")),
        "dropout": Kind(_SENSORS, Amount("the probability that a tick is lost", 0, 1, "0.5")),
        "latency": Kind(("sensors",), Amount("ticks of delay", 0, 50, "2", whole=True)),
        "payload": Kind(("trunk",), Amount("a mass in kg", 0.0, 100.0, "3")),
        "push": Kind(("trunk",), Amount("a force to the left in N", -5e3, 5e3, "100")),
        "pull": Kind(("trunk",), Amount("a force forwards in N", -5e3, 5e3, "-30")),
        "twist": Kind(("trunk",), Amount("a torque that turns it left in N·m", -5e3, 5e3, "30")),
        "friction": Kind(("ground",), Amount("a coefficient", 0.0, 5.0, "0.2")),
        "slope": Kind(("ground",), Amount("an angle uphill in rad", -0.6, 0.6, "0.1")),
    }
)
"""Kind -> the parts that it may affect, and the number that it takes."""


@dataclass(frozen=True)
class Damage:
    """One damage or disturbance.

    Attributes:
        part: a leg or a joint of the robot, or one of ``BODY_PARTS``.
        kind: a key of ``TABLE``.
        amount: the amount; 0 and unused for kinds that take none.
    """

    part: str
    kind: str
    amount: float = 0.0

    def __str__(self) -> str:
        takes = self.kind in TABLE and TABLE[self.kind].amount
        return f"{self.part}:{self.kind}" + (
            f":{float(self.amount)!r}".removesuffix(".0") if takes else ""
        )


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
        check_damage(damage, robot)
    return damages


def describe(damages: Sequence[Damage]) -> str:
    """Return the text that :func:`parse_damages` reads; ``none`` for no damage."""
    return ",".join(str(damage) for damage in damages) or "none"


def make_damage(part: str, kind: str, amount: float | None) -> Damage:
    """Return a damage whose kind exists and whose amount fits it.

    Raises:
        DamageError: the kind is unknown, or the amount is missing, not allowed or out of range.
    """
    item = ":".join((part, kind, *([] if amount is None else [f"{amount:g}"])))
    if kind not in TABLE:
        raise DamageError(f"damage '{item}': kind '{kind}' is unknown. Known: {', '.join(TABLE)}.")
    takes = TABLE[kind].amount
    if takes is None:
        if amount is not None:
            raise DamageError(f"damage '{item}': kind '{kind}' takes no amount.")
        return Damage(part, kind)
    if amount is None:
        raise DamageError(
            f"damage '{item}': '{kind}' takes {takes.meaning}, e.g. {part}:{kind}:{takes.example}."
        )
    if amount not in takes:
        raise DamageError(f"damage '{item}': {takes.meaning} must be {takes}.")
    return Damage(part, kind, amount)


def check_damage(damage: Damage, robot: RobotSpec) -> None:
    """Check the kind and amount of a damage, and that the robot has its part.

    Raises:
        DamageError: the robot cannot have this damage.
    """
    takes = damage.kind in TABLE and TABLE[damage.kind].amount
    make_damage(damage.part, damage.kind, damage.amount if takes else None)
    parts = TABLE[damage.kind].parts
    if damage.part in BODY_PARTS:
        if damage.part not in parts:
            raise DamageError(
                f"damage '{damage}': '{damage.kind}' cannot affect '{damage.part}', only "
                f"{', '.join(parts)}."
            )
    elif "joint" not in parts:
        raise DamageError(
            f"damage '{damage}': '{damage.kind}' affects only '{parts[0]}': "
            f"write {replace(damage, part=parts[0])}."
        )
    else:
        damaged_joints(damage, robot)


def damaged_joints(damage: Damage, robot: RobotSpec) -> tuple[int, ...]:
    """Return the indices of the joints that a damage affects; all for ``motors`` and ``sensors``.

    Raises:
        DamageError: the robot has no such part.
    """
    if damage.part in robot.legs:
        return robot.legs[damage.part]
    if damage.part in robot.joint_names:
        return (robot.joint_names.index(damage.part),)
    if damage.part in BODY_PARTS:
        return tuple(range(robot.n_joints)) if damage.part in ("motors", "sensors") else ()
    raise DamageError(
        f"damage '{damage}': robot '{robot.name}' has no leg or joint '{damage.part}'. "
        f"Legs: {', '.join(robot.legs)}; joints: {', '.join(robot.joint_names)}; "
        f"other parts: {', '.join(BODY_PARTS)}."
    )


def as_begun(before: Sequence[Damage], damages: Sequence[Damage]) -> list[Damage]:
    """Return damages in the order in which they began: those already in force first, in theirs.

    Of equal ones, those that began first are taken to have stayed.
    """
    new = list(damages)
    kept = []
    for damage in before:
        if damage in new:
            new.remove(damage)
            kept.append(damage)
    return kept + new


def numbered(damages: Sequence[Damage]) -> list[tuple[Damage, int]]:
    """Return each damage with the number of equal ones before it, which tells duplicates apart."""
    return [(damage, damages[:i].count(damage)) for i, damage in enumerate(damages)]


def _parse_one(item: str) -> Damage:
    words = item.split(":")
    if len(words) < 2 or not all(words):
        raise DamageError(f"damage '{item}': write PART:KIND or PART:KIND:AMOUNT, e.g. FR:limp.")
    part, kind, *rest = words
    if kind not in TABLE or not rest:
        return make_damage(part, kind, None)
    takes = TABLE[kind].amount
    if takes is None:
        raise DamageError(f"damage '{item}': kind '{kind}' takes no amount.")
    try:
        (amount,) = (float(word) for word in rest)
    except ValueError as error:
        raise DamageError(
            f"damage '{item}': '{kind}' takes {takes.meaning}, e.g. {part}:{kind}:{takes.example}."
        ) from error
    if not math.isfinite(amount):
        raise DamageError(f"damage '{item}': {takes.meaning} must be {takes}.")
    return make_damage(part, kind, amount)
