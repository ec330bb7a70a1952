"""The simulated robot stands, senses truly, is damaged and healed, and forgets all of it."""

import math

import numpy as np
import pybullet
import pytest
from scipy.spatial.transform import Rotation

from hebb_controller.errors import DamageError
from hebb_controller.safety import Safety
from hebb_controller.signals import Command, Mode
from hebb_sim.damage import Damage, damaged_joints, parse_damages
from hebb_sim.world import POSE_NOISE, World


def bits(reading):
    return (
        reading.stamp,
        reading.joint_position.tobytes(),
        reading.joint_velocity.tobytes(),
        reading.orientation.tobytes(),
        reading.angular_velocity_base.tobytes(),
    )


def run(world, command, targets, ticks, *, seed=0, damages=None):
    """Return every reading of a run, as bits; ``damages`` are put in force at given ticks."""
    readings = [bits(world.reset(np.random.default_rng(seed)))]
    for tick in range(ticks):
        if damages and tick in damages:
            world.damage(parse_damages(damages[tick], world.robot))
        readings.append(bits(world.step(command(targets(tick)))))
    return readings


def test_the_stand_stays_up_for_ten_seconds_and_comes_to_rest(world, command, a1):
    world.reset(np.random.default_rng(0))
    heights = []
    for _ in range(500):
        reading = world.step(command())
        heights.append(world.base().position[2])
    # Crouched: thigh and shank of 0.2 m at 0.9 rad to the vertical put the hips 0.249 m above the
    # foot's centre (radius 0.02 m); under 12 kg the knees give way by a few centimetres.
    assert 0.22 < heights[-1] < 0.26
    assert min(heights) > 0.2
    assert np.ptp(heights[-250:]) < 1e-3
    assert np.abs(reading.joint_velocity).max() < 0.01
    assert not Safety(a1, period=0.02).check(reading, reading.received).tripped
    # At rest a joint is off its target by torque/kp, and the torque is within its limit.
    assert (np.abs(reading.joint_position - a1.default) < a1.torque / a1.kp).all()


def test_the_ground_has_no_end_and_the_next_episode_does_not_remember_it(
    world, command, a1, wiggle
):
    near = run(world, command, wiggle, 25)
    for far in ((150.0, -130.0), (1000.0, 0.0)):
        world.reset(np.random.default_rng(0))
        world.show((*far, a1.simulation.start_height), (0.0, 0.0, 0.0, 1.0), a1.default)
        for _ in range(100):
            world.step(command())
        x, y, z = world.base().position
        assert 0.22 < z < 0.26  # as after two seconds where episodes begin
        assert math.dist((x, y), far) < 0.1
    assert run(world, command, wiggle, 25) == near


def test_an_episode_starts_near_the_default_pose_in_any_heading(world, a1):
    poses, turns = [], []
    for seed in range(20):
        reading = world.reset(np.random.default_rng(seed))
        assert reading.stamp == 0.0
        poses.append(reading.joint_position - a1.default)
        turns.append(Rotation.from_quat(reading.orientation).as_euler("ZYX"))
        assert not reading.joint_velocity.any()
        assert not reading.angular_velocity_base.any()
    assert np.abs(poses).max() <= POSE_NOISE + 1e-12
    assert np.abs(poses).max() > 0.9 * POSE_NOISE  # of 240 draws
    turns = np.array(turns)
    assert np.abs(turns[:, 1:]).max() < 1e-9  # upright
    assert turns[:, 0].max() > 1.5
    assert turns[:, 0].min() < -1.5


def test_time_goes_by_the_tick(world, command):
    world.reset(np.random.default_rng(0))
    stamps = [world.step(command()).stamp for _ in range(3)]
    assert stamps == pytest.approx([0.02, 0.04, 0.06], abs=1e-12)


def test_the_same_seed_gives_the_same_bits_in_one_world_and_in_two(world, command, wiggle, a1):
    first = run(world, command, wiggle, 100)
    assert run(world, command, wiggle, 100) == first
    assert run(world, command, wiggle, 100, seed=1) != first
    other = World(a1)
    assert run(other, command, wiggle, 100) == first
    other.close()


