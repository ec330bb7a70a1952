"""``hebb train`` that is interrupted from outside, as a terminal does it: by signals and pipes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_training

from hebb_controller.rule_file import load_rule
from hebb_controller.train.trainer import LOG_NAME

PATIENCE = 300.0  # s


@pytest.fixture
def training(tmp_path):
    """Return a function that starts a training in a process group of its own."""
    started = []

    def start(*words):
        command = [sys.executable, tiny_training.__file__, "train", "--workers", "2", *words]
        process = subprocess.Popen(
            [
                *command,
                "--network",
                "static",
                "--generations",
                "1000000",
                "--out",
                tmp_path / "run",
            ],
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def wait_until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ctrl_c_whose_reader_ends_as_well_leaves_the_rule(training, tmp_path):
    """As in ``hebb train ... 2>&1 | tee log``: Ctrl-C ends tee, and then each line fails."""
    process = training()
    log = tmp_path / "run" / LOG_NAME
    wait_until(lambda: log.is_file() and log.read_text(encoding="utf-8").count("\n") > 1)
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    provenance = load_rule(tmp_path / "run" / "rule.rule.safetensors").header.provenance
    assert provenance["generations"] == log.read_text(encoding="utf-8").count("\n")


def test_ctrl_c_while_the_workers_start_is_no_traceback(training):
    process = training()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def worker():
        commands = (Path(f"/proc/{pid}/cmdline") for pid in children.read_text("ascii").split())
        return any(b"spawn_main" in command.read_bytes() for command in commands)

    wait_until(worker)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 130
    assert errors.endswith("Stopped in the first generation: nothing to keep yet.\n")
    assert "Traceback" not in errors
