"""What the presets put candidates through, generation by generation."""

import pytest

from hebb_controller.cli.presets import LIMPS, PRESETS, STEERS
from hebb_sim.damage import Damage


@pytest.fixture
def robust():
    return PRESETS["robust"](seed=0, generations=None)


def damages(preset, generation):
    return [condition.damages for condition in preset.conditions(generation)]


def test_robust_begins_as_fast_does(robust):
    fast = PRESETS["fast"](seed=0, generations=None)
    assert fast.spec.generations == STEERS
    for generation in range(STEERS):
        assert robust.conditions(generation) == fast.conditions(generation)
    assert robust.spec.genome == fast.spec.genome
    assert robust.spec.rewards[: len(fast.spec.rewards)] == fast.spec.rewards


def test_robust_lets_a_front_and_a_rear_leg_fade_until_they_are_limp(robust):
    even = STEERS + STEERS % 2
    assert damages(robust, even) == [(Damage("FR", "weak", 0.6),), (Damage("RR", "weak", 0.6),)]
    half = even + LIMPS["RR"] // 2
    assert damages(robust, half) == [(Damage("FR", "weak", 0.51),), (Damage("RR", "weak", 0.3),)]
    end = even + max(LIMPS.values())
    assert damages(robust, end) == [(Damage("FR", "limp"),), (Damage("RR", "limp"),)]
    assert end < robust.spec.generations


def test_every_other_generation_of_robust_has_a_healthy_episode_too(robust):
    assert [len(damages(robust, g)) for g in (STEERS, STEERS + 1)] == [2, 3]
    assert () in damages(robust, STEERS + 1 - STEERS % 2)


def test_damage_begins_at_another_moment_in_every_generation(robust):
    onsets = {robust.conditions(g)[0].onset for g in range(STEERS, STEERS + 50)}
    assert len(onsets) == 50
    assert 1.0 <= min(onsets) < 1.1
    assert 1.9 < max(onsets) < 2.0
