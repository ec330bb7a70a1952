"""Interventions in running networks, on the robot of two joints and without a simulator."""

from dataclasses import replace

import numpy as np
import pytest
from toys import CHANNELS, make_record, toy_reading, toy_robot, toy_rule, update_spec

from hebb_controller.cli.suite import control_trial
from hebb_controller.controller import controller_for
from hebb_controller.errors import HebbError
from hebb_controller.network import InitialSpec
from hebb_controller.observation import observation_size
from hebb_controller.robot import load_robot
from hebb_controller.rule_file import save_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.train.adaptation import (
    ARMS,
    ControlTrial,
    adaptation,
    run_controls,
    speeds,
)
from hebb_controller.train.controls import (
    Freeze,
    Intervened,
    Keep,
    Lesion,
    Put,
    Scrambled,
    learned,
    scrambled,
    second_layer,
)
from hebb_controller.train.source import Source
from hebb_controller.train.suite import Trial
from hebb_controller.train.tables import tables
from hebb_sim.condition import Condition, Spell
from hebb_sim.damage import Damage

SIZE = observation_size(CHANNELS, 2)
BOUNDED = update_spec(normalisation="clip", learning_rate=0.1)


def observations(ticks, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (ticks, SIZE)).astype(np.float32)


def run(runtime, ticks=12, seed=3):
    """Return the weights before each tick and after the last, and the actions."""
    runtime.reset(np.random.default_rng(seed))
    weights, actions = [runtime.state["weights"]], []
    for observation in observations(ticks):
        actions.append(runtime.step(observation))
        weights.append(runtime.state["weights"])
    return np.array(weights), np.array(actions)


def network(**fields):
    return NumpyRuntime(toy_rule(update=BOUNDED, **fields))


def test_without_interventions_nothing_is_different():
    plain, wrapped = run(network()), run(Intervened(network()))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(plain, wrapped, strict=True))


def test_frozen_weights_stay_as_they_were_at_that_tick():
    plain, _ = run(network())
    frozen, _ = run(Intervened(network(), [Freeze(4)]))
    assert frozen[:5].tobytes() == plain[:5].tobytes()
    assert (frozen[5:] == plain[4]).all()
    assert (plain[5] != plain[4]).any()


def test_a_reset_takes_every_intervention_back():
    runtime = Intervened(network(), [Freeze(4), Keep(2, "early")])
    first = run(runtime)
    assert runtime.plasticity_gain == 0.0
    runtime.reset(np.random.default_rng(0))
    assert runtime.plasticity_gain == 1.0
    assert not runtime.kept
    assert run(runtime)[0].tobytes() == first[0].tobytes()


def test_the_gain_that_a_runtime_came_with_returns():
    inner = network()
    inner.plasticity_gain = 0.25
    runtime = Intervened(inner, [Freeze(1)])
    run(runtime)
    runtime.reset(np.random.default_rng(0))
    assert runtime.plasticity_gain == inner.plasticity_gain == 0.25


def test_weights_that_are_put_back_are_those_that_were_kept():
    plain, _ = run(network())
    back, _ = run(Intervened(network(), [Keep(3, "then"), Put(8, "then"), Freeze(8)]))
    assert back[:9].tobytes() == plain[:9].tobytes()
    assert (
        back[9:] == plain[3]
    ).all()  # frozen at the same tick, so that they are still to be seen


def test_the_weights_of_another_run_can_be_put_in():
    foreign = np.full_like(network().state["weights"], 0.125)
    runtime = Intervened(
        network(), [Put(5, "other"), Freeze(5)], kept={"other": {"weights": foreign}}
    )
    weights, _ = run(runtime)
    assert (weights[6:] == 0.125).all()
    assert runtime.state["tick"] == 12  # all else went on


