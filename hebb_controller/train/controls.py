"""What is done to a running network, tick by tick, to find out what its weights are good for.

:class:`Intervened` wraps anything with the Runtime protocol and carries out interventions at their
ticks. :func:`scrambled` rules are controls of another sort: evolution's work, undone.
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
from ..rule_file import load_rule
from ..runtime.base import Runtime, State

LESION_TICKS = 50
NOT_LEARNED = ("tick", "initial", "trace")


def learned(state: State) -> State:
    """Return the part of a state that a run has learned: its weights, or the memory of a recurrent net.

    What is left out are the clock, the start that weights decay towards, and traces of the last ticks.
    """
    return {name: array for name, array in state.items() if name not in NOT_LEARNED}


class Intervention(Protocol):
    """Something that is done to a network before some of its ticks."""

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Do it if this is the moment.

        Args:
            runtime: the network.
            tick: that is about to be run, from 0.
            kept: what interventions have kept of it, by name.
        """
        ...


@dataclass(frozen=True)
class Freeze:
    """Stops plasticity at a tick."""

    at: int

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Do it if this is the moment."""
        if tick == self.at:
            runtime.plasticity_gain = 0.0


@dataclass(frozen=True)
class Keep:
    """Keeps what has been learned by a tick, under a name."""

    at: int
    name: str

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Do it if this is the moment."""
        if tick == self.at:
            kept[self.name] = learned(runtime.state)


@dataclass(frozen=True)
class Put:
    """Puts in at a tick what was kept under a name; all else goes on as it was."""

    at: int
    name: str

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Do it if this is the moment."""
        if tick == self.at:
            runtime.restore({**runtime.state, **kept[self.name]})


@dataclass(frozen=True)
class Lesion:
    """Zeroes a stretch of the weights before each of so many ticks; then they are left to regrow."""

    at: int
    part: tuple[int, int]
    ticks: int = LESION_TICKS

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        """Do it if this is the moment."""
        if self.at <= tick < self.at + self.ticks:
            state = runtime.state
            weights = state["weights"].copy()
            weights[slice(*self.part)] = 0
            runtime.restore({**state, "weights": weights})


class Intervened:
    """A runtime to which something is done on the way; see :class:`~..runtime.base.Runtime`.

    Args:
        runtime: the network; its plasticity gain at this moment returns with every reset.
        interventions: carried out in this order.
        kept: what :class:`Put` finds besides what was kept on the way.
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
        """Start a run, with everything still to be done."""
        self._runtime.plasticity_gain = self._gain
        self._runtime.reset(rng)
        self._tick = 0
        self.kept = dict(self._given)

    def step(self, observation: Array) -> Array:
        """Return the action, after doing what is due at this tick."""
        for intervention in self._interventions:
            intervention(self._runtime, self._tick, self.kept)
        self._tick += 1
        return self._runtime.step(observation)

    @property
    def state(self) -> State:
        """A copy of the network's state."""
        return self._runtime.state

    def restore(self, state: State) -> None:
        """Take a state that :attr:`state` returned."""
        self._runtime.restore(state)


def second_layer(runtime: Runtime) -> tuple[int, int] | None:
    """Return where the second layer lies in the state's weights, for runtimes with ``layers``."""
    layers: Sequence[Array] = getattr(runtime, "layers", ())
    if len(layers) < 2:
        return None
    return layers[0].size, layers[0].size + layers[1].size


@dataclass(frozen=True)
class Scrambled:
    """Makes a controller from a rule file whose coefficients mean nothing any more.

    Attributes:
        path: the rule file.
        robot: name of the robot spec.
        how: ``random`` or ``shuffled``; see :func:`scrambled`.
        seed: of the randomness.
        plasticity_gain: factor on every weight change.
    """

    path: str
    robot: str
    how: str
    seed: int
    plasticity_gain: float = 1.0

    def __call__(self) -> Controller:
        """Return a new controller."""
        rule = scrambled(load_rule(self.path), self.how, np.random.default_rng(self.seed))
        controller = controller_for(rule, load_robot(self.robot))
        controller.runtime.plasticity_gain = self.plasticity_gain
        return controller


def scrambled(rule: Rule, how: str, rng: np.random.Generator) -> Rule:
    """Return a rule with the same sizes of coefficients and none of their structure.

    An evolved start is kept: it is not a coefficient.

    Args:
        rule: a plastic rule.
        how: ``shuffled`` permutes each tensor; ``random`` draws it from a normal distribution with
            the tensor's mean and standard deviation.
        rng: draws.

    Raises:
        HebbError: the rule is static, or ``how`` is neither.
    """
    if how not in ("random", "shuffled") or rule.header.kind == "static":
        raise HebbError(f"'{how}' of a {rule.header.kind} rule: random or shuffled, and plastic.")

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
