"""The controller node's parameters: one table, from which all that ROS asks for is derived."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from ..signature import POLICIES
from .values import Value


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is that of its default.

    Attributes:
        default: its value unless another is given.
        description: for people, with the unit.
        live: whether it may be set in every state; otherwise only while unconfigured.
        low, high: bounds of a number, included; ``low`` excluded where ``above_low``.
        choices: all that a text may be; empty for any.
    """

    default: Value
    description: str
    live: bool = False
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    choices: tuple[str, ...] = ()


PARAMETERS: Mapping[str, Parameter] = {
    "robot": Parameter("a1", "Name of a shipped robot spec, or path of a .yaml file."),
    "rule_file": Parameter(
        "",
        "Path of the .rule.safetensors file that drives the robot. Setting it while the node is "
        "inactive or active swaps the rule, after the new file was checked.",
        live=True,
    ),
    "rule_dir": Parameter(
        "", "If set, swaps load rule files from inside this directory only.", live=False
    ),
    "signature_policy": Parameter(
        "off",
        "What to do about a rule file that trusted_key has not signed: nothing, warn, or refuse it.",
        choices=POLICIES,
    ),
    "trusted_key": Parameter(
        "", "Path of the public key, NAME.pub, that rule files have to be signed by."
    ),
    "tick_source": Parameter(
        "timer",
        "What the control loop waits for: its own timer, or the arrival of joint_states and "
        "imu/data with one stamp.",
        choices=("timer", "sensor"),
    ),
    "lock_step": Parameter(
        default=False,
        description="Answer every reading with a command of the same stamp and judge ages by "
        "stamps: for a simulator that waits for the answer. Needs tick_source sensor.",
    ),
    "sensor_timeout": Parameter(
        0.1,
        "Sensors quiet for longer than this damp the robot, s; at most the max_reading_age of the "
        "robot spec.",
        low=0.0,
        high=10.0,
        above_low=True,
    ),
    "plasticity_gain": Parameter(
        1.0, "Factor on every weight change: 1 as evolved, 0 frozen.", live=True, low=0.0, high=10.0
    ),
    "seed": Parameter(
        0,
        "Seed of the initial weights of every run; -1 draws them from entropy.",
        low=-1,
        high=2**31 - 1,
    ),
}


def declare(node: Node) -> None:
    """Declare every parameter of the table on a node."""
    for name, parameter in PARAMETERS.items():
        node.declare_parameter(name, parameter.default, descriptor(parameter))


def descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows."""
    message = ParameterDescriptor(description=parameter.description)
    notes = [f"Choices: {', '.join(parameter.choices)}."] if parameter.choices else []
    if not parameter.live:
        notes.append("Settable while unconfigured.")
    message.additional_constraints = " ".join(notes)
    if math.isfinite(parameter.low) and math.isfinite(parameter.high):
        if isinstance(parameter.default, float):
            message.floating_point_range = [
                FloatingPointRange(from_value=parameter.low, to_value=parameter.high)
            ]
        else:
            message.integer_range = [
                IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high), step=1)
            ]
    return message


def refusal(name: str, value: Value) -> str:
    """Return why a parameter of the table cannot have a value, or an empty string.

    Whoever sets it over ROS has had the bounds checked already; at the start of a node nobody has.
    """
    parameter = PARAMETERS[name]
    if isinstance(value, str):
        if parameter.choices and value not in parameter.choices:
            return f"{name} is '{value}'. Known: {', '.join(parameter.choices)}."
        return ""
    if isinstance(value, bool):
        return ""
    inside = parameter.low <= value <= parameter.high
    if not math.isfinite(value) or not inside or (parameter.above_low and value == parameter.low):
        bracket = "(" if parameter.above_low else "["
        return f"{name} is {value}; it must be in {bracket}{parameter.low:g}, {parameter.high:g}]."
    return ""


@dataclass(frozen=True)
class Settings:
    """The values of the table, a field for each row."""

    robot: str
    rule_file: str
    rule_dir: str
    signature_policy: str
    trusted_key: str
    tick_source: str
    lock_step: bool
    sensor_timeout: float
    plasticity_gain: float
    seed: int

    @property
    def by_reading(self) -> bool:
        """Whether readings set the pace."""
        return self.tick_source == "sensor"

    def refusal(self) -> str:
        """Return why these values cannot go together, or an empty string."""
        for name in PARAMETERS:
            if reason := refusal(name, getattr(self, name)):
                return reason
        if self.lock_step and not self.by_reading:
            return "lock_step needs tick_source sensor. Set tick_source:=sensor."
        if self.signature_policy != "off" and not self.trusted_key:
            return (
                f"signature_policy {self.signature_policy} needs trusted_key. "
                f"Set it to the path of a public key, NAME.pub."
            )
        if not self.rule_file:
            return "rule_file is not set. Set it to the path of a .rule.safetensors file."
        return ""


def read(node: Node) -> Settings:
    """Return the values that a node's parameters have now."""
    return Settings(**{name: node.get_parameter(name).value for name in PARAMETERS})
