"""Messages to readings and back, and the table of parameters."""

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Imu, JointState

from hebb_controller.errors import MessageError, ParameterError
from hebb_controller.node import parameters
from hebb_controller.node.conversions import ReadingAssembler, joint_command, nanoseconds
from hebb_controller.node.output import check_output
from hebb_controller.observation import Channel, Observer
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


def test_velocities_are_made_of_positions_by_the_stamps_of_the_joints_not_of_the_imu(robot):
    """An imu of 200 Hz beside two publishers of joints, 50 Hz and late: every joint turns at 1 rad/s."""
    estimated = replace(robot, velocity_cutoff=8.0)
    assembler = ReadingAssembler(estimated, paired=False)
    observer = Observer((Channel("joint_velocity", 1.0, 5.0),), estimated)
    parts = robot.joint_names[:6], robot.joint_names[6:]
    for tick in range(400):
        now = 5_000_000 * tick  # ns
        sample = assembler.add_imu(imu(now), now * 1e-9)
        if tick % 4 == 1:
            for lag, names in zip((3_000_000, 9_000_000), parts, strict=True):
                message = joints(names, now - lag)
                message.position = [(now - lag) * 1e-9] * len(names)
                assembler.add_joint_states(message, now * 1e-9)
        if sample is not None and tick % 4 == 3:
            told = observer.observe(sample.reading, robot.default)
    np.testing.assert_allclose(told, 1.0, rtol=1e-5)


@pytest.mark.parametrize("field", ["position", "velocity"])
@pytest.mark.parametrize("wrong", [[], [0.0] * 11, [0.0] * 13])
def test_values_that_do_not_match_the_names_are_refused(robot, field, wrong):
    message = joints(robot.joint_names)
    setattr(message, field, wrong)
    with pytest.raises(MessageError, match=f"12 names, but {len(wrong)} values of {field}"):
        ReadingAssembler(robot, paired=True).add_joint_states(message, 0.0)


def test_an_empty_velocity_is_refused_with_the_option_that_does_without_it(robot):
    message = joints(robot.joint_names)
    message.velocity = []
    with pytest.raises(MessageError, match=r"joint_velocity: \{source: estimated, cutoff: …\}"):
        ReadingAssembler(robot, paired=True).add_joint_states(message, 0.0)


@pytest.mark.parametrize("velocity", [[], [float("nan")] * 12])
def test_where_velocities_are_estimated_nobody_looks_at_the_measured_ones(robot, velocity):
    assembler = ReadingAssembler(replace(robot, velocity_cutoff=8.0), paired=True)
    message = joints(robot.joint_names)
    message.velocity = velocity
    assembler.add_joint_states(message, 0.0)
    assert assembler.add_imu(imu(), 0.0).reading.joint_velocity.tolist() == [0.0] * 12


def test_the_joints_of_somebody_else_do_not_disturb_a_pair(robot):
    assembler = ReadingAssembler(robot, paired=True)
    assembler.add_joint_states(joints(robot.joint_names), 1.0)
    assert assembler.add_joint_states(joints(["gripper"], STAMP + 1), 2.0) is None
    sample = assembler.add_imu(imu(), 3.0)
    assert (sample.stamp, sample.reading.received) == (STAMP, 1.0)


def test_lists_of_joints_that_nobody_publishes_any_more_are_forgotten(robot):
    assembler = ReadingAssembler(robot, paired=False)
    both = [*robot.joint_names], [*robot.joint_names[:6]]
    for names, received in zip(both, (1.0, 2.0), strict=True):
        zeros = [0.0] * len(names)
        message = JointState(name=names, position=zeros, velocity=zeros)
        assembler.add_joint_states(message, received)
    assert assembler.names(2.0) == {*map(tuple, both)}
    assert assembler.names(4.5) == {tuple(both[1])}


def test_what_is_quiet_is_named_and_counted_joint_by_joint(robot):
    assembler = ReadingAssembler(robot, paired=False)
    assert assembler.quiet(0.0, 0.125) == "joint_states and imu/data"
    front, rear = robot.joint_names[:6], robot.joint_names[6:]
    assembler.add_imu(imu(), 1.0)
    assembler.add_joint_states(joints(front), 1.0)
    assert assembler.quiet(1.0625, 0.125) == f"joint_states of {', '.join(rear)}"
    assembler.add_joint_states(joints(rear), 1.125)
    assert assembler.quiet(1.125, 0.125) == ""
    assert assembler.quiet(1.1875, 0.125) == f"joint_states of {', '.join(front)} and imu/data"


