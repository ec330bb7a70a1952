"""Scenario files: what they say is what is drawn, and a mistake is one line that names the place."""

import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hebb_controller.errors import ScenarioError
from hebb_controller.robot import load_robot
from hebb_sim.condition import Condition, Spell
from hebb_sim.damage import TABLE, Damage, check_damage, describe, parse_damages
from hebb_sim.scenario import available_scenarios, load_scenario, parse_scenario

WALK = """\
duration: 12.0
turn: {uniform: [-0.2, 0.2]}
background:
  - {part: sensors, kind: latency, amount: {choice: [1, 2]}}
timeline:
  - onset: {uniform: [4.0, 6.0]}
    lasts: 3.0
    damages:
      - {part: {any: leg}, kind: weak, amount: {uniform: [0.1, 0.4]}}
      - choice:
          - {part: trunk, kind: payload, amount: 2}
          - {part: ground, kind: friction, amount: 0.2}
  - onset: 1
    damages:
      - {part: {choice: [FR_hip_joint, imu]}, kind: constant}
"""


@pytest.fixture(scope="module")
def a1():
    return load_robot("a1")


def parse(text, robot):
    return parse_scenario(text, robot, where="some/walk.yaml")


def draws(scenario, count=300):
    return [scenario.draw(np.random.default_rng(seed)) for seed in range(count)]


def test_a_draw_is_within_what_the_file_allows_and_reaches_all_of_it(a1):
    scenario = parse(WALK, a1)
    assert (scenario.name, scenario.duration) == ("walk", 12.0)
    found = draws(scenario)
    for condition in found:
        assert condition.duration == 12.0
        weak, other = condition.damages
        assert weak.kind == "weak"
        assert weak.part in a1.legs
        assert 0.1 <= weak.amount <= 0.4
        assert other in (Damage("trunk", "payload", 2.0), Damage("ground", "friction", 0.2))
        assert 4.0 <= condition.onset <= 6.0
        assert condition.healed == pytest.approx(condition.onset + 3.0)
        assert abs(condition.turn) <= 0.2
        assert condition.background[0].amount in (1.0, 2.0)
        (spell,) = condition.spells
        assert (spell.onset, spell.healed) == (1.0, math.inf)
        assert spell.damages[0].part in ("FR_hip_joint", "imu")
    # Of 300 draws, one of four legs is missing with a probability of 4·0.75³⁰⁰.
    assert {c.damages[0].part for c in found} == set(a1.legs)
    assert {c.damages[1].kind for c in found} == {"payload", "friction"}
    assert {c.background[0].amount for c in found} == {1.0, 2.0}
    onsets = np.array([c.onset for c in found])
    # The mean of n numbers from a range of 2 s is off by 2/√(12n); five of those.
    assert onsets.mean() == pytest.approx(5.0, abs=5 * 2 / math.sqrt(12 * len(onsets)))


