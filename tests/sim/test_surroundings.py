"""What a robot carries, is pushed by and stands on."""

import math

import numpy as np
import pybullet
import pytest
from scipy.spatial.transform import Rotation
from worlds import damage, in_the_air, stand

from hebb_controller.rotation import projected_gravity, yaw
from hebb_controller.signals import Mode


def weight(world, command, text):
    """Return what the ground bears, mean over a second, N."""
    stand(world, command, 100, text)
    borne = []
    for _ in range(50):
        world.step(command())
        points = pybullet.getContactPoints(world._body, 0, physicsClientId=world._client)
        borne.append(sum(point[9] for point in points))
    return float(np.mean(borne)), world.base().position[2]


def test_the_ground_bears_the_payload_and_the_stand_sinks(world, command):
    own, height = weight(world, command, "none")
    loaded, lower = weight(world, command, "trunk:payload:4")
    # One force is read per tick, in one of four substeps: some newtons of noise.
    assert loaded - own == pytest.approx(4.0 * 9.81, rel=0.1)
    assert lower < height - 0.005


def test_a_payload_is_a_point_at_the_middle_of_the_trunk(world, command):
    def trunk():
        return pybullet.getDynamicsInfo(world._body, -1, physicsClientId=world._client)

    stand(world, command, 1)
    own = trunk()
    damage(world, "trunk:payload:4,trunk:payload:1")
    assert trunk()[0] == pytest.approx(own[0] + 5.0, abs=1e-12)
    assert trunk()[2:] == own[2:]  # inertia and where it is


def test_of_several_frictions_the_one_that_began_last_applies_however_they_are_listed(world):
    def friction(text):
        damage(world, text)
        return pybullet.getDynamicsInfo(0, -1, physicsClientId=world._client)[1]

    world.reset(np.random.default_rng(0))
    little, much = friction("ground:friction:0.2"), friction("ground:friction:0.9")
    assert little < much
    assert friction("ground:friction:0.2,ground:friction:0.9") == little
    assert friction("ground:friction:0.2") == little
    assert friction("ground:friction:0.9,ground:friction:0.2") == much


@pytest.mark.parametrize(("text", "side"), [("trunk:push:50", 0.5), ("trunk:pull:50", 0.0)])
def test_a_push_gives_its_impulse_to_the_left_and_a_pull_forwards(world, command, text, side):
    in_the_air(world)
    client, body = world._client, world._body
    heading = yaw(world.truth.orientation) + side * math.pi
    links = range(pybullet.getNumJoints(body, physicsClientId=client))
    masses = [pybullet.getDynamicsInfo(body, i, physicsClientId=client)[0] for i in (-1, *links)]
    damage(world, text)
    for _ in range(10):
        world.step(command(mode=Mode.OFF))
    speeds = [pybullet.getBaseVelocity(body, physicsClientId=client)[0]] + [
        pybullet.getLinkState(body, i, computeLinkVelocity=1, physicsClientId=client)[6]
        for i in links
    ]
    momentum = np.array(masses) @ np.array(speeds)
    expected = 50.0 * 0.2 * np.array([math.cos(heading), math.sin(heading)])
    assert momentum[:2] == pytest.approx(expected, abs=0.3)
    damage(world, "none")
    world.step(command(mode=Mode.OFF))
    assert world._push is None


def test_a_twist_gives_its_angular_impulse_about_the_vertical(world, command):
    in_the_air(world)
    before = angular_momentum(world)
    damage(world, "trunk:twist:5,trunk:twist:-3")
    for _ in range(10):
        world.step(command(mode=Mode.OFF))
    gained = angular_momentum(world) - before
    assert gained == pytest.approx([0.0, 0.0, 2.0 * 0.2], abs=0.02)
    damage(world, "none")
    world.step(command(mode=Mode.OFF))
    assert world._twist is None


