"""What the presets put candidates through, stage by stage, and when they end."""

import math

import numpy as np
import pytest

from hebb_controller.cli.presets import (
    DRAWS,
    FAULTS,
    HEALS,
    ONSETS,
    PRESETS,
    STEERS,
    preset,
)
from hebb_controller.share import share_dir
from hebb_controller.train.trainer import SAMPLES
from hebb_sim.condition import Condition
from hebb_sim.damage import Damage

LAST = 3  # stage of robust


@pytest.fixture
def robust():
    return PRESETS["robust"](seed=0)


def test_fast_ends_after_its_generations(robust):
    spec = PRESETS["fast"](seed=0).spec
    assert (spec.generations, spec.ticks) == (STEERS, None)


def test_robust_ends_after_ten_million_ticks(robust):
    assert (robust.spec.generations, robust.spec.ticks) == (None, 10_000_000)


def test_a_spec_file_is_named_so_that_workers_in_other_directories_find_it(tmp_path, monkeypatch):
    spec = share_dir() / "config" / "robots" / "mini_cheetah.yaml"
    (tmp_path / "dog.yaml").write_bytes(spec.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert preset("fast", 0, "dog.yaml").spec.robot == str(tmp_path / "dog.yaml")
    assert preset("fast", 0, "mini_cheetah").spec.robot == "mini_cheetah"


@pytest.mark.parametrize("end", [(5, None), (None, 700), (5, 700)])
@pytest.mark.parametrize("preset", PRESETS)
def test_an_end_that_is_given_takes_the_place_of_the_presets_own(preset, end):
    spec = PRESETS[preset](seed=0).until(*end).spec
    assert (spec.generations, spec.ticks) == end


def limp(condition, tick):
    """Return the legs that are limp at a tick of 20 ms."""
    changes = condition.changes(0.02)
    in_force, _ = changes[max(moment for moment in changes if moment <= tick)]
    return [damage.part for damage in in_force if damage.kind == "limp"]


@pytest.mark.parametrize("draw", [0, 7, 900])
@pytest.mark.parametrize("stage", range(LAST + 1))
def test_in_every_draw_of_robust_a_front_leg_and_a_rear_leg_go_limp(robust, stage, draw):
    front, rear, *others = robust.conditions(stage, draw)
    for condition, leg in ((front, "FR"), (rear, "RR")):
        assert limp(condition, round(condition.onset / 0.02)) == [leg]
    assert not any(limp(c, tick) for c in others for tick in range(round(c.duration / 0.02)))
    assert {c.duration for c in (rear, *others)} == {front.duration}


def test_in_the_last_stage_legs_heal_in_half_of_the_draws(robust):
    for draw in range(400):
        for stage in range(LAST + 1):
            legs = robust.conditions(stage, draw)[:2]
            heals = stage == LAST and draw % 4 in (1, 2)
            assert [math.isfinite(leg.healed) for leg in legs] == [heals, heals]
    healed = [robust.conditions(LAST, draw)[0] for draw in range(400) if draw % 4 in (1, 2)]
    lasts = [leg.healed - leg.onset for leg in healed]
    for edge, last in zip(HEALS, (min(lasts), max(lasts)), strict=True):
        assert last == pytest.approx(edge, abs=0.1)
    mid_walk = [leg for leg in healed if leg.onset > 0.0]
    assert len(mid_walk) == len(healed) / 2


@pytest.mark.parametrize("leg", [0, 1])
def test_how_long_a_leg_is_limp_says_nothing_of_when_and_it_walks_on_healed(robust, leg):
    draws = [d for d in range(4000) if d % 4 == 1]
    rows = [robust.conditions(LAST, draw)[leg] for draw in draws]
    assert all(row.healed <= row.duration - 1.0 for row in rows)
    early = [row for row in rows if row.onset + HEALS[1] < row.duration - 1.0]
    onsets, ends = np.array([(row.onset, row.healed) for row in early]).T
    assert len(early) > 300
    assert abs(np.corrcoef(onsets, ends - onsets)[0, 1]) < 0.1
    least = min(row.healed - row.onset for row in rows)
    assert least == pytest.approx(HEALS[0], abs=0.05)


def test_the_draws_by_which_a_run_is_recognised_have_every_fault_of_robust(robust):
    thirds = [robust.conditions(LAST, draw)[2] for draw in range(SAMPLES)]
    kinds = {d.kind for c in thirds for d in (*c.damages, *c.background)}
    assert kinds == {"weak", "locked", "strength", "bias", "constant"}


@pytest.mark.parametrize("stage", [0, 1])
def test_in_the_first_stages_of_robust_legs_are_limp_from_the_start(robust, stage):
    for draw in range(DRAWS):
        front, rear, third = robust.conditions(stage, draw)
        assert limp(front, 0)
        assert limp(rear, 0)
        assert third == Condition(front.duration)


@pytest.mark.parametrize("stage", [2, LAST])
def test_after_them_half_of_the_draws_go_limp_in_mid_walk_all_over_the_span(robust, stage):
    legs = [c for draw in range(400) for c in robust.conditions(stage, draw)[:2]]
    onsets = [c.onset for c in legs if not limp(c, 0)]
    assert len(onsets) == len(legs) / 2
    for edge, onset in zip(ONSETS, (min(onsets), max(onsets)), strict=True):
        assert onset == pytest.approx(edge, abs=0.1)
    # and those of one generation are at as many moments
    ours = [robust.conditions(stage, draw)[0].onset for draw in range(DRAWS)]
    assert len(set(ours)) == 1 + DRAWS / 2
    assert robust.spec.draws == DRAWS


def test_falling_is_charged_when_legs_go_limp_on_the_way(robust):
    stages = robust.spec.stages
    assert [stage.reward.fall for stage in stages] == [0.0, 0.0, 0.4, 0.4]
    assert [stage.mark for stage in stages] == [0.4, 0.6, 0.5, None]
    assert [stage.settles for stage in stages] == [False, True, True, True]
    assert not any(stage.generations for stage in stages)


def test_in_half_of_the_draws_of_the_last_stage_all_faults_come_in_turn(robust):
    thirds = [robust.conditions(LAST, draw)[2] for draw in range(4 * len(FAULTS))]
    faulty = [third for third in thirds if third != Condition(third.duration)]
    assert len(faulty) == len(thirds) / 2
    met = {d.kind for third in faulty for d in third.damages + third.background}
    assert met == {"weak", "locked", "strength", "bias", "constant"}
    assert all(third.onset <= ONSETS[1] for third in thirds)


def test_in_the_last_stage_a_leg_stiffens_in_mid_walk(robust):
    fourths = [robust.conditions(LAST, draw)[3] for draw in range(DRAWS)]
    met = [fourth.damages for fourth in fourths]
    stiff = [Damage(leg, *how) for leg in ("FR", "RR") for how in (("locked",), ("narrowed", 0.2))]
    assert all(met.count((damage,)) == DRAWS / 4 for damage in stiff)
    assert all(ONSETS[0] <= fourth.onset <= ONSETS[1] for fourth in fourths)


def test_the_same_draw_has_the_same_faults_in_every_run(robust):
    other = PRESETS["robust"](seed=9)
    assert robust.conditions(LAST, 7) == other.conditions(LAST, 7)


@pytest.mark.parametrize("robot", ["a1", "mini_cheetah"])
def test_joints_that_move_a_leg_sideways_move_less(robot):
    contract = preset("fast", 0, robot).spec.genome.contract
    assert [joint.action_scale for joint in contract.joints] == [0.3, 0.7, 0.7] * 4
    assert contract.robot == robot


def test_the_legs_of_another_robot_go_limp_and_its_joints_fail():
    conditions = preset("robust", 0, "mini_cheetah").conditions
    parts = {d.part for draw in range(16) for c in conditions(LAST, draw) for d in c.background}
    assert any("thigh_" in part for part in parts)
    assert not any("upper" in part for part in parts)


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


@pytest.mark.parametrize("name", ["ant", "paper"])
def test_bodies_of_the_ant_are_whole_or_have_a_short_leg_on_one_side(name):
    preset = PRESETS[name](seed=0)
    assert preset.spec.genome.mirrors is None  # so that the other side is something else
    whole, short = preset.conditions(0, 7)
    assert whole == Condition(whole.duration)
    assert short.damages == (Damage("FR", "shortened", 0.25),)
    assert short.onset == 0.0
