"""Is it adaptation? Plays one episode under every control and reports the differences.

Freezing may slow an undamaged walker too, so the cost of freezing a damaged one proves nothing by
itself; the interaction of the two does. What was learned after the damage is also frozen, removed,
or replaced by what was learned for another leg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from ..controller import Controller
from ..record import EpisodeRecord
from ..robot import FloatArray
from ..runtime.base import State
from .controls import Freeze, Intervened, Intervention, Keep, Lesion, Put, second_layer
from .metrics import RECOVERY_WINDOW, STANDS, final_speed, speed_between
from .suite import FEWEST, Contender, Share, shares
from .task import C, Evaluate

LATER = 3.0  # s after the damage, by when weights have adapted if they ever will
ARMS = (
    "damaged",
    "damaged_frozen",
    "whole",
    "whole_frozen",
    "freeze",
    "restore",
    "transplant",
    "lesion",
)
EPISODES_PER_SHARE = 2


@dataclass(frozen=True)
class ControlTrial(Generic[C]):
    """An episode with damage, and its controls.

    Attributes:
        damaged: condition with the damage.
        whole: the same without the damage.
        other: the same with the damage on another leg; None where that does not exist.
        onset: time of the damage, s.
        seed: seed of the pose and the initial weights in all three.
    """

    damaged: C
    whole: C
    other: C | None
    onset: float
    seed: int


def run_controls(
    controller: Controller, trial: ControlTrial[C], evaluate: Evaluate[C]
) -> dict[str, EpisodeRecord]:
    """Return the record of the episode under every applicable control, by name.

    ``damaged``, ``damaged_frozen``, ``whole``, ``whole_frozen``: the 2×2 design, frozen at the
    onset. ``freeze``, ``restore``, ``transplant``: applied to a damaged robot ``LATER`` after the
    onset; ``transplant`` only if the donor was still walking then. ``lesion``: applied to the
    second layer of a whole robot at the onset, only for networks that expose that layer.

    Args:
        controller: left as it was.
        trial: the episode.
        evaluate: runs an episode.
    """
    period = controller.interface.period
    at, later = round(trial.onset / period), round((trial.onset + LATER) / period)
    runtime = controller.runtime

    def play(
        condition: C, *what: Intervention, kept: Mapping[str, State] | None = None
    ) -> tuple[EpisodeRecord, dict[str, State]]:
        intervened = Intervened(runtime, what, kept=kept)
        gain = runtime.plasticity_gain
        controller.runtime = intervened
        try:
            return evaluate(controller, condition, trial.seed), intervened.kept
        finally:
            controller.runtime = runtime
            runtime.plasticity_gain = gain

    records = {
        "damaged": play(trial.damaged)[0],
        "damaged_frozen": play(trial.damaged, Freeze(at))[0],
        "whole": play(trial.whole)[0],
        "whole_frozen": play(trial.whole, Freeze(at))[0],
        "freeze": play(trial.damaged, Freeze(later))[0],
        "restore": play(trial.damaged, Keep(at, "before"), Put(later, "before"))[0],
    }
    if trial.other is not None:
        _, kept = play(trial.other, Keep(later, "other"))
        if "other" in kept:
            records["transplant"] = play(trial.damaged, Put(later, "other"), kept=kept)[0]
    part = second_layer(runtime)
    if part is not None:
        records["lesion"] = play(trial.whole, Lesion(at, part))[0]
    return records


def control_shares(
    contender: Contender, trials: Sequence[ControlTrial[C]], evaluate: Evaluate[C]
) -> list[Share[ControlTrial[C], C]]:
    """Return the shares of all training seeds of a contender."""
    return shares(contender.factories, trials, evaluate, EPISODES_PER_SHARE)


def run_control_share(share: Share[ControlTrial[C], C]) -> FloatArray:
    """Return (episodes, arms, 3) speeds: see :func:`speeds`."""
    controller = share.factory()
    return np.array(
        [speeds(run_controls(controller, t, share.evaluate), t.onset) for t in share.trials]
    )


def speeds(records: Mapping[str, EpisodeRecord], onset: float) -> FloatArray:
    """Return (arms, 3) speeds, m/s: v∞, and means over 1.5 s from ``LATER`` on and at the end.

    Time lost to a fall counts as standing still; after a fall, v∞ and the last speed are 0. An arm
    is nan if it was not played, or if the robot had already fallen when its intervention began.
    """
    up = {
        base: records[base].ticks * records[base].period > moment
        for base, moment in (("damaged", onset + LATER), ("whole", onset))
    }
    table: FloatArray = np.full((len(ARMS), 3), np.nan)
    for row, arm in enumerate(ARMS):
        base = BASE.get(arm)
        if arm not in records or (base is not None and not up[base]):
            continue
        record = records[arm]
        table[row] = (
            final_speed(record),
            speed_between(record, onset + LATER, onset + LATER + RECOVERY_WINDOW),
            final_speed(record, RECOVERY_WINDOW),
        )
    return table


BASE: Mapping[str, str] = {
    "freeze": "damaged",
    "restore": "damaged",
    "transplant": "damaged",
    "lesion": "whole",
}
"""Baseline of each intervention: the same episodes without it."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval; None where the sample does not say how wide it is."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Kept:
    """The share of the speed that an intervention leaves.

    Attributes:
        episodes: number in which it was played.
        soon: share over 1.5 s from ``LATER`` after the damage; None if there is no speed to keep.
        late: share over the last 1.5 s; likewise.
    """

    episodes: int
    soon: Estimate | None
    late: Estimate | None


