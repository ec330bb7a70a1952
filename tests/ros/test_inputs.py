"""What comes into the node and how its commands leave it, over real DDS, each node a process."""

import functools
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rig import CONTROL, LATE, PATIENCE, Recorder, is_damp, write_spec
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool, Empty

from hebb_controller.contract import Contract, joint_contracts
from hebb_controller.network import InitialSpec
from hebb_controller.node.processes import ros_environment
from hebb_controller.observation import Channel, observation_size
from hebb_controller.plasticity import UpdateSpec
from hebb_controller.robot import load_robot
from hebb_controller.rule import RuleHeader, make_rule
from hebb_controller.rule_file import save_rule

SUFFIX = ".rule.safetensors"
SCALE = 0.1  # rad that an action of 1 moves a joint


@pytest.fixture
def spec(tmp_path):
    """Return the function that writes the shipped robot's spec with other parts, and returns its path."""
    return functools.partial(write_spec, tmp_path)


@pytest.fixture
def linear(tmp_path):
    """Return the function that writes a rule without plasticity, and returns its path and weights.

    Its targets are the default pose plus SCALE · tanh(weights · observation).
    """

    def write(robot, *names):
        channels = tuple(Channel(name, 1.0, 10.0) for name in names)
        size = observation_size(channels, robot.n_joints)
        rng = np.random.default_rng(0)
        weights = rng.uniform(-0.3, 0.3, (robot.n_joints, size)).astype(np.float32)
        joints = joint_contracts(robot, [SCALE] * robot.n_joints)
        header = RuleHeader(
            format_version=1,
            kind="static",
            layer_sizes=(size, robot.n_joints),
            update=UpdateSpec(1, 1.0, 0.0, "none", 1.0, 0.1),
            initial=InitialSpec("evolved", 1.0),
            tick_period=0.02,
            contract=Contract(robot.name, "pd", 0, channels, joints, robot.velocity_cutoff),
            provenance={},
            license="Apache-2.0",
        )
        path = tmp_path / f"{'_'.join(names)}{SUFFIX}"
        save_rule(make_rule(header, [{"initial": weights}]), path)
        return str(path), weights.astype(np.float64)

    return write


def targets(robot, weights, observation):
    return robot.default + SCALE * np.tanh(weights @ observation)


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def inputs(said):
    """Return whether a message of /diagnostics says this of the inputs."""
    return lambda m: any(s.name.endswith(": Inputs") and said(s.message) for s in m.status)


# cmd_vel


class Commander:
    """Publishes a velocity at 20 Hz, from a thread of its own, until it is told to stop."""

    def __init__(self, operator):
        self._publisher = operator.node.create_publisher(TwistStamped, "cmd_vel", 1)
        self._velocity = None
        self.last = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def say(self, velocity):
        self._velocity = velocity

    def end(self):
        self._ending.set()
        self._thread.join()

    def _run(self):
        while not self._ending.wait(0.05):
            if self._velocity is not None:
                message = TwistStamped()
                message.twist.linear.x, message.twist.linear.y = self._velocity[:2]
                message.twist.angular.z = self._velocity[2]
                self.last = time.monotonic()
                self._publisher.publish(message)


def near(expected):
    """Return whether a command has these targets, but for float32 in the network."""
    return lambda m: len(m.position) and np.abs(np.array(m.position) - expected).max() < 1e-6


