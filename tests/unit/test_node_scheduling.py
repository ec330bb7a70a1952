"""How threads are scheduled, and what is said where that is not permitted."""

import gc
import os
import subprocess
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
    assert in_a_thread(lambda: scheduling.prepare_thread(0, -1)) == (True, "normal")


def test_a_priority_that_is_not_permitted_says_what_to_do(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    granted, said = scheduling.prepare_thread(50, -1)
    assert not granted
    assert said.startswith("not SCHED_FIFO 50: Operation not permitted. Fix: ")
    assert "limits.conf" in said


def test_a_processor_that_does_not_exist_is_named_with_those_that_do():
    there = sorted(os.sched_getaffinity(0))
    granted, said = in_a_thread(lambda: scheduling.prepare_thread(0, 1000))
    assert not granted
    assert said.startswith("not CPU 1000: ")
    assert str(there[0]) in said


def test_only_the_calling_thread_is_bound_to_a_processor():
    there = os.sched_getaffinity(0)
    cpu = min(there)

    def bound():
        return scheduling.prepare_thread(0, cpu), os.sched_getaffinity(0)

    assert in_a_thread(bound) == ((True, f"CPU {cpu}"), {cpu})
    assert os.sched_getaffinity(0) == there


RAISED = """
import os, subprocess, sys, threading
from hebb_controller.node import scheduling

started, done = threading.Barrier(3), threading.Event()

def wait():
    if threading.current_thread().name == "own":
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(7))
    started.wait()
    done.wait()

others = [threading.Thread(target=wait, name=name) for name in ("helper", "own")]
for thread in others:
    thread.start()
started.wait()

def tick():
    print(scheduling.prepare_thread(50, -1).detail)
    scheduling.raise_others(50)

control = threading.Thread(target=tick)
control.start()
control.join()

def of(thread):
    policy = os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
    print(policy, os.sched_getparam(thread).sched_priority)

for thread in (threading.main_thread(), *others):
    of(thread.native_id)
child = "import os; print(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout, end="")
later = threading.Thread(target=lambda: of(threading.get_native_id()))
later.start()
later.join()
done.set()
"""


def test_the_other_threads_come_next_and_processes_started_later_are_normal():
    """In a process of its own, whose threads stay as they are made."""
    said = subprocess.run(
        [sys.executable, "-c", RAISED], capture_output=True, text=True, timeout=30, check=False
    )
    if "PermissionError" in said.stderr:
        pytest.skip("real-time priorities are not permitted here")
    assert said.stderr == ""
    assert said.stdout.splitlines() == [
        "SCHED_FIFO 50",
        f"{os.SCHED_FIFO} 49",  # the main thread
        f"{os.SCHED_FIFO} 49",
        f"{os.SCHED_RR} 7",  # has one of its own
        f"{os.SCHED_OTHER} 0",
        f"{os.SCHED_OTHER} 0",
    ]


def test_without_a_priority_no_thread_is_touched(monkeypatch):
    def touched(*_):
        raise AssertionError

    monkeypatch.setattr(os, "sched_setscheduler", touched)
    scheduling.raise_others(0)


def test_threads_that_may_not_be_raised_stay_as_they_are(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    scheduling.raise_others(50)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


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
