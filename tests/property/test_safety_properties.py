"""After any input the command is finite and within limits, whatever the sensors or the network say."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toys import CHANNELS, PERIOD, toy_reading, toy_robot

from hebb_controller.controller import Controller, Interface
from hebb_controller.observation import Channel, Observer
from hebb_controller.safety import Safety
from hebb_controller.signals import Limit, Mode

ROBOTS = {action: toy_robot(safe_action=action) for action in ("damp", "hold")}
ROBOT = ROBOTS["damp"]
MORE = (Channel("joint_velocity", 1.0, 5.0), Channel("velocity_command", 1.0, 5.0))
# Rounding of one sum of a few rad; every limit of the toy is exact.
SLACK = 1e-12

anything = st.floats(allow_nan=True, allow_infinity=True)
# As often something believable, or nothing would get past the first stage.
believable = st.floats(-5.0, 5.0)
value = st.one_of(believable, anything)
pair = st.tuples(value, value)


class Says:
    """A network that says what it is told."""

    plasticity_gain = 1.0

    def __init__(self):
        self.next = None

    def reset(self, rng):
        pass

    def step(self, observation):
        assert np.isfinite(observation).all()
        with np.errstate(over="ignore"):
            return np.array(self.next, dtype=np.float32)

    @property
    def state(self):
        return {}

    def restore(self, state):
        raise NotImplementedError


@st.composite
def readings(draw):
    """Return the fields of a reading: mostly believable in most places."""
    fields = {
        "joint_position": draw(pair),
        "joint_velocity": draw(pair),
        "angular_velocity_base": draw(st.tuples(value, value, value)),
        "velocity_command": draw(st.tuples(value, value, value)),
    }
    roll, pitch, turn = (draw(st.floats(-1.5, 1.5)) for _ in range(3))
    upright = (math.sin(roll / 2), math.sin(pitch / 2), math.sin(turn / 2))
    rest = 1.0 - sum(part * part for part in upright)
    unit = (*upright, math.sqrt(rest)) if rest >= 0 else (0.0, 0.0, 0.0, 1.0)
    fields["orientation"] = draw(
        st.one_of(st.just(unit), st.just(unit), st.tuples(value, value, value, value))
    )
    fields["stamp"] = draw(st.one_of(st.floats(0, 100), anything))
    fields["received"] = draw(st.one_of(st.just(0.0), anything))
    return fields


@settings(max_examples=300)
@given(
    action=st.sampled_from(["damp", "hold"]),
    cutoff=st.one_of(st.none(), st.floats(0.1, 1e9)),
    steps=st.lists(
        st.tuples(readings(), pair, st.one_of(st.just(0.0), anything)), min_size=1, max_size=6
    ),
)
def test_a_command_is_finite_and_within_limits_after_any_readings_and_any_network(
    action, cutoff, steps
):
    robot = replace(ROBOTS[action], velocity_cutoff=cutoff)
    network = Says()
    observer = Observer((*CHANNELS, *MORE), robot)
    interface = Interface(observer, robot.default, np.array([0.5, 0.5]), PERIOD)
    controller = Controller(robot, interface, network)
    controller.reset(np.random.default_rng(0))
    last = robot.default
    for fields, says, now in steps:
        network.next = says
        reading = toy_reading(robot, **fields)
        command = controller.step(reading, now)
        for array in (command.position, command.kp, command.kd):
            assert array.shape == (2,)
            assert np.isfinite(array).all()
        assert command.kd.tolist() == robot.kd.tolist()
        if command.mode is Mode.DAMP:
            assert command.limits.tripped
            assert not command.kp.any()
            assert action == "damp" or command.limits.acted is Limit.TILT
            continue
        assert command.mode is Mode.POSITION
        assert command.kp.tolist() == robot.kp.tolist()
        assert (command.position >= robot.lower).all()
        assert (command.position <= robot.upper).all()
        step = np.abs(command.position - last)
        if command.limits.tripped:
            assert action == "hold"
            assert not step.any()
        assert (step <= robot.max_target_rate * PERIOD + SLACK).all()
        last = command.position


@given(target=pair, last=st.tuples(believable, believable), measured=pair)
@example(target=(1e308, -1e308), last=(0.0, 0.0), measured=(-1e308, 1e308))
@example(target=(1.0, 0.0), last=(0.0, 0.0), measured=(1.5, 0.0))
def test_bounds_hold_from_any_start_even_outside_the_range(target, last, measured):
    if not all(map(math.isfinite, measured)):
        measured = (0.0, 0.0)  # such a reading does not come as far
    last, measured = np.array(last), np.array(measured)
    bounded, report = Safety(ROBOT, period=PERIOD).bound(np.array(target), last, measured)
    assert np.isfinite(bounded).all()
    if not all(map(math.isfinite, target)):
        assert report.acted is Limit.FINITE
        assert bounded.tolist() == last.tolist()
        return
    # In the range, or at least no further out than before.
    assert (bounded >= np.minimum(ROBOT.lower, last)).all()
    assert (bounded <= np.maximum(ROBOT.upper, last)).all()
    step = np.abs(bounded - last)
    assert (step <= ROBOT.max_target_rate * PERIOD + SLACK).all()
    # The spring alone stays below the torque limit, unless the range, the start or the rate forbids.
    inside = (bounded > ROBOT.lower) & (bounded < ROBOT.upper) & (bounded != last)
    inside &= step < ROBOT.max_target_rate * PERIOD - SLACK
    with np.errstate(over="ignore"):
        spring = ROBOT.kp * np.abs(bounded - measured)
    assert (spring[inside] <= ROBOT.torque[inside] * (1 + 1e-12)).all()
    assert (report.acted is Limit.NONE) == (bounded.tolist() == list(target))


@given(start=st.floats(1.6, 9.0), target=believable, side=st.sampled_from([-1, 1]))
def test_a_run_that_starts_outside_its_range_comes_in_and_stays_in(start, target, side):
    safety = Safety(ROBOT, period=PERIOD)
    position = np.array([side * start, 0.0])
    for _ in range(50):
        before = position
        position, _ = safety.bound(np.array([target, 0.0]), before, before)
        outside = max(before[0] - 1.5, -1.0 - before[0], 0.0)
        assert max(position[0] - 1.5, -1.0 - position[0], 0.0) <= outside
    assert -1.0 <= position[0] <= 1.5  # 8 rad at 0.25 rad a tick take 32 ticks


@given(fields=readings(), now=st.one_of(st.just(0.0), anything))
def test_a_reading_passes_only_if_it_is_finite_fresh_and_upright(fields, now):
    reading = toy_reading(ROBOT, **fields)
    report = Safety(ROBOT, period=PERIOD).check(reading, now)
    numbers = [v for k in fields if k not in {"stamp", "received"} for v in np.ravel(fields[k])]
    if not report.tripped:
        assert all(map(math.isfinite, [*numbers, reading.stamp]))
        assert -1e-9 <= now - reading.received <= 0.25
        x, y, z, w = fields["orientation"]
        assert abs(x * x + y * y + z * z + w * w - 1) < 0.03
        # the body's z axis, by the definition of the rotation's angle to the vertical
        assert x * x + y * y <= math.sin(0.5) ** 2 + 0.02
    else:
        assert report.detail
        assert "\n" not in report.detail
