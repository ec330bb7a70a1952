"""Makes a robot's URDF what the simulator should load: PyBullet takes some files amiss without a word.

It gives 1 kg to every link that states no mass, such as the frame of an imu or a camera, and it refuses
a whole file for a mesh that only a camera would see. What needs no mending is loaded as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from hebb_controller.errors import RobotSpecError

from .shortened import child, fixed_to, make_weightless, shorten

_MESH_FORMATS = (".dae", ".stl", ".obj", ".cdf", ".vtk")  # that PyBullet reads
_SCHEMES = ("package://", "model://")


def urdf_to_load(path: Path, *, visual: bool, shortened: Mapping[str, float]) -> str | None:
    """Return the text to load in place of a URDF, meshes named by absolute paths; None if it needs none.

    Args:
        path: the file.
        visual: whether what only a camera sees will be loaded.
        shortened: name of the joint that moves the link -> the fraction of its length left.

    Raises:
        RobotSpecError: it is no URDF, a body has no mass, or a mesh is not found.
        DamageError: a joint of ``shortened`` is not there.
    """
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - the user's own model
    except (ET.ParseError, LookupError, ValueError) as error:
        raise RobotSpecError(f"{path} cannot be read as a URDF: {error}.") from error
    if root.tag != "robot":
        raise RobotSpecError(
            f"{path} cannot be read as a URDF: its root is <{root.tag}>, not <robot>. "
            f"State an MJCF model as 'mjcf'."
        )
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
            f"{path}: mesh files are not found, or not of a format that PyBullet reads: "
            f"{', '.join(sorted(lost))}. It looks in the directory of the URDF and in each above it."
        )
    if not (massless or dropped or shortened):
        return None
    shorten(root, shortened, where=path.name)
    ET.indent(root)  # Bullet fails on a line of many thousand characters
    return ET.tostring(root, encoding="unicode")


def _links_without_mass(root: ET.Element, path: Path) -> list[ET.Element]:
    """Return the links without <inertial>, each part of a body that has its mass elsewhere.

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
                f"{path}: link '{name}' has no <inertial>, and nothing fixed to it has one: "
                f"PyBullet would make it 1 kg. Give it one that states its mass."
            )
        massless += without
    return massless


def _meshes(root: ET.Element) -> list[tuple[ET.Element, ET.Element, ET.Element]]:
    """Return (link, its <visual> or <collision>, mesh) of each mesh that PyBullet looks for."""
    return [
        (link, part, mesh)
        for link in root.findall("link")
        for part in (*link.findall("visual"), *link.findall("collision"))
        for mesh in part.findall("geometry/mesh")
    ]


def _mesh_file(mesh: ET.Element, path: Path) -> Path | None:
    """Return where PyBullet finds a mesh: beside the URDF, or in a directory above it."""
    name = mesh.get("filename", "")
    for scheme in _SCHEMES:
        name = name.removeprefix(scheme)
    if not name.lower().endswith(_MESH_FORMATS):
        return None
    places = (directory / name for directory in path.absolute().parents)
    return next((place for place in places if place.is_file()), None)
