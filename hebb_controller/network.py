"""The forward pass, and the distributions of initial weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import RuleFileError
from .plasticity import Array

DISTRIBUTIONS = ("uniform", "normal", "evolved")


@dataclass(frozen=True)
class InitialSpec:
    """The weights at the start of a run.

    Attributes:
        distribution: ``uniform`` in ±scale, ``normal`` with standard deviation scale, or
            ``evolved`` (the file's ``layer{k}.initial``; scale is not used).
        scale: dimensionless.
    """

    distribution: str
    scale: float

    def check(self, where: str) -> None:
        """Raise RuleFileError if a value is invalid."""
        if self.distribution not in DISTRIBUTIONS:
            raise RuleFileError(
                f"{where}.distribution '{self.distribution}' is unknown. "
                f"Known: {', '.join(DISTRIBUTIONS)}."
            )
        if self.scale <= 0:
            raise RuleFileError(f"{where}.scale is {self.scale}; it must be positive.")


def random_weights(initial: InitialSpec, n_synapses: int, rng: np.random.Generator) -> Array:
    """Return random initial weights, shape (n_synapses,).

    numpy promises the same numbers for the same seed only on the same build.
    """
    if initial.distribution == "normal":
        return (initial.scale * rng.standard_normal(n_synapses)).astype(np.float32)
    return rng.uniform(-initial.scale, initial.scale, n_synapses).astype(np.float32)


def forward(layers: Sequence[Array], activations: Sequence[Array]) -> None:
    """Fill ``activations[1:]`` in place from ``activations[0]``: a = tanh(W a), without biases.

    Args:
        layers: (n_out, n_in) weights per layer.
        activations: per layer of neurons, (n,); the first is the observation, the last the action.

    Source: Najarro & Risi 2020; tanh on the output too.
    """
    # BLAS kernels for small matrices may set the "invalid" flag for lanes whose result they discard;
    # safety, not this flag, tests whether the outcome is finite.
    with np.errstate(invalid="ignore"):
        for weights, pre, post in zip(layers, activations, activations[1:], strict=False):
            np.dot(weights, pre, out=post)
            np.tanh(post, out=post)
