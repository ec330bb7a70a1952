"""The ant: its model is read by our own reader, and its legs can be shortened."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pybullet
import pybullet_data
import pytest
from swinging import bits, command, put, wiggle

from hebb_controller.robot import load_robot
from hebb_sim.damage import parse_damages
from hebb_sim.world import World

DATA = Path(pybullet_data.getDataPath())
ANT = DATA / "mjcf" / "ant.xml"


@pytest.fixture(scope="module")
def ant():
    return load_robot("ant")


def total_mass(body, client):
    links = range(-1, pybullet.getNumJoints(body, physicsClientId=client))
    return sum(pybullet.getDynamicsInfo(body, i, physicsClientId=client)[0] for i in links)


def test_the_ant_is_where_and_as_heavy_as_the_simulators_own_loader_makes_it(ant):
    world = World(ant)
    pose = ant.default + np.random.default_rng(1).uniform(-0.3, 0.3, ant.n_joints)
    world.reset(np.random.default_rng(0))
    put(world, pose, 3.0)
    client = pybullet.connect(pybullet.DIRECT)
    (stock,) = pybullet.loadMJCF(str(ANT), physicsClientId=client)
    pybullet.resetBasePositionAndOrientation(stock, [0, 0, 3], [0, 0, 0, 1], physicsClientId=client)
    numbers = range(pybullet.getNumJoints(stock, physicsClientId=client))
    infos = [pybullet.getJointInfo(stock, i, physicsClientId=client) for i in numbers]
    by_name = {info[1].decode(): info[0] for info in infos}
    by_link = {info[12].decode(): info[0] for info in infos}
    for name, angle in zip(ant.joint_names, pose, strict=True):
        pybullet.resetJointState(stock, by_name[name], angle, physicsClientId=client)
    for number in world._joints:
        link = pybullet.getJointInfo(world._body, number, physicsClientId=world._client)[12]
        ours = pybullet.getLinkState(world._body, number, physicsClientId=world._client)[0]
        theirs = pybullet.getLinkState(stock, by_link[link.decode()], physicsClientId=client)[0]
        assert ours == pytest.approx(theirs, abs=1e-6)  # they read single precision
    mass = total_mass(stock, client)
    pybullet.disconnect(client)
    assert mass == pytest.approx(182.18, abs=0.01)
    assert total_mass(world._body, world._client) == pytest.approx(mass / 16, rel=1e-6)
    world.close()


def test_the_inertia_of_the_ants_feet_is_that_of_capsules(ant):
    # Of a thin-walled sum over points drawn in the capsule, of 0.08 m about a line of 0.4·√2 m.
    length, radius, density = 0.4 * math.sqrt(2.0), 0.08, ant.simulation.density
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (400_000, 3))
    points *= (radius, radius, radius + length / 2)
    beyond = np.maximum(np.abs(points[:, 2]) - length / 2, 0.0)
    points = points[points[:, 0] ** 2 + points[:, 1] ** 2 + beyond**2 < radius**2]
    box = 8 * radius * radius * (radius + length / 2)
    mass = density * box * len(points) / 400_000
    across = mass * (points[:, 1] ** 2 + points[:, 2] ** 2).mean()
    along = mass * (points[:, 0] ** 2 + points[:, 1] ** 2).mean()
    world = World(replace(ant, rotor_inertia=np.zeros(ant.n_joints)))
    info = pybullet.getDynamicsInfo(world._body, world._joints[1], physicsClientId=world._client)
    world.close()
    assert info[0] == pytest.approx(mass, rel=0.01)  # 0.2 % is the draw's standard deviation
    assert sorted(info[2]) == pytest.approx([along, across, across], rel=0.01)


def test_mass_is_a_matter_of_scale(ant):
    # Every force in proportion, there is no other motion; by a power of two, not even other bits.
    def run(factor):
        fields = ("torque", "kp", "kd", "rotor_inertia")
        density = ant.simulation.density * factor
        scaled = replace(
            ant,
            simulation=replace(ant.simulation, density=density),
            **{name: getattr(ant, name) * factor for name in fields},
        )
        world = World(scaled)
        world.reset(np.random.default_rng(0))
        readings = [bits(world.step(command(scaled, wiggle(ant, t)))) for t in range(100)]
        world.close()
        return readings

    assert run(16.0) == run(1.0)


def sole(world, joint):
    """Return the lowest point of a link, m above the ground."""
    points = pybullet.getClosestPoints(
        world._body, 0, 99.0, linkIndexA=world._joints[joint], physicsClientId=world._client
    )
    return min(point[5][2] for point in points)


@pytest.mark.parametrize("leg", ["FL", "RL", "RR", "FR"])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_a_leg_of_the_ant_is_as_long_as_asked(ant, leg, fraction):
    world = World(ant)
    world.reset(np.random.default_rng(0))
    if fraction < 1.0:
        world.damage(parse_damages(f"{leg}:shortened:{fraction}", ant))
    put(world, ant.default, 3.0)
    hip, ankle = ant.legs[leg]
    # The hinge is level with the trunk, the foot 1 rad below it: 0.4·√2 m, and 0.08 m of thickness.
    reach = fraction * 0.4 * math.sqrt(2.0) * math.sin(1.0) + 0.08
    assert 3.0 - sole(world, ankle) == pytest.approx(reach, abs=1e-3)
    other = ant.legs["RR" if leg == "FL" else "FL"][1]
    assert 3.0 - sole(world, other) == pytest.approx(0.4 * math.sqrt(2.0) * math.sin(1.0) + 0.08)
    mass = pybullet.getDynamicsInfo(
        world._body, world._joints[ankle], physicsClientId=world._client
    )[0]
    volume = math.pi * 0.08**2 * (fraction * 0.4 * math.sqrt(2.0) + 4 / 3 * 0.08)
    assert mass == pytest.approx(62.5 * volume, rel=1e-6)
    world.close()
    assert hip < ankle


@pytest.mark.parametrize("onset", [0, 50])
def test_the_ant_stands_on_three_while_a_leg_is_short(ant, onset):
    world = World(ant)
    world.reset(np.random.default_rng(0))
    for tick in range(250):
        if tick == onset:
            world.damage(parse_damages("FR:shortened:0.25", ant))
        reading = world.step(command(ant))
    soles = {leg: sole(world, joints[-1]) for leg, joints in ant.legs.items()}
    # Three quarters of 0.4·√2 m are gone of a leg that goes down by 1 rad: 0.36 m.
    assert soles.pop("FR") == pytest.approx(0.36, abs=0.03)  # and it leans by up to 0.02 rad
    assert max(soles.values()) < 0.002
    assert np.abs(reading.joint_velocity).max() < 0.02
    world.damage(())
    for _ in range(100):
        world.step(command(ant))
    assert sole(world, ant.legs["FR"][1]) < 0.02
    world.close()


def test_of_an_ants_leg_shortened_to_nothing_nothing_touches_the_ground(ant):
    world = World(ant)
    world.reset(np.random.default_rng(0))
    world.damage(parse_damages("FR:shortened:0", ant))
    for _ in range(100):
        reading = world.step(command(ant))
    points = pybullet.getContactPoints(world._body, 0, physicsClientId=world._client)
    touching = {point[3] for point in points}
    world.close()
    assert touching
    assert world._joints[ant.legs["FR"][1]] not in touching
    assert np.abs(reading.joint_velocity).max() < 1.0
