"""A recording is repeated bit for bit, and where it is not, the first tick that differs is named."""

import hashlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner
from rule_bytes import rule_bytes
from toys import toy_rule, update_spec

from hebb_controller import cli
from hebb_controller.cli.episodes import EpisodesTask, record_first
from hebb_controller.errors import RuleFileError
from hebb_controller.recording import (
    Recorder,
    Recording,
    load_recording,
    replay_recording,
    save_recording,
)
from hebb_controller.rule_file import load_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime
from hebb_controller.share import shipped

TICKS = 20


@pytest.fixture
def rule(tmp_path):
    """Return the path of a rule with a trace, decay, and an update every other tick."""
    path = tmp_path / "toy.rule.safetensors"
    update = update_spec(interval=2, trace_window=3.0, decay=0.125, normalisation="clip", bound=2.0)
    path.write_bytes(rule_bytes(toy_rule(update=update)))
    return path


def record(path, *, ticks=TICKS, warm_up=0, halfway=lambda recorder: None) -> Recording:
    """Return a recording of a rule on noise; ``halfway`` may do something to the recorder."""
    rule = load_rule(path)
    recorder = Recorder(NumpyRuntime(rule))
    rng = np.random.default_rng(3)
    recorder.reset(rng)
    observations = rng.standard_normal((warm_up + ticks, rule.header.layer_sizes[0]))
    for _ in range(warm_up):
        recorder.step(np.ones(rule.header.layer_sizes[0], np.float32))
    if warm_up:
        recorder.restore(recorder.state)
    for tick, observation in enumerate(observations[warm_up:].astype(np.float32)):
        if tick == ticks // 2:
            halfway(recorder)
        recorder.step(observation)
    return recorder.recording(rule)


def replayed(path, recording):
    return replay_recording(recording, NumpyRuntime(load_rule(path)))


def test_a_recording_is_repeated_bit_for_bit(rule):
    outcome = replayed(rule, record(rule))
    assert outcome.same
    assert (outcome.ticks, outcome.final_difference) == (TICKS, 0.0)


def test_a_recording_that_begins_in_the_middle_of_a_run_is_too(rule):
    recording = record(rule, warm_up=3)  # an odd tick, so that updates would come at other times
    assert recording.state["tick"] == 3
    assert replayed(rule, recording).same


def test_a_gain_that_changed_on_the_way_is_part_of_the_recording(rule):
    recording = record(rule, halfway=lambda recorder: setattr(recorder, "plasticity_gain", 0.0))
    assert list(recording.gain) == [1.0] * 10 + [0.0] * 10
    assert replayed(rule, recording).same


def test_recording_changes_nothing(rule):
    loaded = load_rule(rule)
    plain, recorder = NumpyRuntime(loaded), Recorder(NumpyRuntime(loaded))
    for runtime in (plain, recorder):
        runtime.plasticity_gain = 0.5
        runtime.reset(np.random.default_rng(1))
    observation = np.ones(loaded.header.layer_sizes[0], np.float32)
    for _ in range(5):
        assert np.array_equal(plain.step(observation), recorder.step(observation))
    for name, array in plain.state.items():
        assert np.array_equal(array, recorder.state[name])


def test_the_digest_is_that_of_the_weights_after_the_tick(rule):
    recording = record(rule)
    wanted = hashlib.sha256(recording.final.astype("<f4").tobytes()).digest()
    assert recording.digest[-1].tobytes() == wanted
    assert recording.digest.shape == (TICKS, 32)


def test_another_action_is_named_by_its_tick_and_size(rule):
    recording = record(rule)
    action = recording.action.copy()
    action[7, 1] += 0.25
    action[9] += 1.0
    first = replayed(rule, replace(recording, action=action)).first
    assert (first.tick, first.action, first.weights) == (7, True, False)
    assert first.action_difference == pytest.approx(0.25, abs=1e-6)  # a rounding of action + 0.25


def test_another_observation_is_noticed_where_it_was_seen(rule):
    recording = record(rule)
    observation = recording.observation.copy()
    observation[4] += 1.0
    outcome = replayed(rule, replace(recording, observation=observation))
    assert outcome.first.tick == 4
    assert outcome.first.action
    assert outcome.final_difference > 0


