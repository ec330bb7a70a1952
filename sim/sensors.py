"""Between the true state and a reading: a tilted ground, delay, and failing sensors.

The joint controllers have their own encoders: a fault here affects only what the network is told.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hebb_controller.robot import FloatArray, RobotSpec
from hebb_controller.rotation import IDENTITY, Quaternion, multiply, quaternion
from hebb_controller.signals import SensorReading

from .damage import Damage, damaged_joints, numbered

VELOCITY_NOISE = 10.0  # 1/s: noise of a joint's or gyro's rate, as a multiple of that of the angle

# The order in which faults act, however they are listed.
ORDER = ("reversed", "latency", "bias", "noise", "dropout", "constant")


@dataclass
class _Fault:
    """One fault in force: the joints it affects, whether the imu too, and what it remembers."""

    damage: Damage
    number: int  # equal ones before it
    joints: list[int]
    imu: bool
    kept: SensorReading
    queue: deque[SensorReading] = field(default_factory=deque)


class Sensors:
    """The sensors of one robot.

    Args:
        robot: the robot.
    """

    def __init__(self, robot: RobotSpec) -> None:
        self._robot = robot
        self._rng = np.random.default_rng(0)
        self._faults: list[_Fault] = []
        self._incline = IDENTITY
        self._healthy = True

    def reset(self, rng: np.random.Generator) -> None:
        """Heal everything.

        Args:
            rng: source of randomness for the faults to come.
        """
        self._rng = rng
        self._faults = []
        self._incline = IDENTITY
        self._healthy = True

    def damage(
        self, damages: Sequence[Damage], *, incline: Quaternion, last: SensorReading
    ) -> None:
        """Put exactly these faults in force; those already in force keep what they remember.

        Args:
            damages: damages of any kind; those that affect no sensor are ignored.
            incline: rotation from the ground frame to one with a vertical z axis, xyzw.
            last: the reading delivered last.
        """
        before = {(fault.damage, fault.number): fault for fault in self._faults}
        every = numbered(damages)
        faults = [entry for kind in ORDER for entry in every if entry[0].kind == kind]
        self._faults = [
            before.get((damage, number))
            or _Fault(
                damage,
                number,
                list(damaged_joints(damage, self._robot)),
                damage.part in ("imu", "sensors"),
                last,
            )
            for damage, number in faults
        ]
        self._incline = incline
        self._healthy = not faults and incline == IDENTITY

    def read(self, truth: SensorReading) -> SensorReading:
        """Return what the sensors report; the stamps are always true.

        Args:
            truth: the true state, with its orientation in the ground frame.
        """
        if self._healthy:
            return truth
        reading = truth
        if self._incline != IDENTITY:
            tilted = multiply(self._incline, quaternion(truth.orientation.tolist()))
            reading = replace(reading, orientation=np.array(tilted))
        for fault in self._faults:
            reading = self._apply(fault, reading)
        return reading

    def _apply(self, fault: _Fault, reading: SensorReading) -> SensorReading:
        kind, amount = fault.damage.kind, fault.damage.amount
        if kind == "reversed":
            default = self._robot.default
            return self._with_joints(
                fault, reading, 2.0 * default - reading.joint_position, -reading.joint_velocity
            )
        if kind == "latency":
            fault.queue.append(reading)
            late = fault.queue.popleft() if len(fault.queue) > amount else fault.queue[0]
            return replace(late, stamp=reading.stamp, received=reading.received)
        if kind == "bias":
            turn = (0.0, math.sin(0.5 * amount), 0.0, math.cos(0.5 * amount))
            return self._changed(fault, reading, position=amount, turn=turn)
        if kind == "noise":
            return self._noisy(fault, reading, amount)
        if kind == "dropout" and self._rng.random() >= amount:
            fault.kept = reading
        return self._kept(fault, reading)

    def _noisy(self, fault: _Fault, reading: SensorReading, sigma: float) -> SensorReading:
        draws = sigma * self._rng.standard_normal(2 * len(fault.joints) + 6 * fault.imu)
        n = len(fault.joints)
        angle, rate = (draws[2 * n :][:3], draws[2 * n :][3:]) if fault.imu else (None, None)
        turn = IDENTITY
        if angle is not None:
            size = float(np.linalg.norm(angle))
            sine = 0.5 if size < 1e-12 else math.sin(0.5 * size) / size
            x, y, z = (sine * angle).tolist()
            turn = (x, y, z, math.cos(0.5 * size))
        noisy = self._changed(
            fault,
            reading,
            position=draws[:n],
            velocity=VELOCITY_NOISE * draws[n : 2 * n],
            turn=turn,
        )
        if rate is None:
            return noisy
        return replace(
            noisy, angular_velocity_base=reading.angular_velocity_base + VELOCITY_NOISE * rate
        )

    def _changed(
        self,
        fault: _Fault,
        reading: SensorReading,
        *,
        position: float | FloatArray,
        turn: Quaternion,
        velocity: float | FloatArray = 0.0,
    ) -> SensorReading:
        """Return a reading with offsets added to joint values, and the orientation turned."""
        joint_position, joint_velocity = reading.joint_position, reading.joint_velocity
        orientation = reading.orientation
        if fault.joints:
            joint_position, joint_velocity = joint_position.copy(), joint_velocity.copy()
            joint_position[fault.joints] += position
            joint_velocity[fault.joints] += velocity
        if fault.imu:
            orientation = np.array(multiply(quaternion(orientation.tolist()), turn))
        return replace(
            reading,
            joint_position=joint_position,
            joint_velocity=joint_velocity,
            orientation=orientation,
        )

    def _kept(self, fault: _Fault, reading: SensorReading) -> SensorReading:
        """Return a reading in which the part repeats its kept values."""
        kept = fault.kept
        reading = self._with_joints(fault, reading, kept.joint_position, kept.joint_velocity)
        if not fault.imu:
            return reading
        return replace(
            reading,
            orientation=kept.orientation,
            angular_velocity_base=kept.angular_velocity_base,
        )

    def _with_joints(
        self, fault: _Fault, reading: SensorReading, position: FloatArray, velocity: FloatArray
    ) -> SensorReading:
        joint_position, joint_velocity = (
            reading.joint_position.copy(),
            reading.joint_velocity.copy(),
        )
        joint_position[fault.joints] = position[fault.joints]
        joint_velocity[fault.joints] = velocity[fault.joints]
        return replace(reading, joint_position=joint_position, joint_velocity=joint_velocity)
