"""The checks of a robot at rest: pure functions of what was heard."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..robot import FloatArray, RobotSpec
from .agreement import DEGREE, disagreement
from .heard import (
    Arrival,
    Ends,
    Finding,
    Heard,
    JointMessage,
    JointSeries,
    Level,
    Needs,
    joint_series,
    same_joints,
)
from .imu import check_angular_velocity, check_gravity, check_orientation, in_body

ENOUGH = 0.95  # fraction of the rule's rate that is as good as all of it
TOO_LITTLE = 0.8  # fraction of the rule's rate below which readings are often used twice
AT_THE_STOP = 0.02  # rad beyond a limit that a joint lying at its mechanical stop may read
STILL = 0.02  # rad that a joint at rest may move while it is listened to
AT_REST = 0.1  # rad/s, the largest mean velocity of a joint at rest
DAY = 86_400.0  # s; clocks further apart than this are not meant to be the same
SAME_PACE = (
    0.2  # fraction by which stamps may run faster or slower than time: the node's rate_tolerance
)


def examine(robot: RobotSpec, needs: Needs, heard: Heard) -> list[Finding]:
    """Return the findings about a robot that stands or hangs upright, at rest."""
    imu = [in_body(message, robot.imu_rotation) for message in heard.imu]
    found = (
        check_quality(heard.ends),
        check_joint_rate(robot, needs, heard),
        check_imu_rate(needs, heard),
        check_names(robot, heard.joints),
        check_publishers(heard),
        check_stamps(heard),
        check_clocks(needs, heard),
        check_position(robot, heard.joints),
        check_velocity(robot, heard.joints),
        check_orientation(imu),
        check_gravity(imu, robot.safety.max_tilt),
        check_angular_velocity(imu),
        check_commanders(heard.ends),
        check_receivers(heard.ends),
    )
    return [finding for finding in found if finding is not None]


def check_names(robot: RobotSpec, messages: Sequence[JointMessage]) -> Finding | None:
    """Check that each joint of the spec is named, once."""
    if not messages:
        return None
    named = {name for message in messages for name in message.names}
    twice = {
        name for message in messages for name, count in Counter(message.names).items() if count > 1
    }
    missing = [name for name in robot.joint_names if name not in named]
    extra = sorted(named - set(robot.joint_names))
    if twice:
        return _fail(
            "joint names",
            f"named twice in one message: {', '.join(sorted(twice))}",
            "have the driver name each joint once",
        )
    if missing:
        others = f"; it also has: {', '.join(extra)}" if extra else ""
        return _fail(
            "joint names",
            f"joint_states lacks {', '.join(missing)}{others}",
            "have the driver use the spec's names; or use the driver's in the spec, and train rules for that",
        )
    if extra:
        return Finding(
            "joint names",
            Level.WARN,
            f"all {robot.n_joints}; ignored: {', '.join(extra)}",
            "state them in the robot spec if the controller is to drive them",
        )
    return Finding("joint names", Level.OK, f"all {robot.n_joints}, each once")


def check_publishers(heard: Heard) -> Finding | None:
    """Check that each joint has one publisher, and so has the IMU."""
    ends = heard.ends
    if shared := same_joints(ends.joint_states, {message.names for message in heard.joints}):
        return _fail("publishers", f"joint_states: {shared}", "stop one of them")
    if len(imus := set(ends.imu)) > 1:
        return _fail("publishers", f"imu/data: {' and '.join(sorted(imus))}", "stop one of them")
    return None


def check_joint_rate(robot: RobotSpec, needs: Needs, heard: Heard) -> Finding | None:
    """Check that each joint is heard at the rule's rate, and never too late."""
    if not heard.joints:
        return _silent("joint_states", heard.ends.joint_states)
    series = {name: joint_series(heard.joints, name) for name in robot.joint_names}
    times = {name: one.received for name, one in series.items() if one.received.size}
    if not times:
        return None
    slowest = min(times, key=lambda name: times[name].size)
    return _rate("joint_states", times[slowest], needs, heard, f", of {slowest}")


def check_imu_rate(needs: Needs, heard: Heard) -> Finding | None:
    """Check that the IMU is heard at the rule's rate, and never too late."""
    if not heard.imu:
        return _silent("imu/data", heard.ends.imu)
    return _rate("imu/data", np.array([m.at.received for m in heard.imu]), needs, heard, "")


