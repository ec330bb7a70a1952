"""Links that are fixed to each other move as PyBullet moves them when it does not merge them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pybullet
import pybullet_data
import pytest

from hebb_controller.errors import RobotSpecError
from hebb_controller.robot import load_robot
from hebb_sim.robot_model import load_model
from hebb_sim.urdf_model import urdf_to_load
from hebb_sim.world import World

DATA = Path(pybullet_data.getDataPath())
BOX = '<geometry><box size="0.1 0.2 0.3"/></geometry>'
SPREAD = '<inertia ixx="0.03" iyy="0.02" izz="0.04" ixy="0.001" ixz="-0.002" iyz="0.003"/>'


def link(name, inside=SPREAD, *, mass=2.0, xyz="0.1 -0.2 0.3", rpy="0.3 0.2 -0.1"):
    return (
        f'<link name="{name}"><inertial><origin xyz="{xyz}" rpy="{rpy}"/><mass value="{mass}"/>'
        f'{inside}</inertial><collision><origin xyz="0.2 0 0" rpy="0 0.4 0"/>{BOX}</collision></link>'
    )


def joint(kind, parent, child, rpy="0.1 0.2 0.3"):
    return (
        f'<joint name="to_{child}" type="{kind}"><origin xyz="0.1 0.3 -0.2" rpy="{rpy}"/>'
        f'<parent link="{parent}"/><child link="{child}"/><axis xyz="0 1 0"/>'
        f'<limit lower="-1" upper="1" effort="9" velocity="9"/></joint>'
    )


def tree(rpy):
    """Return a trunk with something fixed to it that carries a leg with a foot fixed to it twice."""
    links = (link(name, mass=mass) for mass, name in enumerate("abcde", start=1))
    joints = (
        joint("fixed", "a", "b", rpy),
        joint("revolute", "b", "c"),
        joint("fixed", "c", "d", rpy),
        joint("fixed", "d", "e", rpy),
    )
    return f'<robot name="tree">{"".join((*links, *joints))}</robot>'


@pytest.fixture
def client():
    client = pybullet.connect(pybullet.DIRECT)
    yield client
    pybullet.disconnect(client)


def load(client, path):
    flags = pybullet.URDF_USE_INERTIA_FROM_FILE
    return pybullet.loadURDF(str(path), flags=flags, physicsClientId=client)


def whole(client, body):
    """Return the mass, kg, the centre of mass, m, and the poses of the shapes of a robot, by place."""
    links = (-1, *range(pybullet.getNumJoints(body, physicsClientId=client)))
    masses, places, shapes = [], [], []
    for i in links:
        masses.append(pybullet.getDynamicsInfo(body, i, client)[0])
        pose = (
            pybullet.getBasePositionAndOrientation(body, client)
            if i < 0
            else pybullet.getLinkState(body, i, physicsClientId=client)[:2]
        )
        places.append(pose[0])
        for shape in pybullet.getCollisionShapeData(body, i, physicsClientId=client):
            place, turn = pybullet.multiplyTransforms(*pose, *shape[5:7])
            shapes.append((*place, *pybullet.getMatrixFromQuaternion(turn)))
    shapes.sort(key=lambda numbers: [round(x, 4) for x in numbers])
    return sum(masses), np.array(masses) @ np.array(places) / sum(masses), np.array(shapes)


def accelerations(client, body):
    """Return how a floating robot's hinges accelerate by a torque on each in turn, rad/s² per N·m."""
    hinges = [
        i
        for i in range(pybullet.getNumJoints(body, physicsClientId=client))
        if pybullet.getJointInfo(body, i, client)[2] == pybullet.JOINT_REVOLUTE
    ]
    angles = [0.1 * k for k in range(len(hinges))]
    matrix = pybullet.calculateMassMatrix(body, angles, physicsClientId=client)
    return np.linalg.inv(matrix)[6:, 6:]


