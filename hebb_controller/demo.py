"""The demo: simulator and controller as two processes over DDS, and a leg that fails on the way."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from .errors import HebbError
from .node.processes import own_domain
from .node.sim_loop import CONTROLLER_NODE, sim_loop, speed_ahead
from .node.values import Value
from .rotation import wrap_angle, yaw

PACE = 2.0  # simulated seconds per second, at most: fast enough to wait for, slow enough to read
LIES = 0.15  # m in a second; a walking robot gets further
STALL = 20.0  # s of wall time without a message before the demo gives up


@dataclass(frozen=True)
class Act:
    """A part of the demo.

    Attributes:
        name: for the table.
        start, stop: s of simulated time.
        damage: in force meanwhile.
    """

    name: str
    start: float
    stop: float
    damage: str


@dataclass
class Recording:
    """What was heard, a row per tick.

    Attributes:
        time: stamp, s.
        position: base, m.
        orientation: base, xyzw.
        joints: rad.
        heading: since the start, rad.
        damage: in force.
        phase: of the controller.
        change: per layer, mean |ΔW| of the last plastic step.
        norm: per layer, Frobenius norm of the weights.
    """

    time: list[float] = field(default_factory=list)
    position: list[tuple[float, float, float]] = field(default_factory=list)
    orientation: list[tuple[float, float, float, float]] = field(default_factory=list)
    joints: list[tuple[float, ...]] = field(default_factory=list)
    heading: list[float] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    phase: list[str] = field(default_factory=list)
    change: list[tuple[float, ...]] = field(default_factory=list)
    norm: list[tuple[float, ...]] = field(default_factory=list)

    def speed(self, start: float, stop: float) -> float:
        """Return the mean speed along the initial heading between two moments, m/s."""
        return speed_ahead(self.time, self.position, self.orientation[0], start, stop)

    def phase_at(self, moment: float) -> str:
        """Return the controller's phase at a moment, s; the last one known, after the end."""
        return self.phase[min(int(np.searchsorted(self.time, moment)), len(self.phase) - 1)]

    def write_csv(self, path: Path) -> None:
        """Write everything, a row per tick."""
        layers = len(self.change[-1]) if self.change else 0
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["time_s", "x_m", "y_m", "z_m", "heading_rad", "damage", "phase"]
                + [f"layer{k}_mean_abs_change" for k in range(layers)]
                + [f"layer{k}_weight_norm" for k in range(layers)]
                + [f"joint{k}_rad" for k in range(len(self.joints[0]) if self.joints else 0)]
            )
            for i, moment in enumerate(self.time):
                writer.writerow(
                    [
                        moment,
                        *self.position[i],
                        self.heading[i],
                        self.damage[i],
                        self.phase[i],
                        *self.change[i],
                        *self.norm[i],
                        *self.joints[i],
                    ]
                )


