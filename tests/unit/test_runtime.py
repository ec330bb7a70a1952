"""The numpy runtime beyond its contract: shapes, and memory."""

import sys
import tracemalloc

import numpy as np
import pytest
from toys import toy_rule, update_spec

from hebb_controller.benchmark import bench_rule
from hebb_controller.errors import HebbError, MissingExtraError, ShapeError
from hebb_controller.network import InitialSpec
from hebb_controller.runtime import make_runtime
from hebb_controller.runtime.numpy_runtime import NumpyRuntime


@pytest.mark.parametrize("shape", [(), (5,), (7,), (6, 1), (1, 6)])
def test_an_observation_of_another_shape_is_refused_and_changes_nothing(shape):
    runtime = NumpyRuntime(toy_rule(update=update_spec(trace_window=4.0)))
    runtime.reset(np.random.default_rng(0))
    before = {name: array.tobytes() for name, array in runtime.state.items()}
    with pytest.raises(ShapeError, match=r"\(6,\)"):
        runtime.step(np.zeros(shape, dtype=np.float32))
    assert {name: array.tobytes() for name, array in runtime.state.items()} == before


@pytest.mark.parametrize("name", ["weights", "initial", "trace", "tick"])
@pytest.mark.parametrize("bad", ["missing", "longer", "matrix"])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(name, bad):
    runtime = NumpyRuntime(toy_rule(update=update_spec(trace_window=4.0)))
    runtime.reset(np.random.default_rng(0))
    runtime.step(np.ones(6, dtype=np.float32))
    before = {key: array.tobytes() for key, array in runtime.state.items()}
    state = {key: array + 1 for key, array in runtime.state.items()}
    if bad == "missing":
        del state[name]
    elif bad == "longer":
        state[name] = np.append(state[name], state[name])
    else:
        state[name] = np.atleast_2d(state[name])
    with pytest.raises(ShapeError, match=name) as caught:
        runtime.restore(state)
    assert isinstance(caught.value, (HebbError, ValueError))
    assert {key: array.tobytes() for key, array in runtime.state.items()} == before


def test_an_evolved_start_is_the_one_in_the_file_whatever_the_generator():
    rule = toy_rule(initial=InitialSpec("evolved", 1.0))
    expected = np.concatenate([layer["initial"].ravel() for layer in rule.layers])
    runtime = NumpyRuntime(rule)
    for seed in (0, 1):
        runtime.reset(np.random.default_rng(seed))
        assert runtime.state["weights"].tobytes() == expected.tobytes()
        runtime.step(np.ones(6, dtype=np.float32))


def test_a_tick_allocates_nothing_that_grows_with_the_network():
    rng = np.random.default_rng(0)
    runtime = NumpyRuntime(bench_rule(rng))
    runtime.reset(rng)
    observation = rng.standard_normal(28).astype(np.float32)
    for _ in range(10):
        runtime.step(observation)
    tracemalloc.start()
    try:
        for _ in range(3_000):  # until Python itself has cached what it will (3.10: frames)
            runtime.step(observation)
        start = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(3_000):
            runtime.step(observation)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One byte a tick would be 3,000; one temporary over the synapses 49,152.
    assert now - start < 2_000
    assert peak - start < 10_000


def test_returned_actions_are_the_callers_own():
    runtime = NumpyRuntime(toy_rule())
    runtime.reset(np.random.default_rng(0))
    first = runtime.step(np.ones(6, dtype=np.float32))
    kept = first.copy()
    runtime.step(np.zeros(6, dtype=np.float32))
    assert first.tobytes() == kept.tobytes()


def test_a_runtime_is_made_by_its_name():
    assert isinstance(make_runtime("numpy", toy_rule()), NumpyRuntime)
    with pytest.raises(HebbError, match=r"runtime 'tpu' is unknown\. Known: numpy, onnx\."):
        make_runtime("tpu", toy_rule())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_runtime_that_is_not_installed_names_the_extra(monkeypatch, package):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"^{package} is not installed.*\.\[onnx\]"):
        make_runtime("onnx", toy_rule())
