"""OpenAI-ES: a Gaussian around a mean, mirrored noise, centred ranks, the mean moved by torch.

Source: Salimans et al. 2017 (arXiv 1703.03864); mean moved by Adam or SGD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats
import torch

from ..errors import TrainingError
from ..robot import FloatArray
from .task import noise


@dataclass(frozen=True)
class EvolutionSpec:
    """How the mean moves.

    Attributes:
        pairs: mirrored pairs per generation; the population is twice that.
        sigma: standard deviation of the population at the start.
        sigma_decay: factor per generation in which the population settles.
        sigma_min: it does not fall below this.
        step: step size of the optimiser at the start.
        step_decay: factor per generation in which the population settles.
        step_min: it does not fall below this.
        optimiser: ``adam`` or ``sgd`` (plain). The gradient is made of ranks within ±0.5; published
            steps of SGD are for standardised ranks, which are √12 times larger.
        deficit: 0 for conditions that weigh the same; above, the power of what a condition lacks that is its
            weight; see :func:`condition_weights`.
        averaged: generations over which what comes out is averaged: of 1 the last mean, above, a running
            mean of them, with this as its time constant.
    """

    pairs: int
    sigma: float
    sigma_decay: float
    sigma_min: float
    step: float
    step_decay: float
    step_min: float
    optimiser: str = "adam"
    deficit: float = 0.0
    averaged: int = 1


OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


LEAST_DEFICIT = 0.1
"""A condition in which nothing is lacking still weighs as if this were."""


def condition_weights(fitness: FloatArray, deficit: float) -> FloatArray:
    """Return how much each condition counts in a candidate's score, (n_conditions,), 1 in sum.

    If all count the same, one condition is bought with another: a place lost in a front leg's is made good
    by a place won in a rear leg's, which is easier to win, and the front leg is never learned. So a
    condition weighs max(1 − median, 0.1) ** deficit, where the median is that of the population's
    fitness, and a fitness of 1 is all that was asked for. What is learned gives way to what is not.

    Args:
        fitness: (n_candidates, n_conditions).
        deficit: the power; with 0 all weigh the same.
    """
    lacking = np.maximum(1.0 - np.median(fitness, axis=0), LEAST_DEFICIT) ** deficit
    weights: FloatArray = lacking / lacking.sum()
    return weights


def centred_ranks(fitness: FloatArray) -> FloatArray:
    """Return ranks scaled to [−0.5, 0.5], condition by condition: (n_candidates, n_conditions).

    Ranking each condition by itself keeps one with large numbers from drowning the others.

    Args:
        fitness: (n_candidates, n_conditions). Equal values share their mean rank.
    """
    ranks: FloatArray = scipy.stats.rankdata(fitness, axis=0)
    return (ranks - 1.0) / (len(fitness) - 1) - 0.5


class Evolution:
    """The mean of the population and its optimiser.

    Args:
        spec: how the mean moves.
        mean: (size,) where it starts.

    Raises:
        TrainingError: the optimiser is unknown, ``deficit`` is not a number from 0 on, or ``averaged`` is
            below 1.
    """

    def __init__(self, spec: EvolutionSpec, mean: npt.NDArray[np.float32]) -> None:
        if spec.optimiser not in OPTIMISERS:
            raise TrainingError(
                f"optimiser '{spec.optimiser}' is unknown. Known: {', '.join(OPTIMISERS)}."
            )
        if not 0.0 <= spec.deficit < np.inf:
            raise TrainingError(f"deficit is {spec.deficit}; it must be finite and not below 0.")
        if spec.averaged < 1:
            raise TrainingError(f"averaged is {spec.averaged}; it must be 1 or more.")
        self.spec = spec
        self.generation = 0
        self._average = mean.copy()
        self._parameter = torch.nn.Parameter(torch.from_numpy(mean.copy()))
        self._optimiser = OPTIMISERS[spec.optimiser]([self._parameter], lr=spec.step)

    @property
    def mean(self) -> npt.NDArray[np.float32]:
        """The centre of the population, (size,)."""
        mean: npt.NDArray[np.float32] = self._parameter.detach().numpy().copy()
        return mean

    @property
    def result(self) -> npt.NDArray[np.float32]:
        """What has come out so far, (size,).

        A mean that moves by a noisy gradient wanders about the best that it can reach; its average over
        some generations is nearer (Polyak & Juditsky 1992).
        """
        return self.mean if self.spec.averaged == 1 else self._average.copy()

    def sigma(self, settled: int) -> float:
        """Return the population's standard deviation after ``settled`` generations of settling."""
        spec = self.spec
        return max(spec.sigma * spec.sigma_decay**settled, spec.sigma_min)

    def tell(
        self, seeds: Sequence[int], fitness: FloatArray, settled: int = 0, *, draws: int = 1
    ) -> None:
        """Move the mean by one generation.

        Args:
            seeds: noise seed per mirrored pair.
            fitness: (2 · pairs, n_conditions); rows 2i and 2i + 1 are pair i with sign + and −.
            settled: generations of settling before this one.
            draws: of the conditions; pair i had draw i modulo this.
        """
        ranks = np.empty_like(fitness)
        for draw in range(draws):
            among = np.arange(len(fitness)) // 2 % draws == draw
            ranks[among] = centred_ranks(fitness[among])
        scores = ranks @ condition_weights(fitness, self.spec.deficit)
        weights = (scores[0::2] - scores[1::2]).astype(np.float32)
        gradient = np.zeros(self._parameter.shape[0], dtype=np.float32)
        for seed, weight in zip(seeds, weights, strict=True):
            gradient += weight * noise(seed, gradient.size)
        gradient /= np.float32(2 * len(seeds) * self.sigma(settled))
        spec = self.spec
        for group in self._optimiser.param_groups:
            group["lr"] = max(spec.step * spec.step_decay**settled, spec.step_min)
        self._parameter.grad = torch.from_numpy(-gradient)
        self._optimiser.step()
        self.generation += 1
        self._average += (self.mean - self._average) / np.float32(
            min(self.generation, spec.averaged)
        )

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return all that a checkpoint must hold besides the generation."""
        arrays = {"mean": self.mean}
        if self.spec.averaged > 1:
            arrays["average"] = self._average.copy()
        if self.spec.optimiser == "sgd":
            return arrays
        state = self._optimiser.state.get(self._parameter, {})
        size = self._parameter.shape[0]
        return {
            **arrays,
            "exp_avg": state["exp_avg"].numpy().copy() if state else np.zeros(size, np.float32),
            "exp_avg_sq": state["exp_avg_sq"].numpy().copy()
            if state
            else np.zeros(size, np.float32),
        }

    def restore(self, generation: int, arrays: dict[str, npt.NDArray[np.float32]]) -> None:
        """Continue where :meth:`arrays` was taken.

        Raises:
            TrainingError: an array is of another shape; nothing is changed then.
        """
        for name, array in arrays.items():
            if array.shape != self.mean.shape:
                raise TrainingError(
                    f"the checkpoint's '{name}' has shape {array.shape}, not {self.mean.shape}: it is "
                    f"damaged, or of another version. Name another --out."
                )
        self.generation = generation
        with torch.no_grad():
            self._parameter.copy_(torch.from_numpy(arrays["mean"]))
        self._average = arrays.get("average", arrays["mean"]).copy()
        if generation and self.spec.optimiser == "adam":
            self._optimiser.state[self._parameter] = {
                "step": torch.tensor(float(generation)),
                "exp_avg": torch.from_numpy(arrays["exp_avg"].copy()),
                "exp_avg_sq": torch.from_numpy(arrays["exp_avg_sq"].copy()),
            }
