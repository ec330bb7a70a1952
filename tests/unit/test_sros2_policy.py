"""The SROS2 policy names what the controller node has, and gives nobody else its voice."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("rclpy")

from hebb_controller.node.controller_node import TRIGGERS
from hebb_controller.node.recorder_node import TOPICS

ROOT = Path(__file__).resolve().parents[2]
POLICY = ET.parse(ROOT / "docs" / "sros2_policy.xml").getroot()  # noqa: S314 - our own file
SERVICES = {*TRIGGERS, "~/freeze"}


def allowed(enclave, kind, verb):
    """Return the topics or services that an enclave may use so."""
    (found,) = (e for e in POLICY.iter("enclave") if e.get("path") == f"/hebb/{enclave}")
    lists = [part for part in found.iter(f"{kind}s") if part.get(verb) == "ALLOW"]
    return {str(item.text) for part in lists for item in part.findall(kind)}


def test_the_controller_answers_every_service_that_it_has():
    assert allowed("controller", "service", "reply") >= SERVICES


def test_the_controller_may_publish_what_the_recorder_takes_of_it():
    recorded = {
        name.replace("controller_node", "~") for name in TOPICS if "controller_node" in name
    }
    assert allowed("controller", "topic", "publish") >= recorded


def test_the_operator_may_ask_for_every_service():
    asked = allowed("operator", "service", "request")
    assert asked >= {name.replace("~", "/controller_node") for name in SERVICES}


def test_only_the_controller_commands_and_only_the_driver_measures():
    for topic, speaker in {
        "joint_command": "controller",
        "joint_states": "driver",
        "imu/data": "driver",
        "estop": "operator",
    }.items():
        speaks = {
            enclave
            for enclave in ("controller", "driver", "operator")
            if topic in allowed(enclave, "topic", "publish")
        }
        assert speaks == {speaker}
    assert allowed("controller", "topic", "subscribe") >= {
        "joint_states",
        "imu/data",
        "estop",
        "heartbeat",
    }
