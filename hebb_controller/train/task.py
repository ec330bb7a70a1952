"""What a worker process does: a mean, seeds and conditions in, fitness out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..controller import Controller
from ..errors import RuleFileError
from ..record import EpisodeRecord
from ..robot import load_robot
from .genome import Evolvable
from .metrics import RewardSpec, fitness

Condition_contra = TypeVar("Condition_contra", contravariant=True)
C = TypeVar("C")

FAILED = -10.0
"""Fitness of a candidate with non-finite numbers: below anything an episode can earn."""


class Evaluate(Protocol[Condition_contra]):
    """Runs one episode; must be picklable and bitwise reproducible."""

    def __call__(
        self, controller: Controller, condition: Condition_contra, seed: int
    ) -> EpisodeRecord:
        """Return what happened in the episode."""
        ...


@dataclass(frozen=True)
class Task(Generic[C]):
    """What all candidates of a generation share; sent to the workers once.

    Attributes:
        genome: how a vector becomes a controller.
        reward: what is rewarded.
        evaluate: runs an episode.
        robot: name of the robot spec.
        mean: (size,) centre of the population.
        sigma: standard deviation of the population.
        episodes: per draw, (condition, seed) of each episode.
    """

    genome: Evolvable
    reward: RewardSpec
    evaluate: Evaluate[C]
    robot: str
    mean: npt.NDArray[np.float32]
    sigma: float
    episodes: tuple[tuple[tuple[C, int], ...], ...]


@dataclass(frozen=True)
class Score:
    """The result of one candidate.

    Attributes:
        fitness: fitness per episode.
        ticks: control ticks run.
        seconds: wall time; ignored in comparisons.
    """

    fitness: tuple[float, ...]
    ticks: int
    seconds: float = field(default=0.0, compare=False)


def noise(seed: int, size: int) -> npt.NDArray[np.float32]:
    """Return the direction of a mirrored pair, (size,) standard normal."""
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def run_task(task: Task[C], candidates: Sequence[tuple[int, int, int]]) -> list[Score]:
    """Return the score of every candidate, in order; ``FAILED`` for one that makes no controller.

    Args:
        task: what the candidates share.
        candidates: (noise seed, sign, draw) per candidate: vector = mean + sign · sigma · noise.

    Raises:
        RobotSpecError: the task's robot cannot be loaded.
        ContractError: it is not the robot that the networks are for: its spec was edited meanwhile.
    """
    robot = load_robot(task.robot)
    scores = []
    for seed, sign, draw in candidates:
        begun = time.monotonic()
        episodes = task.episodes[draw]
        vector = task.mean + np.float32(sign * task.sigma) * noise(seed, task.genome.size)
        try:
            controller = task.genome.controller(vector, robot)
        except RuleFileError:
            scores.append(Score((FAILED,) * len(episodes), 0))
            continue
        records = [task.evaluate(controller, *episode) for episode in episodes]
        values = [fitness(record, task.reward) for record in records]
        scores.append(
            Score(
                tuple(value if math.isfinite(value) else FAILED for value in values),
                sum(record.ticks for record in records),
                time.monotonic() - begun,
            )
        )
    return scores
