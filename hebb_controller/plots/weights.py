"""Coefficients of a rule, and weights at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from PIL import Image, ImageDraw

from ..plasticity import Array
from ..robot import FloatArray
from .output import INK, caption, save_figure, save_film

Pixels = npt.NDArray[np.uint8]

MARGIN = 8  # pixels around a matrix of the film


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
        together = np.concatenate(list(layers.values())).astype(np.float64)
        edges = np.histogram_bin_edges(together, bins=30)
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
    save_figure(figure, path)


@dataclass(frozen=True)
class Trajectory:
    """The path of a network's weights through one episode.

    Attributes:
        damage: the damage as text; ``none`` for no damage.
        weights: (rows, n) weights every few ticks.
        onset: row at which the damage came; may lie beyond the end.
    """

    damage: str
    weights: FloatArray
    onset: int


def principal_plane(rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the mean (n,), first two principal directions (2, n) and their shares of the variance.

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

    A dot marks the start, a triangle the damage, a square the end; each trajectory has its colour.
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
    save_figure(figure, path)


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
        bound: weight at which the colour is full: red above 0, blue below.
        path: GIF to write.
    """
    interval = frames[1].time - frames[0].time if len(frames) > 1 else 1.0
    save_film((_compose(frame, bound) for frame in frames), interval, path)


def _compose(frame: Frame, bound: float) -> Image.Image:
    """Return the picture of one frame: the robot left, the matrices in a column on the right."""
    height, width = frame.robot.shape[:2]
    title = 14
    widest = max(layer.shape[1] for layer in frame.layers)
    rows = sum(layer.shape[0] for layer in frame.layers)
    free = height - len(frame.layers) * (title + MARGIN)
    scale = max(1, min(free // rows, 6))
    page = Image.new("RGB", (width + 2 * MARGIN + scale * widest, height), "white")
    page.paste(Image.fromarray(frame.robot), (0, 0))
    draw = ImageDraw.Draw(page)
    caption(draw, frame.time, frame.damage)
    top = 2
    for number, layer in enumerate(frame.layers, start=1):
        draw.text((width + MARGIN, top), f"layer {number}", fill=INK)
        shades = mpl.colormaps["RdBu_r"](0.5 + 0.5 * np.clip(layer / bound, -1.0, 1.0))
        picture = Image.fromarray((255 * shades[:, :, :3]).astype(np.uint8))
        size = (scale * layer.shape[1], scale * layer.shape[0])
        page.paste(picture.resize(size, Image.Resampling.NEAREST), (width + MARGIN, top + title))
        top += title + size[1] + MARGIN
    return page
