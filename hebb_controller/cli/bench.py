"""``hebb bench``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ..benchmark import BENCH_SIZES, CONTESTANTS, GRID, NetTimings, growth, regimes, time_net
from ..controller import controller_for
from ..robot import load_shipped_robot
from ..rule_file import load_rule
from ..share import shipped
from .options import FiniteRange, example, json_option


@click.group()
def bench() -> None:
    """Measure speed; ratios are taken within one run, since machines are noisy."""


@bench.command(epilog=example("hebb bench sim --json"))
@click.option("--rule", type=click.Path(dir_okay=False), help="Default: the shipped walk.")
@click.option("--seconds", type=FiniteRange(min=1.0), default=10.0, show_default=True)
@json_option
def sim(rule: str | None, seconds: float, as_json: bool) -> None:
    """Measure ticks per second within episodes, and the share spent on physics."""
    from hebb_sim.condition import Condition
    from hebb_sim.episode import EpisodeRunner, world_for

    loaded = load_rule(rule or shipped("rules", "a1_walk.rule.safetensors"))
    spec = load_shipped_robot(loaded.header.contract.robot)
    robot = spec.name
    controller = controller_for(loaded, spec)
    runner = EpisodeRunner(robot)
    world = world_for(robot, controller.interface.period)
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
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report)


@bench.command(epilog=example("hebb bench runtime --plot runtime_scaling.png"))
@click.option(
    "--ticks",
    type=click.IntRange(min=1),
    default=5_000,
    show_default=True,
    help="Ticks timed per network.",
)
@click.option(
    "--growth-ticks",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="Ticks over which memory growth is measured.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="PNG to write.")
@json_option
def runtime(ticks: int, growth_ticks: int, plot: Path | None, as_json: bool) -> None:
    """Time a tick of each runtime on networks of 288 to 91,328 synapses, against three yardsticks.

    The first figures are for the published 28-128-64-8 network; the table has all networks. An entry is
    absent if its extra (onnx, bench) is not installed.
    """
    with click.progressbar(GRID, label="nets", file=sys.stderr) as nets:
        rows = [time_net(sizes, ticks) for sizes in nets]
    published = next(row for row in rows if row.layer_sizes == BENCH_SIZES)
    ours, plain = published.times["numpy"], published.times["plain"]
    assert ours is not None and plain is not None  # noqa: S101, PT018 - numpy is always there
    headline: dict[str, float] = {
        "p50_us": ours.p50_us,
        "p99_us": ours.p99_us,
        "plain_p50_us": plain.p50_us,
        "ratio": ours.p50_us / plain.p50_us,
        "growth_bytes": growth(growth_ticks),
    }
    per_synapse = regimes(rows)
    if as_json:
        report = {
            **headline,
            "nets": [asdict(row) for row in rows],
            "ns_per_synapse": per_synapse,
            "contestants": dict(CONTESTANTS),
        }
        click.echo(json.dumps(report, indent=2))
    else:
        _show(headline)
        click.echo(f"\n{_table(rows)}\n")
        for cache, (least, most) in per_synapse.items():
            click.echo(
                f"ns per synapse in {cache}: {least:.2f} to {most:.2f}, fixed cost subtracted"
            )
        for name, what in CONTESTANTS.items():
            click.echo(f"{name}: {what}")
    if plot is not None:
        from ..plots.timing import runtime_scaling

        runtime_scaling(rows, plot)


@bench.command(epilog=example("hebb bench node --seconds 10 --json"))
@click.option(
    "--seconds",
    type=FiniteRange(min=1.0),
    default=60.0,
    show_default=True,
    help="Length of each run.",
)
@click.option(
    "--pairs", type=click.IntRange(min=1), default=5, show_default=True, help="Pairs of runs."
)
@click.option(
    "--rt-priority",
    type=click.IntRange(0, 99),
    default=0,
    show_default=True,
    help="SCHED_FIFO priority of both, as the node's parameter.",
)
@json_option
def node(seconds: float, pairs: int, rt_priority: int, as_json: bool) -> None:
    """Measure how late the node's control thread starts its ticks at 500 Hz on a busy machine.

    Reports medians over pairs of runs: one of the thread, one of a bare loop that sleeps with
    clock_nanosleep. An overrun is a period in which no tick started. The thread and its loop are the
    node's, without DDS.
    """
    from ..node.bench import measure

    report = measure(seconds, pairs=pairs, rt_priority=rt_priority)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    _show(report)
    _show(
        {
            "p99 / bare p99": report["p99_us"] / report["bare_p99_us"],
            "overruns − bare": report["overruns"] - report["bare_overruns"],
        }
    )


@bench.command(epilog=example("hebb bench latency --seconds 10 --json"))
@click.option(
    "--seconds",
    type=FiniteRange(min=1.0),
    default=60.0,
    show_default=True,
    help="How long the network runs.",
)
@json_option
def latency(seconds: float, as_json: bool) -> None:
    """Measure reading-to-command round-trip time over DDS, against an echo-only node.

    Controller and echo run in separate processes and are queried in turn. `besides_p50_us` is the time
    the controller node takes beyond the echo and its own step: medians of one run.
    """
    from ..node.latency import measure_latency

    report = measure_latency(seconds)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report)


_COLUMNS = (
    *("net", "synapses", "coefficients", "cache"),
    *("numpy µs (p50 / p99 / max)", "onnx µs (p50 / p99 / max)"),
    *("plain µs", "compiled µs", "copy µs"),
    *("numpy / plain", "numpy / compiled", "numpy / copy", "onnx / numpy"),
)


def _table(rows: Sequence[NetTimings]) -> str:
    """Return a Markdown table; single times are medians, ratios are those of medians."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    for row in rows:
        net = "-".join(map(str, row.layer_sizes))
        cells = [net, f"{row.synapses:,}", f"{row.coefficients:,}", row.cache]
        for name in ("numpy", "onnx"):
            t = row.times[name]
            cells.append(f"{t.p50_us:.1f} / {t.p99_us:.1f} / {t.max_us:.0f}" if t else "absent")
        for name in ("plain", "compiled", "copy"):
            t = row.times[name]
            cells.append(f"{t.p50_us:.1f}" if t else "absent")
        quotients = [row.ratio("numpy", other) for other in ("plain", "compiled", "copy")]
        quotients.append(row.ratio("onnx", "numpy"))
        cells += ["absent" if q is None else f"{q:.2f}" for q in quotients]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _show(report: Mapping[str, float]) -> None:
    for key, value in report.items():
        click.echo(f"{key:15s} {value:,.3f}")
