"""Runtimes, which execute rules."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import HebbError, MissingExtraError
from ..rule import Rule
from .base import InspectableRuntime
from .numpy_runtime import NumpyRuntime

RUNTIMES = ("numpy", "onnx")


def make_runtime(name: str, rule: Rule) -> InspectableRuntime:
    """Return a runtime for a rule by the runtime's name, one of ``RUNTIMES``.

    Raises:
        HebbError: there is no such runtime.
        MissingExtraError: it is not installed.
    """
    if name not in RUNTIMES:
        raise HebbError(f"runtime '{name}' is unknown. Known: {', '.join(RUNTIMES)}.")
    if name == "numpy":
        return NumpyRuntime(rule)
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "onnx")
    from .onnx_runtime import OnnxRuntime

    return OnnxRuntime.from_rule(rule)
