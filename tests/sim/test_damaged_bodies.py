"""What damages of the body do: folded, shortened, narrowed and reversed legs."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pybullet
import pybullet_data
import pytest
from worlds import damage, in_the_air, stand

from hebb_sim.actuator import STOP_STIFFNESS
from hebb_sim.stage import FOLD_SPEED
from hebb_sim.urdf_model import urdf_to_load
from hebb_sim.world import MAX_STAGES


def test_a_folded_leg_is_drawn_up_slowly_and_stays(world, command, wiggle, a1):
    stand(world, command, 40)
    damage(world, "FR:folded")
    for tick in range(75):
        last = world.truth.joint_position
        reading = world.step(command(wiggle(tick)))
        speed = np.abs(reading.joint_position[:3] - last[:3]) / 0.02
        assert speed.max() < 1.05 * FOLD_SPEED
    # By default but for the knee, which is bent as far as it goes.
    assert reading.joint_position[:3] == pytest.approx([0.0, 0.9, -2.69], abs=0.005)
    touching = pybullet.getContactPoints(
        world._body, 0, linkIndexA=world._joints[2], physicsClientId=world._client
    )
    assert not touching
    damage(world, "none")
    for _ in range(75):
        reading = world.step(command())
    assert reading.joint_position[2] > -2.2


def knee_to_sole(world, leg):
    """Return how far below the knee the lowest point of a leg is, hanging straight down, m."""
    client, body = world._client, world._body
    _, _, knee = (world._joints[i] for i in world.robot.legs[leg])
    for joint in world._joints:
        pybullet.resetJointState(body, joint, 0.0, physicsClientId=client)
    place = [0, 0, 3], [0, 0, 0, 1]
    pybullet.resetBasePositionAndOrientation(body, *place, physicsClientId=client)
    top = pybullet.getLinkState(body, knee, computeForwardKinematics=1, physicsClientId=client)[4]
    return top[2] - pybullet.getAABB(body, knee, physicsClientId=client)[0][2]


@pytest.mark.parametrize("fraction", [0.5, 0.25])
def test_a_shortened_leg_has_a_shorter_shank_with_the_foot_at_its_end(world, command, fraction):
    stand(world, command, 5, f"FR:shortened:{fraction}")
    client, body, knee = world._client, world._body, world._joints[2]
    # The shank weighs 0.166 kg and the foot 0.06 kg; 0.2 m to the foot, a ball of 0.02 m.
    mass = pybullet.getDynamicsInfo(body, knee, physicsClientId=client)[0]
    assert mass == pytest.approx(fraction * 0.166 + 0.06, abs=1e-9)
    for leg, length in {"FR": fraction * 0.2, "FL": 0.2}.items():
        # A bounding box may have a margin of some millimetres.
        assert knee_to_sole(world, leg) == pytest.approx(length + 0.02, abs=0.003)


def test_links_made_of_meshes_can_be_shortened_too():
    path = Path(pybullet_data.getDataPath()) / "mini_cheetah" / "mini_cheetah.urdf"
    text = urdf_to_load(path, visual=False, shortened={"thigh_fr_to_knee_fr_j": 0.25}, merge=False)
    root = ET.fromstring(text)  # noqa: S314
    links = {link.get("name"): link for link in root.findall("link")}
    joints = {joint.get("name"): joint for joint in root.findall("joint")}
    mesh = links["shank_fr"].find("collision/geometry/mesh")
    assert mesh.get("scale").split() == ["1.0", "1.0", "0.25"]
    assert Path(mesh.get("filename")).is_file()
    assert float(joints["toe_fr_joint"].find("origin").get("xyz").split()[2]) == -0.18 * 0.25
    other = links["shank_fl"].find("collision/geometry/mesh")
    assert other.get("scale", "1 1 1") == "1 1 1"


def test_of_a_leg_shortened_to_nothing_only_the_thigh_touches_the_ground(world, command):
    stand(world, command, 100, "FR:shortened:0")
    points = pybullet.getContactPoints(world._body, 0, physicsClientId=world._client)
    touching = {point[3] for point in points}
    assert world._joints[2] not in touching
    assert touching


def test_a_leg_is_shortened_and_made_whole_where_it_is(world, command, wiggle):
    for tick in range(30):
        reading = stand(world, command, 1) if tick == 0 else world.step(command(wiggle(tick)))
    base = world.base()
    for text in ("RL:shortened:0.5", "FR:shortened:0.25,RL:shortened:0.5"):
        damage(world, text)
        now = world.sense()
        assert (now.joint_position == reading.joint_position).all()
        assert (now.joint_velocity == reading.joint_velocity).all()
        # Bullet normalises a quaternion that it is given: the last bit may differ.
        assert now.orientation == pytest.approx(reading.orientation, abs=1e-15)
        assert world.base().position.tobytes() == base.position.tobytes()
        assert world.base().linear_velocity.tobytes() == base.linear_velocity.tobytes()
    damage(world, "FR:shortened:0.25")
    for _ in range(8):  # it sinks, but does not lean yet
        world.step(command())
    lame = world.base().position[2]
    damage(world, "none")
    # It does not stick in the ground, and is not thrown out of it.
    points = pybullet.getClosestPoints(world._body, 0, 0.0, physicsClientId=world._client)
    assert min((point[8] for point in points), default=0.0) > -0.003
    assert world.base().position[2] > lame
    rises = []
    for _ in range(75):
        world.step(command())
        rises.append(abs(world.base().linear_velocity[2]))
    assert max(rises) < 1.0  # a fall of 5 cm
    assert 0.22 < world.base().position[2] < 0.26


def test_a_leg_that_grows_back_far_away_lifts_the_robot_as_it_does_at_the_start(world, command):
    heights = []
    for x in (0.0, 150.0):
        stand(world, command, 25)
        _, orientation = pybullet.getBasePositionAndOrientation(world._body, world._client)
        z = world.base().position[2]
        pybullet.resetBasePositionAndOrientation(world._body, [x, 0, z], orientation, world._client)
        world.step(command())
        damage(world, "FR:shortened:0.25")
        for _ in range(8):
            world.step(command())
        lame = world.base().position[2]
        damage(world, "none")
        heights.append(world.base().position[2] - lame)
    assert min(heights) > 0.01


def test_there_are_never_many_stages(world, command):
    stand(world, command, 1)
    for i in range(2 * MAX_STAGES):
        damage(world, f"FR:shortened:{0.2 + 0.01 * i:g}")
        assert len(world._shortened) <= MAX_STAGES
    world.step(command())
    damage(world, "none")
    assert world._client == world._whole.client


def test_a_narrowed_joint_stops_where_its_range_ends(world, command, a1):
    target = a1.default.copy()
    target[[2, 5]] = -2.4  # both front knees
    reached = {}
    for text in ("none", "FR:narrowed:0.2"):
        in_the_air(world)
        damage(world, text)
        for _ in range(30):
            reading = world.step(command(target))
        reached[text] = reading.joint_position
    assert reached["none"][[2, 5]] == pytest.approx([-2.4, -2.4], abs=0.05)
    # The knee's range goes from −2.69 to −0.92 around −1.8; a fifth of it ends at −1.978. The spring
    # of 40 N·m/rad and the stop of 300 N·m/rad are in balance 0.05 rad beyond.
    beyond = 40.0 * (2.4 - 1.978) / (40.0 + STOP_STIFFNESS)
    assert reached["FR:narrowed:0.2"][2] == pytest.approx(-1.978 - beyond, abs=0.005)
    assert reached["FR:narrowed:0.2"][5] == pytest.approx(-2.4, abs=0.05)


def test_a_joint_outside_its_narrowed_range_is_moved_in_not_thrown(world, command, a1):
    bent = a1.default.copy()
    bent[2] = -2.6
    in_the_air(world)
    for _ in range(30):
        world.step(command(bent))
    damage(world, "FR:narrowed:0.05")
    fastest = 0.0
    for _ in range(50):
        reading = world.step(command(bent))
        fastest = max(fastest, abs(reading.joint_velocity[2]))
    assert reading.joint_position[2] > -1.845 - 40.0 * (2.6 - 1.845) / 340.0 - 0.005
    assert fastest < a1.velocity[2] / 2


def test_a_reversed_joint_goes_the_other_way_and_reports_that_it_did_not(world, command, a1):
    target = a1.default.copy()
    target[1] += 0.3
    in_the_air(world)
    damage(world, "FR_upper_joint:reversed")
    for _ in range(40):
        reading = world.step(command(target))
    assert world.truth.joint_position[1] == pytest.approx(a1.default[1] - 0.3, abs=0.03)
    assert reading.joint_position[1] == pytest.approx(target[1], abs=0.03)
    others = np.delete(np.arange(12), 1)
    assert (reading.joint_position[others] == world.truth.joint_position[others]).all()
