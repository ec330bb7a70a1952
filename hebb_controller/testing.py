"""Tests of a rule against a scenario, over real ROS 2 processes, for a repository of robot tests.

Import the fixture in a ``conftest.py``, as shown in docs/testing.md::

    from hebb_controller.testing import simulate

Simulator and controller are separate processes, in lock-step: the same arguments give the same
trajectory bit for bit, however busy the machine is. Needs pytest, and the extras ros and sim.
"""

from __future__ import annotations

import functools
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState

from hebb_sim.scenario import load_scenario
from hebb_sim.world import TICK_PERIOD

from .errors import HebbError
from .node import parameters
from .node.processes import own_domain
from .node.sim_loop import CONTROLLER_NODE, SimLoop, sim_loop, speed_ahead
from .node.values import Value
from .robot import FloatArray, load_robot, load_shipped_robot
from .rule_file import load_rule

SPAN = 3.0  # s over which speeds are compared, as in train.metrics
STALL = 10.0  # s of wall time without news before a run is given up
DEPTH = 1000  # messages that may wait for this process


class Phase(NamedTuple):
    """A phase of the controller, and its reason where it has one."""

    name: str
    reason: str


class InForce(NamedTuple):
    """The damages that came into force at a moment, s, as text."""

    time: float
    damages: str


@dataclass(frozen=True)
class ScenarioRun:
    """What happened in a run.

    Attributes:
        ticks: rows of the trajectory.
        speed_before: along the initial heading, m/s, over the 3 s before the first damage.
        speed_after: the same over the last 3 s, or since that damage; without one both are the same.
        fallen: whether the base was below the robot's fall height, or the controller damped.
        deterministic: whether every reading was answered, so that the same seed gives the same bits.
        phases: of the controller since it was activated, in order.
        damages: in force from the start (``none``, or the scenario's background), then each change.
        swap: number of rule changes.
        swap_state: of the last swap, as in ``~/status``.
        trajectory: (ticks, 8 + joints) stamp, s; base position, m; orientation xyzw; joints, rad, in
            the order of the robot spec.
    """

    ticks: int
    speed_before: float
    speed_after: float
    fallen: bool
    deterministic: bool
    phases: tuple[Phase, ...]
    damages: tuple[InForce, ...]
    swap: int
    swap_state: str
    trajectory: FloatArray = field(repr=False)

    def __str__(self) -> str:
        damages = [f"{text} at {when:.2f} s" if when else text for when, text in self.damages]
        phases = [f"{name} ({reason})" if reason else name for name, reason in self.phases]
        return (
            f"{self.ticks} ticks, {'' if self.deterministic else 'not '}deterministic\n"
            f"speed {self.speed_before:.2f} m/s, then {self.speed_after:.2f} m/s"
            f"{', fallen' if self.fallen else ''}\n"
            f"damages: {' > '.join(damages)}\n"
            f"phases: {' > '.join(phases)}\n"
            f"swaps: {self.swap} ({self.swap_state})"
        )

    def speed(self, start: float, stop: float) -> float:
        """Return the mean speed along the initial heading between two moments, m/s."""
        return _speed(self.trajectory, start, stop)


def run_scenario(
    rule: str | Path,
    scenario: str | Path,
    *,
    logs: Path,
    seed: int = 0,
    duration: float | None = None,
    robot: str | None = None,
    controller: Mapping[str, Value] | None = None,
) -> ScenarioRun:
    """Run a rule through a scenario over ROS 2; return what happened.

    Args:
        rule: the rule file.
        scenario: name of a shipped one, or path of a .yaml file.
        logs: directory; the output of the two nodes goes to a new one inside.
        seed: of the pose, of what the scenario draws and of the initial weights.
        duration: s of simulated time; None for the scenario's.
        robot: name or path of the robot spec; None for the robot that the rule was trained for.
        controller: further parameters of the controller node.

    Raises:
        HebbError: the rule, the scenario or a parameter was refused, or a node stopped.
    """
    if robot is None:
        robot = load_shipped_robot(load_rule(rule).header.contract.robot).name
    spec = load_robot(robot)
    planned = float(load_scenario(scenario, spec).duration)
    if duration is not None and not math.isfinite(duration):
        raise HebbError(f"duration is {duration} s; it must be finite.")
    ticks = math.ceil(((planned if duration is None else duration) - TICK_PERIOD / 2) / TICK_PERIOD)
    if ticks < 1:
        raise HebbError(f"duration is {duration} s; it must be at least {TICK_PERIOD} s.")
    given: dict[str, Value] = {
        "real_time_factor": 0.0,
        "robot": robot,
        "seed": seed,
        "scenario": str(scenario),
        "duration": ticks * TICK_PERIOD,
    }
    driven: dict[str, Value] = {
        "robot": robot,
        "seed": seed,
        "rule_file": str(rule),
        **(controller or {}),
    }
    parameters.check_names(driven)
    kept = Path(tempfile.mkdtemp(prefix="run_", dir=logs))
    with sim_loop(given, driven, logs=kept, domain_id=own_domain()) as loop:
        heard = _Listener(loop)
        loop.activate()
        _wait(lambda: heard.complete(1), heard, loop)
        loop.set("paused", value=False)
        _wait(lambda: heard.complete(ticks) and loop.simulator.exit_code is not None, heard, loop)
        trajectory = heard.trajectory()
    end = ticks * TICK_PERIOD
    # The first entry is what was in force from the start.
    since, until = (heard.damages[1].time,) * 2 if len(heard.damages) > 1 else (0.0, end)
    fallen = bool(trajectory[:, 3].min() < spec.simulation.fall_height)
    return ScenarioRun(
        ticks=len(trajectory),
        speed_before=_speed(trajectory, until - SPAN, until),
        speed_after=_speed(trajectory, max(since, end - SPAN), end),
        fallen=fallen or any(phase.name == "DAMPED" for phase in heard.phases),
        deterministic=heard.simulator["deterministic"] == "True",
        phases=tuple(heard.phases),
        damages=tuple(heard.damages),
        swap=int(heard.status["swap"]),
        swap_state=heard.status["swap_state"],
        trajectory=trajectory,
    )


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[..., ScenarioRun]:
    """Return :func:`run_scenario`, with its logs in ``tmp_path``.

    Each pytest process has a ROS domain of its own; no run leaves a process behind.
    """
    return functools.partial(run_scenario, logs=tmp_path)


