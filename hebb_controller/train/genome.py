"""The evolved vector, and the controller that it encodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
    """What training can evolve: a picklable frozen dataclass that decodes a vector."""

    @property
    def size(self) -> int:
        """Length of the vector."""
        ...

    def start(self, rng: np.random.Generator) -> Array:
        """Return the vector of generation 0, (size,)."""
        ...

    def controller(self, vector: Array, robot: RobotSpec) -> Controller:
        """Return the controller that a vector encodes.

        Raises:
            HebbError: the vector holds NaN or inf, or the robot does not fit.
        """
        ...


@dataclass(frozen=True)
class Genome:
    """How a flat vector becomes a rule.

    The vector holds, layer by layer, the coefficient tensors of the kind in the order of
    ``plasticity.RULE_KINDS`` (row-major), then the evolved initial weights, if any. For a kind with
    coefficients per neuron it holds those of all layers of neurons first, then the initial weights
    of all layers of synapses. The tensor ``eta`` is ``eta_max · sigmoid(vector)``, or the vector's
    numbers themselves if ``eta_max`` is None. For a symmetric rule, tied numbers are held once.

    Attributes:
        kind: a key of ``plasticity.RULE_KINDS``.
        layer_sizes: neurons per layer.
        update: when and how far weights move.
        initial: the weights at the start of a run.
        tick_period: s.
        contract: what the rule will expect of the robot.
        eta_max: largest eta; None for no limit, and either sign.
        start_scale: standard deviation of the coefficients in generation 0.
        mirrors: mirror of every layer of neurons, if the rule is to be its own mirror image.
        eta_start: mean of eta's part of the vector in generation 0; its standard deviation is
            ``start_scale``.
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
        """Return the rule that a vector encodes.

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
        """Return the vector, (size,), that encodes a rule: the inverse of :meth:`rule`.

        An eta of 0 or ``eta_max``, which no vector can encode, is moved inwards by a millionth of
        ``eta_max``.

        Raises:
            TrainingError: the rule's header differs from this genome, or the rule is not its own
                mirror image.
        """
        fields = ("kind", "layer_sizes", "update", "initial", "tick_period", "contract")
        _check_alike(rule, self, fields)
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
            _check_mirrored(one, other)
        return vector

    def from_static(self, rule: Rule, rng: np.random.Generator) -> Array:
        """Return a vector of generation 0, (size,), whose initial weights are a static rule's.

        Raises:
            TrainingError: the rule's header differs from this genome in more than the kind, or the
                rule is not its own mirror image.
        """
        replace(self, kind="static").vector(rule)
        groups = tensors_in(self.start(rng), self._layout)
        for group, layer in zip(groups[-len(rule.layers) :], rule.layers, strict=True):
            group["initial"] = layer["initial"]
        return vector_of(groups, self._layout)

    def controller(self, vector: Array, robot: RobotSpec) -> Controller:
        """Return the controller that a vector encodes.

        Raises:
            RuleFileError: the vector holds NaN or inf.
            ContractError: the robot does not fit.
        """
        return controller_for(self.rule(vector), robot)

    def _eta(self, part: Array) -> Array:
        if self.eta_max is None:
            return part
        with np.errstate(over="ignore"):  # exp(-part) = inf means eta = 0
            return (np.float32(self.eta_max) / (1.0 + np.exp(-part))).astype(np.float32)


@dataclass(frozen=True)
class BaselineGenome:
    """How a flat vector becomes a network that does not rewire itself.

    The vector holds the tensors in the order of :func:`~hebb_controller.train.baseline_file.axes`;
    for a symmetric network, tied numbers are held once.

    Attributes:
        kind: a key of ``BASELINE_KINDS``.
        layer_sizes: neurons per layer, from one observation to the action.
        frames: observations that the network sees at once.
        tick_period: s.
        contract: what the network will expect of the robot.
        mirrors: mirror of every layer of neurons, if the network is to be its own mirror image.
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
        """Return the vector of generation 0, (size,): N(0, 1/n_in) weights and zero biases."""
        draws = []
        for name, part in self._layout.items():
            scale = 0.0 if name == "bias" else part.index.shape[-1] ** -0.5
            draws.append(scale * rng.standard_normal(part.count))
        return np.concatenate(draws).astype(np.float32)

    def baseline(self, vector: Array, provenance: Mapping[str, Json] | None = None) -> Baseline:
        """Return the network that a vector encodes.

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

    def from_static(self, rule: Rule) -> Array:
        """Return the vector, (size,), of stacked frames that do what a static rule does.

        Only the newest frame has weights other than zero.

        Raises:
            TrainingError: this is no such network, the rule's header differs from this genome, or
                the rule is not its own mirror image.
        """
        if self.kind != "stacked":
            raise TrainingError(f"a {self.kind} cannot do what a static rule does.")
        _check_alike(rule, self, ("layer_sizes", "tick_period", "contract"))
        tensors = {f"layer{k}": layer["initial"] for k, layer in enumerate(rule.layers)}
        older = np.zeros((self.layer_sizes[1], self.layer_sizes[0] * (self.frames - 1)), np.float32)
        tensors["layer0"] = np.hstack([tensors["layer0"], older])
        vector = vector_of([tensors], [self._layout])
        _check_mirrored(tensors, *tensors_in(vector, [self._layout]))
        return vector

    def controller(self, vector: Array, robot: RobotSpec) -> Controller:
        """Return the controller that a vector encodes.

        Raises:
            RuleFileError: the vector holds NaN or inf.
            ContractError: the robot does not fit.
        """
        return baseline_controller(self.baseline(vector), robot)


def _check_alike(rule: Rule, genome: Genome | BaselineGenome, fields: Iterable[str]) -> None:
    others = [name for name in fields if getattr(rule.header, name) != getattr(genome, name)]
    if others:
        raise TrainingError(f"it differs from what is evolved in {', '.join(others)}.")


def _check_mirrored(tensors: Mapping[str, Array], symmetric: Mapping[str, Array]) -> None:
    for name, tensor in tensors.items():
        if not np.allclose(tensor, symmetric[name], rtol=1e-3, atol=1e-6):
            raise TrainingError(f"its {name} is not its own mirror image.")
