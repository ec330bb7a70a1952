"""The controller node: a lifecycle node that drives a robot by a rule file.

It reads ``joint_states`` and ``imu/data`` and writes ``joint_command``. Its publishers are plain ones:
lifecycle publishers are silent outside `active`, just when damping must be heard.
"""

from __future__ import annotations

import functools
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn as Result
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from ..errors import HebbError, ParameterError
from ..stop_signals import stop_event
from . import parameters, reports, scheduling, snapshot_file
from .drive import Drive
from .rule_loading import load_for_swap
from .spinning import spin
from .transitions import transition
from .values import Loaded, LoopStatus, Phase, Value

NODE = "controller_node"
EXECUTOR_THREADS = 6  # one for each callback group

TRIGGERS: Mapping[str, Callable[[Drive, parameters.Settings], str]] = {
    "~/estop": lambda drive, now: drive.estop("~/estop was called"),
    "~/reset_estop": lambda drive, now: drive.reset_estop(),
    "~/rollback": lambda drive, now: drive.roll_back(),
    "~/reset_weights": lambda drive, now: drive.reset_weights(),
    "~/snapshot": lambda drive, now: drive.snapshot(snapshot_file.path_of(now.snapshot_file)),
    "~/restore": lambda drive, now: drive.restore(snapshot_file.path_of(now.snapshot_file)),
}
"""Service -> its action, given the node's current settings; returns why not, or an empty string."""


