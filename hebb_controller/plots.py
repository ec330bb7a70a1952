"""Pictures of what happened. Needs the ``plot`` extra."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt


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
    axes.plot(
        ticks,
        [row["best_fitness"] for row in rows],
        lw=0.7,
        alpha=0.6,
        label="best of the population",
    )
    axes.plot(ticks, [row["fitness"] for row in rows], lw=1.2, label="mean of the distribution")
    axes.plot(ticks, [row["population_fitness"] for row in rows], lw=0.7, label="population")
    axes.set(xlabel="control ticks, million", ylabel="fitness (mean reward per tick)")
    axes.axhline(0.0, color="0.8", lw=0.7, zorder=0)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
