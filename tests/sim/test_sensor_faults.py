"""Failing sensors: what is read, beside what is so."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from swinging import bits
from worlds import SEED, damage

from hebb_controller.controller import controller_for
from hebb_controller.rotation import yaw
from hebb_sim.condition import Condition
from hebb_sim.damage import damaged_joints, parse_damages
from hebb_sim.episode import run_episode
from hebb_sim.sensors import VELOCITY_NOISE


def readings(world, command, wiggle, text, *, ticks=100, onset=10):
    """Return (reading, truth) of every tick from the onset on, the first with the fault included."""
    world.reset(np.random.default_rng(SEED))
    pairs = []
    for tick in range(ticks):
        if tick == onset:
            damage(world, text)
        reading = world.step(command(wiggle(tick)))
        pairs.append((reading, world.truth))
    return pairs[onset - 1], pairs[onset:]


@pytest.mark.parametrize("text", ["FR:constant", "FR_lower_joint:constant", "imu:constant"])
def test_a_constant_sensor_repeats_what_it_read_last(world, command, wiggle, text, a1):
    (last, _), pairs = readings(world, command, wiggle, text)
    (fault,) = parse_damages(text, a1)
    joints = list(damaged_joints(fault, a1))
    others = [i for i in range(12) if i not in joints]
    for reading, truth in pairs:
        assert (reading.joint_position[joints] == last.joint_position[joints]).all()
        assert (reading.joint_velocity[joints] == last.joint_velocity[joints]).all()
        assert (reading.joint_position[others] == truth.joint_position[others]).all()
        imu = last if text.startswith("imu") else truth
        assert (reading.orientation == imu.orientation).all()
        assert (reading.angular_velocity_base == imu.angular_velocity_base).all()


def test_noise_has_the_standard_deviation_that_was_asked_for(world, command, wiggle):
    _, pairs = readings(world, command, wiggle, "sensors:noise:0.02", ticks=300)
    angle = np.concatenate([r.joint_position - t.joint_position for r, t in pairs])
    rate = np.concatenate([r.joint_velocity - t.joint_velocity for r, t in pairs])
    spin = np.concatenate([r.angular_velocity_base - t.angular_velocity_base for r, t in pairs])
    turn = np.concatenate(
        [
            (
                Rotation.from_quat(t.orientation).inv() * Rotation.from_quat(r.orientation)
            ).as_rotvec()
            for r, t in pairs
        ]
    )
    for draws, sigma in (
        (angle, 0.02),
        (turn, 0.02),
        (rate, 0.02 * VELOCITY_NOISE),
        (spin, 0.02 * VELOCITY_NOISE),
    ):
        # The deviation of n draws is off by σ/√(2n), their mean by σ/√n; five of those.
        n = len(draws)
        assert draws.std() == pytest.approx(sigma, abs=5 * sigma / math.sqrt(2 * n))
        assert abs(draws.mean()) < 5 * sigma / math.sqrt(n)
    assert all(abs(np.linalg.norm(r.orientation) - 1.0) < 1e-9 for r, _ in pairs)


def test_noise_is_drawn_from_the_seed_of_the_episode(world, command):
    found = []
    for seed in (1, 1, 2):
        world.reset(np.random.default_rng(seed))
        damage(world, "FR:noise:0.1")
        found.append((world.step(command()).joint_position - world.truth.joint_position).tobytes())
    assert found[0] == found[1] != found[2]


def test_a_biased_encoder_is_off_by_as_much(world, command, wiggle):
    _, pairs = readings(world, command, wiggle, "FR_upper_joint:bias:-0.2")
    for reading, truth in pairs:
        off = reading.joint_position - truth.joint_position
        assert off[1] == pytest.approx(-0.2, abs=1e-12)
        assert not np.delete(off, 1).any()
        assert (reading.joint_velocity == truth.joint_velocity).all()


def test_a_biased_imu_sees_the_nose_further_down(world, command, wiggle):
    _, pairs = readings(world, command, wiggle, "imu:bias:0.1")
    for reading, truth in pairs:
        turn = Rotation.from_quat(truth.orientation).inv() * Rotation.from_quat(reading.orientation)
        assert turn.as_rotvec() == pytest.approx([0.0, 0.1, 0.0], abs=1e-9)
        assert reading.joint_position is not None


def test_a_dropout_repeats_the_last_good_reading(world, command, wiggle):
    (last, _), pairs = readings(world, command, wiggle, "FR:dropout:0.7", ticks=400)
    kept, lost = last.joint_position[:3], 0
    for reading, truth in pairs:
        found, true = reading.joint_position[:3], truth.joint_position[:3]
        good = (found == true).all()
        assert good or (found == kept).all()
        kept, lost = found, lost + (not good)
        assert (reading.joint_position[3:] == truth.joint_position[3:]).all()
    # The part that is lost is off by √(p(1−p)/n); five of those.
    n = len(pairs)
    assert lost / n == pytest.approx(0.7, abs=5 * math.sqrt(0.7 * 0.3 / n))


def test_latency_delivers_what_was_true_so_many_ticks_ago(world, command, wiggle):
    _, pairs = readings(world, command, wiggle, "sensors:latency:3")
    for i in range(3, len(pairs)):
        reading, old = pairs[i][0], pairs[i - 3][1]
        assert bits(reading) == bits(old)
        assert reading.stamp == reading.received == pairs[i][1].stamp
    for reading, _ in pairs[:3]:
        assert bits(reading) == bits(pairs[0][1])


def test_what_is_late_stays_as_late_when_something_else_happens(world, command, wiggle):
    world.reset(np.random.default_rng(SEED))
    truths = []
    for tick in range(40):
        if tick == 10:
            damage(world, "sensors:latency:3")
        if tick == 20:
            damage(world, "trunk:payload:2,sensors:latency:3")
        reading = world.step(command(wiggle(tick)))
        truths.append(world.truth)
        if tick >= 13:
            assert bits(reading) == bits(truths[-4])


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ("FR_hip_joint:bias:0.2", "FR_hip_joint:bias:0.1,FR_hip_joint:bias:0.1"),
        ("imu:bias:0.2", "imu:bias:0.1,imu:bias:0.1"),
        ("sensors:latency:4", "sensors:latency:2,sensors:latency:2"),
        ("none", "FR_hip_joint:reversed,FR_hip_joint:reversed"),
        ("none", "FR:reversed,FR:reversed"),
        ("trunk:push:60", "trunk:push:30,trunk:push:30"),
    ],
)
def test_what_is_listed_twice_counts_twice(*, world, command, wiggle, once, twice):
    _, one = readings(world, command, wiggle, once, ticks=40)
    _, other = readings(world, command, wiggle, twice, ticks=40)
    for (read, truth), (as_read, as_true) in zip(one, other, strict=True):
        assert as_true.joint_position == pytest.approx(truth.joint_position, abs=1e-12)
        assert as_read.joint_position == pytest.approx(read.joint_position, abs=1e-12)
        assert as_read.joint_velocity == pytest.approx(read.joint_velocity, abs=1e-12)
        assert as_read.orientation == pytest.approx(read.orientation, abs=1e-12)


def test_equal_faults_draw_for_themselves(world, command):
    world.reset(np.random.default_rng(SEED))
    found = []
    for text in ("motors:limp", "sensors:noise:0.02", "sensors:noise:0.02,sensors:noise:0.02"):
        damage(world, text)
        off = [world.step(command()).joint_position - world.truth.joint_position for _ in range(60)]
        found.append(np.std(off))
    # Of two independent draws σ is √2 as large; that of 720 draws is off by σ/√1440, five of those.
    assert found == pytest.approx([0.0, 0.02, 0.02 * math.sqrt(2.0)], rel=5 / math.sqrt(1440))


def test_background_is_in_force_in_the_first_reading(a1, a1_rule, world, monkeypatch):
    controller = controller_for(a1_rule, a1)
    seen, step = [], controller.step
    monkeypatch.setattr(
        controller, "step", lambda reading, now: seen.append(reading) or step(reading, now)
    )
    text = "FR_hip_joint:bias:0.25"
    run_episode(controller, world, Condition(0.1, background=parse_damages(text, a1)), SEED)
    first = world.reset(np.random.default_rng((SEED, 0)))
    off = seen[0].joint_position - first.joint_position
    assert off == pytest.approx([0.25] + [0.0] * 11, abs=1e-12)


def test_a_record_tells_what_happened_not_what_was_read(a1, a1_rule, world):
    """A robot that is told nonsense about its heading is recorded where it looks."""
    controller = controller_for(a1_rule, a1)
    blind = Condition(0.6, background=parse_damages("imu:constant", a1))
    record = run_episode(controller, world, blind, SEED)
    start = yaw(world.reset(np.random.default_rng((SEED, 0))).orientation)
    again = run_episode(controller, world, blind, SEED)
    assert record.heading.tobytes() == again.heading.tobytes()
    assert record.heading[-1] == pytest.approx(yaw(world.truth.orientation) - start, abs=1e-9)
    assert abs(record.heading[-1]) > 1e-3
    assert not record.damaged.any()  # background is no damage
