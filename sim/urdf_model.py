"""Repairs a robot's URDF before loading: PyBullet silently misreads some files.

It gives 1 kg to every link that states no mass, such as an imu or camera frame, it rejects a whole
file over a mesh that only a camera would see, it takes a malformed number for 0, and it crashes if
joints do not form a tree. A file that needs no repair is loaded as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from hebb_controller.errors import RobotSpecError
from hebb_controller.urdf import finite_numbers, joints_of

from .link_body import child, parent
from .merged import merge_fixed
from .shortened import fixed_to, make_weightless, shorten

_MESH_FORMATS = (".dae", ".stl", ".obj", ".cdf", ".vtk")  # that PyBullet reads
_SCHEMES = ("package://", "model://")

_NUMBERS: Mapping[str, Mapping[str, int]] = {
    "origin": {"xyz": 3, "rpy": 3},
    "mass": {"value": 1},
    "inertia": dict.fromkeys(("ixx", "ixy", "ixz", "iyy", "iyz", "izz"), 1),
    "box": {"size": 3},
    "cylinder": {"length": 1, "radius": 1},
    "capsule": {"length": 1, "radius": 1},
    "sphere": {"radius": 1},
    "mesh": {"scale": 3},
    "lateral_friction": {"value": 1},
}
"""Element of a link -> its attributes that count, and how many numbers each has."""

_NOT_BELOW_0 = ("mass", "box", "cylinder", "capsule", "sphere", "lateral_friction")


def urdf_to_load(
    path: Path, *, visual: bool, shortened: Mapping[str, float], merge: bool
) -> str | None:
    """Return the repaired text of a URDF, with absolute mesh paths; None if it needs no repair.

    Args:
        path: path of the URDF.
        visual: whether what only a camera sees will be loaded.
        shortened: name of the joint that moves the link -> fraction of its length left.
        merge: whether to merge links that are fixed to each other, with their masses and inertias.

    Raises:
        RobotSpecError: the file is not a URDF, its joints do not form a tree of its links, one is
            planar, a number is malformed or below 0 where that makes no sense, a body has no mass, a mass
            that is to be merged has no inertia, or a mesh is not found.
        DamageError: the file lacks a joint of ``shortened``.
    """
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - the user's own model
    except (ET.ParseError, LookupError, ValueError) as error:
        raise RobotSpecError(f"{path} cannot be read as a URDF: {error}.") from error
    if root.tag != "robot":
        raise RobotSpecError(
            f"{path} cannot be read as a URDF: its root is <{root.tag}>, not <robot>. "
            f"If it is an MJCF model, give it as 'mjcf' instead of 'urdf'."
        )
    planar = [joint.name for joint in joints_of(root, path) if joint.kind == "planar"]
    if planar:  # PyBullet cannot compute the inertia of such a robot's joints
        raise RobotSpecError(f"{path}: planar joints are not supported: {', '.join(planar)}.")
    ends = {end(joint) for joint in root.findall("joint") for end in (parent, child)}
    if lacking := ends.difference(link.get("name", "") for link in root.findall("link")):
        raise RobotSpecError(
            f"{path}: joints name links that it lacks: {', '.join(sorted(lacking))}."
        )
    _check_numbers(root, path)
    massless = _links_without_mass(root, path)
    for link in massless:
        make_weightless(link)
    dropped = False
    lost: set[str] = set()
    for link, part, mesh in _meshes(root):
        file = _mesh_file(mesh, path)
        if file is not None:
            mesh.set("filename", str(file))
        elif part.tag == "visual" and not visual:
            link.remove(part)
            dropped = True
        else:
            lost.add(mesh.get("filename", ""))
    if lost:
        raise RobotSpecError(
            f"{path}: mesh files are not found, or in a format that PyBullet cannot read: "
            f"{', '.join(sorted(lost))}. Put them beside the URDF or in a directory above it."
        )
    if not (massless or dropped or shortened or merge):
        return None
    shorten(root, shortened, where=path.name)
    if merge:
        merge_fixed(root, str(path))
    ET.indent(root)  # Bullet fails on a line of many thousand characters
    return ET.tostring(root, encoding="unicode")


def _check_numbers(root: ET.Element, path: Path) -> None:
    """Check the numbers that say where, how large, how heavy and how slippery links are.

    Raises:
        RobotSpecError: one is malformed, or below 0 where that makes no sense.
    """
    for link in root.findall("link"):
        for element in link.iter():
            for key, count in _NUMBERS.get(element.tag, {}).items():
                if key in element.attrib:
                    text = element.attrib[key]
                    where = f"{path}: link '{link.get('name')}': {key} of <{element.tag}>"
                    # PyBullet takes one number for the scale of all axes.
                    one = element.tag == "mesh" and len(text.split()) == 1
                    numbers = finite_numbers(text, 1 if one else count, where)
                    if element.tag in _NOT_BELOW_0 and min(numbers) < 0.0:
                        raise RobotSpecError(f"{where} must not be below 0, found '{text}'.")


def _links_without_mass(root: ET.Element, path: Path) -> list[ET.Element]:
    """Return the links without <inertial> in bodies that have mass elsewhere.

    Raises:
        RobotSpecError: no link of a body has a mass.
    """
    links = {link.get("name", ""): link for link in root.findall("link")}
    joints = root.findall("joint")
    fixed = {child(joint) for joint in joints if joint.get("type") == "fixed"}
    massless = []
    for name, link in links.items():
        if name in fixed:
            continue
        body = [link, *fixed_to(name, links, joints)]
        without = [part for part in body if part.find("inertial") is None]
        if len(without) == len(body):
            raise RobotSpecError(
                f"{path}: link '{name}' has no <inertial>, nor has anything fixed to it: "
                f"PyBullet would make it 1 kg. Add an <inertial> with its mass."
            )
        massless += without
    return massless


def _meshes(root: ET.Element) -> list[tuple[ET.Element, ET.Element, ET.Element]]:
    """Return (link, its <visual> or <collision>, mesh) for each mesh that PyBullet loads."""
    return [
        (link, part, mesh)
        for link in root.findall("link")
        for part in (*link.findall("visual"), *link.findall("collision"))
        for mesh in part.findall("geometry/mesh")
    ]


def _mesh_file(mesh: ET.Element, path: Path) -> Path | None:
    """Return the path of a mesh, beside the URDF or in a directory above it; None if not found."""
    name = mesh.get("filename", "")
    for scheme in _SCHEMES:
        name = name.removeprefix(scheme)
    if not name.lower().endswith(_MESH_FORMATS):
        return None
    places = (directory / name for directory in path.absolute().parents)
    return next((place for place in places if place.is_file()), None)
