"""A rule in memory: its header, its coefficients, and what was measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np

from .contract import ACTUATORS, Contract
from .errors import ContractError, RuleFileError
from .json_fields import MAX_NUMBER, Json
from .network import InitialSpec
from .observation import observation_size
from .plasticity import RULE_KINDS, Array, UpdateSpec, expand, n_synapses

FORMAT_VERSION = 1
MAX_LAYERS = 32  # of neurons; published networks of this kind have four
MAX_LAYER_SIZE = 65_536
MAX_SYNAPSES = 2**19  # over five times the largest published network of this kind
MAX_GOLDEN_TICKS = 32


@dataclass(frozen=True)
class LayerEnvelope:
    """The largest values that one layer reached in long runs.

    Attributes:
        norm: Frobenius norm of the weights.
        change: Frobenius norm of one plastic change.
        saturation: share of the layer's neurons with |activation| > 0.99, averaged over 1 s.
    """

    norm: float
    change: float
    saturation: float


@dataclass(frozen=True)
class Envelope:
    """The bounds within which a rule's weights stayed.

    Attributes:
        ticks: length of each run.
        layers: a row per layer of synapses.
    """

    ticks: int
    layers: tuple[LayerEnvelope, ...]

    def check(self, n_layers: int, where: str) -> None:
        """Raise RuleFileError if a value is invalid."""
        if self.ticks < 1:
            raise RuleFileError(f"{where}.ticks is {self.ticks}; it must be at least 1.")
        if len(self.layers) != n_layers:
            raise RuleFileError(
                f"{where}.layers has {len(self.layers)} rows for {n_layers} layers of synapses."
            )
        for k, layer in enumerate(self.layers):
            if layer.norm < 0 or layer.change < 0 or not 0 <= layer.saturation <= 1:
                raise RuleFileError(
                    f"{where}.layers[{k}]: norms must not be negative, saturation must be 0 to 1."
                )


@dataclass(frozen=True)
class StaticTwin:
    """What the static twin, a network that walks without plasticity, did when measured.

    Attributes:
        episodes: number of episodes.
        duration: length of each, s.
        speed: mean along the initial heading, m/s; time lost by a fall counts as standing still.
        fall_rate: share of the episodes that ended in a fall.
    """

    episodes: int
    duration: float
    speed: float
    fall_rate: float

    def check(self, where: str) -> None:
        """Raise RuleFileError if a value is invalid."""
        if self.episodes < 1 or self.duration <= 0 or not 0 <= self.fall_rate <= 1:
            raise RuleFileError(
                f"{where}: episodes and duration must be positive, fall_rate must be 0 to 1."
            )


@dataclass(frozen=True)
class RuleHeader:
    """The JSON document of a rule file.

    Attributes:
        format_version: version of this layout.
        kind: a key of ``RULE_KINDS``.
        layer_sizes: neurons per layer; first the observation, last the action.
        update: when and how far weights move.
        initial: the weights at the start of a run.
        tick_period: time between ticks, s.
        contract: what the rule expects of the robot.
        provenance: where the rule comes from; free JSON.
        license: SPDX identifier.
        envelope: bounds within which the weights stay, if measured.
        static_twin: what the network does with the weights of ``Rule.static`` and no plasticity.
    """

    format_version: int
    kind: str
    layer_sizes: tuple[int, ...]
    update: UpdateSpec
    initial: InitialSpec
    tick_period: float
    contract: Contract
    provenance: Mapping[str, Json]
    license: str
    envelope: Envelope | None = None
    static_twin: StaticTwin | None = None


@dataclass(frozen=True)
class Golden:
    """A stretch of a run to compare other implementations with, tick by tick.

    Before tick t (from 0) the state is ``weights[t]`` and ``trace[t]``; the tick sees
    ``observation[t]``, answers ``action[t]`` and leaves ``weights[t + 1]`` and ``trace[t + 1]``.

    Attributes:
        initial: (n_synapses,) the weights that decay returns to; layer by layer, row-major.
        weights: (T + 1, n_synapses).
        trace: (T + 1, n_neurons) averaged activations, the observation first; if the trace window
            is 1, the activations of the previous tick.
        observation: (T, n_observation).
        action: (T, n_action).
    """

    initial: Array
    weights: Array
    trace: Array
    observation: Array
    action: Array

    @property
    def ticks(self) -> int:
        """T."""
        return len(self.observation)


@dataclass(frozen=True)
class Rule:
    """A rule: its header and its tensors, all float32 and read-only.

    Attributes:
        header: the JSON document.
        layers: per layer of synapses, tensor name -> (n_out, n_in). For kinds with coefficients per
            neuron these are computed from ``neurons``.
        neurons: per layer of neurons, tensor name -> (n,); empty for kinds that have none.
        static: weights of the static twin per layer, (n_out, n_in); empty if there is none.
        golden: a stretch of a run to compare with, or None.
        sha256: digest of the file it was read from, in hexadecimal; empty for a rule made in memory.
    """

    header: RuleHeader
    layers: tuple[Mapping[str, Array], ...]
    neurons: tuple[Mapping[str, Array], ...] = ()
    static: tuple[Array, ...] = ()
    golden: Golden | None = None
    sha256: str = ""

    @property
    def n_synapses(self) -> int:
        """Number of synapses."""
        return n_synapses(self.header.layer_sizes)

    @property
    def n_parameters(self) -> int:
        """Number of evolved numbers."""
        stored = [tensor for part in self.neurons for tensor in part.values()]
        stored += [t for layer in self.layers for name, t in layer.items() if name in self.stored]
        return sum(tensor.size for tensor in stored)

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the tensors of ``layers`` that a file holds, as opposed to computed ones."""
        kind = RULE_KINDS[self.header.kind]
        return ("initial",) if kind.per_neuron else (*kind.tensors, "initial")


