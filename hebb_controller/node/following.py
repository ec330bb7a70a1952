"""Whether a robot goes where it is told: one that no command reaches, or whose power was cut, does not."""

from __future__ import annotations

import numpy as np

from ..robot import FloatArray, RobotSpec

NEAR = 0.3  # rad, within which a joint that carries a robot is, of where it was told to be
EFFORT = 0.9  # part of its torque beyond which a joint is not held but strains
MAX_ASTRAY = 1 / 3  # share of the joints that need not follow: one leg may be limp
PATIENCE = 1.0  # s that more of them may be astray, as they are for a moment in every gait


class Following:
    """Watches one robot.

    Args:
        robot: its joints are near a target within ``NEAR``, and while the spring to it takes less than
            ``EFFORT`` of their torque: a target is never further away than all of it, whoever obeys or not.
        max_step: what counts at most of the time between two readings, s: a clock that jumps ahead is no
            reason.
    """

    def __init__(self, robot: RobotSpec, *, max_step: float) -> None:
        self._near = np.minimum(NEAR, EFFORT * robot.torque / robot.kp)
        self._max_step = round(max_step * 1e9)
        self._stamp: int | None = None
        self._astray_for = 0

    def restart(self) -> None:
        """Begin anew: what was before does not count."""
        self._stamp = None
        self._astray_for = 0

    def astray(self, position: FloatArray, target: FloatArray) -> int:
        """Return how many joints are not near a target; 0 where a limp leg may explain it.

        Args:
            position: (n,) measured, rad.
            target: (n,) rad.
        """
        astray = int(np.count_nonzero(~(np.abs(position - target) <= self._near)))
        return astray if astray > MAX_ASTRAY * len(position) else 0

    def disobedience(self, position: FloatArray, target: FloatArray, stamp: int) -> str:
        """Return that the robot has not followed for too long, or an empty string.

        Args:
            position: (n,) measured, rad.
            target: (n,) the last that was commanded, rad.
            stamp: of the reading, ns.
        """
        step = 0 if self._stamp is None else min(stamp - self._stamp, self._max_step)
        self._stamp = stamp
        astray = self.astray(position, target)
        self._astray_for = self._astray_for + step if astray else 0
        if self._astray_for < PATIENCE * 1e9:
            return ""
        return (
            f"{astray} of {len(position)} joints have not followed their targets for "
            f"{self._astray_for * 1e-9:.1f} s: do commands reach the motors?"
        )
