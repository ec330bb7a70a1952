"""Statistics against textbooks, enumeration and second implementations."""

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from hebb_controller.train.statistics import (
    bootstrap_means,
    kaplan_meier,
    percentile_interval,
    permutation_p,
    ratio_interval,
    share_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 40), (3, 10), (40, 40), (1, 200)])
def test_the_wilson_interval_holds_the_shares_that_a_z_test_does_not_reject(successes, trials):
    # |k/n − p| = z·√(p(1−p)/n), solved for p
    z, n, share = 1.959963984540054, trials, successes / trials
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert wilson_interval(successes, trials) == pytest.approx(
        (middle - half, middle + half), abs=1e-12
    )


def test_kaplan_meier_of_the_leukaemia_trial():
    # Freireich 1963, the 6-MP group: a table in many textbooks
    happened = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    curve = kaplan_meier(happened, censored)
    table = dict(zip(curve.time.tolist(), curve.share.tolist(), strict=True))
    known = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    assert {time: round(table[time], 3) for time in known} == known
    assert table[35] == table[23]
    assert curve.median == 23


def test_what_never_happens_has_no_median():
    curve = kaplan_meier([], [4.5, 5.0])
    assert curve.share.tolist() == [1.0, 1.0]
    assert curve.median is None
    assert kaplan_meier([1.0], [5.0, 5.0]).median is None
    assert kaplan_meier([], []).median is None


def test_an_even_split_has_reached_its_median():
    assert kaplan_meier([0.0, 2.0], [5.0, 5.0]).median == 2.0
    assert kaplan_meier([0.0, 0.0], [5.0]).median == 0.0


def test_the_smallest_p_of_five_against_five():
    assert permutation_p([5, 6, 7, 8, 9], [0, 1, 2, 3, 4]) == pytest.approx(2 / 252)


def test_the_permutation_p_counts_every_way_to_deal_the_numbers():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.8, 1.0, 5), rng.normal(0.0, 1.0, 5)
    pool = np.concatenate([ours, theirs])
    seen = abs(ours.mean() - theirs.mean())
    extreme = [
        abs(pool[list(some)].mean() - np.delete(pool, some).mean()) >= seen - 1e-12
        for some in itertools.combinations(range(10), 5)
    ]
    assert 0.05 < np.mean(extreme) < 0.9
    assert permutation_p(ours, theirs) == pytest.approx(np.mean(extreme))


def test_the_bootstrap_varies_as_theory_says():
    """Two factors, drawn with replacement: the variance given the seeds drawn, and that of its mean."""
    rng = np.random.default_rng(1)
    hard = rng.normal(0.0, 0.7, 20)  # of an episode, for all seeds
    table = np.array([rng.normal(centre, 1.0, 20) + hard for centre in (0.0, 1.0, 3.0)])
    n_seeds, n_episodes = table.shape
    between = table.mean(axis=1).var() / n_seeds
    shared, each = table.mean(axis=0).var(), table.var(axis=1).mean()
    within = ((1 - 1 / n_seeds) * shared + each / n_seeds) / n_episodes
    seeds = [row[:, None] for row in table]
    means = bootstrap_means(seeds, np.random.default_rng(2), resamples=20_000)
    assert means.shape == (20_000, 1)
    # the variance of 20,000 draws is off by √(2/20000) = 1 % (one standard deviation)
    assert means.var() == pytest.approx(between + within, rel=0.05)
    assert means.mean() == pytest.approx(table.mean(), abs=0.03)


