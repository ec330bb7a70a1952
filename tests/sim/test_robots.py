"""Every robot that ships keeps the same promises, and its figures are those of its model."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pybullet
import pybullet_data
import pytest
from swinging import bits, command, put, wiggle

from hebb_controller.errors import RobotSpecError
from hebb_controller.node.processes import own_domain, ros_environment
from hebb_controller.observation import CHANNELS, Channel, Observer
from hebb_controller.robot import BODY_PARTS, available_robots, load_robot
from hebb_controller.safety import Safety
from hebb_sim.damage import TABLE, parse_damages
from hebb_sim.scenario import available_scenarios, load_scenario
from hebb_sim.world import World

DATA = Path(pybullet_data.getDataPath())
ANT = DATA / "mjcf" / "ant.xml"


@pytest.fixture(scope="module", params=available_robots())
def robot(request):
    return load_robot(request.param)


@pytest.fixture(scope="module")
def world(robot):
    world = World(robot)
    yield world
    world.close()


def test_the_robots_that_should_ship_do():
    assert set(available_robots()) >= {"a1", "ant", "mini_cheetah"}


# --- it is the robot of the model ---


def model_joints(robot):
    """Return name -> (lower, upper, effort, velocity), as far as the model's file limits them."""
    root = ET.parse(DATA / robot.simulation.model).getroot()  # noqa: S314
    found = {}
    if root.tag == "robot":
        for joint in root.findall("joint"):
            limit = joint.find("limit")
            if joint.get("type") == "revolute":
                names = ("lower", "upper", "effort", "velocity")
                found[joint.get("name")] = [float(limit.get(name)) for name in names]
            elif joint.get("type") == "continuous":
                found[joint.get("name")] = [-math.inf, math.inf, math.inf, math.inf]
    else:
        for joint in root.find("worldbody").iter("joint"):
            low, high = (math.radians(float(word)) for word in joint.get("range").split())
            found[joint.get("name")] = [low, high, math.inf, math.inf]
    return found


def test_joints_and_limits_are_those_of_the_model(robot, world):
    joints = model_joints(robot)
    assert robot.joint_names == tuple(joints)
    lower, upper, effort, velocity = np.array(list(joints.values())).T
    assert (robot.lower >= lower).all()
    assert (robot.upper <= upper).all()
    # Rounded inwards by no more than a hundredth, where the model states a limit.
    assert (robot.lower - lower)[np.isfinite(lower)].max(initial=0.0) < 0.01
    assert (upper - robot.upper)[np.isfinite(upper)].max(initial=0.0) < 0.01
    assert (robot.torque <= effort + 1e-9).all()
    assert (robot.velocity <= velocity + 1e-9).all()
    for number, name in zip(world._joints, robot.joint_names, strict=True):
        info = pybullet.getJointInfo(world._body, number, physicsClientId=world._client)
        assert info[1].decode() == name
    # Nothing else moves, and nothing is left of links that are fixed.
    assert pybullet.getNumJoints(world._body, physicsClientId=world._client) == robot.n_joints


def test_every_joint_belongs_to_one_leg_and_has_an_image(robot):
    assert sorted(joint for leg in robot.legs.values() for joint in leg) == list(
        range(robot.n_joints)
    )
    assert sorted(robot.legs) == ["FL", "FR", "RL", "RR"]
    target, _ = robot.mirror
    for left, right in (("FL", "FR"), ("RL", "RR")):
        assert tuple(target[joint] for joint in robot.legs[left]) == robot.legs[right]


def test_legs_are_where_their_names_say(robot, world):
    world.reset(np.random.default_rng(0))
    put(world, robot.default, 5.0)
    for leg, (*_, last) in robot.legs.items():
        x, y, _ = pybullet.getLinkState(
            world._body, world._joints[last], physicsClientId=world._client
        )[0]
        assert (x > 0) == (leg[0] == "F")
        assert (y > 0) == (leg[1] == "L")


# --- it stands, senses and is seen ---


