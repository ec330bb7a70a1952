"""The recorder never makes anybody wait, and its files explain their own messages."""

import threading
import time

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("mcap_ros2")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.serialization import serialize_message
from std_msgs.msg import Float64MultiArray

from hebb_controller.errors import RecordingError
from hebb_controller.mcap_file import ARRAY_DEFINITION, ARRAY_TYPE, McapFile
from hebb_controller.node import recorder_node
from hebb_controller.node.message_definitions import definition
from hebb_controller.node.recorder_node import TOPICS, DiskThread


class SlowFile:
    """A file on a disk that takes nothing until it is let go."""

    path = "slow.mcap"

    def __init__(self):
        self.go = threading.Event()
        self.messages = []
        self.closed = False

    def write(self, *message):
        self.go.wait()
        self.messages.append(message)

    def flush(self):
        pass

    def close(self):
        self.closed = True


def wait(what):
    end = time.monotonic() + 10.0
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_messages_beyond_the_bound_are_lost_and_counted_and_the_others_written(monkeypatch):
    monkeypatch.setattr(recorder_node, "MAX_WAITING", 1000)
    file = SlowFile()
    disk = DiskThread(file)
    disk.offer(1, 0, b"")
    wait(lambda: not disk._queue)  # the thread is inside write now
    for n in range(1, 21):
        disk.offer(1, n, bytes(100))
    assert disk.lost == 10  # ten times 100 bytes fit
    file.go.set()
    disk.close(timeout=10.0)
    assert [n for _, n, _ in file.messages] == list(range(11))
    assert disk.written == 11
    assert file.closed
    assert disk.trouble == ""


def test_a_disk_that_does_not_come_back_does_not_keep_the_process(monkeypatch):
    file = SlowFile()
    disk = DiskThread(file)
    disk.offer(1, 0, b"")
    start = time.monotonic()
    disk.close(timeout=0.1)
    assert time.monotonic() - start < 5.0
    assert "did not take the rest in time" in disk.trouble
    file.go.set()


@pytest.mark.parametrize("error", [RecordingError("x.mcap: full"), ZeroDivisionError("oops")])
def test_whatever_goes_wrong_while_writing_is_kept_as_the_trouble(error):
    class Failing(SlowFile):
        def write(self, *message):
            raise error

    disk = DiskThread(Failing())
    disk.offer(1, 0, b"data")
    wait(lambda: disk.trouble)
    assert str(error) in disk.trouble
    disk.offer(1, 1, b"data")
    assert disk.lost == 1


def test_every_topic_has_a_definition_that_the_library_understands(tmp_path):
    path = tmp_path / "all.mcap"
    file = McapFile(path)
    for topic, (kind, _) in TOPICS.items():
        name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        number = file.add_topic(f"/{topic.lstrip('/')}", name, definition(name))
        file.write(number, 1, serialize_message(kind()))
    file.close()
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        read = [channel.topic for _, channel, _, _ in reader.iter_decoded_messages()]
    assert sorted(read) == sorted(f"/{topic.lstrip('/')}" for topic in TOPICS)


def test_messages_inside_messages_inside_messages_are_defined(tmp_path):
    path = tmp_path / "x.mcap"
    name = "diagnostic_msgs/msg/DiagnosticArray"
    text = definition(name)
    inside = [line for line in text.splitlines() if line.startswith("MSG: ")]
    assert inside == [
        "MSG: std_msgs/Header",
        "MSG: diagnostic_msgs/DiagnosticStatus",
        "MSG: builtin_interfaces/Time",
        "MSG: diagnostic_msgs/KeyValue",
    ]
    file = McapFile(path)
    number = file.add_topic("/d", name, text)
    status = DiagnosticStatus(level=b"\x01", values=[KeyValue(key="a", value="ä")])
    file.write(number, 1, serialize_message(DiagnosticArray(status=[status])))
    file.close()
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        (found,) = [message for *_, message in reader.iter_decoded_messages()]
    assert found.status[0].values[0].value == "ä"


def test_the_definition_without_ros_is_that_of_ros():
    def fields(text):
        lines = (" ".join(line.partition("#")[0].split()) for line in text.splitlines())
        return [line for line in lines if line]

    assert fields(ARRAY_DEFINITION) == fields(definition(ARRAY_TYPE))
    assert Float64MultiArray().data.typecode == "d"


def test_a_message_that_is_not_installed_is_an_error():
    for kind in ("nothing_msgs/msg/Nothing", "std_msgs/msg/Nothing"):
        with pytest.raises(RecordingError, match="is not installed"):
            definition(kind)
