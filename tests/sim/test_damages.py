"""Every kind of damage does what it says, is taken back exactly, and leaves nothing behind."""

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pybullet
import pybullet_data
import pytest
from scipy.spatial.transform import Rotation
from swinging import bits

from hebb_controller.controller import controller_for
from hebb_controller.errors import DamageError
from hebb_controller.observation import projected_gravity, yaw
from hebb_controller.signals import Mode
from hebb_sim.actuator import STOP_STIFFNESS
from hebb_sim.condition import Condition, Spell
from hebb_sim.damage import TABLE, Damage, parse_damages
from hebb_sim.episode import run_episode
from hebb_sim.scenario import available_scenarios, load_scenario
from hebb_sim.shortened import shortened_urdf
from hebb_sim.stage import FOLD_SPEED
from hebb_sim.world import MAX_STAGES, World

# At least one of each kind, of each sort of part.
ALL = (
    *("FR:limp", "RL:weak:0.2", "motors:weak:0.7", "FL:locked", "RR_lower_joint:locked"),
    *("FR:folded", "RL_lower_joint:folded", "FR:shortened:0.25", "RL:shortened:0"),
    *("FL_upper_joint:shortened:0.5", "FR:narrowed:0.1", "RR_lower_joint:narrowed:0"),
    *("motors:strength:0.8", "FL:strength:1.3", "RR:reversed", "RL_lower_joint:reversed"),
    *("FR_lower_joint:constant", "imu:constant", "FR:noise:0.05", "imu:noise:0.05"),
    *("sensors:noise:0.02", "RL:bias:-0.2", "imu:bias:0.1", "FL:dropout:0.7", "imu:dropout:0.5"),
    *("sensors:latency:2", "trunk:payload:4", "trunk:push:80", "trunk:pull:-80", "trunk:twist:30"),
    *("ground:friction:0.1", "ground:slope:0.15"),
    "FR:limp,FL_lower_joint:locked,RR:shortened:0.5,sensors:noise:0.02,ground:slope:0.1",
)
SEED = 3


def test_no_kind_is_missing_here():
    assert {word.split(":")[1] for text in ALL for word in text.split(",")} == set(TABLE)


def damage(world, text):
    world.damage(parse_damages(text, world.robot))


def stand(world, command, ticks=75, text="none"):
    """Return the last reading of a robot that was let stand, damaged from the first tick on."""
    world.reset(np.random.default_rng(SEED))
    damage(world, text)
    for _ in range(ticks):
        reading = world.step(command())
    return reading


def in_the_air(world):
    """Start an episode 30 m above the ground: 2.4 s of falling."""
    world.reset(np.random.default_rng(SEED))
    _, q = pybullet.getBasePositionAndOrientation(world._body, physicsClientId=world._client)
    pybullet.resetBasePositionAndOrientation(
        world._body, [0, 0, 30], q, physicsClientId=world._client
    )


# --- nothing leaks, everything is taken back ---


@pytest.fixture(scope="module")
def episodes(a1):
    """Return an episode for each, in which it comes and goes again."""
    found = {text: Condition(0.6, parse_damages(text, a1), 0.2, 0.4) for text in ALL}
    found["none"] = Condition(0.6)
    found["from the start"] = Condition(
        0.6, background=parse_damages("sensors:latency:1,imu:noise:0.1,FR:shortened:0.25", a1)
    )
    found["a time line"] = Condition(
        0.6,
        parse_damages("trunk:push:100", a1),
        0.1,
        0.2,
        background=parse_damages("ground:friction:0.3,RL_hip_joint:bias:0.1", a1),
        spells=(Spell(parse_damages("FR:limp", a1), 0.2),),
    )
    return found


def same(one, other):
    return one.fallen == other.fallen and all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("position", "heading", "power", "damaged", "beyond_limits")
    )


@pytest.fixture(scope="module")
def alone(a1, a1_rule, episodes):
    """Return every episode as the first of a new world."""
    records = {}
    for name, condition in episodes.items():
        world = World(a1)
        records[name] = run_episode(controller_for(a1_rule, a1), world, condition, SEED)
        world.close()
    return records


