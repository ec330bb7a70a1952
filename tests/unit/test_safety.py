"""What stands between the network and the motors, stage by stage.

The toy robot's first joint: range −1 … 1.5, at most 0.25 rad a tick, at most 0.5 rad from where the
joint is; its second: ±4, 0.5 and 2. All sums are exact.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toys import PERIOD, toy_reading, toy_robot

from hebb_controller.errors import ShapeError
from hebb_controller.safety import Safety, damp_command
from hebb_controller.signals import TRIPS, Limit, LimitReport, Mode

ARRAYS = (
    *("joint_position", "joint_velocity", "orientation", "angular_velocity_base"),
    "velocity_command",
)


@pytest.fixture
def safety(robot):
    return Safety(robot, period=PERIOD)


def tilted(angle, axis="x"):
    return Rotation.from_euler(axis, angle).as_quat()


def test_a_reading_that_is_finite_fresh_and_upright_passes(robot, safety):
    report = safety.check(toy_reading(robot), 0.0)
    assert report == LimitReport(Limit.NONE, "")
    assert not report.tripped


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ARRAYS)
def test_one_value_that_is_not_finite_in_any_place_trips(robot, safety, field, value):
    for place in range(len(getattr(toy_reading(robot), field))):
        reading = toy_reading(robot)
        getattr(reading, field)[place] = value
        report = safety.check(reading, 0.0)
        joint = f" of {robot.joint_names[place]}" if field.startswith("joint") else ""
        detail = f"a sensor value is not finite: {field}{joint}"
        assert report == LimitReport(Limit.FINITE, detail)
        assert report.tripped


@pytest.mark.parametrize("field", ARRAYS)
def test_a_reading_of_another_shape_is_refused_with_both_shapes(robot, safety, field):
    longer = np.append(getattr(toy_reading(robot), field), 0.0)
    with pytest.raises(
        ShapeError, match=rf"robot 'toy' must have shapes .*, found .*\({len(longer)},\)"
    ):
        safety.check(toy_reading(robot, **{field: longer}), 0.0)


@pytest.mark.parametrize("stamp", [math.nan, math.inf, -math.inf, 1e300])
def test_a_stamp_that_is_no_time_trips(robot, safety, stamp):
    assert "the stamp" in safety.check(toy_reading(robot, stamp, received=0.0), 0.0).detail
    assert safety.check(toy_reading(robot, stamp, received=0.0), 0.0).acted is Limit.FINITE


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_stamp_of_30000_years_is_the_last_that_passes(robot, safety, sign):
    last, next_one = sign * 1e12, sign * math.nextafter(1e12, math.inf)
    assert not safety.check(toy_reading(robot, last, received=0.0), 0.0).tripped
    assert safety.check(toy_reading(robot, next_one, received=0.0), 0.0).acted is Limit.FINITE


def test_infinities_that_cancel_do_not_pass(robot, safety):
    reading = toy_reading(robot, joint_velocity=(math.inf, -math.inf))
    assert safety.check(reading, 0.0).acted is Limit.FINITE


@pytest.mark.parametrize("orientation", [(0.0,) * 4, (0.0, 0.0, 0.0, 0.9), (1.0, 0.0, 0.0, 1.0)])
def test_an_orientation_that_is_no_unit_quaternion_trips(robot, safety, orientation):
    report = safety.check(toy_reading(robot, orientation=orientation), 0.0)
    assert report.acted is Limit.FINITE
    assert "norm" in report.detail


def test_a_norm_that_is_off_by_2_percent_is_the_last_that_passes(robot, safety):
    for z, w, squared, beyond in (
        (0.015625, 0.9898261763436043, 0.98, 0.0),
        (0.015625, 1.0098296189828262, 1.02, 9.0),
    ):
        assert z * z + w * w == squared
        assert not safety.check(toy_reading(robot, orientation=(0.0, 0.0, z, w)), 0.0).tripped
        w = math.nextafter(math.nextafter(w, beyond), beyond)  # noqa: PLW2901
        report = safety.check(toy_reading(robot, orientation=(0.0, 0.0, z, w)), 0.0)
        assert report == LimitReport(Limit.FINITE, f"the orientation has norm² {squared}, not 1")


def test_a_quaternion_so_large_that_its_norm_overflows_trips(robot, safety):
    report = safety.check(toy_reading(robot, orientation=(1e200,) * 4), 0.0)
    assert report.acted is Limit.FINITE


@pytest.mark.parametrize(
    ("received", "now", "stale"),
    [
        (10.0, 10.0, False),
        (10.0, 10.25, False),  # the limit itself, 0.25 s
        (10.0, 10.26, True),
        (0.0, -1e-9, False),  # rounding of a clock
        (0.0, -1.05e-9, True),
        (10.0, 9.9, True),  # from the future: two clocks were mixed up
        (math.nan, 10.0, True),
        (10.0, math.nan, True),
        (math.inf, 10.0, True),
        (-math.inf, 10.0, True),
    ],
)
def test_a_reading_older_than_the_limit_is_stale(robot, safety, received, now, stale):
    report = safety.check(toy_reading(robot, received=received), now)
    assert (report.acted is Limit.STALE) == stale
    assert report.tripped == stale


def test_a_stale_reading_tells_its_age_and_the_limit(robot, safety):
    report = safety.check(toy_reading(robot, received=10.0), 10.26)
    assert report.detail == "the reading is 260 ms old (limit 250 ms)"


def test_age_is_judged_by_the_receivers_clock_not_by_the_stamp(robot, safety):
    assert not safety.check(toy_reading(robot, 5e8, received=3.0), 3.1).tripped


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(
    ("angle", "trips"), [(0.99, False), (1.01, True), (-1.01, True), (3, True)]
)
def test_a_body_tilted_beyond_the_limit_of_1_rad_trips(robot, safety, axis, angle, trips):
    turned = Rotation.from_euler("z", 0.7) * Rotation.from_euler(axis, angle)
    report = safety.check(toy_reading(robot, orientation=turned.as_quat()), 0.0)
    assert (report.acted is Limit.TILT) == trips
    assert report.tripped == trips


UPSIDE_DOWN = (math.sqrt(1.019), 0.0, 0.0, 0.0)  # and as far from 1 as a norm may be


def test_what_is_no_rotation_says_nothing_about_the_tilt(safety):
    assert safety.check_tilt(np.array(UPSIDE_DOWN)).acted is Limit.TILT
    assert not safety.check_tilt(2.0 * np.array(UPSIDE_DOWN)).tripped
    assert not safety.check_tilt(np.full(4, np.nan)).tripped


@pytest.mark.parametrize(
    ("orientation", "max_tilt", "detail"),
    [
        ((0.0, 0.0, 0.0, 1.0), 1e-9, ""),  # cos(1e-9) is 1: the limit itself passes
        (tilted(0.3), 0.25, "the body is tilted by 0.30 rad (limit 0.25)"),
        (tilted(1.5), 1.0, "the body is tilted by 1.50 rad (limit 1.00)"),
        (UPSIDE_DOWN, 1.0, "the body is tilted by 3.14 rad (limit 1.00)"),
    ],
)
def test_a_tilted_body_tells_its_angle_and_the_limit(robot, orientation, max_tilt, detail):
    careful = replace(robot, safety=replace(robot.safety, max_tilt=max_tilt))
    reading = toy_reading(careful, orientation=np.array(orientation))
    assert Safety(careful, period=PERIOD).check(reading, 0.0).detail == detail


def test_turning_about_the_vertical_is_no_tilt(robot, safety):
    for angle in np.linspace(-3.1, 3.1, 9):
        assert not safety.check(toy_reading(robot, orientation=tilted(angle, "z")), 0.0).tripped


def test_stages_are_tested_in_their_order(robot, safety):
    lying = toy_reading(robot, orientation=tilted(2.0))
    broken = replace(lying, joint_velocity=np.array([math.nan, 0.0]))
    assert safety.check(broken, 99.0).acted is Limit.FINITE
    assert safety.check(lying, 99.0).acted is Limit.STALE
    assert safety.check(lying, 0.0).acted is Limit.TILT


# target, last command, measured -> command, stages that acted; for the first joint
BOUNDS = {
    "within everything": (0.5, 0.5, 0.5, 0.5, Limit.NONE),
    "beyond the upper limit": (9.0, 1.5, 1.5, 1.5, Limit.RANGE),
    "beyond the lower limit": (-9.0, -1.0, -1.0, -1.0, Limit.RANGE),
    "too fast upwards": (1.0, 0.25, 0.25, 0.5, Limit.RATE),
    "too fast downwards": (-1.0, 0.25, 0.25, 0.0, Limit.RATE),
    "out of range and too fast": (9.0, 0.0, 0.0, 0.25, Limit.RANGE | Limit.RATE),
    "too far from the joint": (0.5, 0.5, -0.25, 0.25, Limit.TORQUE),
    "all three": (-9.0, 0.25, 0.75, 0.25, Limit.RANGE | Limit.RATE | Limit.TORQUE),
    "the range wins over the torque": (-1.0, -1.0, -2.0, -1.0, Limit.NONE),
    "the rate wins over the torque": (1.0, 0.0, 1.5, 0.25, Limit.RATE),
    "a joint read far away pulls at the rate": (0.25, 0.25, -1.0, 0.0, Limit.TORQUE),
    "a run that starts below its range moves inwards": (0.0, -3.0, -3.0, -2.75, Limit.RATE),
    "one that starts above does, too": (0.0, 3.0, 3.0, 2.75, Limit.RATE),
    "and may ask for just as much": (2.75, 3.0, 3.0, 2.75, Limit.NONE),
    "and is not pulled further out": (
        -9.0,
        -3.0,
        -4.0,
        -3.0,
        Limit.RANGE | Limit.RATE | Limit.TORQUE,
    ),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_targets_are_bounded_by_range_rate_and_torque(safety, case):
    target, last, measured, expected, acted = BOUNDS[case]
    still = 0.0  # the second joint
    bounded, report = safety.bound(
        np.array([target, still]), np.array([last, still]), np.array([measured, still])
    )
    assert bounded.tolist() == [expected, still]
    assert report.acted == acted
    assert not report.tripped


def test_each_joint_has_its_own_limits(safety):
    bounded, report = safety.bound(np.array([9.0, 9.0]), np.zeros(2), np.zeros(2))
    assert bounded.tolist() == [0.25, 0.5]
    assert report.acted == Limit.RANGE | Limit.RATE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_network_that_is_not_finite_trips_and_the_last_target_stays(safety, value):
    last = np.array([0.5, 0.5])
    bounded, report = safety.bound(np.array([0.5, value]), last, np.array([0.25, 0.25]))
    assert bounded.tolist() == [0.5, 0.5]
    assert bounded is not last
    assert report == LimitReport(Limit.FINITE, "the network's output is not finite")
    assert report.tripped


@pytest.mark.parametrize("others", [Limit.NONE, Limit.RATE, Limit.FINITE | Limit.TORQUE])
@pytest.mark.parametrize("stage", list(Limit.__members__.values()))
def test_whatever_acts_beside_it_a_stage_that_trips_trips(stage, others):
    trips = {Limit.FINITE, Limit.STALE, Limit.TILT}
    wanted = any(trip in stage | others for trip in trips)
    assert LimitReport(stage | others).tripped == wanted
    assert bool(stage & TRIPS) == (stage in trips)


def test_arguments_are_left_alone(safety):
    arrays = [np.array([9.0, -9.0]), np.array([0.5, 0.25]), np.array([0.0, 0.0])]
    copies = [array.copy() for array in arrays]
    safety.bound(*arrays)
    for array, copy in zip(arrays, copies, strict=True):
        assert array.tolist() == copy.tolist()


@pytest.mark.parametrize("action", ["damp", "hold"])
@pytest.mark.parametrize("stage", [Limit.FINITE, Limit.STALE, Limit.TILT])
def test_a_trip_commands_the_safe_action_but_a_tilted_robot_always_damps(action, stage):
    robot = toy_robot(safe_action=action)
    report = LimitReport(stage, "why")
    last = np.array([0.5, -0.5])
    command = Safety(robot, period=PERIOD).safe_command(last, report)
    last[:] = 9.0  # the caller's, and no part of the command
    assert command.limits is report
    assert command.kd.tolist() == [1.0, 1.0]
    if action == "hold" and stage is not Limit.TILT:
        assert command.mode is Mode.POSITION
        assert command.position.tolist() == [0.5, -0.5]
        assert command.kp.tolist() == [8.0, 16.0]
    else:
        assert command.mode is Mode.DAMP
        assert command.kp.tolist() == [0.0, 0.0]


def test_damping_has_no_position_gain_and_the_specs_damping(robot):
    command = damp_command(robot)
    assert command.mode is Mode.DAMP
    assert command.kp.tolist() == [0.0, 0.0]
    assert command.kd.tolist() == robot.kd.tolist()
    assert np.isfinite(command.position).all()
