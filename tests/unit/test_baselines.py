"""Baselines: their steps against sums written out and torch's GRU, their symmetry, their file."""

import functools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch
from toys import PERIOD, toy_baseline, toy_contract, toy_reading, toy_robot, toy_rule

from hebb_controller.cli import networks, presets
from hebb_controller.controller import controller_for
from hebb_controller.errors import ContractError, RuleFileError, ShapeError
from hebb_controller.robot import load_robot
from hebb_controller.rule_file import save_rule
from hebb_controller.train import baselines
from hebb_controller.train.baseline_file import load_baseline, make_baseline, save_baseline
from hebb_controller.train.baselines import baseline_controller, baseline_runtime
from hebb_controller.train.genome import BaselineGenome, Genome

A1 = load_robot("a1")


def observations(ticks, size, seed=0):
    return np.random.default_rng(seed).standard_normal((ticks, size)).astype(np.float32)


def started(baseline):
    runtime = baseline_runtime(baseline)
    runtime.reset(np.random.default_rng(0))
    return runtime


# --- what they compute ---


def test_a_gru_steps_as_torch_does():
    baseline = toy_baseline("gru")
    n_in, hidden, _ = baseline.header.layer_sizes
    cell = torch.nn.GRUCell(n_in, hidden)
    # Ours has the gates in the order update, reset, candidate; torch's is reset, update, candidate.
    order = np.concatenate([np.arange(hidden) + hidden * gate for gate in (1, 0, 2)])
    tensors = {name: torch.tensor(np.array(t)) for name, t in baseline.tensors.items()}
    with torch.no_grad():
        cell.weight_ih.copy_(tensors["input"][order])
        cell.weight_hh.copy_(tensors["recurrent"][order])
        cell.bias_ih.copy_(tensors["bias"][order, 0])
        cell.bias_hh.zero_()
        state, runtime = torch.zeros(hidden), started(baseline)
        for observation in observations(50, n_in):
            state = cell(torch.tensor(observation), state)
            expected = torch.tanh(tensors["readout"] @ state).numpy()
            # A step halves the distance of two states at worst about once; tens of roundings each.
            assert np.abs(runtime.step(observation) - expected).max() < 200 * 2.0**-24


def test_a_stacked_network_sees_its_last_observations_the_newest_first():
    baseline = toy_baseline("stacked", frames=3)
    first, second = (baseline.tensors[name].astype(float) for name in ("layer0", "layer1"))
    runtime, seen = started(baseline), observations(6, baseline.header.layer_sizes[0])
    for t, observation in enumerate(seen):
        # before the start the first observation stands
        frames = [seen[max(t - back, 0)].astype(float) for back in range(3)]
        expected = np.tanh(second @ np.tanh(first @ np.concatenate(frames)))
        # float32 sums of 18 and 4 products of numbers of size one
        assert np.abs(runtime.step(observation) - expected).max() < 100 * 2.0**-24


def test_one_frame_is_a_static_rule():
    rule = toy_rule("static", initial=networks.EVOLVED)
    baseline = make_baseline(
        replace(toy_baseline("stacked").header, layer_sizes=rule.header.layer_sizes, frames=1),
        {f"layer{k}": layer["initial"] for k, layer in enumerate(rule.layers)},
    )
    robot = toy_robot()
    one, other = controller_for(rule, robot), baseline_controller(baseline, robot)
    for controller in (one, other):
        controller.reset(np.random.default_rng(0))
    for tick in range(10):
        reading = toy_reading(robot, tick * PERIOD, joint_position=(0.75 - 0.1 * tick, 0.5))
        commands = [each.step(reading, reading.received) for each in (one, other)]
        assert commands[0].position.tobytes() == commands[1].position.tobytes()
        assert one.last_action.tobytes() == other.last_action.tobytes()


@pytest.mark.parametrize("kind", ["stacked", "gru"])
def test_weights_are_state_that_can_be_damaged_and_come_back_at_a_reset(kind):
    runtime = started(toy_baseline(kind))
    seen = observations(5, 6)
    before = [runtime.step(observation).tobytes() for observation in seen]
    state = runtime.state
    runtime.restore({**state, "weights": np.zeros_like(state["weights"])})
    assert runtime.step(seen[0]).tolist() == [0.0, 0.0]
    runtime.reset(np.random.default_rng(1))
    assert [runtime.step(observation).tobytes() for observation in seen] == before


@pytest.mark.parametrize("kind", ["stacked", "gru"])
def test_a_state_of_another_network_is_refused_and_changes_nothing(kind):
    runtime = started(toy_baseline(kind))
    runtime.step(observations(1, 6)[0])
    before = {name: array.tobytes() for name, array in runtime.state.items()}
    for name in before:
        state = {**runtime.state, name: np.zeros((9, 9), dtype=np.float32)}
        with pytest.raises(ShapeError, match=f"state '{name}' is missing or not of shape"):
            runtime.restore(state)
        del state[name]
        with pytest.raises(ShapeError, match=f"state '{name}' is missing"):
            runtime.restore(state)
    assert {name: array.tobytes() for name, array in runtime.state.items()} == before


# --- what is evolved ---


@functools.cache
def genomes():
    """Return what `hebb train` evolves: network -> genome."""
    preset = presets.fast(seed=0)
    return {n: networks.with_network(preset, n).spec.genome for n in networks.NETWORKS}


def mirrored(mirror, vector):
    image = np.empty_like(vector)
    image[list(mirror.target)] = np.array(mirror.sign, dtype=vector.dtype) * vector
    return image


