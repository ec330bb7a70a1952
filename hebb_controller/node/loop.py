"""The control loop as a state machine: readings in, commands out, no ROS, no clock, no thread.

::

    INACTIVE --start--> TO_DEFAULT_POSE --arrived--> RUN
        ^                 |   ^                       |
        |                 v   | reset_estop           v
        +------stop----- DAMPED (latched, with its reason)

Time is passed in: ``now`` is on the steady clock of ``SensorReading.received``, stamps are the
readings' own.

One thread, the control thread, ticks a loop and makes every call that changes it. Other threads may read
``status``, ``loaded``, ``ticks``, ``last_limits``, ``gain``, ``tick_rate`` and ``supervisor.measured``,
and call ``refusal_to_carry`` and what :class:`~hebb_controller.node.guard.Guard` permits. All of these
change nothing, and the values behind them are immutable and replaced as a whole: a reader never sees half
of one, but two of them may be a tick apart. So they serve diagnostics and early refusals; whatever depends
on the state at one moment is decided in the control thread.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..controller import MOVE_RATE, Controller
from ..robot import RobotSpec
from ..runtime.base import State
from ..safety import Safety, damp_command
from ..signals import NOTHING_ACTED, Command, Limit, LimitReport, Mode
from .guard import Guard
from .plasticity_switch import PlasticitySwitch
from .pose_ramp import PoseRamp
from .rates import Pace
from .succession import Succession, SwapSettings
from .supervisor import Stage, Supervisor, SupervisorSettings
from .values import Loaded, LoopSettings, LoopStatus, Phase, Sample


class ControlLoop:
    """Drives one robot from readings.

    Args:
        robot: the robot; its limits hold.
        loaded: the controller to begin with.
        settings: how time and rates are judged.
        swap: how one rule takes over from another.
        supervisor: how the weights are supervised.
    """

    def __init__(
        self,
        robot: RobotSpec,
        loaded: Loaded,
        settings: LoopSettings,
        *,
        swap: SwapSettings,
        supervisor: SupervisorSettings,
    ) -> None:
        self.robot = robot
        self.ticks = 0
        self.ran = loaded
        """The rule that ticked last; it may have been rolled back since."""
        self.last_limits = Limit.NONE
        self._settings = settings
        self._succession = Succession(loaded, swap, supervisor, self._rng)
        self._staged: tuple[Loaded, bool] | None = None
        period = loaded.controller.interface.period
        self._safety = Safety(robot, period=period)
        self.guard = Guard(robot, self._safety, settings)
        self._started = self._called = 0.0
        self._sample: Sample | None = None
        self._held: Command | None = None
        self._stop_command = damp_command(robot)
        self._ramp: PoseRamp | None = None
        self._pace = Pace(round(period * 1e9), early=0, drifts=settings.by_stamps)
        self._plasticity = PlasticitySwitch(
            loaded.controller.runtime.plasticity_gain,
            period=period,
            rate_tolerance=settings.rate_tolerance,
        )
        self._follow_period()
        self.status = LoopStatus(Phase.INACTIVE, "", loaded.path, loaded.sha256)
        self._update_status()

    @property
    def loaded(self) -> Loaded:
        """The rule in force."""
        return self._succession.running.loaded

    @property
    def controller(self) -> Controller:
        """The controller in force."""
        return self._succession.running.controller

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor of the weights of the rule in force."""
        return self._succession.running.supervisor

    @property
    def asked(self) -> str:
        """The name by which the rule that drives, or is about to, was asked for."""
        return self._staged[0].asked if self._staged else self.loaded.asked

    @property
    def gain(self) -> float:
        """The factor on every weight change now in force."""
        return self._plasticity.gain(self.supervisor)

    @property
    def tick_rate(self) -> float:
        """The rate of the rule's ticks by the stamps of the readings, Hz."""
        return self._plasticity.rate.hertz

    def start(self, now: float) -> None:
        """Start towards a run; readings received before ``now`` do not count."""
        self._started = self._called = now
        self._sample = self._held = self._ramp = None
        self._pace.restart()
        self.guard.start(afresh=self.status.phase is Phase.INACTIVE)
        self._update_status(phase=Phase.TO_DEFAULT_POSE, reason="")

    def stop(self) -> Command | None:
        """Leave the active states; return the command to leave with, or None if inactive already."""
        was = self.status.phase
        self._update_status(phase=Phase.INACTIVE, reason="")
        return None if was is Phase.INACTIVE else damp_command(self.robot)

    def damp(self, reason: str) -> Command | None:
        """Latch DAMPED for a reason other than the sensors; return its command, None if inactive."""
        if self.status.phase is Phase.INACTIVE:
            return None
        return self._latch(LimitReport(Limit.NONE, reason), damp_command(self.robot))

    def reset_estop(self, now: float) -> str:
        """Leave DAMPED through TO_DEFAULT_POSE; return why not, or an empty string."""
        if self.status.phase is not Phase.DAMPED:
            return f"nothing to reset: the controller is in {self.status.phase.value}."
        if self._sample is None:
            return "there is no sensor reading yet. Fix: make sure that joint_states and imu/data arrive."
        report = self.guard.check_reset(self._sample, now)
        if report.tripped:
            return f"still unsafe: {report.detail}."
        self.start(now)
        return ""

    def stage(self, loaded: Loaded, *, carry: bool = False) -> str:
        """Switch to another rule at the next tick; return why not, or an empty string.

        Args:
            loaded: the rule.
            carry: whether it continues from the weights of the previous rule, instead of fresh ones.
        """
        if self.status.phase is Phase.DAMPED:
            return "the controller is damped. Call ~/reset_estop first."
        if carry and (reason := self.refusal_to_carry(loaded)):
            return reason
        self._staged = loaded, carry
        return ""

    def refusal_to_carry(self, loaded: Loaded) -> str:
        """Return why a rule cannot continue from the weights in force, or an empty string."""
        ours, theirs = (list(x.rule.header.layer_sizes) for x in (self.loaded, loaded))
        if ours == theirs:
            return ""
        return (
            f"weights cannot be carried over: the rule in force has layers {ours}, "
            f"{loaded.path} has {theirs}. Set swap_weights to fresh."
        )

    def roll_back(self) -> str:
        """Go back to the previous rule and its weights; return why not, or an empty string."""
        if reason := self._succession.refusal_to_roll_back():
            return reason
        self._roll_back("by ~/rollback", trusted=True)
        self._update_status()
        return ""

    def set_plasticity_gain(self, gain: float) -> None:
        """Set the factor on every weight change, of this rule and of those that follow."""
        self._plasticity.set_gain = gain
        self._update_status()

    def freeze(self, *, frozen: bool) -> None:
        """Freeze the weights, of this rule and of those that follow, or let them change again."""
        self._plasticity.frozen_by_hand = frozen
        self._update_status()

    def reset_weights(self) -> None:
        """Restart the network from its initial weights, plastic; restored ones are dropped."""
        self._succession.reset_weights()
        self._update_status()

    def restore(self, state: State) -> None:
        """Continue from a state of this rule's network; later runs start from it, too."""
        self._succession.restore(state)
        self._update_status()

    def tick(self, sample: Sample | None, now: float) -> Command | None:
        """Return the command to send, or None if there is nothing to command.

        Args:
            sample: the latest reading, repeated if there is no newer one; None before the first.
            now: steady time, s.
        """
        phase = self.status.phase
        stall = self.guard.check_stall(now - self._called)
        self._called = now
        if stall.tripped and phase is Phase.TO_DEFAULT_POSE and self._held is None:
            self._started, stall = now, NOTHING_ACTED  # nothing was commanded yet: start over
        if self._staged is not None and phase is not Phase.RUN:
            self._swap(*self._staged)
        if phase is Phase.INACTIVE:
            return damp_command(self.robot) if self._settings.lock_step else None
        if sample is None or sample.reading.received < self._started:
            return self._without_reading(now)
        before, self._sample = self._sample, sample
        self.guard.watch(sample, now)
        if phase is Phase.DAMPED:
            if stall.tripped:
                self._latch(stall, self._safe_command(stall, stalled=True))
            return self._stop_or_sink(sample)
        repeated = before is not None and sample.stamp == before.stamp
        report = stall if stall.tripped else self.guard.check_stamps(before, sample)
        starting = phase is Phase.TO_DEFAULT_POSE and self._ramp is None
        if not report.tripped:
            check = self.guard.check_start if starting else self.guard.check
            report = check(sample, now)
            if phase is Phase.TO_DEFAULT_POSE and not report.tripped:
                stalled = self.guard.stamp_stall(now, alone=True)
                report = LimitReport(Limit.STALE, stalled) if stalled else report
        if not report.tripped and phase is Phase.RUN:
            report = self.guard.check_motion(sample, now)
        if report.tripped:
            return self._latch(report, self._safe_command(report, stalled=report is stall))
        if starting and self.guard.unstamped(sample):
            return None
        if self._held is not None:
            fault = self.guard.tracking_fault(sample, self._held.position)
            if fault:
                return self.damp(fault)
        if repeated or not self._pace.due(self._moment(sample, now)):
            return self._held
        if self._staged is not None:
            self._swap(*self._staged)
        with np.errstate(over="ignore", invalid="ignore"):  # the result is checked
            command = self._advance(sample, now)
            self.ticks += 1
            self.last_limits = command.limits.acted
            if command.limits.tripped:
                return self._latch(command.limits, command)
            if phase is Phase.RUN and not self._supervise(sample):
                return self._stop_command
        self._held = command
        return command

    def in_time(self, command: Command, took: float) -> Command:
        """Return a command, or a safe one if the tick that made it took too long.

        Args:
            command: what :meth:`tick` returned.
            took: time since the tick began, s of steady time.
        """
        stall = self.guard.check_stall(took)
        if not stall.tripped or self.status.phase is Phase.INACTIVE:
            return command
        return self._latch(stall, self._safe_command(stall, stalled=True))

    def _without_reading(self, now: float) -> Command | None:
        if self.status.phase is Phase.DAMPED:
            return self._stop_command
        quiet = now - self._started
        if quiet <= self.guard.watchdog:
            return None
        detail = f"no complete sensor reading for {quiet * 1e3:.0f} ms since the start"
        return self._latch(LimitReport(Limit.STALE, detail), damp_command(self.robot))

    def _stop_or_sink(self, sample: Sample) -> Command:
        """Return the command that stops the robot; one that holds the pose gives way to damping on a tilt."""
        if self._stop_command.mode is not Mode.DAMP:
            report = self._safety.check_tilt(sample.reading.orientation)
            if report.tripped:
                self._stop_command = damp_command(self.robot, report)
                self._update_status(reason=f"{report.detail}: {self._action(self._stop_command)}")
        return self._stop_command

    def _moment(self, sample: Sample, now: float) -> int:
        """Return the time that decides when ticks are due, ns."""
        return sample.stamp if self._settings.by_stamps else round(now * 1e9)

    def _advance(self, sample: Sample, now: float) -> Command:
        reference = self.guard.age_reference(sample, now)
        controller = self.controller
        if self.status.phase is Phase.RUN:
            self.ran = self.loaded
            controller.runtime.plasticity_gain = self.gain
            blend = self._succession.blend(sample.reading)
            return controller.step(sample.reading, reference, blend=blend)
        if self._ramp is None:
            position, step = sample.reading.joint_position, self._settings.sensor_timeout
            self._ramp = PoseRamp(position, self.robot.default, sample.stamp, max_step=step)
            controller.reset(self._rng(), position)
            self.supervisor.begin()  # the network about to run has learned nothing yet
        before = controller.last_position
        command = controller.move_to(self._ramp.at(sample.stamp), sample.reading, reference)
        # Lost ticks leave the targets behind the ramp; those of a limp leg may never arrive.
        rate = np.minimum(self.robot.max_target_rate, MOVE_RATE)
        half_step = 0.5 * rate * controller.interface.period
        away = np.abs(controller.last_position - self.robot.default) > half_step
        under_way = (away & (np.abs(controller.last_position - before) > half_step)).any()
        off_target = self.guard.joints_off_target(sample, self.robot.default)
        if self._ramp.done and not (under_way or off_target or command.limits.tripped):
            self._begin_run()
        return command

    def _begin_run(self) -> None:
        self._succession.begin_run()
        self._plasticity.rate.restart()
        self.guard.begin()
        self._update_status(phase=Phase.RUN)

    def _supervise(self, sample: Sample) -> bool:
        """Check weights and rate after a tick; return whether the robot may go on running."""
        succession, supervisor = self._succession, self.supervisor
        found = supervisor.look(self.controller.runtime.plasticity_gain)
        changed = self._plasticity.rate.tick(sample.reading.stamp)
        if found is not None and succession.on_probation:
            self._roll_back(found.detail, trusted=False)
            changed = True
        elif found is not None:
            changed |= supervisor.mend(found)
            if supervisor.stage is Stage.GIVEN_UP:
                self.damp(f"plasticity: {found.detail}; nothing is left to try")
                return False
        if succession.after_tick() or changed:
            self._update_status()
        return True

    def _swap(self, loaded: Loaded, carry: bool) -> None:  # noqa: FBT001 - as it was staged
        self._staged = None
        blend = self.status.phase is Phase.RUN
        self._succession.put_in_force(loaded, carry=carry, blend=blend)
        self._follow_period()
        self._update_status()

    def _roll_back(self, reason: str, *, trusted: bool) -> None:
        self._staged = None
        blend = self.status.phase is Phase.RUN
        self._succession.roll_back(reason, blend=blend, trusted=trusted)
        self._follow_period()

    def _follow_period(self) -> None:
        """Tick at the period of the rule in force."""
        period, settings = self.controller.interface.period, self._settings
        # Sensors that run at the rule's own rate jitter; so does the clock, by less than a command.
        early = period / 4 if settings.by_stamps else settings.command_period / 2
        self._pace.follow(round(period * 1e9), early=round(early * 1e9))
        self._plasticity.follow(period)

    def _rng(self) -> np.random.Generator:
        """Return the generator of the initial weights, as in an episode with the same seed."""
        seed = self._settings.seed
        return np.random.default_rng() if seed < 0 else np.random.default_rng((seed, 1))

    def _safe_command(self, report: LimitReport, *, stalled: bool = False) -> Command:
        # There is no command to hold yet, or the receiver has let the robot sink meanwhile.
        if self._held is None or (stalled and self._settings.can_damp):
            return damp_command(self.robot, report)
        return self._safety.safe_command(self.controller.last_position, report)

    def _latch(self, report: LimitReport, command: Command) -> Command:
        phase = self.status.phase
        if phase is not Phase.DAMPED:
            self._staged = None
            self._stop_command = command
            self._update_status(
                phase=Phase.DAMPED, reason=f"{report.detail}: {self._action(command)}"
            )
            if phase is Phase.RUN and self._succession.on_probation:
                self._roll_back(report.detail, trusted=False)
                self._update_status()
        elif command.mode is Mode.DAMP and self._stop_command.mode is not Mode.DAMP:
            self._stop_command = command
            if self._settings.can_damp:
                self._update_status(reason=f"{report.detail}: {self._action(command)}")
        return self._stop_command

    def _action(self, command: Command) -> str:
        return "damping" if command.mode is Mode.DAMP and self._settings.can_damp else "holding"

    def _update_status(self, *, phase: Phase | None = None, reason: str | None = None) -> None:
        """Bring ``status`` up to date."""
        succession, loaded = self._succession, self.loaded
        plasticity, plasticity_reason = self._plasticity.told(self.supervisor, loaded.rule)
        self.status = replace(
            self.status,
            phase=self.status.phase if phase is None else phase,
            reason=self.status.reason if reason is None else reason,
            rule_file=loaded.path,
            sha256=loaded.sha256,
            swap=succession.number,
            swap_state=succession.state,
            swap_reason=succession.reason,
            plasticity=plasticity,
            plasticity_reason=plasticity_reason,
            watch=self.supervisor.watch,
        )
