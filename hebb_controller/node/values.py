"""The values that the control loop takes and returns."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, cast

from ..controller import Controller
from ..rule import Rule
from ..runtime.base import InspectableRuntime
from ..signals import SensorReading

Value = bool | int | float | str
"""The types of a node's parameters."""


class Phase(enum.Enum):
    """What the loop is doing."""

    INACTIVE = "INACTIVE"
    TO_DEFAULT_POSE = "TO_DEFAULT_POSE"
    RUN = "RUN"
    DAMPED = "DAMPED"


class SwapState(enum.Enum):
    """The progress of the last swap."""

    NONE = "none"
    BLENDING = "blending"
    PROBATION = "probation"
    KEPT = "kept"
    ROLLED_BACK = "rolled back"


class Plasticity(enum.Enum):
    """Whether the weights change, and if not, at whose request or after which remedy."""

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
        asked: name by which the file was asked for.
    """

    controller: Controller
    rule: Rule
    path: str
    asked: str = ""

    @property
    def runtime(self) -> InspectableRuntime:
        """The controller's runtime: those that a node loads can all be inspected."""
        return cast("InspectableRuntime", self.controller.runtime)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
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
        frozen_timeout: constant readings of all joints or of the imu, or constant stamps, for this long
            damp the robot, s; 0 for never.
        rate_tolerance: fraction by which the tick rate may be off before plasticity is frozen.
        can_damp: whether the receiver of the commands can damp; otherwise it holds the last targets.
        obeyed: whether a robot follows the commands; in a dry run none does.
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
    """The status of a loop; replaced whenever something changes.

    Attributes:
        phase: what it is doing.
        reason: why it is damped; empty otherwise.
        rule_file: the running rule's file.
        sha256: of that file.
        swap: number of rule changes, including rollbacks.
        swap_state: how far the last change has come.
        swap_reason: why it was rolled back; empty otherwise.
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
