"""Programs that start nodes keep out of each other's way."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from hebb_controller.errors import HebbError
from hebb_controller.node import processes
from hebb_controller.node.processes import PROFILES, own_domain, ros_environment
from hebb_controller.share import shipped

TAKE = "from hebb_controller.node.processes import own_domain; print(own_domain(), flush=True); input()"


@contextmanager
def other_program():
    """Start a program that takes a domain; yield which one."""
    words = [sys.executable, "-c", TAKE]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        yield int(program.stdout.readline())
        program.communicate("\n")


def test_programs_that_run_at_once_have_different_domains():
    with other_program() as one, other_program() as two:
        assert len({own_domain(), one, two}) == 3


def test_a_program_keeps_its_domain():
    assert own_domain() == own_domain()
    assert own_domain() in processes.DOMAINS


START = """
import os
from pathlib import Path
from hebb_controller.node.processes import NodeProcess, own_domain
import hebb_controller.node.processes as p
p.node_command = lambda *_: ["sleep", "60"]
print(own_domain(), NodeProcess("none", {}, log=Path(os.devnull)).pid, flush=True)
"""


def test_a_node_that_outlives_its_parent_keeps_the_domain():
    done = subprocess.run([sys.executable, "-c", START], stdout=subprocess.PIPE, check=True)
    domain, orphan = map(int, done.stdout.split())
    try:
        with other_program() as one, other_program() as two:
            assert domain not in {one, two, own_domain()}
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_no_domain_left_is_one_clear_line(monkeypatch):
    mine = own_domain()
    monkeypatch.setattr(processes, "DOMAINS", range(mine, mine + 1))
    monkeypatch.setattr(processes, "_TAKEN", {})
    with pytest.raises(HebbError, match=f"domains from {mine} to {mine} are taken"):
        own_domain()


def test_nodes_find_each_other_by_the_shipped_profile_or_as_the_user_says(monkeypatch):
    for name in (PROFILES, "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert ros_environment()[PROFILES] == str(shipped("config", "fastdds_local.xml"))
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "mine.xml")
    assert PROFILES not in ros_environment()
    monkeypatch.setenv(PROFILES, "mine.xml")
    assert ros_environment()[PROFILES] == "mine.xml"
