"""What the controller node tells about itself: diagnostics, status, plasticity."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from ..runtime.base import Runtime
from ..runtime.numpy_runtime import NumpyRuntime
from .values import LoopStatus, Phase

PLASTICITY_COLUMNS = ("mean_abs_change", "weight_norm")


def status_message(
    node: str, robot: str, status: LoopStatus | None, more: Mapping[str, object]
) -> DiagnosticStatus:
    """Return a status as a diagnostic message.

    Args:
        node: name of the node.
        robot: name of the robot.
        status: what the loop says; None while there is no loop.
        more: further key-value pairs.
    """
    message = DiagnosticStatus(name=f"{node}: control", hardware_id=robot)
    if status is None:
        message.level, message.message = DiagnosticStatus.OK, "UNCONFIGURED"
        values: dict[str, object] = {"phase": "UNCONFIGURED"}
    else:
        damped = status.phase is Phase.DAMPED
        message.level = DiagnosticStatus.ERROR if damped else DiagnosticStatus.OK
        reason = f": {status.reason}" if status.reason else ""
        message.message = f"{status.phase.value}{reason}"
        values = {
            "phase": status.phase.value,
            "reason": status.reason,
            "rule_file": status.rule_file,
            "sha256": status.sha256,
            "swap": status.swap,
        }
    message.values = [
        KeyValue(key=key, value=str(value)) for key, value in {**values, **more}.items()
    ]
    return message


def plasticity_message(runtime: Runtime) -> Float64MultiArray | None:
    """Return per layer the mean |ΔW| of the last plastic step and the weight norm.

    The array is (layers, 2), columns as in ``PLASTICITY_COLUMNS``; None if this runtime does not
    show its weights.
    """
    if not isinstance(runtime, NumpyRuntime):
        return None
    changes = runtime.last_change
    values: list[float] = []
    for layer, weights in enumerate(runtime.layers):
        values.append(0.0 if changes is None else float(np.abs(changes[layer]).mean()))
        values.append(float(np.linalg.norm(weights)))
    layers, columns = len(runtime.layers), len(PLASTICITY_COLUMNS)
    layout = MultiArrayLayout(
        dim=[
            MultiArrayDimension(label="layer", size=layers, stride=layers * columns),
            MultiArrayDimension(label=",".join(PLASTICITY_COLUMNS), size=columns, stride=columns),
        ]
    )
    return Float64MultiArray(layout=layout, data=array("d", values))
