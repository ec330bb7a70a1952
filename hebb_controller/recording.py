"""What a network saw and did, tick by tick, and whether it does the same again.

One ``.recording.safetensors`` file: a JSON document under the header's key ``hebb_recording``, and
per tick the observation, the plasticity gain, the action, and a digest of the weights afterwards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import RuleFileError, ShapeError
from .json_fields import decode, parse_json
from .plasticity import Array
from .rule import Rule
from .runtime.base import Runtime, State
from .tensor_file import Layout, read_file, split, write_file

FORMAT_VERSION = 1
LAYOUT = Layout(
    what="a recording",
    suffix=".recording.safetensors",
    key="hebb_recording",
    max_bytes=64 * 1024 * 1024,
    dtypes={"F32": "<f4", "F64": "<f8", "U8": "|u1", "I64": "<i8"},
)
DIGEST_BYTES = hashlib.sha256().digest_size

# Per tick and for the end: type and number of axes.
_TENSORS: Mapping[str, tuple[type[np.generic], int]] = {
    "observation": (np.float32, 2),
    "gain": (np.float64, 1),
    "action": (np.float32, 2),
    "digest": (np.uint8, 2),
    "final": (np.float32, 1),
}
_STATE = "state."


@dataclass(frozen=True)
class RecordingHeader:
    """The JSON document of a recording.

    Attributes:
        format_version: version of this layout.
        rule_sha256: of the rule file, in hexadecimal.
        runtime: what ran it.
        numpy: its version; bits are promised on the same build only.
        tick_period: s.
    """

    format_version: int
    rule_sha256: str
    runtime: str
    numpy: str
    tick_period: float


@dataclass(frozen=True)
class Recording:
    """A stretch of a run.

    Attributes:
        header: the JSON document.
        state: of the runtime before the first tick.
        observation: (T, n_observation).
        gain: (T,) plasticity gain in force.
        action: (T, n_action).
        digest: (T, 32) sha256 of the weights after the tick: float32, little-endian.
        final: (n_synapses,) weights after the last tick.
    """

    header: RecordingHeader
    state: State
    observation: Array
    gain: npt.NDArray[np.float64]
    action: Array
    digest: npt.NDArray[np.uint8]
    final: Array


class Recorder:
    """A :class:`~hebb_controller.runtime.base.Runtime` that notes what another one sees and does.

    A recording begins with every reset and every state that is restored.

    Args:
        runtime: does the work; its state has ``weights``.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._begin()

    @property
    def plasticity_gain(self) -> float:
        """That of the runtime."""
        return self._runtime.plasticity_gain

    @plasticity_gain.setter
    def plasticity_gain(self, gain: float) -> None:
        self._runtime.plasticity_gain = gain

    @property
    def state(self) -> State:
        """That of the runtime."""
        return self._runtime.state

    def reset(self, rng: np.random.Generator) -> None:
        """Start a run, and a recording."""
        self._runtime.reset(rng)
        self._begin()

    def restore(self, state: State) -> None:
        """Take a state, and start a recording."""
        self._runtime.restore(state)
        self._begin()

    def step(self, observation: Array) -> Array:
        """Return the runtime's action, and note both."""
        gain = self._runtime.plasticity_gain
        action = self._runtime.step(observation)
        self._rows.append((observation.copy(), gain, action.copy(), _digest(self._runtime.state)))
        return action

    def recording(self, rule: Rule, runtime: str = "numpy") -> Recording:
        """Return what was recorded.

        Args:
            rule: the one that was run, as it was loaded.
            runtime: name of what ran it.

        Raises:
            RuleFileError: there was no tick.
        """
        if not self._rows:
            raise RuleFileError("nothing was recorded: the network did not tick.")
        header = RecordingHeader(
            format_version=FORMAT_VERSION,
            rule_sha256=rule.sha256,
            runtime=runtime,
            numpy=np.__version__,
            tick_period=rule.header.tick_period,
        )
        observation, gain, action, digest = zip(*self._rows, strict=True)
        return Recording(
            header,
            state=self._start,
            observation=np.array(observation, dtype=np.float32),
            gain=np.array(gain, dtype=np.float64),
            action=np.array(action, dtype=np.float32),
            digest=np.frombuffer(b"".join(digest), np.uint8).reshape(-1, DIGEST_BYTES),
            final=np.array(self._runtime.state["weights"], dtype=np.float32),
        )

    def _begin(self) -> None:
        self._start = self._runtime.state
        self._rows: list[tuple[Array, float, Array, bytes]] = []


@dataclass(frozen=True)
class Difference:
    """The first tick that differs.

    Attributes:
        tick: counted from 0.
        action: whether the action differs.
        weights: whether the weights differ that the tick leaves.
        action_difference: largest |difference| of an action's elements; None where it is not finite.
    """

    tick: int
    action: bool
    weights: bool
    action_difference: float | None


