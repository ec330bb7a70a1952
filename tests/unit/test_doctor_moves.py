"""One joint at a time: each is judged, and whatever is unexpected ends in DAMP for good."""

import math
from dataclasses import replace

import numpy as np
import pytest
from toys import toy_reading, toy_robot

from hebb_controller.doctor.heard import Level
from hebb_controller.doctor.moves import MAX_RATE, PERIOD, Moves
from hebb_controller.signals import Mode

ROBOT = toy_robot()
START = np.array((0.25, 0.0))


class Bench:
    """Two joints that are where they are told to be; ``answer`` makes of a target what they read."""

    def __init__(self, answer=lambda target: target, *, joints=(0, 1), amplitude=0.1, **reading):
        self.findings, self.announced, self.commands = [], [], []
        self.answer, self.reading = answer, reading
        self.moves = Moves(
            ROBOT,
            joints,
            amplitude=amplitude,
            tell=self.findings.append,
            announce=self.announced.append,
        )
        self.now, self.position = 100.0, START

    def step(self, **fields):
        before, fields = self.position, {**self.reading, **fields}
        if self.commands and self.commands[-1].mode is Mode.POSITION:
            self.position = np.asarray(self.answer(self.commands[-1].position), dtype=np.float64)
        velocity = (self.position - before) / PERIOD
        reading = toy_reading(
            ROBOT, self.now, joint_position=self.position, joint_velocity=velocity
        )
        self.commands.append(self.moves.step(replace(reading, **fields), self.now))
        self.now += PERIOD
        return self.commands[-1]

    def run(self):
        for _ in range(2000):
            self.step()
            if self.moves.done:
                return self
        raise AssertionError("it does not end")

    @property
    def targets(self):
        return np.array([c.position for c in self.commands if c.mode is Mode.POSITION])


def test_a_robot_that_obeys_moves_each_joint_by_itself_and_is_damped_at_the_end():
    bench = Bench().run()
    assert [(f.level, f.detail.split()[0]) for f in bench.findings] == [
        (Level.OK, "knee"),
        (Level.OK, "hip"),
    ]
    moved = abs(bench.targets - START) > 0
    assert not (moved[:, 0] & moved[:, 1]).any()
    # The knee, at 0.25 in −1 … 1.5, has as much room either way; upwards wins. So with the hip.
    assert bench.targets.max(axis=0) == pytest.approx(START + 0.1)
    assert bench.targets.min(axis=0).tolist() == START.tolist()
    assert bench.commands[-1].mode is Mode.DAMP
    assert bench.step().mode is Mode.DAMP
    assert [text.split(":")[0] for text in bench.announced] == [
        "knee by +0.10 rad",
        "hip by +0.10 rad",
    ]


def test_targets_are_continuous_and_slow():
    steps = np.diff(Bench().run().targets, axis=0)
    # A rise of half a cosine is fastest in its middle: half a pi amplitudes a second.
    assert abs(steps).max() <= 0.1 * math.pi / 2 * PERIOD + 1e-12
    fast = np.diff(
        Bench(amplitude=3.0, joints=(1,), answer=lambda target: target).run().targets, axis=0
    )
    assert abs(fast).max() <= MAX_RATE * PERIOD + 1e-12


def test_a_joint_near_a_limit_moves_away_from_it():
    bench = Bench(joints=(0,))
    bench.position = np.array((1.45, 0.0))
    bench.run()
    assert bench.targets[:, 0].min() == pytest.approx(1.35)
    assert bench.targets[:, 0].max() <= 1.45


def test_only_the_joints_that_were_asked_for_move():
    bench = Bench(joints=(1,)).run()
    assert [f.detail.split()[0] for f in bench.findings] == ["hip"]
    assert (bench.targets[:, 0] == START[0]).all()


def gain(factor):
    return lambda target: START + factor * (target - START)


AMISS = {
    "swapped": (lambda t: START + (t - START)[::-1], "knee should move, but hip moved"),
    "reversed": (gain(-1.0), "knee moves the wrong way"),
    "in degrees": (gain(57.3), "knee moved by"),
    "jumps when held": (lambda t: t + 0.4, "moved by 0.40 rad instead of holding"),
}


@pytest.mark.parametrize("case", AMISS)
def test_what_is_unexpected_damps_for_good(case):
    answer, words = AMISS[case]
    bench = Bench(answer).run()
    (bad,) = bench.findings
    assert (bad.check, bad.level) == ("move", Level.FAIL)
    assert words in bad.detail
    assert bad.fix
    assert {bench.step().mode for _ in range(3)} == {Mode.DAMP}
    # It ends early: by the time that a joint has read the wrong thing, little has been asked of it.
    assert abs(bench.targets - START).max() < 0.1


@pytest.mark.parametrize(
    ("factor", "level", "words"),
    [
        (0.0, Level.FAIL, "knee did not move"),
        (0.15, Level.FAIL, "knee did not move: 0.015 of 0.100"),
        (0.4, Level.WARN, "knee moved by 0.040 of 0.100"),
        (0.6, Level.OK, "knee moved by 0.060"),
        (1.4, Level.WARN, "knee moved by 0.140"),
    ],
)
def test_the_amount_is_judged_and_the_next_joint_has_its_turn(factor, level, words):
    bench = Bench(gain(factor)).run()
    assert [f.level for f in bench.findings] == [level, level]
    assert words in bench.findings[0].detail
    assert len(bench.announced) == 2


def test_it_says_when_each_joint_moved():
    bench = Bench().run()
    (knee_begin, knee_end), (hip_begin, hip_end) = (bench.moves.windows[n] for n in ("knee", "hip"))
    # A second there, half a one to stay, a second back, half a one to rest.
    for begin, end in ((knee_begin, knee_end), (hip_begin, hip_end)):
        assert 3.0 <= end - begin <= 3.0 + 2 * PERIOD
    assert knee_end < hip_begin


TRIPS = {
    "stale": ({"received": 99.0}, "ms old"),
    "not finite": ({"joint_position": np.array((math.nan, 0.0))}, "not finite"),
    "fallen": (
        {"orientation": np.array((math.sin(0.6), 0.0, 0.0, math.cos(0.6)))},
        "tilted by 1.20",
    ),
    "tilting": (
        {"orientation": np.array((math.sin(0.2), 0.0, 0.0, math.cos(0.2)))},
        "the body tilted",
    ),
}


@pytest.mark.parametrize("case", TRIPS)
def test_a_reading_that_trips_or_a_body_that_tilts_damps(case):
    fields, words = TRIPS[case]
    bench = Bench()
    for _ in range(80):
        assert bench.step().mode is Mode.POSITION
    assert bench.step(**fields).mode is Mode.DAMP
    assert words in bench.findings[-1].detail
    assert bench.step().mode is Mode.DAMP


def test_nothing_is_commanded_on_a_first_reading_that_trips():
    bench = Bench(received=0.0)
    assert bench.step().mode is Mode.DAMP
    assert bench.moves.done


def test_it_can_be_aborted_once():
    bench = Bench()
    bench.step()
    bench.moves.abort("interrupted", "")
    bench.moves.abort("again", "")
    assert bench.step().mode is Mode.DAMP
    assert [f.detail for f in bench.findings] == ["interrupted; damped"]
