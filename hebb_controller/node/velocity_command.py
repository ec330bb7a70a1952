"""What ``cmd_vel`` commands, and how long that holds."""

from __future__ import annotations

import math

import numpy as np
from geometry_msgs.msg import TwistStamped

from ..errors import MessageError
from ..robot import FloatArray
from ..signals import STANDSTILL

CHANNEL = "velocity_command"
TIMEOUT = 0.5  # s after which a command that was not repeated becomes zero


class VelocityCommand:
    """The latest command; zero before the first one, and when it is ``TIMEOUT`` old.

    Time is passed in, in seconds of one clock.
    """

    def __init__(self) -> None:
        self._velocity = STANDSTILL
        self._since = -math.inf

    def take(self, message: TwistStamped, now: float) -> None:
        """Take a command.

        Raises:
            MessageError: one of its numbers is not finite; the previous command stays in force.
        """
        linear, angular = message.twist.linear, message.twist.angular
        velocity = np.array([linear.x, linear.y, angular.z])
        if not np.isfinite(velocity).all():
            raise MessageError(
                "cmd_vel: linear.x, linear.y or angular.z is not finite. "
                "Publish finite numbers; zero stops."
            )
        self._velocity, self._since = velocity, now

    def at(self, now: float) -> FloatArray:
        """Return what is commanded now, (3,), as ``SensorReading.velocity_command``."""
        return self._velocity if now - self._since <= TIMEOUT else STANDSTILL

    def complaint(self, now: float) -> str:
        """Return a complaint if nothing is commanded now, saying since when, or an empty string."""
        age = now - self._since
        if age <= TIMEOUT:
            return ""
        since = " yet" if math.isinf(age) else f" for {age:.1f} s"
        return f"no cmd_vel{since}: the rule is commanded to stand"
