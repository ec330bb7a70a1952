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

from ..robot import FloatArray
from .task import noise


@dataclass(frozen=True)
class EvolutionSpec:
    """How the mean moves.

    Attributes:
        pairs: mirrored pairs per generation; the population is twice that.
        sigma: standard deviation of the population in generation 0.
        hold: generations before sigma and step begin to decay.
        sigma_decay: factor per generation.
        sigma_min: it does not fall below this.
        step: step size of Adam in generation 0.
        step_decay: factor per generation.
        step_min: it does not fall below this.
    """

    pairs: int
    hold: int
    sigma: float
    sigma_decay: float
    sigma_min: float
    step: float
    step_decay: float
    step_min: float


def centred_ranks(fitness: FloatArray) -> FloatArray:
    """Return ranks scaled to [−0.5, 0.5], column by column, averaged over the columns.

    Args:
        fitness: (n_candidates, n_conditions). Ranking each condition by itself keeps one easy
            condition from drowning the others. Equal values share their mean rank.
    """
    ranks: FloatArray = scipy.stats.rankdata(fitness, axis=0).mean(axis=1)
    return (ranks - 1.0) / (len(fitness) - 1) - 0.5


class Evolution:
    """The mean of the population and its optimiser.

    Args:
        spec: how the mean moves.
        mean: (size,) where it starts.
    """

    def __init__(self, spec: EvolutionSpec, mean: npt.NDArray[np.float32]) -> None:
        self.spec = spec
        self.generation = 0
        self._parameter = torch.nn.Parameter(torch.from_numpy(mean.copy()))
        self._optimiser = torch.optim.Adam([self._parameter], lr=spec.step)

    @property
    def mean(self) -> npt.NDArray[np.float32]:
        """The centre of the population, (size,)."""
        mean: npt.NDArray[np.float32] = self._parameter.detach().numpy().copy()
        return mean

    @property
    def sigma(self) -> float:
        """The population's standard deviation in this generation."""
        spec = self.spec
        return max(spec.sigma * spec.sigma_decay**self._decaying, spec.sigma_min)

    @property
    def _decaying(self) -> int:
        return max(self.generation - self.spec.hold, 0)

    def tell(self, seeds: Sequence[int], fitness: FloatArray) -> None:
        """Move the mean by one generation.

        Args:
            seeds: noise seed per mirrored pair.
            fitness: (2 · pairs, n_conditions); rows 2i and 2i + 1 are pair i with sign + and −.
        """
        ranks = centred_ranks(fitness)
        weights = (ranks[0::2] - ranks[1::2]).astype(np.float32)
        gradient = np.zeros(self._parameter.shape[0], dtype=np.float32)
        for seed, weight in zip(seeds, weights, strict=True):
            gradient += weight * noise(seed, gradient.size)
        gradient /= np.float32(2 * len(seeds) * self.sigma)
        spec = self.spec
        for group in self._optimiser.param_groups:
            group["lr"] = max(spec.step * spec.step_decay**self._decaying, spec.step_min)
        self._parameter.grad = torch.from_numpy(-gradient)
        self._optimiser.step()
        self.generation += 1

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return all that a checkpoint must hold besides the generation."""
        state = self._optimiser.state.get(self._parameter, {})
        size = self._parameter.shape[0]
        return {
            "mean": self.mean,
            "exp_avg": state["exp_avg"].numpy().copy() if state else np.zeros(size, np.float32),
            "exp_avg_sq": state["exp_avg_sq"].numpy().copy()
            if state
            else np.zeros(size, np.float32),
        }

    def restore(self, generation: int, arrays: dict[str, npt.NDArray[np.float32]]) -> None:
        """Continue where :meth:`arrays` was taken."""
        self.generation = generation
        with torch.no_grad():
            self._parameter.copy_(torch.from_numpy(arrays["mean"]))
        if generation:
            self._optimiser.state[self._parameter] = {
                "step": torch.tensor(float(generation)),
                "exp_avg": torch.from_numpy(arrays["exp_avg"].copy()),
                "exp_avg_sq": torch.from_numpy(arrays["exp_avg_sq"].copy()),
            }
