"""Unsupported and malformed MJCF is refused."""

import math
from xml.etree import ElementTree as ET

import pytest

from hebb_controller.errors import DamageError, RobotSpecError
from hebb_sim.mjcf import urdf_from_mjcf

MODEL = """<mujoco model="toy"><default><geom density="5"/></default><worldbody>
<body name="trunk"><geom type="sphere" size="0.1"/>
<body name="leg" pos="0.1 0 0"><joint name="hip" type="hinge" axis="0 2 0" range="-10 10"/>
<geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02"/></body></body></worldbody></mujoco>"""


def read(tmp_path, text, shortened=()):
    path = tmp_path / "toy.xml"
    path.write_text(text, encoding="utf-8")
    return urdf_from_mjcf(path, density=1000.0, shortened=dict(shortened))


def test_axes_become_unit_vectors_and_degrees_radians(tmp_path):
    (joint,) = ET.fromstring(read(tmp_path, MODEL)).findall("joint")  # noqa: S314
    assert joint.find("axis").get("xyz") == "0.0 1.0 0.0"
    assert float(joint.find("limit").get("upper")) == pytest.approx(math.pi / 18)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('pos="0.1 0 0"', 'pos="0.1 0 0" quat="1 0 0 0"', "body 'leg': 'quat' is not supported"),
        ('type="hinge"', 'type="slide"', "joint 'hip': only hinges with a range"),
        ('range="-10 10"', "", "joint 'hip': only hinges with a range"),
        ('axis="0 2 0"', 'axis="0 2 0" pos="0 0 1"', "joint 'hip': must sit at the origin"),
        ('type="capsule"', 'type="mesh"', "only spheres with 'size', and capsules"),
        ('size="0.02"', "", "only spheres with 'size', and capsules"),
        ("<geom type", "<site/><geom type", "<site> is not supported"),
        ("<joint", '<joint name="a" range="0 1"/><joint', "has more than one joint"),
        ("</worldbody>", '<body name="b"/></worldbody>', "has 2 bodies in the world"),
        ('<geom type="sphere"', '<joint name="a" range="0 1"/><geom type="sphere"', "has a joint"),
        ('pos="0.1 0 0"', 'pos="0.1 x 0"', "body 'leg': pos: expected 3 finite numbers"),
        ('pos="0.1 0 0"', 'pos="0.1 0"', "body 'leg': pos: expected 3 finite numbers"),
        ('pos="0.1 0 0"', 'pos=""', "body 'leg': pos: expected 3 finite numbers"),
        ('axis="0 2 0"', 'axis="0 0 0"', "joint 'hip': axis: has no direction"),
        ('axis="0 2 0"', 'axis="0 inf 0"', "joint 'hip': axis: expected 3 finite numbers"),
        ('range="-10 10"', 'range="40"', "joint 'hip': range: expected 2 finite numbers"),
        ('range="-10 10"', 'range="10 -10"', "joint 'hip': range: the first end must be below"),
        ("0 0 0 0 0 -0.2", "0 0 0 0 0", "geom '': fromto: expected 6 finite numbers"),
        ('size="0.1"', 'size="big"', "geom '': size: expected 1 to 3 finite numbers"),
        ('size="0.1"', 'size="nan"', "geom '': size: expected 1 to 3 finite numbers"),
        ('size="0.1"', 'size="-1"', "geom '': size: the radius must be above 0"),
        ('density="5"', 'friction=" "', "geom '': friction: expected 1 to 3 finite numbers"),
        ('density="5"', 'friction="-1"', "geom '': friction: must not be below 0"),
        ('density="5"', 'rgba="red"', "geom '': rgba: expected 4 finite numbers"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path, old, new, words):
    assert old in MODEL
    with pytest.raises(RobotSpecError, match=words) as caught:
        read(tmp_path, MODEL.replace(old, new))
    assert str(caught.value).startswith("toy.xml: ")


@pytest.mark.parametrize("text", [MODEL[:-9], '<?xml version="1.0" encoding="none"?>' + MODEL])
def test_what_is_no_xml_is_refused(tmp_path, text):
    with pytest.raises(RobotSpecError, match=r"toy\.xml: not readable as XML"):
        read(tmp_path, text)


def test_shortening_a_link_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DamageError, match=r"toy.xml: no joint 'knee'"):
        read(tmp_path, MODEL, {"knee": 0.5})
