"""The control thread: when it ticks, what it hands on, how it ends."""

import threading
import time

import numpy as np
import pytest
from toys import toy_robot

from hebb_controller.node import control_thread
from hebb_controller.node.control_thread import (
    REQUEST_TIMEOUT,
    ControlThread,
    ControlThreadError,
)
from hebb_controller.node.values import LoopStatus, Phase, Sample
from hebb_controller.signals import Mode, SensorReading

PATIENCE = 5.0  # s, how long a test waits for what must happen


def sample(stamp):
    """Return a reading of which only the moment of its arrival is looked at."""
    return Sample(SensorReading(0.0, time.monotonic(), None, None, None, None), stamp)


class Loop:
    """A loop that says what it is told."""

    def __init__(self):
        self.status = LoopStatus(Phase.RUN, "", "file", "sha256")
        self.calls = []
        self.command = "command"
        self.error = None

    def tick(self, sample, now):
        self.calls.append((sample, now))
        if self.error is not None:
            raise self.error
        return self.command

    def in_time(self, command, took):
        return command

    def damp(self, reason):
        self.status = LoopStatus(Phase.DAMPED, reason, "file", "sha256")
        self.error = None
        return "damp"

    def stop(self):
        self.status = LoopStatus(Phase.INACTIVE, "", "file", "sha256")
        return "damp"


class Sent:
    """What the thread handed on, and waiting for more."""

    def __init__(self):
        self.items = []
        self._more = threading.Condition()

    def __call__(self, *item):
        with self._more:
            self.items.append(item)
            self._more.notify_all()

    def wait(self, count):
        with self._more:
            assert self._more.wait_for(lambda: len(self.items) >= count, PATIENCE), self.items
            return list(self.items)


@pytest.fixture
def make():
    threads = []

    def begin(loop, *, period=0.02, by_reading=False, answer_once=False):
        sent, changed, failed = Sent(), Sent(), Sent()
        thread = ControlThread(
            loop,
            period=period,
            by_reading=by_reading,
            answer_once=answer_once,
            send=sent,
            changed=changed,
            failed=failed,
        )
        thread.begin()
        threads.append(thread)
        return thread, sent, changed, failed

    yield begin
    for thread in threads:
        thread.end()


def test_the_timer_keeps_absolute_deadlines_and_counts_what_it_misses(make):
    """A tick that takes two and a half periods leaves the next ones where they would have been."""
    period = 0.01
    loop = Loop()
    tick = loop.tick

    def stumbling(sample, now):
        if len(loop.calls) == 5:
            time.sleep(2.5 * period)
        return tick(sample, now)

    loop.tick = stumbling
    thread, sent, *_ = make(loop, period=period)
    sent.wait(40)
    assert thread.end()
    statistics = thread.statistics
    ticks = statistics.ticks
    assert ticks == len(loop.calls)
    deadlines = (statistics._begun - statistics._late)[:ticks]
    steps = np.diff(deadlines) / period
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert (statistics._late[:ticks] >= 0).all()
    assert statistics.overruns == round(steps.sum() - len(steps)) >= 1
    assert [now for _, now in loop.calls[:ticks]] == statistics._begun[:ticks].tolist()


def test_a_reading_is_ticked_on_and_answered_with_its_stamp(make):
    loop = Loop()
    thread, sent, *_ = make(loop, period=60.0, by_reading=True, answer_once=True)
    for stamp in (5, 7):
        thread.offer(sample(stamp))
        assert sent.wait(1)[-1] == ("command", stamp)
        sent.items.clear()


def test_a_command_has_the_stamp_of_the_reading_that_it_answers_whatever_came_meanwhile(make):
    loop = Loop()
    tick = loop.tick

    def overtaken(given, now):
        thread._sample = sample(given.stamp + 1)
        return tick(given, now)

    thread, sent, *_ = make(loop, period=60.0, by_reading=True, answer_once=True)
    loop.tick = overtaken
    thread.offer(sample(5))
    assert sent.wait(1) == [("command", 5)]


def test_who_brings_a_reading_stays_out_of_the_way_until_it_is_answered(make, monkeypatch):
    monkeypatch.setattr(control_thread, "MAKES_WAY", PATIENCE)
    thread, sent, *_ = make(Loop(), period=60.0, by_reading=True)
    for count in (1, 2, 3):
        thread.offer(sample(count))
        assert len(sent.items) == count


