"""The plasticity supervisor: what to do about weights that leave the rule's envelope.

It looks at every layer after every tick: the norm of its weights, the size of the last plastic change,
and the share of saturated neurons. Beyond the envelope times a margin, each remedy is tried in turn::

    PLASTIC → FROZEN → RESTORED → TWIN → GIVEN_UP
              weights  the last   static  damp
              stay     good ones  twin

A rule file without an envelope is supervised for finiteness only.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from ..envelope import SATURATED, SATURATION_WINDOW
from ..plasticity import Array
from ..rule import Envelope, LayerEnvelope, Rule
from ..runtime.base import InspectableRuntime, State

SNAPSHOT_PERIOD = 1.0  # s between two snapshots of weights that are good
SETTLING = 1.0  # s that a remedy has before the next one: the saturation window


class Stage(enum.IntEnum):
    """What was done about the weights, each stage after the previous one did not help."""

    PLASTIC = 0
    FROZEN = 1
    RESTORED = 2
    TWIN = 3
    GIVEN_UP = 4


class Kind(enum.Enum):
    """What is wrong with the weights, with the first remedy that can help."""

    FINITE = "finite", Stage.RESTORED
    NORM = "norm", Stage.RESTORED  # frozen weights keep their norm
    CHANGE = "change", Stage.FROZEN
    SATURATION = "saturation", Stage.FROZEN

    @property
    def remedy(self) -> Stage:
        """The first remedy that can help."""
        return self.value[1]


@dataclass(frozen=True)
class Breach:
    """A value beyond its bound."""

    kind: Kind
    detail: str


@dataclass(frozen=True)
class SupervisorSettings:
    """What the supervisor allows.

    Attributes:
        margin: factor on the norms and changes of the envelope, and on its saturation.
        twin_speed: the static twin may drive only if its measured speed is at least this, m/s,
        twin_fall_rate: and if it fell in at most this share of its episodes.
    """

    margin: float
    twin_speed: float
    twin_fall_rate: float


def find_breach(
    measured: tuple[LayerEnvelope, ...], envelope: Envelope | None, *, margin: float, gain: float
) -> Breach | None:
    """Return the worst that is wrong with the weights, or None.

    Args:
        measured: a row per layer of synapses.
        envelope: of the rule; None to check finiteness only.
        margin: factor on its bounds; a saturation whose bound reaches 1 is never beyond it.
        gain: plasticity gain in force; above 1, larger changes are intended.
    """
    share = margin * max(1.0, gain)
    if envelope is not None and all(
        layer.norm <= margin * bounds.norm
        and layer.change <= share * bounds.change
        and layer.saturation <= margin * bounds.saturation
        for layer, bounds in zip(measured, envelope.layers, strict=False)
    ):
        return None  # as nearly always; non-finite values are never within
    for k, layer in enumerate(measured):
        if not (math.isfinite(layer.norm) and math.isfinite(layer.change)):
            return Breach(Kind.FINITE, f"layer {k}: the weights are not finite")
    if envelope is None or not measured:
        return None
    scale = {Kind.NORM: margin, Kind.CHANGE: share, Kind.SATURATION: margin}
    for kind, factor in scale.items():
        for k, (layer, bounds) in enumerate(zip(measured, envelope.layers, strict=True)):
            name = kind.value[0]
            value, bound = getattr(layer, name), factor * getattr(bounds, name)
            if value > bound:
                return Breach(kind, f"layer {k}: {name} {value:.3g}, allowed {bound:.3g}")
    return None


def escalate(stage: Stage, kind: Kind, *, snapshot: bool, twin: bool) -> Stage:
    """Return the next remedy.

    Args:
        stage: the remedy that did not help.
        kind: what is wrong.
        snapshot: whether there are good weights to go back to.
        twin: whether the static twin may drive.
    """
    there = {Stage.RESTORED: snapshot, Stage.TWIN: twin}
    wanted = max(stage + 1, kind.remedy)
    while not there.get(Stage(wanted), True):
        wanted += 1
    return Stage(wanted)


def twin_refusal(rule: Rule, settings: SupervisorSettings) -> str:
    """Return why a rule's static twin may not drive, or an empty string."""
    twin = rule.header.static_twin
    if twin is None:
        return "the rule file has no static twin"
    if not twin.speed >= settings.twin_speed:
        return f"its static twin walks {twin.speed:.2f} m/s, less than {settings.twin_speed:g}"
    if not twin.fall_rate <= settings.twin_fall_rate:
        return f"its static twin falls in {twin.fall_rate:.0%} of its walks"
    return ""


