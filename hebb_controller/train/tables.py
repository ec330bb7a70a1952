"""The evaluation as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from .adaptation import Adaptation, Estimate
from .suite import Row

NOTHING = "–"


def tables(rows: Sequence[Row], contrasts: Sequence[Row], controls: Sequence[Adaptation]) -> str:
    """Return the measures of the cells, followed by the contrasts and controls, if any.

    Args:
        rows: as ``Cell.row`` returns them.
        contrasts: as ``suite.contrasts`` returns them; left out if none has a p.
        controls: results of the controls; empty if they were not played.
    """
    lines = _table(
        "scenario|controller|episodes|before|after|retained [95 %]|recovery|never|falls [95 %]",
        [
            [
                row["scenario"],
                row["controller"],
                row["episodes"],
                _number(row["speed_before"]),
                _number(row["speed_after"]),
                _interval(row["retained_speed"], row["ci_low"], row["ci_high"]),
                _number(row["recovery_median_s"], ".1f"),
                _number(row["never_recovered"]),
                _interval(row["fall_rate"], row["fall_low"], row["fall_high"]),
            ]
            for row in rows
        ],
    )
    if any(row["p"] is not None for row in contrasts):
        lines += ["", "Difference of v∞, m/s; p of the permutation of training seeds:", ""]
        lines += _table(
            "scenario|controller|against|difference|p",
            [
                [
                    row["scenario"],
                    row["controller"],
                    row["against"],
                    _number(row["speed_after_difference"], "+.2f"),
                    _number(row["p"], ".3f"),
                ]
                for row in contrasts
            ],
        )
    return "\n".join(lines + (_control_tables(controls) if controls else []))


def _control_tables(controls: Sequence[Adaptation]) -> list[str]:
    factorial = [
        [
            one.scenario,
            one.controller,
            one.episodes,
            *map(_number, one.speed_after.values()),
            _estimate(one.freezing, "+.2f"),
            _estimate(one.interaction, "+.2f"),
        ]
        for one in controls
    ]
    kept = [
        [one.scenario, one.controller, arm, k.episodes, _estimate(k.soon), _estimate(k.late)]
        for one in controls
        for arm, k in one.interventions.items()
    ]
    return [
        "",
        "v∞, m/s, plastic or frozen from the damage on; cost: what freezing costs a damaged robot;",
        "interaction: that, less what it costs a whole one (adaptation: both are above 0):",
        "",
        *_table(
            "scenario|controller|episodes|damaged|frozen|whole|frozen|cost [95 %]|interaction [95 %]",
            factorial,
        ),
        "",
        "Speed under an intervention as a share of the speed without it, 3 s after the damage (lesion:",
        "after its beginning) and at the end, over 1.5 s:",
        "",
        *_table("scenario|controller|intervention|episodes|soon [95 %]|late [95 %]", kept),
    ]


def _table(head: str, rows: Sequence[Sequence[object]]) -> list[str]:
    table = [head.split("|"), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in table
    ]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def _number(value: object, form: str = ".2f") -> str:
    return NOTHING if value is None else f"{value:{form}}"


def _interval(value: object, low: object, high: object, form: str = ".2f") -> str:
    if value is None or low is None:
        return _number(value, form)
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _estimate(estimate: Estimate | None, form: str = ".2f") -> str:
    return (
        NOTHING
        if estimate is None
        else _interval(estimate.value, estimate.low, estimate.high, form)
    )