class _Listener:
    """Takes messages in the operator's thread, one per stamp."""

    def __init__(self, loop: SimLoop) -> None:
        self.phases: list[Phase] = []
        self.damages: list[InForce] = []
        self.status: dict[str, str] = {}
        self.simulator: dict[str, str] = {}
        self.news = time.monotonic()
        self._bases: dict[int, tuple[float, ...]] = {}
        self._joints: dict[int, tuple[float, ...]] = {}
        latched = QoSProfile(depth=DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        watch = loop.operator.watch
        watch(Odometry, "odom", self._on_odometry, DEPTH)
        watch(JointState, "joint_states", self._on_joints, DEPTH)
        watch(DiagnosticArray, "/diagnostics", self._on_diagnostics, DEPTH)
        watch(DiagnosticStatus, f"{CONTROLLER_NODE}/status", self._on_status, latched)

    def complete(self, ticks: int) -> bool:
        """Return whether this many ticks have been heard, and each node at least once."""
        return bool(self.phases and self.damages) and self.ticks >= ticks

    @property
    def ticks(self) -> int:
        """Number of ticks heard in full."""
        return min(len(self._bases), len(self._joints))

    def trajectory(self) -> FloatArray:
        """Return a row for each tick."""
        return np.array(
            [(stamp / 1e9, *base, *self._joints[stamp]) for stamp, base in self._bases.items()]
        )

    def _on_odometry(self, message: Odometry) -> None:
        p, q = message.pose.pose.position, message.pose.pose.orientation
        self._bases.setdefault(_stamp(message), (p.x, p.y, p.z, q.x, q.y, q.z, q.w))
        self.news = time.monotonic()

    def _on_joints(self, message: JointState) -> None:
        self._joints.setdefault(_stamp(message), tuple(message.position))

    def _on_status(self, message: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in message.values}
        phase = Phase(values["phase"], values.get("reason", ""))
        if phase.name not in {"UNCONFIGURED", "INACTIVE"}:
            self.status = values
            if [phase] != self.phases[-1:]:
                self.phases.append(phase)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "sim_node: receiver":
                self.simulator = {pair.key: pair.value for pair in status.values}
                now = InForce(float(self.simulator["sim_time"]), self.simulator["damage"])
                if self.damages and self.damages[-1].time == now.time:
                    self.damages.pop()
                if not self.damages or self.damages[-1].damages != now.damages:
                    self.damages.append(now)


def _stamp(message: Any) -> int:  # noqa: ANN401 - messages have no types
    return int(message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec)


def _speed(trajectory: FloatArray, start: float, stop: float) -> float:
    return speed_ahead(trajectory[:, 0], trajectory[:, 1:4], trajectory[0, 4:8], start, stop)


def _wait(done: Callable[[], bool], heard: _Listener, loop: SimLoop) -> None:
    while not done():
        ended = loop.controller.exit_code is not None or loop.simulator.exit_code not in {None, 0}
        if ended or time.monotonic() - heard.news > STALL:
            raise HebbError(
                f"the run stopped before its end; {heard.ticks} ticks were heard. "
                f"{loop.last_words()}"
            )
        time.sleep(0.01)