def test_a_lesioned_layer_passes_nothing_on_and_then_regrows():
    runtime = network()
    part = second_layer(runtime)
    assert part == (SIZE * 5, SIZE * 5 + 5 * 2)
    _, actions = run(Intervened(runtime, [Lesion(3, part, ticks=4)]))
    _, plain = run(network())
    assert (actions[3:7] == 0).all()  # tanh of nothing
    assert (actions[7:] != 0).all()
    assert actions[:3].tobytes() == plain[:3].tobytes()


def test_a_static_layer_does_not_regrow():
    initial = InitialSpec("evolved", 0.1)
    runtime = network(kind="static", initial=initial)
    _, actions = run(Intervened(runtime, [Lesion(3, second_layer(runtime), ticks=1)]))
    assert (actions[:3] != 0).all()
    assert (actions[3:] == 0).all()


def test_what_was_learned_is_the_weights_of_a_plastic_and_the_memory_of_a_recurrent_net():
    assert set(learned(network().state)) == {"weights"}
    recurrent = {"weights": np.zeros(2), "memory": np.zeros(2), "tick": np.array(7)}
    assert set(learned(recurrent)) == {"weights", "memory"}


# --- an episode under every control ---

TICKS = 96  # 12 s


def drift(controller, condition, seed):
    """Return an episode: the joints read ``condition`` from 5 s on, the first action is the speed."""
    controller.reset(np.random.default_rng(seed))
    x, rows = 0.0, []
    for tick in range(TICKS):
        joints = (0.75, 0.5) if tick < 40 else (condition, 0.5)
        reading = toy_reading(controller.robot, tick * 0.125, joint_position=joints)
        controller.step(reading, reading.received)
        x += float(controller.last_action[0]) * 0.125
        rows.append((x, 0.0, 0.0))
        if condition == FALLS and tick == 60:
            return make_record(rows, duration=12.0, fallen=True)
    return make_record(rows)


FALLS = -0.5
TRIAL = ControlTrial(damaged=0.0, whole=0.75, other=1.0, onset=5.0, seed=4)


def controlled(rule, trial=TRIAL):
    controller = controller_for(rule, toy_robot())
    runtime = controller.runtime
    records = run_controls(controller, trial, drift)
    assert controller.runtime is runtime
    assert runtime.plasticity_gain == 1.0
    return {name: np.diff(record.position[:, 0], prepend=0.0) for name, record in records.items()}


def test_every_control_is_the_same_episode_up_to_its_moment():
    steps = controlled(toy_rule(update=BOUNDED))
    assert set(steps) == set(ARMS)
    onset, later = 40, 64
    for name, begins in {
        "damaged_frozen": onset,
        "freeze": later,
        "restore": later,
        "transplant": later,
    }.items():
        differs = np.flatnonzero(steps[name] != steps["damaged"])
        assert begins <= differs[0] <= begins + 1, name
    for name in ("whole_frozen", "lesion"):
        assert onset <= np.flatnonzero(steps[name] != steps["whole"])[0] <= onset + 1, name
    assert (steps["lesion"][onset : onset + 50] == 0).all()
    # what is transplanted is neither what was there before nor what was learned
    assert (steps["transplant"][later:] != steps["restore"][later:]).any()


def test_there_is_no_transplant_without_a_donor_that_still_stands():
    for other in (None, FALLS):
        trial = ControlTrial(damaged=0.0, whole=0.75, other=other, onset=5.0, seed=4)
        assert "transplant" not in controlled(toy_rule(update=BOUNDED), trial)


def test_a_static_network_does_not_care_about_freezing_or_putting_weights_back():
    steps = controlled(toy_rule("static", initial=InitialSpec("evolved", 0.1)))
    for name in ("damaged_frozen", "freeze", "restore", "transplant"):
        assert steps[name].tobytes() == steps["damaged"].tobytes()
    assert steps["whole_frozen"].tobytes() == steps["whole"].tobytes()


