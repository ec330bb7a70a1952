"""What a URDF says of a link: where it hangs, and how its mass is spread."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np

from hebb_controller.errors import RobotSpecError
from hebb_controller.robot import FloatArray
from hebb_controller.rotation import Vector, matrix_from_rpy

_MOMENTS = {
    "ixx": (0, 0),
    "ixy": (0, 1),
    "ixz": (0, 2),
    "iyy": (1, 1),
    "iyz": (1, 2),
    "izz": (2, 2),
}


@dataclass(frozen=True)
class Body:
    """Mass and how it is spread.

    Attributes:
        mass: kg.
        centre: (3,) its centre, m.
        inertia: (3, 3) about the centre, kg·m², along the axes of the frame that the centre is in.
    """

    mass: float
    centre: FloatArray
    inertia: FloatArray

    def moved(self, rotation: FloatArray, offset: FloatArray) -> Body:
        """Return the body as seen from a frame in which its own is rotated, (3, 3), and offset, (3,) m."""
        inertia = rotation @ self.inertia @ rotation.T
        return Body(self.mass, rotation @ self.centre + offset, inertia)

    def joined(self, other: Body) -> Body:
        """Return both as one body."""
        mass = self.mass + other.mass
        if mass == 0.0:
            return self
        centre = (self.mass * self.centre + other.mass * other.centre) / mass
        return Body(mass, centre, self._about(centre) + other._about(centre))

    def _about(self, point: FloatArray) -> FloatArray:
        arm = self.centre - point
        return self.inertia + self.mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))


def read_body(link: ET.Element, where: str) -> Body:
    """Return the body of a link, in the link's frame; without <inertial> it weighs nothing.

    Args:
        link: its numbers are checked.
        where: path of the file, for error messages.

    Raises:
        RobotSpecError: it has a mass and no inertia.
    """
    inertial = link.find("inertial")
    mass = None if inertial is None else inertial.find("mass")
    if inertial is None or mass is None:
        return Body(0.0, np.zeros(3), np.zeros((3, 3)))
    stated = inertial.find("inertia")
    if stated is None:
        raise RobotSpecError(
            f"{where}: link '{link.get('name')}' has a mass and no <inertia>. State it, or say "
            f"'inertials: pybullet' in the robot spec."
        )
    rotation, centre = pose(inertial)
    own = Body(float(mass.get("value", "0")), np.zeros(3), read_moments(stated))
    return own.moved(rotation, centre)


def write_body(link: ET.Element, body: Body) -> None:
    """State the body of a link."""
    for inertial in link.findall("inertial"):
        link.remove(inertial)
    inertial = ET.SubElement(link, "inertial")
    ET.SubElement(inertial, "origin", xyz=words(body.centre), rpy="0 0 0")
    ET.SubElement(inertial, "mass", value=repr(float(body.mass)))
    write_moments(ET.SubElement(inertial, "inertia"), body.inertia)


def read_moments(element: ET.Element) -> FloatArray:
    """Return the inertia that an <inertia> states, (3, 3) kg·m²; what is not stated is 0."""
    inertia = np.zeros((3, 3))
    for name, (i, j) in _MOMENTS.items():
        inertia[i, j] = inertia[j, i] = float(element.get(name, "0"))
    return inertia


def write_moments(element: ET.Element, inertia: FloatArray) -> None:
    """Have an <inertia> state an inertia, (3, 3) kg·m²."""
    for name, at in _MOMENTS.items():
        element.set(name, repr(float(inertia[at])))


def pose(element: ET.Element) -> tuple[FloatArray, FloatArray]:
    """Return the rotation, (3, 3), and the offset, (3,) m, of an element's <origin>."""
    origin = element.find("origin")
    return np.array(matrix_from_rpy(*vector(origin, "rpy"))), np.array(vector(origin, "xyz"))


def vector(element: ET.Element | None, attribute: str) -> Vector:
    """Return the three numbers of an attribute; zeros if it is not there."""
    text = element.get(attribute) if element is not None else None
    x, y, z = (float(word) for word in (text or "0 0 0").split())
    return x, y, z


def words(numbers: FloatArray) -> str:
    """Return numbers as the text of an attribute."""
    return " ".join(map(repr, numbers.tolist()))


def child(joint: ET.Element) -> str:
    """Return the name of the link that a joint moves."""
    return _named(joint, "child")


def parent(joint: ET.Element) -> str:
    """Return the name of the link that a joint is on."""
    return _named(joint, "parent")


def _named(joint: ET.Element, role: str) -> str:
    found = joint.find(role)
    return "" if found is None else found.get("link", "")
