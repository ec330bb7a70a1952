"""Shared by all tests: paths, and the hypothesis profile."""

import sys
from pathlib import Path

import hypothesis
import pytest
from toys import toy_robot, write_toy_robot

from hebb_controller import cli

# The same examples in every run, so that only a change makes a test fail. No deadline per example,
# since a loaded machine may stall anything for a second.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
def robot():
    """Return the two-joint toy robot."""
    return toy_robot()


@pytest.fixture
def robot_file(tmp_path: Path) -> str:
    """Return the path of the toy robot's spec."""
    return write_toy_robot(tmp_path)


@pytest.fixture
def hebb(monkeypatch, capfd):
    """Return a function that runs ``hebb`` and returns its exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hebb", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return run
