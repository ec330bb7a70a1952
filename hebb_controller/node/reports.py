"""What the controller node reports about itself: diagnostics (REP 107), status, plasticity."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from ..rule import LayerEnvelope
from ..runtime.base import InspectableRuntime
from .scheduling import NORMAL, Scheduling
from .values import LoopStatus, Phase, Plasticity, SwapState

PLASTICITY_COLUMNS = ("mean_abs_change", "weight_norm")
AS_ASKED = (
    Plasticity.PLASTIC,
    Plasticity.STATIC,
    Plasticity.FROZEN_BY_HAND,
    Plasticity.FROZEN_BY_GAIN,
)
"""States of plasticity without a warning: rule or operator asked for them."""
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class WarnLimits:
    """The limits beyond which Control Loop warns.

    Attributes:
        missed: share of a second's ticks that were missed.
        jitter: p99 of how late ticks begin, s.
        latency: p99 of the time from a reading's arrival to its command, s.
    """

    missed: float
    jitter: float
    latency: float


@dataclass(frozen=True)
class Facts:
    """What the diagnostics report besides the loop's status.

    Attributes:
        lifecycle: state of the node.
        robot: its name.
        timing: figures of the control thread.
        missed: share of the last second's ticks that were missed.
        hung: how long the control thread has been stuck, s; 0 if it is not.
        limits: limits beyond which these cause a warning; None for no warnings.
        scheduling: of the control thread.
        command_topic: where commands go.
        others: who else publishes there.
        dry_run: whether commands do not go to the robot.
        ticks: of the rule.
        last_limits: safety stages that acted on the last command.
        reading_age: s; None if there was no reading.
        sensor_timeout: s.
        quiet: what was not heard within that time.
        refused: why a message was refused recently.
        unfit: why the readings are not usable for control.
        velocity_complaint: that the rule needs a velocity, and none is commanded.
        constant: joints with constant readings.
        incompatible: topics, and the nodes that quality of service disconnects from them.
        strangers: what is wrong with the publishers of the inputs.
        gain: plasticity gain in force.
        tick_rate: of the rule, by the stamps, Hz.
        measured: norm, change and saturation per layer.
    """

    lifecycle: str
    robot: str
    timing: Mapping[str, float] = field(default_factory=dict)
    missed: float = 0.0
    hung: float = 0.0
    limits: WarnLimits | None = None
    scheduling: Scheduling = NORMAL
    command_topic: str = "joint_command"
    others: Sequence[str] = ()
    dry_run: bool = False
    ticks: int = 0
    last_limits: str = "NONE"
    reading_age: float | None = None
    sensor_timeout: float = 0.0
    quiet: str = ""
    refused: str = ""
    unfit: str = ""
    velocity_complaint: str = ""
    constant: Sequence[str] = ()
    incompatible: Sequence[str] = ()
    strangers: Sequence[str] = ()
    gain: float = 0.0
    tick_rate: float = 0.0
    measured: Sequence[LayerEnvelope] = ()


def status_message(
    node: str, robot: str, status: LoopStatus | None, lifecycle: str
) -> DiagnosticStatus:
    """Return ~/status: everything a loop says about itself; ``status`` is None without a loop."""
    level, message, values = _control(status)
    return _status(f"{node}: status", robot, level, message, {**values, "lifecycle": lifecycle})


def diagnostics(node: str, status: LoopStatus | None, facts: Facts) -> list[DiagnosticStatus]:
    """Return the four statuses of /diagnostics; before configuring, none reports a fault."""
    level, message, values = _control(status)
    parts = dict.fromkeys(
        ("Control Loop", "Inputs", "Plasticity", "Rule"), (level, message, values)
    )
    if status is not None:
        values |= {
            **{key: round(figure, 1) for key, figure in facts.timing.items()},
            "scheduling": facts.scheduling.detail,
            "ticks": facts.ticks,
            "last_limits": facts.last_limits,
            "dry_run": facts.dry_run,
        }
        if facts.hung:
            level, message = ERROR, f"the control thread has stood still for {facts.hung:.1f} s"
        if level == OK and (complaints := [*_complaints(status, facts)]):
            level, message = WARN, "; ".join((message, *complaints))
        parts = {
            "Control Loop": (level, message, values),
            "Inputs": _inputs(facts),
            "Plasticity": _plasticity(status, facts),
            "Rule": _rule(status),
        }
    values["lifecycle"] = facts.lifecycle
    return [_status(f"{node}: {name}", facts.robot, *part) for name, part in parts.items()]


def _complaints(status: LoopStatus, facts: Facts) -> Iterator[str]:
    """Yield what is wrong with the control thread, or around it."""
    if facts.others:
        yield f"{facts.command_topic} is also published by {', '.join(facts.others)}"
    limits = facts.limits
    if limits is not None and facts.missed > limits.missed:
        yield f"{facts.missed:.1%} of the ticks were missed"
    if limits is not None and status.phase is not Phase.INACTIVE:
        for name, most in (("jitter", limits.jitter), ("latency", limits.latency)):
            p99 = facts.timing.get(f"{name}_p99_us", 0.0) * 1e-6
            if p99 > most:
                yield f"{name} p99 is {p99 * 1e3:.1f} ms (limit {most * 1e3:g} ms)"
    if not facts.scheduling.granted:
        yield facts.scheduling.detail


def _control(status: LoopStatus | None) -> tuple[bytes, str, dict[str, object]]:
    if status is None:
        return OK, "UNCONFIGURED", {"phase": "UNCONFIGURED"}
    reason = f": {status.reason}" if status.reason else ""
    level = ERROR if status.phase is Phase.DAMPED else OK
    return level, f"{status.phase.value}{reason}", _published(status)


def _published(status: LoopStatus) -> dict[str, object]:
    """Return a status field by field, enumerations as their texts."""
    values = {
        **vars(status),
        "phase": status.phase.value,
        "swap_state": status.swap_state.value,
        "plasticity": status.plasticity_text,
    }
    del values["plasticity_reason"]  # it is in the text
    return values


def _inputs(facts: Facts) -> tuple[bytes, str, dict[str, object]]:
    age = facts.reading_age
    values: dict[str, object] = {
        "reading_age_ms": "" if age is None else f"{age * 1e3:.0f}",
        "refused_message": facts.refused,
        "unfit_reading": facts.unfit,
        "constant_joints": " ".join(facts.constant),
        "incompatible_qos": "; ".join(facts.incompatible),
    }
    level, found = WARN, []
    quiet = f": nothing of {facts.quiet}" if facts.quiet else ""
    if age is None:
        found.append(f"no complete sensor reading yet{quiet}")
    elif age > facts.sensor_timeout:
        level, found = ERROR, [f"no sensor reading for {age:.2f} s{quiet}"]
    elif facts.unfit:
        found.append(f"readings not usable for control: {facts.unfit}")
    if facts.refused:
        found.append(facts.refused)
    if facts.incompatible:
        found.append(f"incompatible quality of service: {'; '.join(facts.incompatible)}")
    found.extend(facts.strangers)
    if facts.velocity_complaint:
        found.append(facts.velocity_complaint)
    if facts.constant:
        found.append(f"constant readings: {', '.join(facts.constant)}")
    return (level, "; ".join(found), values) if found else (OK, "readings arrive", values)


def _plasticity(status: LoopStatus, facts: Facts) -> tuple[bytes, str, dict[str, object]]:
    values: dict[str, object] = {
        "watch": status.watch,
        "plasticity_gain": facts.gain,
        "tick_rate_hz": f"{facts.tick_rate:.2f}",
    }
    for k, layer in enumerate(facts.measured):
        values[f"layer{k}"] = (
            f"norm {layer.norm:.4g}, change {layer.change:.4g}, saturation {layer.saturation:.3f}"
        )
    level = OK if status.plasticity in AS_ASKED else WARN
    return level, status.plasticity_text, values


def _rule(status: LoopStatus) -> tuple[bytes, str, dict[str, object]]:
    keys = ("rule_file", "sha256", "swap", "swap_state", "swap_reason")
    values = {key: value for key, value in _published(status).items() if key in keys}
    if status.swap_state is SwapState.ROLLED_BACK:
        return WARN, f"rolled back: {status.swap_reason}", values
    return OK, status.rule_file, values


def _status(
    name: str, robot: str, level: bytes, message: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        name=name, hardware_id=robot, level=level, message=message, values=pairs
    )


def plasticity_message(runtime: InspectableRuntime) -> Float64MultiArray:
    """Return per layer the mean |ΔW| of the last plastic step and the weight norm.

    The array is (layers, 2), columns as in ``PLASTICITY_COLUMNS``; |ΔW| is NaN where the runtime does not
    show its changes, and 0 where plasticity is off.
    """
    layers, plastic = runtime.layers, bool(runtime.plasticity_gain)
    changes = runtime.last_change if plastic else None
    unseen = np.nan if plastic and not runtime.shows_change else 0.0
    values: list[float] = []
    for layer, weights in enumerate(layers):
        values.append(unseen if changes is None else float(np.abs(changes[layer]).mean()))
        values.append(float(np.linalg.norm(weights)))
    columns = len(PLASTICITY_COLUMNS)
    layout = MultiArrayLayout(
        dim=[
            MultiArrayDimension(label="layer", size=len(layers), stride=len(layers) * columns),
            MultiArrayDimension(label=",".join(PLASTICITY_COLUMNS), size=columns, stride=columns),
        ]
    )
    return Float64MultiArray(layout=layout, data=array("d", values))