def test_two_worlds_in_one_process_do_not_touch_each_other(world, command, wiggle, a1):
    alone = run(world, command, wiggle, 50)
    other = World(a1)
    other.reset(np.random.default_rng(9))
    other.damage(parse_damages("FL:locked", a1))
    together = [bits(world.reset(np.random.default_rng(0)))]
    for tick in range(50):
        other.step(command(wiggle(tick + 7)))
        together.append(bits(world.step(command(wiggle(tick)))))
    other.close()
    assert together == alone


# --- what the sensors say ---


def in_the_air(world, rotation, spin):
    """Put the robot 2 m above the ground, spinning; return its body and client."""
    body, client = world._body, world._client
    pybullet.resetBasePositionAndOrientation(
        body, [0, 0, 2], rotation.as_quat(), physicsClientId=client
    )
    pybullet.resetBaseVelocity(body, [0, 0, 0], spin, physicsClientId=client)


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (1.2, -0.7, 2.0), (0.0, 1.5, -1.0)])
def test_angular_velocity_is_in_the_frame_of_the_body(a1, command, turn):
    # A tick of 80 µs: over it the spin changes by so little that a difference of two orientations
    # is its derivative.
    world = World(a1, tick_period=8e-5)
    world.reset(np.random.default_rng(0))
    rotation = Rotation.from_euler("ZYX", turn)
    spin = np.array([0.5, -1.0, 2.0])  # in the world
    in_the_air(world, rotation, spin)
    before = world.step(command(mode=Mode.OFF))
    after = world.step(command(mode=Mode.OFF))
    world.close()
    one, two = (Rotation.from_quat(r.orientation) for r in (before, after))
    difference = (one.inv() * two).as_rotvec() / 8e-5
    # The mean over the tick lies between its ends up to terms of second order; orientations come as
    # doubles, so 1e-15/8e-5 of rounding.
    drift = np.linalg.norm(after.angular_velocity_base - before.angular_velocity_base)
    assert drift < 0.01
    assert np.linalg.norm(difference - after.angular_velocity_base) <= drift + 1e-4
    # and against the world's frame, by scipy
    assert before.angular_velocity_base == pytest.approx(rotation.inv().apply(spin), abs=0.01)


def test_joint_velocity_is_the_derivative_of_joint_position(a1, command):
    world = World(a1, tick_period=8e-5)
    world.reset(np.random.default_rng(0))
    in_the_air(world, Rotation.identity(), [0, 0, 0])
    for _ in range(50):
        before = world.step(command(a1.default + 0.2))
    after = world.step(command(a1.default + 0.2))
    world.close()
    difference = (after.joint_position - before.joint_position) / 8e-5
    drift = np.abs(after.joint_velocity - before.joint_velocity)
    assert np.abs(after.joint_velocity).min() > 0.01  # all of them move
    assert (np.abs(difference - after.joint_velocity) <= drift + 1e-6).all()


def test_the_base_moves_as_its_velocity_says(world, command, wiggle):
    world.reset(np.random.default_rng(0))
    for tick in range(30):
        world.step(command(wiggle(tick)))
    before = world.base()
    world.step(command(wiggle(30)))
    after = world.base()
    mean = (after.position - before.position) / 0.02
    # The mean velocity of a tick lies within what it did over the tick, four substeps of at most
    # the same change again.
    change = np.linalg.norm(after.linear_velocity - before.linear_velocity)
    assert np.linalg.norm(mean - after.linear_velocity) <= 4 * change + 1e-9


# --- modes ---


def heights(world, command, mode, ticks=100):
    world.reset(np.random.default_rng(0))
    for _ in range(50):
        world.step(command())
    found = [world.base().position[2]]
    for _ in range(ticks):
        world.step(command(mode=mode))
        found.append(world.base().position[2])
    return np.array(found)


def test_a_damped_robot_sinks_and_one_without_torque_drops_faster(world, command):
    damp, off = heights(world, command, Mode.DAMP), heights(world, command, Mode.OFF)
    assert damp[0] == off[0] > 0.22
    assert damp[-1] < 0.13  # it lies
    assert off[-1] < 0.13
    fell = [int(np.argmax(path < 0.15)) for path in (damp, off)]
    assert fell[0] > fell[1] > 0
    # A free fall of 9 cm takes 0.14 s.
    assert fell[0] * 0.02 > math.sqrt(2 * (damp[0] - 0.15) / 9.81)


