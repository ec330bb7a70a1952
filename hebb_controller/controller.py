"""One control tick: observe → step → limit. Training, simulation and the robot all go through it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .contract import check_contract
from .observation import Observer
from .plasticity import Array
from .robot import FloatArray, RobotSpec
from .rule import Rule
from .runtime.base import Runtime
from .runtime.numpy_runtime import NumpyRuntime
from .safety import Safety
from .signals import Command, Mode, SensorReading

MOVE_RATE = 1.0
"""rad/s: no joint moves to a pose faster than this, whatever its own limit."""


@dataclass(frozen=True)
class Interface:
    """How a network is wired to a robot.

    Attributes:
        observer: builds the network's observations.
        default: (n,) position of a zero action, rad.
        action_scale: (n,) what an action of 1 adds to it, rad.
        period: time between ticks, s.
    """

    observer: Observer
    default: FloatArray
    action_scale: FloatArray
    period: float


class Controller:
    """Drives one robot with one runtime.

    Args:
        robot: the robot, whose limits apply.
        interface: how the network is wired to it.
        runtime: the network.
    """

    def __init__(self, robot: RobotSpec, interface: Interface, runtime: Runtime) -> None:
        self.robot = robot
        self.interface = interface
        self.runtime = runtime
        self._safety = Safety(robot, period=interface.period)
        slow = np.minimum(robot.max_target_rate, MOVE_RATE)
        self._moving = Safety(replace(robot, max_target_rate=slow), period=interface.period)
        self._last_position = robot.default.copy()
        self.last_observation: Array = np.zeros(interface.observer.size, dtype=np.float32)
        self.last_action: Array = np.zeros(robot.n_joints, dtype=np.float32)

    @property
    def last_position(self) -> FloatArray:
        """The position targets of the last command, (n,) rad."""
        return self._last_position

    def reset(
        self,
        rng: np.random.Generator,
        position: FloatArray | None = None,
        *,
        turn: float = 0.0,
    ) -> None:
        """Start a run.

        Args:
            rng: draws the initial weights.
            position: (n,) position targets in force, rad; None for the default pose.
            turn: angle from the robot's heading at the start to the heading to keep, rad.
        """
        self.interface.observer.reset(turn=turn)
        self.runtime.reset(rng)
        self.last_observation = np.zeros_like(self.last_observation)
        self.last_action = np.zeros_like(self.last_action)
        start = self.robot.default if position is None else position
        self._last_position = np.array(start, dtype=np.float64)

    def step(
        self, reading: SensorReading, now: float, *, blend: tuple[FloatArray, float] | None = None
    ) -> Command:
        """Return the command for one tick.

        Args:
            reading: what was measured.
            now: time on the clock of ``reading.received``, s.
            blend: (n,) targets of the previous controller, rad, and the weight, 0 to 1, of the
                network's own; None for the network's alone.

        A reading that trips a safety stage never reaches the network and leaves its state unchanged.

        Raises:
            ShapeError: an array of the reading has another shape than the robot's.
        """
        report = self._safety.check(reading, now)
        if report.tripped:
            return self._safety.safe_command(self._last_position, report)
        target = self.act(reading, self._last_position)
        if blend is not None:
            other, share = blend
            target = (1.0 - share) * other + share * target
        return self._bounded(self._safety, target, reading)

    def act(self, reading: SensorReading, last_position: FloatArray) -> FloatArray:
        """Run the network for one tick and return its (n,) targets, rad, not yet bounded.

        Args:
            reading: what was measured; it must have passed the safety stages.
            last_position: (n,) position targets in force, rad.
        """
        self.last_observation = self.interface.observer.observe(reading, last_position)
        self.last_action = self.runtime.step(self.last_observation)
        return self.interface.default + self.interface.action_scale * self.last_action

    def move_to(self, target: FloatArray, reading: SensorReading, now: float) -> Command:
        """Return the command towards a pose, at ``MOVE_RATE`` at most and without the network.

        Args:
            target: (n,) positions to reach, rad.
            reading: what was measured.
            now: time on the clock of ``reading.received``, s.
        """
        report = self._safety.check(reading, now)
        if report.tripped:
            return self._safety.safe_command(self._last_position, report)
        return self._bounded(self._moving, target, reading)

    def _bounded(self, safety: Safety, target: FloatArray, reading: SensorReading) -> Command:
        position, report = safety.bound(target, self._last_position, reading.joint_position)
        if report.tripped:
            return self._safety.safe_command(self._last_position, report)
        position.setflags(write=False)  # the next rate limit starts from it
        self._last_position = position
        return Command(Mode.POSITION, position, self.robot.kp, self.robot.kd, report)


def interface_for(rule: Rule, robot: RobotSpec) -> Interface:
    """Return the wiring that a rule was trained with.

    Raises:
        ContractError: the rule does not fit this robot.
    """
    check_contract(rule.header.contract, robot)
    contract = rule.header.contract
    return Interface(
        observer=Observer(contract.channels, robot),
        default=np.array([joint.default for joint in contract.joints]),
        action_scale=np.array([joint.action_scale for joint in contract.joints]),
        period=rule.header.tick_period,
    )


def controller_for(rule: Rule, robot: RobotSpec) -> Controller:
    """Return a controller that runs a validated rule on a robot.

    Raises:
        ContractError: the rule does not fit this robot.
    """
    return Controller(robot, interface_for(rule, robot), NumpyRuntime(rule))