def walked(speed, seconds=12.0, *, fallen=False):
    rows = [(speed * 0.125 * (i + 1), 0, 0) for i in range(round(seconds / 0.125))]
    return make_record(rows, duration=12.0, fallen=fallen)


def test_interventions_into_a_robot_that_has_fallen_do_not_count():
    records = dict.fromkeys(ARMS, walked(0.5))
    assert (speeds(records, 5.0) == 0.5).all()
    records["damaged"] = walked(0.5, 7.5, fallen=True)  # before 5 + 3 s
    table = dict(zip(ARMS, speeds(records, 5.0).tolist(), strict=True))
    assert table["damaged"] == [0.0, 0.0, 0.0]
    assert table["whole"] == table["lesion"] == [0.5, 0.5, 0.5]
    for arm in ("freeze", "restore", "transplant"):
        assert np.isnan(table[arm]).all()
    del records["transplant"]
    records["damaged"] = walked(0.5, 8.75, fallen=True)
    table = dict(zip(ARMS, speeds(records, 5.0).tolist(), strict=True))
    assert table["damaged"] == [0.0, 0.25, 0.0]  # half of the 1.5 s after 8 s
    assert table["restore"] == [0.5, 0.5, 0.5]
    assert np.isnan(table["transplant"]).all()


def test_the_interaction_is_what_freezing_costs_beyond_what_it_costs_the_whole():
    pytest.importorskip("scipy")
    table = np.full((6, len(ARMS), 3), np.nan)
    # damaged 0.5, frozen 0.125: costs 0.375; whole 0.75, frozen 0.625: costs 0.125
    for arm, speed in zip(ARMS, (0.5, 0.125, 0.75, 0.625, 0.5, 0.25), strict=False):
        table[:, ARMS.index(arm)] = speed
    table[:3, ARMS.index("restore")] = np.nan
    said = adaptation("s", "c", [table, table], np.random.default_rng(0))
    assert said.interaction.value == said.interaction.low == said.interaction.high == 0.25
    assert said.freezing.value == said.freezing.low == said.freezing.high == 0.375
    assert said.speed_after["whole_frozen"] == 0.625
    assert said.episodes == 12
    assert said.interventions["freeze"].late.value == 1.0
    assert said.interventions["restore"].episodes == 6
    assert said.interventions["restore"].soon.value == 0.5
    assert said.interventions["transplant"].soon is None
    assert said.interventions["lesion"].episodes == 0


def test_a_few_episodes_do_not_say_how_wide_an_interval_is():
    pytest.importorskip("scipy")
    table = np.random.default_rng(0).uniform(0.25, 0.75, (5, len(ARMS), 3))
    for episodes, known in ((4, False), (5, True)):
        said = adaptation("s", "c", [table[:episodes]] * 2, np.random.default_rng(0))
        for estimate in (said.freezing, said.interaction):
            assert (estimate.low is not None) == (estimate.high is not None) == known
        line = tables([], [], [said]).splitlines()[8]
        assert line.startswith("| s ")
        assert ("[" in line) == known


def test_what_else_happens_on_the_way_happens_without_the_damage_too():
    robot = load_robot("a1")
    push = Spell((Damage("trunk", "push", 50.0),), 2.0, 2.2)
    second = Spell((Damage("FL", "limp"),), 9.0)
    condition = Condition(12.0, (Damage("FR", "limp"),), 5.0, spells=(push, second))
    trial = control_trial(Trial(condition, 5.0, 1), robot)
    assert trial.damaged == condition
    assert trial.whole == replace(condition, damages=(), spells=(push,))
    legs = list(robot.legs)
    beside = legs[(legs.index("FR") + 1) % 4]
    assert trial.other == replace(condition, damages=(Damage(beside, "limp"),))


