"""Whether the robot may be driven now: complete, fresh, changing readings, and a heartbeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..robot import FloatArray, RobotSpec
from ..safety import Safety
from ..signals import NOTHING_ACTED, Limit, LimitReport, SensorReading
from .stamp_lag import StampLag
from .tracking import TrackingMonitor
from .values import LoopSettings, Sample, Source

LOCK_STEP_WATCHDOG = 5.0  # s of steady time without a reading, in lock-step
SENSORS = {"joints": "all joints have", "imu": "the imu has"}
CONSTANT = 2.0  # s after which a joint with constant readings is worth a warning
ESTOP_HOLDS = 2.0  # s for which a published e-stop holds
CLOCK_BEGINS = 1_000_000_000  # ns within which a simulator's clock may still be at 0 on one topic
BEYOND_RANGE = 1.0  # rad outside its range that a joint may read while the robot lies on its legs


class Guard:
    """Judges readings and times for one robot.

    Any thread may use ``check``, ``check_start``, ``check_reset``, ``estopped``, ``stamp_stall``,
    ``constant_joints`` and ``watchdog``: they only read numbers and references that are each replaced in
    one step. Everything else is for the thread that ticks.

    Args:
        robot: its limits hold.
        safety: its stages that check a reading.
        settings: how time is judged.
    """

    def __init__(self, robot: RobotSpec, safety: Safety, settings: LoopSettings) -> None:
        self._robot = robot
        self._safety = safety
        self._settings = settings
        self._tracking = TrackingMonitor(robot, max_step=settings.sensor_timeout)
        self._last: SensorReading | None = None
        self._stamp = -1
        # ns by the stamps; a clock that jumps ahead is no sensor that stands still
        self._elapsed = 0
        self._moved = np.zeros(robot.n_joints, dtype=np.int64)  # when each changed, in elapsed time
        self._changed = dict.fromkeys(SENSORS, 0)  # likewise
        self._frozen: set[str] = set()  # sensors that must read something new before a reset
        self._advanced: dict[str, tuple[int, float]] = {}  # topic -> its stamp, and since when
        self._lag = StampLag(settings.sensor_timeout)
        self._last_heartbeat = self._estop = -np.inf

    @property
    def watchdog(self) -> float:
        """Longest time without any reading, s of steady time."""
        settings = self._settings
        return LOCK_STEP_WATCHDOG if settings.lock_step else settings.sensor_timeout

    def start(self, *, afresh: bool = True) -> None:
        """Assume, as of now, that the robot tracks its targets and the stamps advance.

        Args:
            afresh: whether the sensors may have other delays than before, too.
        """
        if afresh:
            self._lag.restart()
        self._tracking.restart()
        self._stamp, self._advanced, self._frozen = -1, {}, set()

    def begin(self) -> None:
        """Treat the sensors as changing from now on."""
        self._moved = np.full_like(self._moved, self._elapsed)
        self._last = None

    def heartbeat(self, now: float) -> None:
        """Note that the dead-man's switch was heard at this steady time, s."""
        self._last_heartbeat = now

    def press(self, now: float) -> None:
        """Note that an e-stop was published at this steady time, s."""
        self._estop = now

    def estopped(self, now: float) -> bool:
        """Return whether the topic ``estop`` keeps the robot from moving at this steady time, s."""
        return now - self._estop < ESTOP_HOLDS

    def check(self, sample: Sample, now: float) -> LimitReport:
        """Report whether a reading may drive the robot now.

        Args:
            sample: the latest reading.
            now: steady time, s.
        """
        settings = self._settings
        if self.estopped(now):
            return LimitReport(Limit.STALE, "estop is being published")
        silent = now - self._last_heartbeat
        if settings.heartbeat_timeout and silent > settings.heartbeat_timeout:
            limit = f"(limit {settings.heartbeat_timeout * 1e3:.0f} ms)"
            for_ms = "" if silent == np.inf else f" for {silent * 1e3:.0f} ms"
            return LimitReport(Limit.STALE, f"no heartbeat{for_ms} {limit}")
        quiet = now - sample.reading.received
        if settings.lock_step and quiet > self.watchdog:
            return LimitReport(Limit.STALE, f"no sensor reading for {quiet:.1f} s (lock-step)")
        report = self._safety.check(sample.reading, self.age_reference(sample, now))
        if report.acted is Limit.STALE and sample.sources:
            oldest = min(sample.sources, key=lambda source: source.received)
            return replace(report, detail=f"{report.detail}: nothing new on {oldest.topic}")
        if report.tripped:
            return report
        if not settings.lock_step and (late := self._lag.fault(now)):
            return LimitReport(Limit.STALE, late)
        return self._check_range(sample.reading)

    def _check_range(self, reading: SensorReading) -> LimitReport:
        """Report whether a joint reads far outside its range: its driver has another zero or unit.

        A board that loses its zero mid-walk would have its leg driven into the stops.
        """
        robot, position = self._robot, reading.joint_position
        beyond = np.maximum(robot.lower - position, position - robot.upper)
        worst = int(beyond.argmax())
        if beyond[worst] <= BEYOND_RANGE:
            return NOTHING_ACTED
        return LimitReport(
            Limit.STALE,
            f"{robot.joint_names[worst]} reads {position[worst]:.2f} rad, its range is "
            f"{robot.lower[worst]:.2f} to {robot.upper[worst]:.2f}: check the driver's zero and unit",
        )

    def check_start(self, sample: Sample, now: float) -> LimitReport:
        """Report whether the robot may begin to move; arguments of :meth:`check`."""
        report = self.check(sample, now)
        if report.tripped:
            return report
        unstamped = [source.topic for source in sample.sources if not source.stamp]
        if unstamped and sample.stamp > CLOCK_BEGINS:
            return LimitReport(
                Limit.STALE, f"{unstamped[0]} has no stamps: have its driver set them"
            )
        return NOTHING_ACTED

    def unstamped(self, sample: Sample) -> bool:
        """Return whether no topic has a stamp yet, as from a simulator paused at 0, or never will."""
        return sample.stamp == 0 and not self._settings.lock_step

    def check_reset(self, sample: Sample, now: float) -> LimitReport:
        """Report whether a damped robot may move again; arguments of :meth:`check`.

        Sensors that froze must have read something new since: healthy ones stay constant for long on a
        still robot only if they have no noise.
        """
        report = self.check_start(sample, now)
        if report.tripped:
            return report
        frozen, sensors = self.stamp_stall(now), sorted(self._frozen, reverse=True)
        if sensors:
            frozen = (
                f"{' and '.join(SENSORS[name] for name in sensors)} read the same since; move the robot "
                f"a little by hand, or deactivate and activate"
            )
        return LimitReport(Limit.STALE, frozen) if frozen else NOTHING_ACTED

    def check_stall(self, stalled: float) -> LimitReport:
        """Report whether the loop may go on after this long without a tick, s of steady time.

        The receiver of the commands has damped meanwhile: the robot is not where it was.
        """
        if stalled <= self.watchdog:
            return NOTHING_ACTED
        return LimitReport(Limit.STALE, f"the control loop stood still for {stalled:.2f} s")

    def check_stamps(self, before: Sample | None, sample: Sample) -> LimitReport:
        """Report whether one reading may follow another."""
        if before is None:
            return NOTHING_ACTED
        step = (sample.stamp - before.stamp) * 1e-9
        if step < 0:
            return LimitReport(Limit.STALE, f"the stamps jumped back by {-step:.3f} s")
        for old, new in zip(before.sources, sample.sources, strict=False):
            back = (old.stamp - new.stamp) * 1e-9
            if back > self._settings.sensor_timeout:  # less is a clock that is being synchronised
                return LimitReport(
                    Limit.STALE, f"the stamps of {new.topic} jumped back by {back:.3f} s"
                )
        if self._settings.lock_step and step > self._settings.sensor_timeout + 1e-9:
            return LimitReport(Limit.STALE, f"the stamps jumped ahead by {step:.3f} s")
        return NOTHING_ACTED

    def watch(self, sample: Sample, now: float) -> None:
        """Track whether the stamps advance in time, and whether frozen sensors read something new."""
        step = 0 if self._stamp < 0 else sample.stamp - self._stamp
        self._elapsed += min(max(step, 0), round(self._settings.sensor_timeout * 1e9))
        self._stamp = sample.stamp
        before = self._advanced
        self._advanced = {
            topic: before[topic] if before.get(topic, (-1, now))[0] == stamp else (stamp, now)
            for topic, stamp, _ in sample.sources or (Source("", sample.stamp, now),)
        }
        self._lag.watch(sample.sources, now)
        if self._last is not None and self._frozen:
            self._frozen = self._frozen.difference(_changes(self._last, sample.reading))

    def stamp_stall(self, now: float, *, alone: bool = False) -> str:
        """Return a complaint if the readings have repeated one stamp for too long, or an empty string.

        Args:
            now: steady time, s.
            alone: whether it is in order if all topics do, as those of a paused simulator.
        """
        limit = self._settings.frozen_timeout
        if not limit or self._settings.lock_step:
            return ""
        still = {topic: now - since for topic, (_, since) in self._advanced.items()}
        topics = [topic for topic, seconds in still.items() if seconds > limit]
        if not topics or (alone and len(topics) == len(still)):
            return ""
        of = "" if len(topics) == len(still) else f" of {' and '.join(topics)}"
        return f"the stamps{of} have stood still for {max(still.values()):.2f} s"

    def check_motion(self, sample: Sample, now: float) -> LimitReport:
        """Report whether the sensors of a running robot still read something new now and then.

        If all joints, or the imu, stay the same to the last bit, or one stamp recurs, the driver is
        repeating itself. A single constant joint may be damage that the rule copes with; without an imu
        a tilt would go unseen. In a dry run nothing moves the joints.
        """
        reading, before = sample.reading, self._last
        self._last = reading
        if before is None:
            self._moved = np.full_like(self._moved, self._elapsed)
            self._changed = dict.fromkeys(SENSORS, self._elapsed)
            return NOTHING_ACTED
        same = reading.joint_position == before.joint_position
        self._moved = np.where(same, self._moved, self._elapsed)
        self._changed |= dict.fromkeys(_changes(before, reading), self._elapsed)
        limit = self._settings.frozen_timeout
        awaited = [name for name in SENSORS if self._settings.obeyed or name != "joints"]
        for sensors in awaited:
            still = (self._elapsed - self._changed[sensors]) * 1e-9
            if limit and still > limit:
                self._frozen = set(awaited)  # the others may have died with them, a little later
                text = f"{SENSORS[sensors]} read the same for {still:.2f} s"
                return LimitReport(Limit.STALE, text)
        stalled = self.stamp_stall(now)
        return LimitReport(Limit.STALE, stalled) if stalled else NOTHING_ACTED

    def joints_off_target(self, sample: Sample, target: FloatArray) -> int:
        """Return how many joints are off target, (n,) rad; 0 if few enough for a limp leg to explain it."""
        if not self._settings.obeyed:
            return 0
        return self._tracking.joints_off_target(sample.reading.joint_position, target)

    def tracking_fault(self, sample: Sample, target: FloatArray) -> str:
        """Return what is wrong if the robot has not tracked its targets, (n,) rad, or an empty string."""
        if not self._settings.obeyed:
            return ""
        return self._tracking.tracking_fault(sample.reading.joint_position, target, sample.stamp)

    @property
    def constant_joints(self) -> tuple[str, ...]:
        """Joints that have read the same for longer than ``CONSTANT``."""
        still = self._elapsed - self._moved > CONSTANT * 1e9
        names = self._robot.joint_names
        return tuple(name for name, is_still in zip(names, still, strict=True) if is_still)

    def age_reference(self, sample: Sample, now: float) -> float:
        """Return the time against which a reading's age is measured: in lock-step its age is 0."""
        return sample.reading.received if self._settings.lock_step else now


def _changes(before: SensorReading, reading: SensorReading) -> list[str]:
    """Return which of ``SENSORS`` have changed."""
    fields = {
        "joints": ("joint_position", "joint_velocity"),
        "imu": ("orientation", "angular_velocity_base"),
    }
    return [
        sensors
        for sensors, names in fields.items()
        if any((getattr(reading, name) != getattr(before, name)).any() for name in names)
    ]
