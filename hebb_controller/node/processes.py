"""Nodes as separate processes: start them, give them parameters, end them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import final

from ..errors import HebbError
from ..share import shipped
from .values import Value

CONTROLLER = "hebb_controller.node.controller_node"
SIMULATOR = "hebb_sim.sim_node"
RECORDER = "hebb_controller.node.recorder_node"

PATIENCE = 3.0  # s between SIGINT, SIGTERM and SIGKILL

PROFILES = "FASTDDS_DEFAULT_PROFILES_FILE"

DISCOVERY_PORT = 7400  # of domain 0: DDSI-RTPS 2.5, 9.6.1
PORTS_OF_A_DOMAIN = 250
DOMAINS = range(1, 101)  # the ports of higher ones are ephemeral


def ros_environment(domain_id: int | None = None) -> dict[str, str]:
    """Return this process's environment for a node that communicates within this machine only.

    With Fast DDS such nodes discover each other in a quarter of a second instead of 3 s; a profile set by
    the user is left alone.

    Args:
        domain_id: the ROS domain; None to keep that of this process.
    """
    environment = dict(os.environ)
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    environment.setdefault("OMP_NUM_THREADS", "1")
    if "FASTRTPS_DEFAULT_PROFILES_FILE" not in environment:  # its name until Fast DDS 3
        environment.setdefault(PROFILES, str(shipped("config", "fastdds_local.xml")))
    if domain_id is not None:
        environment["ROS_DOMAIN_ID"] = str(domain_id)
    return environment


def own_domain() -> int:
    """Return a ROS domain, the same until this process ends, that no other caller gets meanwhile.

    Raises:
        HebbError: all of them are taken.
    """
    process = os.getpid()
    if process not in _TAKEN:
        _TAKEN[process] = _take_domain()
    return _TAKEN[process][0]


_TAKEN: dict[int, tuple[int, socket.socket]] = {}  # by process: a fork takes its own


def _take_domain() -> tuple[int, socket.socket]:
    # The domain's discovery port, but TCP, which DDS does not use: taken in this network only, inherited by the
    # started nodes, since one may outlive its parent, and released by the kernel with the last of them.
    for domain in DOMAINS:
        taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            taken.bind(("127.0.0.1", DISCOVERY_PORT + PORTS_OF_A_DOMAIN * domain))
        except OSError:
            taken.close()
        else:
            return domain, taken
    raise HebbError(
        f"all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are taken. End some of the programs "
        f"that use them."
    )


def node_command(module: str, parameters: Mapping[str, Value]) -> list[str]:
    """Return the command that runs a node's module with these parameters."""
    command = [sys.executable, "-m", module, "--ros-args"]
    for name, value in parameters.items():
        # JSON is YAML: a string stays a string, whatever it looks like.
        command += ["-p", f"{name}:={json.dumps(value)}"]
    return command


@final
class NodeProcess:
    """A node running as a process of its own; as a context manager it ends with the block.

    Args:
        module: of the node: ``CONTROLLER``, ``SIMULATOR`` or ``RECORDER``.
        parameters: by name.
        environment: None for :func:`ros_environment`.
        log: file for everything it prints; None for this process's own output.
    """

    def __init__(
        self,
        module: str,
        parameters: Mapping[str, Value],
        *,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.module = module
        self.log = log
        output = None if log is None else log.open("wb")
        try:
            # A session of its own: Ctrl-C in the terminal goes to its parent, which ends it cleanly.
            self._process = subprocess.Popen(
                node_command(module, parameters),
                env=dict(ros_environment() if environment is None else environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[
                    taken.fileno()
                    for process, (_, taken) in _TAKEN.items()
                    if process == os.getpid()
                ],
            )
        finally:
            if output is not None:
                output.close()

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """Return what it has printed so far, if that goes to a file."""
        return "" if self.log is None else self.log.read_text(encoding="utf-8", errors="replace")

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int | None:
        """Return its exit code, or None if it is still running after this many seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> int:
        """End it by SIGINT, else SIGTERM, else SIGKILL; return its exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if self.exit_code is None:
                self.send_signal(number)
                self.wait(PATIENCE)
        if self.exit_code is None:
            self._process.kill()
        return self._process.wait()