def check_stamps(heard: Heard) -> Finding | None:
    """Check that stamps are present, never go back, and keep pace with time."""
    for topic, arrivals in _arrivals(heard).items():
        stamp, received = arrivals[:, 2], arrivals[:, 0]
        if len(stamp) < 2:
            continue
        if not stamp.any():
            return _fail("stamps", f"{topic} has none", "have the driver stamp its messages")
        if (stamp == stamp[0]).all():
            return _fail("stamps", f"those of {topic} do not move", "stamp each measurement")
        if (back := -float(np.diff(stamp).min())) > 0:
            return _fail(
                "stamps",
                f"those of {topic} jump back, by {back:.3f} s",
                "have one driver publish it, with one clock that is not adjusted meanwhile",
            )
        pace = (stamp[-1] - stamp[0]) / max(received[-1] - received[0], 1e-9)
        if abs(pace - 1.0) > SAME_PACE:
            return _fail(
                "stamps",
                f"those of {topic} run {pace:.2f} times as fast as real time",
                "fix the driver's clock; a simulator must run in real time, or in lock-step",
            )
    return Finding("stamps", Level.OK, "advance with time") if heard.joints or heard.imu else None


def check_clocks(needs: Needs, heard: Heard) -> Finding | None:
    """Check that both topics are stamped by one clock, preferably this machine's."""
    lag = {topic: float(np.median(a[:, 1] - a[:, 2])) for topic, a in _arrivals(heard).items()}
    if len(lag) < 2:
        return None
    joints, imu = lag["joint_states"], lag["imu/data"]
    apart = f"the stamps of joint_states and imu/data are {abs(joints - imu):.3f} s apart"
    synchronise = "stamp both by one clock, or synchronise the machines (chrony, PTP)"
    if abs(joints - imu) > needs.sensor_timeout:
        return _fail("clocks", apart, synchronise)
    if abs(joints - imu) > needs.period:
        return Finding("clocks", Level.WARN, apart, synchronise)
    if abs(joints) > DAY:
        return Finding(
            "clocks", Level.OK, "one for both, not this machine's (simulated, or since boot)"
        )
    if joints < -0.001 or imu < -0.001:
        ahead = max(-joints, -imu)
        return Finding("clocks", Level.WARN, f"stamps are {ahead:.3f} s in the future", synchronise)
    if max(joints, imu) > needs.sensor_timeout:
        late = f"messages arrive {max(joints, imu):.3f} s after their stamps"
        return Finding("clocks", Level.WARN, late, f"{synchronise}, or fix the driver's delay")
    return Finding(
        "clocks", Level.OK, f"one for both, {max(joints, imu) * 1e3:.0f} ms from stamp to arrival"
    )


def check_position(robot: RobotSpec, messages: Sequence[JointMessage]) -> Finding | None:
    """Check that positions are present, finite and within limits; the first failure counts."""
    at_its_stop: Finding | None = None
    for name, lower, upper in zip(robot.joint_names, robot.lower, robot.upper, strict=True):
        position = joint_series(messages, name).position
        if not position.size:
            continue
        if not np.isfinite(position).all():
            return _fail(
                "joint position",
                f"{name} is missing or not finite",
                "have the driver publish a finite position for each name, or nothing",
            )
        median = float(np.median(position))
        beyond = max(lower - median, median - upper)
        if beyond > AT_THE_STOP:
            return _fail(
                "joint position",
                f"{name} reads {median:.3f}, outside {lower:g} … {upper:g} rad",
                _why_outside(median, lower, upper),
            )
        if beyond > 0 and at_its_stop is None:
            at_its_stop = Finding(
                "joint position",
                Level.WARN,
                f"{name} reads {median:.3f}, {beyond:.3f} rad beyond its limit",
                "calibrate its zero unless it rests at its stop",
            )
    if at_its_stop is not None or not messages:
        return at_its_stop
    return Finding("joint position", Level.OK, "finite, within limits")


def check_velocity(robot: RobotSpec, messages: Sequence[JointMessage]) -> Finding | None:
    """Check that velocities are present, finite, and those of the positions."""
    if robot.velocity_cutoff is not None:
        said = "estimated from positions, as the spec says"
        return Finding("joint velocity", Level.OK, said) if messages else None
    moved = 0
    for name in robot.joint_names:
        series = joint_series(messages, name)
        if not series.velocity.size:
            continue
        if not np.isfinite(series.velocity).all():
            return _fail(
                "joint velocity",
                f"{name} has none, or one that is not finite",
                "have the driver publish a velocity for each name; the controller needs it",
            )
        if finding := velocity_finding(name, series):
            return finding
        moved += bool(np.ptp(series.position) > STILL)
    if not messages:
        return None
    seen = (
        f"; consistent for the {moved} joints that moved"
        if moved
        else "; to compare, move joints by hand"
    )
    return Finding("joint velocity", Level.OK, f"finite{seen}")


