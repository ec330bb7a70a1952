"""The default runtime: numpy, in place; a tick allocates only the returned action."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..network import forward, random_weights
from ..plasticity import RULE_KINDS, Array, PlasticUpdate, fold, layer_views, normalise
from ..rule import Rule
from .base import State


class NumpyRuntime:
    """Runs one rule; see :class:`~hebb_controller.runtime.base.InspectableRuntime`.

    A tick is: forward pass → action → every ``interval`` ticks one plastic step → normalise.

    Args:
        rule: a validated rule.
    """

    shows_change = True

    def __init__(self, rule: Rule) -> None:
        header = rule.header
        sizes = header.layer_sizes
        kind = RULE_KINDS[header.kind]
        self.plasticity_gain = 1.0
        self._rule = rule
        self._update = header.update
        self._plastic = bool(kind.tensors)
        self._step = PlasticUpdate(
            fold(kind, rule.layers, header.update.learning_rate), sizes, header.update.decay
        )
        self._alpha = np.float32(1.0 / header.update.trace_window)
        self._weights = np.zeros(rule.n_synapses, dtype=np.float32)
        self._initial = np.zeros_like(self._weights)
        self._layers = layer_views(self._weights, sizes)
        self._activation = np.zeros(sum(sizes), dtype=np.float32)
        self._scratch = np.zeros_like(self._activation)
        edges = np.cumsum([0, *sizes])
        parts = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]
        self._activations = [self._activation[part] for part in parts]
        if header.update.trace_window > 1:
            self._trace = np.zeros_like(self._activation)
        else:
            self._trace = self._activation
        self._traces = [self._trace[part] for part in parts]
        self._delta_layers: list[Array] | None = None
        self._tick = 0

    @property
    def layers(self) -> list[Array]:
        """The live weights per layer, (n_out, n_in): views, not to be changed."""
        return self._layers

    @property
    def activations(self) -> list[Array]:
        """The last activations per layer of neurons, (n,): views, not to be changed."""
        return self._activations

    @property
    def last_change(self) -> list[Array] | None:
        """The last plastic change per layer, or None before the first: views, not to be changed."""
        return self._delta_layers

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run: draw the initial weights, forget the rest of the state."""
        initial = self._rule.header.initial
        if initial.distribution == "evolved":
            self._initial[:] = np.concatenate([la["initial"].ravel() for la in self._rule.layers])
        else:
            self._initial[:] = random_weights(initial, self._initial.size, rng)
        self._weights[:] = self._initial
        self._trace.fill(0.0)
        self._delta_layers = None
        self._tick = 0

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
        forward(self._layers, self._activations)
        self._tick += 1
        if self._plastic:
            if self._trace is not self._activation:
                np.subtract(self._activation, self._trace, out=self._scratch)
                np.multiply(self._scratch, self._alpha, out=self._scratch)
                np.add(self._trace, self._scratch, out=self._trace)
            if self.plasticity_gain and self._tick % self._update.interval == 0:
                delta = self._step.step(
                    self._weights, self._initial, self._traces, self.plasticity_gain
                )
                normalise(self._weights, self._layers, self._update)
                if self._delta_layers is None:
                    self._delta_layers = layer_views(delta, self._rule.header.layer_sizes)
        return self._activations[-1].copy()

    @property
    def state(self) -> State:
        """A copy of the whole state: weights, initial, trace, tick."""
        return {
            "weights": self._weights.copy(),
            "initial": self._initial.copy(),
            "trace": self._trace.copy(),
            "tick": np.array(self._tick, dtype=np.int64),
        }

    def restore(self, state: State) -> None:
        """Restore a state that :attr:`state` returned.

        Raises:
            ShapeError: an array is missing or of another size; nothing is then changed.
        """
        own = {"weights": self._weights, "initial": self._initial, "trace": self._trace}
        for name, array in own.items():
            if name not in state or state[name].shape != array.shape:
                raise ShapeError(f"state '{name}' is missing or not of shape {array.shape}.")
        if "tick" not in state or state["tick"].shape != ():
            raise ShapeError("state 'tick' is missing or not a single number.")
        for name, array in own.items():
            array[:] = state[name]
        self._delta_layers = None
        self._tick = int(state["tick"])
