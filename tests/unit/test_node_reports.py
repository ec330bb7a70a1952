"""What the diagnostics say, and how loudly."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from toys import toy_rule

pytest.importorskip("rclpy")

from hebb_controller.node.reports import (
    ERROR,
    OK,
    WARN,
    Facts,
    WarnLimits,
    diagnostics,
    plasticity_message,
    status_message,
)
from hebb_controller.node.scheduling import NORMAL, Scheduling
from hebb_controller.node.values import LoopStatus, Phase, Plasticity, SwapState
from hebb_controller.rule import LayerEnvelope
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

RUNNING = LoopStatus(Phase.RUN, "", "/rules/one", "ab12", swap=3, watch="its envelope, times 1.2")
FINE = Facts(
    "active",
    "a1",
    timing={"rate_hz": 50.04, "jitter_p99_us": 4000.0, "latency_p99_us": 30_000.0, "overruns": 2},
    limits=WarnLimits(missed=0.001, jitter=0.005, latency=0.04),
    scheduling=NORMAL,
    reading_age=0.01,
    sensor_timeout=0.1,
    measured=(LayerEnvelope(1.5, 0.25, 0.125),),
)


def said(status, facts):
    return {s.name: s for s in diagnostics("controller_node", status, facts)}


def values(status):
    return {pair.key: pair.value for pair in status.values}


NAMES = [f"controller_node: {name}" for name in ("Control Loop", "Inputs", "Plasticity", "Rule")]


def test_unconfigured_nothing_is_wrong_whatever_was_wrong_before():
    found = said(None, Facts("unconfigured", "a1"))
    assert list(found) == NAMES
    assert {(s.level, s.message) for s in found.values()} == {(OK, "UNCONFIGURED")}
    assert values(found["controller_node: Control Loop"])["lifecycle"] == "unconfigured"


def test_configured_there_are_the_four_and_their_values():
    found = said(RUNNING, FINE)
    assert list(found) == NAMES
    assert {s.level for s in found.values()} == {OK}
    assert {s.hardware_id for s in found.values()} == {"a1"}
    control = values(found["controller_node: Control Loop"])
    assert (control["rate_hz"], control["overruns"]) == ("50.0", "2")
    assert values(found["controller_node: Plasticity"])["layer0"] == (
        "norm 1.5, change 0.25, saturation 0.125"
    )
    assert values(found["controller_node: Rule"])["swap"] == "3"


@pytest.mark.parametrize(
    ("name", "status", "facts", "level", "message"),
    [
        ("Control Loop", {"phase": Phase.DAMPED, "reason": "pulled"}, {}, ERROR, "DAMPED: pulled"),
        (
            "Control Loop",
            {},
            {"others": ["/x"]},
            WARN,
            "RUN; joint_command is also published by /x",
        ),
        ("Control Loop", {}, {"missed": 0.01}, WARN, "RUN; 1.0% of the ticks were missed"),
        ("Control Loop", {}, {"missed": 0.001}, OK, "RUN"),
        (
            "Control Loop",
            {},
            {"timing": {"jitter_p99_us": 5100.0}},
            WARN,
            "RUN; jitter p99 is 5.1 ms (limit 5 ms)",
        ),
        (
            "Control Loop",
            {},
            {"timing": {"latency_p99_us": 41_000.0}},
            WARN,
            "RUN; latency p99 is 41.0 ms (limit 40 ms)",
        ),
        (
            "Control Loop",
            {},
            {"timing": {"latency_p99_us": 41_000.0}, "missed": 0.02},
            WARN,
            "RUN; 2.0% of the ticks were missed; latency p99 is 41.0 ms (limit 40 ms)",
        ),
        (
            "Control Loop",
            {"phase": Phase.INACTIVE},
            {"timing": {"jitter_p99_us": 1e6, "latency_p99_us": 1e6}},
            OK,
            "INACTIVE",
        ),
        (
            "Control Loop",
            {},
            {"scheduling": Scheduling(False, "not CPU 9: x")},
            WARN,
            "RUN; not CPU 9: x",
        ),
        (
            "Control Loop",
            {},
            {"scheduling": Scheduling(False, "CPU 1; not CPU 9: x")},
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
            "RUN; ~/commands is also published by /x",
        ),
        (
            "Inputs",
            {},
            {"reading_age": 0.25, "unfit": "250 ms old", "incompatible": ["imu/data of /x (y)"]},
            ERROR,
            "no sensor reading for 0.25 s; incompatible quality of service: imu/data of /x (y)",
        ),
        ("Inputs", {}, {"unfit": "tilted"}, WARN, "readings not usable for control: tilted"),
        ("Inputs", {}, {"refused": "joint_states: x"}, WARN, "joint_states: x"),
        ("Inputs", {}, {"constant": ["knee"]}, WARN, "constant readings: knee"),
        (
            "Inputs",
            {},
            {"reading_age": None, "incompatible": ["imu/data of /x (y)"]},
            WARN,
            "no complete sensor reading yet; incompatible quality of service: imu/data of /x (y)",
        ),
        ("Plasticity", {"plasticity": Plasticity.FROZEN_BY_HAND}, {}, OK, "frozen: by ~/freeze"),
        (
            "Plasticity",
            {"plasticity": Plasticity.FROZEN_BY_GAIN},
            {},
            OK,
            "frozen: plasticity_gain is 0",
        ),
        (
            "Plasticity",
            {"plasticity": Plasticity.STATIC},
            {},
            OK,
            "static: the rule changes nothing",
        ),
        (
            "Plasticity",
            {"plasticity": Plasticity.FROZEN, "plasticity_reason": "layer 0"},
            {},
            WARN,
            "frozen: layer 0",
        ),
        (
            "Rule",
            {"swap_state": SwapState.ROLLED_BACK, "swap_reason": "norm"},
            {},
            WARN,
            "rolled back: norm",
        ),
        ("Rule", {"swap_state": SwapState.PROBATION}, {}, OK, "/rules/one"),
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


def test_plasticity_is_the_mean_change_and_the_norm_of_each_layer():
    runtime = NumpyRuntime(toy_rule())
    runtime.reset(np.random.default_rng(0))
    norms = [np.linalg.norm(layer) for layer in runtime.layers]
    assert list(plasticity_message(runtime).data) == pytest.approx([0.0, norms[0], 0.0, norms[1]])
    before = [layer.copy() for layer in runtime.layers]
    runtime.step(np.ones(6, dtype=np.float32))
    changes = [abs(new - old).mean() for new, old in zip(runtime.layers, before, strict=True)]
    assert list(plasticity_message(runtime).data)[::2] == pytest.approx(changes, rel=1e-5)
    runtime.plasticity_gain = 0.0
    assert list(plasticity_message(runtime).data)[::2] == [0.0, 0.0]


def test_a_change_that_a_runtime_does_not_show_is_not_a_number():
    hidden = SimpleNamespace(layers=[np.full((2, 2), 0.5)], last_change=None, shows_change=False)
    for gain, told in ((1.0, np.nan), (0.0, 0.0)):
        hidden.plasticity_gain = gain
        np.testing.assert_array_equal(plasticity_message(hidden).data, [told, 1.0])