def check_the_same(client, path, text, tmp_path):
    made = tmp_path / "made.urdf"
    made.write_text(text, encoding="utf-8")
    one, other = load(client, path), load(client, made)
    for a, b in zip(whole(client, one), whole(client, other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(
        accelerations(client, one), accelerations(client, other), rtol=1e-5, atol=1e-4
    )
    kinds = [
        pybullet.getJointInfo(other, i, client)[2]
        for i in range(pybullet.getNumJoints(other, physicsClientId=client))
    ]
    assert pybullet.JOINT_FIXED not in kinds


@pytest.mark.parametrize(
    "rpy", ["0 0 0", "0.3 -0.4 2", f"0.5 {math.pi / 2} 0.2", f"0.5 {-math.pi / 2} 0.2"]
)
def test_a_tree_with_turned_frames_moves_as_if_it_were_not_merged(client, tmp_path, rpy):
    path = tmp_path / "tree.urdf"
    path.write_text(tree(rpy), encoding="utf-8")
    check_the_same(
        client, path, urdf_to_load(path, visual=False, shortened={}, merge=True), tmp_path
    )


@pytest.mark.parametrize("name", ["a1", "mini_cheetah"])
def test_the_robots_of_pybullet_move_as_if_they_were_not_merged(client, tmp_path, name):
    path = DATA / load_robot(name).simulation.model
    check_the_same(
        client, path, urdf_to_load(path, visual=False, shortened={}, merge=True), tmp_path
    )


def test_the_trunk_of_a1_has_its_mass_where_its_model_says(a1):
    simulation = replace(a1.simulation, inertials="stated")
    world = World(replace(a1, simulation=simulation))
    mass, _, moments, centre, *_ = pybullet.getDynamicsInfo(world._body, -1, world._client)
    world.close()
    assert mass == pytest.approx(4.714)
    # of the link's frame in that of the mass: 1 g of imu moves it by 3 µm
    np.testing.assert_allclose(centre, (0.012731, 0.002186, 0.000515), atol=1e-5)
    np.testing.assert_allclose(sorted(moments), (0.0169, 0.0567, 0.0648), atol=1e-4)


def rough(tmp_path, friction, *, inertials="stated"):
    """Return the shipped robot, with feet of a friction."""
    robot = load_robot("a1")
    text = (DATA / robot.simulation.model).read_text(encoding="utf-8")
    contact = f'<contact><lateral_friction value="{friction}"/></contact>'
    for leg in robot.legs:
        text = text.replace(f'<link name="{leg}_toe">', f'<link name="{leg}_toe">{contact}')
    path = tmp_path / "rough.urdf"
    path.write_text(text.replace("../meshes", f"{DATA}/a1/meshes"), encoding="utf-8")
    return replace(
        robot, simulation=replace(robot.simulation, model=str(path), inertials=inertials)
    )


@pytest.mark.parametrize(("inertials", "found"), [("stated", 2.0), ("pybullet", 0.5)])
def test_the_friction_of_a_foot_becomes_that_of_the_shank_that_it_is_fixed_to(
    tmp_path, inertials, found
):
    robot = rough(tmp_path, 2.0, inertials=inertials)
    client = pybullet.connect(pybullet.DIRECT)
    body, joints = load_model(robot, client, visual=False, shortened={})
    shanks = [joints[legs[-1]] for legs in robot.legs.values()]
    thighs = [joints[legs[0]] for legs in robot.legs.values()]
    frictions = [pybullet.getDynamicsInfo(body, i, physicsClientId=client)[1] for i in shanks]
    others = [pybullet.getDynamicsInfo(body, i, physicsClientId=client)[1] for i in thighs]
    pybullet.disconnect(client)
    assert frictions == [found] * 4
    assert others == [0.5] * 4


def test_feet_without_friction_are_refused_by_name(tmp_path):
    with pytest.raises(RobotSpecError, match=r"rough.urdf states a friction of 0 for the feet"):
        World(rough(tmp_path, 0.0))


def test_a_mass_without_inertia_is_refused_by_name(tmp_path):
    path = tmp_path / "tree.urdf"
    text = tree("0 0 0").replace(link("d", mass=4), link("d", "", mass=4))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RobotSpecError, match=r"link 'd' has a mass and no <inertia>\. State it"):
        urdf_to_load(path, visual=False, shortened={}, merge=True)


@pytest.mark.parametrize("fraction", [0.5, 0.1])
def test_a_box_that_is_shortened_has_the_inertia_of_a_shorter_box(client, tmp_path, fraction):
    def moments(length, mass):
        x, y, z = (0.1**2, 0.2**2, length**2)
        return np.array([y + z, x + z, x + y]) * mass / 12.0

    turned = f"{math.pi / 2} 0 0"  # the box's y axis is then along the link's z axis
    ixx, iyy, izz = moments(0.3, 2.0)
    inside = f'<inertia ixx="{ixx}" iyy="{izz}" izz="{iyy}"/>'
    path = tmp_path / "leg.urdf"
    leg = link("b", inside, xyz="0 0 -0.3", rpy=turned)
    foot = link("c", mass=1.0, xyz="0 0 0", rpy="0 0 0")
    path.write_text(
        f'<robot name="leg">{link("a")}{leg}{foot}{joint("revolute", "a", "b")}'
        f"{joint('revolute', 'b', 'c').replace('0.1 0.3 -0.2', '0 0 -0.6')}</robot>",
        encoding="utf-8",
    )
    text = urdf_to_load(path, visual=False, shortened={"to_b": fraction}, merge=True)
    made = tmp_path / "made.urdf"
    made.write_text(text, encoding="utf-8")
    body = load(client, made)
    mass, _, found, *_ = pybullet.getDynamicsInfo(body, 0, client)
    assert mass == pytest.approx(2.0 * fraction)
    expected = moments(0.3 * fraction, 2.0 * fraction)
    np.testing.assert_allclose(sorted(found), sorted(expected), rtol=1e-6)
