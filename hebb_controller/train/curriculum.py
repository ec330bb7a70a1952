"""The stages of a run: each lasts a number of generations, or until something has been learned."""

from __future__ import annotations

from dataclasses import dataclass

from .metrics import RewardSpec

PROOF = 5
"""Generations over which a stage's worst fitness is averaged."""


@dataclass(frozen=True)
class Stage:
    """A part of a run; it ends at ``generations`` or ``mark``, whichever is reached first.

    Attributes:
        reward: what is rewarded.
        generations: number of generations; None for no limit.
        mark: fitness to reach: that of the population's mean in its worst condition, averaged over
            the last ``PROOF`` generations; None for no mark.
        settles: whether the population's standard deviation and the step size decay.
    """

    reward: RewardSpec
    generations: int | None = None
    mark: float | None = None
    settles: bool = True


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        stage: number of the stage, from 0.
        generations: completed in this stage.
        settled: generations, over all stages, in which the population settled.
        worst: the mean's fitness in its worst condition, for up to the last ``PROOF`` generations
            of this stage.
    """

    stage: int = 0
    generations: int = 0
    settled: int = 0
    worst: tuple[float, ...] = ()

    def tell(self, stages: tuple[Stage, ...], worst: float) -> None:
        """Count a generation, and enter the next stage if this one has ended.

        Args:
            stages: all stages of the run.
            worst: the mean's lowest fitness over the conditions.
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
