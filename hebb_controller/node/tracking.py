"""Whether a robot tracks its targets; without commands or motor power it does not."""

from __future__ import annotations

import numpy as np

from ..robot import FloatArray, RobotSpec

NEAR = 0.3  # rad; a joint that carries a robot stays this close to its target
EFFORT = 0.9  # share of its torque beyond which a joint strains instead of holding
MAX_OFF_TARGET = 1 / 3  # share of the joints that may always be off target: one leg may be limp
PATIENCE = 1.0  # s for which more of them may be, as happens briefly in every gait


class TrackingMonitor:
    """Compares one robot's joint positions with their targets.

    Args:
        robot: a joint is on target within ``NEAR``, and while the spring to the target takes less than
            ``EFFORT`` of its torque. (The torque stage never puts a target beyond the full torque.)
        max_step: longest time that counts between two readings, s: a clock that jumps ahead is no fault.
    """

    def __init__(self, robot: RobotSpec, *, max_step: float) -> None:
        self._near = np.minimum(NEAR, EFFORT * robot.torque / robot.kp)
        self._max_step = round(max_step * 1e9)
        self._stamp: int | None = None
        self._off_target_for = 0

    def restart(self) -> None:
        """Forget what was seen before."""
        self._stamp = None
        self._off_target_for = 0

    def joints_off_target(self, position: FloatArray, target: FloatArray) -> int:
        """Return how many joints are off target; 0 if few enough for a limp leg to explain it.

        Args:
            position: (n,) measured, rad.
            target: (n,) rad.
        """
        off_target = int(np.count_nonzero(~(np.abs(position - target) <= self._near)))
        return off_target if off_target > MAX_OFF_TARGET * len(position) else 0

    def tracking_fault(self, position: FloatArray, target: FloatArray, stamp: int) -> str:
        """Return what is wrong if too many joints have been off target for too long, or an empty string.

        Args:
            position: (n,) measured, rad.
            target: (n,) as last commanded, rad.
            stamp: of the reading, ns.
        """
        step = 0 if self._stamp is None else min(stamp - self._stamp, self._max_step)
        self._stamp = stamp
        off_target = self.joints_off_target(position, target)
        self._off_target_for = self._off_target_for + step if off_target else 0
        if self._off_target_for < PATIENCE * 1e9:
            return ""
        return (
            f"{off_target} of {len(position)} joints have not followed their targets for "
            f"{self._off_target_for * 1e-9:.1f} s: do commands reach the motors?"
        )
