"""docs/operations.md says what the node has, and config/controller.yaml names nothing else."""

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from hebb_controller.node.controller_node import TRIGGERS
from hebb_controller.node.parameters import PARAMETERS, Parameter
from hebb_controller.node.plasticity_switch import REMEDIES
from hebb_controller.node.values import SwapState
from hebb_sim import sim_node

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def row(name: str, parameter: Parameter) -> str:
    """Return the row of the table for a parameter; to write a new one, print it."""
    choices = f" Choices: {', '.join(parameter.choices)}." if parameter.choices else ""
    return cells(name, parameter.default, f"{parameter.description}{choices}", live=parameter.live)


def cells(name, default, text, *, live):
    shown = f'"{default}"' if isinstance(default, str) else str(default).lower()
    return f"| `{name}` | `{shown}` | {text}{' *Live.*' if live else ''} |"


def test_the_table_of_the_simulators_parameters_has_each_of_them():
    page = (ROOT / "docs" / "damage.md").read_text(encoding="utf-8")
    for name, (default, text, live) in sim_node.PARAMETERS.items():
        assert cells(name, default, text, live=live) in page


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_has_its_row(name):
    assert row(name, PARAMETERS[name]) in PAGE


def test_the_table_has_no_other_rows():
    section = PAGE.partition("## Parameters")[2]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(PARAMETERS)


def test_every_service_swap_state_and_remedy_is_explained():
    for service in (*TRIGGERS, "~/freeze"):
        assert f"\n| `{service}` |" in PAGE
    for state in SwapState:
        assert f"\n| `{state.value}` |" in PAGE
    for words in list(REMEDIES.values())[:3]:
        assert f"`{words.value}: " in PAGE


def test_the_shipped_parameter_file_repeats_the_defaults():
    document = yaml.safe_load((ROOT / "config" / "controller.yaml").read_text(encoding="utf-8"))
    for name, value in document["/**/controller_node"]["ros__parameters"].items():
        assert value == PARAMETERS[name].default
        assert type(value) is type(PARAMETERS[name].default)
