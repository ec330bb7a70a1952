"""The plastic update: one expression, one table of rule kinds.

Every kind in the literature is a special case of

    ΔW_ij = η_ij · (A_ij·post_i·pre_j + B_ij·pre_j + C_ij·post_i + D_ij) + E_ij

which is linear in its coefficients, so η is folded into A…D once, when a rule is loaded, and the
update itself is the same for all. Around it: activations may be averaged over some ticks (a trace),
the update may run every few ticks, weights may decay towards their start, and layers may be normalised.

Source: Najarro & Risi 2020 (arXiv 2007.02686), eq. 1 and table of variants; traces, sparse updates
and decay follow Dittrich 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .errors import RuleFileError

Array = npt.NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class RuleKind:
    """Which coefficients a kind of rule has, each of shape (n_out, n_in).

    Attributes:
        inside: coefficients multiplied by eta, a subset of A, B, C, D in that order.
        eta: whether eta is a tensor; otherwise it is the scalar ``UpdateSpec.learning_rate``.
        outside: a constant added outside eta, or None.
        per_neuron: whether the file holds coefficients per neuron, from which those of the synapses
            are computed; see :func:`expand`.
    """

    inside: tuple[str, ...]
    eta: bool = False
    outside: str | None = None
    per_neuron: bool = False

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the coefficient tensors of one layer."""
        return (
            *self.inside,
            *(("eta",) if self.eta else ()),
            *((self.outside,) if self.outside else ()),
        )


RULE_KINDS: Mapping[str, RuleKind] = {
    "static": RuleKind(()),
    "A": RuleKind(("A",)),
    "AD": RuleKind(("A", "D")),
    "AD_eta": RuleKind(("A", "D"), eta=True),
    "ABC": RuleKind(("A", "B", "C")),
    "ABC_eta": RuleKind(("A", "B", "C"), eta=True),
    "ABCD": RuleKind(("A", "B", "C", "D")),
    "ABCD_eta": RuleKind(("A", "B", "C", "D"), eta=True),
    "ABCD_eta_D_outside": RuleKind(("A", "B", "C"), eta=True, outside="D"),
    "ABCD_eta_E_outside": RuleKind(("A", "B", "C", "D"), eta=True, outside="E"),
    "ABCD_eta_neuron": RuleKind(("A", "B", "C", "D"), eta=True, per_neuron=True),
}

MAX_INTERVAL = 1_000_000  # ticks
NORMALISATIONS = ("none", "max", "max_above_one", "clip")


@dataclass(frozen=True)
class UpdateSpec:
    """When and how far weights move.

    Attributes:
        interval: ticks between two updates.
        trace_window: pre and post are exponential averages with this time constant, ticks; 1 means
            the activations themselves.
        decay: fraction of the way back to the initial weights, per update.
        normalisation: per layer after an update: ``none``, ``max`` (divide by max|W|),
            ``max_above_one`` (only where max|W| > 1) or ``clip`` (to ±``bound``).
        bound: largest |W| under ``clip``.
        learning_rate: eta of the kinds without an eta tensor.
    """

    interval: int
    trace_window: float
    decay: float
    normalisation: str
    bound: float
    learning_rate: float

    def check(self, where: str) -> None:
        """Raise RuleFileError if a value is invalid."""
        if not 1 <= self.interval <= MAX_INTERVAL:
            raise RuleFileError(
                f"{where}.interval is {self.interval}; it must be in [1, {MAX_INTERVAL}]."
            )
        if self.trace_window < 1:
            raise RuleFileError(
                f"{where}.trace_window is {self.trace_window}; it must be at least 1."
            )
        if not 0 <= self.decay <= 1:
            raise RuleFileError(f"{where}.decay is {self.decay}; it must be between 0 and 1.")
        if self.normalisation not in NORMALISATIONS:
            raise RuleFileError(
                f"{where}.normalisation '{self.normalisation}' is unknown. "
                f"Known: {', '.join(NORMALISATIONS)}."
            )
        if self.bound <= 0:
            raise RuleFileError(f"{where}.bound is {self.bound}; it must be positive.")


@dataclass(frozen=True)
class Coefficients:
    """The coefficients of a whole network with eta folded in.

    Each is flat, shape (n_synapses,), layer by layer in row-major order; None where
    the kind has no such term.
    """

    a: Array | None
    b: Array | None
    c: Array | None
    d: Array | None


