"""A rule as an ONNX graph in onnxruntime: one thread, no copy of the weights in a tick."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import RuleFileError, ShapeError
from ..files import read_bounded
from ..network import random_weights
from ..plasticity import RULE_KINDS, Array, layer_views, n_synapses
from ..rule import Rule, RuleHeader
from .base import State

if TYPE_CHECKING:
    import onnxruntime

Buffer: TypeAlias = npt.NDArray[np.generic]


class OnnxRuntime:
    """Runs one exported rule; see :class:`~hebb_controller.runtime.base.InspectableRuntime`.

    Its state is that of the numpy runtime. Weights live in two buffers: a tick reads one and writes
    the other, and the next tick does the reverse.

    Args:
        model: bytes that :func:`~hebb_controller.onnx_export.export_onnx` made.
        where: named in errors.

    Raises:
        RuleFileError: the bytes are something else.
    """

    shows_change = False

    def __init__(self, model: bytes, *, where: str = "model") -> None:
        import onnxruntime as ort

        from .onnx_model import read_onnx

        loaded = read_onnx(model, where)
        header = loaded.header
        sizes, update = header.layer_sizes, header.update
        plastic = bool(RULE_KINDS[header.kind].tensors)
        self.header: RuleHeader = header
        self.plasticity_gain = 1.0
        self._start = loaded.start
        self._session = ort.InferenceSession(
            loaded.data, _options(), providers=["CPUExecutionProvider"]
        )
        self._initial = np.zeros(n_synapses(sizes), dtype=np.float32)
        self._weights = [np.zeros_like(self._initial) for _ in range(2)]
        self._layers = [layer_views(weights, sizes) for weights in self._weights]
        self._activation = np.zeros(sum(sizes), dtype=np.float32)
        edges = np.cumsum([0, *sizes])
        self._activations = [self._activation[a:b] for a, b in zip(edges, edges[1:], strict=False)]
        averaged = update.trace_window > 1
        self._traces = [
            np.zeros_like(self._activation) if averaged else self._activation for _ in range(2)
        ]
        self._tick = np.zeros((), dtype=np.int64)
        self._gain = np.ones((), dtype=np.float32)
        self._now = 0  # which of the two buffers holds the state
        self._flip = int(plastic)  # a static rule returns no state: it stays where it is
        starts = layer_views(self._initial, sizes)
        self._bindings = []
        for now in range(2):
            inputs: dict[str, Buffer] = {
                "observation": self._activations[0],
                "gain": self._gain,
                "tick": self._tick,
            }
            inputs |= {f"weights{k}": layer for k, layer in enumerate(self._layers[now])}
            inputs |= {f"initial{k}": layer for k, layer in enumerate(starts)}
            inputs["trace"] = self._traces[now]
            outputs: dict[str, Buffer] = {
                f"activation{k}": part for k, part in enumerate(self._activations)
            }
            outputs["action"] = self._activations[-1]
            outputs |= {f"weights{k}_out": layer for k, layer in enumerate(self._layers[1 - now])}
            outputs["trace_out"] = self._traces[1 - now]
            self._bindings.append(self._bind(inputs, outputs))

    @classmethod
    def from_rule(cls, rule: Rule) -> OnnxRuntime:
        """Return a runtime for a rule in memory."""
        from ..onnx_export import export_onnx

        return cls(export_onnx(rule), where="rule")

    @property
    def layers(self) -> list[Array]:
        """The weights per layer, (n_out, n_in), until the next tick: views, not to be changed."""
        return self._layers[self._now]

    @property
    def activations(self) -> list[Array]:
        """The last activations per layer of neurons, (n,): views, not to be changed."""
        return self._activations

    @property
    def last_change(self) -> None:
        """None: the graph gives the weights after a tick, not the change before normalisation."""
        return None

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run: draw the initial weights, forget the rest of the state."""
        if self._start is not None:
            self._initial[:] = self._start
        else:
            self._initial[:] = random_weights(self.header.initial, self._initial.size, rng)
        self._weights[self._now][:] = self._initial
        self._traces[self._now].fill(0.0)
        self._tick[()] = 0

    def step(self, observation: Array) -> Array:
        """Return the action, (n_action,) in [−1, 1], and change the weights by one tick.

        Args:
            observation: (n_observation,) dimensionless.

        Raises:
            ShapeError: the observation has another length than the rule's first layer.
        """
        first = self._activations[0]
        if observation.shape != first.shape:
            raise ShapeError(
                f"the observation has shape {observation.shape}, the rule needs {first.shape}."
            )
        first[:] = observation
        self._gain[()] = self.plasticity_gain
        self._session.run_with_iobinding(self._bindings[self._now])
        self._now ^= self._flip
        self._tick += 1
        return self._activations[-1].copy()

    @property
    def state(self) -> State:
        """A copy of the whole state: weights, initial, trace, tick."""
        return {
            "weights": self._weights[self._now].copy(),
            "initial": self._initial.copy(),
            "trace": self._traces[self._now].copy(),
            "tick": self._tick.copy(),
        }

    def restore(self, state: State) -> None:
        """Restore a state that :attr:`state` returned, of this runtime or another.

        Raises:
            ShapeError: an array is missing or of another size; nothing is then changed.
        """
        own: dict[str, Buffer] = {
            "weights": self._weights[self._now],
            "initial": self._initial,
            "trace": self._traces[self._now],
            "tick": self._tick,
        }
        for name, array in own.items():
            if name not in state or state[name].shape != array.shape:
                raise ShapeError(f"state '{name}' is missing or not of shape {array.shape}.")
        for name, array in own.items():
            array[...] = state[name]

    def _bind(
        self,
        inputs: Mapping[str, Buffer],
        outputs: Mapping[str, Buffer],
    ) -> onnxruntime.IOBinding:
        """Return a binding of the graph's inputs and outputs to the buffers of the same names."""
        session = self._session
        binding = session.io_binding()
        taken = (*session.get_inputs(), *session.get_overridable_initializers())
        for bind, values, buffers in (
            (binding.bind_input, taken, inputs),
            (binding.bind_output, session.get_outputs(), outputs),
        ):
            for value in values:
                if value.name == "tick_out":  # counted here, also for graphs without it
                    continue
                array = buffers[value.name]
                bind(value.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return binding


def load_onnx(path: str | Path) -> OnnxRuntime:
    """Return a runtime for the exported rule in an ``.onnx`` file.

    Raises:
        RuleFileError: the file is missing, or is not what ``hebb export --onnx`` writes.
    """
    from ..onnx_export import MAX_ONNX_BYTES

    data = read_bounded(Path(path), MAX_ONNX_BYTES, RuleFileError)
    return OnnxRuntime(data, where=str(path))


def _options() -> onnxruntime.SessionOptions:
    """Return options for a tick of some ten microseconds, where a second thread only costs time."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    # Nothing in the graph can be fused: it runs as exported, and loads faster.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Shapes are fixed, so intermediate results share one planned block per tick, and malloc returns
    # the same one every time; an arena was no faster at any size, and holds more memory.
    options.enable_mem_pattern = True
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3  # a default for an input is intended: no warning
    return options
