"""Draft a robot spec from a URDF: what it states, what follows from its tree, and nothing else."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import RobotSpecError
from .robot import FloatArray
from .urdf import UrdfJoint, read_urdf

HINGES = ("revolute", "continuous")
SAME = 0.01  # m: hips closer than this to each other's mirror image are left and right
OFF_MIDDLE = (
    0.01  # m: hips closer than this to the middle are neither front nor rear, left nor right
)
TURNED = 1e-3  # an IMU whose axes are further off the trunk's is rotated


class Leg(NamedTuple):
    """A chain of hinges from the trunk outwards."""

    name: str
    joints: tuple[UrdfJoint, ...]

    @property
    def hip(self) -> FloatArray:
        """Where it begins, m."""
        return self.joints[0].position


@dataclass(frozen=True)
class Draft:
    """What a URDF says about a robot.

    Attributes:
        name: name of the robot.
        source: the file.
        joints: the hinges to be driven, in file order.
        legs: guessed from the tree; empty where it branches beyond the trunk.
        mirror: right joint -> left joint, with a minus where it turns the other way; empty if
            right and left are ambiguous.
        notes: remarks for the user.
    """

    name: str
    source: Path
    joints: tuple[UrdfJoint, ...]
    legs: tuple[Leg, ...]
    mirror: Mapping[str, str]
    notes: tuple[str, ...]


def draft_from_urdf(path: Path, *, skip: Collection[str] = ()) -> Draft:
    """Return what a URDF says about a robot.

    Args:
        path: the file, plain URDF: run xacro first.
        skip: movable joints that are not to be driven, such as those of a gripper.

    Raises:
        RobotSpecError: the file is unreadable, is not a tree, or has movable joints other than hinges.
    """
    name, joints = read_urdf(path)
    for each in (name, *(joint.name for joint in joints)):
        if not each.isprintable():
            raise RobotSpecError(f"{path}: the name {each!a} cannot be printed. Rename it there.")
    unknown = [joint for joint in skip if joint not in {j.name for j in joints}]
    if unknown:
        raise RobotSpecError(f"{path}: --skip: there is no joint {', '.join(unknown)}.")
    movable = [j for j in joints if j.kind != "fixed" and not j.mimics and j.name not in skip]
    others = [j for j in movable if j.kind not in HINGES]
    if others:
        raise RobotSpecError(
            f"{path}: joint '{others[0].name}' is {others[0].kind}; only hinges can be driven. "
            f"Leave it out with --skip {others[0].name}."
        )
    if not movable:
        raise RobotSpecError(f"{path}: no joint is {' or '.join(HINGES)}: nothing to drive.")
    notes = [f"left out: {j.name} mimics another joint" for j in joints if j.mimics]
    legs = _legs(movable, joints)
    if not legs:
        notes.append("no legs: the hinges branch beyond the trunk; state them")
    mirror = _mirror(legs)
    if not mirror:
        notes.append("no mirror: left and right do not match; state it, or leave it out")
    if any(len(leg.joints) > 1 for leg in legs):
        notes += [
            f"leg {leg.name} is a single continuous joint: "
            f"if it is not a leg, leave it out with --skip {leg.joints[0].name}"
            for leg in legs
            if [joint.kind for joint in leg.joints] == ["continuous"]
        ]
    return Draft(name, path, tuple(movable), legs, mirror, (*notes, *_imu_notes(joints)))


def _imu_notes(joints: Sequence[UrdfJoint]) -> list[str]:
    """Return how each link named as an IMU is mounted, unless it is aligned with the trunk."""
    fixed = {joint.child: joint for joint in joints if joint.kind == "fixed"}
    moved = {joint.child for joint in joints} - set(fixed)
    notes = []
    for link, joint in fixed.items():
        above = joint.parent
        while above in fixed:
            above = fixed[above].parent
        turned = np.abs(joint.rotation - np.eye(3)).max() > TURNED
        if "imu" in link.lower() and above not in moved and turned:
            angles = ", ".join(_number(round(angle, 4) + 0.0) for angle in _rpy(joint.rotation))
            notes.append(
                f"link {link} is rotated: if it is the IMU and its driver does not correct for this, "
                f"state imu: {{rotation: [{angles}]}}"
            )
    return notes


def _rpy(rotation: FloatArray) -> tuple[float, float, float]:
    """Return the angles about the fixed x, then y, then z axis, rad, of a (3, 3) rotation."""
    down = float(rotation[2, 0])
    if abs(down) > 1.0 - 1e-12:  # x points up or down: roll and yaw coincide
        return 0.0, -math.copysign(0.5 * math.pi, down), math.atan2(-rotation[0, 1], rotation[1, 1])
    return (
        math.atan2(rotation[2, 1], rotation[2, 2]),
        -math.asin(down),
        math.atan2(rotation[1, 0], rotation[0, 0]),
    )


def _legs(driven: Sequence[UrdfJoint], joints: Sequence[UrdfJoint]) -> tuple[Leg, ...]:
    """Return the chains of driven joints, or none if one of them branches."""
    into = {joint.child: joint for joint in joints}
    names = {joint.name for joint in driven}
    after: dict[str, list[UrdfJoint]] = {}
    for joint in driven:
        above = into.get(joint.parent)
        while above is not None and above.name not in names:
            above = into.get(above.parent)
        after.setdefault("" if above is None else above.name, []).append(joint)
    chains = []
    for hip in after[""]:
        chain = [hip]
        while following := after.get(chain[-1].name):
            if len(following) > 1:
                return ()
            chain.append(following[0])
        chains.append(tuple(chain))
    return tuple(map(Leg, _leg_names(chains), chains))


def _leg_names(chains: Sequence[tuple[UrdfJoint, ...]]) -> list[str]:
    """Return FL, FR, RL, RR for four hips, one in each quarter; else the joints' common prefixes."""
    hips = np.array([chain[0].position[:2] for chain in chains])
    middle = hips.mean(axis=0)
    quarters = [("F" if x > 0 else "R") + ("L" if y > 0 else "R") for x, y in hips - middle]
    if sorted(quarters) == ["FL", "FR", "RL", "RR"] and (abs(hips - middle) > OFF_MIDDLE).all():
        return quarters
    names = [[joint.name for joint in chain] for chain in chains]
    shared = [os.path.commonprefix(leg).rstrip("_-.") for leg in names]  # noqa: RUF071 - as text
    if all(shared) and len(set(shared)) == len(shared):
        return shared
    return [f"leg_{number}" for number, _ in enumerate(chains, 1)]