def _norm(matrix: Array) -> float:
    """Return the Frobenius norm; inf where its square is beyond float32."""
    flat = matrix.reshape(-1)
    return math.sqrt(np.dot(flat, flat))


class Supervisor:
    """Watches one rule in one runtime.

    Args:
        rule: gives the envelope and the static twin.
        runtime: what runs it.
        settings: what is allowed.
    """

    def __init__(
        self, rule: Rule, runtime: InspectableRuntime, settings: SupervisorSettings
    ) -> None:
        self.stage = Stage.PLASTIC
        self.reason = ""
        self._rule = rule
        self._runtime = runtime
        self._settings = settings
        self._period = rule.header.tick_period
        self._alpha = min(self._period / SATURATION_WINDOW, 1.0)
        self._layers = len(rule.header.layer_sizes) - 1
        self._twin = not twin_refusal(rule, settings)
        self.begin()

    @property
    def watch(self) -> str:
        """What the weights are held to."""
        if self._rule.header.envelope is None:
            return "finiteness only: the rule file has no envelope"
        return f"its envelope, times {self._settings.margin:g}"

    @property
    def measured(self) -> tuple[LayerEnvelope, ...]:
        """Norm, change and saturation per layer, as of the last tick."""
        return self._measured

    def begin(self) -> None:
        """Start over: plastic again, with no weights known to be good."""
        self.stage, self.reason = Stage.PLASTIC, ""
        self._saturation = [0.0] * self._layers
        self._measured: tuple[LayerEnvelope, ...] = ()
        self._good: deque[State] = deque(maxlen=2)
        self._until_snapshot = self._settling = 0.0

    def look(self, gain: float) -> Breach | None:
        """Return what is wrong with the weights after a tick, or None; good ones may be kept.

        Args:
            gain: plasticity gain of that tick; 0 where plasticity is off.
        """
        self._measured = self._measure(gain)
        self._settling = max(0.0, self._settling - self._period)
        envelope, margin = self._rule.header.envelope, self._settings.margin
        found = find_breach(self._measured, envelope, margin=margin, gain=gain)
        if found is None:
            self._keep()
        return found

    def mend(self, found: Breach) -> bool:
        """Apply the next remedy unless the last one may still help; return whether it was applied."""
        patient = self._settling > 0.0 and found.kind.remedy is Stage.FROZEN
        if self.stage is Stage.GIVEN_UP or patient:
            return False
        self.stage = escalate(self.stage, found.kind, snapshot=bool(self._good), twin=self._twin)
        self.reason = found.detail
        self._settling = SETTLING
        self._saturation = [0.0] * self._layers  # each remedy is judged by what comes after it
        self._carry_out()
        return True

    def _measure(self, gain: float) -> tuple[LayerEnvelope, ...]:
        runtime = self._runtime
        changes = runtime.last_change if gain else None
        rows = []
        for k, (weights, post) in enumerate(
            zip(runtime.layers, runtime.activations[1:], strict=True)
        ):
            share = np.count_nonzero(np.abs(post) > SATURATED) / post.size
            self._saturation[k] += self._alpha * (share - self._saturation[k])
            change = 0.0 if changes is None else _norm(changes[k])
            rows.append(LayerEnvelope(_norm(weights), change, self._saturation[k]))
        return tuple(rows)

    def _keep(self) -> None:
        """Keep these weights now and then, as long as plasticity is in force."""
        if self.stage is not Stage.PLASTIC:
            return
        self._until_snapshot -= self._period
        if self._until_snapshot < self._period / 2:
            self._until_snapshot += SNAPSHOT_PERIOD
            self._good.append(self._runtime.state)

    def _carry_out(self) -> None:
        if self.stage is Stage.RESTORED:
            # The older of the two: what came just before a breach was on its way there.
            self._runtime.restore(self._good[0])
        elif self.stage is Stage.TWIN:
            flat = np.concatenate([weights.ravel() for weights in self._rule.static])
            self._runtime.restore({**self._runtime.state, "weights": flat, "initial": flat})