@pytest.mark.parametrize("seed", range(3))
def test_it_stands_still(robot, world, seed):
    world.reset(np.random.default_rng(seed))
    speeds, heights = [], []
    for _ in range(250):
        reading = world.step(command(robot))
        speeds.append(np.abs(reading.joint_velocity).max())
        heights.append(world.base().position[2])
    assert max(speeds) < 5.0  # it starts with joints 0.1 rad off: kp/kd · 0.1 rad is 2 to 4 rad/s
    assert max(speeds[50:]) < 0.5
    assert max(speeds[200:]) < 0.02
    assert np.ptp(heights[200:]) < 1e-3
    assert min(heights) > 1.5 * robot.simulation.fall_height
    assert not Safety(robot, period=0.02).check(reading, reading.received).tripped
    # At rest a joint is off its target by torque/kp, and the torque is within its limit.
    assert (np.abs(reading.joint_position - robot.default) < robot.torque / robot.kp).all()


def test_every_channel_is_observed_and_tells_something(robot, world):
    observer = Observer([Channel(name, 1.0, 100.0) for name in CHANNELS], robot)
    observer.reset()
    reading, last, seen = world.reset(np.random.default_rng(0)), robot.default, []
    for tick in range(50):
        commanded = replace(reading, velocity_command=np.full(3, 0.1 * tick))
        seen.append(observer.observe(commanded, last))
        last = wiggle(robot, tick)
        reading = world.step(command(robot, last))
    assert np.isfinite(seen).all()
    for name, part in observer.slices.items():
        assert (np.ptp(seen, axis=0)[part] > 1e-6).all(), name


def test_the_camera_shows_it(robot):
    world = World(robot, visual=True)
    world.reset(np.random.default_rng(0))
    frame = world.camera(width=160, height=120)
    joints = robot.default.tolist()
    world.show((0.0, 0.0, 50.0), (0.0, 0.0, 0.0, 1.0), joints)  # out of the picture
    without = world.camera(width=160, height=120)
    world.close()
    covered = (frame != without).any(axis=2)
    assert 0.02 < covered.mean() < 0.5
    edge = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
    assert not edge.any()  # all of it is in the picture