def test_other_coefficients_show_in_the_weights_first(rule, tmp_path):
    recording = record(rule)
    other = tmp_path / "other.rule.safetensors"
    loaded = load_rule(rule)
    other.write_bytes(rule_bytes(toy_rule(update=loaded.header.update, seed=1)))
    first = replayed(other, recording).first
    # the first update comes with the second tick; its action was computed before
    assert (first.tick, first.action, first.weights) == (1, False, True)
    assert first.action_difference == 0.0


def test_a_file_gives_back_what_was_recorded(rule, tmp_path):
    recording, path = record(rule), tmp_path / "x.recording.safetensors"
    save_recording(recording, path)
    loaded = load_recording(path)
    assert loaded.header == recording.header
    assert loaded.header.rule_sha256 == load_rule(rule).sha256
    assert loaded.state.keys() == recording.state.keys()
    for name in ("observation", "gain", "action", "digest", "final"):
        assert getattr(loaded, name).tobytes() == getattr(recording, name).tobytes()
    assert replayed(rule, loaded).same


def test_nothing_recorded_and_wrong_names_are_errors(rule, tmp_path):
    with pytest.raises(RuleFileError, match="nothing was recorded"):
        record(rule, ticks=0)
    with pytest.raises(RuleFileError, match=r"ends in \.recording\.safetensors"):
        save_recording(record(rule), tmp_path / "x.safetensors")


def spoilt(rule, **changes):
    """Return the bytes of a recording with other tensors (None to leave one out) or header fields."""
    recording = record(rule)
    header = {**vars(recording.header), **changes.pop("header", {})}
    tensors = {f"state.{name}": array for name, array in recording.state.items()}
    tensors |= {
        name: getattr(recording, name)
        for name in ("observation", "gain", "action", "digest", "final")
    }
    tensors |= {name.replace("__", "."): array for name, array in changes.items()}
    kept = {name: np.array(t, order="C") for name, t in tensors.items() if t is not None}
    return safetensors.numpy.save(kept, metadata={"hebb_recording": json.dumps(header)})


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


