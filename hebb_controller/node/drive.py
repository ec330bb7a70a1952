"""What a configured node has: sensor and command topics, and the thread between them."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from ..errors import HebbError
from ..robot import RobotSpec
from ..runtime.base import State
from ..safety import damp_command
from ..signals import Command
from . import graph, reports, rule_loading, snapshot_file
from .control_thread import REQUEST_TIMEOUT, ControlThread, ControlThreadError
from .inputs import InputCallbacks, Inputs
from .loop import ControlLoop
from .network_topics import NetworkTopics
from .output import CommandOutput
from .parameters import Settings, check_timeout
from .rates import divide
from .scheduling import NORMAL, prepare_thread, raise_others, settle
from .values import Loaded, LoopStatus, Phase

PLASTICITY_PERIOD = 0.02  # s, shortest period of ~/plasticity
SEND_TIMEOUT = 0.2  # s that one thread waits for another to publish a command
FIRST_READING_TIMEOUT = 5.0  # s that activation waits if no reading has come since configuring


class ActivationError(HebbError, RuntimeError):
    """The robot cannot be driven now."""


class Drive:
    """Drives one robot over ROS topics from its construction until it is closed.

    Args:
        node: publishes and subscribes.
        settings: the node's parameters; they must be consistent.
        changed: called in the control thread with the loop's status when it has changed.
        noticed: called when there is something else to report, and to :meth:`review`.

    Raises:
        HebbError: robot or rule cannot be loaded, or they do not fit together.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        changed: Callable[[LoopStatus], None],
        noticed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.robot: RobotSpec = rule_loading.robot_for(settings)
        loaded = rule_loading.first_rule(settings, self.robot)
        tick_period = loaded.rule.header.tick_period
        period = tick_period / divide(tick_period, settings.command_rate)
        self.command_rate = 0.0 if settings.by_reading else 1.0 / period
        check_timeout(settings, period)
        self._node = node
        self._noticed = noticed
        self._scheduling = NORMAL
        self._suspects: set[str] = set()  # topics that have ever had an incompatible end
        self._incompatible: tuple[str, ...] = ()
        self._strangers: tuple[str, ...] = ()
        self._others: tuple[str, ...] = ()
        self._starting = False
        self._veto = ""  # why a start that is under way must not go ahead
        self._sending = threading.Lock()
        self._silent = False
        self._counted = (0, 0)
        self._missed = 0.0
        self._next_plasticity = 0.0
        self._topics = NetworkTopics(node, every=settings.weights_every, runtime=settings.runtime)
        self._loop = ControlLoop(
            self.robot,
            self._topics.tap(loaded),
            settings.loop(period),
            swap=settings.swap,
            supervisor=settings.supervisor,
        )
        self._plasticity = node.create_publisher(Float64MultiArray, "~/plasticity", 10)
        self._output = CommandOutput(node, self.robot, settings, self._suspect)
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
        callbacks = InputCallbacks(
            reading=self._thread.offer,
            estop=lambda: self._post(self._press),
            heartbeat=lambda now: self._post(lambda loop: loop.guard.heartbeat(now)),
            incompatible=self._suspect,
            noticed=noticed,
        )
        try:
            self._inputs = Inputs(
                node,
                self.robot,
                callbacks,
                lock_step=settings.lock_step,
                paired=settings.by_reading,
            )
            self._inputs.ensure_cmd_vel_subscription(loaded)
        except Exception:
            self._output.close()
            node.destroy_publisher(self._plasticity)
            self._topics.close()
            raise
        self._thread.begin()

    @property
    def status(self) -> LoopStatus:
        """What the loop is doing."""
        return self._loop.status

    def review(self) -> None:
        """Check, once a second, who else is on the topics and how many ticks were missed."""
        self._others = self._output.others()
        own = self._node.get_fully_qualified_name(), self._inputs.name
        self._incompatible = tuple(
            text
            for topic in sorted(self._suspects.copy())
            for text in graph.mismatches(self._node, topic, own)
        )
        self._strangers = self._inputs.strangers()
        statistics = self._thread.statistics
        begun, missed = statistics.ticks, statistics.overruns
        begun_since, missed_since = begun - self._counted[0], missed - self._counted[1]
        self._missed = missed_since / max(begun_since + missed_since, 1)
        self._counted = begun, missed

    def facts(self, lifecycle: str, limits: reports.WarnLimits) -> reports.Facts:
        """Return what the diagnostics report besides the status."""
        loop, inputs = self._loop, self._inputs
        heard, timeout = inputs.latest, loop.guard.watchdog
        now = time.monotonic()  # after that, or a reading might be from the future
        phase = loop.status.phase
        unfit = loop.guard.stamp_stall(now) if phase is Phase.TO_DEFAULT_POSE else ""
        if heard and phase in (Phase.INACTIVE, Phase.DAMPED):
            check = loop.guard.check_start if phase is Phase.INACTIVE else loop.guard.check_reset
            unfit = check(heard, now).detail
        return reports.Facts(
            lifecycle,
            self.robot.name,
            timing=self._thread.statistics.summary(),
            hung=self._thread.hung(now),
            missed=self._missed,
            limits=limits,
            scheduling=self._scheduling,
            command_topic=self._output.topic,
            others=self._others,
            dry_run=self.settings.dry_run,
            ticks=loop.ticks,
            last_limits=loop.last_limits.name or "NONE",
            reading_age=None if heard is None else now - heard.reading.received,
            sensor_timeout=timeout,
            quiet=inputs.quiet(now, timeout),
            refused=inputs.refused(now),
            unfit=unfit,
            velocity_complaint=inputs.velocity_complaint(now, loop.loaded),
            constant=loop.guard.constant_joints if phase is Phase.RUN else (),
            incompatible=self._incompatible,
            strangers=self._strangers,
            gain=loop.gain,
            tick_rate=loop.tick_rate,
            measured=loop.supervisor.measured,
        )

    def start(self) -> None:
        """Start commanding: move to the default pose, then run.

        Sensors not heard yet get some time to be discovered; after that they are required.

        Raises:
            ActivationError: another node commands the robot, or it was stopped meanwhile.
        """
        self._veto, self._starting = "", True  # first, so that a stop is heard from here on
        try:
            settle()
            self._thread.wait_for_sample(FIRST_READING_TIMEOUT)
            if others := self._output.others():
                raise ActivationError(
                    f"{self._output.topic} is also published by {', '.join(others)}: two nodes would "
                    f"fight over one robot. Stop the other one, or set dry_run."
                )
            self._thread.ask(self._begin)
        finally:
            self._starting = False

    def leave(self) -> None:
        """Damp, then command nothing."""
        self._thread.leave()

    def estop(self, reason: str) -> str:
        """Damp and latch, or prevent a start; return why there was nothing to stop, or an empty string."""
        starting = self._starting
        if starting:
            self._veto = reason
        asked = self._thread.post(lambda loop: self._damp(loop, reason))
        try:
            damped = asked.result(timeout=REQUEST_TIMEOUT)
        except FutureTimeoutError:  # it is still carried out, once the thread resumes
            late = "the control thread does not answer; it stops as soon as it does"
            if self.status.phase is Phase.INACTIVE:
                return f"{late}."
            try:
                self._put_out(damp_command(self.robot))
            except ControlThreadError as error:
                return f"{late}, and {error}"
            return f"{late}, and DAMP was sent without it."
        return "" if damped or starting else "nothing to stop: not active"

    def reset_estop(self) -> str:
        """Leave DAMPED; return why not, or an empty string."""
        return self._thread.ask(lambda loop: loop.reset_estop(time.monotonic()))

    def refusal_to_carry(self, loaded: Loaded) -> str:
        """Return why a rule cannot continue from the weights in force, or an empty string."""
        return self._loop.refusal_to_carry(loaded)

    def stage(self, loaded: Loaded, *, carry: bool) -> str:
        """Switch to another rule at the next tick; return why not, or an empty string."""
        self._inputs.ensure_cmd_vel_subscription(loaded)
        tapped = self._topics.tap(loaded)
        return self._thread.ask(lambda loop: loop.stage(tapped, carry=carry))

    def asked(self) -> str:
        """Return the name by which the rule that drives, or is about to, was asked for."""
        return self._thread.ask(lambda loop: loop.asked)

    def roll_back(self) -> str:
        """Go back to the previous rule; return why not, or an empty string."""
        return self._thread.ask(lambda loop: loop.roll_back())

    def set_plasticity_gain(self, gain: float) -> str:
        """Set the factor on every weight change, from the next tick on; return an empty string."""
        self._thread.post(lambda loop: loop.set_plasticity_gain(gain))
        return ""

    def freeze(self, *, frozen: bool) -> str:
        """Freeze the weights or let them change again; return an empty string."""
        self._thread.ask(lambda loop: loop.freeze(frozen=frozen))
        return ""

    def reset_weights(self) -> str:
        """Start over from initial weights; return an empty string."""
        self._thread.ask(lambda loop: loop.reset_weights())
        return ""

    def snapshot(self, path: Path) -> str:
        """Save what the network has learned; return why not, or an empty string.

        Raises:
            RuleFileError: it cannot be written.
        """

        def read(loop: ControlLoop) -> tuple[State, Loaded] | None:
            ran = bool(loop.supervisor.measured)
            return (loop.controller.runtime.state, loop.loaded) if ran else None

        found = self._thread.ask(read)
        if found is None:
            return "there is nothing to save: the rule in force has not run yet."
        state, loaded = found
        snapshot_file.save_snapshot(state, loaded.rule, loaded.path, path)
        return ""

    def restore(self, path: Path) -> str:
        """Continue from a snapshot; return why not, or an empty string.

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
        """Damp if the robot is being driven, wait for the command to arrive, and end."""
        driving = self.status.phase is not Phase.INACTIVE
        with contextlib.ExitStack() as stack:  # if one fails, the rest is still done
            stack.callback(self._topics.close)
            stack.callback(self._node.destroy_publisher, self._plasticity)
            stack.callback(self._output.close)
            stack.callback(self._inputs.close)
            if not self._thread.end():
                self._node.get_logger().error("the control thread does not end; damping without it")
                try:
                    self._put_out(damp_command(self.robot), last=True)
                except ControlThreadError as error:
                    self._node.get_logger().fatal(str(error))
            if driving:
                self._output.wait_until_heard()

    def _begin(self, loop: ControlLoop) -> None:
        if self._veto:
            raise ActivationError(f"not started: {self._veto}.")
        if loop.guard.estopped(time.monotonic()):
            raise ActivationError(
                "not started: estop is being published, or was less than 2 s ago."
            )
        self._output.begin()
        loop.start(time.monotonic())

    def _press(self, loop: ControlLoop) -> None:
        loop.guard.press(time.monotonic())
        self._damp(loop, "estop was published")

    def _damp(self, loop: ControlLoop, reason: str) -> bool:
        command = loop.damp(reason)
        if command is None:
            self._veto = reason
            return False
        self._thread.send(command)
        return True

    def _post(self, request: Callable[[ControlLoop], object]) -> None:
        with contextlib.suppress(ControlThreadError):  # it has ended: there is nothing to stop
            self._thread.post(request)

    def _suspect(self, topic: str) -> None:
        """Check from now on for incompatible ends of a topic: the middleware reported one."""
        self._suspects.add(topic)
        self._noticed()

    def _prepare(self) -> None:
        settings = self.settings
        self._scheduling = prepare_thread(settings.rt_priority, settings.cpu)
        raise_others(settings.rt_priority)
        if not self._scheduling.granted:
            self._node.get_logger().warning(f"control thread: {self._scheduling.detail}")

    def _send(self, command: Command, stamp: int) -> None:
        """Send a command and publish what the tick brought; for the control thread."""
        if not self._put_out(command, stamp):
            return
        self._topics.publish(self._loop, stamp)
        now = time.monotonic()
        if self._loop.status.phase is Phase.RUN and now >= self._next_plasticity:
            self._next_plasticity = now + PLASTICITY_PERIOD
            self._plasticity.publish(reports.plasticity_message(self._loop.loaded.runtime))

    def _put_out(self, command: Command, stamp: int = 0, *, last: bool = False) -> bool:
        """Send a command, from any thread; return whether one may still be sent.

        Raises:
            ControlThreadError: another thread is stuck sending one.
        """
        if not self._node.context.ok():
            return False
        if not self._sending.acquire(timeout=SEND_TIMEOUT):
            raise ControlThreadError(
                "cannot send a command: another thread is stuck publishing one."
            )
        try:  # after the last one, a thread that wakes up sends nothing
            if self._silent:
                return False
            self._silent = last
            self._output.send(command, stamp)
            return True
        finally:
            self._sending.release()

    def _log(self, error: Exception) -> None:
        self._node.get_logger().error("".join(traceback.format_exception(error)))
