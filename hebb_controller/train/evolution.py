"""OpenAI-ES: a Gaussian around a mean, mirrored noise, centred ranks, and a torch optimiser.

Source: Salimans et al. 2017 (arXiv 1703.03864); the mean is moved by Adam or SGD.
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
        sigma: initial standard deviation of the population.
        sigma_decay: factor on sigma per settling generation.
        sigma_min: lower bound of sigma.
        step: initial step size of the optimiser.
        step_decay: factor on the step size per settling generation.
        step_min: lower bound of the step size.
        optimiser: ``adam`` or ``sgd`` (plain). The gradient is made of ranks within ±0.5; published
            SGD steps assume standardised ranks, which are √12 times larger.
        deficit: exponent on a condition's deficit that gives its weight; 0 weighs all conditions
            equally. See :func:`condition_weights`.
        averaged: time constant, in generations, of the running average of the means that is the
            result; 1 for the last mean itself.
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
"""Least deficit that a condition is weighed by, even if nothing is lacking in it."""


def condition_weights(fitness: FloatArray, deficit: float) -> FloatArray:
    """Return the weight of each condition in a candidate's score, (n_conditions,), summing to 1.

    With equal weights, one condition is traded for another: a rank lost with a front leg damaged is
    made up by a rank gained with a rear leg damaged, which is easier, and the front leg is never
    learned. So a condition weighs max(1 − median, 0.1) ** deficit, where the median is over the
    population's fitness, and a fitness of 1 is all that is asked for. What has been learned gives
    way to what has not.

    Args:
        fitness: (n_candidates, n_conditions).
        deficit: the exponent; 0 weighs all conditions equally.
    """
    lacking = np.maximum(1.0 - np.median(fitness, axis=0), LEAST_DEFICIT) ** deficit
    weights: FloatArray = lacking / lacking.sum()
    return weights


def centred_ranks(fitness: FloatArray) -> FloatArray:
    """Return ranks scaled to [−0.5, 0.5] within each condition, (n_candidates, n_conditions).

    Ranking each condition separately keeps one with large numbers from drowning out the others.

    Args:
        fitness: (n_candidates, n_conditions). Ties share their mean rank.
    """
    ranks: FloatArray = scipy.stats.rankdata(fitness, axis=0)
    return (ranks - 1.0) / (len(fitness) - 1) - 0.5


class Evolution:
    """The mean of the population and its optimiser.

    Args:
        spec: how the mean moves.
        mean: (size,) initial mean.

    Raises:
        TrainingError: the optimiser is unknown, ``deficit`` is negative or not finite, or
            ``averaged`` is below 1.
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
        """The result so far, (size,).

        A mean that follows a noisy gradient wanders around the best point that it can reach; its
        average over some generations is closer to that point (Polyak & Juditsky 1992).
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
            settled: settling generations before this one.
            draws: number of draws of the conditions; pair i had draw i modulo this.
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
        """Return everything a checkpoint must hold apart from the generation."""
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
        """Restore the state that :meth:`arrays` returned.

        Raises:
            TrainingError: an array has the wrong shape; nothing has been changed.
        """
        for name, array in arrays.items():
            if array.shape != self.mean.shape:
                raise TrainingError(
                    f"the checkpoint's '{name}' has shape {array.shape}, not {self.mean.shape}: it is "
                    f"damaged, or from another version. Name another --out."
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
