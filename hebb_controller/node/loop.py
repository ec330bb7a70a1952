"""The control loop as a state machine: readings in, commands out, no ROS, no clock, no thread.

::

    INACTIVE --start--> TO_DEFAULT_POSE --arrived--> RUN
        ^                 |   ^                       |
        |                 v   | reset_estop           v
        +------stop----- DAMPED (latched, with its reason)

Time is passed in: ``now`` is on the steady clock of ``SensorReading.received``, stamps are the
readings' own. Only one thread may call into a loop.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..controller import Controller
from ..robot import FloatArray, RobotSpec
from ..safety import Safety, damp_command
from ..signals import Command, Limit, LimitReport, Mode
from .values import Loaded, LoopSettings, LoopStatus, Phase, Sample

MOVE_SPEED = 1.0  # rad/s, the fastest joint on the way to the default pose
MOVE_DURATION = 0.5  # s, the shortest way to the default pose
LOCK_STEP_WATCHDOG = 5.0  # s of steady time without a reading, in lock-step


class ControlLoop:
    """Drives one robot from readings.

    Args:
        robot: the robot; its limits hold.
        loaded: the controller to begin with.
        settings: how time is judged.
    """

    def __init__(self, robot: RobotSpec, loaded: Loaded, settings: LoopSettings) -> None:
        self.robot = robot
        self.status = LoopStatus(Phase.INACTIVE, "", loaded.path, loaded.sha256)
        self.ticks = 0
        self.last_limits = Limit.NONE
        self._controller = loaded.controller
        self._settings = settings
        self._staged: Loaded | None = None
        self._period = round(loaded.controller.interface.period * 1e9)
        self._safety = Safety(robot, period=loaded.controller.interface.period)
        self._started = 0.0
        self._sample: Sample | None = None
        self._due: int | None = None
        self._held: Command | None = None
        self._stop_command = damp_command(robot)
        self._move: tuple[FloatArray, int, int] | None = None

    @property
    def controller(self) -> Controller:
        """The controller in force."""
        return self._controller

    def start(self, now: float) -> None:
        """Begin the way into a run; readings received before ``now`` do not count."""
        self._started = now
        self._sample = self._due = self._held = self._move = None
        self.status = replace(self.status, phase=Phase.TO_DEFAULT_POSE, reason="")

    def stop(self) -> Command | None:
        """Leave the active states; return the command to leave with, None if there were none."""
        was = self.status.phase
        self.status = replace(self.status, phase=Phase.INACTIVE, reason="")
        return None if was is Phase.INACTIVE else damp_command(self.robot)

    def damp(self, reason: str) -> Command | None:
        """Latch DAMPED for a reason that is not the sensors'; None if the loop is inactive."""
        if self.status.phase is Phase.INACTIVE:
            return None
        return self._latch(LimitReport(Limit.NONE, reason), damp_command(self.robot))

    def reset_estop(self, now: float) -> str:
        """Leave DAMPED through TO_DEFAULT_POSE; return why not, or an empty string."""
        if self.status.phase is not Phase.DAMPED:
            return f"nothing to reset: the controller is in {self.status.phase.value}."
        if self._sample is None:
            return (
                "there is no sensor reading yet. Mend: see that joint_states and imu/data arrive."
            )
        report = self._check(self._sample, now)
        if report.tripped:
            return f"still unsafe: {report.detail}."
        self.start(now)
        return ""

    def stage(self, loaded: Loaded) -> None:
        """Have the next tick go on with another controller, from fresh weights."""
        self._staged = loaded

    def set_plasticity_gain(self, gain: float) -> None:
        """Set the factor on every weight change, of this rule and of those that follow."""
        self._controller.runtime.plasticity_gain = gain

    def tick(self, sample: Sample | None, now: float) -> Command | None:
        """Return the command to send, or None if there is nothing to command.

        Args:
            sample: the latest reading, the same one again if there is no newer; None before the
                first.
            now: steady time, s.
        """
        if self._staged is not None:
            self._swap(self._staged)
        phase = self.status.phase
        if phase is Phase.INACTIVE:
            return damp_command(self.robot) if self._settings.lock_step else None
        if sample is None or sample.reading.received < self._started:
            return self._without_reading(now)
        before, self._sample = self._sample, sample
        if phase is Phase.DAMPED:
            return self._stop_command
        report = self._check_stamps(before, sample)
        if not report.tripped:
            report = self._check(sample, now)
        if report.tripped:
            return self._latch(report, self._safe_command(report))
        repeated = before is not None and sample.stamp == before.stamp
        if repeated or not self._is_due(sample.stamp):
            return self._held
        command = self._advance(sample, now)
        self.ticks += 1
        self.last_limits = command.limits.acted
        if command.limits.tripped:
            return self._latch(command.limits, command)
        self._held = command
        return command

    def _without_reading(self, now: float) -> Command | None:
        if self.status.phase is Phase.DAMPED:
            return self._stop_command
        quiet = now - self._started
        if quiet <= self._watchdog:
            return None
        detail = f"no complete sensor reading for {quiet * 1e3:.0f} ms since the start"
        return self._latch(LimitReport(Limit.STALE, detail), damp_command(self.robot))

    @property
    def _watchdog(self) -> float:
        settings = self._settings
        return LOCK_STEP_WATCHDOG if settings.lock_step else settings.sensor_timeout

    def _check_stamps(self, before: Sample | None, sample: Sample) -> LimitReport:
        if before is None:
            return LimitReport(Limit.NONE)
        step = (sample.stamp - before.stamp) * 1e-9
        if step < 0:
            return LimitReport(Limit.STALE, f"the stamps jumped back by {-step:.3f} s")
        if self._settings.lock_step and step > self._settings.sensor_timeout + 1e-9:
            return LimitReport(Limit.STALE, f"the stamps jumped ahead by {step:.3f} s")
        return LimitReport(Limit.NONE)

    def _check(self, sample: Sample, now: float) -> LimitReport:
        quiet = now - sample.reading.received
        if self._settings.lock_step and quiet > self._watchdog:
            return LimitReport(Limit.STALE, f"no sensor reading for {quiet:.1f} s (lock-step)")
        return self._safety.check(sample.reading, self._judged(sample, now))

    def _judged(self, sample: Sample, now: float) -> float:
        """Return the time by which a reading's age is judged: in lock-step it has none."""
        return sample.reading.received if self._settings.lock_step else now

    def _is_due(self, stamp: int) -> bool:
        """Return whether a tick falls on this stamp, and count on to the next one.

        A quarter of a period early counts as due: sensors that run at the rule's own rate jitter.
        """
        if not self._settings.every_reading:
            return True
        if self._due is not None and stamp < self._due - self._period // 4:
            return False
        due = stamp if self._due is None else self._due
        self._due = due + self._period if stamp < due + self._period else stamp + self._period
        return True

    def _advance(self, sample: Sample, now: float) -> Command:
        judged = self._judged(sample, now)
        if self.status.phase is Phase.RUN:
            return self._controller.step(sample.reading, judged)
        if self._move is None:
            position = sample.reading.joint_position
            way = float(np.abs(self.robot.default - position).max())
            duration = round(max(MOVE_DURATION, way / MOVE_SPEED) * 1e9)
            self._move = (position.copy(), sample.stamp, duration)
            self._controller.reset(self._rng(), position)
        start, since, duration = self._move
        done = min(1.0, (sample.stamp - since) / duration)
        target = start + done * (self.robot.default - start)
        command = self._controller.move_to(target, sample.reading, judged)
        if done >= 1.0 and not command.limits.tripped:
            self._controller.reset(self._rng(), self._controller.last_position)
            self.status = replace(self.status, phase=Phase.RUN)
        return command

    def _swap(self, loaded: Loaded) -> None:
        position = self._controller.last_position
        loaded.controller.reset(self._rng(), position)
        loaded.controller.runtime.plasticity_gain = self._controller.runtime.plasticity_gain
        self._controller, self._staged = loaded.controller, None
        self._period = round(loaded.controller.interface.period * 1e9)
        self.status = replace(
            self.status,
            rule_file=loaded.path,
            sha256=loaded.sha256,
            swap=self.status.swap + 1,
        )

    def _rng(self) -> np.random.Generator:
        """Return the source of the initial weights: that of an episode with the same seed."""
        seed = self._settings.seed
        return np.random.default_rng() if seed < 0 else np.random.default_rng((seed, 1))

    def _safe_command(self, report: LimitReport) -> Command:
        if self._held is None:  # nothing was commanded yet that could be held
            return damp_command(self.robot, report)
        return self._safety.safe_command(self._controller.last_position, report)

    def _latch(self, report: LimitReport, command: Command) -> Command:
        if self.status.phase is not Phase.DAMPED:
            action = "damping" if command.mode is Mode.DAMP else "holding"
            self.status = replace(
                self.status, phase=Phase.DAMPED, reason=f"{report.detail}: {action}"
            )
            self._stop_command = command
        elif command.mode is Mode.DAMP:
            self._stop_command = command
        return self._stop_command
