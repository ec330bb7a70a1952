"""Makes one link of those that are fixed to each other, with its mass where theirs is.

PyBullet merges them too, but puts each mass at the origin of its link, and forgets their friction.
"""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import numpy as np

from hebb_controller.robot import FloatArray

from .link_body import child, parent, pose, read_body, words, write_body


def merge_fixed(root: ET.Element, where: str) -> None:
    """Merge each link into the one that it is fixed to, in place.

    Args:
        root: the <robot> element; its joints form a tree, and its numbers are checked.
        where: path of the file, for error messages.

    Raises:
        RobotSpecError: a link has a mass and no inertia.
    """
    links = {link.get("name", ""): link for link in root.findall("link")}
    while fixed := [joint for joint in root.findall("joint") if joint.get("type") == "fixed"]:
        holding = {parent(joint) for joint in fixed}
        joint = next(joint for joint in fixed if child(joint) not in holding)
        into, gone = links[parent(joint)], links[child(joint)]
        rotation, offset = pose(joint)
        body = read_body(gone, where).moved(rotation, offset)
        write_body(into, read_body(into, where).joined(body))
        _carry_friction(gone, into)
        for part in (*gone.findall("collision"), *gone.findall("visual")):
            _move(part, rotation, offset)
            into.append(part)
        for hanging in root.findall("joint"):
            if parent(hanging) == child(joint):
                _move(hanging, rotation, offset)
                for end in hanging.findall("parent"):
                    end.set("link", parent(joint))
        root.remove(gone)
        root.remove(joint)


def _carry_friction(gone: ET.Element, into: ET.Element) -> None:
    """Give a link the friction of a part that may touch the ground, as a foot does that is fixed to it."""
    friction = gone.find("contact/lateral_friction")
    if friction is None or gone.find("collision") is None:
        return
    contact = into.find("contact")
    if contact is None:
        contact = ET.SubElement(into, "contact")
    for own in contact.findall("lateral_friction"):
        contact.remove(own)
    contact.append(friction)


def _move(element: ET.Element, rotation: FloatArray, offset: FloatArray) -> None:
    """Restate an element's origin for a frame in which its own is rotated, (3, 3), and offset, (3,) m."""
    turn, place = pose(element)
    for origin in element.findall("origin"):
        element.remove(origin)
    rpy = words(np.array(_rpy(rotation @ turn)))
    ET.SubElement(element, "origin", xyz=words(rotation @ place + offset), rpy=rpy)


def _rpy(matrix: FloatArray) -> tuple[float, float, float]:
    """Return roll, pitch and yaw, rad, of a rotation, (3, 3)."""
    level = math.hypot(matrix[0, 0], matrix[1, 0])
    pitch = math.atan2(-matrix[2, 0], level)
    if level < 1e-9:  # roll and yaw then turn about the same axis
        return math.atan2(-matrix[1, 2], matrix[1, 1]), pitch, 0.0
    return (
        math.atan2(matrix[2, 1], matrix[2, 2]),
        pitch,
        math.atan2(matrix[1, 0], matrix[0, 0]),
    )