def test_a_rule_that_is_swapped_in_is_steered_by_cmd_vel_and_stands_half_a_second_after_the_last(
    rig, robot, linear
):
    path, weights = linear(robot, "velocity_command")
    made = rig(controller={"swap_blend": 0.0}, patient=True).up().running()
    node = made.operator.node
    assert node.count_subscribers("cmd_vel") == 0  # the rule in force has no such channel
    commander = Commander(made.operator)
    try:
        commander.say((0.5, -0.25, 2.0))
        made.set(CONTROL, "rule_file", path)
        steered = near(targets(robot, weights, np.array([0.5, -0.25, 2.0])))
        made.commands.wait(steered, since=len(made.commands.items))
        assert node.count_subscribers("cmd_vel") == 1

        commander.say((float("nan"), 0.0, 0.0))
        since = len(made.diagnostics.items)
        made.diagnostics.wait(inputs(lambda said: said.startswith("cmd_vel: ")), since=since)
        commander.say((0.1, 0.2, 0.3))
        other = near(targets(robot, weights, np.array([0.1, 0.2, 0.3])))
        made.commands.wait(other, since=len(made.commands.items))
    finally:
        commander.end()
    standing = near(robot.default)
    stood, _ = made.commands.wait(standing, since=len(made.commands.items))
    # 0.5 s after the last one arrived, to the next tick; later only by what the machine is busy with
    assert 0.5 < stood - commander.last < 2.0
    assert made.status["phase"] == "RUN"


def test_that_nobody_commands_a_rule_that_needs_it_is_said(rig, robot, linear):
    path, _ = linear(robot, "velocity_command")
    made = rig(controller={"rule_file": path}, patient=True).up().running()
    made.diagnostics.wait(inputs(lambda said: said.startswith("no cmd_vel yet")))
    made.commands.wait(near(robot.default), since=len(made.commands.items))


# joint_states in parts

DRIVER = """
import signal, sys, time
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Imu, JointState

name, with_imu, *words = sys.argv[1:]
half = len(words) // 2
joints, pose = words[:half], [float(word) for word in words[half:]]
rclpy.init(args=[])
node = Node(name)
states = node.create_publisher(JointState, "joint_states", 1)
imus = node.create_publisher(Imu, "imu/data", 1) if with_imu == "imu" else None
tick, waiting, slow = 0, [], False

def toggle(*_):
    global slow
    slow = not slow

signal.signal(signal.SIGUSR1, toggle)  # then every other message of the imu waits in a queue
while rclpy.ok():
    tick += 1
    message = JointState(name=joints, position=[p + 1e-6 * (tick % 7) for p in pose])
    message.velocity = [0.0] * half
    message.header.stamp = node.get_clock().now().to_msg()
    states.publish(message)
    if imus is not None:
        imu = Imu()
        imu.orientation.w = 1.0
        imu.header.stamp = message.header.stamp
        imu.angular_velocity.x = 1e-6 * (tick % 7)
        waiting.append(imu)
        if not slow:
            del waiting[:-1]
        if tick % 2 or not slow:
            imus.publish(waiting.pop(0))
    time.sleep(0.01)
"""


@contextmanager
def driver(name, robot, joints, *, imu):
    """Run a driver of some of the joints, which stand in the default pose and tremble, for a block."""
    pose = [str(robot.default[robot.joint_names.index(joint)]) for joint in joints]
    words = [name, "imu" if imu else "none", *joints, *pose]
    process = subprocess.Popen([sys.executable, "-c", DRIVER, *words], env=ros_environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_two_drivers_make_one_robot_and_the_joints_of_the_one_that_dies_are_named(rig, robot):
    front, rear = robot.joint_names[:6], robot.joint_names[6:]
    made = rig(patient=True)
    made.simulator.end()
    with ExitStack() as drivers:
        drivers.enter_context(driver("front", robot, front, imu=True))
        assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE), made.logs()
        missing = f"no complete sensor reading yet: nothing of joint_states of {', '.join(rear)}"
        made.diagnostics.wait(inputs(lambda said: said == missing))
        with driver("rear", robot, rear, imu=False):
            made.diagnostics.wait(inputs(lambda said: said == "readings arrive"))
            assert made.operator.change_state(CONTROL, "activate"), made.logs()
            made.running()
            since = len(made.statuses.items)
        made.wait_for_phase("DAMPED", since=since)  # one is dead, the other goes on
        assert f"ms old (limit {LATE * 1e3:.0f} ms)" in made.status["reason"]
        quiet = f": nothing of joint_states of {', '.join(rear)}"
        told = inputs(lambda said: said.startswith("no sensor reading") and said.endswith(quiet))
        made.diagnostics.wait(told)
        made.commands.wait(is_damp)
        drivers.enter_context(driver("rear", robot, rear, imu=False))
        since = len(made.diagnostics.items)
        made.diagnostics.wait(inputs(lambda said: said == "readings arrive"), since=since)
        since = len(made.statuses.items)
        assert made.operator.trigger(f"{CONTROL}/reset_estop") == ""
        made.wait_for_phase("RUN", since=since)


