"""The recorder: a separate node that writes what replay and diagnosis need to an MCAP file.

It is a process of its own, so that neither its work nor a slow or full disk delays a tick::

    topics → subscriptions (this process) → bounded queue → thread → file

A slow disk loses messages, a full one ends the recording; /diagnostics says so.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Log, ParameterDescriptor, ParameterEvent
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool, Float64MultiArray

from ..errors import HebbError, MissingExtraError, ParameterError
from ..stop_signals import stop_event
from .graph import type_name
from .message_definitions import definition
from .scheduling import steady_clock

if TYPE_CHECKING:
    from ..mcap_file import McapFile

NODE = "recorder_node"
MAX_WAITING = 64 * 1024 * 1024  # bytes that may wait for the disk
FLUSH_PERIOD = 1.0  # s that a kill or a power cut may cost
LAST_WORDS = 0.5  # s still recorded after a signal: what the other nodes say when they end
DEPTH = 1000  # messages of a topic that may wait for this process

SENSOR = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)  # matches every driver
RELIABLE = QoSProfile(depth=DEPTH)
LATCHED = QoSProfile(depth=DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)

TOPICS: dict[str, tuple[type[Any], QoSProfile]] = {
    "joint_states": (JointState, SENSOR),
    "imu/data": (Imu, SENSOR),
    "joint_command": (JointState, RELIABLE),
    "cmd_vel": (TwistStamped, SENSOR),
    "estop": (Bool, SENSOR),
    "odom": (Odometry, SENSOR),
    "controller_node/observation": (Float64MultiArray, RELIABLE),
    "controller_node/action": (Float64MultiArray, RELIABLE),
    "controller_node/weights": (Float64MultiArray, RELIABLE),
    "controller_node/plasticity": (Float64MultiArray, RELIABLE),
    "controller_node/dry_run": (JointState, RELIABLE),
    "controller_node/status": (DiagnosticStatus, LATCHED),
    "/diagnostics": (DiagnosticArray, RELIABLE),
    "/parameter_events": (ParameterEvent, RELIABLE),
    "/clock": (Clock, SENSOR),
    "/rosout": (Log, LATCHED),
}
"""What is recorded; a controller node of another name is reached by remapping."""

PARAMETERS: dict[str, tuple[str | int, str]] = {
    "record": (
        "",
        "Path of the .mcap file, which must not exist, or of a directory for a file named by the time.",
    ),
    "keep_free": (100, "Disk space to leave free, MiB; the recording ends before using it."),
}


class DiskThread:
    """Writes messages to a file; callers never wait.

    Args:
        file: file to write and close.
    """

    def __init__(self, file: McapFile) -> None:
        self.trouble = ""
        """Why the recording ended before it was closed."""
        self.written = self.lost = 0
        self.file = file
        self._queue: deque[tuple[int, int, bytes]] = deque()
        self._bytes = 0
        self._more = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    def offer(self, number: int, log_time: int, data: bytes) -> None:
        """Queue a message for writing, or lose it if too many bytes are queued.

        Args:
            number: of its topic.
            log_time: when it arrived, ns.
            data: CDR.
        """
        with self._more:
            if self.trouble or self._bytes + len(data) > MAX_WAITING:
                self.lost += 1
                return
            self._queue.append((number, log_time, data))
            self._bytes += len(data)
            self._more.notify()

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most ``timeout`` s, and close the file."""
        with self._more:
            self._ending = True
            self._more.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self.trouble = f"{self.file.path}: the disk did not take the rest in time."

    def _run(self) -> None:
        try:
            self._write()
            self.file.close()
        except HebbError as error:
            self._give_up(str(error))
        except Exception as error:  # whatever it is, diagnostics must say that nothing is recorded
            self._give_up(f"{self.file.path}: {type(error).__name__}: {error}")

    def _give_up(self, trouble: str) -> None:
        with self._more:
            self.trouble = trouble
            self.lost += len(self._queue)
            self._queue.clear()

    def _write(self) -> None:
        due = time.monotonic() + FLUSH_PERIOD
        ending = False
        while not ending:
            with self._more:
                self._more.wait_for(
                    lambda: self._queue or self._ending, timeout=max(0.0, due - time.monotonic())
                )
                batch, self._queue = self._queue, deque()
                self._bytes = 0
                ending = self._ending
            for message in batch:
                self.file.write(*message)
            self.written += len(batch)
            if time.monotonic() >= due:
                self.file.flush()
                due = time.monotonic() + FLUSH_PERIOD


