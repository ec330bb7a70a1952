"""The simulator as the driver of a robot whose sensors fail: a node with one more parameter, ``fault``.

``fault_since`` says when the first spoiled message left, on the steady clock; ``truth`` what the joints
really do.
"""

import sys
import time
from dataclasses import replace

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64

from hebb_sim import sim_node

HALF_PERIOD = 0.01  # s

FAULTS = (
    *("none", "frozen", "repeated", "imu_frozen", "nan", "inf", "joint_missing", "permuted"),
    *("half_rate", "double_rate", "clock_back", "clock_ahead"),
)
JUMPS = {"clock_back": -2.0, "clock_ahead": 3600.0}  # s


class JointStates:
    """A publisher that leaves a joint out, or names them in another order every time."""

    def __init__(self, publisher):
        self._publisher = publisher
        self._rng = np.random.default_rng(0)
        self.fault = "none"

    def publish(self, message):
        keep = np.arange(len(message.name))
        if self.fault == "joint_missing":
            keep = keep[1:]
        elif self.fault == "permuted":
            keep = self._rng.permutation(keep)
        spoiled = JointState(header=message.header, name=[message.name[i] for i in keep])
        spoiled.position = [message.position[i] for i in keep]
        spoiled.velocity = [message.velocity[i] for i in keep]
        self._publisher.publish(spoiled)

    def wait_for_all_acked(self, timeout):
        return self._publisher.wait_for_all_acked(timeout)


class FaultySim(sim_node.SimNode):
    def __init__(self, stopping):
        self._fault = "none"
        super().__init__(stopping)
        self._in_force = "none"
        self._stuck = None
        self._joint_states = JointStates(self._joint_states)
        self._truth = self.create_publisher(JointState, "truth", 100)
        self._since = self.create_publisher(Float64, "fault_since", 10)

    def _on_set(self, changes):
        result = super()._on_set([change for change in changes if change.name != "fault"])
        for change in changes:
            if change.name == "fault" and result.successful:
                result.successful = change.value in FAULTS
                result.reason = "" if result.successful else f"known: {', '.join(FAULTS)}"
                self._fault = change.value if result.successful else self._fault
        return result

    def _publish(self, reading, world):
        truth = world.truth.joint_position
        self._truth.publish(JointState(name=self.robot.joint_names, position=truth.tolist()))
        fault = self._fault
        if fault != self._in_force:
            self._in_force = self._joint_states.fault = fault
            self._stuck = reading
            self._since.publish(Float64(data=time.monotonic()))
        stuck, tick = self._stuck, round(reading.stamp / world.tick_period)
        if fault == "frozen":
            reading = replace(stuck, stamp=reading.stamp)
        elif fault == "repeated":
            reading = stuck
        elif fault == "imu_frozen":
            still = {f: getattr(stuck, f) for f in ("orientation", "angular_velocity_base")}
            reading = replace(reading, **still)
        elif fault in {"nan", "inf"}:
            position = reading.joint_position.copy()
            position[tick % position.size] = float(fault)
            reading = replace(reading, joint_position=position)
        elif fault in JUMPS:
            reading = replace(reading, stamp=reading.stamp + JUMPS[fault])
        if fault == "half_rate" and tick % 2:
            return
        super()._publish(reading, world)
        if fault == "double_rate":
            self.stopping.wait(HALF_PERIOD)
            super()._publish(replace(reading, stamp=reading.stamp + HALF_PERIOD), world)


if __name__ == "__main__":
    text = "How the sensors fail."
    sim_node.PARAMETERS = {**sim_node.PARAMETERS, "fault": ("none", text, True)}
    sim_node.SimNode = FaultySim
    sys.exit(sim_node.run())
