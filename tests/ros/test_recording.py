"""What the recorder writes: the run can be replayed from it, whatever was done to the rule on the way."""

import contextlib
import json
import re
import resource
import signal
import time
from pathlib import Path

import pytest
from rig import CONTROL, PATIENCE, SIM, Recorder, values

pytest.importorskip("mcap_ros2")

from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from sensor_msgs.msg import JointState

from hebb_controller.errors import RecordingError
from hebb_controller.mcap_file import read_recording
from hebb_controller.node.processes import RECORDER, NodeProcess
from hebb_controller.recording import Checkpoint, Tick
from hebb_controller.replay import replay
from hebb_controller.rule_file import load_rule
from hebb_controller.runtime.numpy_runtime import NumpyRuntime

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).resolve().parents[2]
TOPICS = ("observation", "action", "weights")


@pytest.fixture
def recorder(tmp_path):
    """Return the function that starts a recorder, and waits until the controller can be heard."""
    running = []

    def start(made, path=tmp_path / "run.mcap", **parameters):
        heard_by = made.operator.node.count_subscribers
        end = time.monotonic() + PATIENCE
        while any(heard_by(f"{CONTROL}/{name}") for name in TOPICS):  # the recorder before
            assert time.monotonic() < end
            time.sleep(0.05)
        since = len(made.diagnostics.items)
        process = NodeProcess(
            RECORDER, {"record": str(path), **parameters}, log=tmp_path / "recorder.log"
        )
        running.append(process)
        made.diagnostics.wait(lambda m: m.status[0].name == "recorder_node: Recording", since=since)
        while not all(heard_by(f"{CONTROL}/{name}") for name in TOPICS):
            assert time.monotonic() < end, process.output()
            time.sleep(0.05)
        return process, path

    yield start
    for process in running:
        process.end()


def recorded(path, ticks):
    """Return a recording that is still being made, once it has so many ticks."""
    end = time.monotonic() + 30.0
    while True:
        with contextlib.suppress(RecordingError):  # not all of the topics are there yet
            recording = read_recording(path)
            if sum(isinstance(event, Tick) for event in recording) >= ticks:
                return recording
        assert time.monotonic() < end
        time.sleep(0.1)


def replayed(recording, *rule_files):
    rules = {rule.sha256: rule for rule in map(load_rule, rule_files)}
    return replay(recording, lambda c: (rules[c.rule_sha256], NumpyRuntime(rules[c.rule_sha256])))


def test_a_run_with_a_damage_swaps_and_a_freeze_is_replayed_bit_for_bit(
    rig, rules, recorder, tmp_path
):
    one, two = (rules / f"{name}.rule.safetensors" for name in ("one", "two"))
    snapshot = tmp_path / "x.snapshot.safetensors"
    made = rig(
        lock_step=True,
        sim={"real_time_factor": 4.0, "lock_step": True},
        controller={"snapshot_file": str(snapshot), "weights_every": 10, "swap_blend": 0.2},
    )
    assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE), made.logs()
    process, path = recorder(made)
    assert made.operator.change_state(CONTROL, "activate"), made.logs()
    made.set(SIM, "paused", False)
    made.running()

    # Of what waits for a busy process only the latest: fifty of them are as many ticks from now.
    live = Recorder()
    made.operator.watch(JointState, "joint_command", live, 1)

    def later():
        live.wait_for(50)  # a simulated second

    def call(name):
        assert made.operator.trigger(f"{CONTROL}/{name}") == ""

    before = recorded(path, 1)[-1].moment.tick
    call("reset_weights")
    later()
    made.set(SIM, "damage", "FR:weak:0.7")
    later()
    assert made.operator.switch(f"{CONTROL}/freeze", on=True) == ""
    later()
    assert made.operator.switch(f"{CONTROL}/freeze", on=False) == ""
    made.set(CONTROL, "plasticity_gain", 0.5)
    call("snapshot")
    later()
    made.set(CONTROL, "rule_file", str(two))
    later()
    call("rollback")
    later()
    call("reset_weights")
    later()
    call("restore")
    later()
    call("estop")
    made.wait_for_phase("DAMPED")
    since = len(made.statuses.items)
    call("reset_estop")
    made.wait_for_phase("RUN", since=since)
    later()
    since = len(made.statuses.items)
    assert made.operator.change_state(CONTROL, "deactivate"), made.logs()
    made.wait_for_phase("INACTIVE", since=since)
    assert process.end() == 0, process.output()

    recording = read_recording(path)
    begun = [
        isinstance(e, Checkpoint) and e.moment.anew and e.moment.tick > before for e in recording
    ]
    recording = recording[begun.index(True) :]
    outcome = replayed(recording, one, two)
    assert outcome.same, outcome
    assert outcome.lost == 0
    states = [e for e in recording if isinstance(e, Checkpoint)]
    # reset, swap, rollback, reset, restore, and the run after the stop
    assert [s.moment.anew for s in states].count(True) == 6
    assert outcome.starts == 6
    assert outcome.checkpoints == len(states) - 6
    assert outcome.checkpoints > outcome.ticks // 20
    ran = [load_rule(path).sha256 for path in (one, two, one)]
    assert [s.rule_sha256 for s in states if s.moment.anew][:3] == ran
    ticks = [e for e in recording if isinstance(e, Tick)]
    assert {t.moment.gain for t in ticks} == {0.0, 1.0, 0.5}
    first = ticks[0].moment.tick
    assert [t.moment.tick - first for t in ticks] == list(range(len(ticks)))
    told = [values(s) for _, m in messages_of(path, "/diagnostics") for s in m.status]
    assert any(v.get("damage") == "FR:weak:0.7" for v in told)
    swaps = [values(m)["swap"] for _, m in messages_of(path, f"{CONTROL}/status")]
    assert swaps[-1] == "2"


