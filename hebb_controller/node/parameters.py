"""The controller node's parameters: one table, from which everything ROS needs is derived."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from ..errors import ParameterError
from ..signature import POLICIES
from .succession import SwapSettings
from .supervisor import SupervisorSettings
from .values import LoopSettings, Value

ROS_OWN = ("use_sim_time", "qos_overrides.", "start_type_description_service")


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is that of its default.

    Attributes:
        default: value unless another is given.
        description: for people, with the unit.
        live: whether it may be set in every state; otherwise only while unconfigured.
        low, high: bounds of a number, included; ``low`` excluded where ``above_low``.
        choices: strings allowed; empty for any.
    """

    default: Value
    description: str
    live: bool = False
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    choices: tuple[str, ...] = ()


V = TypeVar("V", bound=Value)


def _row(
    default: V,
    description: str,
    *,
    live: bool = False,
    low: float = -math.inf,
    high: float = math.inf,
    above_low: bool = False,
    choices: tuple[str, ...] = (),
) -> V:
    """Return the field of ``Settings`` that declares a parameter; arguments as in ``Parameter``."""
    row = Parameter(default, description, live, low, high, above_low, choices)
    return field(default=default, metadata={"parameter": row})


@dataclass(frozen=True)
class Settings:
    """The table: a field for each parameter; an instance holds their values."""

    robot: str = _row("a1", "Name of a shipped robot spec, or path of a .yaml file.")
    rule_file: str = _row(
        "",
        "Path of the .rule.safetensors file that drives the robot. Setting it while the node is "
        "inactive or active swaps the rule, once the new file has been checked.",
        live=True,
    )
    rule_dir: str = _row(
        "",
        "If set, swaps load rule files only from inside this directory; relative paths start there.",
    )
    swap_weights: str = _row(
        "fresh",
        "What a swapped-in rule starts from: fresh initial weights, or those of the previous rule, "
        "carried over (layer sizes must agree).",
        live=True,
        choices=("fresh", "carry"),
    )
    swap_blend: float = _row(
        0.5,
        "Time over which the commands of both rules are mixed at a swap, s; 0 to switch at once.",
        low=0.0,
        high=10.0,
    )
    swap_probation: float = _row(
        5.0,
        "Running time after a swap in which a safety trip, or weights beyond the envelope, bring back "
        "the previous rule, s; 0 for never.",
        low=0.0,
        high=600.0,
    )
    runtime: str = _row(
        "numpy", "What computes the network; onnx needs the extra onnx.", choices=("numpy", "onnx")
    )
    signature_policy: str = _row(
        "off",
        "What to do about a rule file that trusted_key has not signed: nothing, warn, or refuse it.",
        choices=POLICIES,
    )
    trusted_key: str = _row(
        "", "Path of the public key, NAME.pub, that rule files must be signed with."
    )
    tick_source: str = _row(
        "timer",
        "What the control loop waits for: its own timer, or the arrival of joint_states and "
        "imu/data with one stamp.",
        choices=("timer", "sensor"),
    )
    command_rate: float = _row(
        0.0,
        "Rate of the safety checks and of joint_command under tick_source timer, Hz: a whole multiple "
        "of the rule's own rate; 0 for that rate.",
        low=0.0,
        high=2000.0,
    )
    rate_tolerance: float = _row(
        0.2,
        "Fraction by which the tick rate may differ from the rule's before plasticity is frozen.",
        low=0.0,
        high=1.0,
        above_low=True,
    )
    lock_step: bool = _row(
        default=False,
        description="Answer every reading with a command of the same stamp and judge ages by "
        "stamps: for a simulator that waits for the answer. Needs tick_source sensor.",
    )
    sensor_timeout: float = _row(
        0.1,
        "Sensors quiet for longer than this damp the robot, s; at most the max_reading_age of the "
        "robot spec, and under tick_source timer at least two periods of the commands.",
        low=0.0,
        high=10.0,
        above_low=True,
    )
    frozen_timeout: float = _row(
        0.5,
        "While the robot runs, constant readings of all joints or of the imu, or constant stamps, for "
        "longer than this damp it, s; 0 for never.",
        low=0.0,
        high=60.0,
    )
    heartbeat_timeout: float = _row(
        0.0,
        "The robot takes its safe action after longer than this without a message on the topic "
        "heartbeat, s; 0 needs none.",
        low=0.0,
        high=60.0,
    )
    dry_run: bool = _row(
        default=False,
        description="Publish the commands on ~/dry_run instead of joint_command or ~/commands.",
    )
    command_type: str = _row(
        "joint_state",
        "Form of the commands: named targets on joint_command, or bare ones in the order of the robot "
        "spec on ~/commands, for a ros2_control forward controller. Bare ones cannot express DAMP: only "
        "for robots with safe_action hold.",
        choices=("joint_state", "float64_multi_array"),
    )
    plasticity_gain: float = _row(
        1.0, "Factor on every weight change: 1 as evolved, 0 frozen.", live=True, low=0.0, high=10.0
    )
    envelope_margin: float = _row(
        1.2,
        "Factor on the rule's envelope beyond which the supervisor acts.",
        low=1.0,
        high=100.0,
    )
    twin_speed: float = _row(
        0.1,
        "The static twin may drive only if the rule file says that it walks at least this fast, m/s.",
        low=-10.0,
        high=10.0,
    )
    twin_fall_rate: float = _row(
        0.1,
        "The static twin may drive only if the rule file says that it falls in at most this share of "
        "its walks.",
        low=0.0,
        high=1.0,
    )
    snapshot_file: str = _row(
        "",
        "Path of the .snapshot.safetensors file that ~/snapshot writes and ~/restore reads.",
        live=True,
    )
    warn_missed: float = _row(
        0.001,
        "Share of a second's ticks that may be missed before Control Loop warns.",
        live=True,
        low=0.0,
        high=1.0,
    )
    warn_jitter: float = _row(
        0.005,
        "How late ticks may begin (p99 of the last 1024) before Control Loop warns, s.",
        live=True,
        low=0.0,
        high=1.0,
    )
    warn_latency: float = _row(
        0.04,
        "Time from a reading's arrival to its command (p99 of the last 1024) beyond which Control Loop "
        "warns, s.",
        live=True,
        low=0.0,
        high=1.0,
    )
    weights_every: int = _row(
        50,
        "Ticks between two messages on ~/weights while somebody listens; 0 to publish only where a run "
        "begins or ends, or the weights are set.",
        low=0,
        high=2**31 - 1,
    )
    rt_priority: int = _row(
        0,
        "SCHED_FIFO priority of the control thread (the node's other threads get one less); 0 for normal "
        "scheduling.",
        low=0,
        high=99,
    )
    cpu: int = _row(-1, "The CPU that the control thread runs on; -1 for any.", low=-1, high=1023)
    seed: int = _row(
        0,
        "Seed of the initial weights of every run; -1 draws them from entropy.",
        low=-1,
        high=2**31 - 1,
    )

    @property
    def by_reading(self) -> bool:
        """Whether readings set the pace."""
        return self.tick_source == "sensor"

    @property
    def forward(self) -> bool:
        """Whether commands are the bare targets of a forward controller."""
        return self.command_type == "float64_multi_array"

    @property
    def swap(self) -> SwapSettings:
        """How one rule takes over from another."""
        return SwapSettings(self.swap_blend, self.swap_probation)

    @property
    def supervisor(self) -> SupervisorSettings:
        """How the weights are supervised."""
        return SupervisorSettings(self.envelope_margin, self.twin_speed, self.twin_fall_rate)

    def loop(self, period: float) -> LoopSettings:
        """Return how the loop judges time and rates, given the time between two commands, s."""
        return LoopSettings(
            sensor_timeout=self.sensor_timeout,
            lock_step=self.lock_step,
            by_stamps=self.by_reading,
            seed=self.seed,
            command_period=period,
            heartbeat_timeout=self.heartbeat_timeout,
            frozen_timeout=self.frozen_timeout,
            rate_tolerance=self.rate_tolerance,
            can_damp=not self.forward,
            obeyed=not self.dry_run,
        )

    def refusal(self) -> str:
        """Return why these values are inconsistent or invalid, or an empty string."""
        for name in PARAMETERS:
            if reason := refusal(name, getattr(self, name)):
                return reason
        if self.lock_step and not self.by_reading:
            return "lock_step needs tick_source sensor. Set tick_source:=sensor."
        if self.lock_step and self.forward:
            return (
                "lock_step needs command_type joint_state: an answer carries the stamp of its reading. "
                "Set command_type:=joint_state."
            )
        if self.command_rate and self.by_reading:
            return (
                "command_rate needs tick_source timer; under tick_source sensor a command answers "
                "every reading. Set command_rate to 0."
            )
        if self.signature_policy != "off" and not self.trusted_key:
            return (
                f"signature_policy {self.signature_policy} needs trusted_key. "
                f"Set it to the path of a public key, NAME.pub."
            )
        if not self.rule_file:
            return "rule_file is not set. Set it to the path of a .rule.safetensors file."
        return ""


