"""Pictures of an evaluation, and of weights at work. Needs the ``plot`` extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .plasticity import Array
from .robot import FloatArray
from .train.metrics import GRID, SPAN
from .train.statistics import kaplan_meier
from .train.suite import Cell, Row

Pixels = npt.NDArray[np.uint8]

COLUMNS = 3  # panels side by side, at most
FILM_COLOURS = 64
MARGIN = 8  # pixels around a matrix of the film
INK, RED = (20, 20, 20), (200, 0, 0)


# --- of an evaluation ---


def speed_around_damage(cells: Sequence[Cell], path: Path) -> None:
    """Draw the speed from 3 s before the damage on: a panel per scenario, a colour per controller.

    The band holds the middle half of the episodes; thick is the mean, thin each training seed.
    """
    figure, panels = _panels([cell.scenario for cell in cells])
    for name, axes in panels.items():
        here = [cell for cell in cells if cell.scenario == name]
        _speed_panel(axes, {c.controller: [[o.trace for o in s] for s in c.seeds] for c in here})
        axes.axhline(here[0].asked, color="0.6", lw=0.7, ls="--", zorder=0)
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("s after the damage")
    _finish(figure, panels, path, "speed, m/s")


def speed_around_lesion(
    traces: Mapping[str, Sequence[FloatArray]], lesion: float, path: Path
) -> None:
    """Draw the speed around a lesion of the weights.

    Args:
        traces: what was zeroed -> per episode a trace as ``metrics.speed_trace`` returns it.
        lesion: how long it lasted, s.
        path: PNG to write.
    """
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.axvspan(0.0, lesion, color="0.85", lw=0, zorder=0)
    _speed_panel(axes, {name: [some] for name, some in traces.items()})
    axes.set(xlabel="s after the beginning of the lesion (grey)", ylabel="speed, m/s")
    axes.legend(frameon=False, fontsize="small")
    _save(figure, path)


def retained_by_kind(rows: Sequence[Row], path: Path) -> None:
    """Draw retained speed with its interval, a line per scenario, and a dot for each training seed.

    A controller too slow before the damage to retain anything gets a cross at 0.
    """
    scenarios = list(dict.fromkeys(str(row["scenario"]) for row in rows))
    names = list(dict.fromkeys(str(row["controller"]) for row in rows))
    figure, axes = plt.subplots(
        figsize=(7, 1.4 + len(scenarios) * (0.25 + 0.13 * len(names))), layout="constrained"
    )
    for row in rows:
        number = names.index(str(row["controller"]))
        y = scenarios.index(str(row["scenario"])) + 0.7 * ((number + 0.5) / len(names) - 0.5)
        kept, low, high, seeds = (
            row[key] for key in ("retained_speed", "ci_low", "ci_high", "retained_by_seed")
        )
        if isinstance(kept, float) and isinstance(low, float) and isinstance(high, float):
            axes.plot([low, high], [y, y], color=f"C{number}", lw=1.5)
            axes.plot(kept, y, "o", color=f"C{number}", ms=5)
        else:
            axes.plot(0.0, y, "x", color=f"C{number}", ms=5)
        if isinstance(seeds, list) and len(seeds) > 1:
            known = [seed for seed in seeds if seed is not None]
            axes.plot(known, [y] * len(known), "|", color=f"C{number}", ms=6, alpha=0.6)
    for number, name in enumerate(names):
        axes.plot([], [], "o-", color=f"C{number}", label=name)
    axes.set_yticks(range(len(scenarios)), scenarios)
    axes.set_ylim(len(scenarios) - 0.5, -0.5)
    axes.axvline(1.0, color="0.6", lw=0.7, ls="--", zorder=0)
    axes.axvline(0.0, color="0.6", lw=0.7, zorder=0)
    axes.set_xlabel("retained speed, with 95 % interval (cross: too slow before the damage)")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    _save(figure, path)


def recovery_curves(cells: Sequence[Cell], path: Path) -> None:
    """Draw the share that has not recovered yet over the time since the damage (Kaplan–Meier)."""
    figure, panels = _panels([cell.scenario for cell in cells])
    for name, axes in panels.items():
        here = [cell for cell in cells if cell.scenario == name]
        end = max(o.watched for cell in here for o in cell.outcomes)
        for cell in here:
            happened, censored = cell.recoveries()
            curve = kaplan_meier(happened, censored)
            at_start = curve.share[curve.time <= 0.0]
            time = np.concatenate([[0.0], curve.time, [end]])
            share = np.concatenate([[1.0, *at_start[-1:]][-1:], curve.share, curve.share[-1:]])
            axes.step(time, share, where="post", lw=1.4, label=cell.controller)
        axes.set_title(name, fontsize="medium")
        axes.set(xlabel="s after the damage", ylim=(-0.03, 1.03))
    _finish(figure, panels, path, "share not recovered")


def _speed_panel(axes: Axes, controllers: Mapping[str, Sequence[Sequence[FloatArray]]]) -> None:
    for number, (name, seeds) in enumerate(controllers.items()):
        colour = f"C{number}"
        length = min(len(trace) for seed in seeds for trace in seed)
        table = np.array([trace[:length] for seed in seeds for trace in seed])
        time = GRID * np.arange(length) - SPAN
        low, high = np.percentile(table, [25, 75], axis=0)
        axes.fill_between(time, low, high, color=colour, alpha=0.15, lw=0)
        if len(seeds) > 1:
            for seed in seeds:
                mean = np.mean([trace[:length] for trace in seed], axis=0)
                axes.plot(time, mean, color=colour, lw=0.5, alpha=0.8)
        axes.plot(time, table.mean(axis=0), color=colour, lw=1.6, label=name)
    axes.axvline(0.0, color="0.6", lw=0.7, zorder=0)
    axes.axhline(0.0, color="0.6", lw=0.7, zorder=0)


def _panels(scenarios: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    names = list(dict.fromkeys(scenarios))
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        squeeze=False,
        sharey=True,
        figsize=(max(3.4 * columns, 6.0), 2.6 * rows + 0.7),
        layout="constrained",
    )
    for unused in axes.flat[len(names) :]:
        unused.remove()
    return figure, dict(zip(names, axes.flat, strict=False))


def _finish(figure: Figure, panels: Mapping[str, Axes], path: Path, label: str) -> None:
    figure.supylabel(label, fontsize="medium")
    handles, labels = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize="small"
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, dpi=120)
    finally:
        plt.close(figure)


# --- of weights ---


@dataclass(frozen=True)
class Trajectory:
    """The way of a network's weights through one episode.

    Attributes:
        damage: as text; ``none``.
        weights: (rows, n) every few ticks.
        onset: row at which the damage came; may lie beyond the end.
    """

    damage: str
    weights: FloatArray
    onset: int


def principal_plane(rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean (n,), the first two principal directions (2, n), and their shares of the variance.

    Args:
        rows: (m, n), m ≥ 2.
    """
    mean: FloatArray = rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(rows - mean, full_matrices=False)
    variance = sizes**2
    share: FloatArray = variance[:2] / max(float(variance.sum()), np.finfo(np.float64).tiny)
    return mean, directions[:2], share


