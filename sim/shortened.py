"""A robot's URDF with links cut shorter: no call of PyBullet shortens a link in place.

A link is scaled along the axis of its own frame that points to what hangs on it: its shapes, its mass,
and where its children sit. At 0 nothing is left of it that could touch anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from hebb_controller.errors import DamageError
from hebb_controller.rotation import matrix_from_rpy

_NOTHING = 0.001  # kg; a link without mass would be fixed


def shortened_urdf(path: Path, fractions: Mapping[str, float]) -> str:
    """Return the text of a URDF with some links shortened; its meshes are named by absolute paths.

    Args:
        path: the file.
        fractions: name of the joint that moves the link -> the fraction of its length left.

    Raises:
        DamageError: the model is no URDF, or has no such joint.
    """
    if path.suffix != ".urdf":
        raise DamageError(
            f"{path.name}: is no URDF; state an MJCF model as 'mjcf' in the robot spec."
        )
    root = ET.parse(path).getroot()  # noqa: S314 - the simulator's own model
    joints = {joint.get("name"): joint for joint in root.findall("joint")}
    links = {link.get("name"): link for link in root.findall("link")}
    for name, fraction in fractions.items():
        if name not in joints:
            raise DamageError(f"{path.name}: there is no joint '{name}' whose link to shorten.")
        _shorten(links, list(joints.values()), _child(joints[name]), fraction)
    for mesh in root.iter("mesh"):
        mesh.set("filename", str(path.parent / mesh.get("filename", "")))
    return ET.tostring(root, encoding="unicode")


def _shorten(
    links: Mapping[str | None, ET.Element], joints: list[ET.Element], name: str, fraction: float
) -> None:
    link = links[name]
    hanging = [joint for joint in joints if _parent(joint) == name]
    ends = [_vector(joint.find("origin"), "xyz") for joint in hanging]
    ends += [_vector(part.find("origin"), "xyz") for part in link.findall("collision")]
    axis, _ = max(
        ((axis, abs(end[axis])) for end in ends for axis in range(3)),
        key=lambda item: item[1],
        default=(2, 0.0),
    )
    for part in (*link, *hanging):
        _scale(part.find("origin"), "xyz", axis, fraction)
    for part in (*link.findall("collision"), *link.findall("visual")):
        _scale_shape(part, axis, fraction)
    mass = link.find("inertial/mass")
    if mass is not None:
        mass.set("value", repr(max(fraction * float(mass.get("value", "0")), _NOTHING)))
    if fraction == 0.0:
        fixed = [_child(joint) for joint in hanging if joint.get("type") == "fixed"]
        for gone in (link, *(links[child] for child in fixed)):
            for part in (*gone.findall("collision"), *gone.findall("visual")):
                gone.remove(part)


def _scale_shape(part: ET.Element, axis: int, fraction: float) -> None:
    geometry = part.find("geometry")
    shape = None if geometry is None else next(iter(geometry), None)
    if shape is None:
        return
    along = _local_axis(_vector(part.find("origin"), "rpy"), axis)
    if shape.tag == "box":
        _scale(shape, "size", along, fraction)
    elif shape.tag == "mesh":
        shape.set("scale", shape.get("scale", "1 1 1"))
        _scale(shape, "scale", along, fraction)
    elif shape.tag in ("cylinder", "capsule") and along == 2:
        shape.set("length", repr(fraction * float(shape.get("length", "0"))))


def _local_axis(rpy: tuple[float, float, float], axis: int) -> int:
    """Return which axis of a turned shape lies closest to an axis of its link."""
    row = matrix_from_rpy(*rpy)[axis]
    return max(range(3), key=lambda local: abs(row[local]))


def _scale(element: ET.Element | None, attribute: str, axis: int, fraction: float) -> None:
    if element is not None and element.get(attribute):
        values = list(_vector(element, attribute))
        values[axis] *= fraction
        element.set(attribute, " ".join(map(repr, values)))


def _vector(element: ET.Element | None, attribute: str) -> tuple[float, float, float]:
    text = element.get(attribute) if element is not None else None
    x, y, z = (float(word) for word in (text or "0 0 0").split())
    return x, y, z


def _child(joint: ET.Element) -> str:
    return _named(joint, "child")


def _parent(joint: ET.Element) -> str:
    return _named(joint, "parent")


def _named(joint: ET.Element, role: str) -> str:
    found = joint.find(role)
    return "" if found is None else found.get("link", "")