def test_an_imu_whose_readings_fall_behind_damps_and_the_reset_waits_until_they_have_caught_up(
    rig, robot
):
    made = rig(patient=True)
    made.simulator.end()
    with driver("all", robot, robot.joint_names, imu=True) as process:
        assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE), made.logs()
        made.diagnostics.wait(inputs(lambda said: said == "readings arrive"))
        assert made.operator.change_state(CONTROL, "activate"), made.logs()
        made.running()
        since = len(made.statuses.items)
        process.send_signal(signal.SIGUSR1)
        made.wait_for_phase("DAMPED", since=since)
        assert re.match(r"imu/data arrives \d\.\d\d s later than it did: ", made.status["reason"])
        made.commands.wait(is_damp)
        assert "imu/data arrives" in made.operator.trigger(f"{CONTROL}/reset_estop")
        since = len(made.diagnostics.items)
        process.send_signal(signal.SIGUSR1)
        made.diagnostics.wait(inputs(lambda said: said == "readings arrive"), since=since)
        since = len(made.statuses.items)
        assert made.operator.trigger(f"{CONTROL}/reset_estop") == ""
        made.wait_for_phase("RUN", since=since)


# Who publishes


def test_a_publisher_of_another_type_or_of_the_same_joints_is_named_until_it_has_gone(rig):
    made = rig(patient=True)
    made.up(active=False)
    fine = inputs(lambda said: said == "readings arrive")
    node = made.operator.node
    me = node.get_fully_qualified_name()
    for kind, topic, complaint in (
        (
            Empty,
            "estop",
            f"not heard because of its type: estop of {me} (std_msgs/msg/Empty, not std_",
        ),
        (
            JointState,
            "joint_states",
            f"joint_states: /sim_node and {me} publish the same joints",
        ),
        (Imu, "imu/data", f"imu/data: /sim_node and {me} publish it"),
    ):
        since = len(made.diagnostics.items)
        publisher = node.create_publisher(kind, topic, 1)
        made.diagnostics.wait(inputs(lambda said, c=complaint: c in said), since=since)
        since = len(made.diagnostics.items)
        node.destroy_publisher(publisher)
        made.diagnostics.wait(fine, since=since)


def test_nothing_starts_while_an_estop_is_being_published(rig):
    made = rig(patient=True)
    made.up(active=False)
    button = made.operator.node.create_publisher(Bool, "estop", 1)
    pressed = made.operator.node.create_timer(0.1, lambda: button.publish(Bool(data=True)))
    while button.get_subscription_count() == 0:
        time.sleep(0.05)
    time.sleep(0.5)
    assert not made.operator.change_state(CONTROL, "activate")
    assert "not started: estop " in made.controller.output()
    assert not made.commands.items
    pressed.cancel()
    while not made.operator.change_state(CONTROL, "activate"):
        time.sleep(0.2)
    made.running()


# What the robot spec says of the sensors


