"""numpy, onnxruntime and torch are the same network: three implementations, each against a slow
reference in float64, with bounds that are derived from float32's rounding.
"""

from dataclasses import replace

import numpy as np
import pytest
from reference import TANH, U, gamma, reference_tick
from toys import toy_rule, update_spec

from hebb_controller.errors import ShapeError
from hebb_controller.network import InitialSpec
from hebb_controller.plasticity import NORMALISATIONS, RULE_KINDS, layer_views
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.runtime.onnx_runtime import OnnxRuntime

pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from torch_network import NetworkState, TorchNetwork  # noqa: E402

UPDATES = {
    "plain": {},
    "lively": {"interval": 3, "trace_window": 5.0, "decay": 0.04},
    "slow": {"trace_window": 1.5, "decay": 0.5, "learning_rate": 0.125},
}
EVERYTHING = update_spec(
    interval=3, trace_window=5.0, decay=0.04, normalisation="clip", bound=0.75, learning_rate=0.25
)


class TorchRuntime:
    """One torch network with the state of the other runtimes."""

    def __init__(self, rule, dtype=torch.float32):
        self.plasticity_gain = 1.0
        self._sizes = rule.header.layer_sizes
        self._dtype = dtype
        self._network = TorchNetwork.from_rules([rule], dtype)

    def restore(self, state):
        def parts(arrays):
            return tuple(torch.tensor(np.array(a), dtype=self._dtype)[None] for a in arrays)

        self._state = NetworkState(
            weights=parts(layer_views(state["weights"], self._sizes)),
            initial=parts(layer_views(state["initial"], self._sizes)),
            trace=parts(np.split(state["trace"], np.cumsum(self._sizes)[:-1])),
            tick=int(state["tick"]),
        )

    def step(self, observation):
        seen = torch.tensor(observation, dtype=self._dtype)[None]
        self._state, action = self._network.step(self._state, seen, self.plasticity_gain)
        return action[0].numpy()

    @property
    def state(self):
        flat = {
            name: np.concatenate([part.numpy().ravel() for part in getattr(self._state, name)])
            for name in ("weights", "initial", "trace")
        }
        return {**flat, "tick": np.array(self._state.tick)}


def implementations(rule):
    return {
        "numpy": NumpyRuntime(rule),
        "onnxruntime": OnnxRuntime.from_rule(rule),
        "torch": TorchRuntime(rule),
    }


