"""What ``hebb evaluate --pictures`` runs: a few episodes, watched tick by tick, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ..controller import Controller
from ..errors import HebbError
from ..plasticity import Array
from ..robot import FloatArray, load_robot
from ..runtime.base import Runtime, State
from ..train.controls import LESION_TICKS, Intervened, Lesion, Scrambled
from ..train.metrics import speed_trace
from ..train.source import Source
from ..train.suite import Contender, Trial

if TYPE_CHECKING:
    from hebb_sim.condition import Condition

    from ..plots.weights import Frame, Trajectory

FILM_SIZE = (400, 300)  # pixels
FILM_EVERY = 8  # ticks
LESION_ONSET = 5.0  # s
LESION_DURATION = 12.0  # s
PLANE_EVERY = 5  # ticks
PLANE_DAMAGES = 6  # at most, each on a different part or of a different kind
LESION_EPISODES = 16


def draw_pictures(
    contender: Contender, trials: Sequence[Trial[Condition]], directory: Path
) -> None:
    """Write ``weights.gif``, ``plane.png`` and ``lesion.png``.

    Args:
        contender: the contender whose first training seed is watched.
        trials: the film shows the first, the plane their different damages; all pictures start from
            the first one's seed.
        directory: an existing directory.

    Raises:
        HebbError: the controller's runtime has no ``layers`` to draw, or a file cannot be written.
    """
    from ..plots.evaluation import speed_around_lesion
    from ..plots.weights import weight_film, weight_planes

    source = contender.factories[0]
    assert isinstance(source, Source)  # noqa: S101 - for the type checker
    layers = getattr(source().runtime, "layers", None)
    if not layers:
        raise HebbError(f"{contender.name}: its runtime has no `layers`, so no weights to draw.")
    try:
        click.echo("Drawing the weights beside the robot ...", err=True)
        frames, bound = _film(source, trials[0])
        weight_film(frames, bound, directory / "weights.gif")
        click.echo("Drawing their paths through the plane ...", err=True)
        rules = {contender.name: source()}
        if source.is_plastic:
            random = Scrambled(source, "random", 0)
            rules[f"{contender.name}, random coefficients"] = random()
        planes = {name: _trajectories(c, source.robot, trials) for name, c in rules.items()}
        weight_planes(planes, directory / "plane.png")
        click.echo("Drawing the speed around a lesion ...", err=True)
        traces, length = _lesions(source, trials[0].seed)
        speed_around_lesion(traces, length, directory / "lesion.png")
    except OSError as error:
        raise HebbError(f"{directory}: cannot be written: {error.strerror}.") from error


class _Watch:
    """Looks at a network every few ticks; an intervention that changes nothing."""

    def __init__(self, every: int, look: Callable[[Runtime, int], None]) -> None:
        self._every = every
        self._look = look

    def __call__(self, runtime: Runtime, tick: int, kept: dict[str, State]) -> None:
        if tick % self._every == 0:
            self._look(runtime, tick)


def _film(source: Source, trial: Trial[Condition]) -> tuple[list[Frame], float]:
    from hebb_sim.damage import describe
    from hebb_sim.episode import run_episode
    from hebb_sim.world import World

    from ..plots.weights import Frame

    controller = source()
    period = controller.interface.period
    world = World(load_robot(source.robot), tick_period=period, visual=True)
    frames = []

    def look(runtime: Runtime, tick: int) -> None:
        layers: list[Array] = [layer.copy() for layer in runtime.layers]  # type: ignore[attr-defined]
        picture = world.camera(width=FILM_SIZE[0], height=FILM_SIZE[1])
        frames.append(Frame(tick * world.tick_period, describe(world.damages), picture, layers))

    controller.runtime = Intervened(controller.runtime, [_Watch(FILM_EVERY, look)])
    run_episode(controller, world, trial.condition, trial.seed)
    world.close()
    every = np.concatenate([np.abs(layer).ravel() for f in frames for layer in f.layers])
    return frames, max(float(np.percentile(every, 99)), 1e-6)


def _trajectories(
    controller: Controller, robot: str, trials: Sequence[Trial[Condition]]
) -> list[Trajectory]:
    from hebb_sim.damage import describe
    from hebb_sim.episode import EpisodeRunner

    from ..plots.weights import Trajectory

    runtime, period = controller.runtime, controller.interface.period
    first = trials[0]
    different = {
        tuple((d.part, d.kind) for d in trial.condition.damages): trial for trial in trials
    }
    different[()] = replace(first, condition=replace(first.condition, damages=(), spells=()))
    found = []
    for what in [(), *sorted(key for key in different if key)[:PLANE_DAMAGES]]:
        trial = different[what]
        rows: list[FloatArray] = []

        def look(runtime: Runtime, _: int, rows: list[FloatArray] = rows) -> None:
            rows.append(runtime.state["weights"].astype(np.float64))

        controller.runtime = Intervened(runtime, [_Watch(PLANE_EVERY, look)])
        EpisodeRunner(robot)(controller, trial.condition, first.seed)
        onset = round(trial.onset / period / PLANE_EVERY)
        found.append(Trajectory(describe(trial.condition.damages), np.array(rows), onset))
    return found


def _lesions(source: Source, seed: int) -> tuple[dict[str, list[FloatArray]], float]:
    from hebb_sim.condition import Condition
    from hebb_sim.episode import EpisodeRunner

    controller = source()
    runtime, period = controller.runtime, controller.interface.period
    edges = np.cumsum([0, *(layer.size for layer in runtime.layers)])  # type: ignore[attr-defined]
    at = round(LESION_ONSET / period)
    what: dict[str, list[Lesion]] = {"nothing zeroed": []}
    for number, part in enumerate(zip(edges, edges[1:], strict=False), start=1):
        what[f"layer {number} zeroed"] = [Lesion(at, (int(part[0]), int(part[1])))]
    run = EpisodeRunner(source.robot)
    traces = {}
    for name, lesions in what.items():
        controller.runtime = Intervened(runtime, lesions)
        records = [
            run(controller, Condition(LESION_DURATION), seed + i) for i in range(LESION_EPISODES)
        ]
        traces[name] = [speed_trace(record, LESION_ONSET) for record in records]
    return traces, LESION_TICKS * period
