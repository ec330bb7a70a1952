"""Every kind of damage is taken back exactly, and leaves nothing behind."""

import math
from dataclasses import replace

import numpy as np
import pybullet
import pytest
from swinging import bits
from worlds import SEED, damage, stand

from hebb_controller.controller import controller_for
from hebb_controller.errors import DamageError
from hebb_sim.condition import Condition, Spell
from hebb_sim.damage import TABLE, Damage, parse_damages
from hebb_sim.episode import run_episode
from hebb_sim.scenario import available_scenarios, load_scenario
from hebb_sim.world import World

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


def test_no_kind_is_missing_here():
    assert {word.split(":")[1] for text in ALL for word in text.split(",")} == set(TABLE)


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