def make_rule(
    header: RuleHeader,
    layers: Sequence[Mapping[str, Array]],
    *,
    neurons: Sequence[Mapping[str, Array]] = (),
    static: Sequence[Array] = (),
    golden: Golden | None = None,
    where: str = "rule",
) -> Rule:
    """Return a rule, after checking each of its fields and tensors.

    Args:
        header: the JSON document.
        layers: per layer of synapses, tensor name -> (n_out, n_in); for a kind with coefficients
            per neuron only ``initial``, if the start is evolved.
        neurons: per layer of neurons, tensor name -> (n,).
        static: weights of the static twin per layer.
        golden: a stretch of a run.
        where: named in errors.

    Raises:
        RuleFileError: something is missing, unknown, of the wrong shape or not finite.
    """
    check_header(header, where)
    kind, sizes = RULE_KINDS[header.kind], header.layer_sizes
    evolved = ("initial",) if header.initial.distribution == "evolved" else ()
    synapse_shapes = [(n_out, n_in) for n_in, n_out in zip(sizes, sizes[1:], strict=False)]
    wanted = evolved if kind.per_neuron else (*kind.tensors, *evolved)
    _check_tensors(layers, stem="layer", wanted=wanted, shapes=synapse_shapes, where=where)
    if kind.per_neuron:
        shapes = [(size,) for size in sizes]
        _check_tensors(neurons, stem="neurons", wanted=kind.tensors, shapes=shapes, where=where)
    elif any(neurons):
        raise RuleFileError(f"{where}: kind '{header.kind}' has no coefficients per neuron.")
    if (header.static_twin is None) != (not static):
        raise RuleFileError(
            f"{where}: static_twin and the tensors layer0.static … come together or not at all."
        )
    if static:
        named = [{"static": tensor} for tensor in static]
        _check_tensors(named, stem="layer", wanted=("static",), shapes=synapse_shapes, where=where)
    if golden is not None:
        _check_golden(golden, header, where)
    own = [{name: _frozen(tensor) for name, tensor in layer.items()} for layer in layers]
    per_neuron = [{name: _frozen(tensor) for name, tensor in part.items()} for part in neurons]
    if kind.per_neuron:
        computed = [{name: _frozen(t) for name, t in layer.items()} for layer in expand(per_neuron)]
        _check_tensors(
            computed, stem="computed", wanted=kind.tensors, shapes=synapse_shapes, where=where
        )
        own = [{**more, **layer} for more, layer in zip(computed, own, strict=True)]
    return Rule(
        header,
        layers=tuple(MappingProxyType(layer) for layer in own),
        neurons=tuple(MappingProxyType(part) for part in per_neuron),
        static=tuple(_frozen(tensor) for tensor in static),
        golden=golden
        and Golden(**{f.name: _frozen(getattr(golden, f.name)) for f in fields(Golden)}),
    )