@dataclass(frozen=True)
class Replay:
    """How a replay went.

    Attributes:
        ticks: of the recording.
        first: the first difference; None if all is the same, bit for bit.
        final_difference: largest |difference| of a weight after the last tick; None where it is not
            finite.
    """

    ticks: int
    first: Difference | None
    final_difference: float | None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.first is None


def replay_recording(recording: Recording, runtime: Runtime) -> Replay:
    """Return whether a runtime does again what was recorded, from the same state on.

    It sees the recorded observations; its weights go their own way.

    Raises:
        RuleFileError: the recording is of a network of another shape.
    """
    first = None
    try:
        runtime.restore(recording.state)
        for tick, observation in enumerate(recording.observation):
            runtime.plasticity_gain = float(recording.gain[tick])
            recorded = recording.action[tick]
            with np.errstate(all="ignore"):  # what it leads to is compared
                action = runtime.step(observation)
            _same_shape(action, recorded)
            if first is None:
                other_action = action.tobytes() != recorded.tobytes()
                other_weights = _digest(runtime.state) != recording.digest[tick].tobytes()
                if other_action or other_weights:
                    apart = _largest_difference(action, recorded)
                    first = Difference(tick, other_action, other_weights, apart)
        weights = runtime.state["weights"]
        _same_shape(weights, recording.final)
    except ShapeError as error:
        raise RuleFileError(f"the recording is of another network: {error}") from error
    if first is None and weights.tobytes() != recording.final.tobytes():
        raise RuleFileError("the recording contradicts itself: final weights and digests differ.")
    return Replay(len(recording.observation), first, _largest_difference(weights, recording.final))


def save_recording(recording: Recording, path: str | Path) -> None:
    """Write a recording.

    Raises:
        RuleFileError: the name does not end in ``.recording.safetensors``, it would be too large to
            be read, or it cannot be written.
    """
    tensors = {name: getattr(recording, name) for name in _TENSORS}
    state = {f"{_STATE}{name}": array for name, array in recording.state.items()}
    document = json.dumps(dataclasses.asdict(recording.header))
    write_file(Path(path), LAYOUT, document, {**tensors, **state})


def load_recording(path: str | Path) -> Recording:
    """Return the recording in a file, validated.

    Raises:
        RuleFileError: the file is missing, not a recording, or malformed.
    """
    where = str(path)
    document, tensors = split(read_file(Path(path), LAYOUT), LAYOUT, where)
    header = decode(RecordingHeader, parse_json(document.encode(), where), where)
    assert isinstance(header, RecordingHeader)  # noqa: S101 - for the type checker
    if header.format_version != FORMAT_VERSION:
        raise RuleFileError(
            f"{where}: format_version is {header.format_version}; this release reads "
            f"{FORMAT_VERSION}. Mend: update hebb_controller."
        )
    state = {
        name.removeprefix(_STATE): tensor
        for name, tensor in sorted(tensors.items())
        if name.startswith(_STATE)
    }
    known = {name: tensor for name, tensor in tensors.items() if not name.startswith(_STATE)}
    for name in (*_TENSORS, *known):
        if name not in known:
            raise RuleFileError(f"{where}: '{name}' is missing.")
        if name not in _TENSORS:
            raise RuleFileError(
                f"{where}: tensor {name[:40]!r} is unknown. Known: {', '.join(_TENSORS)}, state.…"
            )
        dtype, axes = _TENSORS[name]
        if known[name].dtype != dtype or known[name].ndim != axes:
            raise RuleFileError(f"{where}: '{name}' must be {dtype.__name__} with {axes} axes.")
    for name, tensor in state.items():
        dtype = np.float32 if tensor.ndim else np.int64
        if tensor.dtype != dtype:
            raise RuleFileError(f"{where}: state {name[:40]!r} must be {dtype.__name__}.")
    ticks = len(known["observation"])
    if ticks == 0 or any(len(known[n]) != ticks for n in ("gain", "action", "digest")):
        raise RuleFileError(
            f"{where}: observation, gain, action and digest must have a row per tick, at least one."
        )
    if known["digest"].shape[1] != DIGEST_BYTES:
        raise RuleFileError(f"{where}: 'digest' must have {DIGEST_BYTES} bytes a tick.")
    if not np.isfinite(known["gain"]).all():
        raise RuleFileError(f"{where}: 'gain' must be finite.")
    return Recording(
        header,
        state,
        observation=known["observation"].astype(np.float32, copy=False),
        gain=known["gain"].astype(np.float64, copy=False),
        action=known["action"].astype(np.float32, copy=False),
        digest=known["digest"].astype(np.uint8, copy=False),
        final=known["final"].astype(np.float32, copy=False),
    )


def _digest(state: State) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(state["weights"], dtype="<f4").tobytes()).digest()


def _same_shape(ours: npt.NDArray[np.generic], recorded: npt.NDArray[np.generic]) -> None:
    if ours.shape != recorded.shape:
        raise ShapeError(f"recorded are {recorded.shape}, the rule has {ours.shape}.")


def _largest_difference(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float | None:
    with np.errstate(invalid="ignore", over="ignore"):
        largest = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
    return largest if np.isfinite(largest) else None
