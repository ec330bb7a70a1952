"""What the controller node tells about itself: diagnostics (REP 107), status, plasticity."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from ..rule import LayerEnvelope
from ..runtime.base import Runtime
from .values import LoopStatus, Phase

PLASTICITY_COLUMNS = ("mean_abs_change", "weight_norm")
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
NO_OVERRUN = 0.001  # share of ticks that may be missed before it is worth a warning


@dataclass(frozen=True)
class Facts:
    """What the diagnostics are made of, besides the loop's status.

    Attributes:
        lifecycle: state of the node.
        robot: its name.
        timing: figures of the control thread, as text.
        missed: share of the last second's ticks that nobody began.
        scheduling: of the control thread.
        command_topic: where commands go.
        others: who else publishes there.
        dry_run: whether commands go nowhere.
        ticks: of the rule.
        last_limits: safety stages that acted on the last command.
        reading_age: s; None if there was no reading.
        sensor_timeout: s.
        quiet: what was not heard within that time.
        refused: the last message that could not be used.
        velocity_complaint: that nobody commands the velocity that the rule needs.
        constant: joints that read the same all the time.
        incompatible: topics whose other end asks for another quality of service.
        gain: plasticity gain in force.
        tick_rate: of the rule, by the stamps, Hz.
        measured: norm, change and saturation per layer.
    """

    lifecycle: str
    robot: str
    timing: Mapping[str, str] = field(default_factory=dict)
    missed: float = 0.0
    scheduling: str = ""
    command_topic: str = "joint_command"
    others: Sequence[str] = ()
    dry_run: bool = False
    ticks: int = 0
    last_limits: str = "NONE"
    reading_age: float | None = None
    sensor_timeout: float = 0.0
    quiet: str = ""
    refused: str = ""
    velocity_complaint: str = ""
    constant: Sequence[str] = ()
    incompatible: Sequence[str] = ()
    gain: float = 0.0
    tick_rate: float = 0.0
    measured: Sequence[LayerEnvelope] = ()


def status_message(
    node: str, robot: str, status: LoopStatus | None, lifecycle: str
) -> DiagnosticStatus:
    """Return ~/status: all that a loop says of itself; None while there is no loop."""
    level, message, values = _control(status)
    return _status(f"{node}: status", robot, level, message, {**values, "lifecycle": lifecycle})


def diagnostics(node: str, status: LoopStatus | None, facts: Facts) -> list[DiagnosticStatus]:
    """Return the statuses of /diagnostics: Control Loop and, once configured, the other three."""
    level, message, values = _control(status)
    if status is not None:
        values |= {
            **facts.timing,
            "scheduling": facts.scheduling,
            "ticks": facts.ticks,
            "last_limits": facts.last_limits,
            "dry_run": facts.dry_run,
        }
        if level == OK and facts.others:
            others = ", ".join(facts.others)
            level, message = WARN, f"{facts.command_topic} is also published by {others}"
        elif level == OK and facts.missed > NO_OVERRUN:
            level, message = WARN, f"{message}; {facts.missed:.1%} of the ticks were missed"
        elif level == OK and "not " in facts.scheduling:
            level, message = WARN, f"{message}; {facts.scheduling}"
    values["lifecycle"] = facts.lifecycle
    parts = {"Control Loop": (level, message, values)}
    if status is not None:
        parts["Inputs"] = _inputs(facts)
        parts["Plasticity"] = _plasticity(status, facts)
        parts["Rule"] = _rule(status)
    return [_status(f"{node}: {name}", facts.robot, *part) for name, part in parts.items()]


def _control(status: LoopStatus | None) -> tuple[bytes, str, dict[str, object]]:
    if status is None:
        return OK, "UNCONFIGURED", {"phase": "UNCONFIGURED"}
    reason = f": {status.reason}" if status.reason else ""
    level = ERROR if status.phase is Phase.DAMPED else OK
    values = {**asdict(status), "phase": status.phase.value}
    return level, f"{status.phase.value}{reason}", values


def _inputs(facts: Facts) -> tuple[bytes, str, dict[str, object]]:
    age = facts.reading_age
    values: dict[str, object] = {
        "reading_age_ms": "" if age is None else f"{age * 1e3:.0f}",
        "refused_message": facts.refused,
        "constant_joints": " ".join(facts.constant),
        "incompatible_qos": " ".join(facts.incompatible),
    }
    quiet = f": nothing of {facts.quiet}" if facts.quiet else ""
    if age is None:
        return WARN, f"no complete sensor reading yet{quiet}", values
    if age > facts.sensor_timeout:
        return ERROR, f"no sensor reading for {age:.2f} s{quiet}", values
    if facts.refused:
        return WARN, facts.refused, values
    if facts.incompatible:
        return WARN, f"incompatible quality of service: {', '.join(facts.incompatible)}", values
    if facts.velocity_complaint:
        return WARN, facts.velocity_complaint, values
    if facts.constant:
        return WARN, f"read the same all the time: {', '.join(facts.constant)}", values
    return OK, "readings arrive", values


def _plasticity(status: LoopStatus, facts: Facts) -> tuple[bytes, str, dict[str, object]]:
    asked = (
        status.plasticity in {"plastic", "frozen: by ~/freeze"} or "static:" in status.plasticity
    )
    values: dict[str, object] = {
        "watch": status.watch,
        "plasticity_gain": facts.gain,
        "tick_rate_hz": f"{facts.tick_rate:.2f}",
    }
    for k, layer in enumerate(facts.measured):
        values[f"layer{k}"] = (
            f"norm {layer.norm:.4g}, change {layer.change:.4g}, saturation {layer.saturation:.3f}"
        )
    return OK if asked else WARN, status.plasticity, values


def _rule(status: LoopStatus) -> tuple[bytes, str, dict[str, object]]:
    keys = ("rule_file", "sha256", "swap", "swap_state", "swap_reason")
    values = {key: value for key, value in asdict(status).items() if key in keys}
    if status.swap_state == "rolled back":
        return WARN, f"rolled back: {status.swap_reason}", values
    return OK, status.rule_file, values


def _status(
    name: str, robot: str, level: bytes, message: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        name=name, hardware_id=robot, level=level, message=message, values=pairs
    )


def plasticity_message(runtime: Runtime) -> Float64MultiArray | None:
    """Return per layer the mean |ΔW| of the last plastic step and the weight norm.

    The array is (layers, 2), columns as in ``PLASTICITY_COLUMNS``; NaN where a runtime does not show
    its changes, None if it does not show its weights.
    """
    layers = getattr(runtime, "layers", None)
    if layers is None:
        return None
    hidden = [np.full(1, np.nan)] * len(layers)
    changes = getattr(runtime, "last_change", hidden) if runtime.plasticity_gain else None
    values: list[float] = []
    for layer, weights in enumerate(layers):
        values.append(0.0 if changes is None else float(np.abs(changes[layer]).mean()))
        values.append(float(np.linalg.norm(weights)))
    columns = len(PLASTICITY_COLUMNS)
    layout = MultiArrayLayout(
        dim=[
            MultiArrayDimension(label="layer", size=len(layers), stride=len(layers) * columns),
            MultiArrayDimension(label=",".join(PLASTICITY_COLUMNS), size=columns, stride=columns),
        ]
    )
    return Float64MultiArray(layout=layout, data=array("d", values))
