"""Which rule drives, from which weights, which one drove before, and the transition between them.

::

    staged ─tick boundary→ BLENDING ─→ PROBATION ─→ KEPT
                              └───────────┴─ trip, breach, or by hand ─→ ROLLED_BACK

The rule that comes back is the last one that passed its probation, with the weights that it had when it
was replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..controller import Controller
from ..robot import FloatArray
from ..runtime.base import State
from ..signals import SensorReading
from .supervisor import Stage, Supervisor, SupervisorSettings
from .values import Loaded, SwapState

SLACK = 1e-9  # s, of a sum of periods


@dataclass(frozen=True)
class SwapSettings:
    """How one rule takes over from another.

    Attributes:
        blend: s of running in which the commands of both are mixed.
        probation: s of running, with the blend, in which a trip or a breach brings the old one back.
    """

    blend: float
    probation: float


@dataclass(frozen=True)
class Running:
    """A rule in force, and the supervisor of its weights."""

    loaded: Loaded
    supervisor: Supervisor

    @property
    def controller(self) -> Controller:
        """The controller that drives."""
        return self.loaded.controller


@dataclass(frozen=True)
class _Left:
    """A replaced rule, the state of its network at that moment, and the state that its runs start from."""

    running: Running
    state: State
    start: State | None


class Succession:
    """The rule in force and how it came into force.

    Args:
        first: the rule to begin with.
        settings: how one takes over from another.
        supervisor: how the weights are supervised.
        rng: makes the generator of initial weights.
    """

    def __init__(
        self,
        first: Loaded,
        settings: SwapSettings,
        supervisor: SupervisorSettings,
        rng: Callable[[], np.random.Generator],
    ) -> None:
        self.number = 0
        self.state = SwapState.NONE
        self.reason = ""
        self._settings = settings
        self._supervisor = supervisor
        self._rng = rng
        self.running = self._watched(first)
        self._start: State | None = None  # from which the runs of this rule start, if not afresh
        self._previous: _Left | None = None
        self._source: Controller | FloatArray | None = None
        self._elapsed = 0.0

    @property
    def on_probation(self) -> bool:
        """Whether the rule in force may still be rolled back automatically."""
        swapped = self.state in (SwapState.BLENDING, SwapState.PROBATION)
        return swapped and self._elapsed < self._settings.probation - SLACK

    def put_in_force(self, loaded: Loaded, *, carry: bool, blend: bool) -> None:
        """Put another rule in force from the next tick on.

        Args:
            loaded: the rule.
            carry: whether it continues from the weights of the previous rule; the layers must agree.
            blend: whether the robot runs, so that commands must be mixed.
        """
        learned = self._start is not None or self._has_learned()
        if not blend and (self._start is not None or not learned):  # as its next run would begin
            self._renew()
        old = self.running
        state = old.controller.runtime.state
        loaded.controller.reset(self._rng(), old.controller.last_position)
        if carry:
            runtime = loaded.controller.runtime
            evolved = loaded.rule.header.initial.distribution == "evolved"
            own = {"initial": runtime.state["initial"]} if evolved else {}
            runtime.restore({**state, **own})
        if not self.on_probation:
            self._previous = _Left(old, state, self._start)
        self._take_over(self._watched(loaded), source=old.controller if blend else None)
        self._start = loaded.runtime.state if carry and learned and not blend else None
        self.state, self.reason = SwapState.PROBATION, ""
        if self._source is not None:
            self.state = SwapState.BLENDING

    def roll_back(self, reason: str, *, blend: bool, trusted: bool) -> None:
        """Put the previous rule and its weights back in force, if there is one.

        Args:
            reason: why.
            blend: whether the robot runs.
            trusted: whether the outgoing rule may still drive while it is blended out.
        """
        previous, old = self._previous, self.running.controller
        if previous is None:
            return
        position = old.last_position
        controller = previous.running.controller
        controller.reset(self._rng(), position)
        controller.runtime.restore(previous.state)
        source = (old if trusted else position.copy()) if blend else None
        self._take_over(previous.running, source=source)
        self._start = previous.start if blend or not self._has_learned() else previous.state
        self._previous = None
        self.state, self.reason = SwapState.ROLLED_BACK, reason

    def reset_weights(self) -> None:
        """Start over from initial weights, now and in later runs."""
        self._start = None
        self._renew()

    def restore(self, state: State) -> None:
        """Continue from a state of this rule's network, and start later runs from it."""
        self._start = state
        self.running.controller.runtime.restore(state)
        self.running.supervisor.begin()

    def refusal_to_roll_back(self) -> str:
        """Return why there is no way back, or an empty string."""
        return "" if self._previous else "nothing to roll back to: no rule was swapped."

    def blend(self, reading: SensorReading) -> tuple[FloatArray, float] | None:
        """Return the targets of the previous driver and the share of the new one; None if it has all.

        Args:
            reading: what was measured; it has passed the safety stages.
        """
        source = self._source
        if source is None:
            return None
        period = self.running.controller.interface.period
        share = min(1.0, (self._elapsed + period) / self._settings.blend)
        if not isinstance(source, Controller):
            return source, share
        other = source.act(reading, self.running.controller.last_position)
        return (other, share) if np.isfinite(other).all() else None

    def after_tick(self) -> bool:
        """Count a tick of the running robot; return whether the state changed."""
        before, settings = self.state, self._settings
        self._elapsed += self.running.controller.interface.period
        if self._elapsed > settings.blend - SLACK:
            self._source = None
            if self.state is SwapState.BLENDING:
                self.state = SwapState.PROBATION
        if self.state is SwapState.PROBATION and self._elapsed > settings.probation - SLACK:
            self.state = SwapState.KEPT
        return self.state is not before

    def begin_run(self) -> None:
        """Begin a run: the robot comes from its default pose, so nothing is blended."""
        controller = self.running.controller
        controller.reset(self._rng(), controller.last_position)
        if self._start is not None:
            controller.runtime.restore(self._start)
        self._source = None
        self.running.supervisor.begin()

    def _renew(self) -> None:
        """Give the network the weights that a run would begin with."""
        runtime = self.running.controller.runtime
        runtime.reset(self._rng())
        if self._start is not None:
            runtime.restore(self._start)
        self.running.supervisor.begin()

    def _has_learned(self) -> bool:
        """Return whether the weights come from a run, and none of them needed a remedy."""
        supervisor = self.running.supervisor
        return bool(supervisor.measured) and supervisor.stage is Stage.PLASTIC

    def _take_over(self, running: Running, *, source: Controller | FloatArray | None) -> None:
        self.running = running
        self.number += 1
        self._elapsed = 0.0
        self._source = source if self._settings.blend > 0 else None

    def _watched(self, loaded: Loaded) -> Running:
        return Running(loaded, Supervisor(loaded.rule, loaded.runtime, self._supervisor))
