"""What a network saw and did, tick by tick.

A recording is a sequence of :class:`Tick` and :class:`Checkpoint`, as published on the topics
``observation``, ``action`` and ``weights``. ``docs/recording.md`` describes the messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .errors import RecordingError
from .observation import channel_slices
from .plasticity import Array
from .rule import Rule
from .runtime.base import Runtime, State

FRONT = ("sec", "nanosec", "tick", "network_tick", "gain", "anew")
"""The numbers in the padding in front of every array: ``layout.data_offset`` elements."""

PARTS = ("weights", "initial", "trace")
"""The parts of a checkpoint's array, in order."""


@dataclass(frozen=True)
class Moment:
    """When something was recorded.

    Attributes:
        stamp: stamp of the reading, ns.
        tick: number of the tick, counted by the recorder: consecutive within a run.
        network_tick: ticks that the network had run by then since its weights were drawn.
        gain: plasticity gain of the tick.
        anew: whether the network's state was set from outside since the previous tick.
    """

    stamp: int
    tick: int
    network_tick: int
    gain: float
    anew: bool

    def front(self) -> list[float]:
        """Return the numbers in front of an array, in the order of ``FRONT``; all are exact."""
        sec, nanosec = divmod(self.stamp, 1_000_000_000)
        return [sec, nanosec, self.tick, self.network_tick, self.gain, self.anew]


@dataclass(frozen=True)
class Tick:
    """A tick: what the network saw and did."""

    moment: Moment
    observation: Array
    action: Array


@dataclass(frozen=True)
class Checkpoint:
    """The state of a network before the tick of its moment.

    Attributes:
        moment: of the tick; at the end of a run, of the one that would have followed.
        rule_sha256: digest of the rule file, in hexadecimal.
        runtime: name of the runtime.
        numpy: version of numpy; equal bits are promised on the same build only.
        parts: weights, initial weights and trace, concatenated.
    """

    moment: Moment
    rule_sha256: str
    runtime: str
    numpy: str
    parts: Array

    def state(self, rule: Rule) -> State:
        """Return the state, for a runtime of the rule.

        Raises:
            RecordingError: it is from a network of another size.
        """
        sizes = (rule.n_synapses, rule.n_synapses, sum(rule.header.layer_sizes))
        if self.parts.shape != (sum(sizes),):
            raise RecordingError(
                f"the recording is from another network: it has {self.parts.size} state values, "
                f"the rule {sum(sizes)}."
            )
        arrays = np.split(self.parts, np.cumsum(sizes)[:-1])
        tick = np.array(self.moment.network_tick, dtype=np.int64)
        return {**dict(zip(PARTS, arrays, strict=True)), "tick": tick}

    def weights(self, rule: Rule) -> Array:
        """Return the weights, (n_synapses,).

        Raises:
            RecordingError: it is from a network of another size.
        """
        return np.asarray(self.state(rule)["weights"], dtype=np.float32)


Recording = Sequence[Tick | Checkpoint]
"""In chronological order."""


def parts_of(state: State) -> Array:
    """Return weights, initial weights and trace of a state, concatenated."""
    return np.concatenate([np.asarray(state[name], dtype=np.float32) for name in PARTS])


class Labels(NamedTuple):
    """The ``layout.dim[0].label`` of each topic."""

    observation: str
    action: str
    weights: str


def labels_of(rule: Rule, runtime: str) -> Labels:
    """Return the labels of a rule's arrays: channels and sizes, joints, and the origin of the state.

    Args:
        rule: the rule, as loaded.
        runtime: name of the runtime.
    """
    contract = rule.header.contract
    slices = channel_slices(contract.channels, len(contract.joints))
    facts = f"rule={rule.sha256}; runtime={runtime}; numpy={np.__version__}"
    return Labels(
        ",".join(f"{name}[{part.stop - part.start}]" for name, part in slices.items()),
        ",".join(joint.name for joint in contract.joints),
        f"{','.join(PARTS)}; {facts}",
    )


