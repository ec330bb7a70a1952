"""Controllers compared in scenarios: a panel per scenario, a colour per controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..robot import FloatArray
from ..train.metrics import GRID, SPAN
from ..train.statistics import kaplan_meier
from ..train.suite import Cell, Row
from .output import save_figure

COLUMNS = 3  # panels side by side, at most


def speed_around_damage(cells: Sequence[Cell], path: Path) -> None:
    """Draw the speed from 3 s before the damage on: a panel per scenario, a colour per controller.

    The band holds the middle half of the episodes; the thick line is the mean, thin lines are
    training seeds.
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
        traces: what was zeroed -> one trace per episode, as ``metrics.speed_trace`` returns it.
        lesion: duration of the lesion, s.
        path: PNG to write.
    """
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.axvspan(0.0, lesion, color="0.85", lw=0, zorder=0)
    _speed_panel(axes, {name: [some] for name, some in traces.items()})
    axes.set(xlabel="s after the beginning of the lesion (grey)", ylabel="speed, m/s")
    axes.legend(frameon=False, fontsize="small")
    save_figure(figure, path)


def retained_by_kind(rows: Sequence[Row], path: Path) -> None:
    """Draw retained speed with its interval, a row per scenario, and a bar per training seed.

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
        if isinstance(kept, float):
            axes.plot(kept, y, "o", color=f"C{number}", ms=5)
            if isinstance(low, float) and isinstance(high, float):  # enough of them kept walking
                axes.plot([low, high], [y, y], color=f"C{number}", lw=1.5)
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
    save_figure(figure, path)


def recovery_curves(cells: Sequence[Cell], path: Path) -> None:
    """Draw the share not yet recovered over the time since the damage (Kaplan–Meier)."""
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
    save_figure(figure, path)
