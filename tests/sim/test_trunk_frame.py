"""The orientation is that of the trunk's link, however its axes of inertia are turned."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pybullet
import pybullet_data
import pytest
from scipy.spatial.transform import Rotation
from swinging import command, wiggle

from hebb_controller.robot import available_robots, load_robot
from hebb_sim.damage import parse_damages
from hebb_sim.world import World

DATA = Path(pybullet_data.getDataPath())
TAIL = '<geom type="capsule" fromto="-0.2 0 0.1 -0.5 0 0.35" size="0.06"/>'


def with_model(name, text, path):
    path.write_text(text, encoding="utf-8")
    robot = load_robot(name)
    return replace(robot, simulation=replace(robot.simulation, model=str(path)))


def ant_with_a_tail(directory):
    text = (DATA / "mjcf" / "ant.xml").read_text(encoding="utf-8")
    trunk = '<body name="torso" pos="0 0 0.75">'
    assert trunk in text
    return with_model("ant", text.replace(trunk, trunk + TAIL), directory / "ant.xml")


def a1_with_turned_inertia(directory):
    """Return a1 without its imu, since merged links lose their inertial frame."""
    text = (DATA / "a1" / "a1.urdf").read_text(encoding="utf-8")
    root = ET.fromstring(text.replace('"meshes/', f'"{DATA}/a1/meshes/'))  # noqa: S314
    for path in ("link[@name='imu_link']", "joint[@name='imu_joint']"):
        root.remove(root.find(path))
    root.find("link[@name='trunk']/inertial/origin").set("rpy", "0.1 0.2 0.3")
    return with_model("a1", ET.tostring(root, encoding="unicode"), directory / "a1.urdf")


@pytest.fixture(params=[ant_with_a_tail, a1_with_turned_inertia])
def world(request, tmp_path):
    world = World(request.param(tmp_path))
    yield world
    world.close()


def trunk_axes(world):
    """Return the axes of the trunk, (3, 3) columns x, y, z, from where its legs are attached."""
    hips = {}
    for leg, (hip, *_) in world.robot.legs.items():
        state = pybullet.getLinkState(
            world._body,
            world._joints[hip],
            computeForwardKinematics=1,
            physicsClientId=world._client,
        )
        hips[leg] = np.array(state[4])
    x = hips["FL"] + hips["FR"] - hips["RL"] - hips["RR"]
    y = hips["FL"] + hips["RL"] - hips["FR"] - hips["RR"]
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return np.column_stack([x, y, np.cross(x, y)])


def test_the_imu_and_the_start_pose_are_those_of_the_link(world):
    robot = world.robot
    turned = pybullet.getDynamicsInfo(world._body, -1, physicsClientId=world._client)[4]
    assert Rotation.from_quat(turned).magnitude() > 0.2

    def check():
        rotation = Rotation.from_quat(world.truth.orientation)
        # The model's places have the digits of single precision.
        assert rotation.as_matrix() == pytest.approx(trunk_axes(world), abs=1e-5)
        _, spin = pybullet.getBaseVelocity(world._body, physicsClientId=world._client)
        assert rotation.apply(world.truth.angular_velocity_base) == pytest.approx(spin)

    reading = world.reset(np.random.default_rng(0))
    assert Rotation.from_quat(reading.orientation).as_euler("ZYX")[1:] == pytest.approx(0.0)
    check()
    for tick in range(20):
        world.step(command(robot, wiggle(robot, tick)))
    check()
    before = world.truth
    world.damage(parse_damages("FR:shortened:0.25", robot))
    check()
    assert world.truth.orientation == pytest.approx(before.orientation, abs=1e-12)
    tilted = Rotation.from_euler("ZYX", (0.5, -0.3, 0.2)).as_quat()
    world.show((0.0, 0.0, 2.0), tilted, robot.default)
    check()
    assert world.truth.orientation == pytest.approx(tilted, abs=1e-12)


@pytest.mark.parametrize("name", available_robots())
def test_where_the_frames_agree_the_orientation_is_the_simulators_bit_for_bit(name):
    world = World(load_robot(name))
    reading = world.reset(np.random.default_rng(0))
    for _ in range(10):
        reading = world.step(command(world.robot))
    _, orientation = pybullet.getBasePositionAndOrientation(world._body, world._client)
    world.close()
    assert reading.orientation.tobytes() == np.array(orientation).tobytes()
