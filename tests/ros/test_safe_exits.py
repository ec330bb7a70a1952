"""Whoever goes quiet, the robot is damped: measured by this process, which is neither of the two."""

import contextlib
import signal
import threading
import time

import pytest
from nav_msgs.msg import Odometry
from rig import CONTROL, PATIENCE, Recorder, is_damp, values

from hebb_controller.node.operator_client import NodeTimeoutError

SENSOR_TIMEOUT = COMMAND_TIMEOUT = 0.1  # s
TICK = 0.02
MARGIN = 0.05
pytestmark = pytest.mark.alone


@pytest.mark.parametrize("tick_source", ["timer", "sensor"])
def test_quiet_sensors_damp_in_time_and_for_good_until_the_reset(
    rig, record_testsuite_property, tick_source
):
    made = rig(controller={"tick_source": tick_source}).up().running(resets=2)
    made.readings.wait_for(25)
    odometry = Recorder()
    made.operator.watch(Odometry, "odom", odometry)
    odometry.wait_for(
        5
    )  # the last message of a tick: a driver stopped while it publishes holds locks
    statuses, commands = len(made.statuses.items), len(made.commands.items)
    made.simulator.send_signal(signal.SIGSTOP)
    try:
        since = len(made.diagnostics.items)
        made.wait_for_phase("DAMPED", since=statuses)
        quiet_since = made.readings.items[-1][0]
        when, _ = made.commands.wait(is_damp, since=commands)
        record_testsuite_property(f"last_reading_to_damp_{tick_source}", when - quiet_since)
        assert when - quiet_since <= SENSOR_TIMEOUT + TICK + MARGIN
        _, array = made.diagnostics.wait(lambda m: "DAMPED" in m.status[0].message, since=since)
        assert "ms old (limit 100 ms)" in values(array.status[0])["reason"]
    finally:
        made.simulator.send_signal(signal.SIGCONT)
    made.readings.wait_for(50)
    start = len(made.commands.items)
    made.commands.wait_for(25)
    assert all(is_damp(m) for _, m in made.commands.items[start:])
    assert made.status["phase"] == "DAMPED"
    since = len(made.statuses.items)
    assert made.operator.trigger(f"{CONTROL}/reset_estop") == ""
    made.wait_for_phase("TO_DEFAULT_POSE", since=since)
    made.wait_for_phase("RUN", since=since)


def test_sensors_that_never_come_damp_as_well(rig):
    made = rig()
    made.simulator.end()
    assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE)
    assert made.operator.change_state(CONTROL, "activate")
    made.wait_for_phase("DAMPED")
    assert "no complete sensor reading" in made.status["reason"]
    made.commands.wait(is_damp)
    assert "no sensor reading yet" in made.operator.trigger(f"{CONTROL}/reset_estop")


@pytest.fixture
def hangups():
    """Let children heed SIGHUP, which nohup would have them ignore."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("lock_step", [False, True])
@pytest.mark.usefixtures("hangups")
def test_a_signal_damps_before_the_process_ends_within_a_second(rig, number, lock_step):
    made = rig(lock_step=lock_step).up().running(resets=2)
    commands = len(made.commands.items)
    sent = time.monotonic()
    made.controller.send_signal(number)
    assert made.controller.wait(5.0) == 0, made.logs()
    ended = time.monotonic()
    assert ended - sent <= 1.0
    when, _ = made.commands.wait(is_damp, since=commands)
    assert when <= ended


def test_the_simulated_robot_damps_itself_when_the_controller_is_killed(
    rig, record_testsuite_property
):
    made = rig().up().running(resets=2)
    made.wait_for_sim(lambda s: s.message == "following commands")
    since = len(made.diagnostics.items)
    made.controller.send_signal(signal.SIGKILL)
    when, _ = made.wait_for_sim(lambda s: s.message == "damped: no command in time", since=since)
    last = max(arrived for arrived, _ in made.commands.items)
    record_testsuite_property("last_command_to_damp", when - last)
    assert when - last <= COMMAND_TIMEOUT + MARGIN


def test_the_simulation_ends_cleanly_within_a_second(rig):
    made = rig().up().running(resets=2)
    sent = time.monotonic()
    made.simulator.send_signal(signal.SIGINT)
    assert made.simulator.wait(5.0) == 0, made.logs()
    assert time.monotonic() - sent <= 1.0


def test_a_swap_under_way_does_not_keep_the_process_from_ending(rig, rule_file):
    made = rig().up().running(resets=2)

    def swap():
        with contextlib.suppress(NodeTimeoutError):
            made.operator.set_parameter(CONTROL, "rule_file", str(rule_file), timeout=3.0)

    swapping = threading.Thread(target=swap)
    swapping.start()
    made.commands.wait_for(5)  # a tenth of a second: the child process takes longer to start
    sent = time.monotonic()
    made.controller.send_signal(signal.SIGINT)
    assert made.controller.wait(5.0) == 0, made.logs()
    assert time.monotonic() - sent <= 1.0
    swapping.join()
