"""A recording is readable up to what was flushed last, whatever happens to its disk or its process."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mcap_ros2")

from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from mcap_ros2.writer import Writer

from hebb_controller import mcap_file
from hebb_controller.errors import RecordingError
from hebb_controller.mcap_file import (
    ARRAY_DEFINITION,
    ARRAY_TYPE,
    NODE,
    TOPICS,
    McapFile,
    messages,
    read_recording,
    write_recording,
)
from hebb_controller.recording import Checkpoint, Labels, Moment, Tick

LABELS = Labels(
    "gravity[3]", "knee,hip", "weights,initial,trace; rule=ab12; runtime=numpy; numpy=2.0"
)


def moment(tick, *, anew=False):
    return Moment(1_700_000_000_123_456_789 + tick, tick, tick, 1 / 3, anew)


def small():
    """Return a recording of two ticks with weights around them."""
    states = [
        Checkpoint(m, "ab12", "numpy", "2.0", np.array([0.1, -0.0, np.nan, 3e38], np.float32))
        for m in (moment(0, anew=True), moment(2))
    ]
    ticks = [
        Tick(moment(n, anew=n == 0), np.full(3, n + 0.1, np.float32), np.full(2, -n, np.float32))
        for n in range(2)
    ]
    return [states[0], *ticks, states[1]]


def bits(event):
    arrays = [v.tobytes() for v in vars(event).values() if isinstance(v, np.ndarray)]
    return type(event), event.moment, arrays


def test_what_is_read_is_what_was_written_to_the_last_bit(tmp_path):
    path = tmp_path / "x.mcap"
    write_recording(small(), LABELS, path)
    assert [bits(e) for e in read_recording(path)] == [bits(e) for e in small()]
    assert read_recording(path)[0].rule_sha256 == "ab12"


def test_the_library_s_own_reader_decodes_it(tmp_path):
    path = tmp_path / "x.mcap"
    write_recording(small(), LABELS, path)
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        found = [(c.topic, m) for _, c, _, m in reader.iter_decoded_messages()]
    assert [topic.removeprefix(f"{NODE}/") for topic, _ in found] == [
        *("weights", "observation", "action"),
        *("observation", "action", "weights"),
    ]
    layout = found[2][1].layout
    assert (layout.dim[0].label, layout.dim[0].size, layout.data_offset) == ("knee,hip", 2, 6)
    # sec, nanosec, tick, network_tick, gain, anew, and then the array
    assert list(found[2][1].data) == [1_700_000_000, 123_456_789, 0, 0, 1 / 3, 1, 0, 0]


def test_a_node_that_was_started_anew_counts_from_0_again(tmp_path):
    path, twice = tmp_path / "x.mcap", [*small(), *small()]
    write_recording(twice, LABELS, path)
    assert [bits(e) for e in read_recording(path)] == [bits(e) for e in twice]


def test_a_node_that_was_killed_at_its_first_weights_and_started_anew_is_another_run(tmp_path):
    path, twice = tmp_path / "x.mcap", [*small()[:-1], *small()]
    write_recording(twice, LABELS, path)
    assert [bits(e) for e in read_recording(path)] == [bits(e) for e in twice]


@pytest.mark.parametrize("spoil", [b"\0" * 100, b"\xff" * 100])
def test_what_a_damaged_part_leaves_is_read_with_a_warning(tmp_path, caplog, spoil):
    path = tmp_path / "x.mcap"
    file = McapFile(path)
    number = file.add_topic("/n", "std_msgs/msg/Int64", "int64 data\n")
    for n in range(400):
        file.write(number, n, b"\x00\x01\x00\x00" + (n * 7919**3).to_bytes(8, "little"))
        if n % 100 == 99:
            file.flush()
            size = file.size
    file.close()
    data = path.read_bytes()
    read = []
    for start in range(0, size, 25):
        path.write_bytes(data[:start] + spoil + data[start + len(spoil) :])
        caplog.clear()
        try:
            found = [m.data for _, m in messages(path, "/n", "std_msgs/msg/Int64")]
        except RecordingError:  # nothing shows that it was such a file
            assert start < 100
            continue
        assert set(found) <= {n * 7919**3 for n in range(400)}
        assert found == sorted(found)
        assert caplog.text.count(f"damaged; {len(found)} messages were read: ") == 1
        read.append(len(found))
    assert {0, 100, 200, 300} <= set(read)


def test_a_byte_that_changed_is_not_read_as_data(tmp_path):
    path = tmp_path / "x.mcap"
    file = McapFile(path)
    number = file.add_topic("/n", "std_msgs/msg/Int64", "int64 data\n")
    values = np.random.default_rng(0).integers(2**62, size=200).tolist()  # nothing to compress
    for n, value in enumerate(values):
        file.write(number, n, b"\x00\x01\x00\x00" + value.to_bytes(8, "little"))
    file.close()
    data = path.read_bytes()
    place = data.index(values[100].to_bytes(8, "little"))
    path.write_bytes(data[:place] + b"\x5a" + data[place + 1 :])
    assert not list(messages(path, "/n", "std_msgs/msg/Int64"))


def test_messages_that_come_in_another_order_are_put_right(tmp_path):
    path = tmp_path / "x.mcap"
    start, *ticks, end = small()
    write_recording([*ticks, start, end], LABELS, path)
    assert [bits(e) for e in read_recording(path)] == [bits(e) for e in small()]


def spoilt(path, **changes):
    """Write one message of each topic, the weights with other fields of the layout or other data."""
    layout = {"dim": [{"label": LABELS.weights, "size": 1, "stride": 1}], "data_offset": 6}
    good = {"layout": layout, "data": [1, 2, 0, 0, 1, 1, 0.5]}
    with path.open("wb") as file, Writer(file) as writer:
        schema = writer.register_msgdef(ARRAY_TYPE, ARRAY_DEFINITION)
        for name in TOPICS:
            message = {**good, **changes} if name == "weights" else good
            writer.write_message(f"{NODE}/{name}", schema, message, 1)


BAD = {
    "no front": ({"data": [1.0]}, "does not have this release's layout"),
    "not finite": ({"data": [1, 2, float("nan"), 0, 1, 1, 0.5]}, "impossible numbers"),
    "negative": ({"data": [1, 2, -1, 0, 1, 1, 0.5]}, "impossible numbers"),
    "no dimension": (
        {"layout": {"dim": [], "data_offset": 6}},
        "does not have this release's layout",
    ),
    "no label": (
        {"layout": {"dim": [{"label": "", "size": 1, "stride": 1}], "data_offset": 6}},
        "not labelled with their rule",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_message_of_another_layout_is_one_error(tmp_path, case):
    changes, words = BAD[case]
    path = tmp_path / "x.mcap"
    spoilt(path, **changes)
    with pytest.raises(RecordingError, match=words):
        read_recording(path)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("float64[] numbers", {"numbers": [1.0]}),
        (ARRAY_DEFINITION.replace("float64[]", "string[]"), None),
    ],
    ids=["other fields", "text"],
)
def test_a_message_that_only_claims_to_be_an_array_is_one_error(tmp_path, definition, message):
    path = tmp_path / "x.mcap"
    layout = {"dim": [{"label": LABELS.weights, "size": 1, "stride": 1}], "data_offset": 6}
    message = message or {"layout": layout, "data": [*"123456", "x"]}
    with path.open("wb") as file, Writer(file) as writer:
        schema = writer.register_msgdef(ARRAY_TYPE, definition)
        for name in TOPICS:
            writer.write_message(f"{NODE}/{name}", schema, message, 1)
    with pytest.raises(RecordingError, match="a message is no array of numbers"):
        read_recording(path)


def test_other_files_and_other_topics_are_errors(tmp_path):
    path = tmp_path / "x.mcap"
    for content, words in ((b"", "not an MCAP file"), (b"hello, world", "not an MCAP file")):
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=words):
            read_recording(path)
    path.unlink()
    write_recording([small()[0]], LABELS, path)
    with pytest.raises(RecordingError, match="needs the topics observation, action, weights"):
        read_recording(path)
    with pytest.raises(RecordingError, match="already exists"):
        write_recording(small(), LABELS, path)
    with pytest.raises(RecordingError, match="cannot be read"):
        read_recording(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_off_anywhere_is_read_as_far_as_it_goes(tmp_path, caplog, share):
    path = tmp_path / "x.mcap"
    file = McapFile(path)
    number = file.add_topic("/n", "std_msgs/msg/Int64", "int64 data\n")
    sizes = []
    for n in range(20):
        file.write(number, n, b"\x00\x01\x00\x00" + n.to_bytes(8, "little"))
        file.flush()
        sizes.append(file.size)
    file.close()
    data = path.read_bytes()
    assert [m.data for _, m in messages(path, "/n", "std_msgs/msg/Int64")] == list(range(20))
    assert not caplog.messages
    cut = int(len(data) * share)
    path.write_bytes(data[:cut])
    found = [m.data for _, m in messages(path, "/n", "std_msgs/msg/Int64")]
    assert found == list(range(len(found)))
    assert f"{path}: was cut off or is damaged; {len(found)} messages were read: " in caplog.text
    assert len(found) >= sum(size <= cut for size in sizes)


def test_a_full_disk_ends_the_file_where_it_was_flushed_last(tmp_path, monkeypatch):
    path = tmp_path / "x.mcap"
    file = McapFile(path)
    number = file.add_topic("/n", "std_msgs/msg/Int64", "int64 data\n")
    file.write(number, 1, b"\x00\x01\x00\x00" + (7).to_bytes(8, "little"))
    file.flush()
    whole = file.size

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdatasync", full)
    file.write(number, 2, b"\x00\x01\x00\x00" + (8).to_bytes(8, "little"))
    with pytest.raises(RecordingError, match=r"recording stopped: No space left"):
        file.flush()
    assert path.stat().st_size == whole
    assert [m.data for _, m in messages(path, "/n", "std_msgs/msg/Int64")] == [7]


def test_space_that_has_to_stay_free_ends_the_file_with_its_index(tmp_path, monkeypatch):
    path = tmp_path / "x.mcap"
    file = McapFile(path, keep_free=2**20)
    number = file.add_topic("/n", "std_msgs/msg/Int64", "int64 data\n")
    file.write(number, 1, b"\x00\x01\x00\x00" + (7).to_bytes(8, "little"))
    usage = mcap_file.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(mcap_file.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(RecordingError, match="closed: 0 MiB are free on its disk, 1 MiB must"):
        file.flush()
    with path.open("rb") as stream:
        assert make_reader(stream).get_summary().statistics.message_count == 1


WRITER = """
import sys, time
from pathlib import Path
from hebb_controller.mcap_file import McapFile
file = McapFile(Path(sys.argv[1]))
number = file.add_topic("/n", "std_msgs/msg/Int64", "int64 data\\n")
n = 0
while True:
    file.write(number, n, b"\\x00\\x01\\x00\\x00" + n.to_bytes(8, "little"))
    n += 1
    if n % 50 == 0:
        file.flush()
        print(n, flush=True)
"""


def test_a_process_that_was_killed_leaves_all_that_it_flushed(tmp_path):
    path = tmp_path / "x.mcap"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    said = [int(process.stdout.readline()) for _ in range(10)]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    flushed = int(rest[-1]) if rest else said[-1]
    found = [m.data for _, m in messages(path, "/n", "std_msgs/msg/Int64")]
    assert found == list(range(len(found)))
    assert len(found) >= flushed