PARAMETERS: Mapping[str, Parameter] = {
    row.name: row.metadata["parameter"] for row in fields(Settings)
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


def check_names(names: Iterable[str]) -> None:
    """Check that every parameter given to the node is one of its own, or of ROS.

    Raises:
        ParameterError: one is not: a limit that nobody checks is worse than a node that does not start.
    """
    for name in names:
        if name in PARAMETERS or name.startswith(ROS_OWN):
            continue
        near = difflib.get_close_matches(name.casefold(), PARAMETERS, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise ParameterError(
            f"unknown parameter '{name}'.{meant} What is for other nodes belongs under their names in a "
            f"parameter file, not under /**."
        )


def refusal(name: str, value: Value) -> str:
    """Return why a parameter of the table cannot have a value, or an empty string.

    A value set over ROS has had its bounds checked already; one given at the start has not.
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


def check_timeout(settings: Settings, period: float) -> None:
    """Check that a loop that is on time is not taken for a stalled one.

    Args:
        settings: of the node.
        period: between two commands under ``tick_source`` ``timer``, s.

    Raises:
        ParameterError: it would.
    """
    if not settings.by_reading and settings.sensor_timeout < 2.0 * period:
        raise ParameterError(
            f"sensor_timeout is {settings.sensor_timeout:g} s; under tick_source timer it must be at "
            f"least two periods of the commands, {2.0 * period:g} s. Set it higher, or raise command_rate."
        )


def read(node: Node) -> Settings:
    """Return the current values of a node's parameters."""
    return Settings(**{name: node.get_parameter(name).value for name in PARAMETERS})