def run_node(name):
    """Return the exit code and standard error of the simulator's node after 0.1 s of simulated time."""
    values = {"robot": name, "damage": "FR:shortened:0.25", "duration": "0.1"}
    values["real_time_factor"] = "50.0"
    words = [word for item in values.items() for word in ("-p", "{}:={}".format(*item))]
    done = subprocess.run(
        [sys.executable, "-m", "hebb_sim.sim_node", "--ros-args", *words],
        env=ros_environment(own_domain()),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_the_simulators_node_takes_it(robot):
    pytest.importorskip("rclpy")
    code, errors = run_node(robot.name)
    assert code == 0, errors


def test_the_simulators_node_refuses_a_robot_that_nobody_ships():
    pytest.importorskip("rclpy")
    code, errors = run_node("a2")
    assert code == 2
    assert "robot 'a2': no such spec. Shipped: a1, ant, mini_cheetah" in errors


def test_a_model_that_is_not_there_is_one_clear_error(robot):
    nowhere = replace(robot, simulation=replace(robot.simulation, model="a2/a2.urdf"))
    with pytest.raises(RobotSpecError, match=r"there is no model .*a2/a2.urdf"):
        World(nowhere)


# --- episodes ---


def test_an_episode_has_the_same_bits_whatever_ran_before(robot, world):
    def run(on):
        readings = [bits(on.reset(np.random.default_rng(7)))]
        return readings + [bits(on.step(command(robot, wiggle(robot, t)))) for t in range(50)]

    first = run(world)
    world.reset(np.random.default_rng(8))
    world.damage(parse_damages("FR:limp,FL:shortened:0.25,trunk:payload:3", robot))
    for _ in range(20):
        world.step(command(robot))
    assert run(world) == first
    other = World(robot)
    assert run(other) == first
    other.close()


def dynamics(world):
    """Return all that the engine says about the masses and frictions of the robot and the ground."""
    client, links = world._client, range(-1, world.robot.n_joints)
    return [
        pybullet.getDynamicsInfo(0, -1, physicsClientId=client),
        *(pybullet.getDynamicsInfo(world._body, link, physicsClientId=client) for link in links),
        pybullet.getPhysicsEngineParameters(physicsClientId=client),
    ]


@pytest.mark.parametrize("kind", TABLE)
def test_every_damage_acts_and_is_taken_back(robot, world, kind):
    takes = TABLE[kind].amount
    parts = [part for part in TABLE[kind].parts if part in BODY_PARTS]
    parts += [next(iter(robot.legs))] if "leg" in TABLE[kind].parts else []
    parts += [robot.joint_names[-1]] if "joint" in TABLE[kind].parts else []
    for part in parts:
        damages = parse_damages(f"{part}:{kind}" + (f":{takes.example}" if takes else ""), robot)
        readings = {}
        for now in ((), damages):
            world.reset(np.random.default_rng(3))
            before = dynamics(world)
            world.damage(now)
            rows = [world.step(command(robot, wiggle(robot, tick))) for tick in range(40)]
            readings[now] = [bits(row) for row in rows]
            assert all(np.isfinite(row.joint_velocity).all() for row in rows)
            world.damage(())
            assert dynamics(world) == before
            healthy = bits(world.step(command(robot)))
            assert healthy == bits(world.truth)  # the sensors are sound
        assert readings[()] != readings[damages], part


def test_the_ground_has_the_friction_that_was_asked_for_whatever_leg_is_gone(robot, world):
    for leg in robot.legs:
        world.reset(np.random.default_rng(3))
        world.damage(parse_damages(f"ground:friction:0.4,{leg}:shortened:0", robot))
        for _ in range(25):
            world.step(command(robot))
        own = pybullet.getDynamicsInfo(0, -1, physicsClientId=world._client)[1]
        points = pybullet.getContactPoints(world._body, 0, physicsClientId=world._client)
        assert points
        for link in {point[3] for point in points}:
            theirs = pybullet.getDynamicsInfo(world._body, link, physicsClientId=world._client)[1]
            assert own * theirs == pytest.approx(0.4)  # Bullet multiplies them


def test_of_a_leg_shortened_to_nothing_nothing_has_a_weight(robot, world):
    leg = next(iter(robot.legs))
    world.reset(np.random.default_rng(3))
    world.damage(parse_damages(f"{leg}:shortened:0", robot))
    link = world._joints[robot.legs[leg][-1]]
    mass = pybullet.getDynamicsInfo(world._body, link, physicsClientId=world._client)[0]
    assert mass < 0.0011


@pytest.mark.parametrize("kind", ["shortened:0", "narrowed:0", "narrowed:0.1"])
def test_neither_stumps_nor_stops_shake_it(robot, world, kind):
    part = "motors" if "narrowed" in kind else next(iter(robot.legs))
    for swing in (0.0, 0.6):
        world.reset(np.random.default_rng(3))
        put(world, robot.default, 30.0)
        world.damage(parse_damages(f"{part}:{kind}", robot))
        speeds = []
        for tick in range(100):
            target = robot.default + 2.0 * swing * (wiggle(robot, tick) - robot.default)
            reading = world.step(command(robot, target))
            speeds.append(np.abs(reading.joint_velocity).max())
        # A swing of 0.36 rad at 2 Hz is one of 4.5 rad/s, which the other joints shake a little too.
        assert max(speeds[50:]) < (10.0 if swing else 0.1)


def test_stops_are_as_stiff_as_the_robot_bears(robot, world):
    """With all joints in their stops, every mode k·h² + 2·d·h stays below 4 times its inertia."""
    world.reset(np.random.default_rng(3))
    world.damage(parse_damages("motors:narrowed:0.2", robot))
    (share,) = {stop.share for stop in world._actuator._stops}
    assert (share == 1.0) == (robot.name != "mini_cheetah")
    assert share > 0.25
    load = (robot.kp + share * 300.0) * 0.005**2 + 2 * (robot.kd + share * 0.5) * 0.005
    modes = np.linalg.eigvals(world._stage.mobility @ np.diag(load)).real
    assert modes.max() < 4.0


@pytest.mark.parametrize("scenario", available_scenarios())
def test_the_scenarios_that_ship_can_happen_to_it(robot, scenario):
    condition = load_scenario(scenario, robot).draw(np.random.default_rng(0))
    for damage in condition.damages + condition.background:
        assert parse_damages(str(damage), robot) == (damage,)


# --- left and right ---


def mirrored_runs(world, height, ticks):
    """Return joint angles and places of the base of a run, and of its mirror image seen in a mirror."""
    robot = world.robot
    target, sign = map(np.array, robot.mirror)
    rng = np.random.default_rng(3)
    start, phase = rng.uniform(-0.1, 0.1, robot.n_joints), rng.uniform(0.0, 6.0, robot.n_joints)
    runs = []
    for image in (lambda v: v, lambda v: v[target] * sign):
        world.reset(np.random.default_rng(0))
        put(world, image(robot.default + start), height)
        rows = []
        for tick in range(ticks):
            swing = robot.default + 0.2 * np.sin(0.25 * tick + phase)
            reading = world.step(command(robot, image(swing)))
            rows.append((image(reading.joint_position), world.base().position))
        runs.append([np.array(column) for column in zip(*rows, strict=True)])
    (angles, places), (angles_seen, places_seen) = runs
    return angles, angles_seen, places, places_seen * (1.0, -1.0, 1.0)


def test_a_mirrored_pose_puts_every_joint_where_the_mirror_shows_it(robot, world):
    target, sign = map(np.array, robot.mirror)
    pose = robot.default + np.random.default_rng(1).uniform(-0.4, 0.4, robot.n_joints)
    frames = []
    world.reset(np.random.default_rng(0))
    for angles in (pose, pose[target] * sign):
        put(world, angles, 5.0)
        states = pybullet.getLinkStates(
            world._body, world._joints, computeForwardKinematics=1, physicsClientId=world._client
        )
        frames.append(np.array([state[4] for state in states]))
    # The frames are kept in double precision, those of the model in the digits of its file.
    assert frames[1][target] * (1, -1, 1) == pytest.approx(frames[0], abs=1e-6)


# In the air nothing but rounding breaks the symmetry of a1 and ant: 300 substeps of some 1e-16. The model of the
# mini_cheetah is not symmetric: the centres of mass of its right hips and thighs have the sign of the
# left ones (+0.036 and +0.016 m), so about the hip a right leg has a tenth less inertia, and may swing by a
# tenth of the motion (0.45 rad) differently.
IN_THE_AIR = {"a1": 1e-12, "ant": 1e-12, "mini_cheetah": 0.045}


def test_in_the_air_it_moves_as_its_image_does(robot, world):
    angles, seen, places, places_seen = mirrored_runs(world, 30.0, 75)
    assert np.ptp(angles, axis=0).min() > 0.2
    assert seen == pytest.approx(angles, abs=IN_THE_AIR[robot.name])
    assert places_seen == pytest.approx(places, abs=IN_THE_AIR[robot.name])


def test_on_the_ground_it_moves_as_its_image_does_until_the_order_of_contacts_tells(a1):
    # The solver goes over contacts in an order, left before right or after, so it ends elsewhere unless it
    # converges: with 50 iterations, until the squared velocities that an iteration still changes sum up to
    # less than 1e-7, its threshold. That is 3e-4 rad/s; over a second, 3e-4 rad. (Where a capsule
    # touches the ground is itself found by iteration, so of the ant this cannot be asked.)
    still = World(replace(a1, simulation=replace(a1.simulation, solver_iterations=50)))
    angles, seen, _, _ = mirrored_runs(still, a1.simulation.start_height, 50)
    still.close()
    assert np.ptp(angles, axis=0).min() > 0.2
    assert seen == pytest.approx(angles, abs=3e-4)