class ControllerNode(LifecycleNodeMixin, Node):
    """The node; ``parameters.py`` lists its parameters.

    Raises:
        ParameterError: a parameter was given an invalid value.
    """

    def __init__(self) -> None:
        # Only the parameter services are in the node's default group, where a swap waits for the
        # validation of its file; everything else carries on meanwhile.
        Node.__init__(self, NODE)
        LifecycleNodeMixin.__init__(self, callback_group=MutuallyExclusiveCallbackGroup())
        self.lifecycle = "unconfigured"
        self._ending = threading.Event()
        self._letting_go = threading.Lock()
        self._drive: Drive | None = None
        self._prepared: Loaded | None = None
        self._following = self._to_follow = False
        self._plasticity = "plastic"  # as last logged, like the swap below
        self._rolled_back = 0
        parameters.check_names(
            self._parameter_overrides
        )  # rclpy ignores those that nobody declares
        parameters.declare(self)
        for name in parameters.PARAMETERS:
            if reason := parameters.refusal(name, self.get_parameter(name).value):
                raise ParameterError(reason)
        self.add_on_set_parameters_callback(self._on_set)
        self.add_post_set_parameters_callback(self._after_set)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = self.create_publisher(DiagnosticStatus, "~/status", latched)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        group = MutuallyExclusiveCallbackGroup()
        for name, act in TRIGGERS.items():
            answer = functools.partial(self._on_trigger, act)
            # An e-stop must not wait, not even for a snapshot on a slow disk.
            own = MutuallyExclusiveCallbackGroup() if name == "~/estop" else group
            self.create_service(Trigger, name, answer, callback_group=own)
        self.create_service(SetBool, "~/freeze", self._on_freeze, callback_group=group)
        clock = scheduling.steady_clock()
        self.create_timer(1.0, self._every_second, callback_group=group, clock=clock)
        self._changed = self.create_guard_condition(self._publish_diagnostics, group)
        self._noticed = self.create_guard_condition(self._review, group)
        # In the group of the parameter services, so that it waits for a swap under way.
        self._rule_changed = self.create_guard_condition(self._follow_rule)
        self.publish_diagnostics()

    @transition("inactive", may_fail=True)
    def on_configure(self, state: LifecycleState) -> Result:
        """Load robot and rule and start reading sensors; command nothing yet."""
        settings = parameters.read(self)
        if reason := settings.refusal():
            raise ParameterError(reason)
        self._drive = Drive(self, settings, self._on_change, self._notice)
        gain = float(self.get_parameter("plasticity_gain").value)
        self._drive.set_plasticity_gain(gain)  # it may have been set meanwhile
        if self._ending.is_set():  # set meanwhile: end() found nothing to close
            self._end_drive()
            return Result.FAILURE
        status = self._drive.status
        self.get_logger().info(
            f"robot '{self._drive.robot.name}', {status.rule_file} (sha256 {status.sha256})"
        )
        return Result.SUCCESS

    @transition("active", may_fail=True)
    def on_activate(self, state: LifecycleState) -> Result:
        """Start commanding: move to the default pose, then run."""
        self._configured().start()
        return Result.SUCCESS

    @transition("inactive")
    def on_deactivate(self, state: LifecycleState) -> Result:
        """Damp, then command nothing."""
        self._configured().leave()
        return Result.SUCCESS

    @transition("unconfigured")
    def on_cleanup(self, state: LifecycleState) -> Result:
        """Release sensors and rule."""
        self._end_drive()
        return Result.SUCCESS

    @transition("finalized")
    def on_shutdown(self, state: LifecycleState) -> Result:
        """Damp if active, and release everything."""
        self._end_drive()
        return Result.SUCCESS

    @transition("unconfigured", fails_in="finalized")
    def on_error(self, state: LifecycleState) -> Result:
        """Damp after a transition that failed unexpectedly, and start over."""
        self._end_drive()
        return Result.SUCCESS

    @property
    def ending(self) -> bool:
        """Whether the process is ending."""
        return self._ending.is_set()

    def end(self) -> None:
        """Damp if active, and abandon whatever is under way: the process is ending."""
        self._ending.set()
        self._end_drive()

    def publish_diagnostics(self) -> None:
        """Publish ~/status and /diagnostics."""
        while True:  # the last status may not be one that changed while it was being published
            status = self._drive_status()
            self._publish_status(status)
            if self._drive_status() is status:
                break
        self._publish_diagnostics()

    def _drive_status(self) -> LoopStatus | None:
        drive = self._drive
        return drive.status if drive else None

    def _every_second(self) -> None:
        self._review()
        if self._to_follow:
            self._rule_changed.trigger()
        scheduling.collect()

    def _review(self) -> None:
        drive = self._drive
        if drive is not None:
            drive.review()
        self.publish_diagnostics()

    def _on_change(self, status: LoopStatus) -> None:
        """Report a change, in the control thread; anything slow is left to other threads."""
        log = self.get_logger()
        if status.phase is Phase.DAMPED:
            log.error(f"DAMPED: {status.reason}")
        else:
            log.info(f"{status.phase.value} (swap {status.swap}, {status.rule_file})")
        if status.swap_reason and status.swap != self._rolled_back:
            self._rolled_back = status.swap
            log.warning(
                f"swap {status.swap}: rolled back to {status.rule_file}: {status.swap_reason}"
            )
        if status.plasticity_text != self._plasticity:
            self._plasticity = status.plasticity_text
            log.warning(f"plasticity: {self._plasticity}")
        self._publish_status(status)
        if self.context.ok():
            self._changed.trigger()
            self._rule_changed.trigger()

    def _notice(self) -> None:
        if self.context.ok():
            self._noticed.trigger()

    def _publish_status(self, status: LoopStatus | None) -> None:
        if self.context.ok():
            robot = str(self.get_parameter("robot").value)
            message = reports.status_message(self.get_name(), robot, status, self.lifecycle)
            self._status.publish(message)

    def _publish_diagnostics(self) -> None:
        if not self.context.ok():
            return
        drive, now = self._drive, parameters.read(self)
        limits = reports.WarnLimits(now.warn_missed, now.warn_jitter, now.warn_latency)
        facts = reports.Facts(self.lifecycle, now.robot)
        if drive is not None:
            facts = drive.facts(self.lifecycle, limits)
        status = drive.status if drive else None
        array = DiagnosticArray(status=reports.diagnostics(self.get_name(), status, facts))
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _configured(self) -> Drive:
        if self._drive is None:
            raise ParameterError("the node is not configured.")
        return self._drive

    def _end_drive(self) -> None:
        with self._letting_go:
            drive, self._drive = self._drive, None
            if drive is not None:
                drive.close()  # end() waits for this

    # Services

    def _on_trigger(
        self,
        act: Callable[[Drive, parameters.Settings], str],
        request: Trigger.Request,
        response: Trigger.Response,
    ) -> Trigger.Response:
        reason = self._carried_out(lambda drive: act(drive, parameters.read(self)))
        response.success, response.message = not reason, reason
        return response

    def _on_freeze(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        reason = self._carried_out(lambda drive: drive.freeze(frozen=request.data))
        response.success, response.message = not reason, reason
        return response

    def _carried_out(self, act: Callable[[Drive], str]) -> str:
        """Carry out a request; return why it was not done, or an empty string."""
        if self._drive is None:
            return "not active: the node is not configured."
        try:
            return act(self._drive)
        except HebbError as error:
            return str(error)
        except Exception as error:
            self.get_logger().error(traceback.format_exc())
            return f"{type(error).__name__}: {error}"

    # Parameters

    def _on_set(self, changes: Sequence[Parameter[Value]]) -> SetParametersResult:
        if self._following:
            return SetParametersResult(successful=True)
        self._prepared = None
        carry = self._carry(changes)
        try:
            for change in changes:
                if change.name in parameters.PARAMETERS:
                    self._check(change.name, change.value, carry=carry)
        except HebbError as error:
            self.get_logger().warning(f"refused: {error}")
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:  # it would end the executor, and with it the node
            self.get_logger().error(traceback.format_exc())
            return SetParametersResult(successful=False, reason=f"{type(error).__name__}: {error}")
        return SetParametersResult(successful=True)

    def _carry(self, changes: Sequence[Parameter[Value]]) -> bool:
        """Return whether swap_weights will be carry after these changes."""
        name = "swap_weights"
        values = [change.value for change in changes if change.name == name]
        return str([self.get_parameter(name).value, *values][-1]) == "carry"

    def _check(self, name: str, value: Value, *, carry: bool) -> None:
        if reason := parameters.refusal(name, value):
            raise ParameterError(reason)
        lifecycle, drive = self.lifecycle, self._drive
        if lifecycle == "unconfigured":
            return
        if not parameters.PARAMETERS[name].live:
            fix = "Restart the node" if lifecycle == "finalized" else "Clean up first"
            raise ParameterError(f"{name} cannot be set while {lifecycle}. {fix}.")
        if name == "rule_file":
            if drive is None or lifecycle not in ("inactive", "active"):
                raise ParameterError(f"rule_file cannot be set while {lifecycle}. Try again.")
            self._refuse_if_damped(drive)
            prepared = load_for_swap(
                str(value),
                drive.settings,
                drive.robot,
                cancelled=self._ending.is_set,
                command_rate=drive.command_rate,
            )
            if carry and (reason := drive.refusal_to_carry(prepared)):
                raise ParameterError(reason)
            self._refuse_if_damped(drive)  # it may have been damped meanwhile
            self._prepared = prepared

    def _refuse_if_damped(self, drive: Drive) -> None:
        if drive.status.phase is Phase.DAMPED:
            raise ParameterError("the controller is damped. Call ~/reset_estop first.")

    def _after_set(self, changes: Sequence[Parameter[Value]]) -> None:
        prepared, self._prepared = self._prepared, None
        if self._drive is None or self._following:
            return
        values = {change.name: change.value for change in changes}
        if "rule_file" in values and prepared is not None:
            carry = self._carry(changes)
            if reason := self._carried_out(lambda drive: drive.stage(prepared, carry=carry)):
                self.get_logger().error(f"not swapped: {reason}")
                self._rule_changed.trigger()
        if "plasticity_gain" in values:
            gain = float(values["plasticity_gain"])
            if reason := self._carried_out(lambda drive: drive.set_plasticity_gain(gain)):
                self.get_logger().error(f"plasticity_gain: {reason}")

    def _follow_rule(self) -> None:
        """Set rule_file to the rule that drives, after a swap was undone."""
        drive = self._drive
        if drive is None or self._ending.is_set():
            return
        self._to_follow = True
        try:
            asked = drive.asked()
        except HebbError:  # tried again within a second, unless the drive ends
            return
        self._to_follow = False
        if asked != self.get_parameter("rule_file").value:
            self._following = True
            try:
                self.set_parameters([Parameter("rule_file", value=asked)])
            finally:
                self._following = False


def main() -> None:
    """Run the node until SIGINT or SIGTERM; damp the robot before exiting if it is driven."""
    sys.exit(run())


def run() -> int:
    """Run the node; return the exit code of its process."""
    scheduling.prepare_process()
    stopping = stop_event()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = ControllerNode()
    except (HebbError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        print(f"{NODE}: {error}", file=sys.stderr)  # noqa: T201 - there is no node to log with
        rclpy.try_shutdown()
        return 2
    executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
    executor.add_node(node)
    ended: Future[None] = Future()
    spinning = threading.Thread(
        target=_spin, args=(executor, node, ended), name="spin", daemon=True
    )
    spinning.start()
    while spinning.is_alive() and not stopping.wait(0.2):
        pass
    node.end()
    ended.set_result(None)
    # A thread still inside rclpy when Python exits crashes the process.
    spinning.join(timeout=0.4)
    executor.shutdown(timeout_sec=0.2)
    rclpy.try_shutdown()
    return 0 if stopping.is_set() else 1


def _spin(executor: MultiThreadedExecutor, node: ControllerNode, ended: Future[None]) -> None:
    try:
        spin(executor, ended)
    except Exception:
        if not node.ending:  # otherwise it used what is being released
            node.get_logger().fatal(traceback.format_exc())


if __name__ == "__main__":
    main()
