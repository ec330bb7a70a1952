"""What a rule was trained to expect of a robot, and whether a robot offers it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import ContractError
from .observation import Channel
from .robot import RobotSpec

ACTUATORS = ("pd",)


@dataclass(frozen=True)
class JointContract:
    """What a rule was trained to expect of one joint: SI units, radians.

    ``default`` is the target of a zero action, ``action_scale`` what an action of 1 adds to it; the
    rest are the gains and limits that applied in training.
    """

    name: str
    default: float
    action_scale: float
    kp: float
    kd: float
    torque: float
    lower: float
    upper: float
    max_target_rate: float


@dataclass(frozen=True)
class Contract:
    """Everything a rule was trained to expect of its robot.

    Attributes:
        robot: name of the robot.
        actuator: how a target becomes torque; ``pd`` is clip(kp(q* − q) − kd·q̇, ±torque).
        latency_ticks: ticks between a reading and the command computed from it.
        channels: the observation.
        joints: one entry per joint, in vector order.
        velocity_cutoff: cutoff of the low-pass that estimated joint velocities, Hz; None if they
            were measured.
    """

    robot: str
    actuator: str
    latency_ticks: int
    channels: tuple[Channel, ...]
    joints: tuple[JointContract, ...]
    velocity_cutoff: float | None = None


def check_contract(contract: Contract, robot: RobotSpec, *, where: str = "rule") -> None:
    """Check that a rule with this contract may drive a robot.

    Raises:
        ContractError: joints, gains, default pose, actuator or the source of joint velocities
            differ, or the rule was trained beyond a limit of the robot; the message names the first
            mismatch.
    """
    names = tuple(joint.name for joint in contract.joints)
    if names != robot.joint_names:
        missing = [n for n in names if n not in robot.joint_names]
        extra = [n for n in robot.joint_names if n not in names]
        detail = (
            f"the robot has no {', '.join(missing)}"
            if missing
            else f"the rule does not know {', '.join(extra)}"
            if extra
            else "the joints are in another order"
        )
        raise ContractError(
            f"{where}: trained for robot '{contract.robot}' ({len(names)} joints), "
            f"this is '{robot.name}' ({robot.n_joints}): {detail}. "
            f"Retrain for this robot, or name the right one."
        )
    for i, joint in enumerate(contract.joints):
        place = f"{where}: joint '{joint.name}'"
        for field in ("kp", "kd"):
            trained, has = float(getattr(joint, field)), float(getattr(robot, field)[i])
            if not math.isclose(trained, has, rel_tol=1e-6):
                raise ContractError(
                    f"{place}: trained with {field} {trained:g}, robot '{robot.name}' has {has:g}. "
                    f"Retrain, or correct the robot spec."
                )
        if not abs(joint.default - robot.default[i]) <= 1e-6:
            raise ContractError(
                f"{place}: trained with default {joint.default:g} rad, robot '{robot.name}' has "
                f"{robot.default[i]:g}. Retrain for this pose, or correct the robot spec."
            )
        for field, sign in (("lower", -1), ("upper", 1), ("torque", 1), ("max_target_rate", 1)):
            trained, has = float(getattr(joint, field)), float(getattr(robot, field)[i])
            if sign * (trained - has) > 1e-6:
                raise ContractError(
                    f"{place}: trained with {field} {trained:g}, beyond the limit {has:g} of robot "
                    f"'{robot.name}'. Retrain within the limit."
                )

    observes = any(channel.name == "joint_velocity" for channel in contract.channels)
    if observes and contract.velocity_cutoff != robot.velocity_cutoff:
        raise ContractError(
            f"{where}: trained with joint velocities {_source(contract.velocity_cutoff)}, those of "
            f"robot '{robot.name}' are {_source(robot.velocity_cutoff)}. "
            f"Retrain, or correct joint_velocity in the robot spec."
        )


def _source(cutoff: float | None) -> str:
    return "measured" if cutoff is None else f"estimated with a cutoff of {cutoff:g} Hz"


def joint_contracts(robot: RobotSpec, action_scale: Sequence[float]) -> tuple[JointContract, ...]:
    """Return what a rule trained on this robot expects of its joints.

    Args:
        robot: the robot.
        action_scale: (n,) what an action of 1 adds to the default position, rad.
    """
    return tuple(
        JointContract(
            name=name,
            default=float(robot.default[i]),
            action_scale=float(action_scale[i]),
            kp=float(robot.kp[i]),
            kd=float(robot.kd[i]),
            torque=float(robot.torque[i]),
            lower=float(robot.lower[i]),
            upper=float(robot.upper[i]),
            max_target_rate=float(robot.max_target_rate[i]),
        )
        for i, name in enumerate(robot.joint_names)
    )
