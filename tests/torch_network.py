"""Plastic networks in torch: differentiable, and many at once.

Written from the method's equation, with η in its place there and without any of the runtimes' code,
so that it can verify them independently.

Source: Najarro & Risi 2020 (arXiv 2007.02686), eq. 1; coefficients per neuron: Ferigo et al. 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hebb_controller.errors import ShapeError
from hebb_controller.plasticity import RULE_KINDS, Array, UpdateSpec
from hebb_controller.rule import Rule


class NetworkState(NamedTuple):
    """The state of P networks.

    Attributes:
        weights: (P, n_out, n_in) per layer.
        initial: weights that decay leads back to, of the same shapes.
        trace: (P, n) averaged activations, or those of the previous tick, per layer of neurons.
        tick: ticks so far.
    """

    weights: tuple[Tensor, ...]
    initial: tuple[Tensor, ...]
    trace: tuple[Tensor, ...]
    tick: int


@dataclass(frozen=True)
class TorchNetwork:
    """P plastic networks that differ in coefficients and weights; :meth:`step` ticks all of them.

    Attributes:
        layers: tensor name -> (P, n_out, n_in) per layer, as in a rule file; empty for a static
            network.
        update: when and how far weights move.
        outside: the coefficient outside η, if any.
    """

    layers: Sequence[Mapping[str, Tensor]]
    update: UpdateSpec
    outside: str | None = None

    @classmethod
    def from_rules(cls, rules: Sequence[Rule], dtype: torch.dtype = torch.float32) -> TorchNetwork:
        """Return the networks of rules that differ only in their coefficients."""
        header = rules[0].header
        kind = RULE_KINDS[header.kind]
        if kind.per_neuron:
            parts = _stacked([rule.neurons for rule in rules], kind.tensors, dtype)
            layers = [_between(*pair) for pair in zip(parts, parts[1:], strict=False)]
        else:
            layers = _stacked([rule.layers for rule in rules], kind.tensors, dtype)
        return cls(layers, header.update, kind.outside)

    def start(self, weights: Sequence[Tensor]) -> NetworkState:
        """Return the state at the start of a run.

        Args:
            weights: (P, n_out, n_in) per layer.
        """
        sizes = [*(layer.shape[2] for layer in weights), weights[-1].shape[1]]
        trace = tuple(weights[0].new_zeros(len(weights[0]), size) for size in sizes)
        return NetworkState(tuple(weights), tuple(weights), trace, 0)

    def step(
        self, state: NetworkState, observation: Tensor, gain: float = 1.0
    ) -> tuple[NetworkState, Tensor]:
        """Return the state after one tick, and the actions, (P, n_action).

        Args:
            state: state before the tick; not modified.
            observation: (P, n_observation).
            gain: factor on every weight change; 0 freezes the weights.

        Raises:
            ShapeError: the observation has the wrong shape.
        """
        wanted = state.trace[0].shape
        if observation.shape != wanted:
            raise ShapeError(
                f"the observation has shape {tuple(observation.shape)}, "
                f"these networks need {tuple(wanted)}."
            )
        activations = [observation]
        for weights in state.weights:
            activations.append(torch.einsum("pij,pj->pi", weights, activations[-1]).tanh())
        tick, plastic = state.tick + 1, bool(self.layers[0])
        if self.update.trace_window == 1:
            trace = tuple(activations)
        elif plastic:
            share = 1.0 / self.update.trace_window
            trace = tuple(
                old + share * (new - old) for old, new in zip(state.trace, activations, strict=True)
            )
        else:
            trace = state.trace
        changed = state.weights
        if plastic and gain != 0 and tick % self.update.interval == 0:
            changed = tuple(
                self._normalised(weights + gain * self._change(k, weights, state, trace))
                for k, weights in enumerate(state.weights)
            )
        return NetworkState(changed, state.initial, trace, tick), activations[-1]

    def _change(
        self, k: int, weights: Tensor, state: NetworkState, trace: Sequence[Tensor]
    ) -> Tensor:
        """Return ΔW of a layer: η (A·post·pre + B·pre + C·post + D) + E + decay (W0 − W)."""
        layer = self.layers[k]
        pre, post = trace[k][:, None, :], trace[k + 1][:, :, None]
        factors = {"A": post * pre, "B": pre, "C": post, "D": torch.ones_like(post)}
        hebbian = torch.zeros_like(weights)
        for name, factor in factors.items():
            if name in layer and name != self.outside:
                hebbian = hebbian + layer[name] * factor
        change = layer["eta"] * hebbian if "eta" in layer else self.update.learning_rate * hebbian
        if self.outside is not None:
            change = change + layer[self.outside]
        if self.update.decay > 0:
            change = change + self.update.decay * (state.initial[k] - weights)
        return change

    def _normalised(self, weights: Tensor) -> Tensor:
        how, bound = self.update.normalisation, self.update.bound
        if how == "none":
            return weights
        if how == "clip":
            return weights.clamp(-bound, bound)
        largest = weights.abs().amax(dim=(1, 2), keepdim=True)
        divided = largest > (1.0 if how == "max_above_one" else 0.0)
        return weights / torch.where(divided, largest, 1.0)


def _stacked(
    networks: Sequence[Sequence[Mapping[str, Array]]], names: Sequence[str], dtype: torch.dtype
) -> list[dict[str, Tensor]]:
    """Return the tensors of all networks per layer, (P, …)."""
    return [
        {
            name: torch.tensor(np.stack([layer[name] for layer in same]), dtype=dtype)
            for name in names
        }
        for same in zip(*networks, strict=True)
    ]


def _between(pre: Mapping[str, Tensor], post: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the coefficients of synapses, (P, n_out, n_in), from those of the neurons, (P, n).

    A_ij = A_i·A_j, B_ij = B_j, C_ij = C_i, D_ij = D_i·D_j, η_ij = (η_i + η_j)/2, from j to i.
    """
    i = {name: tensor[:, :, None] for name, tensor in post.items()}
    j = {name: tensor[:, None, :] for name, tensor in pre.items()}
    return {
        "A": i["A"] * j["A"],
        "B": j["B"].expand(-1, i["B"].shape[1], -1),
        "C": i["C"].expand(-1, -1, j["C"].shape[2]),
        "D": i["D"] * j["D"],
        "eta": (i["eta"] + j["eta"]) / 2,
    }
