"""What the diagnostics say, and how loudly."""

from dataclasses import replace

import pytest

pytest.importorskip("rclpy")

from hebb_controller.node.reports import ERROR, OK, WARN, Facts, diagnostics, status_message
from hebb_controller.node.values import LoopStatus, Phase
from hebb_controller.rule import LayerEnvelope

RUNNING = LoopStatus(Phase.RUN, "", "/rules/one", "ab12", swap=3, watch="its envelope, times 1.2")
FINE = Facts(
    "active",
    "a1",
    timing={"rate_hz": "50.0"},
    scheduling="normal",
    reading_age=0.01,
    sensor_timeout=0.1,
    measured=(LayerEnvelope(1.5, 0.25, 0.125),),
)


def said(status, facts):
    return {s.name: s for s in diagnostics("controller_node", status, facts)}


def values(status):
    return {pair.key: pair.value for pair in status.values}


def test_unconfigured_there_is_one_status_and_nothing_wrong():
    found = said(None, Facts("unconfigured", "a1"))
    assert list(found) == ["controller_node: Control Loop"]
    assert found["controller_node: Control Loop"].level == OK


def test_configured_there_are_the_four_and_their_values():
    found = said(RUNNING, FINE)
    assert list(found) == [
        f"controller_node: {name}" for name in ("Control Loop", "Inputs", "Plasticity", "Rule")
    ]
    assert {s.level for s in found.values()} == {OK}
    assert {s.hardware_id for s in found.values()} == {"a1"}
    assert values(found["controller_node: Control Loop"])["rate_hz"] == "50.0"
    assert values(found["controller_node: Plasticity"])["layer0"] == (
        "norm 1.5, change 0.25, saturation 0.125"
    )
    assert values(found["controller_node: Rule"])["swap"] == "3"


@pytest.mark.parametrize(
    ("name", "status", "facts", "level", "message"),
    [
        ("Control Loop", {"phase": Phase.DAMPED, "reason": "pulled"}, {}, ERROR, "DAMPED: pulled"),
        ("Control Loop", {}, {"others": ["/x"]}, WARN, "joint_command is also published by /x"),
        ("Control Loop", {}, {"missed": 0.01}, WARN, "RUN; 1.0% of the ticks were missed"),
        ("Control Loop", {}, {"missed": 0.0009}, OK, "RUN"),
        ("Control Loop", {}, {"scheduling": "not CPU 9: x"}, WARN, "RUN; not CPU 9: x"),
        (
            "Control Loop",
            {},
            {"scheduling": "CPU 1; not CPU 9: x"},
            WARN,
            "RUN; CPU 1; not CPU 9: x",
        ),
        ("Inputs", {}, {"reading_age": None}, WARN, "no complete sensor reading yet"),
        ("Inputs", {}, {"reading_age": 0.25}, ERROR, "no sensor reading for 0.25 s"),
        (
            "Inputs",
            {},
            {"reading_age": None, "quiet": "imu/data"},
            WARN,
            "no complete sensor reading yet: nothing of imu/data",
        ),
        (
            "Inputs",
            {},
            {"reading_age": 0.25, "quiet": "joint_states of knee"},
            ERROR,
            "no sensor reading for 0.25 s: nothing of joint_states of knee",
        ),
        ("Inputs", {}, {"velocity_complaint": "no cmd_vel yet"}, WARN, "no cmd_vel yet"),
        (
            "Control Loop",
            {},
            {"command_topic": "~/commands", "others": ["/x"]},
            WARN,
            "~/commands is also published by /x",
        ),
        ("Inputs", {}, {"refused": "joint_states: x"}, WARN, "joint_states: x"),
        ("Inputs", {}, {"constant": ["knee"]}, WARN, "read the same all the time: knee"),
        (
            "Inputs",
            {},
            {"incompatible": ["imu/data"]},
            WARN,
            "incompatible quality of service: imu/data",
        ),
        ("Plasticity", {"plasticity": "frozen: by ~/freeze"}, {}, OK, "frozen: by ~/freeze"),
        ("Plasticity", {"plasticity": "static: nothing"}, {}, OK, "static: nothing"),
        ("Plasticity", {"plasticity": "frozen: layer 0"}, {}, WARN, "frozen: layer 0"),
        (
            "Rule",
            {"swap_state": "rolled back", "swap_reason": "norm"},
            {},
            WARN,
            "rolled back: norm",
        ),
        ("Rule", {"swap_state": "probation"}, {}, OK, "/rules/one"),
    ],
)
def test_what_is_wrong_is_said_under_its_name(name, status, facts, level, message):
    found = said(replace(RUNNING, **status), replace(FINE, **facts))
    worse = {n for n, s in found.items() if s.level != OK}
    assert worse == ({f"controller_node: {name}"} if level != OK else set())
    ours = found[f"controller_node: {name}"]
    assert (ours.level, ours.message) == (level, message)


def test_the_status_holds_all_that_a_loop_says_of_itself():
    found = values(status_message("controller_node", "a1", RUNNING, "active"))
    assert found == {
        "phase": "RUN",
        "reason": "",
        "rule_file": "/rules/one",
        "sha256": "ab12",
        "swap": "3",
        "swap_state": "none",
        "swap_reason": "",
        "plasticity": "plastic",
        "watch": "its envelope, times 1.2",
        "lifecycle": "active",
    }