def check_header(header: RuleHeader, where: str) -> None:
    """Check every field of a header, alone and against the others.

    Raises:
        RuleFileError: a value is invalid; the message names the field.
    """
    if header.format_version != FORMAT_VERSION:
        raise RuleFileError(
            f"{where}: format_version is {header.format_version}; "
            f"this release reads {FORMAT_VERSION}. Fix: update hebb_controller."
        )
    if header.kind not in RULE_KINDS:
        raise RuleFileError(
            f"{where}: kind '{header.kind}' is unknown. Known: {', '.join(RULE_KINDS)}."
        )
    if header.contract.actuator not in ACTUATORS:
        raise RuleFileError(
            f"{where}: contract.actuator '{header.contract.actuator}' is unknown. "
            f"Known: {', '.join(ACTUATORS)}."
        )
    if header.contract.latency_ticks != 0:
        raise RuleFileError(
            f"{where}: contract.latency_ticks is {header.contract.latency_ticks}; this release "
            f"applies a command in the tick of its reading, so it must be 0."
        )
    sizes = header.layer_sizes
    if not 2 <= len(sizes) <= MAX_LAYERS or any(not 1 <= n <= MAX_LAYER_SIZE for n in sizes):
        raise RuleFileError(
            f"{where}: layer_sizes {str(list(sizes))[:80]}: it must be 2 to {MAX_LAYERS} layers, "
            f"each of 1 to {MAX_LAYER_SIZE} neurons."
        )
    synapses = n_synapses(sizes)
    if synapses > MAX_SYNAPSES:
        raise RuleFileError(
            f"{where}: layer_sizes {str(list(sizes))[:80]} make {synapses} synapses; the "
            f"maximum is {MAX_SYNAPSES}."
        )
    if not 0.001 <= header.tick_period <= 1.0:
        raise RuleFileError(
            f"{where}: tick_period is {header.tick_period} s; it must be 0.001 to 1."
        )
    cutoff = header.contract.velocity_cutoff
    if cutoff is not None and cutoff <= 0:
        raise RuleFileError(
            f"{where}: contract.velocity_cutoff is {cutoff:g}; it must be positive."
        )
    header.update.check(f"{where}: update")
    header.initial.check(f"{where}: initial")
    n = len(header.contract.joints)
    if sizes[-1] != n:
        raise RuleFileError(f"{where}: the last layer has {sizes[-1]} neurons for {n} joints.")
    if len({joint.name for joint in header.contract.joints}) != n:
        raise RuleFileError(f"{where}: contract.joints: a name is listed twice.")
    try:
        observed = observation_size(header.contract.channels, n)
    except ContractError as error:
        raise RuleFileError(f"{where}: contract.channels: {error}") from error
    if sizes[0] != observed:
        raise RuleFileError(
            f"{where}: the first layer has {sizes[0]} neurons, the channels make {observed}."
        )
    for channel in header.contract.channels:
        if channel.clip <= 0:
            raise RuleFileError(f"{where}: channel '{channel.name}': clip must be positive.")
    for joint in header.contract.joints:
        if not joint.lower < joint.upper or joint.torque <= 0 or joint.max_target_rate <= 0:
            raise RuleFileError(
                f"{where}: joint '{joint.name}': lower must be below upper, torque and max_target_rate positive."
            )
    if header.envelope is not None:
        header.envelope.check(len(sizes) - 1, f"{where}: envelope")
    if header.static_twin is not None:
        header.static_twin.check(f"{where}: static_twin")


def _check_tensors(
    parts: Sequence[Mapping[str, Array]],
    *,
    stem: str,
    wanted: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    where: str,
) -> None:
    if len(parts) != len(shapes):
        raise RuleFileError(
            f"{where}: {len(parts)} '{stem}' groups of tensors; the layer sizes require "
            f"{len(shapes)}."
        )
    for k, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        for name in wanted:
            if name not in part:
                raise RuleFileError(
                    f"{where}: {stem}{k}.{name} is missing. Required: {', '.join(wanted)}."
                )
        for name, tensor in part.items():
            if name not in wanted:
                raise RuleFileError(
                    f"{where}: tensor {f'{stem}{k}.{name}'[:40]!r} is not part of this kind "
                    f"({', '.join(wanted) or 'no tensors'})."
                )
            _check_tensor(tensor, shape, f"{where}: {stem}{k}.{name}")


def _check_tensor(tensor: Array, shape: tuple[int, ...], place: str) -> None:
    if tensor.shape != shape:
        raise RuleFileError(f"{place} has shape {tensor.shape}, the layer sizes require {shape}.")
    if tensor.dtype != np.float32:
        raise RuleFileError(f"{place} is {tensor.dtype}; it must be float32.")
    wrong = ~(np.abs(tensor) <= MAX_NUMBER)  # also NaN; products of two are still float32
    if wrong.any():
        index = np.argwhere(wrong)[0]
        raise RuleFileError(
            f"{place}[{', '.join(map(str, index))}] is {tensor[tuple(index)]}; "
            f"every coefficient must be finite, and within ±{MAX_NUMBER:g}."
        )


def _check_golden(golden: Golden, header: RuleHeader, where: str) -> None:
    sizes = header.layer_sizes
    synapses = n_synapses(sizes)
    ticks = len(golden.observation) if golden.observation.ndim else 0
    if not 1 <= ticks <= MAX_GOLDEN_TICKS:
        raise RuleFileError(
            f"{where}: golden.observation has {ticks} rows; it must have 1 to {MAX_GOLDEN_TICKS}."
        )
    shapes = {
        "initial": (synapses,),
        "weights": (ticks + 1, synapses),
        "trace": (ticks + 1, sum(sizes)),
        "observation": (ticks, sizes[0]),
        "action": (ticks, sizes[-1]),
    }
    for name, shape in shapes.items():
        _check_tensor(getattr(golden, name), shape, f"{where}: golden.{name}")


def _frozen(tensor: Array) -> Array:
    """Return the tensor itself if it is read-only, otherwise a read-only copy."""
    if not tensor.flags.writeable and tensor.flags.c_contiguous:
        return tensor
    copy = np.array(tensor, dtype=np.float32, order="C")
    copy.setflags(write=False)
    return copy
