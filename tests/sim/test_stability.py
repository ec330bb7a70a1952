"""No damage makes the joint controllers shake the robot at the simulator's step of 5 ms."""

import math
from dataclasses import replace

import numpy as np
import pybullet
import pytest
from swinging import bits, command, put, wiggle

from hebb_controller.robot import load_robot
from hebb_sim.actuator import Actuator
from hebb_sim.damage import parse_damages
from hebb_sim.stage import Stage
from hebb_sim.world import World

STEP = 0.005  # s
THIGH = {"a1": "FR_upper_joint", "mini_cheetah": "abduct_fr_to_thigh_fr_j"}


@pytest.fixture(scope="module", params=THIGH)
def world(request):
    world = World(load_robot(request.param))
    yield world
    world.close()


def assert_steady(world, text):
    """Assert that a falling robot comes to rest under a damage, and that none of its modes grows."""
    robot = world.robot
    world.reset(np.random.default_rng(3))
    put(world, robot.default, 30.0)
    world.damage(parse_damages(text, robot))
    for tick in range(50):
        world.step(command(robot, wiggle(robot, tick)))
    speeds = [np.abs(world.step(command(robot)).joint_velocity).max() for _ in range(50)]
    assert max(speeds[25:]) < 0.1
    gain = np.array(world._actuator._strength) * (world._actuator._share or 1.0)
    load = gain * (robot.kp * STEP**2 + 2.0 * robot.kd * STEP)
    assert np.linalg.eigvals(world._stage.mobility @ np.diag(load)).real.max() < 4.0


@pytest.mark.parametrize("leg", ["FR", "RL"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_no_link_can_be_so_short_that_it_shakes(world, leg, place):
    joint = world.robot.joint_names[world.robot.legs[leg][place]]
    for fraction in (0.5, 0.05, 0.0):
        assert_steady(world, f"{joint}:shortened:{fraction}")


@pytest.mark.parametrize(
    "text",
    [
        *("motors:strength:1.6", "motors:strength:2", "FR:strength:2"),
        *("{thigh}:shortened:0.05,motors:strength:2", "{thigh}:shortened:0,RL:shortened:0"),
        "motors:narrowed:0.2,motors:strength:2",
    ],
)
def test_no_motors_can_be_so_strong_that_they_shake(world, text):
    assert_steady(world, text.format(thigh=THIGH[world.robot.name]))


def test_motors_are_as_strong_as_asked_and_as_stiff_as_the_robot_bears(world):
    robot = world.robot
    # The largest eigenvalue is in proportion to the gains; beyond 4 it is brought down to 3.6.
    load = robot.kp * STEP**2 + 2.0 * robot.kd * STEP
    one = np.linalg.eigvals(world._whole.mobility @ np.diag(load)).real.max()
    stiffest = {"a1": 2.0, "mini_cheetah": 0.9 * 4.0 / one}[robot.name]
    assert one * stiffest < 4.0
    actuator = Actuator(robot)
    for strength in (1.1, 1.5, 2.0):
        actuator.damage(parse_damages(f"motors:strength:{strength}", robot))
        actuator.soften(world._whole.mobility, STEP)
        gain = strength if one * strength < 4.0 else stiffest
        small, large = (
            actuator_torques(actuator, robot, robot.default + off) for off in (0.001, 100.0)
        )
        assert small == pytest.approx(0.001 * gain * robot.kp, rel=1e-9)
        assert large == pytest.approx(strength * robot.torque)


def actuator_torques(actuator, robot, target):
    actuator.command(command(robot, target))
    return actuator.torques([(angle, 0.0) for angle in robot.default.tolist()])


@pytest.mark.parametrize(
    ("fraction", "multiple"), [(0.75, 1.0), (0.5, 2.0), (0.05, 4.0), (0.0, 4.0)]
)
def test_the_rotor_of_a_short_thigh_counts_as_often_as_it_must(fraction, multiple):
    """The stage's own mobility is then that of a robot with such a rotor."""
    robot = load_robot("mini_cheetah")
    thigh = robot.joint_names.index(THIGH["mini_cheetah"])
    rotors = {}
    for name, factor in {"none": 0.0, "own": 1.0, "that": multiple}.items():
        rotors[name] = robot.rotor_inertia.copy()
        rotors[name][thigh] *= factor
    if fraction == 0.0:  # where a rotor is all that is left, it counts twice from the start
        rotors["that"][thigh] /= 2.0
    inertia, mobility = {}, {}
    for name, rotor in rotors.items():
        stage = Stage(
            replace(robot, rotor_inertia=rotor),
            0.02,
            visual=False,
            shortened={THIGH["mini_cheetah"]: fraction},
        )
        info = pybullet.getDynamicsInfo(stage.body, stage.joints[thigh], stage.client)
        inertia[name], mobility[name] = np.array(info[2]), stage.mobility
        stage.close()
    assert inertia["own"] - inertia["none"] == pytest.approx(
        multiple * robot.rotor_inertia[thigh], rel=1e-9
    )
    assert mobility["own"] == pytest.approx(mobility["that"], rel=1e-6, abs=1e-6)


def test_a_stop_is_as_stiff_whatever_the_robot_carried_before():
    robot = load_robot("mini_cheetah")
    runs = []
    for text in ("none", "trunk:payload:10"):
        world = World(robot)
        world.reset(np.random.default_rng(0))
        world.damage(parse_damages(text, robot))
        world.damage(parse_damages("motors:narrowed:0.1", robot))
        world.reset(np.random.default_rng(0))
        world.damage(parse_damages("motors:narrowed:0.1", robot))
        target = robot.default + 0.5 * math.pi
        runs.append([bits(world.step(command(robot, target))) for _ in range(20)])
        world.close()
    assert runs[0] == runs[1]