def test_the_same_seed_draws_the_same_episode(a1):
    scenario = parse(WALK, a1)
    one, two = (scenario.draw(np.random.default_rng(7)) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != scenario.draw(np.random.default_rng(8))
    assert pickle.loads(pickle.dumps(one)) == one
    assert pickle.loads(pickle.dumps(scenario)) == scenario


def test_a_drawn_damage_is_the_whole_of_its_text(a1):
    for condition in draws(parse(WALK, a1), 50):
        assert parse_damages(describe(condition.damages), a1) == condition.damages


def test_a_file_without_anything_random_is_what_it_says(a1):
    scenario = parse("duration: 5\ntimeline: [{onset: 2, damages: [{part: FR, kind: limp}]}]", a1)
    assert scenario.draw(np.random.default_rng(0)) == Condition(5.0, (Damage("FR", "limp"),), 2.0)
    assert parse("duration: 5", a1).draw(np.random.default_rng(0)) == Condition(5.0)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("duration: 12.0\n", "", 1, "'duration' is missing. Fields: duration, turn, background"),
        ("duration: 12.0", "duration: long", 1, "duration: expected a finite number, found 'long'"),
        ("duration: 12.0", "duration: '12'", 1, "expected a finite number"),
        ("duration: 12.0", "duration: .inf", 1, "expected a finite number"),
        ("duration: 12.0", "duration: nan", 1, "expected a finite number"),
        ("duration: 12.0", "duration: 0", 1, r"duration must be in \(0, 3600\] s"),
        ("turn:", "trun:", 2, "unknown field 'trun'. Known: duration, turn, background, timeline"),
        ("turn:", "duration:", 2, "'duration' appears twice"),
        ("[-0.2, 0.2]", "[-9, 9]", 2, r"turn must be in \[-pi, pi\]"),
        ("[-0.2, 0.2]", "[0.2]", 2, r"turn: uniform takes \[least, most\]"),
        ("[-0.2, 0.2]", "[0.2, -0.2]", 2, r"turn: uniform takes \[least, most\]"),
        ("[-0.2, 0.2]", "0.2", 2, "uniform: expected a non-empty list, found '0.2'"),
        ("{uniform: [-0.2, 0.2]}", "{normal: [0, 1]}", 2, r"turn takes a number, \{uniform"),
        ("{choice: [1, 2]}", "{choice: []}", 4, "choice: expected a non-empty list"),
        ("{choice: [1, 2]}", "{choice: [1, 1.5]}", 4, r"whole number in \[0, 50\]"),
        ("{choice: [1, 2]}", "{uniform: [1, 2]}", 4, r"'latency' takes a whole number .*choice"),
        ("kind: latency", "kind: lateness", 4, "kind 'lateness' is unknown. Known: limp, weak"),
        ("part: sensors", "part: imu", 4, "'latency' cannot affect 'imu', only sensors"),
        ("[4.0, 6.0]", "[4.0, 12.0]", 6, r"onset must be in \[0, 12\) s, within the duration"),
        ("lasts: 3.0", "lasts: 0", 7, r"lasts must be in \(0, 3600\] s"),
        ("lasts: 3.0", "lasts: 1e+308", 7, r"lasts must be in \(0, 3600\] s"),
        ("    lasts: 3.0", "    until: 3.0", 7, "unknown field 'until'. Known: onset, damages"),
        ("any: leg", "any: wheel", 9, "any 'wheel' is unknown. Known: leg, joint"),
        ("{any: leg}", "{all: leg}", 9, "part takes a name"),
        ("{any: leg}", "XX", 9, "no leg or joint 'XX'. Legs: FR, FL, RR, RL"),
        ("{any: leg}", "[FR, FL]", 9, "part: expected a word, found a list"),
        ("[0.1, 0.4]", "[0.1, 1.0]", 9, r"the fraction of torque left must be in \[0, 1\)"),
        ("kind: weak, ", "", 9, "'kind' is missing"),
        (", amount: 2}", "}", 11, "'payload' takes a mass in kg"),
        ("kind: constant", "kind: constant, amount: 1", 15, "takes no amount"),
        ("[FR_hip_joint, imu]", "[FR_hip_joint, imv]", 15, "no leg or joint 'imv'"),
        ("  - onset: 1\n    damages:", "  - damages:", 13, "'onset' is missing"),
        ("  - onset: 1\n", "  - onset: 1\n   oh: [\n", 14, "not readable as YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_place(a1, old, new, line, message):
    assert old in WALK
    with pytest.raises(ScenarioError, match=message) as caught:
        parse(WALK.replace(old, new, 1), a1)
    assert str(caught.value).startswith(f"some/walk.yaml:{line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"some/walk\.yaml: the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- 1\n", r"walk\.yaml:1: expected a mapping of duration.* found a list"),
        ("duration: &a [*a]", r"walk\.yaml:1: not readable as YAML: '\*a' is an alias"),
        ("duration: 5\nbackground: &a []\ntimeline: *a\n", r"walk\.yaml:3: .*write out what it"),
        ("? [1, 2]\n: 3\n", "unknown field 'a list'"),
        ("duration: *nobody", r"walk\.yaml:1: not readable as YAML"),
        ("duration: 5\x00", "not readable as YAML"),
        ("a: 1\n---\nb: 2\n", "not readable as YAML"),
        ("[" * 5000, "not readable as YAML"),
    ],
)
def test_what_is_no_scenario_at_all_is_refused_in_one_line(a1, text, message):
    with pytest.raises(ScenarioError, match=message) as caught:
        parse(text, a1)
    assert "\n" not in str(caught.value)


def test_a_scenario_is_loaded_by_name_or_by_path(a1, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(WALK, encoding="utf-8")
    assert load_scenario(path, a1).name == "mine"
    assert load_scenario("limp_leg", a1).name == "limp_leg"
    with pytest.raises(ScenarioError, match=r"'limp_arm': no such .*limp_leg.*path of a \.yaml"):
        load_scenario("limp_arm", a1)
    with pytest.raises(ScenarioError, match="no such scenario"):
        load_scenario(tmp_path / "none.yaml", a1)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="not readable as text"):
        load_scenario(path, a1)


# --- what ships ---


@pytest.mark.parametrize("name", available_scenarios())
def test_every_shipped_scenario_draws_what_the_robot_can_have(a1, name):
    scenario = load_scenario(name, a1)
    for condition in draws(scenario, 20):
        every = [*condition.background, *condition.damages]
        every += [damage for spell in condition.spells for damage in spell.damages]
        for damage in every:
            check_damage(damage, a1)
        # Three seconds before the damage and three after it can be compared.
        if condition.damages:
            assert condition.onset >= 3.0
            assert condition.onset <= condition.duration - 5.0


def test_the_kinds_that_science_asks_for_ship():
    assert {
        *("undamaged", "limp_leg", "weak_motor", "locked_joint", "sensor_constant", "sensor_bias"),
        *("motor_strength", "payload", "slippery", "slope", "push", "unseen"),
    } <= set(available_scenarios())


def test_the_document_lists_every_kind_and_every_scenario():
    text = (Path(__file__).parents[2] / "docs" / "damage.md").read_text(encoding="utf-8")
    for name in (*TABLE, *available_scenarios()):
        assert f"`{name}" in text or f":{name}" in text, name


# --- a condition's time line ---


def test_changes_come_at_the_ticks_of_their_moments():
    limp, weak, load = (
        Damage("FR", "limp"),
        Damage("RL", "weak", 0.3),
        Damage("trunk", "payload", 2),
    )
    condition = Condition(
        3.0,
        (limp,),
        1.0,
        2.0,
        background=(load,),
        spells=(Spell((weak,), 1.5), Spell((limp,), 0.0, 0.1)),
    )
    assert condition.changes(0.1) == {
        0: ((load, limp), True),
        1: ((load,), False),
        10: ((load, limp), True),
        15: ((load, limp, weak), True),
        20: ((load, weak), True),
    }


def test_what_lasts_for_less_than_a_tick_is_in_force_for_one():
    limp = Damage("FR", "limp")
    assert Condition(3.0, (limp,), 1.0, 1.004).changes(0.02) == {
        0: ((), False),
        50: ((limp,), True),
        51: ((), False),
    }


@pytest.mark.parametrize("onset", [4.35, 4.49, 5.0, 5.01])  # some between two ticks
def test_a_push_of_ten_ticks_is_one_of_ten_ticks_whenever_it_begins(onset):
    push = (Damage("trunk", "push", 60.0),)
    start, stop = list(Condition(9.0, push, onset, onset + 0.2).changes(0.02))[1:]
    assert stop - start == 10


@pytest.mark.parametrize("times", [(0.25, 0.75, 1.25), (1.011, 1.229, 1.45), (0.01, 0.03, 0.05)])
def test_one_damage_takes_over_from_another_without_a_gap_and_without_overlap(times):
    first, second = (Damage("FR", kind) for kind in ("limp", "locked"))
    begin, between, end = times
    condition = Condition(9.0, (first,), begin, between, spells=(Spell((second,), between, end),))
    found = [damages for damages, _ in condition.changes(0.02).values() if damages]
    assert found == [(first,), (second,)]
    assert len(condition.changes(0.02)) == 4  # none, the one, the other, none


def test_damages_stand_in_the_order_in_which_they_begin():
    """The last one holds, and the last is the latest, wherever it stands in the file."""
    icy, rough, wet = (Damage("ground", "friction", value) for value in (0.1, 0.9, 0.4))
    condition = Condition(9.0, (icy,), 2.0, spells=(Spell((rough,), 1.0), Spell((wet,), 2.0)))
    found = {tick: damages for tick, (damages, _) in condition.changes(0.1).items()}
    assert found == {0: (), 10: (rough,), 20: (rough, icy, wet)}


def test_a_robot_without_legs_cannot_lose_one_of_any(a1):
    bare = replace(a1, legs={})
    text = "duration: 9\nbackground: [{part: {any: leg}, kind: limp}]"
    with pytest.raises(ScenarioError, match=r"mine\.yaml:2: robot 'a1' has no leg"):
        parse_scenario(text, bare, where="mine.yaml")


def test_a_condition_without_damage_changes_nothing():
    assert Condition(3.0).changes(0.02) == {0: ((), False)}
    assert Condition(3.0, onset=1.0, healed=2.0).changes(0.02) == {0: ((), False)}