@dataclass(frozen=True)
class Adaptation:
    """What the controls show for one contender in one scenario.

    Attributes:
        scenario: name of the scenario.
        controller: name of the contender.
        episodes: number under each control.
        speed_after: v∞ in the 2×2 design by arm name, m/s.
        freezing: cost of freezing a damaged robot, m/s.
        interaction: that cost beyond the cost of freezing a whole robot, m/s. Where every damaged
            robot falls it reflects the whole ones alone: look at both.
        interventions: share of the speed kept, by arm name.
    """

    scenario: str
    controller: str
    episodes: int
    speed_after: Mapping[str, float]
    freezing: Estimate
    interaction: Estimate
    interventions: Mapping[str, Kept]


def adaptation(
    scenario: str, controller: str, seeds: Sequence[FloatArray], rng: np.random.Generator
) -> Adaptation:
    """Return what the controls show for one contender in one scenario.

    Args:
        scenario: name of the scenario.
        controller: name of the contender.
        seeds: (episodes, arms, 3) per training seed, as :func:`run_control_share` returns.
        rng: for the bootstrap.
    """
    from .statistics import bootstrap_means, percentile_interval

    factorial = [seed[:, :4, 0] for seed in seeds]
    means = np.mean([rows.mean(axis=0) for rows in factorial], axis=0)
    resampled = bootstrap_means(factorial, rng)
    known = min(len(rows) for rows in factorial) >= FEWEST

    def contrast(*weights: float) -> Estimate:
        low, high = percentile_interval(resampled @ weights) if known else (None, None)
        return Estimate(float(means @ weights), low, high)

    return Adaptation(
        scenario,
        controller,
        episodes=sum(len(seed) for seed in seeds),
        speed_after=dict(zip(ARMS[:4], means.tolist(), strict=True)),
        freezing=contrast(1.0, -1.0, 0.0, 0.0),
        interaction=contrast(1.0, -1.0, -1.0, 1.0),
        interventions={arm: _kept(seeds, arm, rng) for arm in BASE},
    )


def _kept(seeds: Sequence[FloatArray], arm: str, rng: np.random.Generator) -> Kept:
    ours, base = ARMS.index(arm), ARMS.index(BASE[arm])
    played = [seed for seed in seeds if np.isfinite(seed[:, ours, 0]).any()]
    soon, late = (_share([p[:, [ours, base], column] for p in played], rng) for column in (1, 2))
    return Kept(sum(int(np.isfinite(seed[:, ours, 0]).sum()) for seed in played), soon, late)


def _share(pairs: Sequence[FloatArray], rng: np.random.Generator) -> Estimate | None:
    from .statistics import ratio_interval

    if not pairs:
        return None
    there = [p[np.isfinite(p).all(axis=1)] for p in pairs]
    ours, base = np.mean([p.mean(axis=0) for p in there], axis=0)
    if base < STANDS:
        return None
    walking = sum(int((p[:, 1] > 0.0).sum()) for p in there)
    known = walking >= FEWEST
    low, high = ratio_interval(pairs, rng, least=STANDS) if known else (None, None)
    return Estimate(float(ours / base), low, high)
