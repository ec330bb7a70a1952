"""The vector that is evolved, and the rule that it stands for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..contract import Contract
from ..json_fields import Json
from ..network import InitialSpec
from ..plasticity import RULE_KINDS, Array, UpdateSpec
from ..rule import FORMAT_VERSION, Rule, RuleHeader, make_rule
from .symmetry import Mirror, free_numbers


@dataclass(frozen=True)
class Genome:
    """How a flat vector becomes a rule.

    The vector holds, layer by layer, the coefficient tensors of the kind in the order of
    ``RULE_KINDS`` (row-major), then the evolved initial weights where there are any. The tensor
    ``eta`` is ``eta_max · sigmoid(vector)``. Of a symmetric rule it holds each number once that stands
    twice in the tensors.

    Attributes:
        kind: a key of ``RULE_KINDS``.
        layer_sizes: neurons per layer.
        update: when and how far weights move.
        initial: the weights at the start of a run.
        tick_period: s.
        contract: what the rule will expect of the robot.
        eta_max: largest eta.
        start_scale: standard deviation of the coefficients in generation 0.
        mirrors: of every layer of neurons, if the rule shall be its own mirror image.
    """

    kind: str
    layer_sizes: tuple[int, ...]
    update: UpdateSpec
    initial: InitialSpec
    tick_period: float
    contract: Contract
    eta_max: float
    start_scale: float
    mirrors: tuple[Mirror, ...] | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors of one layer."""
        evolved = self.initial.distribution == "evolved"
        return (*RULE_KINDS[self.kind].tensors, *(("initial",) if evolved else ()))

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(part.count for layer in self._layout for part in layer.values())

    @property
    def _layout(self) -> tuple[Mapping[str, _Part], ...]:
        return _layout(self.layer_sizes, self.tensors, self.mirrors)

    def start(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Return the vector of generation 0, (size,)."""
        parts = []
        for n_in, layer in zip(self.layer_sizes, self._layout, strict=False):
            for name, part in layer.items():
                scale = n_in**-0.5 if name == "initial" else self.start_scale
                parts.append(scale * rng.standard_normal(part.count))
        return np.concatenate(parts).astype(np.float32)

    def rule(
        self, vector: npt.NDArray[np.float32], provenance: Mapping[str, Json] | None = None
    ) -> Rule:
        """Return the rule that a vector stands for.

        Args:
            vector: (size,).
            provenance: goes into the header.

        Raises:
            RuleFileError: the vector holds NaN or inf.
        """
        layers: list[dict[str, Array]] = []
        start = 0
        for parts in self._layout:
            layer = {}
            for name, part in parts.items():
                tensor = vector[start : start + part.count][part.index] * part.factor
                start += part.count
                layer[name] = self._eta(tensor) if name == "eta" else tensor
            layers.append(layer)
        header = RuleHeader(
            format_version=FORMAT_VERSION,
            kind=self.kind,
            layer_sizes=self.layer_sizes,
            update=self.update,
            initial=self.initial,
            tick_period=self.tick_period,
            contract=self.contract,
            provenance=dict(provenance or {}),
            license="Apache-2.0",
        )
        return make_rule(header, layers, where="candidate")

    def _eta(self, part: npt.NDArray[np.float32]) -> Array:
        with np.errstate(over="ignore"):  # exp(-part) = inf is eta = 0
            return (np.float32(self.eta_max) / (1.0 + np.exp(-part))).astype(np.float32)


@dataclass(frozen=True)
class _Part:
    """One tensor in the vector: ``vector[start : start + count][index] * factor``."""

    index: npt.NDArray[np.int64]
    factor: npt.NDArray[np.float32]
    count: int


@functools.cache
def _layout(
    layer_sizes: tuple[int, ...], tensors: tuple[str, ...], mirrors: tuple[Mirror, ...] | None
) -> tuple[Mapping[str, _Part], ...]:
    layers = []
    for k, (n_in, n_out) in enumerate(zip(layer_sizes, layer_sizes[1:], strict=False)):
        parts = {}
        for name in tensors:
            if mirrors is None:
                index = np.arange(n_out * n_in).reshape(n_out, n_in)
                parts[name] = _Part(index, np.ones((n_out, n_in), np.float32), n_out * n_in)
            else:
                parts[name] = _Part(*free_numbers(mirrors[k], mirrors[k + 1], name))
        layers.append(parts)
    return tuple(layers)