def expand(neurons: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    """Return the synapses' coefficients, from those of the neurons at their two ends.

    A_ij = A_i·A_j, B_ij = B_j, C_ij = C_i, D_ij = D_i·D_j, η_ij = (η_i + η_j)/2, with i the neuron
    after the synapse and j the one before it.

    Args:
        neurons: per layer of neurons, A, B, C, D and eta, each (n,).

    Returns:
        Per layer of synapses, the same names, each (n_out, n_in).

    Source: Ferigo et al. 2024, neuron-centric Hebbian learning: five numbers per neuron.
    """
    layers = []
    for pre, post in zip(neurons, neurons[1:], strict=False):
        shape = (len(post["A"]), len(pre["A"]))
        layers.append(
            {
                "A": np.outer(post["A"], pre["A"]),
                "B": np.broadcast_to(pre["B"], shape),
                "C": np.broadcast_to(post["C"][:, None], shape),
                "D": np.outer(post["D"], pre["D"]),
                "eta": np.float32(0.5) * (post["eta"][:, None] + pre["eta"]),
            }
        )
    return layers


def fold(
    kind: RuleKind, layers: Sequence[Mapping[str, Array]], learning_rate: float
) -> Coefficients:
    """Return the coefficients of all layers with eta multiplied in.

    Args:
        kind: the kind of rule.
        layers: per layer, tensor name -> (n_out, n_in).
        learning_rate: eta of the kinds without an eta tensor.
    """
    if not kind.tensors:
        return Coefficients(None, None, None, None)
    flat = {
        name: np.concatenate([layer[name].ravel() for layer in layers]).astype(np.float32)
        for name in kind.tensors
    }
    eta = flat["eta"] if kind.eta else np.float32(learning_rate)
    folded: dict[str, Array | None] = {
        name: (eta * flat[name] if name in kind.inside else None) for name in "ABCD"
    }
    if kind.outside is not None:
        inside = folded["D"]
        outside = flat[kind.outside]
        folded["D"] = outside if inside is None else inside + outside
    return Coefficients(folded["A"], folded["B"], folded["C"], folded["D"])


class PlasticUpdate:
    """Adds one plastic step to flat weights in place, without allocating.

    Args:
        coefficients: from :func:`fold`.
        layer_sizes: sizes of the layers, the observation first.
        decay: fraction of the way back to the initial weights, per step.
    """

    def __init__(
        self, coefficients: Coefficients, layer_sizes: Sequence[int], decay: float
    ) -> None:
        self._coefficients = coefficients
        self._decay = np.float32(decay)
        synapses = n_synapses(layer_sizes)
        self._delta = np.empty(synapses, dtype=np.float32)
        self._scratch = np.empty(synapses, dtype=np.float32)
        self._pre = np.empty(synapses, dtype=np.float32)
        self._post = np.empty(synapses, dtype=np.float32)
        self._pre_layers = layer_views(self._pre, layer_sizes)
        self._post_layers = layer_views(self._post, layer_sizes)

    def step(
        self,
        weights: Array,
        initial: Array,
        activations: Sequence[Array],
        gain: float,
    ) -> Array:
        """Move ``weights`` by one step and return the change added, before normalisation.

        The returned array is a buffer that the next step overwrites.

        Args:
            weights: (n_synapses,) changed in place.
            initial: (n_synapses,) weights that decay returns to.
            activations: per layer of neurons, (n,) activations or their traces.
            gain: factor on the whole change.
        """
        k = self._coefficients
        delta, scratch, pre, post = self._delta, self._scratch, self._pre, self._post
        for layer, (pre_view, post_view) in enumerate(
            zip(self._pre_layers, self._post_layers, strict=True)
        ):
            pre_view[:] = activations[layer]
            post_view[:] = activations[layer + 1][:, None]
        # (A·pre + C)·post + B·pre + D
        if k.a is None:
            delta.fill(0.0)
        else:
            np.multiply(k.a, pre, out=delta)
        if k.c is not None:
            np.add(delta, k.c, out=delta)
        np.multiply(delta, post, out=delta)
        if k.b is not None:
            np.multiply(k.b, pre, out=scratch)
            np.add(delta, scratch, out=delta)
        if k.d is not None:
            np.add(delta, k.d, out=delta)
        if self._decay:
            np.subtract(initial, weights, out=scratch)
            np.multiply(scratch, self._decay, out=scratch)
            np.add(delta, scratch, out=delta)
        if gain != 1.0:
            np.multiply(delta, np.float32(gain), out=delta)
        np.add(weights, delta, out=weights)
        return delta


def normalise(weights: Array, layers: Sequence[Array], update: UpdateSpec) -> None:
    """Normalise weights in place, layer by layer.

    Args:
        weights: (n_synapses,) all weights.
        layers: views into ``weights``, one per layer.
        update: selects the normalisation.
    """
    if update.normalisation == "clip":
        np.maximum(weights, np.float32(-update.bound), out=weights)
        np.minimum(weights, np.float32(update.bound), out=weights)
    elif update.normalisation in ("max", "max_above_one"):
        for layer in layers:
            largest = max(float(layer.max()), -float(layer.min()))
            if largest > 1.0 or (update.normalisation == "max" and largest > 0.0):
                np.divide(layer, np.float32(largest), out=layer)


def n_synapses(layer_sizes: Sequence[int]) -> int:
    """Return the number of synapses between layers of these sizes, each fully joined to the next."""
    return sum(n_in * n_out for n_in, n_out in zip(layer_sizes, layer_sizes[1:], strict=False))


def layer_views(flat: npt.NDArray[Number], layer_sizes: Sequence[int]) -> list[npt.NDArray[Number]]:
    """Return (n_out, n_in) views of a flat (n_synapses,) array, one per layer."""
    views = []
    start = 0
    for n_in, n_out in zip(layer_sizes, layer_sizes[1:], strict=False):
        views.append(flat[start : start + n_out * n_in].reshape(n_out, n_in))
        start += n_out * n_in
    return views
