"""What an episode puts a controller through, as a value with every random part already drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .damage import Damage


@dataclass(frozen=True)
class Spell:
    """Damages that come at one time and may go again.

    Attributes:
        damages: damages put in force together.
        onset: s after the start.
        healed: time at which they are undone, s after the start.
    """

    damages: tuple[Damage, ...]
    onset: float
    healed: float = math.inf


@dataclass(frozen=True)
class Condition:
    """What an episode puts a controller through.

    Attributes:
        duration: s.
        damages: damages put in force at ``onset``, before and after which the measures compare.
        onset: s after the start.
        healed: time at which the damages are undone, s after the start.
        turn: angle from the heading of the first pose to the one to keep, rad.
        weight_seed: seed of the initial weights; None to draw them from the episode's seed.
        background: damages in force from the first reading to the end, as properties of robot and
            ground. The record does not count them as damage.
        spells: further damages, at times of their own.
        velocity_command: commanded throughout: forward and to the left, m/s, and about the
            vertical, rad/s. Rules with the channel of that name see it.
    """

    duration: float
    damages: tuple[Damage, ...] = ()
    onset: float = 0.0
    healed: float = math.inf
    turn: float = 0.0
    weight_seed: int | None = None
    background: tuple[Damage, ...] = ()
    spells: tuple[Spell, ...] = ()
    velocity_command: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def changes(self, period: float) -> dict[int, tuple[tuple[Damage, ...], bool]]:
        """Return tick -> (all damages in force from then on, whether any is not background).

        Damages are listed in the order in which they began. Times are rounded to whole ticks, halves
        up; whatever has a duration is in force for at least one.

        Args:
            period: tick period, s.
        """
        spans: list[tuple[int, float, tuple[Damage, ...]]] = []
        for spell in (Spell(self.damages, self.onset, self.healed), *self.spells):
            if spell.damages:
                start, stop = _tick(spell.onset, period), math.inf
                if math.isfinite(spell.healed):
                    stop = max(_tick(spell.healed, period), start + 1)
                spans.append((start, stop, spell.damages))
        spans.sort(key=lambda span: span[0])
        changes = {}
        for tick in sorted({0, *(int(t) for span in spans for t in span[:2] if t < math.inf)}):
            active = [damages for start, stop, damages in spans if start <= tick < stop]
            in_force = self.background + tuple(damage for some in active for damage in some)
            changes[tick] = in_force, bool(active)
        return changes


def _tick(time: float, period: float) -> int:
    # All halves go the same way, also those that a division misses: what lasts for ten ticks does so
    # wherever it begins.
    return math.floor(time / period + 0.5 + 1e-9)
