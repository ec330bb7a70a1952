"""Statistics for a few training seeds and many episodes. Needs scipy.

Contenders are compared by training seed: a hundred episodes of one trained controller say nothing
about how another run of its training would have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..robot import FloatArray

CONFIDENCE = 0.95
RESAMPLES = 2000
DEALS = 20_000  # most permutations of the training seeds to try


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    Source: Wilson 1927; unlike the textbook interval, it is sound at 0 and 1.
    """
    interval = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def share_interval(
    seeds: Sequence[Sequence[bool]], rng: np.random.Generator
) -> tuple[float, float]:
    """Return the interval of a share: Wilson's, joined with the bootstrap's for several seeds.

    Args:
        seeds: per training seed, whether it happened in each episode; the same episodes for all.
        rng: source of randomness.
    """
    every = [happened for seed in seeds for happened in seed]
    low, high = wilson_interval(sum(every), len(every))
    if len(seeds) > 1:
        columns = [np.asarray(seed, dtype=np.float64)[:, None] for seed in seeds]
        least, most = percentile_interval(bootstrap_means(columns, rng)[:, 0])
        low, high = min(low, least), max(high, most)
    return low, high


@dataclass(frozen=True)
class Survival:
    """A Kaplan–Meier curve.

    Attributes:
        time: (n,) times at which something happened or was censored, ascending, s.
        share: (n,) share to which it has not happened yet, from each of these times on.
    """

    time: FloatArray
    share: FloatArray

    @property
    def median(self) -> float | None:
        """The first time by which it has happened to half of them, s; None if it never has."""
        reached = np.flatnonzero(self.share <= 0.5 + 1e-12)
        return float(self.time[reached[0]]) if len(reached) else None


def kaplan_meier(happened: Sequence[float], censored: Sequence[float]) -> Survival:
    """Return the share to which it has not happened, over time.

    Args:
        happened: times at which it happened, s.
        censored: how long the others were watched in vain, s.

    Source: Kaplan & Meier 1958.
    """
    if not happened and not censored:
        return Survival(np.zeros(0), np.zeros(0))
    sample = stats.CensoredData(uncensored=list(happened), right=list(censored))
    curve = stats.ecdf(sample).sf
    return Survival(np.asarray(curve.quantiles), np.asarray(curve.probabilities))


def permutation_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the two-sided p-value of the difference in means over training seeds.

    Every way of splitting the numbers between the two sides is counted, so with 5 against 5 the
    smallest possible p is 2/252 = 0.008. If there are more than ``DEALS`` (from 8 against 9 on),
    that many random ones are tried, the same in every run.

    Args:
        ours, theirs: one number per training seed.
    """
    test = stats.permutation_test(
        (np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        vectorized=True,
        n_resamples=DEALS,
        batch=10_000,
        random_state=np.random.default_rng(0),
    )
    return float(test.pvalue)


def bootstrap_means(
    seeds: Sequence[FloatArray], rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> FloatArray:
    """Return the means of a crossed bootstrap, (at most resamples, k).

    Training seeds and episodes are drawn independently, with replacement: all training seeds go
    through the same episodes, so a hard one is hard for all. Columns stay together, so what was
    measured on the same episodes is compared pairwise. Every training seed weighs the same.

    Args:
        seeds: (episodes, k) numbers per training seed, in the same order of episodes; a row with
            NaN is an episode missing for this seed. Every seed has at least one row.
        rng: source of randomness.
        resamples: number of resamples; those in which no seed has a number are left out.

    Source: Owen 2007, "The pigeonhole bootstrap": if both have effects, its variance is not too
    small.
    """
    if len(seeds) == 1:
        seeds = [seeds[0][np.isfinite(seeds[0]).all(axis=1)]]
    count = len(seeds[0])
    drawn = rng.integers(len(seeds), size=(resamples, len(seeds)))
    episodes = rng.integers(count, size=(resamples, count))
    times = np.zeros_like(episodes)
    np.add.at(times, (np.arange(resamples)[:, None], episodes), 1)
    means = np.empty((*drawn.shape, seeds[0].shape[1]))
    for number, rows in enumerate(seeds):
        there = np.isfinite(rows.sum(axis=1, keepdims=True))
        total = times @ there[:, 0]
        sums = times @ np.where(there, rows, 0.0)
        means[:, number] = np.where(total > 0, sums.T / np.maximum(total, 1), np.nan).T
    picked = np.take_along_axis(means, drawn[:, :, None], axis=1)
    known = np.isfinite(picked).all(axis=2, keepdims=True)
    sums, parts = np.where(known, picked, 0.0).sum(axis=1), known.sum(axis=1)
    averages: FloatArray = sums / np.maximum(parts, 1)
    return averages[np.flatnonzero(parts)]


def percentile_interval(samples: FloatArray) -> tuple[float, float]:
    """Return the interval that leaves out an equal share of the samples at either end."""
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(samples, [tail, 100.0 - tail])
    return float(low), float(high)


def ratio_interval(
    seeds: Sequence[FloatArray], rng: np.random.Generator, *, least: float
) -> tuple[float, float] | tuple[None, None]:
    """Return the bootstrap interval of a ratio of means.

    Args:
        seeds: (episodes, 2) numerator and denominator per training seed, as in
            :func:`bootstrap_means`.
        rng: source of randomness.
        least: denominator below which there is no ratio. Where that happens to more resamples than an
            interval leaves out at one end, there is no interval.
    """
    means = bootstrap_means(seeds, rng)
    there = means[:, 1] >= least
    if there.mean() < 0.5 * (1.0 + CONFIDENCE):
        return None, None
    return percentile_interval(means[there, 0] / means[there, 1])
