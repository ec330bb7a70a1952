"""``hebb bench``."""

from __future__ import annotations

import json
import time
import tracemalloc

import click
import numpy as np

from ..contract import Contract, JointContract
from ..controller import controller_for
from ..network import InitialSpec
from ..observation import Channel
from ..plasticity import RULE_KINDS, Array, UpdateSpec
from ..robot import load_robot
from ..rule import FORMAT_VERSION, Rule, RuleHeader, make_rule
from ..rule_file import load_rule
from ..runtime.numpy_runtime import NumpyRuntime
from ..share import shipped
from .options import example, json_option

BENCH_SIZES = (28, 128, 64, 8)  # the published quadruped network


@click.group()
def bench() -> None:
    """Measure speed; ratios are taken in one run, since machines are noisy."""


@bench.command(epilog=example("hebb bench sim --json"))
@click.option("--rule", type=click.Path(dir_okay=False), help="Default: the shipped walk.")
@click.option("--seconds", type=click.FloatRange(min=1.0), default=10.0, show_default=True)
@json_option
def sim(rule: str | None, seconds: float, as_json: bool) -> None:
    """Ticks per second inside running episodes, and the part that is physics."""
    from hebb_sim.episode import Condition, EpisodeRunner, world_for

    loaded = load_rule(rule or shipped("rules", "a1_walk.rule.safetensors"))
    robot = loaded.header.contract.robot
    controller = controller_for(loaded, load_robot(robot))
    runner = EpisodeRunner(robot)
    world = world_for(robot)
    runner(controller, Condition(duration=10.0), 0)  # warm up: caches, and the processor's clock
    world.physics_seconds = 0.0
    ticks, seed, start = 0, 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        ticks += runner(controller, Condition(duration=10.0), seed).ticks
        seed += 1
    report = {
        "ticks": ticks,
        "ticks_per_s": ticks / elapsed,
        "physics_share": world.physics_seconds / elapsed,
    }
    _show(report, as_json)


@bench.command(epilog=example("hebb bench runtime --json"))
@click.option("--ticks", type=click.IntRange(min=100), default=20_000, show_default=True)
@json_option
def runtime(ticks: int, as_json: bool) -> None:
    """A tick of the numpy runtime against the plain expression, on 28-128-64-8 ABCD+eta."""
    rng = np.random.default_rng(0)
    rule = bench_rule(rng)
    network = NumpyRuntime(rule)
    network.reset(rng)
    plain = PlainNetwork(rule, [layer.copy() for layer in network.layers])
    observations = rng.standard_normal((256, BENCH_SIZES[0])).astype(np.float32)
    ours, theirs = np.empty(ticks), np.empty(ticks)
    for tick in range(ticks):  # interleaved, so that both see the same machine
        observation = observations[tick % len(observations)]
        start = time.perf_counter()
        network.step(observation)
        middle = time.perf_counter()
        plain.step(observation)
        ours[tick], theirs[tick] = middle - start, time.perf_counter() - middle
    tracemalloc.start()
    network.step(observations[0])
    before = tracemalloc.get_traced_memory()[0]
    for tick in range(100_000):
        network.step(observations[tick % len(observations)])
    growth = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    p50, plain_p50 = np.percentile(ours, 50) * 1e6, np.percentile(theirs, 50) * 1e6
    report = {
        "p50_us": float(p50),
        "p99_us": float(np.percentile(ours, 99) * 1e6),
        "plain_p50_us": float(plain_p50),
        "ratio": float(p50 / plain_p50),
        "growth_bytes": growth,
    }
    _show(report, as_json)


class PlainNetwork:
    """The same network written as the formula stands, with temporaries: the yardstick."""

    def __init__(self, rule: Rule, weights: list[Array]) -> None:
        self._layers = rule.layers
        self._weights = weights

    def step(self, observation: Array) -> Array:
        """Return the action and change the weights."""
        activation = observation
        changes = []
        for weights, k in zip(self._weights, self._layers, strict=True):
            pre, activation = activation, np.tanh(weights @ activation)
            post = activation[:, None]
            changes.append(k["eta"] * (k["A"] * post * pre + k["B"] * pre + k["C"] * post + k["D"]))
        self._weights = [w + change for w, change in zip(self._weights, changes, strict=True)]
        return activation


def bench_rule(rng: np.random.Generator) -> Rule:
    """Return a random ABCD+eta rule with ``BENCH_SIZES`` for a made-up robot of 8 joints."""
    channels = ("joint_position", "joint_velocity", "tracking_error", "heading", "clock")
    header = RuleHeader(
        format_version=FORMAT_VERSION,
        kind="ABCD_eta",
        layer_sizes=BENCH_SIZES,
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
            channels=tuple(Channel(name, scale=1.0, clip=5.0) for name in channels),
            joints=tuple(
                JointContract(f"joint{i}", 0.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 1.0)
                for i in range(BENCH_SIZES[-1])
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
            for n_in, n_out in zip(BENCH_SIZES, BENCH_SIZES[1:], strict=False)
        ],
    )


def _show(report: dict[str, float], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        for key, value in report.items():
            click.echo(f"{key:14s} {value:,.3f}")
