"""Recordings as MCAP files, written to survive a crash and read as far as they go.

Needs the ``record`` extra. This module and ``ros2 bag record -s mcap`` write the same container with
the same messages.
"""

from __future__ import annotations

import contextlib
import logging
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

LOG = logging.getLogger(__name__)
MAX_FRONT = 2.0**53  # beyond it, a float64 no longer holds every whole number

SUFFIX = ".mcap"
TOPICS = Labels("observation", "action", "weights")
NODE = "/controller_node"  # a recording made without ROS is written as its topics

SEPARATOR = "=" * 80
ARRAY_TYPE = "std_msgs/msg/Float64MultiArray"
# The definitions of three std_msgs messages, for machines without ROS.
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
    """Check that a recording can be written to a path, before there is anything to write.

    Raises:
        RecordingError: its name does not end in .mcap, its directory is missing, or it already exists.
    """
    if path.suffix != SUFFIX:
        raise RecordingError(f"{path}: the name of a recording must end in {SUFFIX}.")
    if not path.parent.is_dir():
        raise RecordingError(f"{path}: there is no directory {path.parent}.")
    if path.exists():
        raise RecordingError(f"{path}: already exists. Name another file, or move it away.")


class McapFile:
    """A file being written; whatever happens, it can be read up to the last :meth:`flush`.

    Args:
        path: the file, which must not exist.
        keep_free: bytes to leave free on the disk.

    Raises:
        RecordingError: it cannot be created.
    """

    def __init__(self, path: Path, *, keep_free: int = 0) -> None:
        check_name(path)
        self.path = path
        self._keep_free = keep_free
        if reason := self._too_full():
            raise RecordingError(f"{path}: not started: {reason}.")
        try:
            self._stream = path.open("xb")
            self._writer = Writer(self._stream, enable_data_crcs=True)
            self._writer.start(profile="ros2")
            self._whole = 0
            self.flush()
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written: {error.strerror}.") from error

    @property
    def size(self) -> int:
        """Bytes that can be read, whatever happens."""
        return self._whole

    def add_topic(self, topic: str, kind: str, definition: str) -> int:
        """Add a topic and return the number under which its messages are written.

        Args:
            topic: its name.
            kind: its message type, e.g. ``std_msgs/msg/Empty``.
            definition: text of the message definition, followed by those it depends on.
        """
        schema = self._writer.register_schema(kind, SchemaEncoding.ROS2, definition.encode())
        return self._writer.register_channel(topic, MessageEncoding.CDR, schema)

    def write(self, number: int, log_time: int, data: bytes) -> None:
        """Write a serialized message.

        Args:
            number: of the topic, from :meth:`add_topic`.
            log_time: time of arrival, ns.
            data: the message, in CDR.

        Raises:
            RecordingError: it cannot be written; the file is then closed.
        """
        try:
            self._writer.add_message(number, log_time, data, publish_time=log_time)
        except OSError as error:
            raise self._cut(error) from error

    def flush(self) -> None:
        """Write everything through to the disk.

        Raises:
            RecordingError: it cannot be written, or ``keep_free`` is reached; the file is then closed.
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
            RecordingError: there is no room for the index; the file can still be read without it.
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
        return f"{free >> 20} MiB are free on its disk, {self._keep_free >> 20} MiB must stay free"

    def _cut(self, error: OSError) -> RecordingError:
        """Leave the file as it was at the last flush and return the error to raise."""
        # Closing the stream writes what it still holds, so the file is cut back afterwards.
        number = os.dup(self._stream.fileno())
        with contextlib.suppress(OSError):  # the disk is still full
            self._stream.close()
        os.ftruncate(number, self._whole)
        os.close(number)
        return RecordingError(
            f"{self.path}: recording stopped: {error.strerror}. What was recorded until then can be "
            f"read, but has no index. Fix: mcap recover"
        )


def write_recording(recording: Recording, labels: Labels, path: Path) -> None:
    """Write a recording as if a node's topics had been recorded.

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
    """A message on one of the three topics."""

    epoch: int  # how often its node was restarted
    moment: Moment
    label: str
    values: np.ndarray[Any, np.dtype[np.float32]]


def read_recording(path: Path) -> Recording:
    """Return the observations, actions and weights in an MCAP file, in order.

    A file that was cut off or damaged is read as far as it is intact, with a warning in the log.

    Raises:
        RecordingError: the file is missing or not MCAP, does not hold all three topics of one
            controller, or has malformed messages on them.
    """
    where = str(path)
    kinds: dict[str, list[_Array]] = {}
    for topic, message in messages(path, rf".*/({'|'.join(TOPICS)})", ARRAY_TYPE):
        place = f"{where}: {topic}"
        try:
            array = _array(message, place, kinds.get(topic))
        except (AttributeError, TypeError, ValueError) as error:
            raise RecordingError(f"{place}: a message is no array of numbers: {error}.") from error
        kinds.setdefault(topic, []).append(array)
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
    """Yield the topic and the decoded message of each message, in file order, as far as it is intact.

    Args:
        path: the file.
        topics: regular expression that topic names must match.
        kind: message type.

    Raises:
        RecordingError: the file is missing, or not MCAP.
    """
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    factory = DecoderFactory()
    wanted = re.compile(topics).fullmatch
    begun, count = False, 0
    if path.exists() and not path.is_file():
        raise RecordingError(f"{path}: cannot be read: it is not a file.")
    try:
        with path.open("rb") as file:
            for record in StreamReader(file, validate_crcs=True, record_size_limit=2**30).records:
                begun = True
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message):
                    channel = channels[record.channel_id]
                    schema = schemas.get(channel.schema_id)
                    message = decode = None
                    if schema is not None and schema.name == kind and wanted(channel.topic):
                        decode = factory.decoder_for(channel.message_encoding, schema)
                        message = decode and decode(record.data)
                    count += 1
                    if decode is not None:
                        yield channel.topic, message
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: no such file.") from error
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}.") from error
    except Exception as error:
        if not begun:
            raise RecordingError(f"{path}: is not an MCAP file.") from error
        LOG.warning(
            "%s: was cut off or is damaged; %d messages were read: %s",
            *(path, count, str(error) or type(error).__name__),
        )


def _array(message: Any, where: str, before: list[_Array] | None) -> _Array:  # noqa: ANN401
    layout, data = message.layout, message.data
    if len(layout.dim) != 1 or layout.data_offset != len(FRONT) or len(data) < len(FRONT):
        raise RecordingError(
            f"{where}: a message does not have this release's layout: {len(FRONT)} numbers in "
            f"front of one dimension."
        )
    front = dict(zip(FRONT, data, strict=False))
    numbers = np.array([front[name] for name in FRONT])
    if not np.isfinite(numbers).all() or (numbers < 0).any() or (numbers > MAX_FRONT).any():
        raise RecordingError(
            f"{where}: a message has impossible numbers in front: {numbers.tolist()}."
        )
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
