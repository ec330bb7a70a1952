"""What the simulated robot makes of joint_command."""

import math

import pytest

from hebb_controller.errors import MessageError
from hebb_controller.robot import load_robot
from hebb_controller.signals import Mode
from hebb_sim.receiver import Receiver

ROBOT = load_robot("a1")
NAMES = list(ROBOT.joint_names)
ZERO = [0.0] * 12


@pytest.fixture
def receiver():
    return Receiver(ROBOT, timeout=0.1)


def accept(receiver, names=NAMES, position=(), velocity=(), *, stamp=0, now=0.0):
    receiver.accept(names, position=position, velocity=velocity, stamp=stamp, now=now)


def test_positions_are_matched_by_name(receiver):
    accept(receiver, NAMES[::-1], [float(i) for i in range(12)])
    command = receiver.in_force(0.0)
    assert command.mode is Mode.POSITION
    assert command.position.tolist() == [float(i) for i in reversed(range(12))]
    assert command.kp.tolist() == ROBOT.kp.tolist()


def test_zero_velocity_without_positions_damps(receiver):
    accept(receiver, velocity=ZERO)
    command = receiver.in_force(0.0)
    assert command.mode is Mode.DAMP
    assert command.kd.tolist() == ROBOT.kd.tolist()


def test_a_command_holds_for_the_timeout_and_none_was_there_before_the_first(receiver):
    assert receiver.in_force(0.0) is None
    accept(receiver, position=ZERO, now=1.0)
    assert receiver.in_force(1.09) is not None
    assert receiver.in_force(1.11) is None


def test_only_the_answer_with_the_readings_stamp_answers_it(receiver):
    accept(receiver, position=ZERO, stamp=20)
    assert receiver.answer_to(0) is None
    assert receiver.answer_to(20) is not None
    receiver.forget()
    assert receiver.answer_to(20) is None


@pytest.mark.parametrize(
    ("names", "position", "velocity", "reason"),
    [
        (NAMES[1:], ZERO[1:], (), "Name each once"),
        ([*NAMES[1:], "tail"], ZERO, (), "tail"),
        ([*NAMES[1:], NAMES[1]], ZERO, (), "Name each once"),
        (NAMES, ZERO[1:], (), "11 positions for 12 names"),
        (NAMES, [math.nan, *ZERO[1:]], (), "not finite"),
        (NAMES, (), (), "zero velocity for each joint"),
        (NAMES, (), [1.0, *ZERO[1:]], "zero velocity for each joint"),
        (NAMES, (), ZERO[1:], "zero velocity for each joint"),
    ],
)
def test_what_is_no_command_is_refused_and_the_one_before_stays(
    receiver, names, position, velocity, reason
):
    accept(receiver, position=ZERO, stamp=1)
    with pytest.raises(MessageError, match=reason):
        accept(receiver, names, position, velocity, stamp=2)
    assert receiver.answer_to(1) is not None
