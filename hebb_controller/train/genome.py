"""The vector that is evolved, and the rule that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..network import InitialSpec
from ..plasticity import RULE_KINDS, Array, UpdateSpec
from ..rule_file import (
    FORMAT_VERSION,
    Contract,
    Json,
    Rule,
    RuleHeader,
    make_rule,
)


@dataclass(frozen=True)
class Genome:
    """How a flat vector becomes a rule.

    The vector holds, layer by layer, the coefficient tensors of the kind in the order of
    ``RULE_KINDS`` (row-major), then the evolved initial weights where there are any. The tensor
    ``eta`` is ``eta_max · sigmoid(vector)``.

    Attributes:
        kind: a key of ``RULE_KINDS``.
        layer_sizes: neurons per layer.
        update: when and how far weights move.
        initial: the weights at the start of a run.
        tick_period: s.
        contract: what the rule will expect of the robot.
        eta_max: largest eta.
        start_scale: standard deviation of the coefficients in generation 0.
    """

    kind: str
    layer_sizes: tuple[int, ...]
    update: UpdateSpec
    initial: InitialSpec
    tick_period: float
    contract: Contract
    eta_max: float
    start_scale: float

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors of one layer."""
        evolved = self.initial.distribution == "evolved"
        return (*RULE_KINDS[self.kind].tensors, *(("initial",) if evolved else ()))

    @property
    def size(self) -> int:
        """Length of the vector."""
        sizes = self.layer_sizes
        synapses = sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))
        return synapses * len(self.tensors)

    def start(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Return the vector of generation 0, (size,)."""
        parts = []
        for n_in, n_out in zip(self.layer_sizes, self.layer_sizes[1:], strict=False):
            for name in self.tensors:
                scale = n_in**-0.5 if name == "initial" else self.start_scale
                parts.append(scale * rng.standard_normal(n_in * n_out))
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
        for n_in, n_out in zip(self.layer_sizes, self.layer_sizes[1:], strict=False):
            layer = {}
            for name in self.tensors:
                part = vector[start : start + n_out * n_in].reshape(n_out, n_in)
                start += n_out * n_in
                layer[name] = self._eta(part) if name == "eta" else part
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
