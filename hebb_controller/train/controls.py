"""Interventions on a running network, tick by tick, that show what its weights contribute.

:class:`Intervened` wraps any Runtime and carries out interventions at their ticks.
:func:`scrambled` rules are another kind of control: they undo the work of evolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..controller import Controller, controller_for
from ..errors import HebbError
from ..plasticity import Array
from ..robot import load_robot
from ..rule import Rule, make_rule
from ..runtime.base import Runtime, State
from .source import Source

LESION_TICKS = 50
NOT_LEARNED = ("tick", "initial", "trace")


def learned(state: State) -> State:
    """Return the learned part of a state: the weights, or the memory of a recurrent network.

    The clock, the initial weights that decay leads back to, and the traces of recent ticks are left
    out.
    """
    return {name: array for name, array in state.items() if name not in NOT_LEARNED}


class Intervention(Protocol):
    """Something done to a network before some of its ticks."""

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Intervene if this is the tick.

        Args:
            runtime: the network.
            tick: number of the tick about to run, from 0.
            kept: what interventions have kept so far, by name.
        """
        ...


@dataclass(frozen=True)
class Freeze:
    """Stops plasticity at a tick."""

    at: int

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Intervene if this is the tick."""
        if tick == self.at:
            runtime.plasticity_gain = 0.0


@dataclass(frozen=True)
class Keep:
    """Keeps what has been learned by a tick, under a name."""

    at: int
    name: str

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Intervene if this is the tick."""
        if tick == self.at:
            kept[self.name] = learned(runtime.state)


@dataclass(frozen=True)
class Put:
    """Puts back, at a tick, what was kept under a name; the rest of the state is untouched."""

    at: int
    name: str

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Intervene if this is the tick."""
        if tick == self.at:
            runtime.restore({**runtime.state, **kept[self.name]})


@dataclass(frozen=True)
class Lesion:
    """Zeroes a range of the weights before each of ``ticks`` ticks, then leaves them to regrow."""

    at: int
    part: tuple[int, int]
    ticks: int = LESION_TICKS

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Intervene if this is one of the ticks."""
        if self.at <= tick < self.at + self.ticks:
            state = runtime.state
            weights = state["weights"].copy()
            weights[slice(*self.part)] = 0
            runtime.restore({**state, "weights": weights})


class Intervened:
    """A runtime with interventions on the way; see :class:`~..runtime.base.Runtime`.

    Args:
        runtime: the network; every reset restores its present plasticity gain.
        interventions: carried out in this order.
        kept: what :class:`Put` finds in addition to what is kept on the way.
    """

    def __init__(
        self,
        runtime: Runtime,
        interventions: Sequence[Intervention] = (),
        *,
        kept: Mapping[str, State] | None = None,
    ) -> None:
        self._runtime = runtime
        self._interventions = tuple(interventions)
        self._given = dict(kept or {})
        self._gain = runtime.plasticity_gain
        self._tick = 0
        self.kept = dict(self._given)

    @property
    def plasticity_gain(self) -> float:
        """Factor on every weight change: 1 as evolved, 0 frozen."""
        return self._runtime.plasticity_gain

    @plasticity_gain.setter
    def plasticity_gain(self, gain: float) -> None:
        self._runtime.plasticity_gain = gain

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run with all interventions still to come."""
        self._runtime.plasticity_gain = self._gain
        self._runtime.reset(rng)
        self._tick = 0
        self.kept = dict(self._given)

    def step(self, observation: Array) -> Array:
        """Return the action, after the interventions due at this tick."""
        for intervention in self._interventions:
            intervention(self._runtime, self._tick, self.kept)
        self._tick += 1
        return self._runtime.step(observation)

    @property
    def state(self) -> State:
        """A copy of the network's state."""
        return self._runtime.state

    def restore(self, state: State) -> None:
        """Restore a state that :attr:`state` returned."""
        self._runtime.restore(state)


def second_layer(runtime: Runtime) -> tuple[int, int] | None:
    """Return the (start, stop) of the second layer in the state's weights; None if not exposed."""
    layers: Sequence[Array] = getattr(runtime, "layers", ())
    if len(layers) < 2:
        return None
    return layers[0].size, layers[0].size + layers[1].size


@dataclass(frozen=True)
class Scrambled:
    """Makes a controller from a rule file with its coefficients scrambled.

    Attributes:
        source: of the rule.
        how: ``random`` or ``shuffled``; see :func:`scrambled`.
        seed: seed of the randomness.
    """

    source: Source
    how: str
    seed: int

    def __call__(self) -> Controller:
        """Return a new controller."""
        rule = scrambled(self.source.rule(), self.how, np.random.default_rng(self.seed))
        controller = controller_for(rule, load_robot(self.source.robot))
        controller.runtime.plasticity_gain = self.source.plasticity_gain
        return controller


def scrambled(rule: Rule, how: str, rng: np.random.Generator) -> Rule:
    """Return a rule whose coefficients keep their magnitudes but lose their structure.

    An evolved start is kept: it is not a coefficient.

    Args:
        rule: a plastic rule.
        how: ``shuffled`` permutes each tensor; ``random`` draws it from a normal distribution with
            the tensor's mean and standard deviation.
        rng: source of randomness.

    Raises:
        HebbError: the rule is static, or ``how`` is neither.
    """
    if how not in ("random", "shuffled") or rule.header.kind == "static":
        raise HebbError(
            f"'{how}' cannot scramble a {rule.header.kind} rule. "
            f"Use random or shuffled, on a plastic rule."
        )

    def anew(name: str, tensor: Array) -> Array:
        if name == "initial":
            return tensor
        if how == "shuffled":
            return rng.permutation(tensor.ravel()).reshape(tensor.shape)
        drawn: Array = rng.normal(tensor.mean(), tensor.std(), tensor.shape).astype(np.float32)
        return drawn

    layers = [
        {name: anew(name, tensor) for name, tensor in layer.items() if name in rule.stored}
        for layer in rule.layers
    ]
    neurons = [{name: anew(name, tensor) for name, tensor in n.items()} for n in rule.neurons]
    header = replace(rule.header, envelope=None, static_twin=None)
    return make_rule(header, layers, neurons=neurons, where=f"{how} coefficients")
