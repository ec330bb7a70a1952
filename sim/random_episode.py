"""Episodes with parts still to be drawn: the contents of a scenario file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from .condition import Condition, Spell
from .damage import Damage

T = TypeVar("T")

DIGITS = 4  # decimals of a drawn number, so that its text is exact


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One of several, equally likely; a plain value is a choice of one."""

    ends: tuple[T, ...]

    def draw(self, rng: np.random.Generator) -> T:
        """Return one of them."""
        return self.ends[int(rng.integers(len(self.ends)))]


@dataclass(frozen=True)
class Uniform:
    """A number between two bounds, rounded to ``DIGITS`` decimals but kept within the bounds."""

    ends: tuple[float, float]

    def draw(self, rng: np.random.Generator) -> float:
        """Return one such number."""
        least, most = self.ends
        return min(max(round(float(rng.uniform(least, most)), DIGITS), least), most)


Number = Choice[float] | Uniform


@dataclass(frozen=True)
class RandomDamage:
    """A damage whose part and amount are still to be drawn; no amount for kinds that take none."""

    part: Choice[str]
    kind: str
    amount: Number | None

    def draw(self, rng: np.random.Generator) -> Damage:
        """Return a concrete damage."""
        part = self.part.draw(rng)
        return Damage(part, self.kind, 0.0 if self.amount is None else self.amount.draw(rng))


@dataclass(frozen=True)
class RandomSpell:
    """Damages that come together at a random time and last for a random time; None for ever."""

    onset: Number
    lasts: Number | None
    damages: tuple[Choice[RandomDamage], ...]

    def draw(self, rng: np.random.Generator) -> Spell:
        """Return a concrete spell."""
        onset = self.onset.draw(rng)
        healed = math.inf if self.lasts is None else onset + self.lasts.draw(rng)
        return Spell(tuple(damage.draw(rng).draw(rng) for damage in self.damages), onset, healed)


@dataclass(frozen=True)
class Scenario:
    """What may happen in an episode of one robot.

    Attributes:
        name: file name without its suffix.
        duration: s.
        turn: angle from the first heading to the one to keep, rad.
        background: damages in force throughout.
        timeline: damages that come and go; the measures compare before and after the first.
    """

    name: str
    duration: float
    turn: Number
    background: tuple[Choice[RandomDamage], ...]
    timeline: tuple[RandomSpell, ...]

    def draw(self, rng: np.random.Generator) -> Condition:
        """Return a concrete episode; the same generator state gives the same one."""
        turn = self.turn.draw(rng)
        background = tuple(damage.draw(rng).draw(rng) for damage in self.background)
        first, *others = [spell.draw(rng) for spell in self.timeline] or [Spell((), 0.0)]
        return Condition(
            self.duration,
            first.damages,
            first.onset,
            first.healed,
            turn=turn,
            background=background,
            spells=tuple(others),
        )
