"""Damages as text and as torque, on the shipped robot; no simulator."""

import numpy as np
import pytest

from hebb_controller.errors import DamageError
from hebb_controller.robot import BODY_PARTS, load_robot
from hebb_controller.signals import Command, Mode
from hebb_sim.actuator import Actuator
from hebb_sim.damage import (
    LIMP_FRICTION,
    TABLE,
    Damage,
    check_damage,
    damaged_joints,
    describe,
    parse_damages,
)


@pytest.fixture(scope="module")
def a1():
    return load_robot("a1")


@pytest.mark.parametrize(
    ("text", "damages"),
    [
        ("none", ()),
        ("", ()),
        ("  none ", ()),
        ("FR:limp", (Damage("FR", "limp"),)),
        ("RL:weak:0.3", (Damage("RL", "weak", 0.3),)),
        ("RL:weak:0", (Damage("RL", "weak", 0.0),)),
        ("FR_lower_joint:locked", (Damage("FR_lower_joint", "locked"),)),
        ("FR:limp, RL:weak:0.25", (Damage("FR", "limp"), Damage("RL", "weak", 0.25))),
        ("trunk:push:-1e2", (Damage("trunk", "push", -100.0),)),
        ("sensors:latency:2", (Damage("sensors", "latency", 2.0),)),
        (
            "imu:constant,ground:slope:.1",
            (Damage("imu", "constant"), Damage("ground", "slope", 0.1)),
        ),
        ("motors:strength:1.1", (Damage("motors", "strength", 1.1),)),
        ("FL_hip_joint:bias:-0.25", (Damage("FL_hip_joint", "bias", -0.25),)),
    ],
)
def test_text_says_part_kind_and_amount(a1, text, damages):
    assert parse_damages(text, a1) == damages
    assert parse_damages(describe(damages), a1) == damages


def test_no_damage_is_called_none():
    assert describe(()) == "none"
    assert describe((Damage("trunk", "push", 163.69621),)) == "trunk:push:163.69621"
    assert describe((Damage("trunk", "push", 40.0),)) == "trunk:push:40"
    assert describe((Damage("FR", "limp"), Damage("RL", "weak", 0.25))) == "FR:limp,RL:weak:0.25"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("XX:limp", r"no leg or joint 'XX'. Legs: FR, FL, RR, RL; joints: FR_hip_joint"),
        ("fr:limp", "no leg or joint 'fr'"),
        ("FR:explode", "kind 'explode' is unknown. Known: limp, weak, locked"),
        ("FR", "write PART:KIND"),
        ("FR:", "write PART:KIND"),
        (":limp", "write PART:KIND"),
        ("FR:limp,", "write PART:KIND"),
        ("FR:weak", "fraction of torque left"),
        ("FR:weak:", "write PART:KIND"),
        ("FR:weak:much", "fraction of torque left"),
        ("FR:weak:0.1:0.2", "fraction of torque left"),
        ("FR:weak:1", r"must be in \[0, 1\)"),
        ("FR:weak:-0.1", r"must be in \[0, 1\)"),
        ("FR:weak:nan", r"must be in \[0, 1\)"),
        ("FR:weak:inf", r"must be in \[0, 1\)"),
        ("FR:limp:0.5", "takes no amount"),
        ("FR:locked:0.5", "takes no amount"),
        ("trunk:limp", "'limp' cannot affect 'trunk', only leg, joint, motors"),
        ("imu:weak:0.5", "'weak' cannot affect 'imu', only leg, joint, motors"),
        ("FR:payload:3", "'payload' affects only 'trunk': write trunk:payload:3"),
        ("FR:latency:2", "'latency' affects only 'sensors': write sensors:latency:2"),
        ("motors:shortened:0.5", "only leg, joint"),
        ("trunk:payload", r"'payload' takes a mass in kg, e\.g\. trunk:payload:3"),
        ("trunk:payload:-1", r"a mass in kg must be in \[0, 100\]"),
        ("sensors:latency:1.5", r"must be a whole number in \[0, 50\]"),
        ("FR:dropout:1.1", r"must be in \[0, 1\]"),
        ("ground:slope:0.7", r"must be in \[-0\.6, 0\.6\]"),
        ("trunk:push:nan", "must be in"),
    ],
)
def test_what_no_robot_can_have_is_refused_in_one_line(a1, text, message):
    with pytest.raises(DamageError, match=message) as caught:
        parse_damages(text, a1)
    assert "\n" not in str(caught.value)


