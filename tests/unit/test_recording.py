"""A recording is repeated bit for bit, and where it is not, the first tick that differs is named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from rule_bytes import rule_bytes
from toys import toy_rule, update_spec

from hebb_controller import cli
from hebb_controller.cli.episodes import record_first
from hebb_controller.errors import RecordingError
from hebb_controller.recording import (
    Checkpoint,
    Recorder,
    Tap,
    Tick,
    Wanted,
    labels_of,
)
from hebb_controller.replay import replay, replay_to_rounding
from hebb_controller.rule_file import load_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.share import shipped
from hebb_controller.train.source import Source

TICKS = 20


@pytest.fixture
def rule(tmp_path):
    """Return the path of a rule with a trace, decay, and an update every other tick."""
    path = tmp_path / "toy.rule.safetensors"
    update = update_spec(interval=2, trace_window=3.0, decay=0.125, normalisation="clip", bound=2.0)
    path.write_bytes(rule_bytes(toy_rule(update=update)))
    return path


@pytest.fixture
def other(rule, tmp_path):
    """Return the path of a rule with other coefficients."""
    path = tmp_path / "other.rule.safetensors"
    path.write_bytes(rule_bytes(toy_rule(update=load_rule(rule).header.update, seed=1)))
    return path


def record(path, *, ticks=TICKS, every=5, halfway=lambda recorder: None):
    """Return a recording of a rule on noise; ``halfway`` may do something to the recorder."""
    rule = load_rule(path)
    recorder = Recorder(NumpyRuntime(rule), rule, every=every)
    rng = np.random.default_rng(3)
    recorder.reset(rng)
    for tick in range(ticks):
        if tick == ticks // 2:
            halfway(recorder)
        recorder.step(rng.standard_normal(rule.header.layer_sizes[0]).astype(np.float32))
    return recorder.recording()


def replayed(path, recording):
    rule = load_rule(path)
    return replay(recording, lambda _: (rule, NumpyRuntime(rule)))


def changed(recording, number, kind, **changes):
    """Return a recording in which the ``number``-th event of a kind has other fields."""
    wanted = [event for event in recording if isinstance(event, kind)][number]
    return [replace(e, **changes) if e is wanted else e for e in recording]


def event(recording, number, kind):
    return [event for event in recording if isinstance(event, kind)][number]


def test_a_recording_is_repeated_bit_for_bit(rule):
    outcome = replayed(rule, record(rule))
    assert outcome.same
    # weights before ticks 0, 5, 10, 15 and after the last; the first are where it starts
    assert (outcome.ticks, outcome.checkpoints, outcome.starts, outcome.lost) == (TICKS, 4, 1, 0)


def test_a_recording_that_begins_in_the_middle_of_a_run_is_too(rule):
    recording = record(rule, every=7)
    outcome = replayed(rule, recording[3:])  # begins with ticks whose weights are not known
    assert outcome.same
    # ticks 2 to 6 are lost, at 7 it starts: an odd tick, so that updates come at other times
    assert (outcome.ticks, outcome.lost, outcome.starts) == (13, 5, 1)


@pytest.mark.parametrize(
    "halfway",
    [
        lambda recorder: setattr(recorder, "plasticity_gain", 0.0),
        lambda recorder: setattr(recorder, "plasticity_gain", 0.3),
        lambda recorder: recorder.restore(
            {**recorder.state, "weights": -recorder.state["weights"], "tick": np.array(3)}
        ),
        lambda recorder: Tap.reset(recorder, np.random.default_rng(9)),
    ],
    ids=["freeze", "gain", "restore", "reset_weights"],
)
def test_what_was_done_to_the_network_on_the_way_is_part_of_the_recording(rule, halfway):
    recording = record(rule, every=3, halfway=halfway)
    plain = record(rule, every=3)
    ours, theirs = (event(r, -1, Tick).action for r in (recording, plain))
    assert not np.array_equal(ours, theirs)
    outcome = replayed(rule, recording)
    assert outcome.same
    assert (outcome.ticks, outcome.lost) == (TICKS, 0)
    assert replay_to_rounding(recording, lambda _: load_rule(rule)).same


def test_weights_that_were_set_are_not_taken_for_those_that_were_learned(rule):
    """A restore whose message of weights was lost leaves ticks that cannot be run."""
    recording = record(rule, halfway=lambda recorder: recorder.restore(recorder.state))
    missing = [e for e in recording if not (isinstance(e, Checkpoint) and e.moment.tick == 10)]
    outcome = replayed(rule, missing)
    assert (outcome.ticks, outcome.lost, outcome.starts) == (15, 5, 2)


def test_a_tick_that_was_lost_is_not_skipped_silently(rule):
    recording = record(rule)
    lost = event(recording, 7, Tick)
    outcome = replayed(rule, [e for e in recording if e is not lost])
    # 8 and 9 follow the gap, the weights before 10 are known again
    assert (outcome.ticks, outcome.lost, outcome.starts) == (17, 2, 2)
    assert outcome.same


def test_a_tap_changes_nothing(rule):
    loaded = load_rule(rule)
    runtimes = [NumpyRuntime(loaded)]
    runtimes += [Tap(NumpyRuntime(loaded), Wanted(ticks=on, state=on)) for on in (False, True)]
    for runtime in runtimes:
        runtime.plasticity_gain = 0.5
        runtime.reset(np.random.default_rng(1))
    observation = np.ones(loaded.header.layer_sizes[0], np.float32)
    for _ in range(5):
        actions = [runtime.step(observation) for runtime in runtimes]
        assert np.array_equal(actions[0], actions[1])
        assert np.array_equal(actions[0], actions[2])
    for name, array in runtimes[0].state.items():
        assert np.array_equal(array, runtimes[2].state[name])
    assert runtimes[1].take() is None
    assert runtimes[2].take().network_tick == 4
    assert runtimes[2].take() is None


def test_another_action_is_named_by_its_tick_and_size(rule):
    recording = record(rule)
    action = event(recording, 7, Tick).action.copy()
    action[1] += 0.25
    first = replayed(rule, changed(recording, 7, Tick, action=action)).first
    assert (first.tick, first.what) == (7, "action")
    assert first.stamp == pytest.approx(7 * 0.125)
    assert first.size == pytest.approx(0.25, abs=1e-6)  # a rounding of action + 0.25


def test_other_recorded_weights_are_noticed_where_they_stand(rule):
    recording = record(rule)
    parts = event(recording, 2, Checkpoint).parts.copy()
    parts[3] += 0.5
    first = replayed(rule, changed(recording, 2, Checkpoint, parts=parts)).first
    assert (first.tick, first.what) == (10, "weights")
    assert first.size == pytest.approx(0.5, abs=1e-6)


def test_another_observation_is_noticed_where_it_was_seen(rule):
    recording = record(rule)
    other = event(recording, 4, Tick).observation + 1.0
    first = replayed(rule, changed(recording, 4, Tick, observation=other)).first
    assert (first.tick, first.what) == (4, "action")


def test_other_coefficients_show_after_the_first_update(rule, other):
    # it comes with tick 1, whose action was computed before
    first = replayed(other, record(rule, every=1)).first
    assert (first.tick, first.what) == (2, "weights")


def test_to_rounding_every_tick_with_weights_around_it_is_judged(rule, other):
    recording = record(rule, every=1)
    outcome = replay_to_rounding(recording, lambda _: load_rule(rule))
    assert outcome.same
    assert (outcome.ticks, outcome.checkpoints) == (TICKS, TICKS)
    first = replay_to_rounding(recording, lambda _: load_rule(other)).first
    assert (first.tick, first.what) == (2, "weights")


def test_a_last_bit_is_a_rounding_and_a_thousandth_is_not(rule):
    recording = record(rule, every=1)
    for off, same in ((1e-3, False), (0.0, True)):
        action = event(recording, 6, Tick).action
        action = np.nextafter(action, np.float32(2.0)) + np.float32(off)
        spoilt = changed(recording, 6, Tick, action=action)
        assert replay_to_rounding(spoilt, lambda _: load_rule(rule)).same is same
        assert not replayed(rule, spoilt).same


def test_a_recording_of_another_network_is_one_error(rule):
    recording = record(rule)
    wider = changed(recording, 2, Tick, observation=np.zeros(7, np.float32))
    more = changed(recording, 2, Tick, action=np.zeros(3, np.float32))
    fewer = changed(recording, 0, Checkpoint, parts=np.zeros(3, np.float32))
    for spoilt in (wider, more, fewer):
        with pytest.raises(RecordingError, match="from another network"):
            replayed(rule, spoilt)


def test_labels_name_channels_joints_and_the_rule(rule):
    loaded = load_rule(rule)
    labels = labels_of(loaded, "numpy")
    sizes = [int(part.rpartition("[")[2][:-1]) for part in labels.observation.split(",")]
    assert sum(sizes) == loaded.header.layer_sizes[0]
    assert labels.action.split(",") == [joint.name for joint in loaded.header.contract.joints]
    assert labels.weights.startswith(f"weights,initial,trace; rule={loaded.sha256}; runtime=numpy;")


# The command


def written(recording, rule, path):
    from hebb_controller.mcap_file import write_recording

    path.unlink(missing_ok=True)
    write_recording(recording, labels_of(load_rule(rule), "numpy"), path)
    return path


@pytest.fixture
def recorded(rule, tmp_path):
    """Return the path of a recording of the rule."""
    pytest.importorskip("mcap_ros2")
    return written(record(rule), rule, tmp_path / "toy.mcap")


def test_the_same_is_exit_code_0(hebb, rule, other, recorded):
    code, output, errors = hebb("replay", rule, recorded)
    assert (code, errors) == (0, "")
    assert output == "identical: 20 ticks; all actions and 4 weight snapshots match\n"
    assert hebb("replay", other, rule, recorded)[:2] == (0, output)
    report = json.loads(hebb("replay", rule, recorded, "--json")[1])
    assert report["same"] is True
    assert report["first"] is None
    code, output, _ = hebb("replay", rule, recorded, "--rounding")
    assert (code, output) == (
        0,
        "identical up to rounding: 4 ticks; all actions match, no weights to compare\n",
    )


def test_another_rule_file_is_refused_unless_asked_for_and_then_exit_code_1(
    hebb, rule, other, recorded
):
    code, output, errors = hebb("replay", other, recorded)
    assert (code, output) == (2, "")
    assert "was made with another rule file" in errors
    assert errors.count("\n") == 1
    code, output, errors = hebb("replay", other, recorded, "--any-rule")
    assert (code, errors) == (1, "")
    assert output.startswith("differs from tick 2 on (at 0.25 s): its action differs, by ")
    assert hebb("replay", rule, other, recorded, "--any-rule")[0] == 2
    code, output, _ = hebb("replay", other, recorded, "--any-rule", "--json")
    assert code == 1
    assert json.loads(output)["first"]["tick"] == 2


def test_a_missing_recording_is_exit_code_2(hebb, rule, tmp_path):
    pytest.importorskip("mcap_ros2")
    code, _, errors = hebb("replay", rule, tmp_path / "gone.mcap")
    assert code == 2
    assert errors == f"error: {tmp_path / 'gone.mcap'}: no such file.\n"


def test_a_recording_without_a_tick_is_exit_code_2(hebb, rule, recorded):
    ticks = [e for e in record(rule) if isinstance(e, Tick)]
    states = [e for e in record(rule) if isinstance(e, Checkpoint)]
    code, _, errors = hebb("replay", rule, written([*ticks[:3], states[-1]], rule, recorded))
    assert code == 2
    assert "no tick can be replayed" in errors


def test_another_runtime_is_refused_by_its_name(hebb, rule, recorded):
    from hebb_controller.mcap_file import write_recording

    recorded.unlink()
    write_recording(record(rule), labels_of(load_rule(rule), "abacus"), recorded)
    code, _, errors = hebb("replay", rule, recorded)
    assert code == 2
    assert "was made by runtime 'abacus', which cannot be replayed. Known: numpy, onnx." in errors


def test_evaluate_refuses_a_bad_name_before_it_walks(rule, tmp_path):
    pytest.importorskip("pybullet")
    pytest.importorskip("mcap_ros2")
    for name, words in (("x.npz", "must end in"), ("gone/x.mcap", "no directory")):
        done = CliRunner().invoke(
            cli.hebb, ["evaluate", str(rule), "--record", str(tmp_path / name)]
        )
        assert isinstance(done.exception, RecordingError)
        assert words in str(done.exception)


def test_an_episode_of_an_evaluation_is_recorded_and_repeated():
    pytest.importorskip("pybullet")
    from hebb_sim.condition import Condition

    path = shipped("rules", "a1_walk.rule.safetensors")
    recording, _ = record_first(Source(str(path), "a1", 0.5), Condition(duration=0.5), 3)
    ticks = [e for e in recording if isinstance(e, Tick)]
    assert len(ticks) == 25
    assert ticks[0].observation.shape == (46,)
    assert {tick.moment.gain for tick in ticks} == {0.5}
    assert replayed(path, recording).same
