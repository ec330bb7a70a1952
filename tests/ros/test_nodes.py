"""States, parameters and what the nodes refuse."""

import math
import time

import pytest
from nav_msgs.msg import Odometry
from rig import CONTROL, LATE, PATIENCE, SIM, Recorder, is_damp, values
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from hebb_controller.node.processes import CONTROLLER, SIMULATOR, NodeProcess


@pytest.fixture(scope="module")
def held(rig):
    """Return a rig whose controller nobody has configured yet."""
    return rig(patient=True)


def test_each_state_commands_what_the_table_says(held, rule_file, sha256):
    operator, commands = held.operator, held.commands
    assert operator.state(CONTROL) == "unconfigured"
    assert "not active" in operator.trigger(f"{CONTROL}/estop")
    held.set(SIM, "paused", False)
    assert operator.change_state(CONTROL, "configure", timeout=PATIENCE)
    held.readings.wait_for(20)
    assert not commands.items  # neither unconfigured nor inactive

    plasticity = []
    operator.watch(Float64MultiArray, f"{CONTROL}/plasticity", plasticity.append)
    assert operator.change_state(CONTROL, "activate")
    held.wait_for_phase("TO_DEFAULT_POSE")
    held.wait_for_phase("RUN")
    assert values(held.statuses.items[-1][1])["sha256"] == sha256(rule_file)
    commands.wait_for(20)
    assert not any(is_damp(m) for _, m in commands.items)

    assert operator.trigger(f"{CONTROL}/estop") == ""
    held.wait_for_phase("DAMPED")
    assert "~/estop" in held.status["reason"]
    assert operator.trigger(f"{CONTROL}/reset_estop") == ""
    held.wait_for_phase("RUN", since=len(held.statuses.items))

    assert operator.change_state(CONTROL, "deactivate")
    commands.wait(is_damp, since=len(commands.items) - 1)
    count = len(commands.items)
    held.readings.wait_for(20)
    assert len(commands.items) == count

    assert operator.change_state(CONTROL, "cleanup")
    assert operator.state(CONTROL) == "unconfigured"
    layout = plasticity[-1].layout.dim
    assert [(d.label, d.size) for d in layout] == [("layer", 2), ("mean_abs_change,weight_norm", 2)]
    assert any(all(value > 0 for value in message.data) for message in plasticity)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("rule_file", "/nowhere.rule.safetensors", "no such file"),
        ("rule_file", "", "rule_file is not set"),
        ("robot", "a2", "Shipped: a1"),
        ("sensor_timeout", LATE + 0.1, "max_reading_age"),
        ("sensor_timeout", 0.03, "at least two periods of the commands, 0.04 s"),
        ("lock_step", True, "needs tick_source sensor"),
        ("command_rate", 120.0, "whole multiple"),
    ],
)
def test_what_does_not_fit_fails_to_configure_with_one_clear_line(held, name, value, reason):
    good = held.operator.get_parameter(CONTROL, name)
    before = len(held.controller.output())
    held.set(CONTROL, name, value)
    try:
        assert not held.operator.change_state(CONTROL, "configure", timeout=PATIENCE)
        assert held.operator.state(CONTROL) == "unconfigured"
        said = held.controller.output()[before:]
        assert reason in said
        assert "Traceback" not in said
    finally:
        held.set(CONTROL, name, good)


def test_after_a_failure_the_mended_parameter_configures(held):
    assert held.operator.change_state(CONTROL, "configure", timeout=PATIENCE)


def test_somebody_else_on_the_command_topic_keeps_the_robot_from_being_driven(held):
    before = len(held.commands.items)
    intruder = held.operator.node.create_publisher(JointState, "joint_command", 1)
    end = time.monotonic() + PATIENCE
    while "joint_command is also published" not in str(
        [s.message for _, m in held.diagnostics.items[-5:] for s in m.status]
    ):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not held.operator.change_state(CONTROL, "activate")
    assert held.operator.state(CONTROL) == "inactive"
    name = held.operator.node.get_name()
    assert f"also published by /{name}: two nodes would fight" in held.controller.output()
    held.operator.node.destroy_publisher(intruder)
    assert len(held.commands.items) == before


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("plasticity_gain", math.nan, "range"),
        ("plasticity_gain", -1.0, "range"),
        ("robot", "a1", "Clean up first"),
        ("tick_source", "sensor", "Clean up first"),
    ],
)
def test_a_parameter_that_cannot_be_set_is_refused_with_the_reason(held, name, value, reason):
    assert reason in held.operator.set_parameter(CONTROL, name, value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("XX:limp", "no leg or joint 'XX'"), ("FR:broken", "kind 'broken' is unknown")],
)
def test_an_unknown_damage_is_refused_with_the_reason_and_changes_nothing(held, text, reason):
    assert reason in held.operator.set_parameter(SIM, "damage", text)
    since = len(held.diagnostics.items)
    _, status = held.wait_for_sim(lambda _: True, since=since)
    assert values(status)["damage"] == "none"


def test_damage_is_put_in_force_and_taken_back(held):
    for text in ("FR:limp,RL:weak:0.3", "none"):
        since = len(held.diagnostics.items)
        held.set(SIM, "damage", text)
        held.wait_for_sim(lambda s: values(s)["damage"] == text, since=since)  # noqa: B023


def test_the_simulated_robot_looks_like_a_real_one_and_tells_what_a_real_one_cannot(held):
    clock, odom = Recorder(), Recorder()
    held.operator.watch(Clock, "/clock", clock)
    held.operator.watch(Odometry, "odom", odom)
    clock.wait_for(1)
    _, last = odom.wait(lambda _: True, since=len(odom.items))
    clock.wait(lambda m: m.clock == last.header.stamp)
    held.readings.wait(lambda m: m.header.stamp == last.header.stamp)
    assert (last.header.frame_id, last.child_frame_id) == ("odom", "base_link")
    assert 0.05 < last.pose.pose.position.z < 0.35


@pytest.mark.parametrize(
    ("module", "parameters", "reason"),
    [
        (CONTROLLER, {"tick_source": "sun"}, "Known: timer, sensor"),
        (CONTROLLER, {"sensor_timeout": 1}, "sensor_timeout"),
        (CONTROLLER, {"heartbeat_timeot": 0.5}, "Did you mean heartbeat_timeout?"),
        (CONTROLLER, {"DRY_RUN": True}, "unknown parameter 'DRY_RUN'. Did you mean dry_run?"),
        (SIMULATOR, {"damage": "FR:eaten"}, "kind 'eaten' is unknown"),
        (SIMULATOR, {"real_time_factor": -1.0}, "real_time_factor is -1.0"),
    ],
)
def test_a_bad_value_at_the_start_ends_the_process_with_one_line(
    tmp_path, module, parameters, reason
):
    with NodeProcess(module, parameters, log=tmp_path / "log") as process:
        assert process.wait(PATIENCE) == 2
        said = process.output()
    assert reason in said
    assert "Traceback" not in said