def test_a_leg_is_all_its_joints_and_a_joint_itself(a1):
    assert damaged_joints(Damage("RR", "limp"), a1) == (6, 7, 8)
    assert damaged_joints(Damage("RR_upper_joint", "limp"), a1) == (7,)


@pytest.mark.parametrize("kind", TABLE)
def test_the_example_of_every_kind_works(a1, kind):
    takes = TABLE[kind].amount
    for part in TABLE[kind].parts:
        name = {"leg": "FR", "joint": "RL_hip_joint"}.get(part, part)
        text = f"{name}:{kind}" + (f":{takes.example}" if takes else "")
        assert describe(parse_damages(text, a1)) == text


def test_every_kind_has_a_part_that_there_is():
    for kind in TABLE.values():
        assert kind.parts
        assert set(kind.parts) <= {"leg", "joint", *BODY_PARTS}


@pytest.mark.parametrize(
    "wrong",
    [
        Damage("FR", "exploded"),
        Damage("FR", "weak", float("nan")),
        Damage("ground", "friction", -1),
    ],
)
def test_a_damage_made_by_hand_is_checked_too(a1, wrong):
    with pytest.raises(DamageError):
        check_damage(wrong, a1)


def torques(robot, damages, *, offset=0.25, velocity=2.0, mode=Mode.POSITION):
    """Return the torques of all joints at their default pose, their targets ``offset`` away."""
    actuator = Actuator(robot)
    actuator.damage(damages)
    actuator.command(Command(mode, robot.default + offset, robot.kp, robot.kd))
    return np.array(actuator.torques([(q, velocity) for q in robot.default.tolist()]))


def test_a_healthy_motor_is_a_spring_and_a_damper(a1):
    # 40 N·m/rad · 0.25 rad − 1 N·m·s/rad · 2 rad/s = 8 N·m
    assert torques(a1, ()) == pytest.approx([8.0] * 12, abs=1e-12)


def test_torque_stays_within_the_robots_limit_whatever_the_command_asks(a1):
    assert torques(a1, (), offset=100.0).tolist() == a1.torque.tolist()
    assert torques(a1, (), offset=-100.0).tolist() == (-a1.torque).tolist()


def test_a_limp_leg_gives_nothing_but_friction(a1):
    found = torques(a1, (Damage("FL", "limp"),), offset=100.0)
    assert found[3:6].tolist() == [-2.0 * LIMP_FRICTION] * 3
    assert np.delete(found, [3, 4, 5]).tolist() == np.delete(a1.torque, [3, 4, 5]).tolist()


def test_a_weak_motor_gives_a_part_of_what_it_gave(a1):
    found = torques(a1, (Damage("FL_hip_joint", "weak", 0.25),))
    assert found[3] == pytest.approx(2.0, abs=1e-12)
    saturated = torques(a1, (Damage("FL_hip_joint", "weak", 0.25),), offset=100.0)
    assert saturated[3] == 5.0  # of 20 N·m


def test_damping_and_off_have_no_spring(a1):
    assert torques(a1, (), mode=Mode.DAMP).tolist() == [-2.0] * 12
    assert torques(a1, (), mode=Mode.OFF).tolist() == [0.0] * 12


def test_damages_replace_each_other_and_none_heals(a1):
    actuator = Actuator(a1)
    command = Command(Mode.POSITION, a1.default + 0.25, a1.kp, a1.kd)
    states = [(q, 2.0) for q in a1.default.tolist()]
    for damages in ((Damage("FR", "limp"),), (Damage("RL", "locked"),), ()):
        actuator.damage(damages)
    actuator.command(command)
    assert actuator.locked == frozenset()
    assert actuator.torques(states) == pytest.approx([8.0] * 12, abs=1e-12)


