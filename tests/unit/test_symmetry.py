"""Rules that are their own mirror image answer mirrored readings by mirrored actions."""

from dataclasses import replace

import numpy as np
import pytest
from toys import toy_genome, toy_robot

from hebb_controller.cli.presets import CHANNELS as PRESET
from hebb_controller.errors import TrainingError
from hebb_controller.network import InitialSpec
from hebb_controller.observation import Channel, observation_size
from hebb_controller.plasticity import RULE_KINDS
from hebb_controller.robot import load_robot
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.train.symmetry import (
    Mirror,
    free_numbers,
    free_numbers_of_neurons,
    network_mirrors,
    repeated,
)

A1 = load_robot("a1")
CHANNELS = (*PRESET, Channel("velocity_command", scale=1.0, clip=1.0))


def image(mirror, vector):
    seen = np.empty_like(vector)
    seen[list(mirror.target)] = np.array(mirror.sign, dtype=vector.dtype) * vector
    return seen


@pytest.mark.parametrize("kind", [kind for kind in RULE_KINDS if kind != "static"])
def test_a_symmetric_rule_answers_a_mirrored_run_by_mirrored_actions(kind):
    hidden = (8, 6)
    mirrors = network_mirrors(CHANNELS, A1, hidden)
    sizes = (observation_size(CHANNELS, A1.n_joints), *hidden, A1.n_joints)
    genome = replace(
        toy_genome(),
        kind=kind,
        layer_sizes=sizes,
        mirrors=mirrors,
        contract=replace(_contract(), channels=CHANNELS),
    )
    rng = np.random.default_rng(0)
    rule = genome.rule(genome.start(rng))
    one, other = NumpyRuntime(rule), NumpyRuntime(rule)
    one.reset(rng)
    mirrored, start = [], 0
    for k, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        weights = one.state["weights"][start : start + n_in * n_out].reshape(n_out, n_in)
        start += n_in * n_out
        columns = np.array([image(mirrors[k], row) for row in weights])
        mirrored.append(np.array([image(mirrors[k + 1], column) for column in columns.T]).T.ravel())
    weights = np.concatenate(mirrored)
    other.restore({**one.state, "weights": weights, "initial": weights})
    largest = 0.0
    for _ in range(20):
        observation = rng.standard_normal(sizes[0]).astype(np.float32)
        action = one.step(observation)
        seen = other.step(image(mirrors[0], observation))
        # the sums run in another order: some roundings of 2**-24 a tick, and no feedback
        assert np.abs(image(mirrors[-1], action) - seen).max() < 20 * 64 * 2.0**-24
        largest = max(largest, float(np.abs(action).max()))
    assert largest > 0.01


def _contract():
    from hebb_controller.cli.presets import fast

    return fast(seed=0).spec.genome.contract


def test_a_command_to_the_left_is_one_to_the_right_in_a_mirror_and_so_is_a_turn():
    (mirror, *_) = network_mirrors([Channel("velocity_command", 1.0, 1.0)], A1, ())
    assert image(mirror, np.array([0.5, 0.25, 2.0])).tolist() == [0.5, -0.25, -2.0]


def test_a_symmetric_vector_holds_each_number_once():
    mirrors = network_mirrors(CHANNELS, A1, (8,))
    sizes = (observation_size(CHANNELS, A1.n_joints), 8, A1.n_joints)
    plain = replace(toy_genome(), layer_sizes=sizes)
    assert replace(plain, mirrors=mirrors).size == plain.size // 2


def test_a_number_that_would_have_to_be_its_own_opposite_is_zero():
    middle = Mirror((0,), (-1,))  # such as a yaw rate, or a waist
    ahead = Mirror((0,), (1,))
    for tensor, factor in {"A": 1, "B": 1, "C": 0, "D": 0, "eta": 1, "initial": 0}.items():
        assert free_numbers(middle, ahead, tensor)[1].tolist() == [[factor]], tensor
    assert free_numbers(middle, middle, "D")[1].tolist() == [[1]]


def test_a_neuron_beside_a_sign_that_changes_has_no_coefficient_that_could_not_change_with_it():
    pair = Mirror((1, 0), (1, 1))
    mirrors = (Mirror((0, 1), (1, -1)), pair, pair, Mirror((1, 0), (-1, -1)))
    factors = {
        name: [free_numbers_of_neurons(mirrors, k, name)[1].tolist() for k in range(4)]
        for name in ("A", "B", "C", "D", "eta")
    }
    one, none = [1.0, 1.0], [0.0, 0.0]
    assert factors == {
        "A": [one, one, one, one],
        "B": [one, one, none, one],  # of layer 2: the last layer's signs change
        "C": [one, none, one, one],  # of layer 1: an observation's sign changes
        "D": [[1.0, 0.0], one, one, [1.0, -1.0]],
        "eta": [one, one, one, one],
    }


def test_a_repeated_mirror_keeps_each_copy_to_itself():
    mirror = repeated(Mirror((0, 2, 1), (-1, 1, 1)), 2)
    assert image(mirror, np.arange(1.0, 7.0)).tolist() == [-1, 3, 2, -4, 6, 5]


def test_an_evolved_start_may_be_symmetric_too():
    genome = replace(
        toy_genome(),
        layer_sizes=(2, 2),
        kind="A",
        initial=InitialSpec("evolved", 1.0),
        mirrors=(Mirror((1, 0), (-1, -1)), Mirror((1, 0), (1, 1))),
    )
    layout = genome._layout[0]["initial"]
    start = np.array([1.0, 2.0])[layout.index] * layout.factor
    assert start.tolist() == [[1, 2], [-2, -1]]


def test_what_has_no_mirror_image_is_refused():
    with pytest.raises(TrainingError, match="robot 'toy': its spec states no 'mirror'"):
        network_mirrors(CHANNELS[:1], toy_robot(), (2,))
    with pytest.raises(TrainingError, match="a hidden layer of 5 neurons"):
        network_mirrors(CHANNELS, A1, (5,))
