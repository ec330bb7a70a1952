"""``hebb inspect``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import numpy as np

from ..memory import memory_horizon
from ..robot import load_robot
from ..rule import Rule
from ..rule_file import load_rule
from .options import example, json_option, rule_argument

if TYPE_CHECKING:
    from ..plasticity import Array

HORIZON_SECONDS = 20.0


@click.command(epilog=example("hebb inspect rules/a1_walk.rule.safetensors"))
@rule_argument
@json_option
def inspect(rule: str, as_json: bool) -> None:
    """Show what is in a rule file, and how long the network remembers.

    The memory horizon is measured on the observations of a simulated walk; without the `sim` extra
    it is left out.
    """
    loaded = load_rule(rule)
    header = loaded.header
    horizon = _horizon(loaded)
    report = {
        "sha256": loaded.sha256,
        "kind": header.kind,
        "layer_sizes": list(header.layer_sizes),
        "synapses": loaded.n_synapses,
        "parameters": loaded.n_parameters,
        "tick_period_s": header.tick_period,
        "update": vars(header.update),
        "initial": vars(header.initial),
        "robot": header.contract.robot,
        "actuator": header.contract.actuator,
        "joints": [joint.name for joint in header.contract.joints],
        "channels": {c.name: {"scale": c.scale, "clip": c.clip} for c in header.contract.channels},
        "coefficients": {
            f"layer{k}.{name}": {
                "mean": float(np.mean(tensor)),
                "std": float(np.std(tensor)),
                "min": float(np.min(tensor)),
                "max": float(np.max(tensor)),
            }
            for k, layer in enumerate(loaded.layers)
            for name, tensor in layer.items()
        },
        "memory_horizon": horizon,
        "provenance": dict(header.provenance),
        "license": header.license,
    }
    click.echo(json.dumps(report, indent=2) if as_json else _text(report))


def _horizon(rule: Rule) -> dict[str, object]:
    try:
        observations = _walk_observations(rule)
    except ModuleNotFoundError:
        return {"measured": False, "why": "pip install 'hebb_controller[sim]' to measure it"}
    ticks = memory_horizon(rule, observations, np.random.default_rng(1))
    period = rule.header.tick_period
    return {
        "measured": True,
        "ticks": ticks,
        "seconds": None if ticks is None else ticks * period,
        "watched_seconds": len(observations) * period,
    }


def _walk_observations(rule: Rule) -> list[Array]:
    from hebb_sim.world import World

    from ..controller import controller_for

    robot = load_robot(rule.header.contract.robot)
    controller = controller_for(rule, robot)
    world = World(robot, tick_period=rule.header.tick_period)
    reading = world.reset(np.random.default_rng(0))
    controller.reset(np.random.default_rng(0), reading.joint_position)
    observations: list[Array] = []
    for _ in range(round(HORIZON_SECONDS / rule.header.tick_period)):
        command = controller.step(reading, reading.received)
        if command.limits.tripped:  # it fell: stand it up again and go on
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
                        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                        for k, v in item.items()
                    )
                    lines.append(f"  {name:20s} {', '.join(cells)}")
                else:
                    lines.append(f"  {name:20s} {item}")
        elif isinstance(value, list):
            lines.append(f"{key}: {' '.join(map(str, value))}")
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)
