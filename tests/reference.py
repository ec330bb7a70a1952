"""A plain reference for one tick of a plastic network, with error bounds for float32.

Everything is float64 and goes synapse by synapse, from the method's equations. Each value comes
with a derived bound: u is float32's unit roundoff, and the sum or product of k roundings is off by
at most gamma(k), relative to the sum of the magnitudes (Higham, Accuracy and Stability of Numerical
Algorithms, lemma 3.1).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hebb_controller.plasticity import RULE_KINDS
from hebb_controller.rule import Rule

U = 2.0**-24
TANH = (
    8 * U
)  # numpy's float32 tanh is within 4 units in the last place, each at most 2u of the value


def gamma(k: int) -> float:
    """Return the relative bound of k roundings."""
    return k * U / (1 - k * U)


@dataclass
class Tick:
    """The results of one tick, each array with its bound."""

    action: np.ndarray
    action_bound: np.ndarray
    weights: np.ndarray
    weights_bound: np.ndarray
    trace: np.ndarray
    trace_bound: np.ndarray
    tick: int


def reference_tick(
    rule: Rule, state: Mapping[str, np.ndarray], observation: np.ndarray, gain: float = 1.0
) -> Tick:
    """Return the tick that follows from a state and an observation, both taken as exact."""
    header = rule.header
    sizes, update = header.layer_sizes, header.update
    layers = unflatten(state["weights"], sizes)
    starts = unflatten(state["initial"], sizes)

    values = [[float(v) for v in observation]]
    bounds = [[0.0] * sizes[0]]
    for weights in layers:
        pre, pre_bound = values[-1], bounds[-1]
        post, post_bound = [], []
        for row in weights:
            total = math.fsum(w * p for w, p in zip(row, pre, strict=True))
            spread = math.fsum(abs(w * p) for w, p in zip(row, pre, strict=True))
            carried = math.fsum(abs(w) * b for w, b in zip(row, pre_bound, strict=True))
            post.append(math.tanh(total))
            # tanh never stretches a difference
            post_bound.append(gamma(len(row)) * spread + carried + TANH * abs(post[-1]))
        values.append(post)
        bounds.append(post_bound)

    old_trace = split(state["trace"], sizes)
    if update.trace_window > 1:
        alpha = 1.0 / update.trace_window
        traces = [
            [t + alpha * (v - t) for t, v in zip(old, new, strict=True)]
            for old, new in zip(old_trace, values, strict=True)
        ]
        trace_bounds = [
            [
                alpha * b + gamma(4) * alpha * abs(v - t) + U * abs(n)
                for t, v, b, n in zip(old, new, bound, result, strict=True)
            ]
            for old, new, bound, result in zip(old_trace, values, bounds, traces, strict=True)
        ]
    else:
        traces, trace_bounds = values, bounds

    tick = int(state["tick"]) + 1
    changed = [np.array(layer) for layer in layers]
    errors = [np.zeros_like(layer) for layer in changed]
    if RULE_KINDS[header.kind].tensors and gain != 0 and tick % update.interval == 0:
        for k in range(len(layers)):
            for i in range(sizes[k + 1]):
                for j in range(sizes[k]):
                    delta, bound = change(
                        {name: float(t[i, j]) for name, t in rule.layers[k].items()},
                        header.kind,
                        update.learning_rate,
                        pre=(traces[k][j], trace_bounds[k][j]),
                        post=(traces[k + 1][i], trace_bounds[k + 1][i]),
                        decay=update.decay * (starts[k][i][j] - layers[k][i][j]),
                    )
                    changed[k][i, j] = layers[k][i][j] + gain * delta
                    errors[k][i, j] = gain * bound + U * abs(changed[k][i, j])
            normalise_layer(changed[k], errors[k], update.normalisation, update.bound)
    return Tick(
        action=np.array(values[-1]),
        action_bound=1.01 * np.array(bounds[-1]),  # for terms of second order in u
        weights=np.concatenate([layer.ravel() for layer in changed]),
        weights_bound=1.01 * np.concatenate([error.ravel() for error in errors]),
        trace=np.array([value for layer in traces for value in layer]),
        trace_bound=1.01 * np.array([bound for layer in trace_bounds for bound in layer]),
        tick=tick,
    )


def change(k, kind, learning_rate, *, pre, post, decay):
    """Return the change of one synapse and its bound.

    Najarro & Risi 2020, eq. 1, and its variants: with D (or a fifth constant E) outside eta, and with
    terms omitted.
    """
    (x, x_bound), (y, y_bound) = pre, post
    eta = k.get("eta", learning_rate)
    a, b, c, d, e = (k.get(name, 0.0) for name in "ABCDE")
    if kind == "ABCD_eta_D_outside":
        d, e = 0.0, d
    terms = (eta * a * y * x, eta * b * x, eta * c * y, eta * d, e, decay)
    magnitude = math.fsum(abs(term) for term in terms)
    carried = (
        (abs(eta * a * y) + abs(eta * b)) * x_bound
        + (abs(eta * a * x) + abs(eta * c)) * y_bound
        + abs(eta * a) * x_bound * y_bound
    )
    # At most 12 roundings on any term: constants 2, products 3, sums 5, gain 2.
    return math.fsum(terms), carried + gamma(12) * magnitude


def normalise_layer(weights, errors, normalisation, bound):
    """Normalise a layer in place, and its bounds."""
    if normalisation == "clip":
        for index, value in np.ndenumerate(weights):
            weights[index] = min(max(value, -bound), bound)
        errors += U * bound
    elif normalisation != "none":
        largest = max(abs(value) for value in weights.ravel())
        if normalisation == "max" or largest > 1:
            off = errors.max()
            errors[:] = errors / largest + np.abs(weights) / largest**2 * off + 2 * U
            weights /= largest
        elif largest + errors.max() > 1:  # float32 may see it above one
            errors += errors.max() + 2 * U


def unflatten(flat, sizes):
    """Return flat weights as nested lists, per layer one row per neuron."""
    layers, rest = [], [float(value) for value in flat]
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers.append([rest[i * n_in : (i + 1) * n_in] for i in range(n_out)])
        rest = rest[n_in * n_out :]
    assert not rest
    return layers


def split(flat, sizes):
    """Return the activations of each layer of neurons."""
    ends = np.cumsum(sizes)
    return [[float(v) for v in flat[end - n : end]] for end, n in zip(ends, sizes, strict=True)]
