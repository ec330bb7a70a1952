"""Replay recorded networks and compare: bit for bit, or as far as rounding explains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import RecordingError, ShapeError
from .plasticity import RULE_KINDS, Array
from .recording import Checkpoint, Moment, Recording, Tick
from .rounding import Bounded, tick_bounds
from .rule import Rule
from .runtime.base import Runtime


@dataclass(frozen=True)
class Difference:
    """The first thing that differs.

    Attributes:
        tick: number of the tick.
        stamp: stamp of its reading, s.
        what: ``action`` of the tick, or ``weights`` before it.
        size: largest absolute difference of any element; None if not finite.
    """

    tick: int
    stamp: float
    what: str
    size: float | None


@dataclass(frozen=True)
class Replay:
    """The outcome of a replay.

    Attributes:
        ticks: ticks replayed.
        checkpoints: recorded weights compared.
        starts: recorded weights started from: where a run began or the weights were set.
        lost: ticks that could not be replayed because something before them is missing.
        first: the first difference; None if there is none.
    """

    ticks: int
    checkpoints: int
    starts: int
    lost: int
    first: Difference | None

    @property
    def same(self) -> bool:
        """Whether everything that could be compared agrees."""
        return self.first is None and self.ticks > 0


class _Comparison:
    """Counts, and keeps the first difference."""

    def __init__(self) -> None:
        self.ticks = self.checkpoints = self.starts = self.lost = 0
        self.first: Difference | None = None

    def differs(self, moment: Moment, what: str, off: npt.NDArray[np.float64]) -> None:
        if self.first is None:
            largest = float(off.max())
            size = largest if np.isfinite(largest) else None
            self.first = Difference(moment.tick, moment.stamp * 1e-9, what, size)

    def outcome(self) -> Replay:
        return Replay(self.ticks, self.checkpoints, self.starts, self.lost, self.first)


def replay(
    recording: Recording, runtime_of: Callable[[Checkpoint], tuple[Rule, Runtime]]
) -> Replay:
    """Return whether runtimes repeat what was recorded, bit for bit.

    A runtime starts from the recorded state where a run begins or the state was set, then runs
    freely on the recorded observations and gains: recorded weights in between are only compared.

    Args:
        recording: what was recorded.
        runtime_of: returns the rule of a checkpoint and a runtime for it.

    Raises:
        RecordingError: the recording is from a network of another shape.
    """
    found = _Comparison()
    runtime: Runtime | None = None
    due = (-1, -1)  # tick and network tick that would continue from here
    set_at = -1  # tick for which the state was taken from the recording
    for event in recording:
        moment = event.moment
        goes_on = runtime is not None and (moment.tick, moment.network_tick) == due
        if isinstance(event, Checkpoint):
            if runtime is None or moment.anew or not goes_on:
                rule, runtime = runtime_of(event)
                runtime.restore(event.state(rule))
                found.starts += 1
                due = (moment.tick, moment.network_tick)
                set_at = moment.tick
            else:
                recorded = event.parts[: runtime.state["weights"].size]
                _compare(found, moment, "weights", runtime.state["weights"], recorded)
                found.checkpoints += 1
            continue
        if runtime is None or not goes_on or (moment.anew and set_at != moment.tick):
            found.lost += 1
            runtime = None
            continue
        runtime.plasticity_gain = moment.gain
        try:
            with np.errstate(all="ignore"):  # the results are compared
                action = runtime.step(event.observation)
        except ShapeError as error:
            raise RecordingError(f"the recording is from another network: {error}") from error
        _compare(found, moment, "action", action, event.action)
        found.ticks += 1
        due = (moment.tick + 1, moment.network_tick + 1)
    return found.outcome()


def replay_to_rounding(recording: Recording, rule_of: Callable[[Checkpoint], Rule]) -> Replay:
    """Return whether rules reproduce what was recorded, as far as rounding explains.

    Only a tick from a recorded state can be judged: its action and, if a state was also recorded after
    it, its weights. The margin is a bound, not a tolerance (:mod:`~hebb_controller.rounding`), and holds
    for recordings from other machines and runtimes.

    Raises:
        RecordingError: the recording is from a network of another shape.
    """
    found = _Comparison()
    for k, event in enumerate(recording):
        following = recording[k + 1 : k + 3]
        if not isinstance(event, Checkpoint) or not following:
            continue
        tick = following[0]
        if not isinstance(tick, Tick) or tick.moment.tick != event.moment.tick:
            continue
        rule = rule_of(event)
        _same_shape(tick.observation, (rule.header.layer_sizes[0],))
        _same_shape(tick.action, (rule.header.layer_sizes[-1],))
        before = event.state(rule)
        bounds = tick_bounds(rule, before, tick.observation)
        _within(found, tick.moment, "action", tick.action, bounds.action)
        found.starts += 1
        found.ticks += 1
        after, gain = following[-1], tick.moment.gain
        goes_on = isinstance(after, Checkpoint) and not after.moment.anew
        if not goes_on or after.moment.tick != tick.moment.tick + 1 or gain not in {0, 1}:
            continue
        exact = bounds.weights
        if gain == 0 or not RULE_KINDS[rule.header.kind].tensors:
            weights = before["weights"].astype(np.float64)
            exact = Bounded(weights, np.zeros_like(weights))
        assert isinstance(after, Checkpoint)  # noqa: S101 - for the type checker
        _within(found, after.moment, "weights", after.weights(rule), exact)
        found.checkpoints += 1
    return found.outcome()


def _compare(
    found: _Comparison,
    moment: Moment,
    what: str,
    ours: npt.NDArray[np.generic],
    recorded: Array,
) -> None:
    _same_shape(recorded, ours.shape)
    if ours.tobytes() != recorded.tobytes():
        with np.errstate(invalid="ignore", over="ignore"):
            found.differs(moment, what, np.abs(ours.astype(np.float64) - recorded))


def _within(found: _Comparison, moment: Moment, what: str, recorded: Array, exact: Bounded) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(recorded.astype(np.float64) - exact.value)
    if not (off <= exact.bound).all():  # a value that is not finite is not within
        found.differs(moment, what, off)


def _same_shape(recorded: npt.NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if recorded.shape != shape:
        raise RecordingError(
            f"the recording is from another network: recorded shape {recorded.shape}, the rule has {shape}."
        )
