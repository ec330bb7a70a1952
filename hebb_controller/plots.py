"""Pictures of what happened. Needs the ``plot`` extra."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .benchmark import CONTESTANTS, NetTimings
from .plasticity import Array

SPEED_WINDOW = 1.0  # s
FILM_RATE = 8.0  # frames/s
FILM_COLOURS = 64


class Run(Protocol):
    """What a picture of a run is drawn from; see ``demo.Recording``."""

    time: list[float]
    damage: list[str]
    change: list[tuple[float, ...]]
    norm: list[tuple[float, ...]]

    def speed(self, start: float, stop: float) -> float:
        """Return the mean speed along the initial heading between two moments, m/s."""
        ...


def training_curve(directory: Path, path: Path) -> None:
    """Draw the log of a training run.

    Args:
        directory: of the run; holds ``log.jsonl``.
        path: PNG to write.
    """
    lines = (directory / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    ticks = [row["ticks"] / 1e6 for row in rows]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for key, label, width in (
        ("best_fitness", "best of the population", 0.6),
        ("fitness", "mean of the distribution", 1.3),
        ("population_fitness", "population", 0.6),
    ):
        axes.plot(ticks, [row[key] for row in rows], lw=width, label=label)
    axes.axhline(0.0, color="0.8", lw=0.7, zorder=0)
    for before, row, tick in zip(rows, rows[1:], ticks, strict=False):
        if row["stage"] != before["stage"]:
            axes.axvline(tick, color="0.6", lw=0.7, ls=":", zorder=0)
            axes.annotate(
                f" stage {row['stage']}", (tick, 0.01), xycoords=("data", "axes fraction")
            )
    axes.set(xlabel="control ticks, million", ylabel="fitness (mean reward per tick)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def demo_plot(run: Run, path: Path) -> None:
    """Draw speed, |ΔW| and weight norms over time, with the damage shaded.

    Args:
        run: what was recorded.
        path: PNG to write.
    """
    times = np.array(run.time)
    speeds = [run.speed(moment - SPEED_WINDOW, moment) for moment in run.time]
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, sharex=True, figsize=(8, 7), layout="constrained"
    )
    top.plot(times, speeds, lw=1.0)
    top.set_ylabel(f"speed, m/s (over {SPEED_WINDOW:g} s)")
    for axes, values, label in (
        (middle, np.array(run.change), "mean |ΔW| per update"),
        (bottom, np.array(run.norm), "weight norm"),
    ):
        for layer, column in enumerate(values.T):
            axes.plot(times, column, lw=0.8, label=f"layer {layer}")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0.0)
    middle.legend(frameon=False, loc="upper right")
    bottom.set_xlabel("time, s")
    for axes in (top, middle, bottom):
        _shade(axes, run)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def runtime_scaling(rows: Sequence[NetTimings], path: Path) -> None:
    """Draw how the time of a tick grows with the number of synapses.

    Args:
        rows: from small networks to large ones.
        path: PNG to write.
    """
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for name in CONTESTANTS:
        points = [(row.synapses, t.p50_us) for row in rows if (t := row.times[name]) is not None]
        if points:
            axes.loglog(*zip(*points, strict=True), marker="o", ms=3, lw=1.2, label=name)
    for before, after in zip(rows, rows[1:], strict=False):
        if before.cache != after.cache:
            edge = float(np.sqrt(before.synapses * after.synapses))
            axes.axvline(edge, color="0.8", lw=0.7, zorder=0)
            axes.text(
                edge,
                1.0,
                f" beyond {before.cache}",
                color="0.5",
                va="top",
                fontsize=8,
                transform=axes.get_xaxis_transform(),
            )
    axes.set(xlabel="synapses", ylabel="median time of a tick, µs")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def coefficient_plot(named: Mapping[str, Mapping[int, Array]], path: Path) -> None:
    """Draw how the coefficients of a rule are distributed: a panel per name, a line per layer.

    Args:
        named: name -> layer -> flat values; at least one.
        path: PNG to write.
    """
    columns = min(3, len(named))
    rows = -(-len(named) // columns)
    figure, panels = plt.subplots(
        rows, columns, squeeze=False, figsize=(3.4 * columns, 2.6 * rows), layout="constrained"
    )
    for axes in panels.flat[len(named) :]:
        axes.remove()
    for axes, (name, layers) in zip(panels.flat, named.items(), strict=False):
        edges = np.histogram_bin_edges(np.concatenate(list(layers.values())), bins=30)
        for k, values in layers.items():
            axes.hist(
                values,
                bins=edges,
                density=True,
                histtype="step",
                lw=1.2,
                color=f"C{k}",
                label=f"layer {k}",
            )
        axes.set(title=name, yticks=[])
        axes.set_ylim(bottom=0.0)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
    panels[0, 0].set_ylabel("density")
    panels[0, 0].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def film(run: Run, draw_row: Callable[[int], npt.NDArray[np.uint8]], path: Path) -> None:
    """Draw the robot as it moved, as an animated GIF.

    Args:
        run: what was recorded.
        draw_row: row of the run -> (height, width, 3) picture.
        path: GIF to write.
    """
    frames = []
    for moment in np.arange(run.time[0], run.time[-1], 1.0 / FILM_RATE):
        i = int(np.searchsorted(run.time, moment))
        image = Image.fromarray(draw_row(i))
        damage = "" if run.damage[i] == "none" else run.damage[i]
        draw = ImageDraw.Draw(image)
        draw.text((8, 6), f"{moment:4.1f} s", fill=(20, 20, 20))
        draw.text((8, 20), damage, fill=(200, 0, 0))
        frames.append(image.quantize(FILM_COLOURS))
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / FILM_RATE),
        loop=0,
        optimize=True,
    )


def _shade(axes: Axes, run: Run) -> None:
    damaged = np.array([damage != "none" for damage in run.damage])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], damaged, [False]]).astype(int)))
    for first, last in zip(edges[0::2], edges[1::2], strict=True):
        axes.axvspan(run.time[first], run.time[last - 1], color="C3", alpha=0.12, lw=0)
