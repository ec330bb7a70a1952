"""How long a plastic network remembers: the memory horizon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .plasticity import Array
from .rule import Rule
from .runtime.numpy_runtime import NumpyRuntime

AGREEMENT = 0.01


def memory_horizon(
    rule: Rule, observations: Sequence[Array], rng: np.random.Generator
) -> int | None:
    """Return the ticks until two sets of weights agree to 1 % on the same observations.

    Both runs decay towards the same initial weights; one starts from them, the other from
    another draw. They agree when the norm of their difference stays within 1 % of the norm of the
    weights. A network with a short horizon is a function of its last few observations, whatever its
    weights are called.

    Args:
        rule: a plastic rule.
        observations: what both networks see, (n_observation,) per tick.
        rng: draws the weights.

    Returns:
        The number of ticks, or None if they still differ at the end.
    """
    one, other = NumpyRuntime(rule), NumpyRuntime(rule)
    one.reset(rng)
    other.reset(rng)
    start = dict(one.state)
    weights = dict(other.state)["weights"]
    if np.array_equal(weights, start["weights"]):  # an evolved start is always the same
        weights = rng.permutation(start["weights"])
    other.restore({**start, "weights": weights})
    apart = 0
    for tick, observation in enumerate(observations, start=1):
        one.step(observation)
        other.step(observation)
        a, b = (np.concatenate([w.ravel() for w in net.layers]) for net in (one, other))
        if np.linalg.norm(a - b) > AGREEMENT * np.linalg.norm(a):
            apart = tick
    return apart + 1 if apart < len(observations) else None