def test_what_else_happens_at_the_same_time_happens_without_the_damage_too():
    ground, push = Damage("ground", "friction", 0.2), Damage("trunk", "push", 50.0)
    limp, dizzy = Damage("FR", "limp"), Damage("imu", "bias", 0.1)
    mixed = Spell((Damage("FL", "limp"), push), 9.0, 9.2)
    condition = Condition(12.0, (ground, limp, dizzy), 5.0, spells=(mixed,))
    trial = control_trial(Trial(condition, 5.0, 1), load_robot("a1"))
    assert trial.whole == replace(
        condition, damages=(ground,), spells=(replace(mixed, damages=(push,)),)
    )
    alone = control_trial(Trial(Condition(12.0, (ground,), 5.0), 5.0, 1), load_robot("a1"))
    assert alone.whole == Condition(12.0, (), 5.0)


def test_a_joint_that_the_next_leg_does_not_have_is_not_damaged_there():
    uneven = replace(load_robot("a1"), legs={"FR": (0, 1), "FL": (3, 4, 5)})
    for part, beside in (
        ("FL_lower_joint", None),
        ("FL_hip_joint", None),
        ("FR_hip_joint", None),
        ("FR", "FL"),
    ):
        condition = Condition(12.0, (Damage(part, "locked"),), 5.0)
        other = control_trial(Trial(condition, 5.0, 1), uneven).other
        assert other == (beside and replace(condition, damages=(Damage(beside, "locked"),)))


# --- evolution's work, undone ---


@pytest.mark.parametrize("kind", ["ABCD_eta", "ABCD_eta_neuron"])
def test_shuffled_coefficients_are_the_same_numbers_elsewhere(kind):
    rule = toy_rule(kind)
    other = scrambled(rule, "shuffled", np.random.default_rng(0))
    parts = (rule.neurons, other.neurons) if rule.neurons else (rule.layers, other.layers)
    for old, new in zip(*parts, strict=True):
        assert set(old) == {"A", "B", "C", "D", "eta"}
        for name in old:
            assert sorted(old[name].ravel()) == sorted(new[name].ravel())
    assert any((old["A"] != new["A"]).any() for old, new in zip(*parts, strict=True))


def test_random_coefficients_keep_their_size():
    rule = toy_rule(hidden=(60,), scale=2.0)
    other = scrambled(rule, "random", np.random.default_rng(0))
    for name in ("A", "eta"):
        old, new = rule.layers[0][name], other.layers[0][name]
        assert (old != new).all()
        assert new.std() == pytest.approx(old.std(), rel=0.15)  # of 360 numbers: 4 σ


def test_an_evolved_start_is_kept():
    rule = toy_rule(initial=InitialSpec("evolved", 0.1))
    other = scrambled(rule, "random", np.random.default_rng(0))
    assert other.layers[0]["initial"].tobytes() == rule.layers[0]["initial"].tobytes()
    assert (other.layers[0]["A"] != rule.layers[0]["A"]).all()


def test_a_static_rule_has_no_coefficients_to_scramble():
    rule = toy_rule("static", initial=InitialSpec("evolved", 0.1))
    with pytest.raises(HebbError, match="static"):
        scrambled(rule, "shuffled", np.random.default_rng(0))


def test_a_scrambled_controller_is_made_from_a_file(tmp_path, robot_file):
    path = tmp_path / "toy.rule.safetensors"
    save_rule(toy_rule(), path)
    one, other, again = (
        Scrambled(Source(str(path), robot_file), "random", seed)() for seed in (0, 1, 0)
    )
    weights = [run(controller.runtime)[0].tobytes() for controller in (one, other, again)]
    assert weights[0] == weights[2] != weights[1]


def test_a_scrambled_rule_changes_its_weights_by_as_much_as_was_asked_for(robot_file, tmp_path):
    path = tmp_path / "toy.rule.safetensors"
    save_rule(toy_rule(), path)
    made = Scrambled(Source(str(path), robot_file, 0.25), "random", 0)()
    assert made.runtime.plasticity_gain == 0.25