def test_of_equal_pushes_each_goes_where_the_robot_looked_when_it_began(world, command):
    in_the_air(world)
    damage(world, "trunk:pull:30")
    looked = [yaw(world.truth.orientation)]
    damage(world, "trunk:pull:30,trunk:twist:40")
    for _ in range(25):
        world.step(command())
    looked.append(yaw(world.truth.orientation))
    assert abs(looked[1] - looked[0]) > 0.1
    damage(world, "trunk:pull:30,trunk:twist:40,trunk:pull:30")
    expected = 30.0 * np.array([np.cos(looked).sum(), np.sin(looked).sum(), 0.0])
    assert np.array(world._push) == pytest.approx(expected, abs=1e-9)


def angular_momentum(world):
    """Return that of all links about their common centre of mass, kg·m²/s."""
    client, body = world._client, world._body
    parts = []
    for i in range(-1, pybullet.getNumJoints(body, physicsClientId=client)):
        mass, _, inertia = pybullet.getDynamicsInfo(body, i, physicsClientId=client)[:3]
        if i < 0:
            place, turned = pybullet.getBasePositionAndOrientation(body, physicsClientId=client)
            speed, rate = pybullet.getBaseVelocity(body, physicsClientId=client)
        else:
            state = pybullet.getLinkState(body, i, computeLinkVelocity=1, physicsClientId=client)
            place, turned, speed, rate = state[0], state[1], state[6], state[7]
        axes = np.array(pybullet.getMatrixFromQuaternion(turned)).reshape(3, 3)
        spin = axes @ np.diag(inertia) @ axes.T @ np.array(rate)
        parts.append((mass, np.array(place), np.array(speed), spin))
    total = sum(mass for mass, *_ in parts)
    centre = sum(mass * place for mass, place, *_ in parts) / total
    return sum(spin + mass * np.cross(place - centre, speed) for mass, place, speed, spin in parts)


def test_on_a_slope_the_imu_feels_where_down_is(world, command, wiggle):
    """Gravity in the frame of the body is what an accelerometer at rest would measure."""
    stand(world, command, 30)
    heading = yaw(world.truth.orientation)
    damage(world, "ground:slope:0.2")
    reading = world.sense()
    for tick in range(20):
        body = Rotation.from_quat(world.truth.orientation)
        # Uphill is where the robot looked: gravity pulls back and down.
        back = math.sin(0.2)
        down = [-back * math.cos(heading), -back * math.sin(heading), -math.cos(0.2)]
        felt = projected_gravity(reading.orientation)
        assert felt == pytest.approx(body.inv().apply(down), abs=1e-9)
        reading = world.step(command(wiggle(tick)))
    assert yaw(reading.orientation) == pytest.approx(yaw(world.truth.orientation), abs=0.05)


def test_a_robot_slides_down_a_slope_where_friction_cannot_hold_it(world, command):
    """It holds where μ > tan(slope), and otherwise slides at g(sin − μ·cos)."""
    gone = {}
    for text in ("none", "ground:friction:0.1", "ground:friction:0.5"):
        stand(world, command, 50, text)
        heading = yaw(world.truth.orientation)
        uphill = np.array([math.cos(heading), math.sin(heading)])
        damage(world, ("" if text == "none" else text + ",") + "ground:slope:0.2")
        for _ in range(25):
            world.step(command())
        early = float(world.base().linear_velocity[:2] @ uphill)
        for _ in range(25):
            world.step(command())
        late = float(world.base().linear_velocity[:2] @ uphill)
        gone[text] = (late - early) / 0.5
    assert abs(gone["none"]) < 0.2
    assert gone["none"] == pytest.approx(gone["ground:friction:0.5"], abs=1e-9)  # as built
    slide = 9.81 * (math.sin(0.2) - 0.1 * math.cos(0.2))  # 0.99 m/s²
    assert gone["ground:friction:0.1"] == pytest.approx(-slide, rel=0.25)