@pytest.mark.parametrize("network", ["static", "per-neuron", "stacked", "gru"])
def test_every_network_answers_a_mirrored_run_by_mirrored_actions(network):
    genome = genomes()[network]
    rng = np.random.default_rng(0)
    vector = genome.start(rng) + np.float32(0.1) * rng.standard_normal(genome.size).astype("f4")
    one, other = (genome.controller(vector, A1).runtime for _ in range(2))
    for runtime in (one, other):
        runtime.reset(np.random.default_rng(0))
    largest = 0.0
    for observation in observations(20, genome.layer_sizes[0]):
        action = one.step(observation)
        seen = other.step(mirrored(genome.mirrors[0], observation))
        # the sums run in another order: 230 products of numbers of size one, fed back for 20 ticks
        assert np.abs(mirrored(genome.mirrors[-1], action) - seen).max() < 20 * 230 * 2.0**-24
        largest = max(largest, float(np.abs(action).max()))
    assert largest > 0.1


def test_the_table_of_parameters_is_true():
    rows = re.findall(
        r"^\| ([a-z-]+) .*\| ([\d,]+) \| ([\d,]+) \|$", baselines.__doc__, re.MULTILINE
    )
    table = {name: tuple(int(n.replace(",", "")) for n in numbers) for name, *numbers in rows}
    found = {}
    for network, genome in genomes().items():
        vector = np.zeros(genome.size, dtype=np.float32)
        whole = genome.rule(vector) if isinstance(genome, Genome) else genome.baseline(vector)
        found[network] = (whole.n_parameters, genome.size)
    assert table == found


def test_all_networks_get_the_same_observations_and_drive_the_same_joints():
    contracts = {network: genome.contract for network, genome in genomes().items()}
    assert set(contracts.values()) == {contracts["hebbian"]}
    assert genomes()["stacked"].frames == 5


def test_a_vector_starts_with_weights_as_large_as_their_inputs_ask_and_no_bias():
    tensors = genomes()["gru"].baseline(genomes()["gru"].start(np.random.default_rng(0))).tensors
    # six standard errors of a standard deviation from half as many draws as there are numbers
    for name, n_in in (("input", 46), ("recurrent", 32)):
        draws = tensors[name].size / 2
        assert tensors[name].std() == pytest.approx(n_in**-0.5, rel=6 / (2 * draws) ** 0.5)
    assert not tensors["bias"].any()


@pytest.mark.parametrize("kind", ["stacked", "gru"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10])
def test_a_vector_that_is_not_finite_is_no_network(kind, value):
    header = toy_baseline(kind).header
    genome = BaselineGenome(
        kind, header.layer_sizes, header.frames, PERIOD, toy_contract(toy_robot())
    )
    vector = np.zeros(genome.size, dtype=np.float32)
    vector[-1] = value
    with pytest.raises(RuleFileError, match=r"candidate: \w+ must be finite"):
        genome.controller(vector, toy_robot())


# --- the file ---


@pytest.mark.parametrize("kind", ["stacked", "gru"])
def test_a_baseline_is_read_as_it_was_written(tmp_path, kind):
    baseline, path = toy_baseline(kind), tmp_path / "toy.baseline.safetensors"
    save_baseline(baseline, path)
    read = load_baseline(path)
    assert read.header == baseline.header
    assert {n: t.tobytes() for n, t in read.tensors.items()} == {
        n: t.tobytes() for n, t in baseline.tensors.items()
    }
    seen = observations(10, 6)
    runs = [[started(each).step(o).tobytes() for o in seen] for each in (baseline, read)]
    assert runs[0] == runs[1]


def test_a_baseline_that_does_not_fit_the_robot_is_refused():
    with pytest.raises(ContractError, match="trained for robot 'toy'"):
        baseline_controller(toy_baseline("gru"), A1)


def test_another_kind_of_file_is_refused_by_what_it_is(tmp_path):
    rule = tmp_path / "toy.rule.safetensors"
    save_rule(toy_rule(), rule)
    with pytest.raises(RuleFileError, match="without a 'hebb_baseline' header"):
        load_baseline(rule)
    with pytest.raises(RuleFileError, match=r"a baseline file must end in \.baseline\.safetensors"):
        save_baseline(toy_baseline("gru"), rule)


WRONG = [
    ({"kind": "lstm"}, "kind 'lstm' is unknown. Known: stacked, gru"),
    ({"format_version": 2}, "format_version is 2"),
    ({"frames": 0}, "frames is 0; it must be 1 to 32"),
    ({"frames": 33}, "frames is 33; it must be 1 to 32"),
    ({"frames": 4}, "layer0 is float32"),
    ({"layer_sizes": [6, 2]}, "has the tensors layer0"),
    ({"layer_sizes": [7, 4, 2]}, "the first layer has 7 neurons, the channels make 6"),
    ({"layer_sizes": [6, 4, 3]}, "the last layer has 3 neurons for 2 joints"),
    ({"kind": "gru"}, "frames is 5; it must be 1 to 1"),
    ({"kind": "gru", "frames": 1}, "has the tensors input, recurrent, bias, readout"),
    ({"kind": "gru", "frames": 1, "layer_sizes": [6, 4, 4, 2]}, "three layers of neurons"),
    ({"tick_period": 0.0}, "tick_period is 0.0 s"),
    ({"tick_period": None}, "tick_period must be a number"),
    ({"extra": 1}, "unknown field 'extra'"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_file_is_one_clear_error(tmp_path, changes, message):
    path = tmp_path / "toy.baseline.safetensors"
    save_baseline(toy_baseline("stacked"), path)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    document = {**json.loads(header["__metadata__"]["hebb_baseline"]), **changes}
    metadata = {"hebb_baseline": json.dumps(document)}
    path.write_bytes(safetensors.numpy.save(safetensors.numpy.load(data), metadata=metadata))
    with pytest.raises(RuleFileError, match=re.escape(message)) as caught:
        load_baseline(path)
    assert "\n" not in str(caught.value)