def _mirror(legs: Sequence[Leg]) -> Mapping[str, str]:
    """Return the mirror image of each joint in the plane y = 0, or nothing if that is ambiguous."""
    image = np.array((1.0, -1.0, 1.0))
    pairs: dict[str, str] = {}
    left = [leg for leg in legs if leg.hip[1] > OFF_MIDDLE]
    right = [leg for leg in legs if leg.hip[1] < -OFF_MIDDLE]
    if not legs or len(left) + len(right) != len(legs):
        return {}
    for one in right:
        others = [
            other
            for other in left
            if len(other.joints) == len(one.joints)
            and all(
                np.linalg.norm(a.position - image * b.position) < SAME
                for a, b in zip(one.joints, other.joints, strict=True)
            )
        ]
        if len(others) != 1:
            return {}
        for a, b in zip(one.joints, others[0].joints, strict=True):
            # A mirrored rotation vector is the negative of its image.
            along = -float(a.axis @ (image * b.axis))
            if abs(along) < math.cos(0.01) or not _images(a.limits, b.limits, along):
                return {}
            pairs[a.name] = b.name if along > 0 else f"-{b.name}"
    return pairs if 2 * len(pairs) == sum(len(leg.joints) for leg in legs) else {}


def _images(right: Mapping[str, float], left: Mapping[str, float], sign: float) -> bool:
    """Return whether two ranges are each other's image, to the digits they are written with."""
    if "lower" not in right or "lower" not in left:
        return "lower" not in right and "lower" not in left
    low, high = (left["lower"], left["upper"]) if sign > 0 else (-left["upper"], -left["lower"])
    return _inwards(right) == (math.ceil(low * 1e4) / 1e4, math.floor(high * 1e4) / 1e4)


