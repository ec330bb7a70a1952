"""A control loop without ROS, threads or clocks."""

from dataclasses import replace

import numpy as np

from hebb_controller.contract import Contract, joint_contracts
from hebb_controller.controller import controller_for
from hebb_controller.network import InitialSpec
from hebb_controller.node.loop import ControlLoop
from hebb_controller.node.succession import SwapSettings
from hebb_controller.node.supervisor import SupervisorSettings
from hebb_controller.node.values import Loaded, LoopSettings, Phase, Sample
from hebb_controller.observation import Channel
from hebb_controller.plasticity import UpdateSpec
from hebb_controller.rule import RuleHeader, make_rule
from hebb_controller.signals import SensorReading

MS = 1_000_000  # ns
PERIOD = 20 * MS
TIMEOUT = 0.1


def loaded(robot, path="one", *, scale=0.3):
    """Return a controller whose weights, and so its actions, depend on the seed alone."""
    channels = (Channel("joint_position", 1.0, 5.0), Channel("clock", 1.0, 1.0))
    n = robot.n_joints
    header = RuleHeader(
        format_version=1,
        kind="static",
        layer_sizes=(n + 2, n),
        update=UpdateSpec(1, 1.0, 0.0, "none", 1.0, 0.1),
        initial=InitialSpec("uniform", scale),
        tick_period=0.02,
        contract=Contract(robot.name, "pd", 0, channels, joint_contracts(robot, [0.1] * n)),
        provenance={},
        license="Apache-2.0",
    )
    rule = replace(make_rule(header, [{}]), sha256=f"sha256 of {path}")
    return Loaded(controller_for(rule, robot), rule, path)


def settings(**changes):
    values = {
        "sensor_timeout": TIMEOUT,
        "lock_step": False,
        "by_stamps": True,
        "seed": 1,
        "command_period": 0.02,
        "heartbeat_timeout": 0.0,
        "frozen_timeout": 0.5,
        "rate_tolerance": 0.2,
        "can_damp": True,
        "obeyed": True,
    }
    return LoopSettings(**{**values, **changes})


def sample(robot, stamp, received=None, **changes):
    """Return a reading in the default pose, by default received at its stamp.

    Velocities differ each time, as on any robot: readings that repeat would be damped.
    """
    reading = SensorReading(
        stamp=stamp * 1e-9,
        received=stamp * 1e-9 if received is None else received,
        joint_position=robot.default,
        joint_velocity=np.full(robot.n_joints, stamp * 1e-15),
        orientation=np.array([0.0, 0.0, 0.0, 1.0]),
        angular_velocity_base=np.full(3, stamp * 1e-15),
    )
    return Sample(replace(reading, **changes), stamp)


class Driven:
    """A loop with the timeline of its readings."""

    def __init__(self, robot, **changes):
        self.robot = robot
        self.loop = ControlLoop(
            robot,
            loaded(robot),
            settings(**changes),
            swap=SwapSettings(0.5, 5.0),
            supervisor=SupervisorSettings(1.2, 0.1, 0.1),
        )
        self.stamp = 0

    def step(self, **changes):
        self.stamp += PERIOD
        given = sample(self.robot, self.stamp, **changes)
        return self.loop.tick(given, given.reading.received)

    def to_run(self):
        self.loop.start(0.0)
        while self.loop.status.phase is Phase.TO_DEFAULT_POSE:
            self.step()
        return self

    @property
    def phase(self):
        return self.loop.status.phase

    @property
    def weights(self):
        return self.loop.controller.runtime.state["weights"]
