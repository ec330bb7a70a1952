"""A process that is asked to stop stops by itself, even if another thread gets the signal."""

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import signal, threading, time
from hebb_controller.stop_signals import stop_event

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
stopping = stop_event()
# Like the threads of BLAS: it is there before, and takes the signal that the main thread does not.
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
if {blocked}:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
print("ready", flush=True)
while not stopping.wait(0.1):
    pass
print("stopped by itself", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("blocked", [False, True])
def test_the_event_is_set_whichever_thread_gets_the_signal(number, blocked):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(blocked=blocked)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "ready\n"
        start = time.monotonic()
        child.send_signal(number)
        child.send_signal(number)  # a terminal and a launcher may both send it
        output, errors = child.communicate(timeout=10)
        assert time.monotonic() - start < 1.0
    assert (output, errors, child.returncode) == ("stopped by itself\n", "", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_very_end_of_the_process_does_not_kill_it(number):
    """An object that lives as long as its module dies after Python has given its handlers up."""
    program = f"""
import os, signal
from hebb_controller.stop_signals import stop_event

signal.signal(signal.SIGHUP, signal.SIG_DFL)

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), write=os.write):
        kill(process, {int(number)})
        write(1, b"survived")

last = Last()
stop_event().set()
"""
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=10, check=False
    )
    assert (child.stdout, child.stderr, child.returncode) == ("survived", "", 0)


def test_under_nohup_a_lost_terminal_stops_nothing():
    program = """
import os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it
from hebb_controller.stop_signals import stop_event

stopping = stop_event()
os.kill(os.getpid(), signal.SIGHUP)
print(stopping.wait(0.3))
"""
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=10, check=False
    )
    assert (child.stdout, child.stderr, child.returncode) == ("False\n", "", 0)
