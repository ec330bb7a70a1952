"""Each condition is told in /diagnostics under its name, and not any more once it has gone."""

import statistics
import threading
import time

import pytest
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rig import CONTROL, PATIENCE
from sensor_msgs.msg import Imu, JointState

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
TRANSIENT_LOCAL = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DEADLINE = QoSProfile(depth=1, deadline=Duration(seconds=0.1))
FINE = "readings arrive"


class Driver:
    """Publishes readings of a robot that stands, at 50 Hz, until it is told otherwise."""

    def __init__(self, operator, robot):
        self.joints = list(robot.joint_names)
        self.position = robot.default.tolist()
        self.upside_down = self.quiet = False
        self._clock = operator.node.get_clock()
        self._joints = operator.node.create_publisher(JointState, "joint_states", 10)
        self._imu = operator.node.create_publisher(Imu, "imu/data", 10)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        count = 0
        while not self._ending.wait(0.02):
            count += 1
            joints, imu = JointState(name=self.joints), Imu()
            joints.position = [p + 1e-3 * (count % 2) for p in self.position]
            joints.velocity = [0.0] * len(self.position)
            imu.orientation.x, imu.orientation.w = (1.0, 0.0) if self.upside_down else (0.0, 1.0)
            joints.header.stamp = imu.header.stamp = self._clock.now().to_msg()
            if not self.quiet:
                self._joints.publish(joints)
                self._imu.publish(imu)

    def end(self):
        self._ending.set()
        self._thread.join()


def wait_for(made, name, text, *, absent=False):
    """Return the level of the next status of this name in which a text stands, or does not."""
    said = []

    def look(message):
        said.extend(
            (int.from_bytes(status.level, "little"), status.message)
            for status in message.status
            if status.name == f"controller_node: {name}"
        )
        return bool(said) and (text in said[-1][1]) is not absent

    try:
        made.diagnostics.wait(look, since=len(made.diagnostics.items))
    except AssertionError as error:
        raise AssertionError(f"{name} never said {text!r}: {set(said)}") from error
    return said[-1][0]


def wait_for_since(made, start, text):
    """Return the level of the Control Loop that said a text after a moment."""
    index = next(
        (i for i, (when, _) in enumerate(made.diagnostics.items) if when >= start),
        len(made.diagnostics.items),
    )
    _, message = made.diagnostics.wait(
        lambda m: text in m.status[0].message and "controller_node" in m.status[0].name, since=index
    )
    return int.from_bytes(message.status[0].level, "little")


@pytest.mark.alone
def test_limits_are_set_while_it_runs_and_every_change_of_phase_is_told_at_once(rig):
    made = rig(patient=True).up().running()
    for name, words in (("warn_jitter", "jitter p99 is"), ("warn_latency", "latency p99 is")):
        before = made.operator.get_parameter(CONTROL, name)
        made.set(CONTROL, name, 0.0)
        assert wait_for(made, "Control Loop", words) == 1
        made.set(CONTROL, name, 1.0)
        wait_for(made, "Control Loop", words, absent=True)
        made.set(CONTROL, name, before)

    delays = []
    for _ in range(5):
        start = time.monotonic()
        assert made.operator.trigger(f"{CONTROL}/estop") == ""
        assert wait_for_since(made, start, "DAMPED: ~/estop") == 2
        delays.append(time.monotonic() - start)
        since = len(made.statuses.items)
        assert made.operator.trigger(f"{CONTROL}/reset_estop") == ""
        made.wait_for_phase("RUN", since=since)
    assert statistics.median(delays) < 0.25  # by the timer alone: half a second

    assert made.operator.change_state(CONTROL, "cleanup") is False  # first deactivate
    assert made.operator.change_state(CONTROL, "deactivate")
    assert made.operator.change_state(CONTROL, "cleanup")
    for name in ("Control Loop", "Inputs", "Plasticity", "Rule"):
        assert wait_for(made, name, "UNCONFIGURED") == 0


@pytest.fixture(scope="module")
def driven(rig, robot):
    """Return an inactive controller in lock-step, and the driver that it reads."""
    made = rig(lock_step=True)
    made.simulator.end()
    driver = Driver(made.operator, robot)
    try:
        assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE), made.logs()
        assert wait_for(made, "Inputs", FINE) == 0
        yield made, driver
    finally:
        driver.end()


@pytest.mark.parametrize(
    ("message", "topic", "qos", "why"),
    [
        (JointState, "joint_states", BEST_EFFORT, "best effort publisher and reliable"),
        (Imu, "imu/data", BEST_EFFORT, "best effort publisher and reliable"),
    ],
)
def test_a_driver_that_cannot_be_heard_is_named_until_it_has_gone(driven, message, topic, qos, why):
    made, _ = driven
    node = made.operator.node
    publisher = node.create_publisher(message, topic, qos)
    expected = f"incompatible quality of service: {topic} of /{node.get_name()} ({why}"
    assert wait_for(made, "Inputs", expected) == 1
    node.destroy_publisher(publisher)
    assert wait_for(made, "Inputs", FINE) == 0


@pytest.mark.parametrize(
    ("qos", "why"),
    [
        (TRANSIENT_LOCAL, "volatile publisher and transient local subscription"),
        (DEADLINE, "subscription deadline is less than publisher deadline"),
    ],
)
def test_a_receiver_that_cannot_hear_the_commands_is_named_until_it_has_gone(driven, qos, why):
    made, _ = driven
    node = made.operator.node
    receiver = node.create_subscription(JointState, "joint_command", lambda _: None, qos)
    expected = f"incompatible quality of service: joint_command of /{node.get_name()} ({why}"
    assert wait_for(made, "Inputs", expected) == 1
    node.destroy_subscription(receiver)
    assert wait_for(made, "Inputs", FINE) == 0


def test_a_receiver_that_asks_for_less_hears_the_commands_and_nothing_is_wrong(driven):
    made, _ = driven
    heard = threading.Event()
    node = made.operator.node
    receiver = node.create_subscription(
        JointState, "joint_command", lambda _: heard.set(), BEST_EFFORT
    )
    assert heard.wait(PATIENCE)
    start = len(made.diagnostics.items)
    wait_for(made, "Inputs", FINE)
    wait_for(made, "Inputs", FINE)
    assert not any(
        "incompatible" in s.message for _, m in made.diagnostics.items[start:] for s in m.status
    )
    node.destroy_subscription(receiver)


def test_inactive_the_readings_are_checked_and_what_keeps_them_from_driving_is_told(driven):
    made, driver = driven
    driver.upside_down = True
    assert wait_for(made, "Inputs", "readings not usable for control: the body is tilted") == 1
    driver.upside_down = False
    assert wait_for(made, "Inputs", FINE) == 0

    driver.position = driver.position[:-1]
    assert wait_for(made, "Inputs", "joint_states: 12 names, but 11 values of position") == 1
    driver.position = [*driver.position, -1.0]
    assert wait_for(made, "Inputs", FINE) == 0

    driver.position[0] = float("nan")
    assert wait_for(made, "Inputs", "a sensor value is not finite") == 1
    driver.position[0] = 0.0
    assert wait_for(made, "Inputs", FINE) == 0

    driver.quiet = True
    assert wait_for(made, "Inputs", "no sensor reading for") == 2
    driver.quiet = False
    assert wait_for(made, "Inputs", FINE) == 0
