"""The doctor's checks: what is well is left alone, and every fault is named with its remedy."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import toy_robot

from hebb_controller.doctor.agreement import disagreement, turns
from hebb_controller.doctor.checks import check_moved_velocity, examine
from hebb_controller.doctor.heard import (
    Arrival,
    Ends,
    Heard,
    ImuMessage,
    JointMessage,
    Level,
    Needs,
    same_joints,
)

ROBOT = toy_robot()  # knee −1 … 1.5, default 0.25; hip −4 … 4, default 0
NEEDS = Needs(period=0.02, sensor_timeout=0.1)
ENDS = Ends(("/driver",), ("/imu",), (), ("/driver",))
WALL = 1.8e9  # s since 1970


def arrivals(*, period=0.02, seconds=2.0, lag=0.001, pace=1.0):
    n = round(seconds / period)
    return [
        Arrival(received=t, wall=WALL + t, stamp=WALL + pace * t - lag)
        for t in (period * (i + 1) for i in range(n))
    ]


def joints(at, *, names=ROBOT.joint_names, position=(0.25, 0.0), velocity=(0.0, 0.0)):
    return JointMessage(at, tuple(names), tuple(position), tuple(velocity))


def imu(at, *, q=(0.0, 0.0, 0.0, 1.0), rate=(0.0, 0.0, 0.0), force=(0.0, 0.0, 9.81), absent=()):
    return ImuMessage(at, np.array(q), np.array(rate), np.array(force), tuple(absent))


def heard(joint_messages=None, imu_messages=None, *, ends=ENDS, end=2.0):
    joint_messages = [joints(at) for at in arrivals()] if joint_messages is None else joint_messages
    imu_messages = [imu(at) for at in arrivals()] if imu_messages is None else imu_messages
    return Heard(0.0, end, tuple(joint_messages), tuple(imu_messages), ends)


def findings(*args, **options):
    return examine(ROBOT, NEEDS, heard(*args, **options))


def only_bad(found):
    """Return the one finding that is not ok."""
    bad = [finding for finding in found if finding.level is not Level.OK]
    assert len(bad) == 1, bad
    assert bad[0].fix
    return bad[0]


def test_a_robot_that_is_well_has_every_check_and_no_complaint():
    found = findings()
    assert {finding.level for finding in found} == {Level.OK}
    assert [finding.check for finding in found] == [
        *("quality of service", "joint_states", "imu/data", "joint names", "stamps", "clocks"),
        *("joint position", "joint velocity", "orientation", "gravity", "angular velocity"),
        *("commanders", "receiver"),
    ]


UPSIDE_DOWN = {"q": (1.0, 0.0, 0.0, 0.0), "force": (0.0, 0.0, -9.81)}


def test_an_imu_is_judged_as_it_is_mounted():
    mounted = replace(ROBOT, imu_rotation=(1.0, 0.0, 0.0, 0.0))
    told = heard(imu_messages=[imu(at, **UPSIDE_DOWN) for at in arrivals()])
    assert {finding.level for finding in examine(mounted, NEEDS, told)} == {Level.OK}
    assert only_bad(examine(ROBOT, NEEDS, told)).check == "gravity"
    assert only_bad(examine(mounted, NEEDS, heard())).check == "gravity"


def test_where_velocities_are_estimated_those_of_the_driver_may_be_absent():
    none = [joints(at, velocity=()) for at in arrivals()]
    estimated = replace(ROBOT, velocity_cutoff=8.0)
    found = examine(estimated, NEEDS, heard(none))
    assert {finding.level for finding in found} == {Level.OK}
    assert only_bad(examine(ROBOT, NEEDS, heard(none))).check == "joint velocity"


def test_every_check_is_explained():
    page = (Path(__file__).parents[2] / "docs" / "first_run.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", page, re.MULTILINE)
    explained = {name for row in rows for name in row.split(", ")}
    assert {finding.check for finding in findings()} | {"rule"} <= explained


def test_a_robot_that_is_silent_is_told_so_and_not_guessed_about():
    found = findings([], [], ends=Ends())
    bad = {finding.check for finding in found if finding.level is Level.FAIL}
    assert bad == {"joint_states", "imu/data", "receiver"}
    assert len(found) == 5


def test_a_publisher_from_which_nothing_arrives_is_named():
    found = findings([])
    assert only_bad(found).detail == "nothing arrives from /driver"


def test_joints_may_come_spread_over_messages():
    messages = [
        joints(at, names=[name], position=[0.1], velocity=[0.0])
        for at in arrivals()
        for name in ROBOT.joint_names
    ]
    assert all(finding.level is Level.OK for finding in findings(messages))


NAMES = {
    "missing": (["knee", "thigh"], Level.FAIL, "lacks hip; it also has: thigh"),
    "twice": (["knee", "hip", "hip"], Level.FAIL, "named twice in one message: hip"),
    "extra": (["knee", "hip", "gripper"], Level.WARN, "ignored: gripper"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_do_not_fit_are_named(case):
    names, level, words = NAMES[case]
    values = [0.25, 0.0, 0.0][: len(names)]
    messages = [
        joints(at, names=names, position=values, velocity=[0.0] * len(names)) for at in arrivals()
    ]
    bad = only_bad(findings(messages))
    assert (bad.check, bad.level) == ("joint names", level)
    assert words in bad.detail


# The rule ticks at 50 Hz: all of it down to 95 % is well, below 80 % is not.
@pytest.mark.parametrize(
    ("rate", "level"), [(200, Level.OK), (48, Level.OK), (45, Level.WARN), (39, Level.FAIL)]
)
def test_rates_are_held_against_the_rule(rate, level):
    times = arrivals(period=1 / rate)
    found = {f.check: f for f in findings([joints(at) for at in times], [imu(at) for at in times])}
    for topic in ("joint_states", "imu/data"):
        assert found[topic].level is level
        assert f"{rate:.1f} Hz" in found[topic].detail


def test_the_rate_is_that_of_the_slowest_joint():
    messages = [
        joints(at, names=["knee"] if i % 2 else ["knee", "hip"]) for i, at in enumerate(arrivals())
    ]
    bad = {f.check: f for f in findings(messages)}["joint_states"]
    assert bad.level is Level.FAIL
    assert "25.0 Hz, of hip" in bad.detail


@pytest.mark.parametrize("gap", [(0.5, 0.65), (1.85, 2.1)])
def test_a_pause_that_would_damp_is_found_also_at_the_end(gap):
    times = [at for at in arrivals() if not gap[0] < at.received < gap[1]]
    bad = only_bad(findings([joints(at) for at in times]))
    assert bad.check == "joint_states"
    assert "100 ms damp the robot" in bad.detail


STAMPS = {
    "none": (lambda at: 0.0, "has none"),
    "still": (lambda at: WALL, "do not move"),
    "back": (
        lambda at: WALL + at.received - (0.5 if at.received > 1 else 0.0),
        "jump back, by 0.480 s",
    ),
    "slow": (lambda at: WALL + 0.5 * at.received, "run 0.50 times as fast as real time"),
}


@pytest.mark.parametrize("case", STAMPS)
def test_stamps_that_mislead_are_found(case):
    stamp, words = STAMPS[case]
    times = [replace(at, stamp=stamp(at)) for at in arrivals()]
    found = findings([joints(at) for at in times], [imu(at) for at in times])
    bad = next(finding for finding in found if finding.check == "stamps")
    assert bad.level is Level.FAIL
    assert words in bad.detail


CLOCKS = {
    "ahead": (-0.05, -0.05, Level.WARN, "0.050 s in the future"),
    "late": (0.3, 0.3, Level.WARN, "0.300 s after their stamps"),
    "apart a little": (0.001, 0.05, Level.WARN, "0.049 s apart"),
    "apart": (0.001, 2.0, Level.FAIL, "1.999 s apart"),
    "simulated": (WALL, WALL, Level.OK, "not this machine's"),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_clocks_are_compared(case):
    of_joints, of_imu, level, words = CLOCKS[case]
    found = findings(
        [joints(at) for at in arrivals(lag=of_joints)], [imu(at) for at in arrivals(lag=of_imu)]
    )
    clocks = next(finding for finding in found if finding.check == "clocks")
    assert clocks.level is level
    assert words in clocks.detail


POSITIONS = {
    "degrees": ((math.degrees(0.25), 0.0), Level.FAIL, "knee reads 14.324", "rad"),
    "sign": ((-1.2, 0.0), Level.FAIL, "knee reads -1.200", "sign"),
    "far": ((2.4, 0.0), Level.FAIL, "knee reads 2.400", "zero, gear ratio"),
    "stop": ((1.51, 0.0), Level.WARN, "0.010 rad beyond its limit", "calibrate"),
    "nan": ((0.0, math.nan), Level.FAIL, "hip is missing or not finite", "finite"),
    "short": ((0.0,), Level.FAIL, "hip is missing or not finite", "finite"),
}


@pytest.mark.parametrize("case", POSITIONS)
def test_positions_that_cannot_be_are_found_with_a_guess_why(case):
    position, level, words, guess = POSITIONS[case]
    bad = only_bad(findings([joints(at, position=position) for at in arrivals()]))
    assert (bad.check, bad.level) == ("joint position", level)
    assert words in bad.detail
    assert guess in bad.fix


def swinging(*, scale=1.0, unit=1.0):
    """Return messages of a knee that swings by 0.2 rad at 1 rad/s; its velocity times ``scale``."""
    return [
        joints(
            at,
            position=(unit * (0.25 + 0.2 * math.sin(at.received)), 0.0),
            velocity=(scale * unit * 0.2 * math.cos(at.received), 0.0),
        )
        for at in arrivals()
    ]


VELOCITIES = {
    "right": (swinging(), ""),
    "opposite": (swinging(scale=-1.0), "opposite sign"),
    "degrees": (swinging(scale=180 / math.pi), "rate is in degrees"),
    "half": (swinging(scale=0.25), "4 times as fast"),
    "dead": (swinging(scale=0.0), "reads 0"),
    "position in degrees": (swinging(scale=math.pi / 180), "value is in degrees"),
    "absent": ([joints(at, velocity=()) for at in arrivals()], "has none"),
    "at rest": (
        [joints(at, velocity=(0.3, 0.0)) for at in arrivals()],
        "0.30 rad/s while the joint rests",
    ),
}


@pytest.mark.parametrize("case", VELOCITIES)
def test_velocities_are_held_against_the_positions(case):
    messages, words = VELOCITIES[case]
    found = next(finding for finding in findings(messages) if finding.check == "joint velocity")
    assert found.level is (Level.FAIL if words else Level.OK)
    assert words in found.detail


def test_velocities_are_judged_within_each_joints_own_move():
    half = len(swinging()) // 2  # a second: the sign of its velocity is wrong in the first one
    messages = swinging(scale=-1.0)[:half] + swinging()[half:]
    assert check_moved_velocity(messages, {"knee": (1.01, 2.0)}).level is Level.OK
    bad = check_moved_velocity(messages, {"hip": (0.0, 1.0), "knee": (0.0, 1.0)})
    assert bad.level is Level.FAIL
    assert "knee: the rate has the opposite sign" in bad.detail
    assert check_moved_velocity(messages, {}) is None
    still = [joints(at) for at in arrivals()]
    assert check_moved_velocity(still, {"knee": (0.0, 2.0)}) is None


@pytest.mark.parametrize("hip", [103.0, math.nan])
def test_a_joint_at_its_stop_hides_no_other(hip):
    names = ROBOT.joint_names
    assert names.index("knee") < names.index("hip")
    messages = [joints(at, position=(1.51, hip)) for at in arrivals()]
    found = next(finding for finding in findings(messages) if finding.check == "joint position")
    assert found.level is Level.FAIL
    assert found.detail.startswith("hip ")


def about(axis, angle):
    """Return the quaternion xyzw of a turn about x, y or z."""
    vector = np.zeros(3)
    vector["xyz".index(axis)] = math.sin(angle / 2)
    return (*vector, math.cos(angle / 2))


ORIENTATIONS = {
    "upside down": (about("x", math.pi), "gravity", Level.FAIL, "along +z", "rotate"),
    "on its side": (about("x", math.pi / 2), "gravity", Level.FAIL, "along -y", "rotate"),
    "on its nose": (about("y", math.pi / 2), "gravity", Level.FAIL, "along +x", "rotate"),
    "leaning": (about("y", 0.3), "gravity", Level.WARN, "tilted by 0.30", "upright"),
    "wxyz": ((1.0, 0.0, 0.0, 0.0), "gravity", Level.FAIL, "along +z", "wxyz"),
    "nothing": ((0.0, 0.0, 0.0, 0.0), "orientation", Level.FAIL, "norm² 0", "normalised"),
    "long": ((0.0, 0.0, 0.0, 1.1), "orientation", Level.FAIL, "norm² 1.21", "normalised"),
    "nan": ((math.nan, 0.0, 0.0, 1.0), "orientation", Level.FAIL, "norm² nan", "normalised"),
}


@pytest.mark.parametrize("case", ORIENTATIONS)
def test_orientations_are_unit_and_upright(case):
    q, check, level, words, guess = ORIENTATIONS[case]
    bad = only_bad(findings(None, [imu(at, q=q, force=(0, 0, 0)) for at in arrivals()]))
    assert (bad.check, bad.level) == (check, level)
    assert words in bad.detail
    assert guess in bad.fix


def test_a_heading_is_no_tilt():
    messages = [imu(at, q=about("z", 2.0)) for at in arrivals()]
    assert all(finding.level is Level.OK for finding in findings(None, messages))


@pytest.mark.parametrize("field", ["orientation", "angular_velocity"])
def test_a_field_that_is_marked_absent_is_found(field):
    bad = only_bad(findings(None, [imu(at, absent=[field]) for at in arrivals()]))
    assert f"marks {field} as absent" in bad.detail


def test_acceleration_has_to_point_up_where_it_is_measured():
    upside_down = [imu(at, force=(0.0, 0.0, -9.81)) for at in arrivals()]
    bad = only_bad(findings(None, upside_down))
    assert (bad.check, bad.level) == ("gravity", Level.WARN)
    assert "3.14 rad away from up" in bad.detail
    absent = [imu(at, force=(0, 0, -9.81), absent=["linear_acceleration"]) for at in arrivals()]
    assert all(finding.level is Level.OK for finding in findings(None, absent))


@pytest.mark.parametrize(
    ("rate", "level"), [(0.04, Level.OK), (0.2, Level.WARN), (1.0, Level.FAIL)]
)
def test_a_gyro_at_rest_reads_next_to_nothing(rate, level):
    found = findings(None, [imu(at, rate=(0.0, rate, 0.0)) for at in arrivals()])
    gyro = next(finding for finding in found if finding.check == "angular velocity")
    assert gyro.level is level


@pytest.mark.parametrize(
    ("factor", "words"), [(1.0, ""), (-1.0, "opposite sign"), (180 / math.pi, "in degrees")]
)
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_body_that_is_rocked_shows_whether_the_gyro_agrees(axis, factor, words):
    messages = []
    for at in arrivals():
        rate = np.zeros(3)
        rate["xyz".index(axis)] = factor * 0.1 * 3.0 * math.cos(3.0 * at.received)
        q = about(axis, 0.1 * math.sin(3.0 * at.received))
        messages.append(imu(at, q=q, rate=rate))
    found = next(f for f in findings(None, messages) if f.check == "angular velocity")
    assert found.level is (Level.FAIL if words else Level.OK)
    assert words in found.detail


def test_turns_are_about_the_bodys_own_axes_and_do_not_mind_the_sign_of_a_quaternion():
    # Pitched up by 90° first: what is then a roll about the body's x axis is a yaw in the world.
    half = math.sqrt(0.5)
    pitched = np.array((0.0, half, 0.0, half))
    sine, cosine = math.sin(0.005), math.cos(0.005)
    rolled = np.array(
        (half * sine, half * cosine, -half * sine, half * cosine)
    )  # pitched · roll 0.01
    found = turns(np.array((pitched, -rolled)))
    assert np.allclose(found[1], (2 * sine, 0.0, 0.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_or_too_short_says_nothing_of_rates(bad):
    time, value = np.arange(4.0), np.arange(4.0)
    assert disagreement(time, value, np.array((1.0, bad, 1.0, 1.0))) is None
    assert disagreement(time[:2], value[:2], np.ones(2)) is None
    assert disagreement(time, value, np.ones(4)) == ""


ENDS_AMISS = {
    "commander": ({"commanders": ("/teleop",)}, "commanders", Level.FAIL, "published by /teleop"),
    "no receiver": ({"receivers": ()}, "receiver", Level.FAIL, "nobody subscribes"),
    "two receivers": ({"receivers": ("/a", "/b")}, "receiver", Level.WARN, "taken by /a, /b"),
    "two of the same joints": (
        {"joint_states": ("/driver", "/gui")},
        "publishers",
        Level.FAIL,
        "/driver and /gui publish the same joints, unless one of them is silent",
    ),
    "two imus": ({"imu": ("/imu", "/ekf")}, "publishers", Level.FAIL, "imu/data: /ekf and /imu"),
    "quality": ({"incompatible": ("/x no",)}, "quality of service", Level.FAIL, "/x no"),
}


@pytest.mark.parametrize(
    ("publishers", "names", "said"),
    [
        (("/a", "/a"), [("hip",)], ""),  # the second is the first, started again
        (("/a", "/b"), [("hip",), ("knee",)], ""),
        (
            ("/a", "/b"),
            [("hip", "knee"), ("knee", "toe")],
            "/a and /b publish the same joints (knee)",
        ),
        (
            ("/b", "/a"),
            [("hip",)],
            "/a and /b publish the same joints, unless one of them is silent",
        ),
    ],
)
def test_joints_that_two_nodes_publish_are_named(publishers, names, said):
    assert same_joints(publishers, names) == said


@pytest.mark.parametrize("case", ENDS_AMISS)
def test_who_is_at_the_ends_of_the_topics_is_told(case):
    change, check, level, words = ENDS_AMISS[case]
    bad = only_bad(findings(ends=replace(ENDS, **change)))
    assert (bad.check, bad.level) == (check, level)
    assert words in bad.detail
