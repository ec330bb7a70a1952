"""Whether the weights may change, and what keeps them from it."""

from __future__ import annotations

from ..plasticity import RULE_KINDS
from ..rule import Rule
from .rates import RateWatch
from .supervisor import Stage, Supervisor
from .values import Plasticity

REMEDIES = {
    Stage.FROZEN: Plasticity.FROZEN,
    Stage.RESTORED: Plasticity.RESTORED,
    Stage.TWIN: Plasticity.TWIN,
    Stage.GIVEN_UP: Plasticity.GIVEN_UP,
}


class PlasticitySwitch:
    """The operator's gain and freeze, and the rate of the ticks: they outlive any rule.

    Args:
        gain: factor on every weight change, as the operator set it.
        period: of the rule in force, s.
        rate_tolerance: fraction by which the rate of the ticks may be off.
    """

    def __init__(self, gain: float, *, period: float, rate_tolerance: float) -> None:
        self.set_gain = gain
        self.frozen_by_hand = False
        self.rate = RateWatch(period, rate_tolerance)
        self._rate_tolerance = rate_tolerance

    def follow(self, period: float) -> None:
        """Watch for another rate of ticks, unless it is the same."""
        if period != self.rate.nominal:
            self.rate = RateWatch(period, self._rate_tolerance)

    def gain(self, supervisor: Supervisor) -> float:
        """Return the factor on every weight change now in force."""
        frozen = self.frozen_by_hand or self.rate.off or supervisor.stage > Stage.PLASTIC
        return 0.0 if frozen else self.set_gain

    def told(self, supervisor: Supervisor, rule: Rule) -> tuple[Plasticity, str]:
        """Return whether the weights change, and the reason where that does not say it all."""
        if supervisor.stage is not Stage.PLASTIC:
            return REMEDIES[supervisor.stage], supervisor.reason
        if not RULE_KINDS[rule.header.kind].tensors:
            return Plasticity.STATIC, ""
        if self.frozen_by_hand:
            return Plasticity.FROZEN_BY_HAND, ""
        if not self.set_gain:
            return Plasticity.FROZEN_BY_GAIN, ""
        if self.rate.off:
            wanted = f"the rule needs {1.0 / self.rate.nominal:g} Hz"
            return Plasticity.FROZEN, f"ticks come at {self.rate.hertz:.1f} Hz, {wanted}"
        return Plasticity.PLASTIC, ""