def check_moved_velocity(
    messages: Sequence[JointMessage], windows: Mapping[str, tuple[float, float]]
) -> Finding | None:
    """Check that velocities are those of the positions while a joint moves.

    Args:
        messages: all that arrived meanwhile: for a stiff joint moved in steps, a few would mislead.
        windows: joint -> when its move began and ended, s of the steady clock.
    """
    moved = 0
    for name, (begin, end) in windows.items():
        during = [message for message in messages if begin <= message.at.received <= end]
        series = joint_series(during, name)
        if series.velocity.size and (finding := velocity_finding(name, series)):
            return finding
        moved += bool(series.position.size and np.ptp(series.position) > STILL)
    if not moved:
        return None
    return Finding("joint velocity", Level.OK, "matches the positions of every joint that moved")


def velocity_finding(name: str, series: JointSeries) -> Finding | None:
    """Return what is wrong with a joint's velocity, as far as its motion shows it."""
    reason = disagreement(series.stamp, series.position, series.velocity)
    at_rest = np.ptp(series.position) < STILL
    if not reason and at_rest and abs(float(series.velocity.mean())) > AT_REST:
        reason = f"it reads {series.velocity.mean():.2f} rad/s while the joint rests"
    if not reason:
        return None
    return _fail(
        "joint velocity",
        f"{name}: {reason}",
        "have the driver publish rad and rad/s, with the same sign",
    )


def check_quality(ends: Ends) -> Finding:
    """Check that every end of a topic would connect to the controller node."""
    if ends.incompatible:
        return _fail(
            "quality of service",
            "; ".join(ends.incompatible),
            "change it at that end: the node reads best effort and commands reliably",
        )
    return Finding("quality of service", Level.OK, "every end matches the controller node's")


def check_commanders(ends: Ends) -> Finding:
    """Check that nobody commands the robot yet."""
    if ends.commanders:
        return _fail(
            "commanders",
            f"joint_command is published by {', '.join(ends.commanders)}",
            "stop it: two nodes would fight over one robot (a killed one stays visible for some 20 s)",
        )
    return Finding("commanders", Level.OK, "nobody publishes joint_command yet")


def check_receivers(ends: Ends) -> Finding:
    """Check that somebody takes the commands."""
    receivers = ends.receivers
    if not receivers:
        return _fail(
            "receiver",
            "nobody subscribes to joint_command",
            "start the driver in this ROS domain, or name its topic (--joint-command)",
        )
    if len(receivers) > 1:
        return Finding(
            "receiver",
            Level.WARN,
            f"joint_command is taken by {', '.join(receivers)}",
            "make sure that one of them drives the motors and the others only listen",
        )
    return Finding("receiver", Level.OK, f"{receivers[0]} takes joint_command")


def _fail(check: str, detail: str, fix: str) -> Finding:
    return Finding(check, Level.FAIL, detail, fix)


def _silent(topic: str, publishers: Sequence[str]) -> Finding:
    if publishers:
        return _fail(
            topic,
            f"nothing arrives from {', '.join(publishers)}",
            "check that the driver publishes",
        )
    return _fail(
        topic, "nobody publishes it", "start the driver in this ROS domain, or name its topic"
    )


def _rate(topic: str, times: FloatArray, needs: Needs, heard: Heard, whose: str) -> Finding:
    edges = np.concatenate((times, [heard.end]))
    gap = float(np.diff(edges).max())
    rate = (times.size - 1) / max(float(times[-1] - times[0]), 1e-9)
    part = rate * needs.period
    said = f"{rate:.1f} Hz{whose}; the rule ticks at {1 / needs.period:g} Hz"
    if gap > needs.sensor_timeout:
        return _fail(
            topic,
            f"quiet for {gap * 1e3:.0f} ms{whose}; {needs.sensor_timeout * 1e3:.0f} ms damp the robot",
            "find out why the driver pauses",
        )
    if part < ENOUGH:
        level = Level.FAIL if part < TOO_LITTLE else Level.WARN
        return Finding(topic, level, said, "have the driver publish at least at the rule's rate")
    return Finding(topic, Level.OK, f"{said}; longest pause {gap * 1e3:.0f} ms")


def _arrivals(heard: Heard) -> dict[str, FloatArray]:
    """Return received, wall and stamp, (n, 3) s, of each topic that was heard."""
    topics: dict[str, list[Arrival]] = {
        "joint_states": [message.at for message in heard.joints],
        "imu/data": [message.at for message in heard.imu],
    }
    return {
        topic: np.array([(at.received, at.wall, at.stamp) for at in arrivals])
        for topic, arrivals in topics.items()
        if arrivals
    }


def _why_outside(value: float, lower: float, upper: float) -> str:
    if lower - AT_THE_STOP <= value * DEGREE <= upper + AT_THE_STOP and abs(value) > math.pi:
        return "it would fit in degrees: have the driver publish rad"
    if lower - AT_THE_STOP <= -value <= upper + AT_THE_STOP:
        return "it would fit with the other sign: check the driver's sign and order of names"
    return "check the driver's zero, gear ratio and order of names"
