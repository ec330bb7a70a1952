"""Scenarios × controllers × seeds: what is compared, on what, and the resulting table.

The simulator stays outside: ``evaluate(controller, condition, seed)`` is passed in, and controllers
are made where they run, by picklable factories.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from ..controller import Controller
from ..record import EpisodeRecord
from ..robot import FloatArray
from .executor import TaskRunner, chunks
from .metrics import STANDS, Outcome, fall_rate, outcome, retained_speed
from .task import C, Evaluate

T = TypeVar("T")
Factory = Callable[[], Controller]
Row = dict[str, object]

TEST_SEEDS = 2**31
"""First seed of test episodes; training draws its seeds below it."""

EPISODES_PER_SHARE = 5
FEWEST = 5  # walking episodes; with fewer, a bootstrap cannot tell how rare they are


@dataclass(frozen=True)
class Contender:
    """A row of the table.

    Attributes:
        name: unique.
        factories: one per training seed.
    """

    name: str
    factories: Sequence[Factory]


@dataclass(frozen=True)
class Trial(Generic[C]):
    """An episode that every contender goes through.

    Attributes:
        condition: what happens in it.
        onset: time that the measures compare before and after, s.
        seed: seed of the pose and the initial weights.
    """

    condition: C
    onset: float
    seed: int


@dataclass(frozen=True)
class Share(Generic[T, C]):
    """A worker's unit of work: one controller, a few trials.

    Attributes:
        factory: makes the controller, in the worker.
        trials: trials that it goes through.
        evaluate: runs an episode.
    """

    factory: Factory
    trials: tuple[T, ...]
    evaluate: Evaluate[C]


def shares(
    factories: Sequence[Factory], trials: Sequence[T], evaluate: Evaluate[C], size: int
) -> list[Share[T, C]]:
    """Return the trials in shares of at most ``size``, the first ones for every factory first."""
    return [Share(f, part, evaluate) for part in chunks(trials, size) for f in factories]


def by_factory(results: Mapping[int, T], factories: int) -> list[list[T]]:
    """Return the results of :func:`shares` for each factory, only as many as there are for all of them.

    Args:
        results: index of the share -> its result, without the last ones if something was interrupted.
        factories: how many there are.
    """
    end = len(results) // factories * factories
    return [[results[i] for i in range(first, end, factories)] for first in range(factories)]


def run_share(share: Share[Trial[C], C]) -> list[EpisodeRecord]:
    """Return the record of every episode of a share, in order.

    Raises:
        HebbError: the controller cannot be made.
    """
    controller = share.factory()
    return [share.evaluate(controller, trial.condition, trial.seed) for trial in share.trials]


def share_outcomes(share: Share[Trial[C], C], *, asked: float) -> list[Outcome]:
    """Return the outcome of every episode of a share, in order.

    Args:
        share: what to run.
        asked: v*, m/s.

    Raises:
        HebbError: the controller cannot be made.
    """
    records = zip(run_share(share), share.trials, strict=True)
    return [outcome(record, trial.onset, asked=asked) for record, trial in records]


@dataclass(frozen=True)
class Cell:
    """One contender in one scenario.

    Attributes:
        scenario: its name.
        controller: the contender's name.
        asked: v*, the speed asked for, m/s.
        seeds: outcome of every episode per training seed; the same episodes for all.
    """

    scenario: str
    controller: str
    asked: float
    seeds: tuple[tuple[Outcome, ...], ...]

    @property
    def outcomes(self) -> list[Outcome]:
        """All outcomes, training seed by training seed."""
        return [o for seed in self.seeds for o in seed]

    def speeds(self) -> list[FloatArray]:
        """Return (episodes, 2) v∞ and v0 per training seed, m/s."""
        return [np.array([(o.after, o.before) for o in seed]) for seed in self.seeds]

    def row(self, rng: np.random.Generator) -> Row:
        """Return the measures by name; docs/evaluation.md defines them.

        Args:
            rng: for the bootstrap.
        """
        from .statistics import kaplan_meier, ratio_interval, share_interval

        every = self.outcomes
        speeds = self.speeds()
        kept = retained_speed(every, asked=self.asked)
        walking = sum(o.after > 0.0 for o in every)
        known = kept is not None and walking >= FEWEST
        low, high = ratio_interval(speeds, rng, least=STANDS) if known else (None, None)
        falls = [[o.fallen for o in seed] for seed in self.seeds]
        never = float(np.mean([o.recovery is None for o in every]))
        # When few are left to watch, one late recovery takes the curve below a half.
        median = kaplan_meier(*self.recoveries()).median if never <= 0.5 else None
        fall_low, fall_high = share_interval(falls, rng)
        return {
            "scenario": self.scenario,
            "controller": self.controller,
            "training_seeds": len(self.seeds),
            "episodes": len(every),
            "speed_before": float(np.mean([o.before for o in every])),
            "speed_after": float(np.mean([o.after for o in every])),
            "retained_speed": kept,
            "ci_low": low,
            "ci_high": high,
            "recovery_median_s": median,
            "never_recovered": never,
            "fall_rate": fall_rate(every),
            "fall_low": fall_low,
            "fall_high": fall_high,
            "fall_rate_by_seed": [fall_rate(seed) for seed in self.seeds],
            "speed_after_by_seed": [float(seed[:, 0].mean()) for seed in speeds],
            "retained_by_seed": [retained_speed(seed, asked=self.asked) for seed in self.seeds],
        }

    def recoveries(self) -> tuple[list[float], list[float]]:
        """Return the recovery times, and how long the others were watched in vain, s.

        A fall does not cut watching short: a robot that fell would not have recovered, so it counts
        as watched to the planned end.
        """
        happened = [o.recovery for o in self.outcomes if o.recovery is not None]
        return happened, [o.watched for o in self.outcomes if o.recovery is None]


def run_suite(
    contenders: Sequence[Contender],
    scenarios: Mapping[str, Sequence[Trial[C]]],
    evaluate: Evaluate[C],
    runner: TaskRunner,
    *,
    asked: float,
    on_result: Callable[[], object] = lambda: None,
    cells: list[Cell] | None = None,
) -> list[Cell]:
    """Return a cell per scenario and contender, scenario by scenario.

    Args:
        contenders: contenders to compare.
        scenarios: name -> the episodes that each contender goes through.
        evaluate: runs an episode.
        runner: runs the shares.
        asked: v*, m/s.
        on_result: called after each of the :func:`count_shares` shares.
        cells: appended to, also if this is interrupted: then the last cell has only the episodes that
            all of its training seeds have been through.
    """
    cells = [] if cells is None else cells
    run = functools.partial(share_outcomes, asked=asked)
    for (scenario, trials), contender in itertools.product(scenarios.items(), contenders):
        factories = contender.factories
        tasks = shares(factories, trials, evaluate, EPISODES_PER_SHARE)
        results: dict[int, list[Outcome]] = {}
        try:
            runner.map(run, tasks, on_result=on_result, results=results)
        finally:
            found = by_factory(results, len(factories))
            seeds = tuple(tuple(itertools.chain.from_iterable(parts)) for parts in found)
            if seeds[0]:
                cells.append(Cell(scenario, contender.name, asked, seeds))
    return cells


def count_shares(
    contenders: Sequence[Contender], scenarios: Mapping[str, Sequence[Trial[C]]]
) -> int:
    """Return how many shares :func:`run_suite` runs."""
    seeds = sum(len(contender.factories) for contender in contenders)
    return seeds * sum(-(-len(trials) // EPISODES_PER_SHARE) for trials in scenarios.values())


def contrasts(cells: Sequence[Cell]) -> list[Row]:
    """Return how each pair of contenders differs in each scenario, with the permutation p-value.

    The mean v∞ per training seed is compared, over the episodes that both have been through. With
    fewer than 2 seeds on a side there is no p.
    """
    from .statistics import permutation_p

    rows: list[Row] = []
    for one, other in itertools.combinations(cells, 2):
        if one.scenario != other.scenario:
            continue
        both = min(len(seed) for cell in (one, other) for seed in cell.seeds)
        ours, theirs = ([float(s[:both, 0].mean()) for s in cell.speeds()] for cell in (one, other))
        rows.append(
            {
                "scenario": one.scenario,
                "controller": one.controller,
                "against": other.controller,
                "speed_after_difference": float(np.mean(ours) - np.mean(theirs)),
                "p": permutation_p(ours, theirs) if min(len(ours), len(theirs)) > 1 else None,
            }
        )
    return rows
