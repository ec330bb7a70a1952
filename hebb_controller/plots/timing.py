"""How long a tick takes, as measured by ``hebb bench runtime``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from ..benchmark import CONTESTANTS, NetTimings
from .output import save_figure


def runtime_scaling(rows: Sequence[NetTimings], path: Path) -> None:
    """Draw how the time of a tick grows with the number of synapses.

    Args:
        rows: timings, from small networks to large ones.
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
    save_figure(figure, path)