def test_each_makes_a_difference(alone):
    for name, record in alone.items():
        assert np.isfinite(record.position).all(), name
        # A push, a slope and the like act at once; a joint's limit has to be reached first.
        if name not in ("none", "RR_lower_joint:narrowed:0"):
            assert not same(record, alone["none"]), name


@pytest.mark.parametrize("order", [0, 1])
def test_in_any_order_each_episode_is_the_same_bits(*, a1, a1_rule, episodes, alone, world, order):
    controller = controller_for(a1_rule, a1)
    names = [*episodes, *episodes]
    np.random.default_rng(order).shuffle(names)
    for i, name in enumerate(names):
        record = run_episode(controller, world, episodes[name], SEED)
        assert same(record, alone[name]), (name, "after", names[:i][-3:])


@pytest.mark.parametrize("text", [text for text in ALL if "shortened" not in text])
def test_what_is_taken_back_at_once_was_never_there(world, command, wiggle, text):
    """Not a bit of what follows may depend on it."""
    runs = []
    for hurt in (text, "none"):
        stand(world, command, 20)
        damage(world, hurt)
        damage(world, "none")
        runs.append([bits(world.step(command(wiggle(tick)))) for tick in range(30)])
    assert runs[0] == runs[1]


def dynamics(world):
    """Return everything of the physics that a damage may change."""
    client, body = world._client, world._body
    links = range(-1, pybullet.getNumJoints(body, physicsClientId=client))
    return (
        client,
        pybullet.getPhysicsEngineParameters(physicsClientId=client),
        pybullet.getDynamicsInfo(0, -1, physicsClientId=client),
        [pybullet.getDynamicsInfo(body, link, physicsClientId=client) for link in links],
    )


@pytest.mark.parametrize("text", ALL)
def test_a_healed_world_has_the_physics_of_a_new_one(world, command, text):
    stand(world, command, 10)
    expected = dynamics(world)
    damage(world, text)
    for _ in range(10):
        world.step(command())
    damage(world, "none")
    assert dynamics(world) == expected


@pytest.mark.parametrize("name", available_scenarios())
def test_a_drawn_scenario_is_the_same_bits_in_any_world(*, a1, a1_rule, world, name):
    drawn = load_scenario(name, a1).draw(np.random.default_rng(SEED))
    spells = tuple(replace(spell, onset=0.3, healed=0.4) for spell in drawn.spells)
    condition = replace(drawn, duration=0.6, onset=0.2, spells=spells)
    controller = controller_for(a1_rule, a1)
    run_episode(controller, world, condition, SEED + 1)
    other = World(a1)
    records = [run_episode(controller, w, condition, SEED) for w in (world, other)]
    other.close()
    assert same(*records)
    assert records[0].damaged.any() == bool(drawn.damages)


def test_what_goes_on_keeps_what_it_began_with(world, command, wiggle, a1):
    """A second damage does not move the angle, the value or the direction of the first."""
    first = "FL_upper_joint:locked,FR_lower_joint:constant,ground:slope:0.2,trunk:push:30"
    stand(world, command, 20)
    damage(world, first)
    reading = world.step(command(wiggle(1)))
    held, read = reading.joint_position[4], reading.joint_position[2]
    gravity = world._stage._surroundings.gravity
    for tick in range(2, 20):
        reading = world.step(command(wiggle(tick)))
    damage(world, first + ",trunk:payload:2,imu:bias:0.1")
    reading = world.step(command(wiggle(20)))
    assert reading.joint_position[4] == pytest.approx(held, abs=0.005)
    assert reading.joint_position[2] == read
    assert world._stage._surroundings.gravity == gravity


def test_a_damage_that_does_not_exist_changes_nothing(world, command, a1):
    stand(world, command, 10, "FL:locked")
    before = dynamics(world)
    for wrong in (
        Damage("FR", "exploded"),
        Damage("trunk", "payload", math.nan),
        Damage("FR", "weak", 1.5),
        Damage("imu", "limp"),
    ):
        with pytest.raises(DamageError):
            world.damage((Damage("trunk", "payload", 3.0), wrong))
        assert dynamics(world) == before
        assert [str(d) for d in world.damages] == ["FL:locked"]


# --- the body ---


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
    root = ET.fromstring(shortened_urdf(path, {"thigh_fr_to_knee_fr_j": 0.25}))  # noqa: S314
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


# --- the surroundings ---


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
