"""What a configured node has: sensors and commands on their topics, and the thread between them."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray

from ..errors import MessageError
from ..robot import RobotSpec
from ..safety import damp_command
from ..signals import Command
from . import conversions, reports, rule_loading
from .control_thread import ControlThread
from .loop import ControlLoop
from .parameters import Settings
from .sensor_thread import SensorThread
from .values import Loaded, LoopSettings, LoopStatus, Phase, Sample

PLASTICITY_PERIOD = 0.02  # s, of ~/plasticity, at least
FIRST_READING_TIMEOUT = 5.0  # s, how long activation waits where no reading came since configuring
ACKNOWLEDGE_TIMEOUT = 0.2  # s, how long the last damping command may take to arrive


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
        path, trust = rule_loading.inside(settings.rule_file, ""), rule_loading.trust_for(settings)
        loaded = rule_loading.load(path, self.robot, trust)
        loaded.controller.runtime.plasticity_gain = settings.plasticity_gain
        self._node = node
        self._refused = ""
        self._next_plasticity = 0.0
        self._assembler = conversions.ReadingAssembler(self.robot, paired=settings.by_reading)
        self._assembling = threading.Lock()
        self._loop = ControlLoop(
            self.robot,
            loaded,
            LoopSettings(
                sensor_timeout=settings.sensor_timeout,
                lock_step=settings.lock_step,
                every_reading=settings.by_reading,
                seed=settings.seed,
            ),
        )
        reliable, best_effort = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
        depth = 10 if settings.lock_step else 1
        self._plasticity = node.create_publisher(Float64MultiArray, "~/plasticity", 10)
        self._command = node.create_publisher(
            JointState, "joint_command", QoSProfile(depth=depth, reliability=reliable)
        )
        self._thread = ControlThread(
            self._loop,
            period=loaded.controller.interface.period,
            by_reading=settings.by_reading,
            answer_once=settings.lock_step,
            send=self._send,
            changed=changed,
            failed=self._log,
        )
        self._thread.begin()
        qos = QoSProfile(depth=depth, reliability=reliable if settings.lock_step else best_effort)
        self._sensors = SensorThread(
            node,
            {"joint_states": (JointState, self._on_joint_states), "imu/data": (Imu, self._on_imu)},
            qos,
        )

    @property
    def status(self) -> LoopStatus:
        """What the loop is doing."""
        return self._loop.status

    def details(self) -> Mapping[str, object]:
        """Return what else there is to say in the diagnostics."""
        return {
            "ticks": self._loop.ticks,
            "late_ticks": self._thread.late,
            "last_limits": self._loop.last_limits.name or "NONE",
            "refused_message": self._refused,
            "lock_step": self.settings.lock_step,
            "plasticity_gain": self._loop.controller.runtime.plasticity_gain,
        }

    def start(self) -> None:
        """Begin to command: move to the default pose, then run.

        Sensors that have not been heard yet get some time to be found; from then on they count.
        """
        self._thread.wait_for_sample(FIRST_READING_TIMEOUT)
        self._thread.ask(lambda loop: loop.start(time.monotonic()))

    def leave(self) -> None:
        """Damp, then command nothing."""
        self._thread.leave()

    def estop(self, reason: str) -> bool:
        """Damp and stay so; return whether there was anything to stop."""
        return self._thread.ask(lambda loop: self._damp(loop, reason))

    def reset_estop(self) -> str:
        """Leave DAMPED; return why not, or an empty string."""
        return self._thread.ask(lambda loop: loop.reset_estop(time.monotonic()))

    def stage(self, loaded: Loaded) -> None:
        """Go on with another rule from the next tick."""
        self._thread.ask(lambda loop: loop.stage(loaded))

    def set_plasticity_gain(self, gain: float) -> None:
        """Set the factor on every weight change, from the next tick on."""
        self._thread.ask(lambda loop: loop.set_plasticity_gain(gain))

    def close(self) -> None:
        """Damp if the robot is being driven, see that the command arrives, and end."""
        driving = self._loop.status.phase is not Phase.INACTIVE
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