def test_off_gives_no_torque_whatever_the_targets(world, command, a1):
    runs = []
    for target in (a1.lower, a1.upper):
        world.reset(np.random.default_rng(0))
        runs.append([bits(world.step(command(target, Mode.OFF))) for _ in range(20)])
        assert world.power == 0.0
    assert runs[0] == runs[1]


@pytest.mark.parametrize("text", ["motors:limp", "motors:folded", "motors:locked", "motors:weak:0"])
def test_motors_that_give_nothing_need_no_power_however_the_joints_move(
    world, command, wiggle, a1, text
):
    world.reset(np.random.default_rng(0))
    for tick in range(10):
        world.step(command(wiggle(tick)))
    world.damage(parse_damages(text, a1))
    fastest = 0.0
    for tick in range(10, 20):
        reading = world.step(command(wiggle(tick)))
        fastest = max(fastest, np.abs(reading.joint_velocity).max())
        assert world.power == 0.0
    assert fastest > 0.1


def test_stops_need_no_power(world, command, a1):
    bent = a1.default + np.tile([0.0, 0.3, 0.0], 4)
    world.reset(np.random.default_rng(0))
    for _ in range(25):
        world.step(command(bent))
    world.damage(parse_damages("motors:narrowed:0", a1))
    before = world.truth.joint_position
    for _ in range(10):
        reading = world.step(command(mode=Mode.OFF))
        assert world.power == 0.0
    assert np.abs(reading.joint_position - before).max() > 0.1  # they do push


# --- damage ---


def differing_in(wiggle, joints, amount=0.3):
    def targets(tick):
        wanted = wiggle(tick).copy()
        wanted[list(joints)] += amount
        return wanted

    return targets


@pytest.mark.parametrize("text", ["FR:limp", "FR:weak:0", "RL_upper_joint:limp", "FR:locked"])
def test_commands_to_a_dead_joint_do_nothing_bit_for_bit(world, command, wiggle, a1, text):
    (damage,) = parse_damages(text, a1)
    other = differing_in(wiggle, damaged_joints(damage, a1))
    damaged = {0: text}
    assert run(world, command, wiggle, 60, damages=damaged) == run(
        world, command, other, 60, damages=damaged
    )
    assert run(world, command, wiggle, 60) != run(world, command, other, 60)


def test_a_weak_leg_gives_way_under_the_robot(world, command, a1):
    """At rest the spring of a weak knee is stretched further, or holds no longer."""
    sag = {}
    for text in ("none", "FR:weak:0.5", "FR:weak:0.25"):
        world.reset(np.random.default_rng(0))
        world.damage(parse_damages(text, a1))
        for _ in range(150):
            reading = world.step(command())
        sag[text] = abs(float(reading.joint_position[2] - a1.default[2]))
    assert sag["none"] < sag["FR:weak:0.5"] < sag["FR:weak:0.25"]


@pytest.mark.parametrize("text", ["FR:locked", "FR_lower_joint:locked", "RL_upper_joint:locked"])
def test_a_locked_joint_keeps_its_angle_while_the_others_move(world, command, wiggle, a1, text):
    reading = world.reset(np.random.default_rng(0))
    for _ in range(25):
        reading = world.step(command())
    (damage,) = parse_damages(text, a1)
    world.damage((damage,))
    joints = list(damaged_joints(damage, a1))
    others = [i for i in range(12) if i not in joints]
    start = reading.joint_position
    moved = np.zeros(12)
    for tick in range(200):
        reading = world.step(command(differing_in(wiggle, joints, 2.0)(tick)))
        moved = np.maximum(moved, np.abs(reading.joint_position - start))
    # 1 mm at the end of a shank of 0.2 m: nothing that a walk could feel.
    assert moved[joints].max() < 0.001 / 0.2
    assert moved[others].min() > 0.05


def test_a_joint_is_locked_where_it_is_at_that_moment(world, command, wiggle, a1):
    world.reset(np.random.default_rng(0))
    for tick in range(13):
        reading = world.step(command(wiggle(tick)))
    world.damage(parse_damages("FL_upper_joint:locked", a1))
    held, speed = reading.joint_position[4], abs(reading.joint_velocity[4])
    assert abs(held - a1.default[4]) > 0.05
    for tick in range(50):
        reading = world.step(command(wiggle(tick)))
    # It was moving: it stops within a substep, 5 ms, and stays within a millimetre at the foot.
    assert abs(reading.joint_position[4] - held) < speed * 0.005 + 0.001 / 0.2


