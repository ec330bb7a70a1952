"""Recordings as MCAP files: written so that they survive, read as far as they go.

Needs the extra ``record``. What this module writes and what ``ros2 bag record -s mcap`` writes is the
same container with the same messages.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from mcap.well_known import MessageEncoding, SchemaEncoding
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory
from mcap_ros2.writer import Writer as Ros2Writer

from .errors import RecordingError
from .recording import FRONT, Checkpoint, Labels, Moment, Recording, Tick

MAX_FRONT = 2.0**53  # beyond it, a number in front of a message is no whole number any more

SUFFIX = ".mcap"
TOPICS = Labels("observation", "action", "weights")
NODE = "/controller_node"  # whose topics a recording without ROS is written as

SEPARATOR = "=" * 80
ARRAY_TYPE = "std_msgs/msg/Float64MultiArray"
# The fields of three messages of std_msgs, for machines without ROS.
ARRAY_DEFINITION = f"""MultiArrayLayout layout
float64[] data
{SEPARATOR}
MSG: std_msgs/MultiArrayLayout
MultiArrayDimension[] dim
uint32 data_offset
{SEPARATOR}
MSG: std_msgs/MultiArrayDimension
string label
uint32 size
uint32 stride
"""


def check_name(path: Path) -> None:
    """Check that a recording can be written to a path, before there is one to write.

    Raises:
        RecordingError: its name does not end in .mcap, its directory is missing, or it is there already.
    """
    if path.suffix != SUFFIX:
        raise RecordingError(f"{path}: the name of a recording ends in {SUFFIX}.")
    if not path.parent.is_dir():
        raise RecordingError(f"{path}: there is no directory {path.parent}.")
    if path.exists():
        raise RecordingError(f"{path}: is there already. Name another file, or move it away.")


class McapFile:
    """A file that is being written; whatever happens, it can be read up to the last :meth:`flush`.

    Args:
        path: of the file, which must not be there.
        keep_free: bytes that stay free on the disk.

    Raises:
        RecordingError: it cannot be made.
    """

    def __init__(self, path: Path, *, keep_free: int = 0) -> None:
        check_name(path)
        self.path = path
        self._keep_free = keep_free
        if reason := self._too_full():
            raise RecordingError(f"{path}: not begun: {reason}.")
        try:
            self._stream = path.open("xb")
            self._writer = Writer(self._stream)
            self._writer.start(profile="ros2")
            self._whole = 0
            self.flush()
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written: {error.strerror}.") from error

    @property
    def size(self) -> int:
        """Bytes that can be read whatever happens."""
        return self._whole

    def add_topic(self, topic: str, kind: str, definition: str) -> int:
        """Return the number under which messages of a topic are written.

        Args:
            topic: its name.
            kind: of its messages, as ``std_msgs/msg/Empty``.
            definition: text of the message definition, followed by all that it needs.
        """
        schema = self._writer.register_schema(kind, SchemaEncoding.ROS2, definition.encode())
        return self._writer.register_channel(topic, MessageEncoding.CDR, schema)

    def write(self, number: int, log_time: int, data: bytes) -> None:
        """Write a serialized message.

        Args:
            number: of the topic.
            log_time: when it came, ns.
            data: CDR.

        Raises:
            RecordingError: it cannot be written; the file is closed then.
        """
        try:
            self._writer.add_message(number, log_time, data, publish_time=log_time)
        except OSError as error:
            raise self._cut(error) from error

    def flush(self) -> None:
        """Hand everything to the disk.

        Raises:
            RecordingError: it cannot be written, or ``keep_free`` is reached; the file is closed then.
        """
        if reason := self._too_full():
            self.close()
            raise RecordingError(f"{self.path}: closed: {reason}.")
        try:
            self._writer.flush()  # type: ignore[no-untyped-call]
            os.fdatasync(self._stream.fileno())
        except OSError as error:
            raise self._cut(error) from error
        self._whole = self._stream.tell()

    def close(self) -> None:
        """Write the index and close the file.

        Raises:
            RecordingError: there is no room for it; without it the file can still be read.
        """
        if self._stream.closed:
            return
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._stream.flush()
            self._stream.close()
        except OSError as error:
            raise self._cut(error) from error

    def _too_full(self) -> str:
        free = shutil.disk_usage(self.path.parent).free
        if free >= self._keep_free:
            return ""
        return f"{free >> 20} MiB are free on its disk, {self._keep_free >> 20} MiB have to stay so"

    def _cut(self, error: OSError) -> RecordingError:
        """Leave the file as it was when it was flushed last; return what to raise."""
        # The stream would write what it holds when it is closed, so it is closed unseen.
        number = os.dup(self._stream.fileno())
        with contextlib.suppress(OSError):  # that is why we are here
            self._stream.close()
        os.ftruncate(number, self._whole)
        os.close(number)
        return RecordingError(
            f"{self.path}: not written any further: {error.strerror}. What was recorded until then can "
            f"be read; its index is missing, `mcap recover` makes one."
        )


def write_recording(recording: Recording, labels: Labels, path: Path) -> None:
    """Write a recording, as the topics of a node would have been recorded.

    Raises:
        RecordingError: the path cannot be written.
    """
    check_name(path)
    try:
        with path.open("xb") as file, Ros2Writer(file) as writer:
            schema = writer.register_msgdef(ARRAY_TYPE, ARRAY_DEFINITION)
            for event in recording:
                if isinstance(event, Checkpoint):
                    arrays = {"weights": event.parts}
                else:
                    arrays = {"observation": event.observation, "action": event.action}
                front = event.moment.front()
                for name, array in arrays.items():
                    dimension = {"label": getattr(labels, name), "size": array.size}
                    layout = {
                        "dim": [{**dimension, "stride": array.size}],
                        "data_offset": len(FRONT),
                    }
                    message = {"layout": layout, "data": [*front, *array.tolist()]}
                    writer.write_message(f"{NODE}/{name}", schema, message, event.moment.stamp)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror}.") from error


class _Array(NamedTuple):
    """A message of one of the three topics."""

    epoch: int  # how often its node was started anew
    moment: Moment
    label: str
    values: np.ndarray[Any, np.dtype[np.float32]]


def read_recording(path: Path) -> Recording:
    """Return what an MCAP file holds of observations, actions and weights, in order.

    A file that was cut off is read as far as it goes.

    Raises:
        RecordingError: the file is missing or not MCAP, does not hold all three topics of one
            controller, or malformed messages on them.
    """
    where = str(path)
    kinds: dict[str, list[_Array]] = {}
    for topic, message in messages(path, rf".*/({'|'.join(TOPICS)})", ARRAY_TYPE):
        kinds.setdefault(topic, []).append(_array(message, f"{where}: {topic}", kinds.get(topic)))
    nodes = {topic.rpartition("/")[0] for topic in kinds}
    if len(nodes) != 1 or len(kinds) != len(TOPICS):
        raise RecordingError(
            f"{where}: needs the topics {', '.join(TOPICS)} of one controller node; it holds "
            f"{', '.join(sorted(kinds)) or 'none of them'}."
        )
    seen, done, states = (kinds[f"{min(nodes)}/{name}"] for name in TOPICS)
    events: list[tuple[int, int, int, Tick | Checkpoint]] = [
        (a.epoch, a.moment.tick, 0, _checkpoint(a, where)) for a in states
    ]
    actions = {(a.epoch, a.moment.tick): a.values for a in done}
    for a in seen:
        if (a.epoch, a.moment.tick) in actions:
            tick = Tick(a.moment, a.values, actions[a.epoch, a.moment.tick])
            events.append((a.epoch, a.moment.tick, 1, tick))
    return [event for *_, event in sorted(events, key=lambda row: row[:3])]


def messages(path: Path, topics: str, kind: str) -> Iterator[tuple[str, Any]]:
    """Yield name of the topic and decoded message, in the order of the file.

    Args:
        path: of the file.
        topics: regular expression that a name must match.
        kind: of the messages.

    Raises:
        RecordingError: the file is missing, or not MCAP.
    """
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    factory = DecoderFactory()
    begun = False
    try:
        with path.open("rb") as file:
            for record in StreamReader(file, record_size_limit=2**30).records:
                begun = True
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message):
                    channel = channels[record.channel_id]
                    schema = schemas.get(channel.schema_id)
                    if (
                        schema is None
                        or schema.name != kind
                        or not re.fullmatch(topics, channel.topic)
                    ):
                        continue
                    decode = factory.decoder_for(channel.message_encoding, schema)
                    if decode is not None:
                        yield channel.topic, decode(record.data)
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: no such file.") from error
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}.") from error
    except Exception as error:
        if not begun:
            raise RecordingError(f"{path}: is not an MCAP file.") from error
        # Cut off, or damaged from here on: what came before is whole.


def _array(message: Any, where: str, before: list[_Array] | None) -> _Array:  # noqa: ANN401
    layout, data = message.layout, message.data
    if len(layout.dim) != 1 or layout.data_offset != len(FRONT) or len(data) < len(FRONT):
        raise RecordingError(
            f"{where}: a message is not laid out as this release writes it: {len(FRONT)} numbers in "
            f"front of one dimension."
        )
    front = dict(zip(FRONT, data, strict=False))
    numbers = np.array([front[name] for name in FRONT])
    if not np.isfinite(numbers).all() or (numbers < 0).any() or (numbers > MAX_FRONT).any():
        raise RecordingError(f"{where}: a message has {numbers.tolist()} in front: not possible.")
    moment = Moment(
        stamp=int(front["sec"]) * 1_000_000_000 + int(front["nanosec"]),
        tick=int(front["tick"]),
        network_tick=int(front["network_tick"]),
        gain=float(front["gain"]),
        anew=bool(front["anew"]),
    )
    epoch = 0
    if before:
        last = before[-1].moment.tick
        epoch = before[-1].epoch + (moment.tick < last or moment.tick == last == 0)
    with np.errstate(over="ignore"):
        values = np.array(data[len(FRONT) :], dtype=np.float32)
    return _Array(epoch, moment, str(layout.dim[0].label), values)


def _checkpoint(array: _Array, where: str) -> Checkpoint:
    facts: Mapping[str, str] = dict(
        part.split("=", 1) for part in array.label.split("; ") if "=" in part
    )
    for name in ("rule", "runtime", "numpy"):
        if name not in facts:
            raise RecordingError(f"{where}: weights are not labelled with their {name}.")
    return Checkpoint(array.moment, facts["rule"], facts["runtime"], facts["numpy"], array.values)