class RecorderNode(Node):
    """The node; its parameters are in ``PARAMETERS``.

    Raises:
        HebbError: a parameter has an invalid value, or the file cannot be created.
    """

    def __init__(self) -> None:
        try:
            from ..mcap_file import SUFFIX, McapFile
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "mcap", "record") from error
        super().__init__(NODE)
        for name, (default, text) in PARAMETERS.items():
            descriptor = ParameterDescriptor(description=text, read_only=True)
            self.declare_parameter(name, default, descriptor)
        record: str = self.get_parameter("record").value
        keep_free: int = self.get_parameter("keep_free").value
        if not record:
            raise ParameterError("record is not set. Set it to the path of an .mcap file.")
        if keep_free < 0:
            raise ParameterError(f"keep_free is {keep_free}; it must be at least 0.")
        path = Path(record).expanduser().absolute()
        if path.is_dir():
            path /= f"hebb_{time.strftime('%Y-%m-%d_%H-%M-%S')}{SUFFIX}"
        self.disk = DiskThread(McapFile(path, keep_free=keep_free << 20))
        self._said = ""
        self._topics = []
        for name, (kind, qos) in TOPICS.items():
            full = self.resolve_topic_name(name)
            message = type_name(kind)
            number = self.disk.file.add_topic(full, message, definition(message))
            take = functools.partial(self._take, number)
            self._topics.append(self.create_subscription(kind, name, take, qos, raw=True))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self.tell, clock=steady_clock())
        self.get_logger().info(f"recording to {path}")
        self.tell()

    def tell(self) -> None:
        """Publish /diagnostics: whether everything is recorded."""
        disk = self.disk
        level, message = DiagnosticStatus.OK, f"recording to {disk.file.path}"
        if disk.lost:
            level = DiagnosticStatus.WARN
            message = f"{disk.lost} messages were not recorded: the disk is too slow"
        if disk.trouble:
            level, message = DiagnosticStatus.WARN, f"recording has ended: {disk.trouble}"
            if message != self._said:
                self._said = message
                self.get_logger().error(message)
            while self._topics:
                self.destroy_subscription(self._topics.pop())
        values = {
            "file": disk.file.path,
            "bytes": disk.file.size,
            "messages": disk.written,
            "lost": disk.lost,
        }
        status = DiagnosticStatus(
            name=f"{self.get_name()}: Recording",
            level=level,
            message=message,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _take(self, number: int, data: bytes) -> None:
        self.disk.offer(number, time.time_ns(), data)


def main() -> None:
    """Record until SIGINT or SIGTERM."""
    sys.exit(run())


def run() -> int:
    """Run the node; return the exit code of its process."""
    stopping = stop_event()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = RecorderNode()
    except (HebbError, InvalidParameterTypeException) as error:
        print(f"{NODE}: {error}", file=sys.stderr)  # noqa: T201 - there is no node to log with
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    _spin(executor, stopping.is_set)
    end = time.monotonic() + LAST_WORDS
    _spin(executor, lambda: time.monotonic() > end)
    node.disk.close(timeout=2.0)
    node.tell()
    executor.shutdown(timeout_sec=0.2)
    rclpy.try_shutdown()
    return 1 if node.disk.trouble else 0


def _spin(executor: SingleThreadedExecutor, done: Callable[[], bool]) -> None:
    try:
        while not done():
            executor.spin_once(timeout_sec=0.1)
    except ExternalShutdownException:
        return


if __name__ == "__main__":
    main()
