"""What the presets put candidates through, generation by generation, and when they end."""

import numpy as np
import pytest

from hebb_controller.cli.presets import COPES, FAULTS, LATEST, PRESETS, STEERS
from hebb_sim.condition import Condition
from hebb_sim.damage import Damage


@pytest.fixture
def robust():
    return PRESETS["robust"](seed=0)


def test_fast_ends_after_its_generations(robust):
    spec = PRESETS["fast"](seed=0).spec
    assert (spec.generations, spec.ticks) == (STEERS, None)


def test_robust_ends_after_ten_million_ticks(robust):
    assert (robust.spec.generations, robust.spec.ticks) == (None, 10_000_000)


@pytest.mark.parametrize("end", [(5, None), (None, 700), (5, 700)])
@pytest.mark.parametrize("preset", PRESETS)
def test_an_end_that_is_given_takes_the_place_of_the_presets_own(preset, end):
    spec = PRESETS[preset](seed=0).until(*end).spec
    assert (spec.generations, spec.ticks) == end


@pytest.mark.parametrize("generation", [0, 7, COPES, COPES + 1, 900])
def test_every_generation_of_robust_has_a_limp_front_leg_and_a_limp_rear_leg(robust, generation):
    front, rear, _ = robust.conditions(generation)
    assert front.damages == (Damage("FR", "limp"),)
    assert rear.damages == (Damage("RR", "limp"),)


@pytest.mark.parametrize("generation", [0, 7, COPES - 1])
def test_until_it_copes_legs_are_limp_from_the_start_and_the_third_episode_is_healthy(
    robust, generation
):
    front, rear, third = robust.conditions(generation)
    assert front.onset == rear.onset == 0.0
    assert third == Condition(front.duration)


def test_falling_is_charged_when_it_copes(robust):
    assert [(first, reward.fall) for first, reward in robust.spec.rewards] == [
        (0, 0.0),
        (COPES, 0.4),
    ]


def test_onsets_of_robust_spread_further_until_they_fill_their_span(robust):
    def onsets(first):
        return [robust.conditions(g)[0].onset for g in range(first, first + 100) if g % 4 >= 2]

    assert max(onsets(COPES)[:5]) < 0.5
    assert len(set(onsets(400))) == 50
    assert 0.0 <= min(onsets(400)) < 0.1
    assert LATEST - 0.1 < max(onsets(400)) < LATEST


@pytest.mark.parametrize("first", [0, 100, 400])
def test_half_of_the_generations_of_robust_are_damaged_from_the_start(robust, first):
    onsets = [[c.onset for c in robust.conditions(g) if c.damages] for g in range(first, first + 4)]
    assert [set(some) for some in onsets[:2]] == [{0.0}, {0.0}]
    assert all((0.0 in some) == (first < COPES) for some in onsets[2:])


def test_one_that_copes_meets_all_faults_in_turn_in_every_other_generation(robust):
    thirds = [robust.conditions(g)[2] for g in range(COPES + COPES % 2, COPES + 2 * len(FAULTS))]
    assert all(third == Condition(third.duration) for third in thirds[0::2])
    met = {d.kind for third in thirds[1::2] for d in third.damages + third.background}
    assert met == {"weak", "locked", "strength", "bias", "constant"}
    assert all(third.onset <= LATEST for third in thirds)


def test_the_same_generation_has_the_same_faults_in_every_run(robust):
    assert robust.conditions(COPES + 1) == PRESETS["robust"](seed=9).conditions(COPES + 1)


def test_paper_has_the_published_layers_on_what_a_robot_measures():
    spec = PRESETS["paper"](seed=0).spec
    assert spec.robot == "ant"
    assert spec.genome.layer_sizes == (24, 128, 64, 8)
    assert spec.genome.size == 5 * (24 * 128 + 128 * 64 + 64 * 8)
    assert spec.generations == 300
    assert 2 * spec.evolution.pairs == 500


def test_etas_of_paper_are_of_either_sign_and_any_size():
    genome = PRESETS["paper"](seed=0).spec.genome
    eta = genome.rule(3.0 * genome.start(np.random.default_rng(0))).layers[0]["eta"]
    assert eta.min() < -5.0
    assert eta.max() > 5.0


def test_bodies_of_paper_are_whole_or_have_a_short_leg_on_one_side():
    whole, short = PRESETS["paper"](seed=0).conditions(7)
    assert whole == Condition(whole.duration)
    assert short.damages == (Damage("FR", "shortened", 0.25),)
    assert short.onset == 0.0
