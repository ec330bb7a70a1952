"""Reads the joints of a URDF.

The standard XML parser is enough: only the joints are needed, while packages that read all of a URDF
pull in lxml, and the better ones mesh libraries. A document type, which is where XML hides entities,
is refused; URDFs have none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from .errors import RobotSpecError
from .robot import FloatArray
from .rotation import matrix_from_rpy

_LIMITS: Mapping[str, str] = {
    "lower": "lower",
    "upper": "upper",
    "velocity": "velocity",
    "effort": "torque",
}
"""Name of a limit in a URDF -> its name in a spec."""


NO_LIMIT = 1e6
"""A limit this large or larger, in SI units, stands for none."""


class _NoDoctype(ET.TreeBuilder):
    """Refuses a document type before anything in it is read."""

    def doctype(self, name: str, pubid: str, system: str) -> None:
        raise RobotSpecError("it has a DOCTYPE, which no URDF needs. Remove it.")


@dataclass(frozen=True)
class UrdfJoint:
    """A joint of a URDF, in the frame of the root link at zero position.

    Attributes:
        name: its name.
        kind: ``revolute``, ``continuous``, ``fixed``, …
        parent, child: the links it joins.
        position: (3,) m.
        axis: (3,) unit vector.
        rotation: (3, 3) rotates vectors from the child link's frame into the root link's.
        limits: lower, upper, velocity and torque, as far as stated and meaningful; the range is
            within the soft limits of a <safety_controller>.
        mimics: whether another joint moves it.
    """

    name: str
    kind: str
    parent: str
    child: str
    position: FloatArray
    axis: FloatArray
    rotation: FloatArray
    limits: Mapping[str, float]
    mimics: bool


def read_urdf(path: Path) -> tuple[str, list[UrdfJoint]]:
    """Return a robot's name and its joints, in the order of the file.

    Args:
        path: the file, plain URDF: run xacro first.

    Raises:
        RobotSpecError: the file is unreadable, or its joints do not form a tree.
    """
    try:
        root = ET.parse(path, ET.XMLParser(target=_NoDoctype())).getroot()  # noqa: S314 - see top
    except (ET.ParseError, OSError, ValueError, LookupError) as error:
        raise RobotSpecError(f"{path}: not readable as XML: {error}") from error
    if root.tag != "robot":
        raise RobotSpecError(f"{path}: its root is <{root.tag}>; a URDF has <robot>.")
    if any("xacro" in element.tag for element in root.iter()):
        raise RobotSpecError(f"{path}: this is xacro. Expand it first: xacro FILE > robot.urdf")
    return root.get("name", path.stem), joints_of(root, path)


def joints_of(root: ET.Element, path: Path) -> list[UrdfJoint]:
    """Return the joints of a robot, in the order of the file.

    Args:
        root: the <robot> element.
        path: the file, for error messages.

    Raises:
        RobotSpecError: the joints do not form a tree, or a number of theirs is none.
    """
    elements = root.findall("joint")
    into = {_end(element, "child", path): element for element in elements}
    names = [element.get("name", "") for element in elements]
    if len(into) != len(elements) or len(set(names)) != len(names) or not all(names):
        raise RobotSpecError(
            f"{path}: not a tree: a joint name or child link is repeated, or a joint has no name."
        )
    poses: dict[str, tuple[FloatArray, FloatArray]] = {}

    def pose(link: str, above: tuple[str, ...] = ()) -> tuple[FloatArray, FloatArray]:
        """Return rotation (3, 3) and position (3,) of a link in the root link at zero position."""
        if link in above:
            raise RobotSpecError(f"{path}: link '{link}' is its own ancestor.")
        if link not in into:
            return np.eye(3), np.zeros(3)
        if link not in poses:
            element = into[link]
            turn, shift = pose(_end(element, "parent", path), (*above, link))
            origin = element.find("origin")
            rpy = _vector(origin, "rpy", (0.0, 0.0, 0.0), path)
            xyz = _vector(origin, "xyz", (0.0, 0.0, 0.0), path)
            poses[link] = turn @ np.array(matrix_from_rpy(*rpy.tolist())), turn @ xyz + shift
        return poses[link]

    try:
        return [_joint(e, path, *pose(c)) for c, e in into.items()]
    except RecursionError:
        raise RobotSpecError(f"{path}: its chains of joints are too long.") from None


def _joint(element: ET.Element, path: Path, turn: FloatArray, position: FloatArray) -> UrdfJoint:
    axis = turn @ _vector(element.find("axis"), "xyz", (1.0, 0.0, 0.0), path)
    length = float(np.linalg.norm(axis))
    stated: dict[str, float] = {}
    limit = element.find("limit")
    kind = element.get("type", "")
    for theirs, ours in _LIMITS.items():
        if limit is not None and theirs in limit.attrib:
            (stated[ours],) = finite_numbers(limit.get(theirs, ""), 1, f"{path}: {theirs}")
    # A continuous joint has no range; a speed or torque of zero means that none was stated. An end of
    # a range that is not stated is 0 (wiki.ros.org/urdf/XML/joint).
    low, high = stated.pop("lower", 0.0), stated.pop("upper", 0.0)
    soft = element.find("safety_controller")
    ends = ("soft_lower_limit", "soft_upper_limit")
    if soft is not None and all(end in soft.attrib for end in ends):
        least, most = (finite_numbers(soft.get(end, ""), 1, f"{path}: {end}")[0] for end in ends)
        if max(low, least) < min(high, most):
            low, high = max(low, least), min(high, most)
    ranged = kind != "continuous" and -NO_LIMIT < low < high < NO_LIMIT
    limits = {"lower": low, "upper": high} if ranged else {}
    limits |= {key: value for key, value in stated.items() if 0 < value < NO_LIMIT}
    return UrdfJoint(
        element.get("name", ""),
        kind,
        _end(element, "parent", path),
        _end(element, "child", path),
        position,
        axis / length if length else axis,
        turn,
        limits,
        element.find("mimic") is not None,
    )


def _end(element: ET.Element, end: str, path: Path) -> str:
    found = element.find(end)
    link = None if found is None else found.get("link")
    if link is None:
        raise RobotSpecError(f"{path}: joint '{element.get('name')}' has no {end} link.")
    return link


def _vector(
    element: ET.Element | None, attribute: str, default: Sequence[float], path: Path
) -> FloatArray:
    text = None if element is None else element.get(attribute)
    if text is None:
        return np.array(default)
    return np.array(finite_numbers(text, 3, f"{path}: {attribute}"))


def finite_numbers(text: str, count: int, where: str, *, most: int = 0) -> list[float]:
    """Return the finite numbers in a text: ``count`` of them, or up to ``most``.

    Raises:
        RobotSpecError: there is anything else; the message begins with ``where``.
    """
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if not count <= len(numbers) <= max(count, most) or not all(map(math.isfinite, numbers)):
        wanted = f"{count} to {most}" if most > count else f"{count}"
        raise RobotSpecError(f"{where}: expected {wanted} finite numbers, found '{text[:40]}'.")
    return numbers
