"""URDFs as other people write them: frames without mass, and meshes that are somewhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pybullet
import pybullet_data
import pytest

from hebb_controller.errors import RobotSpecError
from hebb_sim.urdf_model import urdf_to_load
from hebb_sim.world import World

A1 = Path(pybullet_data.getDataPath()) / "a1"
INERTIAL = (
    '<inertial><mass value="1"/>'
    '<inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
)


def joint(kind, parent, child, height=0.0):
    return (
        f'<joint name="to_{child}" type="{kind}"><origin xyz="0 0 {height}"/>'
        f'<parent link="{parent}"/><child link="{child}"/></joint>'
    )


def link(name, inside=""):
    return f'<link name="{name}">{inside}</link>'


def shape(tag, file):
    return f'<{tag}><geometry><mesh filename="{file}"/></geometry></{tag}>'


@pytest.fixture
def a1_and(a1, tmp_path):
    """Return a function of XML: a robot that is a1 and that besides."""

    def make(*more):
        text = (A1 / "a1.urdf").read_text(encoding="utf-8")
        text = text.replace('"meshes/', f'"{A1}/meshes/')
        path = tmp_path / "dog.urdf"
        path.write_text(text.replace("</robot>", f"{''.join(more)}</robot>"), encoding="utf-8")
        return replace(a1, simulation=replace(a1.simulation, model=str(path)))

    return make


def masses(robot):
    """Return the masses of the trunk and of what each joint moves, kg."""
    world = World(robot)
    links = (-1, *world._joints)
    found = [pybullet.getDynamicsInfo(world._body, i, world._client)[0] for i in links]
    world.close()
    return np.array(found)


def test_frames_without_mass_weigh_next_to_nothing(a1, a1_and):
    frames = {"camera": "trunk", "lens": "camera", "tip": "FR_toe"}
    robot = a1_and(*(link(name) + joint("fixed", on, name) for name, on in frames.items()))
    assert masses(robot) == pytest.approx(masses(a1), abs=3e-6)  # a frame is 1e-6 kg


@pytest.mark.parametrize("name", ["base_footprint", "world"])
def test_a_root_without_mass_carries_the_trunk_that_is_fixed_to_it(a1, a1_and, name):
    robot = a1_and(link(name), joint("fixed", name, "trunk", height=0.3))
    assert masses(robot) == pytest.approx(masses(a1), abs=3e-6)
    heights = []
    for one in (a1, robot):
        world = World(one)
        heights.append(pybullet.getDynamicsInfo(world._body, -1, world._client)[3][2])
        world.close()
    assert heights[1] - heights[0] == pytest.approx(0.3, abs=1e-6)  # of the centre of mass


@pytest.mark.parametrize("name", ["a1", "mini_cheetah"])
@pytest.mark.parametrize("visual", [False, True])
def test_a_file_that_lacks_nothing_is_loaded_as_it_is(name, visual):
    path = A1.parent / name / f"{name}.urdf"
    assert urdf_to_load(path, visual=visual, shortened={}, merge=False) is None


@pytest.mark.parametrize("kind", ["revolute", "continuous", "prismatic"])
def test_what_moves_without_a_mass_is_refused_by_name(a1_and, kind):
    with pytest.raises(RobotSpecError, match=r"dog.urdf: link 'fan' has no <inertial>") as caught:
        World(
            a1_and(
                link("fan"), joint(kind, "trunk", "fan"), link("tip"), joint("fixed", "fan", "tip")
            )
        )
    assert "\n" not in str(caught.value)


def test_a_root_without_a_mass_is_refused_if_nothing_is_fixed_to_it(a1_and):
    with pytest.raises(RobotSpecError, match=r"dog.urdf: link 'world' has no <inertial>"):
        World(a1_and(link("world"), joint("revolute", "world", "trunk")))


@pytest.mark.parametrize("file", ["package://dog/hat.stl", "hat.glb"])
def test_only_a_camera_needs_the_meshes_that_only_a_camera_sees(a1, a1_and, file):
    robot = a1_and(link("hat", shape("visual", file)), joint("fixed", "trunk", "hat"))
    assert masses(robot) == pytest.approx(masses(a1), abs=3e-6)
    with pytest.raises(RobotSpecError, match=f"dog.urdf: mesh files are not found.*: {file}"):
        World(robot, visual=True)


def test_meshes_that_something_could_touch_are_named_if_they_are_not_found(a1_and):
    hats = (shape("collision", f"hat{number}.stl") for number in range(2))
    robot = a1_and(link("hat", "".join(hats)), joint("fixed", "trunk", "hat"))
    with pytest.raises(RobotSpecError, match=r"not found.*: hat0\.stl, hat1\.stl") as caught:
        World(robot)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["", "package://", "model://"])
def test_meshes_are_looked_for_in_every_directory_above(tmp_path, scheme):
    path = tmp_path / "dog" / "urdf" / "dog.urdf"
    path.parent.mkdir(parents=True)
    (tmp_path / "dog" / "hat.STL").touch()
    trunk = link("trunk", INERTIAL + shape("collision", f"{scheme}dog/hat.STL"))
    path.write_text(
        f"<robot name='dog'>{trunk}{link('imu')}{joint('fixed', 'trunk', 'imu')}</robot>",
        encoding="utf-8",
    )
    text = urdf_to_load(path, visual=False, shortened={}, merge=False)
    assert f'filename="{tmp_path}/dog/hat.STL"' in text


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (("a", "c"), ("b", "c"), "not a tree: a joint name or child link is repeated"),
        (("a", "b"), ("b", "a"), "link 'b' is its own ancestor"),
        (("a", "b"), ("d", "c"), "joints name links that it lacks: d"),
    ],
)
def test_what_is_no_tree_is_refused_before_the_simulator_loads_it(tmp_path, first, second, words):
    links = "".join(link(name, INERTIAL) for name in "abc")
    joints = joint("revolute", *first) + joint("revolute", *second).replace("to_c", "also_to_c")
    path = tmp_path / "toy.urdf"
    path.write_text(f"<robot name='toy'>{links}{joints}</robot>", encoding="utf-8")
    with pytest.raises(RobotSpecError, match=f"toy.urdf: {words}"):
        urdf_to_load(path, visual=False, shortened={}, merge=False)


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        (INERTIAL.replace('value="1"', 'value="x"'), "value of <mass>: expected 1 finite"),
        (INERTIAL.replace('value="1"', 'value="-1"'), "value of <mass> must not be below 0"),
        ('<inertial><origin xyz="0.006 0"/></inertial>', "xyz of <origin>: expected 3 finite"),
        ('<collision><origin rpy="0 nan 0"/></collision>', "rpy of <origin>: expected 3 finite"),
        ('<visual><geometry><box size="1 1"/></geometry></visual>', "size of <box>: expected 3"),
        (
            '<collision><geometry><sphere radius="0,02"/></geometry></collision>',
            "radius of <sphere>",
        ),
        (
            '<visual><geometry><cylinder radius="-1"/></geometry></visual>',
            "radius of <cylinder> must",
        ),
        (
            '<contact><lateral_friction value="-1"/></contact>',
            "value of <lateral_friction> must not",
        ),
    ],
)
def test_a_malformed_number_is_refused_by_name(tmp_path, inside, words):
    path = tmp_path / "toy.urdf"
    path.write_text(f"<robot name='toy'>{link('hat', inside)}</robot>", encoding="utf-8")
    with pytest.raises(RobotSpecError, match=f"toy.urdf: link 'hat': {words}") as caught:
        urdf_to_load(path, visual=False, shortened={}, merge=False)
    assert "\n" not in str(caught.value)


def test_planar_joints_are_refused_by_name(a1_and):
    with pytest.raises(RobotSpecError, match=r"dog\.urdf: planar joints are .*: to_tray\."):
        World(a1_and(link("tray", INERTIAL), joint("planar", "trunk", "tray")))


def test_a_mesh_with_one_scale_for_all_axes_can_be_shortened(tmp_path):
    (tmp_path / "bone.stl").touch()
    bone = (
        '<collision><origin xyz="0 0 -0.1"/>'
        '<geometry><mesh filename="bone.stl" scale="0.001"/></geometry></collision>'
    )
    trunk, leg = link("trunk", INERTIAL), link("leg", INERTIAL + bone)
    path = tmp_path / "toy.urdf"
    path.write_text(
        f"<robot name='toy'>{trunk}{leg}{joint('revolute', 'trunk', 'leg')}</robot>",
        encoding="utf-8",
    )
    text = urdf_to_load(path, visual=False, shortened={"to_leg": 0.5}, merge=False)
    assert 'scale="0.001 0.001 0.0005"' in text
