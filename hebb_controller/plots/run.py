"""A run as ``hebb demo`` shows it: speed and weights over time, and a film of the robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image, ImageDraw

from .output import caption, save_figure, save_film

SPEED_WINDOW = 1.0  # s
FILM_RATE = 8.0  # frames/s


class Run(Protocol):
    """What a picture of a run is drawn from; see ``demo.Recording``."""

    time: list[float]
    damage: list[str]
    change: list[tuple[float, ...]]
    norm: list[tuple[float, ...]]

    def speed(self, start: float, stop: float) -> float:
        """Return the mean speed along the initial heading between two times, m/s."""
        ...


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
    save_figure(figure, path)


def film(run: Run, draw_row: Callable[[int], npt.NDArray[np.uint8]], path: Path) -> None:
    """Draw the robot as it moved, as an animated GIF.

    Args:
        run: what was recorded.
        draw_row: row of the run -> (height, width, 3) picture.
        path: GIF to write.
    """

    def frames() -> Iterator[Image.Image]:
        for moment in np.arange(run.time[0], run.time[-1], 1.0 / FILM_RATE):
            i = int(np.searchsorted(run.time, moment))
            image = Image.fromarray(draw_row(i))
            caption(ImageDraw.Draw(image), float(moment), run.damage[i])
            yield image

    save_film(frames(), 1.0 / FILM_RATE, path)


def _shade(axes: Axes, run: Run) -> None:
    damaged = np.array([damage != "none" for damage in run.damage])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], damaged, [False]]).astype(int)))
    for first, last in zip(edges[0::2], edges[1::2], strict=True):
        axes.axvspan(run.time[first], run.time[last - 1], color="C3", alpha=0.12, lw=0)
