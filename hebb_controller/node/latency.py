"""How long a command takes after its reading was published, compared with a node that only echoes.

The controller node with the shipped walk and the echo node are separate processes with the same quality
of service; this third process publishes readings to each in turn and measures the time until the command
with the reading's stamp arrives. In between it times the step of a controller of its own. So the three
medians come from one run, and other load on the machine affects them all.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Imu, JointState

from ..controller import controller_for
from ..errors import HebbError
from ..robot import RobotSpec, load_shipped_robot
from ..rule_file import load_rule
from ..share import shipped
from ..signals import SensorReading
from .conversions import nanoseconds, time_message
from .echo_node import NAMESPACE
from .operator_client import Operator
from .processes import CONTROLLER, NodeProcess, own_domain, ros_environment
from .sim_loop import CONTROLLER_NODE, PATIENCE, last_line
from .values import Value

ECHO = "hebb_controller.node.echo_node"
ANSWER_TIMEOUT = 0.05  # s after which a reading counts as unanswered
INACTIVE_TIMEOUT = 0.002  # the same while no answer is needed: sensor_timeout still applies
MAX_UNANSWERED = 0.1  # share beyond which the medians mean nothing


class LatencyBenchError(HebbError, RuntimeError):
    """The nodes did not answer, or not as expected."""


class RoundTrip:
    """The round trip to a node.

    Args:
        operator: publishes and listens.
        prefix: of the topics' names.

    Attributes:
        answer: last commanded positions, (n,) rad; empty before the first.
    """

    def __init__(self, operator: Operator, prefix: str) -> None:
        self._joints = operator.node.create_publisher(JointState, f"{prefix}joint_states", 1)
        self._imu = operator.node.create_publisher(Imu, f"{prefix}imu/data", 1)
        self._stamp = 0
        self._came = 0.0
        self._answered = threading.Event()
        self.answer: Sequence[float] = ()
        operator.watch(JointState, f"{prefix}joint_command", self._take, 1)

    def exchange(self, joints: JointState, imu: Imu, *, timeout: float) -> float | None:
        """Return how long the answer to a reading took, s; None if it did not come."""
        self._answered.clear()
        self._stamp = nanoseconds(imu.header.stamp)
        start = time.monotonic()
        self._joints.publish(joints)
        self._imu.publish(imu)
        return self._came - start if self._answered.wait(timeout) else None

    def _take(self, command: JointState) -> None:
        now = time.monotonic()
        if nanoseconds(command.header.stamp) == self._stamp and not self._answered.is_set():
            self._came = now
            self.answer = command.position or self.answer
            self._answered.set()


def measure_latency(seconds: float) -> dict[str, float]:
    """Return p50 and p99 of both round trips and a step, and the controller node's overhead, µs.

    Args:
        seconds: how long the network runs, s.

    Raises:
        LatencyBenchError: a node did not start, left RUN, or readings were not answered.
    """
    rule = shipped("rules", "a1_walk.rule.safetensors")
    domain = own_domain()
    environment = ros_environment(domain)
    os.environ.update(ros_environment())  # the operator's node is in this process
    given: dict[str, Value] = {"rule_file": str(rule), "tick_source": "sensor"}
    with (
        TemporaryDirectory() as logs,
        NodeProcess(
            CONTROLLER, given, environment=environment, log=Path(logs) / "controller.log"
        ) as controller,
        NodeProcess(ECHO, {}, environment=environment, log=Path(logs) / "echo.log"),
        Operator(domain_id=domain) as operator,
    ):
        return _Bench(operator, controller, rule).run(seconds)


class _Bench:
    def __init__(self, operator: Operator, process: NodeProcess, path: Path) -> None:
        rule = load_rule(path)
        self._operator, self._process = operator, process
        self._robot: RobotSpec = load_shipped_robot(rule.header.contract.robot)
        self._period = rule.header.tick_period
        self._controller = controller_for(rule, self._robot)
        self._rng = np.random.default_rng(0)
        self._controller.reset(self._rng, self._robot.default)
        self._stamp = 10**9
        self._phase = self._reason = ""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        operator.watch(DiagnosticStatus, f"{CONTROLLER_NODE}/status", self._hear, latched)
        self._node = RoundTrip(operator, "")
        self._echo = RoundTrip(operator, f"{NAMESPACE}/")

    def run(self, seconds: float) -> dict[str, float]:
        """Return the figures, once the network runs."""
        if not self._operator.change_state(CONTROLLER_NODE, "configure", timeout=PATIENCE):
            raise LatencyBenchError(f"not configured: {last_line(self._process)}")
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self._operator.change_state, CONTROLLER_NODE, "activate")
            self._go_on_until(time.monotonic() + PATIENCE, phase="RUN")
        rows = self._go_on_until(time.monotonic() + seconds)
        answered = [row for row in rows if None not in row]
        if self._phase != "RUN" or len(answered) < (1.0 - MAX_UNANSWERED) * len(rows):
            raise LatencyBenchError(
                f"{len(answered)} of {len(rows)} readings were answered by both nodes; the controller "
                f"is in {self._phase}. {self._reason or 'Is the machine busy?'}"
            )
        node, echo, step = np.asarray(answered, dtype=np.float64).T * 1e6
        figures = {
            f"{name}_p{part}_us": float(np.percentile(times, part))
            for name, times in (("node", node), ("echo", echo), ("step", step))
            for part in (50, 99)
        }
        besides = figures["node_p50_us"] - figures["echo_p50_us"] - figures["step_p50_us"]
        return {
            **figures,
            "besides_p50_us": besides,
            "readings": len(rows),
            "unanswered": len(rows) - len(answered),
        }

    def _go_on_until(
        self, end: float, *, phase: str = ""
    ) -> list[tuple[float | None, float | None, float]]:
        """Exchange readings until a moment or a phase; return the times of node, echo and step, s."""
        rows = []
        due = time.monotonic()
        while (now := time.monotonic()) < end and not (phase and self._phase == phase):
            due = max(due + self._period, now)
            rows.append(self._turn(INACTIVE_TIMEOUT if phase else ANSWER_TIMEOUT))
            time.sleep(max(0.0, due - time.monotonic()))
        if phase and self._phase != phase:
            raise LatencyBenchError(
                f"expected {phase}, got {self._phase}: {last_line(self._process)}"
            )
        return rows

    def _turn(self, timeout: float) -> tuple[float | None, float | None, float]:
        robot, n = self._robot, self._robot.n_joints
        self._stamp += round(self._period * 1e9)
        # A robot that follows exactly.
        told = np.array(self._node.answer) if self._node.answer else robot.default
        position = told + 0.01 * self._rng.standard_normal(n)
        velocity = 0.1 * self._rng.standard_normal(n)
        joints = JointState(
            name=list(robot.joint_names),
            position=array("d", position.tolist()),
            velocity=array("d", velocity.tolist()),
        )
        imu = Imu()
        imu.angular_velocity.z = 0.01 * float(self._rng.standard_normal())  # a constant one damps
        joints.header.stamp = imu.header.stamp = time_message(self._stamp)
        node = self._node.exchange(joints, imu, timeout=timeout)
        echo = self._echo.exchange(joints, imu, timeout=timeout)
        now = time.monotonic()
        reading = SensorReading(
            stamp=self._stamp * 1e-9,
            received=now,
            joint_position=position,
            joint_velocity=velocity,
            orientation=np.array((0.0, 0.0, 0.0, 1.0)),
            angular_velocity_base=np.zeros(3),
        )
        start = time.perf_counter()
        self._controller.step(reading, now)
        return node, echo, time.perf_counter() - start

    def _hear(self, status: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in status.values}
        self._phase, self._reason = values["phase"], values.get("reason", "")
