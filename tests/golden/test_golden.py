"""Files of earlier format versions load, and run as they did. The files are never made again."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from hebb_controller.golden import compare_golden
from hebb_controller.rule_file import load_rule, save_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def rule():
    return load_rule(HERE / "v1.rule.safetensors")


@pytest.fixture(scope="module")
def trajectory():
    with np.load(HERE / "v1.trajectory.npz", allow_pickle=False) as file:
        return dict(file)


def test_the_golden_file_is_the_one_that_was_made():
    digest = hashlib.sha256((HERE / "v1.rule.safetensors").read_bytes()).hexdigest()
    assert digest == "363f3fe9e16b10e7c002b7e792144aa538d9908225268bf764490a55d03c0b51"


def test_version_1_says_what_it_said(rule):
    header = rule.header
    assert header.format_version == 1
    assert header.kind == "ABCD_eta_E_outside"
    assert header.layer_sizes == (6, 8, 4, 2)
    assert (header.update.interval, header.update.trace_window, header.update.decay) == (
        3,
        5.0,
        0.04,
    )
    assert (header.update.normalisation, header.update.bound) == ("clip", 0.75)
    assert (header.initial.distribution, header.initial.scale) == ("uniform", 0.5)
    assert header.tick_period == 0.125
    assert [channel.name for channel in header.contract.channels] == [
        "joint_position",
        "tracking_error",
        "clock",
    ]
    assert [joint.name for joint in header.contract.joints] == ["knee", "hip"]
    assert header.contract.joints[0].kp == 8.0
    assert header.provenance["made"] == "by hand"
    assert [set(layer) for layer in rule.layers] == [{"A", "B", "C", "D", "eta", "E"}] * 3


def test_version_1_runs_as_it_ran(rule, trajectory):
    """Every tick from the recorded state; the bounds were derived when the file was made."""
    runtime = NumpyRuntime(rule)
    runtime.reset(np.random.default_rng(0))
    moved = 0
    for tick, observation in enumerate(trajectory["observation"]):
        runtime.restore(
            {
                "weights": trajectory["weights_before"][tick],
                "initial": trajectory["initial"],
                "trace": trajectory["trace_before"][tick],
                "tick": np.array(tick),
            }
        )
        found = {"action": runtime.step(observation)}
        state = runtime.state
        found |= {"weights": state["weights"], "trace": state["trace"]}
        for name, values in found.items():
            after = trajectory["action" if name == "action" else f"{name}_after"][tick]
            assert (np.abs(values - after) <= trajectory[f"{name}_bound"][tick]).all(), (tick, name)
        change = np.abs(state["weights"] - trajectory["weights_before"][tick]).max()
        moved += bool(change > 1000 * trajectory["weights_bound"][tick].max())
    assert len(trajectory["observation"]) == 32
    assert moved == 10  # every third tick


# --- what came to version 1 before it was released ---


@pytest.fixture(scope="module")
def full():
    return load_rule(HERE / "v1_full.rule.safetensors")


@pytest.mark.parametrize("name", ["v1", "v1_full"])
def test_a_file_of_the_first_release_written_anew_has_the_same_bytes(tmp_path, name):
    old, new = (directory / f"{name}.rule.safetensors" for directory in (HERE, tmp_path))
    save_rule(load_rule(old), new)
    assert new.read_bytes() == old.read_bytes()


def test_the_second_golden_file_is_the_one_that_was_made():
    digest = hashlib.sha256((HERE / "v1_full.rule.safetensors").read_bytes()).hexdigest()
    assert digest == "ed22954c97cf9765ee679ab807dca3c8d4c07cdd538b4ac5a5a4e58a5f0a9f06"


def test_version_1_with_everything_says_what_it_said(full):
    header = full.header
    assert (header.kind, header.layer_sizes) == ("ABCD_eta_neuron", (6, 4, 2))
    assert header.initial.distribution == "evolved"
    assert header.update.normalisation == "max_above_one"
    assert header.envelope.ticks == 400
    assert [layer.norm for layer in header.envelope.layers] == [4.0, 2.0]
    assert (header.static_twin.episodes, header.static_twin.fall_rate) == (40, 0.125)
    assert [part["eta"].shape for part in full.neurons] == [(6,), (4,), (2,)]
    assert full.golden.ticks == 8
    for twin, layer in zip(full.static, full.layers, strict=True):
        assert (twin == 0.5 * layer["initial"]).all()
        assert set(layer) == {"A", "B", "C", "D", "eta", "initial"}
    # A_ij = A_i · A_j, of the two neurons at its ends
    first, second = full.neurons[0]["A"], full.neurons[1]["A"]
    assert full.layers[0]["A"][3, 5] == second[3] * first[5]


def test_version_1_repeats_the_golden_vectors_in_its_file_on_every_runtime(full):
    compare_golden(full, NumpyRuntime(full))
    pytest.importorskip("onnxruntime")
    from hebb_controller.runtime.onnx_runtime import OnnxRuntime

    compare_golden(full, OnnxRuntime.from_rule(full))