def test_episodes_that_are_hard_for_all_seeds_are_not_taken_for_as_many_as_there_are_seeds():
    """How often the interval of 100 experiments holds the truth, 0; drawn within each seed it is 62."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(100):
        hard = rng.normal(0.0, 0.3, 40)
        seeds = [(rng.normal(0.0, 0.1, 40) + hard)[:, None] for _ in range(5)]
        low, high = percentile_interval(bootstrap_means(seeds, rng, resamples=400)[:, 0])
        held += low < 0.0 < high
    assert held >= 88  # of 95 expected: √(100·0.95·0.05) = 2.2


def test_the_bootstrap_keeps_the_columns_of_an_episode_together():
    rows = np.random.default_rng(3).uniform(1.0, 2.0, (30, 1))
    pairs = [np.hstack([3 * rows, rows])] * 4
    found = ratio_interval(pairs, np.random.default_rng(0), least=0.05)
    assert found == pytest.approx((3.0, 3.0))


@pytest.mark.parametrize(("walkers", "known"), [(1, False), (3, True)])
def test_a_ratio_to_next_to_nothing_has_no_interval(walkers, known):
    # Of four resampled episodes none walks in (3/4)⁴ = 0.32 of the cases, or in (1/4)⁴ = 0.004.
    pairs = [np.array([*[[4.0, 4.0]] * walkers, *[[-1.0, 0.0]] * (4 - walkers)])]
    low, high = ratio_interval(pairs, np.random.default_rng(0), least=0.05)
    assert (low is not None) == (high is not None) == known


def test_one_training_seed_leaves_only_the_episodes_to_vary():
    rows = np.array([[0.0], [1.0]])
    means = bootstrap_means([rows], np.random.default_rng(0), resamples=4000)
    # of two draws from {0, 1}: 0, ½ and 1 with ¼, ½, ¼
    values, counts = np.unique(means, return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)  # 4 σ


def test_every_training_seed_weighs_the_same_however_many_episodes_it_has():
    few = np.where(np.arange(100)[:, None] < 10, 1.0, np.nan)
    means = bootstrap_means([np.zeros((100, 1)), few], np.random.default_rng(0), resamples=4000)
    assert means.mean() == pytest.approx(0.5, abs=0.025)


def test_episodes_without_a_number_are_not_there():
    rows = np.random.default_rng(3).normal(size=(12, 2))
    holes = np.full((15, 2), np.nan)
    holes[[0, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13, 14]] = rows
    one, other = (bootstrap_means([t], np.random.default_rng(5)) for t in (rows, holes))
    assert one.tobytes() == other.tobytes()
    rare = np.full((15, 2), np.nan)
    rare[4] = 7.0, 8.0
    some = bootstrap_means([rare, rare], np.random.default_rng(5))
    assert np.unique(some, axis=0).tolist() == [[7.0, 8.0]]
    # an episode is drawn in 1 − (14/15)^15 = 0.645 of the resamples
    assert len(some) == pytest.approx(0.645 * 2000, rel=0.1)


def test_the_interval_of_a_share_knows_that_training_seeds_differ():
    alike = [[True] * 4 + [False] * 16] * 5
    rng = np.random.default_rng(0)
    assert share_interval(alike[:1], rng) == wilson_interval(4, 20)
    apart = [[True] * 20, *[[False] * 20] * 4]
    low, high = share_interval(apart, rng)
    assert low == 0.0  # the one that always falls may not be drawn
    assert high > wilson_interval(20, 100)[1]
    never = [[False] * 20] * 5
    assert share_interval(never, rng) == wilson_interval(0, 100)


def test_the_same_generator_gives_the_same_bits():
    seeds = [np.random.default_rng(k).normal(size=(9, 2)) for k in range(3)]
    one, other = (bootstrap_means(seeds, np.random.default_rng(5)) for _ in range(2))
    assert one.tobytes() == other.tobytes()


def test_the_percentile_interval_leaves_out_2_5_percent_at_either_end():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_beyond_what_can_be_counted_the_permutation_p_is_that_of_random_deals_the_same_each_time():
    from scipy import stats

    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.7, 1.0, 30), rng.normal(0.0, 1.0, 30)
    p = permutation_p(ours, theirs)
    assert p == permutation_p(ours, theirs)
    assert p == pytest.approx(stats.ttest_ind(ours, theirs).pvalue, abs=0.01)
    assert permutation_p(ours, ours) > 0.9