@dataclass(frozen=True)
class Seen:
    """What a tap noted about one tick.

    Attributes:
        network_tick: ticks before it.
        gain: plasticity gain in force.
        anew: whether the state was set since the previous tick.
        before: state before the tick, if requested or new.
        observation, action: of the tick.
    """

    network_tick: int
    gain: float
    anew: bool
    before: State | None
    observation: Array
    action: Array


@dataclass
class Wanted:
    """What taps are to note; it may change from tick to tick.

    Attributes:
        ticks: whether they note anything.
        state: whether to note the state before the next tick even if it was not set.
    """

    ticks: bool = False
    state: bool = False


class Tap:
    """A :class:`~hebb_controller.runtime.base.Runtime` that notes what another one sees and does.

    Args:
        runtime: the runtime that does the work.
        wanted: what to note; shared by the taps of one controller.
    """

    def __init__(self, runtime: Runtime, wanted: Wanted) -> None:
        self.anew = True
        """Whether the state was set since the last tick."""
        self.network_tick = 0
        self._runtime = runtime
        self._wanted = wanted
        self._seen: Seen | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._runtime, name)

    @property
    def plasticity_gain(self) -> float:
        """The runtime's plasticity gain."""
        return self._runtime.plasticity_gain

    @plasticity_gain.setter
    def plasticity_gain(self, gain: float) -> None:
        self._runtime.plasticity_gain = gain

    @property
    def state(self) -> State:
        """The runtime's state."""
        return self._runtime.state

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run."""
        self._runtime.reset(rng)
        self.network_tick, self.anew, self._seen = 0, True, None

    def restore(self, state: State) -> None:
        """Restore a state."""
        self._runtime.restore(state)
        self.network_tick, self.anew, self._seen = int(state["tick"]), True, None

    def step(self, observation: Array) -> Array:
        """Return the runtime's action, and note the tick."""
        runtime, wanted = self._runtime, self._wanted
        ticks, self.network_tick = self.network_tick, self.network_tick + 1
        anew, self.anew = self.anew, False
        if not wanted.ticks:
            return runtime.step(observation)
        before = runtime.state if anew or wanted.state else None
        gain = runtime.plasticity_gain
        action = runtime.step(observation)
        self._seen = Seen(ticks, gain, anew, before, observation.copy(), action.copy())
        return action

    def take(self) -> Seen | None:
        """Return what was noted about the last tick, once; then None."""
        seen, self._seen = self._seen, None
        return seen


class Recorder(Tap):
    """A tap that keeps everything since the last reset.

    Args:
        runtime: the runtime that does the work.
        rule: the rule it runs, as loaded.
        every: ticks between checkpoints.
        name: name of the runtime.
    """

    def __init__(
        self, runtime: Runtime, rule: Rule, *, every: int = 50, name: str = "numpy"
    ) -> None:
        super().__init__(runtime, Wanted(ticks=True))
        self._rule = rule
        self._every = every
        self._name = name
        self._period = round(rule.header.tick_period * 1e9)
        self._events: list[Tick | Checkpoint] = []
        self._count = 0

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run and a recording."""
        super().reset(rng)
        self._events.clear()
        self._count = 0

    def step(self, observation: Array) -> Array:
        """Return the runtime's action, and keep the tick."""
        self._wanted.state = self._count % self._every == 0
        action = super().step(observation)
        seen = self.take()
        if seen is not None:
            moment = self._moment(seen.network_tick, seen.gain, anew=seen.anew)
            if seen.before is not None:
                self._events.append(self._checkpoint(moment, seen.before))
            self._events.append(Tick(moment, seen.observation, seen.action))
            self._count += 1
        return action

    def recording(self) -> Recording:
        """Return what was recorded, ending with a checkpoint."""
        moment = self._moment(self.network_tick, self.plasticity_gain, anew=False)
        return [*self._events, self._checkpoint(moment, self.state)]

    def _moment(self, network_tick: int, gain: float, *, anew: bool) -> Moment:
        return Moment(self._count * self._period, self._count, network_tick, gain, anew)

    def _checkpoint(self, moment: Moment, state: State) -> Checkpoint:
        parts = parts_of(state)
        return Checkpoint(moment, self._rule.sha256, self._name, np.__version__, parts)