def test_a_recorder_that_stands_still_for_three_hundred_ticks_loses_none_of_them(rig, recorder):
    made = rig(lock_step=True)
    assert made.operator.change_state(CONTROL, "configure", timeout=PATIENCE), made.logs()
    process, path = recorder(made)
    assert made.operator.change_state(CONTROL, "activate"), made.logs()
    made.set(SIM, "paused", False)
    made.running()
    recorded(path, 1)
    process.send_signal(signal.SIGSTOP)
    made.commands.wait_for(300)
    process.send_signal(signal.SIGCONT)
    ticks = [e.moment.tick for e in recorded(path, 350) if isinstance(e, Tick)]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))


def messages_of(path, topic):
    """Return what the MCAP library itself reads of a topic."""
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        return [(m.log_time, d) for _, _, m, d in reader.iter_decoded_messages([topic])]


@pytest.fixture(scope="module")
def walked(rig):
    """Return a rig that walks at the pace of real time, in lock-step: other load does not damp it."""
    return rig(lock_step=True, sim={"real_time_factor": 1.0, "lock_step": True}).up().running()


def test_a_recorder_that_comes_late_begins_with_the_weights_of_that_moment(
    walked, rule_file, recorder
):
    process, path = recorder(walked)
    recorded(path, 50)
    assert process.end() == 0, process.output()
    recording = read_recording(path)
    outcome = replayed(recording, rule_file)
    first = next(event for event in recording if isinstance(event, Checkpoint))
    assert not first.moment.anew
    assert first.moment.network_tick > 0
    assert outcome.same
    assert outcome.ticks > 0


def test_every_topic_of_the_layout_and_every_message_is_read_by_the_library(walked, recorder):
    process, path = recorder(walked)
    walked.diagnostics.wait(
        lambda m: "receiver" in m.status[0].name, since=len(walked.diagnostics.items)
    )
    recorded(path, 50)
    process.end()
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        heard = {channel.topic for _, channel, _, _ in reader.iter_decoded_messages()}
        known = {channel.topic for channel in reader.get_summary().channels.values()}
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text(encoding="utf-8"))
    panels = layout["configById"]
    paths = [path["value"] for panel in panels.values() for path in panel.get("paths", [])]
    shown = {re.match(r"[\w/]+", path).group() for path in paths}
    shown |= {panel["topicToRender"] for panel in panels.values() if "topicToRender" in panel}
    assert shown <= known
    assert shown - {"/rosout"} <= heard  # nobody may have logged anything
    assert set(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"]))) == set(panels)
    assert {"/joint_command", "/imu/data", *(f"{CONTROL}/{n}" for n in TOPICS)} <= heard


def recorder_status(made, since, what):
    return made.diagnostics.wait(
        lambda m: m.status[0].name == "recorder_node: Recording" and what(m.status[0]), since=since
    )[1].status[0]


def test_on_a_full_disk_the_recording_ends_with_a_warning_and_the_robot_walks_on(
    walked, rule_file, recorder
):
    process, path = recorder(walked)
    since = len(walked.diagnostics.items)
    recorded(path, 20)
    size = path.stat().st_size + 100_000  # bytes, a second or two
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
    told = recorder_status(walked, since, lambda s: s.level == b"\x01")
    assert re.search(r"recording has ended: .*run\.mcap: recording stopped: .*", told.message)
    walked.commands.wait_for(100)
    assert walked.status["phase"] == "RUN"
    _, simulator = walked.wait_for_sim(lambda s: True, since=len(walked.diagnostics.items))
    assert values(simulator)["deterministic"] == "True"  # every reading was answered
    assert process.exit_code is None
    assert path.stat().st_size <= size
    outcome = replayed(read_recording(path), rule_file)
    assert outcome.same
    assert outcome.ticks > 0
    assert process.end() == 1


def test_what_cannot_be_recorded_is_refused_and_a_file_that_is_there_is_kept(walked, tmp_path):
    path = tmp_path / "old.mcap"
    path.write_bytes(b"precious")
    for record, keep_free, words in (
        (path, 0, "already exists"),
        (tmp_path / "x.bag", 0, r"must end in \.mcap"),
        (tmp_path / "gone" / "x.mcap", 0, "no directory"),
        (tmp_path / "x.mcap", 2**40, "MiB are free"),  # MiB: no disk has as much
        ("", 0, "record is not set"),
    ):
        parameters = {"record": str(record), "keep_free": keep_free}
        process = NodeProcess(RECORDER, parameters, log=tmp_path / "refused.log")
        assert process.wait(PATIENCE) == 2
        assert re.fullmatch(rf"recorder_node: .*{words}.*\n", process.output())
    assert path.read_bytes() == b"precious"
    assert not list(tmp_path.glob("x.*"))


def test_a_recorder_that_was_killed_leaves_a_file_that_can_be_replayed(walked, rule_file, recorder):
    process, path = recorder(walked)
    flushed = sum(isinstance(event, Tick) for event in recorded(path, 50))
    process.send_signal(signal.SIGKILL)
    process.wait(5.0)
    recording = read_recording(path)
    assert sum(isinstance(event, Tick) for event in recording) >= flushed
    assert replayed(recording, rule_file).same
    with path.open("rb") as file, pytest.raises(McapError):
        make_reader(file).get_summary()  # there is no index, as the documentation says
