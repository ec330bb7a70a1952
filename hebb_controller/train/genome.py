"""The vector that is evolved, and the controller that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..contract import Contract
from ..controller import Controller, controller_for
from ..errors import TrainingError
from ..json_fields import Json
from ..network import InitialSpec
from ..plasticity import Array, UpdateSpec
from ..robot import RobotSpec
from ..rule import FORMAT_VERSION, Rule, RuleHeader, make_rule
from .baseline_file import Baseline, BaselineHeader, make_baseline
from .baselines import baseline_controller
from .layout import Part, baseline_layout, rule_layout, tensors_in, vector_of
from .symmetry import Mirror


class Evolvable(Protocol):
    """What a training can evolve: a picklable frozen dataclass that says what a vector means."""

    @property
    def size(self) -> int:
        """Length of the vector."""
        ...

    def start(self, rng: np.random.Generator) -> Array:
        """Return the vector of generation 0, (size,)."""
        ...

    def controller(self, vector: Array, robot: RobotSpec) -> Controller:
        """Return the controller that a vector stands for.

        Raises:
            HebbError: the vector holds NaN or inf, or the robot does not fit.
        """
        ...


@dataclass(frozen=True)
class Genome:
    """How a flat vector becomes a rule.

    The vector holds, layer by layer, the coefficient tensors of the kind in the order of
    ``plasticity.RULE_KINDS`` (row-major), then the evolved initial weights where there are any; of a kind with
    coefficients per neuron first those of every layer of neurons, then the initial weights of every
    layer of synapses. The tensor ``eta`` is ``eta_max · sigmoid(vector)``, or as it is
    where ``eta_max`` is None. Of a symmetric rule it
    holds each number once that stands twice in the tensors.

    Attributes:
        kind: a key of ``plasticity.RULE_KINDS``.
        layer_sizes: neurons per layer.
        update: when and how far weights move.
        initial: the weights at the start of a run.
        tick_period: s.
        contract: what the rule will expect of the robot.
        eta_max: largest eta; None for any, of either sign.
        start_scale: standard deviation of the coefficients in generation 0.
        mirrors: of every layer of neurons, if the rule shall be its own mirror image.
        eta_start: mean of eta's part of the vector in generation 0, where ``start_scale`` is its standard
            deviation.
    """

    kind: str
    layer_sizes: tuple[int, ...]
    update: UpdateSpec
    initial: InitialSpec
    tick_period: float
    contract: Contract
    eta_max: float | None
    start_scale: float
    mirrors: tuple[Mirror, ...] | None = None
    eta_start: float = 0.0

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(part.count for parts in self._layout for part in parts.values())

    @property
    def _layout(self) -> tuple[Mapping[str, Part], ...]:
        evolved = self.initial.distribution == "evolved"
        return rule_layout(self.kind, self.layer_sizes, self.mirrors, evolved=evolved)

    def start(self, rng: np.random.Generator) -> Array:
        """Return the vector of generation 0, (size,)."""
        draws = []
        for parts in self._layout:
            for name, part in parts.items():
                scale = part.index.shape[-1] ** -0.5 if name == "initial" else self.start_scale
                mean = self.eta_start if name == "eta" else 0.0
                draws.append(mean + scale * rng.standard_normal(part.count))
        return np.concatenate(draws).astype(np.float32)

    def rule(self, vector: Array, provenance: Mapping[str, Json] | None = None) -> Rule:
        """Return the rule that a vector stands for.

        Args:
            vector: (size,).
            provenance: goes into the header.

        Raises:
            RuleFileError: the vector holds NaN or inf.
        """
        groups = tensors_in(vector, self._layout)
        for tensors in groups:
            if "eta" in tensors:
                tensors["eta"] = self._eta(tensors["eta"])
        neurons = len(groups) - (len(self.layer_sizes) - 1)
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
        return make_rule(header, groups[neurons:], neurons=groups[:neurons], where="candidate")

    def vector(self, rule: Rule) -> Array:
        """Return the vector, (size,), that stands for a rule: the inverse of :meth:`rule`.

        An eta of 0, or of ``eta_max``, that no vector can stand for becomes one within a millionth of
        ``eta_max``.

        Raises:
            TrainingError: the rule is of another kind, size or contract, or not its own mirror image.
        """
        fields = ("kind", "layer_sizes", "update", "initial", "tick_period", "contract")
        others = [name for name in fields if getattr(rule.header, name) != getattr(self, name)]
        if others:
            raise TrainingError(f"its {', '.join(others)} are not those of what is evolved.")
        groups = [dict(group) for group in (*rule.neurons, *rule.layers)]
        for tensors in groups:
            if "eta" in tensors and self.eta_max is not None:
                share = np.clip(tensors["eta"].astype(np.float64) / self.eta_max, 1e-6, 1.0 - 1e-6)
                tensors["eta"] = np.log(share) - np.log1p(-share)
        vector = vector_of(groups, self._layout)
        made = self.rule(vector)
        for one, other in zip(
            (*rule.neurons, *rule.layers), (*made.neurons, *made.layers), strict=True
        ):
            for name, tensor in one.items():
                if not np.allclose(tensor, other[name], rtol=1e-3, atol=1e-6):
                    raise TrainingError(f"its {name} is not its own mirror image.")
        return vector

    def controller(self, vector: Array, robot: RobotSpec) -> Controller:
        """Return the controller that a vector stands for.

        Raises:
            RuleFileError: the vector holds NaN or inf.
            ContractError: the robot does not fit.
        """
        return controller_for(self.rule(vector), robot)

    def _eta(self, part: Array) -> Array:
        if self.eta_max is None:
            return part
        with np.errstate(over="ignore"):  # exp(-part) = inf is eta = 0
            return (np.float32(self.eta_max) / (1.0 + np.exp(-part))).astype(np.float32)


@dataclass(frozen=True)
class BaselineGenome:
    """How a flat vector becomes a network that does not rewire itself.

    The vector holds the tensors in the order of :func:`~hebb_controller.train.baselines.axes`; of a
    symmetric network each number once that stands twice in them.

    Attributes:
        kind: a key of ``BASELINE_KINDS``.
        layer_sizes: neurons per layer; first one observation, last the action.
        frames: observations that the network sees at once.
        tick_period: s.
        contract: what the network will expect of the robot.
        mirrors: of every layer of neurons, if the network shall be its own mirror image.
    """

    kind: str
    layer_sizes: tuple[int, ...]
    frames: int
    tick_period: float
    contract: Contract
    mirrors: tuple[Mirror, ...] | None = None

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(part.count for part in self._layout.values())

    @property
    def _layout(self) -> Mapping[str, Part]:
        return baseline_layout(self.kind, self.layer_sizes, self.frames, self.mirrors)

    def start(self, rng: np.random.Generator) -> Array:
        """Return the vector of generation 0, (size,): N(0, 1/n_in) weights, and biases of 0."""
        draws = []
        for name, part in self._layout.items():
            scale = 0.0 if name == "bias" else part.index.shape[-1] ** -0.5
            draws.append(scale * rng.standard_normal(part.count))
        return np.concatenate(draws).astype(np.float32)

    def baseline(self, vector: Array, provenance: Mapping[str, Json] | None = None) -> Baseline:
        """Return the network that a vector stands for.

        Args:
            vector: (size,).
            provenance: goes into the header.

        Raises:
            RuleFileError: the vector holds NaN or inf.
        """
        header = BaselineHeader(
            format_version=1,
            kind=self.kind,
            layer_sizes=self.layer_sizes,
            frames=self.frames,
            tick_period=self.tick_period,
            contract=self.contract,
            provenance=dict(provenance or {}),
            license="Apache-2.0",
        )
        (tensors,) = tensors_in(vector, [self._layout])
        return make_baseline(header, tensors, where="candidate")

    def controller(self, vector: Array, robot: RobotSpec) -> Controller:
        """Return the controller that a vector stands for.

        Raises:
            RuleFileError: the vector holds NaN or inf.
            ContractError: the robot does not fit.
        """
        return baseline_controller(self.baseline(vector), robot)