class _Listener:
    """Takes messages in the operator's thread and appends a row for each odometry message."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.damage = "none"
        self.phase = "UNCONFIGURED"
        self.reason = ""
        self.heard = time.monotonic()
        self._joints: tuple[float, ...] = ()
        self._change: tuple[float, ...] = ()
        self._norm: tuple[float, ...] = ()
        self._start_yaw: float | None = None

    def lies(self) -> bool:
        """Return whether the network drives and the robot has hardly moved for a second."""
        kept = self.recording
        rows = len(kept.time)  # the last of these rows is complete
        before = int(np.searchsorted(kept.time, kept.time[-1] - 1.0))
        moved = np.subtract(kept.position[rows - 1], kept.position[before])
        return self.phase == "RUN" and float(np.hypot(moved[0], moved[1])) < LIES

    def wait_for(self, phase: str) -> None:
        """Wait until the controller reports a phase.

        Raises:
            HebbError: it does not report it.
        """
        end = time.monotonic() + STALL
        while self.phase != phase:
            if time.monotonic() > end:
                raise HebbError(f"the controller is in {self.phase}, not in {phase}.")
            time.sleep(0.02)

    def on_joints(self, message: JointState) -> None:
        self._joints = tuple(message.position)

    def on_plasticity(self, message: Float64MultiArray) -> None:
        self._change, self._norm = tuple(message.data[0::2]), tuple(message.data[1::2])

    def on_status(self, message: DiagnosticStatus) -> None:
        values = {item.key: item.value for item in message.values}
        self.phase, self.reason = values.get("phase", ""), values.get("reason", "")

    def on_odometry(self, message: Odometry) -> None:
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        self.heard = time.monotonic()
        kept = self.recording
        if not self._joints or not self._change or (kept.time and stamp <= kept.time[-1]):
            return
        p, q = message.pose.pose.position, message.pose.pose.orientation
        heading = yaw(np.array([q.x, q.y, q.z, q.w]))
        if self._start_yaw is None:
            self._start_yaw = heading
        kept.position.append((p.x, p.y, p.z))
        kept.orientation.append((q.x, q.y, q.z, q.w))
        kept.joints.append(self._joints)
        kept.heading.append(wrap_angle(heading - self._start_yaw))
        kept.damage.append(self.damage)
        kept.phase.append(self.phase)
        kept.change.append(self._change)
        kept.norm.append(self._norm)
        kept.time.append(stamp)  # last: its length says how many rows are complete


def run_demo(
    rule: Path,
    acts: tuple[Act, ...],
    *,
    robot: str,
    seed: int,
    logs: Path,
    say: Callable[[str], None],
) -> Recording:
    """Play the acts; return what was heard.

    Args:
        rule: the rule file.
        acts: one after the other, the first at 0 s.
        robot: name of the robot spec.
        seed: of the pose and the initial weights.
        logs: directory for the output of the two nodes.
        say: prints a line.

    Raises:
        HebbError: a node refused something or stopped.
    """
    domain = own_domain()
    simulator: dict[str, Value] = {"robot": robot, "seed": seed, "real_time_factor": PACE}
    controller: dict[str, Value] = {"robot": robot, "seed": seed, "rule_file": str(rule)}
    with sim_loop(simulator, controller, logs=logs, domain_id=domain) as loop:
        operator = loop.operator
        say(
            f"sim_node (pid {loop.simulator.pid}) and controller_node (pid {loop.controller.pid}), "
            f"ROS domain {domain}"
        )
        listener = _Listener()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        operator.watch(JointState, "joint_states", listener.on_joints, 50)
        operator.watch(Odometry, "odom", listener.on_odometry, 50)
        operator.watch(
            Float64MultiArray, f"{CONTROLLER_NODE}/plasticity", listener.on_plasticity, 50
        )
        operator.watch(DiagnosticStatus, f"{CONTROLLER_NODE}/status", listener.on_status, latched)
        loop.activate()
        loop.set("paused", value=False)
        told = 0.0
        for act in acts:
            if act.damage != listener.damage:
                if act.damage == "none" and listener.lies():
                    # A leg that regains power while the robot struggles may throw it over.
                    say(
                        "  the robot is not making progress; calling ~/estop before its leg is restored"
                    )
                    operator.trigger(f"{CONTROLLER_NODE}/estop")
                    listener.wait_for("DAMPED")
                loop.set("damage", value=act.damage)
                listener.damage = act.damage
                if act.damage == "none" and listener.phase == "DAMPED":
                    say(f"  the controller is damped ({listener.reason}); calling ~/reset_estop")
                    if refused := operator.trigger(f"{CONTROLLER_NODE}/reset_estop"):
                        say(f"  refused: {refused}")
            while not listener.recording.time or listener.recording.time[-1] < act.stop:
                time.sleep(0.02)
                if listener.recording.time and listener.recording.time[-1] >= told + 1.0:
                    told = listener.recording.time[-1]
                    say(_live_line(listener, told))
                if time.monotonic() - listener.heard > STALL:
                    raise HebbError(f"nothing heard for {STALL:g} s. {loop.last_words()}")
    return listener.recording


def _live_line(listener: _Listener, now: float) -> str:
    kept = listener.recording
    change = " ".join(f"{value:.4f}" for value in kept.change[-1])
    return (
        f"  t {now:5.1f} s   speed {kept.speed(now - 1.0, now):+.2f} m/s   |ΔW| {change}   "
        f"damage {listener.damage}   {listener.phase}"
    )
