"""The outer loop: ranks by hand, gradients against sums written out, and an optimum that is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hebb_controller.errors import TrainingError
from hebb_controller.train.evolution import (
    Evolution,
    EvolutionSpec,
    centred_ranks,
    condition_weights,
)
from hebb_controller.train.task import noise

SPEC = EvolutionSpec(
    pairs=8,
    sigma=0.1,
    sigma_decay=1.0,
    sigma_min=0.01,
    step=0.05,
    step_decay=1.0,
    step_min=0.01,
)


@pytest.mark.parametrize(
    ("fitness", "ranks"),
    [
        ([[1.0], [2.0], [3.0]], [-0.5, 0.0, 0.5]),
        ([[30.0], [-5.0], [0.1]], [0.5, -0.5, 0.0]),
        ([[1.0], [1.0], [2.0]], [-0.25, -0.25, 0.5]),  # a tie shares ranks 1 and 2
        ([[7.0], [7.0], [7.0], [7.0]], [0.0] * 4),
        ([[1.0], [2.0], [2.0], [2.0], [9.0]], [-0.5, 0.0, 0.0, 0.0, 0.5]),
    ],
)
def test_centred_ranks_by_hand(fitness, ranks):
    assert centred_ranks(np.array(fitness))[:, 0].tolist() == ranks


def test_each_condition_is_ranked_by_itself():
    ranks = centred_ranks(np.array([[0.0, -1e9], [0.1, 1e9], [0.2, 5e8]]))
    assert ranks.tolist() == [[-0.5, -0.5], [0.0, 0.5], [0.5, 0.0]]


@pytest.mark.parametrize(
    ("medians", "deficit", "weights"),
    [
        ([0.4, 0.9, 0.0], 0.0, [1 / 3] * 3),
        ([0.75], 2.0, [1.0]),
        ([0.5, 0.75], 1.0, [2 / 3, 1 / 3]),
        ([0.5, 0.75], 2.0, [4 / 5, 1 / 5]),
        ([0.9, 1.7], 2.0, [0.5, 0.5]),  # nearly all and more than was asked for weigh the same
        ([-1.0, 0.0], 2.0, [4 / 5, 1 / 5]),
    ],
)
def test_a_condition_weighs_what_the_median_candidate_lacks_in_it(medians, deficit, weights):
    fitness = np.array([np.subtract(medians, 0.2), medians, np.add(medians, 5.0)])
    assert condition_weights(fitness, deficit) == pytest.approx(weights)


def test_a_candidate_that_failed_does_not_change_what_conditions_weigh():
    fitness = np.array([[0.2, 0.6], [0.4, 0.8], [0.5, 0.9]])
    failed = fitness.copy()
    failed[0] = -10.0
    assert (condition_weights(failed, 2.0) == condition_weights(fitness, 2.0)).all()


def test_the_mean_moves_towards_who_is_better_in_the_condition_that_lacks_more():
    # Of two pairs, one is for the first condition and against the second, the other the reverse.
    fitness = np.array([[0.1, 0.8], [0.0, 0.9], [0.0, 0.9], [0.1, 0.8]])
    means = []
    for deficit in (0.0, 2.0):
        evolution = Evolution(replace(SPEC, deficit=deficit), np.zeros(3, dtype=np.float32))
        evolution.tell([5, 6], fitness)
        means.append(evolution.mean)
    assert (means[0] == 0.0).all()
    assert (np.sign(means[1]) == np.sign(noise(5, 3) - noise(6, 3))).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimiser": "lbfgs"}, "optimiser 'lbfgs' is unknown. Known: adam, sgd"),
        ({"deficit": -0.5}, "deficit is -0.5; it must be finite and not below 0"),
        ({"deficit": math.nan}, "deficit is nan"),
        ({"deficit": math.inf}, "deficit is inf"),
        ({"averaged": 0}, "averaged is 0; it must be 1 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(TrainingError, match=message):
        Evolution(replace(SPEC, **fields), np.zeros(2, dtype=np.float32))


def test_plain_sgd_steps_along_the_gradient():
    evolution = Evolution(replace(SPEC, optimiser="sgd"), np.zeros(5, dtype=np.float32))
    fitness = np.array([[4.0], [1.0], [2.0], [3.0]])  # ranks 0.5, −0.5, −1/6, 1/6
    evolution.tell([11, 12], fitness)
    total = 1.0 * noise(11, 5).astype(float) - (1 / 3) * noise(12, 5).astype(float)
    # the mean over 4 candidates of rank · noise / sigma, times the step; some float32 roundings
    assert evolution.mean == pytest.approx(0.05 * total / (4 * 0.1), rel=1e-5)


def test_noise_is_standard_normal_and_the_seed_decides_it():
    sample = noise(3, 20_000)
    assert sample.dtype == np.float32
    assert sample.tobytes() == noise(3, 20_000).tobytes()
    assert sample.tobytes() != noise(4, 20_000).tobytes()
    # six standard errors of mean and variance
    assert abs(float(sample.mean())) < 6 / math.sqrt(20_000)
    assert abs(float(sample.var()) - 1.0) < 6 * math.sqrt(2.0 / 20_000)


def test_the_first_step_goes_by_the_step_size_along_the_sign_of_the_gradient():
    # Adam's first step is step · g / (|g| + 1e-8) for each number by itself. The gradient is the sum
    # over pairs of (rank of + minus rank of −) · noise.
    evolution = Evolution(SPEC, np.zeros(5, dtype=np.float32))
    seeds = [11, 12]
    fitness = np.array([[4.0], [1.0], [2.0], [3.0]])  # ranks 0.5, −0.5, −1/6, 1/6
    gradient = 1.0 * noise(11, 5).astype(float) - (1 / 3) * noise(12, 5).astype(float)
    assert np.abs(gradient).min() > 1e-3
    evolution.tell(seeds, fitness)
    assert evolution.mean == pytest.approx(SPEC.step * np.sign(gradient), rel=1e-4)
    assert evolution.generation == 1


def test_swapping_the_signs_of_a_pair_turns_the_step_round():
    steps = []
    for fitness in ([[1.0], [0.0]], [[0.0], [1.0]]):
        evolution = Evolution(SPEC, np.zeros(5, dtype=np.float32))
        evolution.tell([11], np.array(fitness))
        steps.append(evolution.mean)
    assert np.array_equal(steps[0], -steps[1])


def test_candidates_are_ranked_among_those_that_had_the_same_draw():
    """Pairs 0 and 2 had draw 0, pair 1 draw 1, in which everybody earns more."""
    seeds, spec = [11, 12, 13], replace(SPEC, optimiser="sgd")
    fitness = np.array([[1.0], [0.0], [9.0], [5.0], [3.0], [2.0]])
    evolution = Evolution(spec, np.zeros(4, dtype=np.float32))
    evolution.tell(seeds, fitness, draws=2)
    # ranks within ±0.5: of 1, 0, 3, 2 among four, of 9 and 5 among two
    weights = [1 / 3, 1.0, 1 / 3]
    gradient = sum(w * noise(seed, 4) for w, seed in zip(weights, seeds, strict=True))
    step = spec.step * gradient / (2 * 3 * spec.sigma)
    assert evolution.mean == pytest.approx(step, rel=1e-5)


def test_equal_fitness_leaves_the_mean_where_it_is():
    evolution = Evolution(SPEC, np.ones(5, dtype=np.float32))
    evolution.tell([11, 12], np.full((4, 2), 3.0))
    assert evolution.mean.tolist() == [1.0] * 5


def test_the_mean_finds_a_known_optimum():
    optimum = np.array([1.0, -1.0, 0.5, 2.0, -0.25])
    start = np.zeros(5, dtype=np.float32)
    evolution = Evolution(SPEC, start)
    rng = np.random.default_rng(0)

    def score(vector):
        return [-float(((vector - optimum) ** 2).sum())]

    for _ in range(80):
        seeds = [int(seed) for seed in rng.integers(2**40, size=SPEC.pairs)]
        vectors = [
            evolution.mean + sign * evolution.sigma(0) * noise(seed, 5)
            for seed in seeds
            for sign in (1, -1)
        ]
        evolution.tell(seeds, np.array([score(vector) for vector in vectors]))
    # Steps of at most 0.05 in each of five directions around the optimum: √5 · 0.05 = 0.11 of 2.5.
    before, after = (float(np.linalg.norm(v - optimum)) for v in (start, evolution.mean))
    assert before > 2.4
    assert after < 0.3


def test_sigma_and_step_decay_to_their_floors_by_the_generations_of_settling():
    spec = EvolutionSpec(
        pairs=1,
        sigma=0.5,
        sigma_decay=0.5,
        sigma_min=0.1,
        step=0.5,
        step_decay=0.5,
        step_min=0.2,
    )
    evolution = Evolution(spec, np.zeros(1, dtype=np.float32))
    sigmas, steps = [], []
    for settled in (0, 0, 1, 2, 3):
        sigmas.append(evolution.sigma(settled))
        evolution.tell([1], np.array([[1.0], [0.0]]), settled)
        steps.append(evolution._optimiser.param_groups[0]["lr"])
    assert sigmas == [0.5, 0.5, 0.25, 0.125, 0.1]
    assert steps == [0.5, 0.5, 0.25, 0.2, 0.2]


def test_what_comes_out_is_the_last_mean_or_a_running_mean_of_the_means():
    seeds, fitness = [5], np.array([[1.0], [0.0]])
    last, averaged = (
        Evolution(replace(SPEC, averaged=n), np.zeros(3, dtype=np.float32)) for n in (1, 3)
    )
    means = []
    for _ in range(4):
        for evolution in (last, averaged):
            evolution.tell(seeds, fitness)
        means.append(averaged.mean)
    assert last.result.tobytes() == last.mean.tobytes() == averaged.mean.tobytes()
    assert "average" not in last.arrays()
    # the plain mean of the first three, then a third of the way to each that follows
    three = np.mean(means[:3], axis=0)
    assert averaged.result == pytest.approx(three + (means[3] - three) / 3.0, rel=1e-5)


@pytest.mark.parametrize("averaged", [1, 4])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_restored_evolution_goes_on_bit_for_bit(optimiser, averaged):
    spec = replace(SPEC, optimiser=optimiser, deficit=2.0, averaged=averaged)
    rng = np.random.default_rng(0)
    rounds = [
        ([int(s) for s in rng.integers(2**40, size=8)], rng.random((16, 2))) for _ in range(6)
    ]
    one = Evolution(spec, np.zeros(7, dtype=np.float32))
    for seeds, fitness in rounds[:3]:
        one.tell(seeds, fitness)
    other = Evolution(spec, np.ones(7, dtype=np.float32))
    other.restore(one.generation, one.arrays())
    for seeds, fitness in rounds[3:]:
        one.tell(seeds, fitness)
        other.tell(seeds, fitness)
    assert one.mean.tobytes() == other.mean.tobytes()
    assert one.result.tobytes() == other.result.tobytes()
    assert one.generation == other.generation == 6


def test_an_evolution_restored_before_its_first_generation_starts_anew():
    one = Evolution(SPEC, np.full(3, 0.5, dtype=np.float32))
    other = Evolution(SPEC, np.zeros(3, dtype=np.float32))
    other.restore(0, one.arrays())
    for evolution in (one, other):
        evolution.tell([5], np.array([[1.0], [0.0]]))
    assert one.mean.tobytes() == other.mean.tobytes()


# --- the vector that is evolved ---
