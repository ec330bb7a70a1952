"""The benchmark: what stands beside our times is the same computation, and the figures are all there."""

import gc
import importlib
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from reference import reference_tick
from toys import toy_rule

from hebb_controller import benchmark
from hebb_controller.benchmark import (
    CONTESTANTS,
    CompiledNetwork,
    PlainNetwork,
    bench_rule,
    cache_holding,
    contestants,
    fused_tick,
    regimes,
    time_net,
)
from hebb_controller.node import bench
from hebb_controller.plasticity import RULE_KINDS, fold, layer_views
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

# `hebb_controller.cli.bench` is the command, which has the module's name
command = importlib.import_module("hebb_controller.cli.bench")


class Interpreted:
    """The loop that is compiled, run by Python."""

    def __init__(self, rule, weights):
        k = fold(RULE_KINDS[rule.header.kind], rule.layers, rule.header.update.learning_rate)
        self.weights = np.concatenate([layer.ravel() for layer in weights])
        self._sizes = np.array(rule.header.layer_sizes)
        self._rest = (k.a, k.b, k.c, k.d, np.zeros(self._sizes.sum(), dtype=np.float32))

    def step(self, observation):
        self._rest[-1][: observation.size] = observation
        fused_tick(self._sizes, self.weights, *self._rest)
        return self._rest[-1][-self._sizes[-1] :].copy()


def compiled(rule, weights):
    pytest.importorskip("numba")
    return CompiledNetwork(rule, weights)


@pytest.mark.parametrize("make", [PlainNetwork, Interpreted, compiled])
def test_a_yardstick_computes_what_the_runtime_computes(make):
    rule = toy_rule(hidden=(5, 4), scale=0.5)
    runtime = NumpyRuntime(rule)
    runtime.reset(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for _ in range(5):
        state = runtime.state
        yardstick = make(rule, layer_views(state["weights"], rule.header.layer_sizes))
        observation = rng.standard_normal(6).astype(np.float32)
        expected = reference_tick(rule, state, observation)
        action = yardstick.step(observation)
        weights = np.concatenate([np.ravel(layer) for layer in yardstick.weights])
        assert (np.abs(action - expected.action) <= expected.action_bound).all()
        assert (np.abs(weights - expected.weights) <= expected.weights_bound).all()
        assert not np.array_equal(weights, state["weights"])
        runtime.step(observation)


def test_all_contestants_answer_the_same_at_the_start():
    rng = np.random.default_rng(0)
    takes_part = contestants(bench_rule(rng), rng)
    assert {"numpy", "plain", "copy"} <= takes_part.keys() <= CONTESTANTS.keys()
    observation = rng.standard_normal(28).astype(np.float32)
    actions = {n: who.step(observation) for n, who in takes_part.items() if n != "copy"}
    for action in actions.values():
        np.testing.assert_allclose(action, actions["numpy"], rtol=0, atol=1e-5)


def test_the_copy_moves_24_bytes_a_synapse():
    copy = benchmark.Copy(100)
    assert copy._source.nbytes + copy._target.nbytes == 2400
    copy._source[:] = 7.0
    copy.step(np.zeros(1, dtype=np.float32))
    assert (copy._target == 7.0).all()


def test_the_grid_reaches_from_8_to_the_largest_published_network():
    assert (28, 128, 64, 8) in benchmark.GRID
    counts = [sum(a * b for a, b in zip(s, s[1:], strict=False)) for s in benchmark.GRID]
    assert counts == sorted(counts)
    assert 5 * counts[-1] == 456_640
    for sizes in benchmark.GRID:  # a rule that could be saved
        assert bench_rule(np.random.default_rng(0), sizes).header.layer_sizes == sizes
    assert {8, 512} <= {size for sizes in benchmark.GRID for size in sizes[1:-1]}


def test_a_row_has_every_contestant_and_counts_of_its_network():
    row = time_net((16, 4, 3), ticks=20)
    assert row.synapses == 16 * 4 + 4 * 3
    assert row.coefficients == 5 * row.synapses
    assert list(row.times) == list(CONTESTANTS)
    own = row.times["numpy"]
    assert 0 < own.p50_us <= own.p99_us <= own.max_us
    assert row.ratio("numpy", "plain") == own.p50_us / row.times["plain"].p50_us


def test_the_fixed_cost_is_taken_off_the_time_per_synapse():
    def row(synapses, cache, p50):
        times = {"numpy": benchmark.Timing(p50, p50, p50)}
        return benchmark.NetTimings((1, 1), synapses, 5 * synapses, cache, times)

    # 10 µs at 100 synapses; then 2 and 4 ns for each of 1,000 more, 1 ns for 10,000 more
    rows = [row(100, "L1", 10.0), row(1_100, "L2", 12.0), row(1_100, "L2", 14.0)]
    rows.append(row(10_100, "L3", 20.0))
    found = regimes(rows)
    assert found == {"L2": pytest.approx((2.0, 4.0)), "L3": pytest.approx((1.0, 1.0))}


def test_a_cache_is_the_smallest_that_holds_it():
    assert cache_holding(2**60) == "memory"
    assert cache_holding(1) in {"L1", "memory"}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(command, "GRID", ((28, 8, 4, 8), (28, 128, 64, 8)))
    return ["runtime", "--ticks", "20", "--growth-ticks", "10"]


def test_the_command_writes_all_figures_as_json(small):
    result = CliRunner().invoke(command.bench, [*small, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {"p50_us", "p99_us", "plain_p50_us", "ratio", "growth_bytes"} <= report.keys()
    assert [net["synapses"] for net in report["nets"]] == [288, 12_288]
    assert report["nets"][1]["times"]["numpy"]["p50_us"] == report["p50_us"]
    assert report["ratio"] == report["p50_us"] / report["plain_p50_us"]


def test_the_command_prints_a_table_and_draws_a_picture(small, tmp_path):
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(command.bench, [*small, "--plot", str(tmp_path / "x.png")])
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert rows[3].startswith("| 28-128-64-8 | 12,288 | 61,440 |")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_control_thread_is_timed_beside_a_bare_loop():
    figures = bench.measure(1.0, pairs=1)
    assert list(figures) == [
        *("p50_us", "p99_us", "max_us", "bare_p50_us", "bare_p99_us"),
        *("overruns", "bare_overruns", "ticks"),
    ]
    assert figures["p50_us"] <= figures["p99_us"] <= figures["max_us"]
    assert figures["bare_p50_us"] <= figures["bare_p99_us"]
    assert min(figures.values()) >= 0
    # Every period of the second has a tick or is an overrun; the last one may be under way.
    assert figures["ticks"] + figures["overruns"] >= bench.RATE - 5
    assert gc.isenabled()


def test_the_command_runs_five_pairs(monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda seconds, **rest: {"seconds": seconds, **rest})
    result = CliRunner().invoke(command.bench, ["node", "--seconds", "2", "--json"])
    assert json.loads(result.stdout) == {"seconds": 2.0, "pairs": 5, "rt_priority": 0}
    assert {o.name: o.default for o in command.node.params}["seconds"] == 60.0


def test_without_numba_the_loop_is_absent_and_nothing_else(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    report = json.loads(CliRunner().invoke(command.bench, [*small, "--json"]).stdout)
    assert report["nets"][0]["times"]["compiled"] is None
    assert report["nets"][0]["times"]["plain"] is not None
