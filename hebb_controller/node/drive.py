"""What a configured node has: sensors and commands on their topics, and the thread between them."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool, Empty, Float64MultiArray

from ..errors import HebbError, MessageError
from ..robot import RobotSpec
from ..runtime.base import State
from ..safety import damp_command
from ..signals import Command
from . import conversions, reports, rule_loading, snapshot_file
from .control_thread import ControlThread
from .loop import ControlLoop
from .parameters import Settings
from .quality import COMMANDS, command_qos, sensor_qos
from .rates import divide
from .scheduling import prepare_thread
from .sensor_thread import SensorThread, Topic
from .succession import SwapSettings
from .supervisor import SupervisorSettings
from .values import Loaded, LoopSettings, LoopStatus, Phase, Sample

PLASTICITY_PERIOD = 0.02  # s, of ~/plasticity, at least
FIRST_READING_TIMEOUT = 5.0  # s, how long activation waits where no reading came since configuring
ACKNOWLEDGE_TIMEOUT = 0.2  # s, how long the last damping command may take to arrive


class ActivationError(HebbError, RuntimeError):
    """A robot cannot be driven now."""


class Drive:
    """Drives one robot over ROS topics from the moment it is made until it is closed.

    Args:
        node: publishes and subscribes.
        settings: the node's parameters; they must go together.
        changed: is told, in the control thread, when the loop's status changed.

    Raises:
        HebbError: robot and rule cannot be loaded, or do not go together.
    """

    def __init__(
        self, node: Node, settings: Settings, changed: Callable[[LoopStatus], None]
    ) -> None:
        self.settings = settings
        self.robot: RobotSpec = rule_loading.robot_for(settings)
        loaded = rule_loading.first_rule(settings, self.robot)
        tick_period = loaded.rule.header.tick_period
        period = tick_period / divide(tick_period, settings.command_rate)
        self.command_rate = 0.0 if settings.by_reading else 1.0 / period
        self._node = node
        self._refused = ""
        self._scheduling = ""
        self._incompatible: set[str] = set()
        self._others: tuple[str, ...] = ()
        self._counted = (0, 0)
        self._missed = 0.0
        self._next_plasticity = 0.0
        self._assembler = conversions.ReadingAssembler(self.robot, paired=settings.by_reading)
        self._assembling = threading.Lock()
        self._heard_at: float | None = None
        self._loop = ControlLoop(
            self.robot,
            loaded,
            LoopSettings(
                sensor_timeout=settings.sensor_timeout,
                lock_step=settings.lock_step,
                by_stamps=settings.by_reading,
                seed=settings.seed,
                command_period=period,
                heartbeat_timeout=settings.heartbeat_timeout,
                frozen_timeout=settings.frozen_timeout,
                rate_tolerance=settings.rate_tolerance,
            ),
            swap=SwapSettings(settings.swap_blend, settings.swap_probation),
            supervisor=SupervisorSettings(
                settings.envelope_margin, settings.twin_speed, settings.twin_fall_rate
            ),
        )
        self._plasticity = node.create_publisher(Float64MultiArray, "~/plasticity", 10)
        self._command = node.create_publisher(
            JointState,
            "~/dry_run" if settings.dry_run else COMMANDS,
            command_qos(lock_step=settings.lock_step),
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=lambda _: self._incompatible.add(COMMANDS)
            ),
        )
        self._thread = ControlThread(
            self._loop,
            period=period,
            by_reading=settings.by_reading,
            answer_once=settings.lock_step,
            send=self._send,
            changed=changed,
            failed=self._log,
            prepared=self._prepare,
        )
        self._thread.begin()
        # The switches: whoever publishes is heard, reliable or not.
        switch = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        sensor = sensor_qos(lock_step=settings.lock_step)
        self._sensors = SensorThread(
            node,
            {
                "joint_states": Topic(JointState, self._on_joint_states, sensor),
                "imu/data": Topic(Imu, self._on_imu, sensor),
                "estop": Topic(Bool, self._on_estop, switch),
                "heartbeat": Topic(Empty, self._on_heartbeat, switch),
            },
            self._incompatible.add,
        )

    @property
    def status(self) -> LoopStatus:
        """What the loop is doing."""
        return self._loop.status

    def review(self) -> None:
        """Look around, once a second: who else commands the robot, and how many ticks were missed."""
        self._others = self._other_publishers()
        statistics = self._thread.statistics
        begun, missed = statistics.ticks, statistics.overruns
        begun_since, missed_since = begun - self._counted[0], missed - self._counted[1]
        self._missed = missed_since / max(begun_since + missed_since, 1)
        self._counted = begun, missed

    def facts(self, lifecycle: str) -> reports.Facts:
        """Return what there is to say in the diagnostics besides the status."""
        loop, heard = self._loop, self._heard_at
        return reports.Facts(
            lifecycle,
            self.robot.name,
            timing=self._thread.statistics.summary(),
            missed=self._missed,
            scheduling=self._scheduling,
            others=self._others,
            dry_run=self.settings.dry_run,
            ticks=loop.ticks,
            last_limits=loop.last_limits.name or "NONE",
            reading_age=None if heard is None else time.monotonic() - heard,
            sensor_timeout=loop.guard.watchdog,
            refused=self._refused,
            constant=loop.guard.constant_joints,
            incompatible=sorted(self._incompatible),
            gain=loop.gain,
            tick_rate=loop.tick_rate,
            measured=loop.supervisor.measured,
        )

    def start(self) -> None:
        """Begin to command: move to the default pose, then run.

        Sensors that have not been heard yet get some time to be found; from then on they count.

        Raises:
            ActivationError: somebody else commands the robot.
        """
        self._thread.wait_for_sample(FIRST_READING_TIMEOUT)
        if others := self._other_publishers():
            raise ActivationError(
                f"{COMMANDS} is also published by {', '.join(others)}: two would pull at one robot. "
                f"End the other one, or set dry_run."
            )
        self._thread.ask(lambda loop: loop.start(time.monotonic()))

    def leave(self) -> None:
        """Damp, then command nothing."""
        self._thread.leave()

    def estop(self, reason: str) -> str:
        """Damp and stay so; return why there was nothing to stop, or an empty string."""
        damped = self._thread.ask(lambda loop: self._damp(loop, reason))
        return "" if damped else "nothing to stop: not active"

    def reset_estop(self) -> str:
        """Leave DAMPED; return why not, or an empty string."""
        return self._thread.ask(lambda loop: loop.reset_estop(time.monotonic()))

    def refusal_to_carry(self, loaded: Loaded) -> str:
        """Return why a rule cannot go on from the weights in force, or an empty string."""
        return self._loop.refusal_to_carry(loaded)

    def stage(self, loaded: Loaded, *, carry: bool) -> str:
        """Go on with another rule from the next tick; return why not, or an empty string."""
        return self._thread.ask(lambda loop: loop.stage(loaded, carry=carry))

    def asked(self) -> str:
        """Return how the file was named that drives, or is about to."""
        return self._thread.ask(lambda loop: loop.asked)

    def roll_back(self) -> str:
        """Go back to the rule before; return why not, or an empty string."""
        return self._thread.ask(lambda loop: loop.roll_back())

    def set_plasticity_gain(self, gain: float) -> None:
        """Set the factor on every weight change, from the next tick on."""
        self._thread.ask(lambda loop: loop.set_plasticity_gain(gain))

    def freeze(self, *, frozen: bool) -> str:
        """Freeze the weights or let them change again; return an empty string."""
        self._thread.ask(lambda loop: loop.freeze(frozen=frozen))
        return ""

    def reset_weights(self) -> str:
        """Start anew from initial weights; return an empty string."""
        self._thread.ask(lambda loop: loop.reset_weights())
        return ""

    def snapshot(self, path: Path) -> str:
        """Write what the network has learned; return why not, or an empty string.

        Raises:
            RuleFileError: it cannot be written.
        """

        def read(loop: ControlLoop) -> tuple[State, Loaded] | None:
            ran = bool(loop.supervisor.measured)
            return (loop.controller.runtime.state, loop.loaded) if ran else None

        found = self._thread.ask(read)
        if found is None:
            return "there is nothing to keep: the rule in force has not run yet."
        state, loaded = found
        snapshot_file.save_snapshot(state, loaded.rule, loaded.path, path)
        return ""

    def restore(self, path: Path) -> str:
        """Go on from what a snapshot holds; return why not, or an empty string.

        Raises:
            RuleFileError: the file cannot be used, or is of another rule.
        """
        loaded = self._loop.loaded
        state = snapshot_file.load_snapshot(path, loaded.rule)

        def put(loop: ControlLoop) -> str:
            if loop.loaded is not loaded:
                return "the rule was swapped meanwhile. Try again."
            loop.restore(state)
            return ""

        return self._thread.ask(put)

    def close(self) -> None:
        """Damp if the robot is being driven, see that the command arrives, and end."""
        driving = self.status.phase is not Phase.INACTIVE
        if not self._thread.end():
            self._node.get_logger().error("the control thread does not end; damping without it")
            self._send(damp_command(self.robot), 0)
        if driving:
            self._command.wait_for_all_acked(Duration(nanoseconds=round(ACKNOWLEDGE_TIMEOUT * 1e9)))
        self._sensors.close()
        self._node.destroy_publisher(self._command)
        self._node.destroy_publisher(self._plasticity)

    def _damp(self, loop: ControlLoop, reason: str) -> bool:
        command = loop.damp(reason)
        if command is None:
            return False
        self._thread.send(command)
        return True

    def _other_publishers(self) -> tuple[str, ...]:
        """Return the full names of the nodes that publish commands, besides this one."""
        if self.settings.dry_run or not self._node.context.ok():
            return ()
        found = [
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self._node.get_publishers_info_by_topic(COMMANDS)
        ]
        own = self._node.get_fully_qualified_name()
        if own in found:  # once: another one of the same name is another one
            found.remove(own)
        return tuple(found)

    def _prepare(self) -> None:
        settings = self.settings
        self._scheduling = prepare_thread(settings.rt_priority, settings.cpu)
        if "not " in self._scheduling:
            self._node.get_logger().warning(f"control thread: {self._scheduling}")

    def _on_estop(self, message: Bool) -> None:
        if message.data:
            self._thread.post(lambda loop: self._damp(loop, "estop was published"))

    def _on_heartbeat(self, message: Empty) -> None:
        now = time.monotonic()
        self._thread.post(lambda loop: loop.guard.beat(now))

    def _on_joint_states(self, message: JointState) -> None:
        received = time.monotonic()
        self._assemble(lambda: self._assembler.add_joint_states(message, received))

    def _on_imu(self, message: Imu) -> None:
        received = time.monotonic()
        self._assemble(lambda: self._assembler.add_imu(message, received))

    def _assemble(self, add: Callable[[], Sample | None]) -> None:
        try:
            with self._assembling:
                sample = add()
        except MessageError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self._node.get_logger().error(self._refused)
            return
        if sample is not None:
            self._heard_at = sample.reading.received
            self._thread.offer(sample)

    def _send(self, command: Command, stamp: int) -> None:
        if not self._node.context.ok():
            return
        self._command.publish(conversions.joint_command(command, self.robot, stamp))
        now = time.monotonic()
        if self._loop.status.phase is Phase.RUN and now >= self._next_plasticity:
            self._next_plasticity = now + PLASTICITY_PERIOD
            message = reports.plasticity_message(self._loop.controller.runtime)
            if message is not None:
                self._plasticity.publish(message)

    def _log(self, error: Exception) -> None:
        self._node.get_logger().error("".join(traceback.format_exception(error)))
