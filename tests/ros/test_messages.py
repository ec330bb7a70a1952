"""Messages to readings and back, and the table of parameters."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Imu, JointState

from hebb_controller.errors import MessageError
from hebb_controller.node import parameters
from hebb_controller.node.conversions import ReadingAssembler, joint_command, nanoseconds
from hebb_controller.safety import damp_command
from hebb_controller.signals import Command, Mode

STAMP = 12_345_678_901  # ns


def stamped(message, stamp):
    message.header.stamp = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
    return message


def joints(names, stamp=STAMP, *, offset=0.0):
    position = [offset + i for i in range(len(names))]
    velocity = [-p for p in position]
    return stamped(JointState(name=list(names), position=position, velocity=velocity), stamp)


def imu(stamp=STAMP):
    message = stamped(Imu(), stamp)
    q, rate = message.orientation, message.angular_velocity
    q.x, q.y, q.z, q.w = 0.5, -0.5, 0.5, 0.5
    rate.x, rate.y, rate.z = 1.0, 2.0, 3.0
    return message


def test_a_reading_is_in_the_order_of_the_robot_whatever_the_order_of_the_message(robot):
    assembler = ReadingAssembler(robot, paired=True)
    assert assembler.add_joint_states(joints(robot.joint_names[::-1]), 1.0) is None
    sample = assembler.add_imu(imu(), 1.5)
    assert sample.stamp == STAMP
    assert sample.reading.stamp == pytest.approx(12.345678901)
    assert sample.reading.received == 1.0  # the older of the two arrivals
    assert sample.reading.joint_position.tolist() == [float(i) for i in reversed(range(12))]
    assert sample.reading.joint_velocity.tolist() == [-float(i) for i in reversed(range(12))]
    assert sample.reading.orientation.tolist() == [0.5, -0.5, 0.5, 0.5]
    assert sample.reading.angular_velocity_base.tolist() == [1.0, 2.0, 3.0]


def test_joints_may_come_spread_over_messages_and_with_strangers(robot):
    assembler = ReadingAssembler(robot, paired=True)
    assembler.add_imu(imu(), 0.0)
    assert assembler.add_joint_states(joints(robot.joint_names[:5]), 0.0) is None
    assert assembler.add_joint_states(joints(["gripper", *robot.joint_names[6:]]), 0.0) is None
    assert assembler.add_joint_states(joints(robot.joint_names[5:6]), 0.0) is not None


def test_paired_readings_are_of_one_stamp_and_used_once(robot):
    assembler = ReadingAssembler(robot, paired=True)
    assembler.add_joint_states(joints(robot.joint_names), 0.0)
    assert assembler.add_imu(imu(STAMP + 1), 0.0) is None
    assert assembler.add_imu(imu(), 0.0) is not None
    assert assembler.add_imu(imu(), 0.0) is None
    assert assembler.add_joint_states(joints(robot.joint_names), 0.0) is not None


def test_unpaired_readings_are_of_the_latest_and_as_old_as_their_oldest_part(robot):
    assembler = ReadingAssembler(robot, paired=False)
    assembler.add_joint_states(joints(robot.joint_names), 1.0)
    assert assembler.add_imu(imu(STAMP + 5), 2.0).reading.received == 1.0
    assembler.add_joint_states(joints(robot.joint_names[:6], STAMP + 9), 3.0)
    sample = assembler.add_imu(imu(STAMP + 7), 4.0)
    assert sample.reading.received == 1.0
    assert sample.stamp == STAMP + 9


@pytest.mark.parametrize("field", ["position", "velocity"])
@pytest.mark.parametrize("wrong", [[], [0.0] * 11, [0.0] * 13])
def test_values_that_do_not_match_the_names_are_refused(robot, field, wrong):
    message = joints(robot.joint_names)
    setattr(message, field, wrong)
    with pytest.raises(MessageError, match=f"12 names, but {len(wrong)} values of {field}"):
        ReadingAssembler(robot, paired=True).add_joint_states(message, 0.0)


def test_a_joint_named_twice_is_refused(robot):
    with pytest.raises(MessageError, match="twice"):
        ReadingAssembler(robot, paired=True).add_joint_states(
            joints([robot.joint_names[0]] * 2), 0.0
        )


@pytest.mark.parametrize("field", ["orientation", "angular_velocity"])
def test_an_absent_imu_field_is_refused(robot, field):
    message = imu()
    covariance = np.zeros(9)
    covariance[0] = -1.0
    setattr(message, f"{field}_covariance", covariance)
    with pytest.raises(MessageError, match=f"{field} is absent"):
        ReadingAssembler(robot, paired=True).add_imu(message, 0.0)


def test_a_position_command_names_its_joints_and_the_reading_it_answers(robot):
    position = np.linspace(-1.0, 1.0, 12)
    message = joint_command(Command(Mode.POSITION, position, robot.kp, robot.kd), robot, STAMP)
    assert list(message.name) == list(robot.joint_names)
    assert list(message.position) == position.tolist()
    assert list(message.velocity) == []
    assert nanoseconds(message.header.stamp) == STAMP


def test_a_damp_command_has_no_positions_and_zero_velocity(robot):
    message = joint_command(damp_command(robot), robot, STAMP)
    assert list(message.position) == []
    assert list(message.velocity) == [0.0] * 12


def test_every_default_is_a_value_that_the_table_allows():
    for name, parameter in parameters.PARAMETERS.items():
        assert parameters.refusal(name, parameter.default) == ""
        assert parameters.descriptor(parameter).description


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sensor_timeout", 0.0),
        ("sensor_timeout", float("nan")),
        ("sensor_timeout", float("inf")),
        ("plasticity_gain", -0.1),
        ("seed", -2),
        ("tick_source", "sun"),
    ],
)
def test_a_value_outside_the_table_is_refused_by_name(name, value):
    assert name in parameters.refusal(name, value)
