"""The vector that is evolved, and the controller that it stands for."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..contract import Contract
from ..controller import Controller, controller_for
from ..json_fields import Json
from ..network import InitialSpec
from ..plasticity import RULE_KINDS, Array, UpdateSpec
from ..robot import RobotSpec
from ..rule import FORMAT_VERSION, Rule, RuleHeader, make_rule
from .baseline_file import Axis, Baseline, BaselineHeader, axes, make_baseline
from .baselines import baseline_controller
from .symmetry import ALONE, Mirror, free_numbers, free_numbers_of_neurons, repeated


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
    ``RULE_KINDS`` (row-major), then the evolved initial weights where there are any; of a kind with
    coefficients per neuron first those of every layer of neurons, then the initial weights of every
    layer of synapses. The tensor ``eta`` is ``eta_max · sigmoid(vector)``, or as it is
    where ``eta_max`` is None. Of a symmetric rule it
    holds each number once that stands twice in the tensors.

    Attributes:
        kind: a key of ``RULE_KINDS``.
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
    def _layout(self) -> tuple[Mapping[str, _Part], ...]:
        evolved = self.initial.distribution == "evolved"
        return _rule_layout(self.kind, self.layer_sizes, self.mirrors, evolved=evolved)

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
        groups = _tensors(vector, self._layout)
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
    def _layout(self) -> Mapping[str, _Part]:
        return _baseline_layout(self.kind, self.layer_sizes, self.frames, self.mirrors)

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
        (tensors,) = _tensors(vector, [self._layout])
        return make_baseline(header, tensors, where="candidate")

    def controller(self, vector: Array, robot: RobotSpec) -> Controller:
        """Return the controller that a vector stands for.

        Raises:
            RuleFileError: the vector holds NaN or inf.
            ContractError: the robot does not fit.
        """
        return baseline_controller(self.baseline(vector), robot)


@dataclass(frozen=True)
class _Part:
    """One tensor in the vector: ``vector[start : start + count][index] * factor``."""

    index: npt.NDArray[np.int64]
    factor: npt.NDArray[np.float32]
    count: int


def _whole(shape: tuple[int, ...]) -> _Part:
    """Return the part of a tensor whose numbers are all free."""
    index = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    return _Part(index, np.ones(shape, np.float32), index.size)


def _tensors(vector: Array, layout: Sequence[Mapping[str, _Part]]) -> list[dict[str, Array]]:
    """Return the tensors that stand in a vector."""
    groups: list[dict[str, Array]] = []
    start = 0
    for parts in layout:
        group = {}
        for name, part in parts.items():
            group[name] = vector[start : start + part.count][part.index] * part.factor
            start += part.count
        groups.append(group)
    return groups


@functools.cache
def _rule_layout(
    kind: str, layer_sizes: tuple[int, ...], mirrors: tuple[Mirror, ...] | None, *, evolved: bool
) -> tuple[Mapping[str, _Part], ...]:
    rule_kind = RULE_KINDS[kind]
    neurons = [
        {
            name: _whole((size,))
            if mirrors is None
            else _Part(*free_numbers_of_neurons(mirrors, k, name))
            for name in rule_kind.tensors
        }
        for k, size in enumerate(layer_sizes if rule_kind.per_neuron else ())
    ]
    names = () if rule_kind.per_neuron else rule_kind.tensors
    layers = [
        {
            name: _whole((n_out, n_in))
            if mirrors is None
            else _Part(*free_numbers(mirrors[k], mirrors[k + 1], name))
            for name in (*names, *(("initial",) if evolved else ()))
        }
        for k, (n_in, n_out) in enumerate(zip(layer_sizes, layer_sizes[1:], strict=False))
    ]
    return (*neurons, *layers)


@functools.cache
def _baseline_layout(
    kind: str, layer_sizes: tuple[int, ...], frames: int, mirrors: tuple[Mirror, ...] | None
) -> Mapping[str, _Part]:
    def mirror(axis: Axis) -> Mirror:
        assert mirrors is not None  # noqa: S101 - for the type checker
        return ALONE if axis.layer is None else repeated(mirrors[axis.layer], axis.times)

    return {
        name: _whole((post.size(layer_sizes), pre.size(layer_sizes)))
        if mirrors is None
        else _Part(*free_numbers(mirror(pre), mirror(post), "initial"))
        for name, (post, pre) in axes(kind, len(layer_sizes), frames).items()
    }
