"""Simulator and controller as two processes in lock-step, with an operator."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import HebbError
from ..rotation import yaw
from .operator_client import NodeTimeoutError, Operator
from .processes import CONTROLLER, SIMULATOR, NodeProcess, ros_environment
from .values import Value

CONTROLLER_NODE = "controller_node"
SIMULATOR_NODE = "sim_node"
PATIENCE = 20.0  # s of wall time for the controller to appear, and for each transition


@dataclass(frozen=True)
class SimLoop:
    """The two processes and the operator of :func:`sim_loop`."""

    simulator: NodeProcess
    controller: NodeProcess
    operator: Operator

    def activate(self) -> None:
        """Configure and activate the controller, on the reading that the simulator holds.

        Raises:
            HebbError: a node did not start, or did not make the transition.
        """
        end = time.monotonic() + PATIENCE
        while not self._answers():
            codes = {self.simulator.exit_code, self.controller.exit_code}
            if codes != {None} or time.monotonic() > end:
                raise HebbError(f"the nodes did not start. {self.last_words()}")
        for transition in ("configure", "activate"):
            if not self.operator.change_state(CONTROLLER_NODE, transition, timeout=PATIENCE):
                raise HebbError(
                    f"the controller did not {transition}: {last_line(self.controller)}"
                )

    def _answers(self) -> bool:
        with suppress(NodeTimeoutError):
            return bool(self.operator.state(CONTROLLER_NODE, timeout=0.5))
        return False

    def set(self, name: str, *, value: Value) -> None:
        """Set a parameter of the simulator.

        Raises:
            HebbError: it refused.
        """
        if reason := self.operator.set_parameter(SIMULATOR_NODE, name, value):
            raise HebbError(f"sim_node refused {name} = {value}: {reason}")

    def last_words(self) -> str:
        """Return the last line that each of the two printed."""
        return (
            f"sim_node: {last_line(self.simulator)}; controller_node: {last_line(self.controller)}"
        )


@contextmanager
def sim_loop(
    simulator: Mapping[str, Value], controller: Mapping[str, Value], *, logs: Path, domain_id: int
) -> Iterator[SimLoop]:
    """Start both nodes, the simulator paused at its first reading; end them with the block.

    Args:
        simulator, controller: parameters, in addition to those that lock-step needs.
        logs: directory for what the two print.
        domain_id: the ROS domain.
    """
    environment = ros_environment(domain_id)
    os.environ.update(ros_environment())  # the operator's node is in this process
    with (
        NodeProcess(
            SIMULATOR,
            {"lock_step": True, "paused": True, **simulator},
            environment=environment,
            log=logs / "sim_node.log",
        ) as sim,
        NodeProcess(
            CONTROLLER,
            {"lock_step": True, "tick_source": "sensor", **controller},
            environment=environment,
            log=logs / "controller_node.log",
        ) as node,
        Operator(domain_id=domain_id) as operator,
    ):
        yield SimLoop(sim, node, operator)


def last_line(process: NodeProcess) -> str:
    """Return the last line that a node printed."""
    lines = process.output().strip().splitlines()
    return lines[-1] if lines else "no output"


def speed_ahead(
    stamps: npt.ArrayLike,
    position: npt.ArrayLike,
    orientation: npt.ArrayLike,
    start: float,
    stop: float,
) -> float:
    """Return the mean speed along the initial heading between two moments, m/s.

    Args:
        stamps: (T,) of each row, s, ascending.
        position: (T, 3) of the base, m.
        orientation: of the base in the first row, xyzw.
        start, stop: s.
    """
    times, path = np.asarray(stamps), np.asarray(position)
    first, last = np.minimum(np.searchsorted(times, [start, stop]), len(times) - 1)
    if last <= first:
        return 0.0
    heading = yaw(np.asarray(orientation))
    ahead = np.array([np.cos(heading), np.sin(heading), 0.0])
    return float((path[last] - path[first]) @ ahead) / float(times[last] - times[first])