def weight_planes(panels: Mapping[str, Sequence[Trajectory]], path: Path) -> None:
    """Draw weight trajectories, a panel per rule in the plane of its own first two components.

    A dot is the start, a triangle the damage, a square the end; each damage has its colour.
    """
    figure, axes = plt.subplots(
        1, len(panels), squeeze=False, figsize=(5.0 * len(panels), 4.8), layout="constrained"
    )
    for panel, (name, some) in zip(axes.flat, panels.items(), strict=True):
        mean, directions, share = principal_plane(np.concatenate([t.weights for t in some]))
        for number, trajectory in enumerate(some):
            x, y = directions @ (trajectory.weights - mean).T
            panel.plot(x, y, color=f"C{number}", lw=0.9, alpha=0.8, label=trajectory.damage)
            panel.plot(x[0], y[0], "o", color="k", ms=5, zorder=3)
            panel.plot(x[-1], y[-1], "s", color=f"C{number}", ms=6, mec="k", zorder=3)
            if trajectory.onset < len(x) and trajectory.damage != "none":
                at = trajectory.onset
                panel.plot(x[at], y[at], "^", color=f"C{number}", ms=7, mec="k", zorder=3)
        panel.set_title(name, fontsize="medium")
        panel.set_xlabel(f"first component ({100 * share[0]:.0f} % of the variance)")
        panel.set_ylabel(f"second component ({100 * share[1]:.0f} %)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels),
        frameon=False,
        fontsize="small",
        title="● start   ▲ damage   ■ end",
        title_fontsize="small",
    )
    _save(figure, path)


@dataclass(frozen=True)
class Frame:
    """A moment of the film: the picture of the robot, and its weights per layer, (n_out, n_in)."""

    time: float
    damage: str
    robot: Pixels
    layers: Sequence[Array]


def weight_film(frames: Sequence[Frame], bound: float, path: Path) -> None:
    """Draw the robot with its weight matrices beside it, as an animated GIF.

    Args:
        frames: at least one, evenly spaced.
        bound: the weight of full colour: red above 0, blue below.
        path: GIF to write.
    """
    interval = frames[1].time - frames[0].time if len(frames) > 1 else 1.0
    images = [_compose(frame, bound).quantize(FILM_COLOURS) for frame in frames]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=round(1000 * interval),
        loop=0,
        optimize=True,
    )


def _compose(frame: Frame, bound: float) -> Image.Image:
    """Return the picture of one moment: the robot left, the matrices in a column on the right."""
    height, width = frame.robot.shape[:2]
    title = 14
    widest = max(layer.shape[1] for layer in frame.layers)
    rows = sum(layer.shape[0] for layer in frame.layers)
    free = height - len(frame.layers) * (title + MARGIN)
    scale = max(1, min(free // rows, 6))
    page = Image.new("RGB", (width + 2 * MARGIN + scale * widest, height), "white")
    page.paste(Image.fromarray(frame.robot), (0, 0))
    draw = ImageDraw.Draw(page)
    draw.text((8, 6), f"{frame.time:4.1f} s", fill=INK)
    draw.text((8, 20), "" if frame.damage == "none" else frame.damage, fill=RED)
    top = 2
    for number, layer in enumerate(frame.layers, start=1):
        draw.text((width + MARGIN, top), f"layer {number}", fill=INK)
        shades = mpl.colormaps["RdBu_r"](0.5 + 0.5 * np.clip(layer / bound, -1.0, 1.0))
        picture = Image.fromarray((255 * shades[:, :, :3]).astype(np.uint8))
        size = (scale * layer.shape[1], scale * layer.shape[0])
        page.paste(picture.resize(size, Image.Resampling.NEAREST), (width + MARGIN, top + title))
        top += title + size[1] + MARGIN
    return page
