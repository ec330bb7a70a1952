"""The quality of service of the controller node's sensor and command topics."""

from __future__ import annotations

from rclpy.qos import QoSProfile, ReliabilityPolicy

COMMANDS = "joint_command"


def command_qos(*, lock_step: bool = False) -> QoSProfile:
    """Return the QoS of joint_command."""
    return QoSProfile(depth=10 if lock_step else 1, reliability=ReliabilityPolicy.RELIABLE)


def sensor_qos(*, lock_step: bool = False) -> QoSProfile:
    """Return the QoS of joint_states and imu/data: best effort, to hear any publisher, unless in lock-step."""
    if lock_step:
        return QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    return QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