def test_who_brings_a_reading_does_not_wait_for_a_thread_that_is_busy(make):
    thread, *_ = make(Loop(), period=60.0, by_reading=True)
    busy = threading.Event()
    thread.post(lambda _: busy.wait(PATIENCE))
    start = time.monotonic()
    thread.offer(sample(1))
    waited = time.monotonic() - start
    busy.set()
    assert waited < PATIENCE / 2


def test_without_a_new_reading_nothing_is_sent_by_reading_unless_damped(make):
    loop = Loop()
    thread, sent, *_ = make(loop, period=0.005, by_reading=True)
    thread.offer(sample(5))
    sent.wait(1)
    ticks = len(loop.calls)
    while len(loop.calls) < ticks + 5:
        time.sleep(0.005)
    assert len(sent.items) == 1
    loop.damp("why")
    sent.wait(4)


def test_an_exception_damps_and_is_told(make):
    loop = Loop()
    loop.error = ZeroDivisionError("in the network")
    _, sent, changed, failed = make(loop, period=0.005)
    assert sent.wait(1)[0] == ("damp", 0)
    ((status,),) = changed.wait(1)[-1:]
    assert "ZeroDivisionError: in the network" in status.reason
    assert isinstance(failed.wait(1)[0][0], ZeroDivisionError)


def test_a_loop_that_cannot_even_damp_is_damped_and_the_thread_goes_on(make):
    class Broken(Loop):
        robot = toy_robot()

        def damp(self, reason):
            raise RuntimeError(reason)

    loop = Broken()
    loop.error = ZeroDivisionError("a fault")
    _, sent, _, failed = make(loop, period=0.005)
    assert all(command.mode is Mode.DAMP for command, _ in sent.wait(3))
    kinds = [type(error) for (error,) in failed.wait(4)[:4]]
    assert kinds == [RuntimeError, ZeroDivisionError] * 2


def test_a_request_is_carried_out_at_once_in_the_thread_and_its_error_comes_back(make):
    thread, *_ = make(Loop(), period=60.0)
    assert thread.ask(lambda _: threading.current_thread().name) == "control"
    with pytest.raises(ZeroDivisionError):
        thread.ask(lambda _: 1 / 0)


def test_ending_damps_first_and_ends_the_thread(make):
    thread, sent, *_ = make(Loop(), period=60.0, by_reading=True)
    assert thread.end()
    assert sent.items == [("damp", 0)]


def test_each_change_of_the_status_is_told_once(make):
    loop = Loop()
    _, sent, changed, _ = make(loop, period=0.005)
    sent.wait(5)
    assert [status.phase for (status,) in changed.items] == [Phase.RUN]
    loop.damp("why")
    assert [status.phase for (status,) in changed.wait(2)] == [Phase.RUN, Phase.DAMPED]


def test_a_reading_that_came_after_the_time_was_taken_is_not_from_the_future():
    loop = Loop()
    thread = ControlThread(
        loop,
        period=1.0,
        by_reading=False,
        answer_once=False,
        send=Sent(),
        changed=Sent(),
        failed=Sent(),
    )
    now = time.monotonic()
    late = sample(1)
    thread.offer(late)
    thread._tick(now)
    assert loop.calls == [(late, late.reading.received)]


def test_a_request_that_nobody_waits_for_any_more_is_not_carried_out(make):
    """The one before it takes longer than anybody waits."""
    done = []
    thread, *_ = make(Loop(), period=60.0)
    thread.post(lambda _: time.sleep(2 * REQUEST_TIMEOUT))
    with pytest.raises(ControlThreadError, match="did not answer"):
        thread.ask(lambda _: done.append("too late"))
    assert thread.post(lambda _: list(done)).result(PATIENCE) == []


def test_ending_tells_an_error_and_returns_that_it_was_not_damped_by_the_thread(make):
    loop = Loop()
    loop.stop = lambda: 1 / 0
    thread, sent, _, failed = make(loop, period=60.0)
    assert not thread.end()
    assert isinstance(failed.wait(1)[0][0], ZeroDivisionError)
    assert sent.items == []
    with pytest.raises(ControlThreadError, match="has ended"):
        thread.ask(lambda _: None)
