"""Writing figures and films to files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

FILM_COLOURS = 64
INK, RED = (20, 20, 20), (200, 0, 0)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, and close it.

    Raises:
        OSError: it cannot be written.
    """
    try:
        figure.savefig(path, dpi=120)
    finally:
        plt.close(figure)


def save_film(frames: Iterable[Image.Image], interval: float, path: Path) -> None:
    """Write an animated GIF.

    Args:
        frames: at least one; quantized one by one, since together they are large.
        interval: time between frames, s.
        path: GIF to write.

    Raises:
        OSError: it cannot be written.
    """
    first, *others = (frame.quantize(FILM_COLOURS) for frame in frames)
    first.save(
        path,
        save_all=True,
        append_images=others,
        duration=round(1000 * interval),
        loop=0,
        optimize=True,
    )


def caption(draw: ImageDraw.ImageDraw, time: float, damage: str) -> None:
    """Write the time, s, and the damage in force, if it is not ``none``, into a frame's corner."""
    draw.text((8, 6), f"{time:4.1f} s", fill=INK)
    draw.text((8, 20), "" if damage == "none" else damage, fill=RED)