def test_the_mounting_of_the_imu_is_taken_out_of_orientation_and_rate(robot):
    mounting = Rotation.from_euler("xyz", [0.3, -0.2, 2.0])  # of its frame in the body's
    robot = replace(robot, imu_rotation=tuple(mounting.as_quat().tolist()))
    body, rate = Rotation.from_euler("xyz", [-0.1, 0.4, 1.0]), np.array([1.0, 2.0, 3.0])
    message = imu()
    q, measured = message.orientation, message.angular_velocity
    q.x, q.y, q.z, q.w = (body * mounting).as_quat().tolist()
    measured.x, measured.y, measured.z = mounting.inv().apply(rate).tolist()
    assembler = ReadingAssembler(robot, paired=True)
    assembler.add_joint_states(joints(robot.joint_names), 0.0)
    reading = assembler.add_imu(message, 0.0).reading
    # some dozens of roundings of numbers up to 3
    assert (Rotation.from_quat(reading.orientation) * body.inv()).magnitude() < 1e-14
    assert np.abs(reading.angular_velocity_base - rate).max() < 1e-14


def twist(forward=0.5, left=-0.25, turn=2.0):
    message = TwistStamped()
    message.twist.linear.x, message.twist.linear.y = forward, left
    message.twist.angular.z = turn
    return message


def test_a_commanded_velocity_holds_for_half_a_second_after_it_arrived(robot):
    assembler = ReadingAssembler(robot, paired=False)
    assembler.add_joint_states(joints(robot.joint_names), 9.0)

    def commanded(now):
        return assembler.add_imu(imu(), now).reading.velocity_command.tolist()

    assert commanded(9.0) == [0.0] * 3
    assert assembler.velocity_complaint(9.0) == "no cmd_vel yet: the rule is commanded to stand"
    assembler.add_velocity_command(twist(), 10.0)
    assert commanded(10.5) == [0.5, -0.25, 2.0]
    assert assembler.velocity_complaint(10.5) == ""
    assert commanded(10.51) == [0.0] * 3
    complaint = "no cmd_vel for 0.8 s: the rule is commanded to stand"
    assert assembler.velocity_complaint(10.75) == complaint


def commanded(assembler, robot, stamp):
    """Return the velocity that a paired reading with a stamp holds."""
    assembler.add_joint_states(joints(robot.joint_names, stamp), 0.0)
    return assembler.add_imu(imu(stamp), 0.0).reading.velocity_command.tolist()


def test_with_paired_readings_that_half_second_is_one_of_their_stamps(robot):
    assembler = ReadingAssembler(robot, paired=True)
    commanded(assembler, robot, STAMP)
    assembler.add_velocity_command(twist(), 1000.0)
    assert commanded(assembler, robot, STAMP + 499_000_000) == [0.5, -0.25, 2.0]
    assert commanded(assembler, robot, STAMP + 501_000_000) == [0.0] * 3


def test_a_commanded_velocity_is_forgotten_when_the_clock_of_the_readings_begins_anew(robot):
    assembler = ReadingAssembler(robot, paired=True)
    commanded(assembler, robot, STAMP)
    assembler.add_velocity_command(twist(), 1000.0)
    assert commanded(assembler, robot, STAMP // 2) == [0.0] * 3
    assert commanded(assembler, robot, STAMP) == [0.0] * 3


@pytest.mark.parametrize("field", ["forward", "left", "turn"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_commanded_velocity_that_is_not_finite_is_refused_and_the_one_before_holds(
    robot, field, value
):
    assembler = ReadingAssembler(robot, paired=False)
    assembler.add_joint_states(joints(robot.joint_names), 0.0)
    assembler.add_velocity_command(twist(), 0.0)
    with pytest.raises(MessageError, match=r"cmd_vel: .* is not finite"):
        assembler.add_velocity_command(twist(**{field: value}), 0.4)
    assert assembler.add_imu(imu(), 0.5).reading.velocity_command.tolist() == [0.5, -0.25, 2.0]
    assert assembler.add_imu(imu(), 0.6).reading.velocity_command.tolist() == [0.0] * 3


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


def settings(**changes):
    return parameters.Settings(**{"rule_file": "one.rule.safetensors", **changes})


def test_a_forward_controller_is_for_robots_that_may_be_held(robot):
    forward = settings(command_type="float64_multi_array")
    with pytest.raises(ParameterError, match=r"cannot express DAMP: .*'a1' has safe_action 'damp'"):
        check_output(forward, robot)
    holding = replace(robot, safety=replace(robot.safety, safe_action="hold"))
    check_output(forward, holding)
    check_output(settings(), robot)


def test_a_forward_controller_cannot_answer_in_lock_step():
    forward = {"command_type": "float64_multi_array", "tick_source": "sensor"}
    assert settings(**forward).refusal() == ""
    assert "lock_step needs command_type" in settings(**forward, lock_step=True).refusal()


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
