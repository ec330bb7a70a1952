"""How threads are scheduled, and what is said where that is not permitted."""

import gc
import os
import sys
import threading

import pytest

from hebb_controller.node import scheduling


def in_a_thread(function):
    """Return what a function returns in a thread of its own, whose scheduling ends with it."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_nothing_is_changed_unless_asked_for():
    assert in_a_thread(lambda: scheduling.prepare_thread(0, -1)) == "normal"


def test_a_priority_that_is_not_permitted_says_what_to_do(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    said = scheduling.prepare_thread(50, -1)
    assert said.startswith("not SCHED_FIFO 50: Operation not permitted. Mend: ")
    assert "limits.conf" in said


def test_a_processor_that_does_not_exist_is_named_with_those_that_do():
    there = sorted(os.sched_getaffinity(0))
    said = in_a_thread(lambda: scheduling.prepare_thread(0, 1000))
    assert said.startswith("not CPU 1000: ")
    assert str(there[0]) in said


def test_only_the_calling_thread_is_bound_to_a_processor():
    there = os.sched_getaffinity(0)
    cpu = min(there)

    def bound():
        return scheduling.prepare_thread(0, cpu), os.sched_getaffinity(0)

    assert in_a_thread(bound) == (f"CPU {cpu}", {cpu})
    assert os.sched_getaffinity(0) == there


@pytest.fixture
def as_before():
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    gc.enable()
    gc.unfreeze()


def test_garbage_is_collected_only_where_it_is_asked_for(as_before):
    class Loop:
        def __init__(self):
            self.itself = self

    scheduling.prepare_process()
    scheduling.settle()
    assert sys.getswitchinterval() == pytest.approx(scheduling.SWITCH_INTERVAL)
    died = []
    import weakref

    loops = [Loop() for _ in range(3)]
    references = [weakref.ref(loop, died.append) for loop in loops]
    del loops
    [[] for _ in range(100_000)]
    assert not died
    scheduling.collect()
    assert len(died) == len(references)
