"""Observations: geometry against rotation matrices, the vector against the table of channels."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toys import toy_reading

from hebb_controller.errors import ContractError
from hebb_controller.observation import (
    CHANNELS,
    Channel,
    Observer,
    channel_slices,
    observation_size,
)


def test_slices_follow_the_list_in_its_order():
    channels = [Channel(name, 1.0, 1.0) for name in ("clock", "joint_velocity", "gravity")]
    assert channel_slices(channels, 12) == {
        "clock": slice(0, 2),
        "joint_velocity": slice(2, 14),
        "gravity": slice(14, 17),
    }
    assert observation_size(channels, 12) == 17
    assert observation_size([], 12) == 0


def test_every_channel_has_the_size_of_what_it_yields(robot):
    for name, kind in CHANNELS.items():
        observer = Observer([Channel(name, 1.0, 10.0)], robot)
        observation = observer.observe(toy_reading(robot), robot.default)
        assert observation.shape == (kind.size(robot.n_joints),)
        assert observation.dtype == np.float32


def value_of(robot, name, *, scale=1.0, clip=100.0, last=None, **fields):
    observer = Observer([Channel(name, scale, clip)], robot)
    observer.observe(toy_reading(robot), robot.default)  # time zero, heading zero
    position = robot.default if last is None else np.array(last)
    return observer.observe(toy_reading(robot, **fields), position).tolist()


def test_every_channel_by_hand(robot):
    turned = Rotation.from_euler("z", 0.5).as_quat()
    half = math.sqrt(0.5)
    as_float32 = {
        "gravity": ({"orientation": np.array([0, half, 0, half])}, [1.0, 0.0, 0.0]),
        "angular_velocity": ({"angular_velocity_base": (1.0, -2.0, 3.0)}, [1.0, -2.0, 3.0]),
        "heading": ({"orientation": turned}, [math.sin(0.5), math.cos(0.5)]),
        # the default pose is (0.25, 0)
        "joint_position": ({"joint_position": (1.0, -0.5)}, [0.75, -0.5]),
        "joint_velocity": ({"joint_velocity": (3.0, -4.0)}, [3.0, -4.0]),
        "tracking_error": ({"joint_position": (1.0, -0.5), "last": (0.5, 0.5)}, [-0.5, 1.0]),
        # 2 Hz, so after 1/16 s an eighth of a turn
        "clock": ({"stamp": 0.0625}, [half, half]),
        "velocity_command": ({"velocity_command": (0.5, -0.25, 2.0)}, [0.5, -0.25, 2.0]),
    }
    assert as_float32.keys() == CHANNELS.keys()
    for name, (fields, expected) in as_float32.items():
        assert value_of(robot, name, **fields) == pytest.approx(expected, abs=2**-23), name


def test_estimated_velocities_come_from_positions_and_begin_anew_with_every_run(robot):
    """(1 − e^−1) of the difference: a cutoff of 1/(2π · 0.125 s) Hz, a step of 0.125 s."""
    robot = replace(robot, velocity_cutoff=4.0 / math.pi)
    observer = Observer([Channel("joint_velocity", 1.0, 100.0)], robot)
    lies = (math.nan, 1e300)  # what a driver may publish that measures none
    followed = 1.0 - math.exp(-1.0)

    def observe(stamp, *position):
        reading = toy_reading(robot, stamp, joint_position=position, joint_velocity=lies)
        return observer.observe(reading, robot.default).tolist()

    for _ in range(2):
        assert observe(1.0, 0.5, -0.5) == [0.0, 0.0]
        expected = [2.0 * followed, -4.0 * followed]  # 0.25 rad and −0.5 rad in 0.125 s
        assert observe(1.125, 0.75, -1.0) == pytest.approx(expected, rel=2**-23)
        observer.reset()


def test_values_are_scaled_then_clipped(robot):
    velocity = (0.5, -8.0)
    assert value_of(robot, "joint_velocity", joint_velocity=velocity) == [0.5, -8.0]
    found = value_of(robot, "joint_velocity", scale=0.5, clip=3.0, joint_velocity=velocity)
    assert found == [0.25, -3.0]
    found = value_of(robot, "joint_velocity", scale=4.0, clip=1.0, joint_velocity=velocity)
    assert found == [1.0, -1.0]


def test_the_largest_numbers_are_clipped_too(robot):
    found = value_of(robot, "joint_velocity", scale=4.0, clip=5.0, joint_velocity=(1e308, -1e308))
    assert found == [5.0, -5.0]


def test_heading_and_time_count_from_the_first_reading_of_a_run(robot):
    channels = [Channel("heading", 1.0, 1.0), Channel("clock", 1.0, 1.0)]
    observer = Observer(channels, robot)

    def observe(turn, stamp):
        orientation = Rotation.from_euler("z", turn).as_quat()
        reading = toy_reading(robot, stamp, orientation=orientation)
        return observer.observe(reading, robot.default)

    start = [0.0, 1.0, 0.0, 1.0]
    assert observe(2.0, 100.0) == pytest.approx(start, abs=2**-23)
    assert observe(2.5, 100.125) == pytest.approx(
        [math.sin(0.5), math.cos(0.5), 1.0, 0.0], abs=2**-23
    )
    # across the seam of the angle: 2.0 → −2.5 is a turn of 2π − 4.5 to the left
    assert observe(-2.5, 100.25) == pytest.approx(
        [math.sin(-4.5), math.cos(-4.5), 0.0, -1.0], abs=2**-23
    )
    observer.reset()
    assert observe(-2.5, 7.0) == pytest.approx(start, abs=2**-23)


def test_observations_are_the_callers_own_and_readings_are_left_alone(robot):
    observer = Observer([Channel("joint_velocity", 2.0, 9.0)], robot)
    reading = toy_reading(robot, joint_velocity=(1.0, 2.0))
    first = observer.observe(reading, robot.default)
    observer.observe(toy_reading(robot), robot.default)
    assert first.tolist() == [2.0, 4.0]
    assert reading.joint_velocity.tolist() == [1.0, 2.0]


def test_an_unknown_channel_is_refused_with_the_known_ones(robot):
    with pytest.raises(ContractError, match=r"'smell' is unknown\. Known: gravity, .*clock"):
        Observer([Channel("smell", 1.0, 1.0)], robot)


def test_a_channel_listed_twice_is_refused(robot):
    with pytest.raises(ContractError, match="'clock' is listed twice"):
        Observer([Channel("clock", 1.0, 1.0), Channel("clock", 2.0, 1.0)], robot)
