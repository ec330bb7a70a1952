"""The values that the control loop takes and gives."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, cast

from ..controller import Controller
from ..rule import Rule
from ..runtime.base import InspectableRuntime
from ..signals import SensorReading

Value = bool | int | float | str
"""What a node's parameter can be."""


class Phase(enum.Enum):
    """What the loop is doing."""

    INACTIVE = "INACTIVE"
    TO_DEFAULT_POSE = "TO_DEFAULT_POSE"
    RUN = "RUN"
    DAMPED = "DAMPED"


class SwapState(enum.Enum):
    """How far the last swap has come."""

    NONE = "none"
    BLENDING = "blending"
    PROBATION = "probation"
    KEPT = "kept"
    ROLLED_BACK = "rolled back"


class Plasticity(enum.Enum):
    """Whether the weights change, and if not, at whose word or after which remedy."""

    PLASTIC = "plastic"
    STATIC = "static: the rule changes nothing"
    FROZEN_BY_HAND = "frozen: by ~/freeze"
    FROZEN_BY_GAIN = "frozen: plasticity_gain is 0"
    FROZEN = "frozen"
    RESTORED = "frozen, with the last good weights"
    TWIN = "the static twin drives"
    GIVEN_UP = "given up"


class Source(NamedTuple):
    """One of the topics that a reading was made from.

    Attributes:
        topic: its name.
        stamp: of the oldest value that it contributed, ns.
        received: when that value arrived, s, steady time.
    """

    topic: str
    stamp: int
    received: float


@dataclass(frozen=True)
class Sample:
    """A reading with its stamp as the exact number of nanoseconds that came over the wire.

    Attributes:
        reading: the reading.
        stamp: of its newest value, ns.
        sources: the topics that it was made from; empty where there is only one.
    """

    reading: SensorReading
    stamp: int
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A controller ready to run, and where its rule came from.

    Attributes:
        controller: drives by the rule.
        rule: the rule.
        path: its file.
        asked: how the file was named by whoever asked for it.
    """

    controller: Controller
    rule: Rule
    path: str
    asked: str = ""

    @property
    def runtime(self) -> InspectableRuntime:
        """The controller's runtime: whatever a node loads shows its network."""
        return cast("InspectableRuntime", self.controller.runtime)

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.rule.sha256


@dataclass(frozen=True)
class LoopSettings:
    """How the loop judges time and rates.

    Attributes:
        sensor_timeout: a reading older than this is stale, s.
        lock_step: ages are judged by stamps, every reading is answered.
        by_stamps: ticks are due by the stamps of the readings; otherwise by the steady clock.
        seed: of the initial weights; below 0 they come from entropy.
        command_period: between two calls of the loop by the steady clock, s.
        heartbeat_timeout: without a heartbeat for this long the robot is damped, s; 0 needs none.
        frozen_timeout: joints that all read the same for this long damp the robot, s; 0 never.
        rate_tolerance: part by which the rate of ticks may be off before plasticity is frozen.
        can_damp: whether who receives the commands can damp; otherwise it holds the last targets.
        obeyed: whether there is a robot that moves as it is told; in a dry run there is none.
    """

    sensor_timeout: float
    lock_step: bool
    by_stamps: bool
    seed: int
    command_period: float
    heartbeat_timeout: float
    frozen_timeout: float
    rate_tolerance: float
    can_damp: bool
    obeyed: bool


@dataclass(frozen=True)
class LoopStatus:
    """What there is to say about a loop; a new value whenever something changed.

    Attributes:
        phase: what it is doing.
        reason: why it is damped; empty otherwise.
        rule_file: the running rule's file.
        sha256: of that file.
        swap: how many times the rule was changed, there and back.
        swap_state: how far the last change has come.
        swap_reason: why it was taken back; empty otherwise.
        plasticity: whether weights change.
        plasticity_reason: what froze them; empty where ``plasticity`` says it all.
        watch: what the weights are held to.
    """

    phase: Phase
    reason: str
    rule_file: str
    sha256: str
    swap: int = 0
    swap_state: SwapState = SwapState.NONE
    swap_reason: str = ""
    plasticity: Plasticity = Plasticity.PLASTIC
    plasticity_reason: str = ""
    watch: str = ""

    @property
    def plasticity_text(self) -> str:
        """What is published as ``plasticity``."""
        reason = f": {self.plasticity_reason}" if self.plasticity_reason else ""
        return f"{self.plasticity.value}{reason}"