BAD_FILES = {
    "empty": (lambda rule: b"", "not a recording"),
    "a rule": (lambda rule: rule.read_bytes(), "without a 'hebb_recording' header"),
    "truncated": (lambda rule: spoilt(rule)[:-1], "truncated or damaged"),
    "an unknown field": (lambda r: spoilt(r, header={"more": 1}), "unknown field 'more'"),
    "another version": (lambda r: spoilt(r, header={"format_version": 2}), "format_version is 2"),
    "no actions": (lambda r: spoilt(r, action=None), "'action' is missing"),
    "an unknown tensor": (lambda r: spoilt(r, more=zeros(1)), "tensor 'more' is unknown"),
    "rows": (lambda r: spoilt(r, gain=zeros(3, dtype=float)), "a row per tick"),
    "no rows": (
        lambda r: spoilt(
            r,
            gain=zeros(0, dtype=float),
            observation=zeros(0, 6),
            action=zeros(0, 2),
            digest=zeros(0, 32, dtype=np.uint8),
        ),
        "at least one",
    ),
    "axes": (lambda r: spoilt(r, action=zeros(TICKS)), "'action' must be float32 with 2 axes"),
    "a type": (lambda r: spoilt(r, final=zeros(3, dtype=float)), "'final' must be float32"),
    "a short digest": (lambda r: spoilt(r, digest=zeros(TICKS, 31, dtype=np.uint8)), "32 bytes"),
    "a gain": (lambda r: spoilt(r, gain=np.full(TICKS, np.nan)), "'gain' must be finite"),
    "a tick": (lambda r: spoilt(r, state__tick=np.float32(np.nan)), "'tick' must be int64"),
    "no weights": (lambda r: spoilt(r, state__weights=None), "state 'weights' is missing"),
    "no state": (
        lambda r: spoilt(
            r, **{f"state__{n}": None for n in ("weights", "initial", "trace", "tick")}
        ),
        "another network",
    ),
    "a wider network": (lambda r: spoilt(r, observation=zeros(TICKS, 7)), "another network"),
    "other actions": (lambda r: spoilt(r, action=zeros(TICKS, 3)), "another network"),
    "fewer weights": (lambda r: spoilt(r, final=zeros(3)), "another network"),
    "other weights": (lambda r: spoilt(r, final=record(r).final + 1), "contradicts itself"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_recording_is_one_error(rule, tmp_path, case):
    make, words = BAD_FILES[case]
    path = tmp_path / "bad.recording.safetensors"
    path.write_bytes(make(rule))
    with pytest.raises(RuleFileError) as caught:
        replayed(rule, load_recording(path))
    assert words in str(caught.value)


# The commands


@pytest.fixture
def hebb(monkeypatch, capfd):
    """Return a function that runs ``hebb replay`` and returns its exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hebb", "replay", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output, errors = capfd.readouterr()
        return int(caught.value.code or 0), output, errors

    return run


@pytest.fixture
def recorded(rule, tmp_path):
    """Return the path of a recording of the rule."""
    path = tmp_path / "toy.recording.safetensors"
    save_recording(record(rule), path)
    return path


def test_the_same_is_exit_code_0(hebb, rule, recorded):
    code, output, errors = hebb(rule, recorded)
    assert (code, errors) == (0, "")
    assert output == "the same: 20 ticks, every action and every weight\n"
    report = json.loads(hebb(rule, recorded, "--json")[1])
    assert report["same"] is True
    assert report["first"] is None


def test_another_rule_file_is_refused_unless_asked_for_and_then_exit_code_1(
    hebb, rule, recorded, tmp_path
):
    other = tmp_path / "other.rule.safetensors"
    other.write_bytes(rule_bytes(toy_rule(update=load_rule(rule).header.update, seed=1)))
    code, output, errors = hebb(other, recorded)
    assert (code, output) == (2, "")
    assert "was made with another rule file" in errors
    assert errors.count("\n") == 1
    code, output, errors = hebb(other, recorded, "--any-rule")
    assert (code, errors) == (1, "")
    assert output.startswith("differs from tick 1 of 20 on (at 0.125 s):\n  the weights that it")
    code, output, _ = hebb(other, recorded, "--any-rule", "--json")
    report = json.loads(output)
    assert code == 1
    assert report["first"]["tick"] == 1
    assert report["final_difference"] > 0


def test_a_missing_recording_is_exit_code_2(hebb, rule, tmp_path):
    code, _, errors = hebb(rule, tmp_path / "gone.recording.safetensors")
    assert code == 2
    assert errors == f"error: {tmp_path / 'gone.recording.safetensors'}: no such file.\n"


def test_another_runtime_is_refused_by_its_name(hebb, rule, recorded):
    recording = load_recording(recorded)
    save_recording(replace(recording, header=replace(recording.header, runtime="abacus")), recorded)
    code, _, errors = hebb(rule, recorded)
    assert code == 2
    assert "was made by runtime 'abacus'. Replayed can be: numpy." in errors


def test_evaluate_refuses_a_bad_name_before_it_walks(rule, tmp_path):
    pytest.importorskip("pybullet")
    for name, words in (("x.npz", "ends in"), ("gone/x.recording.safetensors", "no directory")):
        done = CliRunner().invoke(
            cli.hebb, ["evaluate", str(rule), "--record", str(tmp_path / name)]
        )
        assert isinstance(done.exception, RuleFileError)
        assert words in str(done.exception)


def test_an_episode_of_an_evaluation_is_recorded_and_repeated():
    pytest.importorskip("pybullet")
    from hebb_sim.episode import Condition

    path = shipped("rules", "a1_walk.rule.safetensors")
    task = EpisodesTask(str(path), "a1", 0.5, (Condition(duration=0.5), Condition(1.0)), 3)
    recording = record_first(task)
    assert recording.observation.shape == (25, 46)
    assert set(recording.gain) == {0.5}
    assert replayed(path, recording).same
