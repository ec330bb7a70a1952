"""How a training went."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib import pyplot as plt

from .output import save_figure


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
    save_figure(figure, path)
