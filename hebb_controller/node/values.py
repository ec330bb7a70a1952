"""The values that the control loop takes and gives."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..controller import Controller
from ..signals import SensorReading

Value = bool | int | float | str
"""What a node's parameter can be."""


class Phase(enum.Enum):
    """What the loop is doing."""

    INACTIVE = "INACTIVE"
    TO_DEFAULT_POSE = "TO_DEFAULT_POSE"
    RUN = "RUN"
    DAMPED = "DAMPED"


@dataclass(frozen=True)
class Sample:
    """A reading with its stamp as the exact number of nanoseconds that came over the wire."""

    reading: SensorReading
    stamp: int


@dataclass(frozen=True)
class Loaded:
    """A controller ready to run, and the file that its rule came from."""

    controller: Controller
    path: str
    sha256: str


@dataclass(frozen=True)
class LoopSettings:
    """How the loop judges time.

    Attributes:
        sensor_timeout: a reading older than this is stale, s.
        lock_step: ages are judged by stamps, every reading is answered.
        every_reading: readings set the pace (tick on the first at or after each due stamp); otherwise
            the caller does, and each new reading that it passes is ticked on.
        seed: of the initial weights; below 0 they come from entropy.
    """

    sensor_timeout: float
    lock_step: bool
    every_reading: bool
    seed: int


@dataclass(frozen=True)
class LoopStatus:
    """What there is to say about a loop; a new value whenever something changed.

    Attributes:
        phase: what it is doing.
        reason: why it is damped; empty otherwise.
        rule_file: the running rule's file.
        sha256: of that file.
        swap: how many times the rule was swapped.
    """

    phase: Phase
    reason: str
    rule_file: str
    sha256: str
    swap: int = 0
