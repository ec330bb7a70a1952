"""The protocol that every runtime, and any custom controller network, follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..plasticity import Array

State = Mapping[str, npt.NDArray[np.generic]]
"""A whole network state by name: weights, initial weights, traces, tick counter."""


class Runtime(Protocol):
    """A network with memory: observations in, actions out."""

    plasticity_gain: float
    """Factor on every weight change: 1 as evolved, 0 frozen."""

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run: draw the initial weights, forget the rest of the state.

        ``plasticity_gain`` is a setting, not state: it is kept.
        """
        ...

    def step(self, observation: Array) -> Array:
        """Return the action, (n_action,) in [−1, 1], and change the state by one tick.

        Args:
            observation: (n_observation,) dimensionless.

        Raises:
            ShapeError: the observation has another shape.
        """
        ...

    @property
    def state(self) -> State:
        """A copy of the whole state."""
        ...

    def restore(self, state: State) -> None:
        """Restore a state that :attr:`state` returned.

        Raises:
            ShapeError: an array is missing or of another shape; nothing is then changed.
        """
        ...


class InspectableRuntime(Runtime, Protocol):
    """A runtime that shows its network between ticks: all arrays are views, not to be changed."""

    @property
    def layers(self) -> list[Array]:
        """The weights per layer, (n_out, n_in)."""
        ...

    @property
    def activations(self) -> list[Array]:
        """The last activations per layer of neurons, (n,), the observation first."""
        ...

    @property
    def shows_change(self) -> bool:
        """Whether :attr:`last_change` is ever available."""
        ...

    @property
    def last_change(self) -> list[Array] | None:
        """The last plastic change per layer, (n_out, n_in), or None before the first."""
        ...