def test_a_damage_that_the_robot_cannot_have_changes_nothing(a1):
    actuator = Actuator(a1)
    actuator.damage((Damage("FR", "limp"), Damage("RL", "locked")))
    with pytest.raises(DamageError):
        actuator.damage((Damage("FL", "weak", 0.5), Damage("XX", "limp")))
    assert actuator.locked == frozenset({9, 10, 11})
    actuator.command(Command(Mode.POSITION, a1.default + 0.25, a1.kp, a1.kd))
    found = actuator.torques([(q, 2.0) for q in a1.default.tolist()])
    assert found[:3] == pytest.approx([-2.0 * LIMP_FRICTION] * 3)
    assert found[3:6] == pytest.approx([8.0] * 3, abs=1e-12)


def test_strengths_multiply(a1):
    found = torques(a1, (Damage("motors", "strength", 0.5), Damage("FL", "weak", 0.25)))
    assert found[:3] == pytest.approx([4.0] * 3, abs=1e-12)  # of 8 N·m
    assert found[3:6] == pytest.approx([1.0] * 3, abs=1e-12)


def test_a_reversed_joint_mirrors_its_target_about_the_default(a1):
    found = torques(a1, (Damage("FR", "reversed"),), velocity=0.0)
    assert found[:3] == pytest.approx([-10.0] * 3, abs=1e-12)  # 40 N·m/rad · −0.25 rad
    assert found[3:] == pytest.approx([10.0] * 9, abs=1e-12)
    twice = torques(a1, (Damage("FR", "reversed"), Damage("FR_hip_joint", "reversed")), velocity=0)
    assert twice[:3] == pytest.approx([10.0, -10.0, -10.0], abs=1e-12)


def test_a_folding_joint_takes_no_torque_and_is_told_from_a_locked_one(a1):
    actuator = Actuator(a1)
    actuator.damage((Damage("FR", "locked"), Damage("FR_lower_joint", "folded")))
    assert actuator.locked == frozenset({0, 1, 2})
    assert actuator.folding == frozenset({2})


@pytest.mark.parametrize(
    ("position", "velocity", "torque"),
    [
        # A hip from −0.8 to 0.8; a quarter of that ends at ±0.2. 300 N·m/rad, 0.5 N·m·s/rad.
        (0.19, 0.0, 0.0),
        (0.3, 0.0, -30.0),
        (-0.3, 0.0, 30.0),
        (0.3, 4.0, -32.0),
        (0.3, -2.0, -29.0),
        (0.201, -2.9, 0.0),  # the damper alone would pull it outwards
    ],
)
def test_a_stop_pushes_inwards_only(a1, position, velocity, torque):
    actuator = Actuator(a1)
    actuator.damage((Damage("FR_hip_joint", "narrowed", 0.25),))
    actuator.command(Command(Mode.OFF, a1.default, a1.kp, a1.kd))
    others = [(q, 0.0) for q in a1.default.tolist()[1:]]
    assert actuator.torques([(0.0, 0.0), *others]) == [0.0] * 12  # inside at first
    states = [(position, velocity), *others]
    assert actuator.torques(states) == pytest.approx([torque] + [0.0] * 11, abs=1e-9)


def test_stops_close_slowly_on_a_joint_that_is_outside(a1):
    """A hip at 0.35 rad, its range narrowed to ±0.2: the stop begins there and moves 0.06 rad a tick."""
    actuator = Actuator(a1)
    narrowed = (Damage("FR_hip_joint", "narrowed", 0.25),)
    states = [(0.35, 0.0)] + [(q, 0.0) for q in a1.default.tolist()[1:]]
    found = []
    for tick in range(4):
        # Another damage that comes meanwhile does not begin it anew.
        actuator.damage(narrowed + (Damage("RL", "limp"),) * (tick == 2))
        actuator.command(Command(Mode.OFF, a1.default, a1.kp, a1.kd))
        found.append(actuator.torques(states)[0])
    assert found == pytest.approx([0.0, -18.0, -36.0, -45.0], abs=1e-9)  # 300 N·m/rad