@pytest.mark.parametrize("text", ["FR:limp", "FR:weak:0.1", "FR:locked", "FR_lower_joint:locked"])
def test_a_healed_robot_obeys_again(world, command, a1, text):
    world.reset(np.random.default_rng(0))
    for _ in range(25):
        world.step(command())
    world.damage(parse_damages(text, a1))
    assert [str(damage) for damage in world.damages] == [text]
    raised = a1.default + np.tile([0.0, 0.2, -0.2], 4)  # every leg shorter by the same
    for _ in range(50):
        hurt = world.step(command(raised))
    world.damage(())
    assert world.damages == ()
    for _ in range(150):
        healed = world.step(command(raised))
    # Healthy, a joint is off its target by no more than torque/kp, here by the weight of the robot:
    # the same for the leg that was damaged as for its neighbour across.
    off = np.abs(healed.joint_position - raised)
    assert np.abs(off[:3] - off[3:6]).max() < 0.03
    assert np.abs(hurt.joint_position - raised)[:3].max() > 0.1


@pytest.mark.parametrize("text", ["FR:limp", "RL:weak:0.2", "FL:locked", "RR_lower_joint:locked"])
def test_a_reset_heals_bit_for_bit(command, wiggle, a1, text):
    never, once = World(a1), World(a1)
    run(once, command, wiggle, 60, seed=5, damages={10: text})  # not taken back
    assert run(once, command, wiggle, 60) == run(never, command, wiggle, 60)
    run(once, command, wiggle, 60, seed=5, damages={10: text, 40: "none"})
    assert run(once, command, wiggle, 60) == run(never, command, wiggle, 60)
    never.close()
    once.close()


def test_a_damage_the_robot_cannot_have_changes_nothing(world, command, wiggle, a1):
    expected = run(world, command, wiggle, 30, damages={0: "FL:locked"})
    world.reset(np.random.default_rng(0))
    world.damage(parse_damages("FL:locked", a1))
    with pytest.raises(DamageError):
        world.damage((Damage("RR", "limp"), Damage("XX", "limp")))
    assert [str(damage) for damage in world.damages] == ["FL:locked"]
    found = [bits(world.step(command(wiggle(tick)))) for tick in range(30)]
    assert found == expected[1:]


# --- pictures ---


def test_the_camera_sees_the_robot(a1, command):
    world = World(a1, visual=True)
    world.reset(np.random.default_rng(0))
    for _ in range(5):
        world.step(command())
    frame = world.camera(width=96, height=64)
    assert frame.shape == (64, 96, 3)
    assert frame.dtype == np.uint8
    # Not blank: sky, floor tiles and a dark robot in the middle.
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 50
    assert frame.std() > 10
    in_the_air(world, Rotation.identity(), [0, 0, 0])
    without = world.camera(width=96, height=64)
    assert (frame != without).any(axis=2).mean() > 0.02  # the robot is gone upwards
    world.close()


def test_pictures_do_not_change_the_physics(a1, command, wiggle, world):
    expected = run(world, command, wiggle, 20)
    seeing = World(a1, visual=True)
    found = [bits(seeing.reset(np.random.default_rng(0)))]
    for tick in range(20):
        seeing.camera(width=32, height=32)
        found.append(bits(seeing.step(command(wiggle(tick)))))
    seeing.close()
    assert found == expected


def test_a_longer_tick_has_the_same_physics(a1):
    command = Command(Mode.POSITION, a1.default, a1.kp, a1.kd)
    one, two = World(a1, tick_period=0.04), World(a1, tick_period=0.02)
    for world in (one, two):
        world.reset(np.random.default_rng(0))
    for _ in range(10):
        slow = one.step(command)
        two.step(command)
        fast = two.step(command)
        assert slow.joint_position.tobytes() == fast.joint_position.tobytes()
        assert slow.orientation.tobytes() == fast.orientation.tobytes()
    one.close()
    two.close()