def test_a_mounted_imu_is_published_as_it_measures_and_the_rule_sees_the_body(rig, spec, linear):
    angles = [0.3, -0.2, 2.0]
    path = spec(imu={"rotation": angles})
    robot = load_robot(path)
    rule, weights = linear(robot, "gravity", "angular_velocity")
    sim = {"robot": path, "duration": 4.0, "damage": "trunk:push:10"}
    made = rig(sim=sim, controller={"robot": path, "rule_file": rule}, lock_step=True)
    imus, odometry = Recorder(), Recorder()
    made.operator.watch(Imu, "imu/data", imus, 1000)
    made.operator.watch(Odometry, "odom", odometry, 1000)
    made.up().running()
    assert made.simulator.wait(60.0) == 0, made.logs()
    assert made.status["phase"] == "RUN", made.status
    truth = {stamp_of(m): m for _, m in odometry.items}
    mounting = Rotation.from_euler("xyz", angles)
    compared = 0
    for _, message in imus.items:
        if (real := truth.get(stamp_of(message))) is None:
            continue
        q, rate = real.pose.pose.orientation, real.twist.twist.angular
        body = Rotation.from_quat([q.x, q.y, q.z, q.w])
        q = message.orientation
        apart = Rotation.from_quat([q.x, q.y, q.z, q.w]) * (body * mounting).inv()
        assert apart.magnitude() < 1e-7
        turned = mounting.inv().apply([rate.x, rate.y, rate.z])
        measured = message.angular_velocity
        assert np.abs(turned - [measured.x, measured.y, measured.z]).max() < 1e-12
        compared += 1
    assert compared > 100
    compared = 0
    for _, command in made.commands.items:
        stamp = stamp_of(command)
        if stamp < 2_500_000_000 or (real := truth.get(stamp)) is None:  # on its way into the run
            continue
        q, rate = real.pose.pose.orientation, real.twist.twist.angular
        gravity = Rotation.from_quat([q.x, q.y, q.z, q.w]).inv().apply([0.0, 0.0, -1.0])
        observation = np.array([*gravity, rate.x, rate.y, rate.z])
        assert near(targets(robot, weights, observation))(command)
        compared += 1
    assert compared > 50


def test_velocities_that_no_driver_measures_are_estimated_as_in_training(rig, spec, linear):
    path = spec(joint_velocity={"source": "estimated", "cutoff": 8.0})
    robot = load_robot(path)
    rule, weights = linear(robot, "joint_velocity")
    sim = {"robot": path, "duration": 5.0, "damage": "sensors:noise:0.005"}
    made = rig(sim=sim, controller={"robot": path, "rule_file": rule}, lock_step=True).up()
    assert made.simulator.wait(60.0) == 0, made.logs()
    assert made.status["phase"] == "RUN", made.status
    readings = {stamp_of(m): m for _, m in made.readings.items}
    assert not any(len(m.velocity) for m in readings.values())
    # The filter of each tick, from the first reading on: what it began with is forgotten long before
    # the last second, by e^(−2π · 8 Hz · 1 s).
    velocity = np.zeros(12)
    expected, last, since = {}, None, None
    for stamp in sorted(readings):
        position = np.array(readings[stamp].position)
        if last is not None:
            step = (stamp - since) * 1e-9
            speed = (position - last) / step
            velocity = speed + np.exp(-2.0 * np.pi * 8.0 * step) * (velocity - speed)
        last, since = position, stamp
        expected[stamp] = targets(robot, weights, velocity)
    late = [m for _, m in made.commands.items if stamp_of(m) > 4 * 10**9]
    assert len(late) > 40
    assert all(near(expected[stamp_of(m)])(m) for m in late)
    assert max(np.abs(np.array(m.position) - robot.default).max() for m in late) > 1e-4


def test_a_rule_that_was_told_measured_velocities_is_refused_where_they_are_estimated(
    rig, robot, spec, linear
):
    rule, _ = linear(robot, "joint_velocity")
    path = spec(joint_velocity={"source": "estimated", "cutoff": 8.0})
    made = rig(sim={"robot": path}, controller={"robot": path, "rule_file": rule})
    assert not made.operator.change_state(CONTROL, "configure", timeout=PATIENCE)
    assert "trained with joint velocities measured, those of robot 'a1' are estimated" in (
        made.controller.output()
    )
