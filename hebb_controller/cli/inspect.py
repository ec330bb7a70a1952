"""``hebb inspect``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click
import numpy as np

from ..errors import ContractError, HebbError, RobotSpecError
from ..memory_horizon import memory_horizon
from ..robot import RobotSpec, load_shipped_robot
from ..rule import Envelope, Rule
from ..rule_file import load_rule
from ..train.baseline_file import SUFFIX, load_baseline
from .options import example, json_option, rule_argument

if TYPE_CHECKING:
    from ..contract import Contract
    from ..plasticity import Array

HORIZON_SECONDS = 20.0
BLOCKS = " ▁▂▃▄▅▆▇█"
BINS = 32
BASELINES = {
    "stacked": "a feed-forward network that sees its last observations (frames) at once",
    "gru": "a gated recurrent network, which remembers in its hidden state",
}
"""Kind of baseline -> what it is; a static network is stored as a rule of kind static."""

Named: TypeAlias = "Mapping[str, Mapping[int, Array]]"


@click.command(epilog=example("hebb inspect rules/a1_walk.rule.safetensors"))
@rule_argument
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT.png",
    help="Draw the distributions of the coefficients, layer by layer.",
)
@json_option
def inspect(rule: str, plot: Path | None, as_json: bool) -> None:
    """Show what is in a rule file, how its coefficients are distributed, and how long it remembers.

    The memory horizon is measured on the observations of a simulated walk; without the `sim` extra
    it is left out. For a trained baseline's .baseline.safetensors, whatever applies is shown.
    """
    if rule.endswith(SUFFIX):
        report, named = _of_baseline(rule)
    else:
        loaded = load_rule(rule)
        report, named = _of_rule(loaded), _by_name(loaded)
    if plot is not None:
        _plot(named, plot)
    click.echo(
        json.dumps(report, indent=2) if as_json else "\n".join((_text(report), *_picture(named)))
    )


def _of_rule(loaded: Rule) -> dict[str, object]:
    header = loaded.header
    return {
        "sha256": loaded.sha256,
        "kind": header.kind,
        "layer_sizes": list(header.layer_sizes),
        "synapses": loaded.n_synapses,
        "parameters": loaded.n_parameters,
        "tick_period_s": header.tick_period,
        "update": vars(header.update),
        "initial": vars(header.initial),
        **_of_contract(header.contract),
        "coefficients": {
            f"layer{k}.{name}": _statistics(tensor)
            for k, layer in enumerate(loaded.layers)
            for name, tensor in layer.items()
        },
        "memory_horizon": _horizon(loaded),
        "envelope": None if header.envelope is None else _bounds(header.envelope),
        "static_twin": None if header.static_twin is None else asdict(header.static_twin),
        "golden_ticks": 0 if loaded.golden is None else loaded.golden.ticks,
        "provenance": dict(header.provenance),
        "license": header.license,
    }


def _of_baseline(path: str) -> tuple[dict[str, object], Named]:
    loaded = load_baseline(path)
    header = loaded.header
    report = {
        "what": f"{BASELINES[header.kind]}; a baseline: its weights never change while it runs",
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "kind": header.kind,
        "layer_sizes": list(header.layer_sizes),
        "frames": header.frames,
        "parameters": loaded.n_parameters,
        "tick_period_s": header.tick_period,
        **_of_contract(header.contract),
        "weights": {name: _statistics(tensor) for name, tensor in loaded.tensors.items()},
        "provenance": dict(header.provenance),
        "license": header.license,
    }
    return report, {name: {0: tensor.ravel()} for name, tensor in loaded.tensors.items()}


def _of_contract(contract: Contract) -> dict[str, object]:
    return {
        "robot": contract.robot,
        "actuator": contract.actuator,
        "joints": [joint.name for joint in contract.joints],
        "channels": {c.name: {"scale": c.scale, "clip": c.clip} for c in contract.channels},
    }


def _statistics(tensor: Array) -> dict[str, float]:
    return {
        "mean": float(np.mean(tensor)),
        "std": float(np.std(tensor)),
        "min": float(np.min(tensor)),
        "max": float(np.max(tensor)),
    }


def _by_name(rule: Rule) -> dict[str, dict[int, Array]]:
    """Return the numbers of a rule: name -> layer -> flat values; ``static`` is the static twin."""
    named: dict[str, dict[int, Array]] = {}
    for k, layer in enumerate(rule.layers):
        for name, tensor in layer.items():
            named.setdefault(name, {})[k] = tensor.ravel()
    if rule.static:
        named["static"] = {k: tensor.ravel() for k, tensor in enumerate(rule.static)}
    return named


def _bounds(envelope: Envelope) -> dict[str, object]:
    layers = {f"layer{k}": asdict(layer) for k, layer in enumerate(envelope.layers)}
    return {"ticks": envelope.ticks, **layers}


def _picture(named: Named) -> Iterator[str]:
    """Yield a line per name: a histogram of its values, from the smallest to the largest."""
    if named:
        yield f"{'distributions:':14s} {'':{BINS}s} {'mean':>9s} {'std':>9s} {'min':>9s} {'max':>9s}"
    for name, layers in named.items():
        values = np.concatenate(list(layers.values()))
        counts, _ = np.histogram(values.astype(np.float64), BINS)  # neighbours in float32
        levels = np.ceil(counts * (len(BLOCKS) - 1) / counts.max()).astype(int)  # 0 only for none
        cells = (values.mean(), values.std(), values.min(), values.max())
        numbers = " ".join(f"{cell:9.3g}" for cell in cells)
        yield f"  {name:12s} {''.join(BLOCKS[level] for level in levels)} {numbers}"


def _plot(named: Named, path: Path) -> None:
    from ..plots.weights import coefficient_plot

    if not named:
        raise HebbError(f"{path}: nothing to draw: this rule has no coefficients.")
    if path.suffix != ".png":
        raise HebbError(f"{path}: the picture is a PNG; its name must end in .png.")
    try:
        coefficient_plot(named, path)
    except OSError as error:
        raise HebbError(f"{path}: cannot be written: {error.strerror}.") from error
    click.echo(f"Picture: {path}", err=True)


def _horizon(rule: Rule) -> dict[str, object]:
    try:
        robot = load_shipped_robot(rule.header.contract.robot)
        observations = _walk_observations(rule, robot)
    except ModuleNotFoundError:
        return {"measured": False, "why": "measuring it needs the extra sim"}
    except (ContractError, RobotSpecError) as error:
        return {"measured": False, "why": str(error)}
    ticks = memory_horizon(rule, observations, np.random.default_rng(1))
    period = rule.header.tick_period
    return {
        "measured": True,
        "ticks": ticks,
        "seconds": None if ticks is None else ticks * period,
        "watched_seconds": len(observations) * period,
    }


def _walk_observations(rule: Rule, robot: RobotSpec) -> list[Array]:
    from hebb_sim.world import World

    from ..controller import controller_for

    controller = controller_for(rule, robot)
    world = World(robot, tick_period=rule.header.tick_period)
    reading = world.reset(np.random.default_rng(0))
    controller.reset(np.random.default_rng(0), reading.joint_position)
    observations: list[Array] = []
    for _ in range(round(HORIZON_SECONDS / rule.header.tick_period)):
        command = controller.step(reading, reading.received)
        if command.limits.tripped:  # it fell: stand it up again and continue
            reading = world.reset(np.random.default_rng(len(observations)))
            continue
        observations.append(controller.last_observation)
        reading = world.step(command)
    world.close()
    return observations


def _text(report: dict[str, object]) -> str:
    lines = []
    for key, value in report.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            for name, item in value.items():
                if isinstance(item, dict):
                    cells = (
                        f"{_plain(k)} {v:.4g}"
                        if isinstance(v, float)
                        else f"{_plain(k)} {_plain(v)}"
                        for k, v in item.items()
                    )
                    lines.append(f"  {_plain(name):20s} {', '.join(cells)}")
                else:
                    lines.append(f"  {_plain(name):20s} {_plain(item)}")
        elif isinstance(value, list):
            lines.append(f"{key}: {' '.join(map(_plain, value))}")
        else:
            lines.append(f"{key}: {_plain(value)}")
    return "\n".join(lines)


def _plain(value: object) -> str:
    """Return a value as text that is safe to print on a terminal."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text)
