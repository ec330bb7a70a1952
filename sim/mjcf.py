"""Reads the part of MJCF that walkers need: capsules and spheres on hinges.

PyBullet's own loader is not used: it replaces each joint by two links, the moving one without mass,
gives everything the density of water, and turns a hinge about an axis such as (1, 1, 0) at √2·q̇.
The result here is a URDF; a body without a joint is merged into its parent. Anything unsupported is
an error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

from hebb_controller.errors import DamageError, RobotSpecError
from hebb_controller.robot import FloatArray
from hebb_controller.urdf import finite_numbers

_NOTHING = 0.001  # kg, and 1e-6 kg·m²: what is left of a link without shapes

# Supported attributes per element, and those ignored because the spec or the simulator sets them.
_UNDERSTOOD: Mapping[str, frozenset[str]] = {
    "body": frozenset({"name", "pos"}),
    "joint": frozenset({"name", "type", "pos", "axis", "range"}),
    "geom": frozenset({"name", "type", "pos", "fromto", "size", "friction", "rgba"}),
}
_AXIS = "0 0 1"  # of a joint that states none
_PASSED_OVER: Mapping[str, frozenset[str]] = {
    "body": frozenset(),
    "joint": frozenset({"armature", "damping", "limited"}),
    "geom": frozenset({"conaffinity", "condim", "contype", "density", "margin"}),
}
_NUMBERS: Mapping[str, tuple[int, int]] = {
    "pos": (3, 3),
    "axis": (3, 3),
    "range": (2, 2),
    "fromto": (6, 6),
    "size": (1, 3),
    "friction": (1, 3),
    "rgba": (4, 4),
}
"""Attribute -> the least and greatest count of its numbers."""


class _Shape(NamedTuple):
    """A capsule: all within ``radius`` of the line from ``start`` to ``end``; a sphere if equal."""

    start: FloatArray
    end: FloatArray
    radius: float
    friction: str
    rgba: str

    def mass(self, density: float) -> float:
        """Return its mass, kg."""
        length = float(np.linalg.norm(self.end - self.start))
        return density * math.pi * self.radius**2 * (length + 4.0 / 3.0 * self.radius)

    def inertia(self, density: float) -> FloatArray:
        """Return its inertia about its centre, (3, 3) kg·m²: a cylinder and two hemispheres."""
        span, r = self.end - self.start, self.radius
        length = float(np.linalg.norm(span))
        ball = density * 4.0 / 3.0 * math.pi * r**3
        cylinder = density * math.pi * r**2 * length
        along = cylinder * r**2 / 2.0 + ball * 0.4 * r**2
        across = cylinder * (length**2 / 12.0 + r**2 / 4.0)
        across += ball * (0.4 * r**2 + length**2 / 4.0 + 0.375 * length * r)
        axis = span / length if length else span
        return across * np.eye(3) + (along - across) * np.outer(axis, axis)


def urdf_from_mjcf(path: Path, *, density: float, shortened: Mapping[str, float]) -> str:
    """Return the robot in an MJCF file as the text of a URDF, with some links shortened.

    A shortened link keeps its thickness and direction: its shapes and the attachment points of its
    children move towards its joint. At 0, nothing is left of it that could touch anything.

    Args:
        path: path of the MJCF file.
        density: density of all shapes, kg/m³; overrides the file.
        shortened: name of the joint that moves the link -> fraction of its length left.

    Raises:
        RobotSpecError: the file is unreadable, or contains something unsupported.
        DamageError: the file has no such joint.
    """
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - the simulator's own model
    except (ET.ParseError, LookupError, ValueError) as error:
        raise RobotSpecError(f"{path.name}: not readable as XML: {error}.") from error
    compiler = root.find("compiler")
    unit = 1.0 if compiler is not None and compiler.get("angle") == "radian" else math.pi / 180.0
    trunks = root.findall("worldbody/body")
    if len(trunks) != 1:
        raise RobotSpecError(f"{path.name}: has {len(trunks)} bodies in the world, not one.")
    if trunks[0].find("joint") is not None:
        raise RobotSpecError(
            f"{path.name}: body '{trunks[0].get('name', '')}' in the world has a joint. Remove it: "
            f"the trunk is free."
        )
    for element in trunks[0].iter():
        _complete(element, root.find(f"default/{element.tag}"), path)
    bodies = {j.get("name"): body for body in trunks[0].iter("body") for j in body.findall("joint")}
    for name, fraction in shortened.items():
        if name not in bodies:
            raise DamageError(f"{path.name}: no joint '{name}', so its link cannot be shortened.")
        _shorten(bodies[name], fraction)
    robot = ET.Element("robot", name=root.get("model", path.stem))
    _add_link(robot, trunks[0], density=density, unit=unit)
    ET.indent(robot)  # Bullet fails on lines of many thousand characters
    return ET.tostring(robot, encoding="unicode")


def _complete(element: ET.Element, default: ET.Element | None, path: Path) -> None:
    """Fill in the defaults, and check that everything in the element is supported."""
    tag = element.tag
    if tag not in _UNDERSTOOD:
        known = ", ".join(_UNDERSTOOD)
        raise RobotSpecError(f"{path.name}: <{tag}> is not supported, only {known}.")
    for key, value in ({} if default is None else default.attrib).items():
        element.attrib.setdefault(key, value)
    where = f"{path.name}: {tag} '{element.get('name', '')}'"
    for key in element.attrib:
        if key not in _UNDERSTOOD[tag] | _PASSED_OVER[tag]:
            known = ", ".join(sorted(_UNDERSTOOD[tag]))
            raise RobotSpecError(f"{where}: '{key}' is not supported, only {known}.")
    for key, (least, most) in _NUMBERS.items():
        if key in element.attrib:
            finite_numbers(element.attrib[key], least, f"{where}: {key}", most=most)
    if tag == "joint" and (element.get("type", "hinge") != "hinge" or not element.get("range")):
        raise RobotSpecError(f"{where}: only hinges with a range are supported.")
    if tag == "joint" and _vector(element.get("pos")).any():
        raise RobotSpecError(f"{where}: must sit at the origin of its body.")
    if tag == "joint" and not np.linalg.norm(_vector(element.get("axis", _AXIS))):
        raise RobotSpecError(f"{where}: axis: has no direction.")
    if tag == "joint" and not np.less(*_vector(element.get("range"))):
        raise RobotSpecError(f"{where}: range: the first end must be below the second.")
    form = element.get("type", "sphere"), bool(element.get("fromto")), bool(element.get("size"))
    if tag == "geom" and form not in {("sphere", False, True), ("capsule", True, True)}:
        raise RobotSpecError(
            f"{where}: only spheres with 'size', and capsules with 'size' and 'fromto'."
        )
    if tag == "geom" and not _first(element, "size") > 0.0:
        raise RobotSpecError(f"{where}: size: the radius must be above 0.")
    if tag == "geom" and _first(element, "friction") < 0.0:
        raise RobotSpecError(f"{where}: friction: must not be below 0.")
    if tag == "body" and len(element.findall("joint")) > 1:
        raise RobotSpecError(f"{where}: has more than one joint.")


def _shorten(body: ET.Element, fraction: float) -> None:
    for part in (*body.findall("geom"), *body.findall("body")):
        for key in ("pos", "fromto"):
            if part.get(key):
                part.set(key, _text(fraction * _vector(part.get(key))))
    if fraction == 0.0:
        fixed = [child for child in body.findall("body") if child.find("joint") is None]
        for gone in (body, *fixed):
            for geom in gone.findall("geom"):
                gone.remove(geom)


def _add_link(robot: ET.Element, body: ET.Element, *, density: float, unit: float) -> None:
    """Add a body and those that move on it to a URDF; ``unit`` is the unit of angles, rad."""
    name = body.get("name", "")
    link = ET.SubElement(robot, "link", name=name)
    shapes, moving = _merged(body, np.zeros(3))
    _add_inertia(link, shapes, density)
    for shape in shapes:
        _add_shape(link, shape)
    if shapes:
        contact = ET.SubElement(link, "contact")
        ET.SubElement(contact, "lateral_friction", value=shapes[0].friction)
    for child, origin in moving:
        hinge = child.find("joint")
        assert hinge is not None  # noqa: S101 - moving bodies have one
        axis = _vector(hinge.get("axis", _AXIS))
        low, high = (unit * float(word) for word in hinge.get("range", "").split())
        joint = ET.SubElement(robot, "joint", name=hinge.get("name", ""), type="revolute")
        ET.SubElement(joint, "parent", link=name)
        ET.SubElement(joint, "child", link=child.get("name", ""))
        ET.SubElement(joint, "origin", xyz=_text(origin))
        ET.SubElement(joint, "axis", xyz=_text(axis / np.linalg.norm(axis)))
        limits = {"lower": repr(low), "upper": repr(high), "effort": "0", "velocity": "0"}
        ET.SubElement(joint, "limit", limits)
        _add_link(robot, child, density=density, unit=unit)


def _merged(
    body: ET.Element, at: FloatArray
) -> tuple[list[_Shape], list[tuple[ET.Element, FloatArray]]]:
    """Return the shapes of a body and everything fixed to it, and the bodies that move on it."""
    shapes = [_shape(geom, at) for geom in body.findall("geom")]
    moving: list[tuple[ET.Element, FloatArray]] = []
    for child in body.findall("body"):
        origin = at + _vector(child.get("pos"))
        if child.find("joint") is not None:
            moving.append((child, origin))
        else:
            more_shapes, more_moving = _merged(child, origin)
            shapes += more_shapes
            moving += more_moving
    return shapes, moving


def _shape(geom: ET.Element, at: FloatArray) -> _Shape:
    place = geom.get("fromto") or 2 * f"{geom.get('pos', '0 0 0')} "
    ends = _vector(place).reshape(2, 3) + at
    friction = geom.get("friction", "1").split()[0]
    radius = _first(geom, "size")
    return _Shape(ends[0], ends[1], radius, friction, geom.get("rgba", "0.5 0.5 0.5 1"))


def _first(element: ET.Element, key: str) -> float:
    """Return the first number of an attribute, 0 if it is absent."""
    return float(_vector(element.get(key, "0"))[0])


def _add_inertia(link: ET.Element, shapes: list[_Shape], density: float) -> None:
    masses = [shape.mass(density) for shape in shapes]
    mass, centre, tensor = _NOTHING, np.zeros(3), 1e-6 * np.eye(3)
    if shapes:
        mass = sum(masses)
        middles = [0.5 * (shape.start + shape.end) for shape in shapes]
        centre = np.average(middles, axis=0, weights=masses)
        tensor = np.zeros((3, 3))
        for shape, own, middle in zip(shapes, masses, middles, strict=True):
            r = middle - centre
            tensor += shape.inertia(density) + own * (r @ r * np.eye(3) - np.outer(r, r))
    inertial = ET.SubElement(link, "inertial")
    ET.SubElement(inertial, "origin", xyz=_text(centre))
    ET.SubElement(inertial, "mass", value=repr(mass))
    pairs = itertools.combinations_with_replacement(range(3), 2)
    entries = {f"i{'xyz'[i]}{'xyz'[j]}": repr(float(tensor[i, j])) for i, j in pairs}
    ET.SubElement(inertial, "inertia", entries)


def _add_shape(link: ET.Element, shape: _Shape) -> None:
    span = shape.end - shape.start
    turn = (0.0, math.atan2(math.hypot(span[0], span[1]), span[2]), math.atan2(span[1], span[0]))
    radius, length = repr(shape.radius), float(np.linalg.norm(span))
    for tag in ("collision", "visual"):
        part = ET.SubElement(link, tag)
        middle = 0.5 * (shape.start + shape.end)
        ET.SubElement(part, "origin", xyz=_text(middle), rpy=_text(np.array(turn)))
        geometry = ET.SubElement(part, "geometry")
        if length:
            ET.SubElement(geometry, "capsule", radius=radius, length=repr(length))
        else:
            ET.SubElement(geometry, "sphere", radius=radius)
        if tag == "visual":
            material = ET.SubElement(part, "material", name=shape.rgba)
            ET.SubElement(material, "color", rgba=shape.rgba)


def _vector(text: str | None) -> FloatArray:
    return np.array((text or "0 0 0").split(), dtype=np.float64)


def _text(values: FloatArray) -> str:
    return " ".join(repr(float(value)) for value in values)
