"""The stability envelope: how far a rule's weights go, whatever the input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import RuleFileError
from .observation import observation_limits
from .plasticity import Array
from .rule import Envelope, LayerEnvelope, Rule
from .runtime.numpy_runtime import NumpyRuntime

HORIZONS = 10  # a run is this many times as long as a training episode
SATURATED = 0.99  # |activation| above which a neuron counts as saturated
SATURATION_WINDOW = 1.0  # s
# Decay or any normalisation bounds the weights, since activations stay within ±1 and observations
# within their clips. Without either, weights diverge if their mean norm in the last quarter of a run
# exceeds that in the second by this factor: linear growth gives 2.3, growth with the square root of
# time 1.5.
GROWTH = 1.25


def stability_envelope(
    rule: Rule, observations: Array | Sequence[Array], *, horizon: int, rng: np.random.Generator
) -> Envelope:
    """Return the bounds that held under recorded, noisy and adversarial observations.

    Args:
        rule: a plastic rule.
        observations: recorded in an episode, (n_observation,) per tick; repeated as often as needed.
        horizon: ticks in a training episode.
        rng: draws weights and noise.

    Raises:
        RuleFileError: the weights stop being finite or keep growing in some run; the message names it.
    """
    ticks = HORIZONS * horizon
    runs = [
        _run(rule, name, seen, rng)
        for name, seen in _inputs(rule, observations, ticks, rng).items()
    ]
    rows = np.max(runs, axis=0)
    return Envelope(ticks, tuple(LayerEnvelope(*map(float, row)) for row in rows))


def _inputs(
    rule: Rule, observations: Array | Sequence[Array], ticks: int, rng: np.random.Generator
) -> dict[str, Array]:
    """Return the observations of each run, (ticks, n_observation), as extreme as the clips allow."""
    recorded = np.resize(np.array(observations, dtype=np.float32), (ticks, len(observations[0])))
    size = recorded.shape[1]
    contract = rule.header.contract
    limit = observation_limits(contract.channels, len(contract.joints))
    signs = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), (ticks, size))
    blocks = np.arange(ticks) // max(round(SATURATION_WINDOW / rule.header.tick_period), 1)
    spread = recorded.std(axis=0) + np.float32(0.1)
    noisy = recorded + spread * rng.standard_normal((ticks, size), dtype=np.float32)
    return {
        "recorded observations": recorded,
        "noisy observations": np.clip(noisy, -limit, limit),
        "silence": np.zeros_like(recorded),
        "constant extremes": np.broadcast_to(limit * signs[0], recorded.shape),
        "extremes flipping every second": limit * signs[blocks],
        "extremes flipping every tick": limit * signs,
    }


def _run(rule: Rule, name: str, observations: Array, rng: np.random.Generator) -> Array:
    """Return the largest norm, change and saturation per layer, (n_layers, 3)."""
    runtime = NumpyRuntime(rule)
    runtime.reset(rng)
    alpha = min(rule.header.tick_period / SATURATION_WINDOW, 1.0)
    layers = range(len(runtime.layers))
    saturation = np.zeros(len(layers))
    history = np.zeros((len(observations), len(layers), 3))
    with np.errstate(all="ignore"):  # checked below
        for tick, observation in enumerate(observations):
            runtime.step(observation)
            share = [np.mean(np.abs(post) > SATURATED) for post in runtime.activations[1:]]
            saturation += alpha * (np.array(share) - saturation)
            change = runtime.last_change
            for k in layers:
                history[tick, k] = (
                    np.linalg.norm(runtime.layers[k]),
                    np.linalg.norm(change[k]) if change is not None else 0.0,
                    saturation[k],
                )
    half = len(observations) // 2
    held = rule.header.update.decay > 0 or rule.header.update.normalisation != "none"
    for k in layers:
        norm = history[:, k, 0]
        lost = np.flatnonzero(~np.isfinite(history[:, k]).all(axis=1))
        if lost.size:
            raise RuleFileError(
                f"layer {k}: on {name} the weights stop being finite at tick {lost[0]}. "
                f"Evolve with decay or a normalisation."
            )
        early, late = float(norm[half // 2 : half].mean()), float(norm[-half // 2 :].mean())
        if not held and late > GROWTH * early:
            raise RuleFileError(
                f"layer {k}: on {name} the weights keep growing: their mean norm is {early:.3g} in "
                f"the second quarter of {len(norm)} ticks, {late:.3g} in the last. "
                f"Evolve with decay or a normalisation."
            )
    largest: Array = history.max(axis=0)
    return largest
