"""How far apart two float32 implementations of one tick may be: a bound, not a tuned tolerance.

Everything is computed in float64 and carries a bound on its float32 error. With u = 2⁻²⁴,
k roundings are off by at most γ(k) = k·u/(1 − k·u), relative to the sum of the magnitudes.

Source: Higham, Accuracy and Stability of Numerical Algorithms, lemma 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .plasticity import RULE_KINDS, UpdateSpec, layer_views
from .robot import FloatArray
from .rule import Rule

U = 2.0**-24
TANH = 16 * U  # relative: a float32 tanh within 8 units in the last place
SECOND_ORDER = 1.01  # covers products of bounds, which are neglected


@dataclass(frozen=True)
class Bounded:
    """Numbers, and how far a float32 implementation may be off each."""

    value: FloatArray
    bound: FloatArray


@dataclass(frozen=True)
class TickBounds:
    """The outcome of a tick.

    Attributes:
        action: (n_action,).
        weights: (n_synapses,).
        trace: (n_neurons,).
    """

    action: Bounded
    weights: Bounded
    trace: Bounded


def tick_bounds(
    rule: Rule, state: Mapping[str, npt.NDArray[np.generic]], observation: npt.NDArray[np.float32]
) -> TickBounds:
    """Return the outcome of one tick from a state and an observation, both taken as exact.

    Args:
        rule: the rule.
        state: state before the tick, as :attr:`Runtime.state` returns it.
        observation: (n_observation,).
    """
    sizes, update = rule.header.layer_sizes, rule.header.update
    weights = layer_views(np.array(state["weights"], dtype=np.float64), sizes)
    initial = layer_views(np.array(state["initial"], dtype=np.float64), sizes)
    activations = _forward(weights, observation)
    traces = activations
    if update.trace_window > 1:
        edges = np.cumsum(sizes)[:-1]
        old = np.split(np.array(state["trace"], dtype=np.float64), edges)
        traces = [_trace(a, b, update) for a, b in zip(old, activations, strict=True)]
    changed = [Bounded(w, np.zeros_like(w)) for w in weights]
    tick = int(state["tick"]) + 1
    if RULE_KINDS[rule.header.kind].tensors and tick % update.interval == 0:
        for k in range(len(weights)):
            layer = _change(
                rule,
                k,
                weights=weights[k],
                initial=initial[k],
                pre=traces[k],
                post=traces[k + 1],
            )
            changed[k] = _normalised(layer, update)
    return TickBounds(activations[-1], _flat(changed), _flat(traces))


def _forward(weights: list[FloatArray], observation: npt.NDArray[np.float32]) -> list[Bounded]:
    first = observation.astype(np.float64)
    layers = [Bounded(first, np.zeros_like(first))]
    for w in weights:
        pre = layers[-1]
        post = np.tanh(w @ pre.value)
        spread = _gamma(w.shape[1]) * (np.abs(w) @ np.abs(pre.value))
        carried = np.abs(w) @ pre.bound  # tanh never stretches a difference
        layers.append(Bounded(post, spread + carried + TANH * np.abs(post)))
    return layers


def _trace(old: FloatArray, new: Bounded, update: UpdateSpec) -> Bounded:
    alpha = 1.0 / update.trace_window
    step = alpha * (new.value - old)
    value = old + step
    return Bounded(value, alpha * new.bound + _gamma(4) * np.abs(step) + U * np.abs(value))


def _change(
    rule: Rule,
    k: int,
    *,
    weights: FloatArray,
    initial: FloatArray,
    pre: Bounded,
    post: Bounded,
) -> Bounded:
    header = rule.header
    kind = RULE_KINDS[header.kind]
    layer = {name: tensor.astype(np.float64) for name, tensor in rule.layers[k].items()}
    eta = layer["eta"] if kind.eta else header.update.learning_rate
    zero = np.zeros_like(weights)
    a, b, c, d = (eta * layer[name] if name in kind.inside else zero for name in "ABCD")
    outside = layer[kind.outside] if kind.outside else zero
    x, y = pre.value[None, :], post.value[:, None]
    x_bound, y_bound = pre.bound[None, :], post.bound[:, None]
    terms = (a * y * x, b * x, c * y, d, outside, header.update.decay * (initial - weights))
    value = weights + sum(terms)
    carried = (np.abs(a * y) + np.abs(b)) * x_bound + (np.abs(a * x) + np.abs(c)) * y_bound
    carried += np.abs(a) * x_bound * y_bound
    # At most 10 roundings on any term: constants 2, products 3, sums 5.
    rounded = _gamma(10) * sum(np.abs(term) for term in terms)
    return Bounded(value, carried + rounded + U * np.abs(value))


def _normalised(layer: Bounded, update: UpdateSpec) -> Bounded:
    value, bound = layer.value, layer.bound
    if update.normalisation == "clip":
        return Bounded(np.clip(value, -update.bound, update.bound), bound + U * update.bound)
    largest = np.abs(value).max()
    off = bound.max()
    if update.normalisation == "max" or (update.normalisation == "max_above_one" and largest > 1):
        if largest <= off:  # all but zero: nothing can be said
            return Bounded(value, np.full_like(bound, np.inf))
        share = np.abs(value) / largest
        return Bounded(value / largest, (bound + share * off) / (largest - off) + 2 * U)
    if update.normalisation == "max_above_one" and largest + off > 1:  # float32 may divide
        return Bounded(value, bound + off + 2 * U)
    return layer


def _flat(layers: list[Bounded]) -> Bounded:
    return Bounded(
        np.concatenate([layer.value.ravel() for layer in layers]),
        SECOND_ORDER * np.concatenate([layer.bound.ravel() for layer in layers]),
    )


def _gamma(k: int) -> float:
    return k * U / (1 - k * U)
