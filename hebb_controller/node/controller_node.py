"""The controller node: a lifecycle node that drives a robot by a rule file.

It reads ``joint_states`` and ``imu/data`` and writes ``joint_command``. Its publishers are plain ones:
those of a lifecycle node are silent outside `active`, just when damping must be heard.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from ..errors import HebbError, ParameterError
from . import parameters, reports
from .drive import Drive
from .rule_loading import load_for_swap
from .values import Loaded, LoopStatus, Phase, Value

NODE = "controller_node"
SWITCH_INTERVAL = 0.0002  # s; by Python's own 5 ms a busy thread would delay the control thread
EXECUTOR_THREADS = 5  # one for each callback group

Transition = Callable[["ControllerNode", LifecycleState], TransitionCallbackReturn]


def _transition(ends_in: str) -> Callable[[Transition], Transition]:
    """Wrap a transition callback: rclpy swallows what escapes one, so it is said here."""

    def wrap(callback: Transition) -> Transition:
        @functools.wraps(callback)
        def run(node: ControllerNode, state: LifecycleState) -> TransitionCallbackReturn:
            before, node.lifecycle = node.lifecycle, "in transition"
            try:
                result = callback(node, state)
            except HebbError as error:
                node.get_logger().error(str(error))
                result = TransitionCallbackReturn.FAILURE
            except Exception:
                node.get_logger().error(traceback.format_exc())
                result = TransitionCallbackReturn.ERROR
            done = result == TransitionCallbackReturn.SUCCESS
            node.lifecycle = ends_in if done else before
            node.publish_diagnostics()
            return result

        return run

    return wrap


class ControllerNode(LifecycleNodeMixin, Node):
    """The node; ``parameters.py`` lists its parameters.

    Raises:
        ParameterError: a parameter was given a value that it cannot have.
    """

    def __init__(self) -> None:
        # The parameter services stay alone in the node's default group, where a swap waits for the
        # validation of its file; everything else goes on meanwhile.
        Node.__init__(self, NODE)
        LifecycleNodeMixin.__init__(self, callback_group=MutuallyExclusiveCallbackGroup())
        self.lifecycle = "unconfigured"
        self._ending = threading.Event()
        self._drive: Drive | None = None
        self._prepared: Loaded | None = None
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
        self.create_service(Trigger, "~/estop", self._on_estop, callback_group=group)
        self.create_service(Trigger, "~/reset_estop", self._on_reset, callback_group=group)
        self.create_timer(1.0, self.publish_diagnostics, callback_group=group)
        self.publish_diagnostics()

    @_transition("inactive")
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load robot and rule, begin to read sensors; command nothing yet."""
        settings = parameters.read(self)
        if reason := settings.refusal():
            raise ParameterError(reason)
        self._drive = Drive(self, settings, self._on_change)
        status = self._drive.status
        self.get_logger().info(
            f"robot '{self._drive.robot.name}', {status.rule_file} (sha256 {status.sha256})"
        )
        return TransitionCallbackReturn.SUCCESS

    @_transition("active")
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to command: move to the default pose, then run."""
        self._configured().start()
        return TransitionCallbackReturn.SUCCESS

    @_transition("inactive")
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Damp, then command nothing."""
        self._configured().leave()
        return TransitionCallbackReturn.SUCCESS

    @_transition("unconfigured")
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of sensors and rule."""
        self._end_drive()
        return TransitionCallbackReturn.SUCCESS

    @_transition("finalized")
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Damp if active, and let go of everything."""
        self._end_drive()
        return TransitionCallbackReturn.SUCCESS

    @_transition("unconfigured")
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Damp after a transition that failed unexpectedly, and begin anew."""
        self._end_drive()
        return TransitionCallbackReturn.SUCCESS

    def end(self) -> None:
        """Damp if active, and give up whatever is under way: the process ends."""
        self._ending.set()
        self._end_drive()

    def publish_diagnostics(self) -> None:
        """Publish ~/status and /diagnostics."""
        drive = self._drive
        self._publish(drive.status if drive else None, drive)

    def _on_change(self, status: LoopStatus) -> None:
        log = self.get_logger()
        if status.phase is Phase.DAMPED:
            log.error(f"DAMPED: {status.reason}")
        else:
            log.info(f"{status.phase.value} (swap {status.swap}, {status.rule_file})")
        self._publish(status, self._drive)

    def _publish(self, status: LoopStatus | None, drive: Drive | None) -> None:
        if not self.context.ok():
            return
        more = {"lifecycle": self.lifecycle, **(drive.details() if drive else {})}
        robot = str(self.get_parameter("robot").value)
        message = reports.status_message(self.get_name(), robot, status, more)
        self._status.publish(message)
        array = DiagnosticArray(status=[message])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _configured(self) -> Drive:
        if self._drive is None:
            raise ParameterError("the node is not configured.")
        return self._drive

    def _end_drive(self) -> None:
        drive, self._drive = self._drive, None
        if drive is not None:
            drive.close()

    # Services

    def _on_estop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._drive is not None and self._drive.estop("~/estop was called")
        response.message = "damped" if response.success else "nothing to stop: not active"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        reason = "not active" if self._drive is None else self._drive.reset_estop()
        response.success, response.message = not reason, reason
        return response

    # Parameters

    def _on_set(self, changes: Sequence[Parameter[Value]]) -> SetParametersResult:
        self._prepared = None
        try:
            for change in changes:
                if change.name in parameters.PARAMETERS:
                    self._check(change.name, change.value)
        except HebbError as error:
            self.get_logger().warning(f"refused: {error}")
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _check(self, name: str, value: Value) -> None:
        if reason := parameters.refusal(name, value):
            raise ParameterError(reason)
        lifecycle, drive = self.lifecycle, self._drive
        if lifecycle == "unconfigured":
            return
        if not parameters.PARAMETERS[name].live:
            raise ParameterError(f"{name} cannot be set while {lifecycle}. Clean up first.")
        if name == "rule_file":
            if drive is None or lifecycle not in ("inactive", "active"):
                raise ParameterError(f"rule_file cannot be set while {lifecycle}. Try again.")
            self._refuse_if_damped(drive)
            self._prepared = load_for_swap(
                str(value), drive.settings, drive.robot, cancelled=self._ending.is_set
            )
            self._refuse_if_damped(drive)  # it may have been damped meanwhile

    def _refuse_if_damped(self, drive: Drive) -> None:
        if drive.status.phase is Phase.DAMPED:
            raise ParameterError("the controller is damped. Call ~/reset_estop first.")

    def _after_set(self, changes: Sequence[Parameter[Value]]) -> None:
        drive, prepared = self._drive, self._prepared
        self._prepared = None
        if drive is None:
            return
        for change in changes:
            if change.name == "rule_file" and prepared is not None:
                drive.stage(prepared)
            elif change.name == "plasticity_gain":
                drive.set_plasticity_gain(float(change.value))


def main() -> None:
    """Run the node until SIGINT or SIGTERM; a robot that it drives is damped before it ends."""
    sys.exit(run())


def run() -> int:
    """Return the exit code of the node's process."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    # Blocked before any thread exists, the signals wait for sigtimedwait below.
    signals = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = ControllerNode()
    except (HebbError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        print(f"{NODE}: {error}", file=sys.stderr)  # noqa: T201 - there is no node to log by
        rclpy.try_shutdown()
        return 2
    executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
    executor.add_node(node)
    spinning = threading.Thread(target=_spin, args=(executor, node), name="spin", daemon=True)
    spinning.start()
    received = None
    while received is None and spinning.is_alive():
        received = signal.sigtimedwait(signals, 0.2)
    node.end()
    executor.shutdown(timeout_sec=0.2)
    rclpy.try_shutdown()
    # A thread that Python finds inside rclpy when it ends takes the process down with it.
    spinning.join(timeout=0.4)
    return 0 if received else 1


def _spin(executor: MultiThreadedExecutor, node: ControllerNode) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return
    except Exception:
        node.get_logger().fatal(traceback.format_exc())


if __name__ == "__main__":
    main()
