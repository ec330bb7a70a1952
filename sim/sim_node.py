"""The simulator as a ROS 2 node, in place of a robot's drivers.

It publishes ``joint_states`` and ``imu/data`` with one stamp, ``/clock`` and ``odom``, and takes
``joint_command``. In lock-step it waits for the command that carries the stamp of its reading, so that
the same seed gives the same run, whatever else the machine is doing.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu, JointState

from hebb_controller.errors import HebbError, MessageError, ParameterError
from hebb_controller.node.spinning import spin
from hebb_controller.robot import load_robot
from hebb_controller.safety import damp_command
from hebb_controller.signals import Command, SensorReading
from hebb_controller.stop_signals import stop_event

from .condition import Condition
from .damage import Damage, describe, parse_damages
from .messages import SensorMessages, nanoseconds
from .receiver import Receiver
from .scenario import load_scenario
from .world import TICK_PERIOD, World

NODE = "sim_node"
LOCK_STEP_TIMEOUT = 5.0  # s of wall time for an answer, in lock-step
REPEAT = 0.05  # s of wall time between two publications of a held or unanswered reading

# name -> (default, description, whether it may be set while the simulation runs)
PARAMETERS: Mapping[str, tuple[str | int | float | bool, str, bool]] = {
    "robot": ("a1", "Name of a shipped robot spec, or path of a .yaml file.", False),
    "seed": (0, "Seed of the first pose and heading.", False),
    "real_time_factor": (
        1.0,
        "Simulated seconds per second; 0.0 is lock-step, as fast as both sides can go.",
        False,
    ),
    "lock_step": (
        False,
        "Wait for the answer to each reading; real_time_factor is then an upper limit.",
        False,
    ),
    "command_timeout": (0.1, "The robot is damped after this long without a command, s.", False),
    "duration": (0.0, "Simulated time after which the process ends, s; 0.0 for never.", False),
    "damage": ("none", "Damages in force, e.g. FR:limp,RL:weak:0.3; none for no damage.", True),
    "scenario": (
        "",
        "Shipped scenario, or path of a .yaml file, played in addition to `damage`; drawn by the seed.",
        False,
    ),
    "paused": (False, "Hold the simulation; its current reading is published repeatedly.", True),
}


LISTENERS_LAG = 1000  # readings kept for a listener that has not taken them yet


class SimNode(Node):
    """The node; :meth:`simulate` runs it.

    Args:
        stopping: set to end the node.

    Raises:
        HebbError: a parameter has an invalid value.
    """

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__(NODE)
        for name, (default, text, live) in PARAMETERS.items():
            self.declare_parameter(
                name, default, ParameterDescriptor(description=text, read_only=not live)
            )
        values = {name: self.get_parameter(name).value for name in PARAMETERS}
        for name, least in (("real_time_factor", 0.0), ("command_timeout", 1e-3), ("duration", 0)):
            if not least <= values[name] < math.inf:
                raise ParameterError(f"{name} is {values[name]}; it must be at least {least:g}.")
        if values["seed"] < 0:
            raise ParameterError(f"seed is {values['seed']}; it must be at least 0.")
        self.robot = load_robot(values["robot"])
        self.stopping = stopping
        self._factor: float = values["real_time_factor"]
        self._lock_step: bool = values["lock_step"] or self._factor == 0.0
        self._duration: float = values["duration"]
        self._damages: tuple[Damage, ...] = parse_damages(values["damage"], self.robot)
        self._paused: bool = values["paused"]
        self._seed: int = values["seed"]
        condition = Condition(math.inf)
        if values["scenario"]:
            scenario = load_scenario(values["scenario"], self.robot)
            condition = scenario.draw(np.random.default_rng((self._seed, 2)))
            if condition.turn:
                raise ParameterError(
                    f"scenario '{values['scenario']}': has a turn, but over ROS nothing tells the "
                    f"controller about it. Leave it out."
                )
        self._changes = condition.changes(TICK_PERIOD)
        self._scheduled: tuple[Damage, ...] = self._changes[0][0]
        self._receiver = Receiver(self.robot, timeout=values["command_timeout"])
        self._arrived = threading.Condition()
        self._damped = True  # until the first command
        self._deterministic = self.lock_step
        self._refused = ""
        self._time = self._speed = 0.0
        self._told = -math.inf, 0.0
        self.add_on_set_parameters_callback(self._on_set)
        self.add_post_set_parameters_callback(self._after_set)
        # In lock-step the controller waits for every reading, but a mere listener may lag behind.
        history = LISTENERS_LAG if self._lock_step else 10
        self._joint_states = self.create_publisher(JointState, "joint_states", history)
        self._imu = self.create_publisher(Imu, "imu/data", 10)
        self._clock_time = self.create_publisher(Clock, "/clock", 10)
        self._odom = self.create_publisher(Odometry, "odom", history)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # On this node every command would cost rclpy a look at each of its services.
        name = f"_{self.get_name()}_commands"
        self.commands = Node(
            name,
            cli_args=["--ros-args", "-r", f"__node:={name}"],
            enable_rosout=False,
            start_parameter_services=False,
        )
        depth = 10 if self.lock_step else 1
        self.commands.create_subscription(JointState, "joint_command", self._on_command, depth)
        self._messages = SensorMessages(self.robot)

    @property
    def lock_step(self) -> bool:
        """Whether the simulation waits for the answer to each reading."""
        return self._lock_step

    def simulate(self) -> None:
        """Run until ``stopping`` is set, or the duration is over."""
        world = World(self.robot)
        try:
            self._simulate(world)
        finally:
            world.close()

    def _simulate(self, world: World) -> None:
        reading = world.reset(np.random.default_rng((self._seed, 0)))
        if in_force := self._scheduled + self._damages:
            world.damage(in_force)
            reading = world.sense()
        period = world.tick_period
        step = period / self._factor if self._factor else 0.0
        deadline = time.monotonic()
        while not self.stopping.is_set():
            self._time = reading.stamp
            if self._duration and self._time >= self._duration - period / 2:
                return
            self._publish(reading, world)
            if self._hold(reading, world):
                deadline = time.monotonic()
            answer = self._wait_for_answer(reading, world) if self.lock_step else None
            if step:
                deadline += step
                if deadline < time.monotonic() - 0.1:
                    deadline = time.monotonic()  # too slow to keep up: do not rush afterwards
                self.stopping.wait(max(0.0, deadline - time.monotonic()))
            with self._arrived:
                held = self._receiver.in_force(time.monotonic())
            command = answer if self.lock_step else held
            if self.stopping.is_set():
                return
            tick = round(reading.stamp / period)
            if tick in self._changes:
                self._scheduled = self._changes[tick][0]
            in_force = self._scheduled + self._damages
            changed = (command is None) != self._damped or in_force != world.damages
            self._damped = command is None
            if in_force != world.damages:
                world.damage(in_force)
            reading = world.step(damp_command(self.robot) if command is None else command)
            self._tell(at_once=changed)

    def _hold(self, reading: SensorReading, world: World) -> bool:
        """Wait while paused, publishing the reading again; return whether it was paused."""
        paused = self._paused
        if not paused:
            return False
        self._tell(at_once=True)
        while self._paused and not self.stopping.wait(REPEAT):
            self._publish(reading, world)
            self._tell()
        if self.lock_step:
            # An earlier answer may be that of a controller that was not active yet.
            with self._arrived:
                self._receiver.forget()
            self._publish(reading, world)
        return True

    def _wait_for_answer(self, reading: SensorReading, world: World) -> Command | None:
        """Return the command with this reading's stamp, or None if none came in time."""
        stamp = nanoseconds(reading.stamp)
        end = time.monotonic() + LOCK_STEP_TIMEOUT
        while not self.stopping.is_set():
            with self._arrived:
                self._arrived.wait_for(
                    lambda: self._receiver.answer_to(stamp) is not None, timeout=REPEAT
                )
                answer = self._receiver.answer_to(stamp)
            if answer is not None:
                return answer
            if time.monotonic() > end:
                break
            self._tell()
            # A newcomer has not heard it; a controller that has answered it will answer the same.
            self._publish(reading, world)
        if self._deterministic and not self.stopping.is_set():
            self._deterministic = False
            self.get_logger().error(
                f"no answer to the reading of {reading.stamp:.3f} s within {LOCK_STEP_TIMEOUT:g} s: "
                f"damping and continuing; this run is not deterministic"
            )
        return None

    def _publish(self, reading: SensorReading, world: World) -> None:
        messages = self._messages
        now = messages.fill(reading, world)
        self._joint_states.publish(messages.joints)
        self._imu.publish(messages.imu)
        self._clock_time.publish(Clock(clock=now))
        self._odom.publish(messages.odometry)

    def _tell(self, *, at_once: bool = False) -> None:
        """Publish /diagnostics at 1 Hz, or at once."""
        now, (told, simulated) = time.monotonic(), self._told
        if now - told >= 1.0 or at_once:
            self._speed = (self._time - simulated) / max(now - told, 1e-9)
            self._told = now, self._time
            self.publish_diagnostics()

    def publish_diagnostics(self) -> None:
        """Publish /diagnostics: what the receiver of the commands is doing."""
        state = "damped: no command in time" if self._damped else "following commands"
        values = {
            "sim_time": f"{self._time:.3f}",
            "speed": f"{self._speed:.2f}",
            "damage": describe(self._scheduled + self._damages),
            "paused": self._paused,
            "lock_step": self.lock_step,
            "deterministic": self._deterministic,
            "refused_command": self._refused,
        }
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if self._damped else DiagnosticStatus.OK,
            name=f"{self.get_name()}: receiver",
            message=state,
            hardware_id=self.robot.name,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array_message = DiagnosticArray(status=[status])
        array_message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array_message)

    def say_goodbye(self) -> None:
        """Publish /diagnostics one last time; wait for it and the last readings to arrive."""
        self.publish_diagnostics()
        for publisher in (self._diagnostics, self._joint_states, self._odom):
            publisher.wait_for_all_acked(Duration(nanoseconds=200_000_000))

    def _on_command(self, message: JointState) -> None:
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        try:
            with self._arrived:
                self._receiver.accept(
                    message.name,
                    position=message.position,
                    velocity=message.velocity,
                    stamp=stamp,
                    now=time.monotonic(),
                )
                self._arrived.notify()
        except MessageError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self.get_logger().error(self._refused)

    def _on_set(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        try:
            for change in changes:
                if change.name == "damage":
                    parse_damages(change.value, self.robot)
        except HebbError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _after_set(self, changes: Sequence[Parameter[Any]]) -> None:
        for change in changes:
            if change.name == "damage":
                self._damages = parse_damages(change.value, self.robot)
            elif change.name == "paused":
                self._paused = change.value


def main() -> None:
    """Run the node until its duration is over, or until SIGINT or SIGTERM."""
    sys.exit(run())


def run() -> int:
    """Run the node; return the exit code of its process."""
    sys.setswitchinterval(0.0002)
    stopping = stop_event()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = SimNode(stopping)
    except (HebbError, InvalidParameterTypeException) as error:
        print(f"{NODE}: {error}", file=sys.stderr)  # noqa: T201 - there is no node to log with
        rclpy.try_shutdown()
        return 2

    ended: Future[None] = Future()
    executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
    threads = [threading.Thread(target=spin, args=(e, ended), daemon=True) for e in executors]
    for executor, spun, thread in zip(executors, (node, node.commands), threads, strict=True):
        executor.add_node(spun)
        thread.start()
    try:
        node.simulate()
        node.say_goodbye()
    finally:
        ended.set_result(None)
        # A thread still inside rclpy when Python exits crashes the process.
        for thread in threads:
            thread.join(timeout=2.0)
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    main()
