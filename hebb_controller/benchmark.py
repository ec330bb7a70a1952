"""Time a tick against yardsticks that ran in the same minute on the same machine.

The yardsticks are the plain numpy expression, one compiled loop, and copying the bytes that a tick
must move at minimum. Contestants take turns in short bursts, so that a busy machine slows all alike
yet each still finds its own data in the cache; the first tick of a burst is not counted.
"""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .contract import Contract, JointContract
from .errors import MissingExtraError
from .network import InitialSpec
from .observation import Channel
from .plasticity import RULE_KINDS, Array, UpdateSpec, fold
from .rule import FORMAT_VERSION, Rule, RuleHeader, make_rule
from .runtime.numpy_runtime import NumpyRuntime

BENCH_SIZES = (28, 128, 64, 8)  # the published quadruped network
GRID: tuple[tuple[int, ...], ...] = (
    *((28, width, width // 2, 8) for width in (8, 16, 32, 64, 128, 256)),
    (28, 512, 128, 8),
    (28, 256, 320, 7),  # 456,640 coefficients, like the largest published network, 648-128-64-3
)
BURST = 16  # ticks in a row
BYTES_PER_SYNAPSE = 36  # of the numpy runtime: four coefficients, weight, four buffers

CONTESTANTS = MappingProxyType(
    {
        "numpy": "NumpyRuntime",
        "onnx": "OnnxRuntime, one thread",
        "plain": "the formula as written, in numpy, with temporaries",
        "compiled": "one fused loop over the synapses, compiled by numba for this processor: float32, "
        "η folded in, fast-math limited to reassociation and contraction (as BLAS does)",
        "copy": "np.copyto of 12 bytes a synapse: 12 read and 12 written, as a tick must read four "
        "coefficients and a weight and write the weight",
    }
)
"""Contestant -> what it is."""


class Network(Protocol):
    """A network to be timed."""

    def step(self, observation: Array) -> Array:
        """Return the action and change the weights."""
        ...


@dataclass(frozen=True)
class Timing:
    """Durations of a tick, µs."""

    p50_us: float
    p99_us: float
    max_us: float


@dataclass(frozen=True)
class NetTimings:
    """One network's row of the table.

    Attributes:
        layer_sizes: neurons per layer.
        synapses: number of weights.
        coefficients: numbers in the rule, five per synapse.
        cache: the smallest cache that holds what the numpy runtime touches in a tick.
        times: a key of ``CONTESTANTS`` -> times; None where an extra is not installed.
    """

    layer_sizes: tuple[int, ...]
    synapses: int
    coefficients: int
    cache: str
    times: dict[str, Timing | None]

    def ratio(self, one: str, other: str) -> float | None:
        """Return the ratio of two medians, or None if either is absent."""
        a, b = self.times[one], self.times[other]
        return a.p50_us / b.p50_us if a and b else None


class PlainNetwork:
    """The same network as the formula is written, with temporaries: the yardstick."""

    def __init__(self, rule: Rule, weights: Sequence[Array]) -> None:
        self._layers = rule.layers
        self.weights = [layer.copy() for layer in weights]

    def step(self, observation: Array) -> Array:
        """Return the action and change the weights."""
        activation = observation
        changes = []
        for weights, k in zip(self.weights, self._layers, strict=True):
            pre, activation = activation, np.tanh(weights @ activation)
            post = activation[:, None]
            changes.append(k["eta"] * (k["A"] * post * pre + k["B"] * pre + k["C"] * post + k["D"]))
        self.weights = [w + change for w, change in zip(self.weights, changes, strict=True)]
        return activation


class CompiledNetwork:
    """The same network as one compiled pass over the synapses.

    Raises:
        MissingExtraError: numba is not installed.
    """

    def __init__(self, rule: Rule, weights: Sequence[Array]) -> None:
        try:
            import numba
        except ImportError as error:
            raise MissingExtraError("numba", "bench") from error
        header = rule.header
        k = fold(RULE_KINDS[header.kind], rule.layers, header.update.learning_rate)
        self.weights = np.concatenate([layer.ravel() for layer in weights])
        self._sizes = np.array(header.layer_sizes)
        self._activation = np.zeros(sum(header.layer_sizes), dtype=np.float32)
        self._coefficients = k.a, k.b, k.c, k.d
        self._loop: Callable[..., None] = numba.njit(fastmath={"reassoc", "contract"})(fused_tick)

    def step(self, observation: Array) -> Array:
        """Return the action and change the weights."""
        self._activation[: observation.size] = observation
        self._loop(self._sizes, self.weights, *self._coefficients, self._activation)
        return self._activation[-self._sizes[-1] :].copy()


def fused_tick(  # noqa: PLR0917 - numba takes positional arguments only
    sizes: npt.NDArray[np.int64],
    weights: Array,
    a: Array,
    b: Array,
    c: Array,
    d: Array,
    activation: Array,
) -> None:
    """Run one tick in place, row by row: a neuron's sum, its tanh, then its weight changes.

    Args:
        sizes: neurons per layer.
        weights: (n_synapses,), layer by layer, row-major.
        a: (n_synapses,) laid out like ``weights``, η folded in; likewise b, c, d.
        activation: (n_neurons,), the observation first.
    """
    start, synapse = 0, 0
    for layer in range(len(sizes) - 1):
        n_in = sizes[layer]
        pre = activation[start : start + n_in]
        start += n_in
        for i in range(sizes[layer + 1]):
            row = slice(synapse, synapse + n_in)
            w, a_row, b_row, c_row, d_row = weights[row], a[row], b[row], c[row], d[row]
            total = np.float32(0.0)
            for j in range(n_in):
                total += w[j] * pre[j]
            post = np.tanh(total)
            activation[start + i] = post
            for j in range(n_in):
                w[j] += (a_row[j] * pre[j] + c_row[j]) * post + b_row[j] * pre[j] + d_row[j]
            synapse += n_in


class Copy:
    """Moves as many bytes as a tick of a network with this many synapses."""

    def __init__(self, synapses: int) -> None:
        size = 3 * synapses
        # Half a page apart, modulo the page size: a load and a store whose addresses share the lower
        # 12 bits look dependent to the processor, and copying may take three times as long.
        gap = (512 - size) % 1024
        both = np.zeros(2 * size + gap, dtype=np.float32)
        self._source, self._target = both[:size], both[size + gap :]

    def step(self, observation: Array) -> Array:
        """Copy."""
        np.copyto(self._target, self._source)
        return observation


def contestants(rule: Rule, rng: np.random.Generator) -> dict[str, Network]:
    """Return all ``CONTESTANTS`` from the same start, except those whose extra is not installed."""
    network = NumpyRuntime(rule)
    network.reset(rng)
    found: dict[str, Network] = {
        "numpy": network,
        "plain": PlainNetwork(rule, network.layers),
        "copy": Copy(rule.n_synapses),
    }
    with contextlib.suppress(ImportError):
        from .runtime.onnx_runtime import OnnxRuntime

        onnx = OnnxRuntime.from_rule(rule)
        onnx.restore(network.state)
        found["onnx"] = onnx
    with contextlib.suppress(MissingExtraError):
        found["compiled"] = CompiledNetwork(rule, network.layers)
    return found


def time_net(sizes: Sequence[int], ticks: int) -> NetTimings:
    """Return every contestant's times on one network, ABCD+eta with random coefficients.

    Args:
        sizes: neurons per layer.
        ticks: ticks counted per contestant.
    """
    rng = np.random.default_rng(0)
    rule = bench_rule(rng, sizes)
    takes_part = contestants(rule, rng)
    observations = rng.standard_normal((BURST, sizes[0])).astype(np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in takes_part}
    for _ in range(-(-ticks // (BURST - 1))):
        for name, network in takes_part.items():
            step, times = network.step, seconds[name]
            step(observations[0])
            for observation in observations[1:]:
                start = time.perf_counter()
                step(observation)
                times.append(time.perf_counter() - start)
    return NetTimings(
        layer_sizes=tuple(sizes),
        synapses=rule.n_synapses,
        coefficients=rule.n_parameters,
        cache=cache_holding(BYTES_PER_SYNAPSE * rule.n_synapses),
        times={name: _timing(seconds[name]) if name in seconds else None for name in CONTESTANTS},
    )


def growth(ticks: int) -> int:
    """Return how many bytes memory grew by over this many ticks of the numpy runtime."""
    rng = np.random.default_rng(0)
    network = NumpyRuntime(bench_rule(rng))
    network.reset(rng)
    observations = rng.standard_normal((256, BENCH_SIZES[0])).astype(np.float32)
    tracemalloc.start()
    try:
        network.step(observations[0])
        before = tracemalloc.get_traced_memory()[0]
        for tick in range(ticks):
            network.step(observations[tick % len(observations)])
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def cache_holding(n_bytes: int) -> str:
    """Return the smallest cache of this processor that holds this many bytes, or ``memory``."""
    caches = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        kind, level, size = (
            (index / name).read_text(encoding="ascii").strip() for name in ("type", "level", "size")
        )
        if kind != "Instruction" and size.endswith("K"):
            caches[f"L{level}"] = int(size[:-1]) * 1024
    return next((name for name, size in sorted(caches.items()) if n_bytes <= size), "memory")


def regimes(rows: Sequence[NetTimings]) -> dict[str, tuple[float, float]]:
    """Return the numpy runtime's smallest and largest time per synapse for each cache, ns.

    The fixed cost of a tick, some twenty numpy calls whatever the size, is subtracted first; it is
    estimated as the time of the smallest network, which is left out.
    """
    smallest = min(rows, key=lambda row: row.synapses)
    per_synapse: dict[str, list[float]] = {}
    for row in rows:
        own, fixed = row.times["numpy"], smallest.times["numpy"]
        if row is not smallest and own and fixed:
            time = 1e3 * (own.p50_us - fixed.p50_us) / (row.synapses - smallest.synapses)
            per_synapse.setdefault(row.cache, []).append(time)
    return {cache: (min(times), max(times)) for cache, times in per_synapse.items()}


def bench_rule(rng: np.random.Generator, sizes: Sequence[int] = BENCH_SIZES) -> Rule:
    """Return a random ABCD+eta rule for a made-up robot with one joint per output.

    Args:
        rng: draws the coefficients.
        sizes: neurons per layer; the first must be three times the last, plus 4 or 7.
    """
    names = ["joint_position", "joint_velocity", "tracking_error", "heading", "clock"]
    if sizes[0] != 3 * sizes[-1] + 4:
        names.append("gravity")
    header = RuleHeader(
        format_version=FORMAT_VERSION,
        kind="ABCD_eta",
        layer_sizes=tuple(sizes),
        update=UpdateSpec(
            interval=1,
            trace_window=1.0,
            decay=0.0,
            normalisation="none",
            bound=1.0,
            learning_rate=1.0,
        ),
        initial=InitialSpec("uniform", 0.1),
        tick_period=0.02,
        contract=Contract(
            robot="bench",
            actuator="pd",
            latency_ticks=0,
            channels=tuple(Channel(name, scale=1.0, clip=5.0) for name in names),
            joints=tuple(
                JointContract(f"joint{i}", 0.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 1.0)
                for i in range(sizes[-1])
            ),
        ),
        provenance={},
        license="Apache-2.0",
    )
    return make_rule(
        header,
        [
            {
                name: 1e-3 * rng.standard_normal((n_out, n_in), dtype=np.float32)
                for name in RULE_KINDS[header.kind].tensors
            }
            for n_in, n_out in zip(sizes, sizes[1:], strict=False)
        ],
    )


def _timing(seconds: Sequence[float]) -> Timing:
    p50, p99, largest = np.percentile(seconds, (50, 99, 100)) * 1e6
    return Timing(float(p50), float(p99), float(largest))