def _inwards(limits: Mapping[str, float]) -> tuple[float, float]:
    """Return a range rounded to four decimals, within the given one."""
    return math.ceil(limits["lower"] * 1e4) / 1e4, math.floor(limits["upper"] * 1e4) / 1e4


# What the user has to state, in the order in which the draft asks for it, and what it is.
_JOINT_FIELDS: Mapping[str, str] = {
    "lower": "rad, limit of the position target",
    "upper": "rad",
    "velocity": "rad/s, the joint's largest speed",
    "torque": "N·m, what motor and gear can take",
    "default": "rad, the pose in which a run starts",
    "kp": "N·m/rad, of the joint's controller",
    "kd": "N·m·s/rad",
    "rotor_inertia": "kg·m² at the joint: the rotor's times the square of the gear ratio",
    "max_target_rate": "rad/s, how fast a position target may move",
}
_SAFETY = {
    "safe_action": "damp or hold: what to do when the sensors cannot be trusted",
    "max_tilt": "rad from the vertical, beyond which the robot is damped",
    "max_reading_age": "s, after which a reading is stale",
}
_SIMULATION = {
    "start_height": "m, of the trunk at the start of an episode",
    "fall_height": "m, below which it has fallen",
}


def spec_text(draft: Draft, *, directory: Path | None = None) -> str:
    """Return the draft as the YAML of a robot spec; a field without a value is missing until stated.

    Args:
        draft: the draft.
        directory: directory of the spec: a URDF in or below it gets a relative path, others an
            absolute one.
    """
    source = draft.source.resolve()
    if directory is not None and source.is_relative_to(directory.resolve()):
        model = source.relative_to(directory.resolve())
    else:
        model = source
    lines = [
        f"# Drafted from {source.name}. SI units, radians, x forward, y left, z up.",
        "# A field without a value is missing: the spec loads once every field has one.",
        f"name: {_word(draft.name)}",
        "",
        "# Joints in the order of the URDF, with its limits; check them against the motors' data sheet.",
        "# A joint takes every value of `joint_defaults` that it does not state itself.",
        "joint_defaults:",
    ]
    asked = {
        key: text
        for key, text in _JOINT_FIELDS.items()
        if any(key not in joint.limits for joint in draft.joints)
    }
    lines += _fields(asked)
    lines.append("joints:")
    for joint in draft.joints:
        stated = dict(joint.limits)
        if "lower" in stated:
            stated["lower"], stated["upper"] = _inwards(joint.limits)
        row = ", ".join(f"{key}: {_number(value)}" for key, value in stated.items())
        lines.append(f"  {_word(joint.name)}: {{{row}}}")
    lines += ["", "# Guessed from the tree: each chain of joints from the trunk outwards.", "legs:"]
    for leg in draft.legs:
        members = ", ".join(_word(joint.name) for joint in leg.joints)
        lines.append(f"  {_word(leg.name)}: [{members}]")
    if draft.mirror:
        lines += [
            "",
            "# Guessed from the geometry: each right joint's mirror image.",
            "mirror:",
        ]
        lines += [f"  {_word(a)}: {_word(b)}" for a, b in draft.mirror.items()]
    lines += ["", "safety:", *_fields(_SAFETY)]
    lines += ["", "simulation:", f"  urdf: {_word(str(model))}", *_fields(_SIMULATION)]
    return "\n".join(lines) + "\n"


def _fields(fields: Mapping[str, str]) -> list[str]:
    return [f"  {key + ':':22s}  # {text}" for key, text in fields.items()]


def _number(value: float) -> str:
    # YAML reads 1e+06 as a string, 1.0e+06 as a number.
    mantissa, exponent, power = f"{value:.10g}".partition("e")
    return (mantissa if re.search(r"[.inf]", mantissa) else f"{mantissa}.0") + exponent + power


def _word(text: str) -> str:
    plain = re.fullmatch(r"[-/]?[A-Za-z_][\w./-]*", text)
    special = text.lower() in ("y", "n", "yes", "no", "true", "false", "on", "off", "null")
    return (
        text
        if plain and not special
        else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
