"""The stages of a run: each lasts for a number of generations, or until something has been learned."""

from __future__ import annotations

from dataclasses import dataclass

from .metrics import RewardSpec

PROOF = 5
"""Generations over which what has been learned is averaged."""


@dataclass(frozen=True)
class Stage:
    """A part of a run; the next one begins as soon as either end is reached.

    Attributes:
        reward: what is rewarded.
        generations: how many it lasts; None for no such end.
        mark: what the mean of the population must have earned in its worst condition, averaged over
            the last ``PROOF`` generations; None for no such end.
        settles: whether the population's standard deviation and the step decay.
    """

    reward: RewardSpec
    generations: int | None = None
    mark: float | None = None
    settles: bool = True


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        stage: counted from 0.
        generations: done in this stage.
        settled: generations, of all stages, in which the population has been settling.
        worst: the mean's fitness in its worst condition, in the last generations of this stage, at most
            ``PROOF``.
    """

    stage: int = 0
    generations: int = 0
    settled: int = 0
    worst: tuple[float, ...] = ()

    def tell(self, stages: tuple[Stage, ...], worst: float) -> None:
        """Count a generation; go on to the next stage if this one has come to its end.

        Args:
            stages: of the run.
            worst: the lowest of the mean's fitness by condition.
        """
        stage = stages[self.stage]
        self.generations += 1
        self.settled += stage.settles
        self.worst = (*self.worst, worst)[-PROOF:]
        over = stage.generations is not None and self.generations >= stage.generations
        learned = (
            stage.mark is not None
            and len(self.worst) == PROOF
            and sum(self.worst) / PROOF >= stage.mark
        )
        if (over or learned) and self.stage + 1 < len(stages):
            self.stage, self.generations, self.worst = self.stage + 1, 0, ()