def observations(rule, ticks, seed=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((ticks, rule.header.layer_sizes[0])).astype(np.float32)


def compare_every_tick(rule, ticks, gains=(1.0,)):
    """Check that every tick of each implementation, from numpy's state, is the reference's.

    Returns the largest change of a weight in a tick, and the largest bound.
    """
    runtimes = implementations(rule)
    exact = TorchRuntime(rule, torch.float64)
    leader = runtimes["numpy"]
    leader.reset(np.random.default_rng(0))
    largest_change, largest_bound = 0.0, 0.0
    for tick, observation in enumerate(observations(rule, ticks)):
        before, gain = leader.state, gains[tick % len(gains)]
        expected = reference_tick(rule, before, observation, gain)
        for name, runtime in runtimes.items():
            runtime.restore(before)
            runtime.plasticity_gain = gain
            action, after = runtime.step(observation), runtime.state
            place = f"{name}, tick {tick}"
            assert (np.abs(action - expected.action) <= expected.action_bound).all(), place
            for part in ("weights", "trace"):
                off = np.abs(after[part] - getattr(expected, part))
                assert (off <= getattr(expected, f"{part}_bound")).all(), f"{place}: {part}"
            assert after["initial"].tobytes() == before["initial"].tobytes(), place
            assert int(after["tick"]) == expected.tick, place
        exact.restore(before)
        exact.plasticity_gain = gain
        assert np.allclose(exact.step(observation), expected.action, rtol=0, atol=1e-12)
        # The reference sees coefficients per neuron after they were expanded in float32.
        allowed = expected.weights_bound if rule.neurons else 1e-12
        assert (np.abs(exact.state["weights"] - expected.weights) <= allowed).all()
        change = np.abs(leader.state["weights"] - before["weights"]).max()
        largest_change = max(largest_change, float(change))
        largest_bound = max(largest_bound, float(expected.weights_bound.max()))
    return largest_change, largest_bound


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("kind", [kind for kind in RULE_KINDS if kind != "static"])
def test_a_tick_from_the_same_state_is_the_same_to_rounding(kind, normalisation, update):
    spec = update_spec(normalisation=normalisation, bound=0.75, **UPDATES[update])
    rule = toy_rule(kind, update=spec, scale=0.3, hidden=(5, 3))
    change, bound = compare_every_tick(rule, 7, gains=(1.0, 0.5, 2.0))
    assert change > 1e3 * bound  # the bound tells right from wrong


@pytest.mark.parametrize("kind", ["static", "A", "ABCD_eta", "ABCD_eta_neuron"])
def test_a_tick_from_an_evolved_start_is_the_same_to_rounding(kind):
    rule = toy_rule(kind, update=EVERYTHING, scale=0.3, initial=InitialSpec("evolved", 1.0))
    if kind != "static":
        compare_every_tick(rule, 7)
    starts = []
    for runtime in (NumpyRuntime(rule), OnnxRuntime.from_rule(rule)):
        runtime.reset(np.random.default_rng(1))
        starts.append({name: array.tobytes() for name, array in runtime.state.items()})
    assert starts[0] == starts[1]


@pytest.mark.parametrize("trace_window", [1.0, 5.0])
def test_a_static_network_is_the_same_to_rounding_and_stays_as_it_is(trace_window):
    rule = toy_rule("static", update=replace(EVERYTHING, trace_window=trace_window))
    runtimes = implementations(rule)
    leader = runtimes["numpy"]
    leader.reset(np.random.default_rng(0))
    for observation in observations(rule, 5):
        before = leader.state
        expected = reference_tick(rule, before, observation)
        after = []
        for runtime in runtimes.values():
            runtime.restore(before)
            action = runtime.step(observation)
            assert (np.abs(action - expected.action) <= expected.action_bound).all()
            assert runtime.state["weights"].tobytes() == before["weights"].tobytes()
            after.append(runtime.state)
        for state in after:
            assert int(state["tick"]) == expected.tick
            assert np.allclose(state["trace"], after[0]["trace"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_gain_zero_leaves_weights_bit_for_bit(normalisation):
    spec = replace(EVERYTHING, normalisation=normalisation, bound=0.01, interval=1)
    rule = toy_rule(update=spec)
    start = NumpyRuntime(rule)
    start.reset(np.random.default_rng(0))
    before = dict(start.state)
    before["weights"] = np.where(np.arange(len(before["weights"])) % 3, before["weights"], -0.0)
    before["weights"] = before["weights"].astype(np.float32)
    for runtime in implementations(rule).values():
        runtime.restore(before)
        runtime.plasticity_gain = 0.0
        for observation in observations(rule, 4):
            runtime.step(observation)
        assert runtime.state["weights"].tobytes() == before["weights"].tobytes()
        runtime.plasticity_gain = 1.0
        runtime.step(observations(rule, 1)[0])
        assert runtime.state["weights"].tobytes() != before["weights"].tobytes()


def test_ten_thousand_teacher_forced_ticks_stay_within_the_bound():
    rule = toy_rule(update=EVERYTHING, scale=0.3)
    change, bound = compare_every_tick(rule, 10_000, gains=(1.0, 1.0, 1.0, 0.5))
    assert change > 1e4 * bound


class FreeRun:
    """A run in float64 with a bound on where float32 may be, its own errors carried along.

    Beside the reference's bounds, which take the state before a tick as exact, each step here takes
    in how far that state may be off already. Not for division by the largest weight: its worst case
    doubles the error of a layer at every tick, so that the bound soon says nothing.
    """

    def __init__(self, rule, state):
        sizes, self.update = rule.header.layer_sizes, rule.header.update
        kind = RULE_KINDS[rule.header.kind]
        self.start = layer_views(state["initial"].astype(np.float64), sizes)
        self.weights = [layer.copy() for layer in self.start]
        self.off = [np.zeros_like(layer) for layer in self.start]
        self.trace = [(np.zeros(n), np.zeros(n)) for n in sizes]
        self.tick = 0
        self.layers = []
        for layer in rule.layers:
            k = {name: tensor.astype(np.float64) for name, tensor in layer.items()}
            inside = [n for n in "ABCD" if n in k and n != kind.outside]
            eta = k.get("eta", self.update.learning_rate)
            folded = {n: eta * k[n] if n in inside else 0.0 for n in "ABCD"}
            self.layers.append((folded, k[kind.outside] if kind.outside else 0.0))

    def step(self, observation):
        """Return the action and its bound."""
        update = self.update
        layers = [(observation.astype(np.float64), np.zeros(len(observation)))]
        for w, off in zip(self.weights, self.off, strict=True):
            x, e = layers[-1]
            y = np.tanh(w @ x)
            carried = np.abs(w) @ e + off @ (np.abs(x) + e)
            rounded = gamma(len(x)) * ((np.abs(w) + off) @ (np.abs(x) + e)) + TANH * np.abs(y)
            layers.append((y, carried + 1.01 * rounded))
        self.tick += 1
        alpha = 1.0 / update.trace_window
        if alpha < 1:
            traces = []
            for (old, e_old), (new, e_new) in zip(self.trace, layers, strict=True):
                value = old + alpha * (new - old)
                e = (1 - alpha) * e_old + alpha * e_new
                e += gamma(4) * alpha * (np.abs(new - old) + e_old + e_new)
                traces.append((value, e + U * (np.abs(value) + e)))
            self.trace = traces
        else:
            self.trace = layers
        if self.tick % update.interval == 0:
            for k in range(len(self.weights)):
                self._plastic(k)
        return layers[-1]

    def _plastic(self, k):
        update, w, off = self.update, self.weights[k], self.off[k]
        ((x, ex), (y, ey)) = self.trace[k], self.trace[k + 1]
        x, ex, y, ey = x[None], ex[None], y[:, None], ey[:, None]
        a, b, c, d = (self.layers[k][0][name] for name in "ABCD")
        outside, back = self.layers[k][1], update.decay * (self.start[k] - w)
        change = a * y * x + b * x + c * y + d + outside + back
        top_x, top_y = np.abs(x) + ex, np.abs(y) + ey
        magnitude = np.abs(a) * top_x * top_y + np.abs(b) * top_x + np.abs(c) * top_y
        magnitude += np.abs(d) + np.abs(outside) + np.abs(back) + update.decay * off
        carried = np.abs(a) * (top_x * ey + np.abs(y) * ex) + np.abs(b) * ex + np.abs(c) * ey
        moved = w + change
        e = (1 - update.decay) * off + carried + gamma(12) * magnitude
        e += U * (np.abs(moved) + e)
        if update.normalisation == "clip":  # which never stretches a difference; the bound is exact
            moved = np.clip(moved, -update.bound, update.bound)
        self.weights[k], self.off[k] = moved, e


@pytest.mark.parametrize(
    ("kind", "update", "scale"),
    [
        ("ABCD_eta", EVERYTHING, 0.2),
        ("ABCD_eta_neuron", EVERYTHING, 0.2),
        ("ABCD_eta_E_outside", EVERYTHING, 0.1),
        ("A", update_spec(learning_rate=0.125), 0.1),
        ("ABC_eta", update_spec(trace_window=4.0, decay=0.1), 0.1),
    ],
)
def test_a_hundred_free_running_ticks_stay_within_the_bound(kind, update, scale):
    rule = toy_rule(kind, update=update, scale=scale, hidden=(5, 3))
    runtimes = implementations(rule)
    runtimes["numpy"].reset(np.random.default_rng(0))
    start = runtimes["numpy"].state
    bounded = FreeRun(rule, start)
    for runtime in runtimes.values():
        runtime.restore(start)
    for tick, observation in enumerate(observations(rule, 100)):
        action, bound = bounded.step(observation)
        weights = np.concatenate([layer.ravel() for layer in bounded.weights])
        off = np.concatenate([layer.ravel() for layer in bounded.off])
        for name, runtime in runtimes.items():
            place = f"{name}, tick {tick}"
            assert (np.abs(runtime.step(observation) - action) <= bound).all(), place
            assert (np.abs(runtime.state["weights"] - weights) <= off).all(), place
    assert np.abs(weights - start["weights"]).max() > 100 * off.max()


POPULATION = 3


def population(update=EVERYTHING, kind="ABCD_eta"):
    """Return the layers and the start of a population, each tensor (P, n_out, n_in), float64."""
    rules = [toy_rule(kind, seed=seed, scale=0.3, update=update) for seed in range(POPULATION)]
    network = TorchNetwork.from_rules(rules, torch.float64)
    generator = torch.Generator().manual_seed(0)
    shapes = [(POPULATION, *layer["A"].shape) for layer in rules[0].layers]
    start = [torch.randn(s, generator=generator, dtype=torch.float64) / 2 for s in shapes]
    return rules, network, start


@pytest.mark.parametrize("kind", ["ABCD_eta", "ABCD_eta_neuron"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_population_is_its_networks_one_by_one(normalisation, kind):
    rules, together, start = population(replace(EVERYTHING, normalisation=normalisation), kind)
    states = together.start(start)
    alone = [TorchNetwork.from_rules([rule], torch.float64) for rule in rules]
    singles = [
        network.start([layer[p : p + 1] for layer in start]) for p, network in enumerate(alone)
    ]
    for tick in range(7):
        seen = torch.linspace(-1, 1, POPULATION * 6, dtype=torch.float64).reshape(-1, 6) * tick
        states, actions = together.step(states, seen)
        for p, network in enumerate(alone):
            singles[p], action = network.step(singles[p], seen[p : p + 1])
            assert torch.allclose(action[0], actions[p], rtol=0, atol=1e-12)
            for mine, theirs in zip(singles[p].weights, states.weights, strict=True):
                assert torch.allclose(mine[0], theirs[p], rtol=0, atol=1e-12)


def test_gradients_through_plastic_steps_are_those_of_finite_differences():
    # Without normalisation: a clipped or largest weight makes a corner, where no gradient is.
    update = replace(EVERYTHING, normalisation="none", interval=2)
    _, network, start = population(update)
    names = [(k, name) for k, layer in enumerate(network.layers) for name in layer]
    seen = torch.linspace(-1, 1, 10 * POPULATION * 6, dtype=torch.float64)
    seen = seen.sin().reshape(10, POPULATION, 6)

    def actions(*tensors):
        weights, coefficients = tensors[: len(start)], tensors[len(start) :]
        layers = [{} for _ in start]
        for (k, name), tensor in zip(names, coefficients, strict=True):
            layers[k][name] = tensor
        moving = replace(network, layers=layers)
        state = moving.start(weights)
        given = []
        for observation in seen:  # ten ticks, five plastic steps
            state, action = moving.step(state, observation)
            given.append(action)
        return torch.stack(given[-2:])

    leaves = [
        t.clone().requires_grad_() for t in (*start, *(network.layers[k][n] for k, n in names))
    ]
    # Central differences with a step of 1e-6: rounding makes 1e-16 / 1e-6, curvature 1e-12.
    assert torch.autograd.gradcheck(actions, leaves, eps=1e-6, atol=1e-7, rtol=1e-6)
    for tensor in torch.autograd.grad(actions(*leaves).sum(), leaves):
        assert (tensor != 0).any()


def test_torch_refuses_observations_of_another_shape():
    _, network, start = population()
    with pytest.raises(ShapeError, match=r"\(3, 6\)"):
        network.step(network.start(start), torch.zeros(2, 6, dtype=torch.float64))
