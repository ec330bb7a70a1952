"""A robot's URDF with some links shortened: PyBullet cannot shorten a link in place.

A link is scaled along the axis of its own frame that points to its children: its shapes, its mass,
and where the children attach. At 0, neither the link nor anything fixed to it can touch anything or
has weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

import numpy as np

from hebb_controller.errors import DamageError
from hebb_controller.rotation import matrix_from_rpy

from .link_body import child, parent, pose, read_moments, vector, write_moments

_NOTHING = 0.001  # kg; a link without mass would be fixed


def shorten(root: ET.Element, fractions: Mapping[str, float], *, where: str) -> None:
    """Shorten links of a URDF in place.

    Args:
        root: the <robot> element, its numbers checked.
        fractions: name of the joint that moves the link -> fraction of its length left.
        where: name of the file, for error messages.

    Raises:
        DamageError: there is no such joint.
    """
    joints = {joint.get("name"): joint for joint in root.findall("joint")}
    links = {link.get("name", ""): link for link in root.findall("link")}
    for name, fraction in fractions.items():
        if name not in joints:
            raise DamageError(f"{where}: no joint '{name}', so its link cannot be shortened.")
        _shorten(links, list(joints.values()), child(joints[name]), fraction)


def _shorten(
    links: Mapping[str, ET.Element], joints: Sequence[ET.Element], name: str, fraction: float
) -> None:
    link = links[name]
    hanging = [joint for joint in joints if parent(joint) == name]
    ends = [vector(joint.find("origin"), "xyz") for joint in hanging]
    ends += [vector(part.find("origin"), "xyz") for part in link.findall("collision")]
    axis, _ = max(
        ((axis, abs(end[axis])) for end in ends for axis in range(3)),
        key=lambda item: item[1],
        default=(2, 0.0),
    )
    for part in (*link, *hanging):
        _scale(part.find("origin"), "xyz", axis, fraction)
    for part in (*link.findall("collision"), *link.findall("visual")):
        _scale_shape(part, axis, fraction)
    for inertial in link.findall("inertial"):
        _scale_mass(inertial, axis, fraction)
    if fraction == 0.0:
        fixed = fixed_to(name, links, joints)
        for gone in (link, *fixed):
            for part in (*gone.findall("collision"), *gone.findall("visual")):
                gone.remove(part)
        for gone in fixed:
            make_weightless(gone)


def fixed_to(
    name: str, links: Mapping[str, ET.Element], joints: Sequence[ET.Element]
) -> list[ET.Element]:
    """Return the links that form one rigid body with a link, excluding itself."""
    body = [name]
    for link in body:  # grows while iterating
        on_it = (j for j in joints if parent(j) == link and j.get("type") == "fixed")
        body += [child(joint) for joint in on_it if child(joint) not in body]
    return [links[link] for link in body[1:] if link in links]


def make_weightless(link: ET.Element) -> None:
    """Give a link almost no mass: without <inertial>, it would weigh 1 kg."""
    for inertial in link.findall("inertial"):
        link.remove(inertial)
    inertial = ET.SubElement(link, "inertial")
    ET.SubElement(inertial, "mass", value="1e-6")  # kg
    moments = dict.fromkeys(("ixx", "iyy", "izz"), "1e-9")  # kg·m²
    ET.SubElement(inertial, "inertia", {**moments, "ixy": "0", "ixz": "0", "iyz": "0"})


def _scale_mass(inertial: ET.Element, axis: int, fraction: float) -> None:
    mass, inertia = inertial.find("mass"), inertial.find("inertia")
    if mass is None:
        return
    whole = float(mass.get("value", "0"))
    left = max(fraction * whole, _NOTHING)
    mass.set("value", repr(left))
    if inertia is None or whole <= 0.0:
        return
    rotation, _ = pose(inertial)
    moments = rotation @ read_moments(inertia) @ rotation.T
    # What is scaled is the second moment of the mass, of which the inertia is trace less itself.
    second = 0.5 * np.trace(moments) * np.eye(3) - moments
    squeeze = np.eye(3)
    squeeze[axis, axis] = fraction
    second = left / whole * squeeze @ second @ squeeze
    moments = np.trace(second) * np.eye(3) - second
    write_moments(inertia, rotation.T @ moments @ rotation)


def _scale_shape(part: ET.Element, axis: int, fraction: float) -> None:
    geometry = part.find("geometry")
    shape = None if geometry is None else next(iter(geometry), None)
    if shape is None:
        return
    along = _local_axis(vector(part.find("origin"), "rpy"), axis)
    if shape.tag == "box":
        _scale(shape, "size", along, fraction)
    elif shape.tag == "mesh":
        scale = shape.get("scale", "1").split()
        shape.set("scale", " ".join(scale * 3 if len(scale) == 1 else scale))
        _scale(shape, "scale", along, fraction)
    elif shape.tag in ("cylinder", "capsule") and along == 2:
        shape.set("length", repr(fraction * float(shape.get("length", "0"))))


def _local_axis(rpy: tuple[float, float, float], axis: int) -> int:
    """Return the axis of a rotated shape that lies closest to an axis of its link."""
    row = matrix_from_rpy(*rpy)[axis]
    return max(range(3), key=lambda local: abs(row[local]))


def _scale(element: ET.Element | None, attribute: str, axis: int, fraction: float) -> None:
    if element is not None and element.get(attribute):
        values = list(vector(element, attribute))
        values[axis] *= fraction
        element.set(attribute, " ".join(map(repr, values)))
