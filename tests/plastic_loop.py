"""A control loop with a plastic rule, and a robot with constant readings except for noise."""

from dataclasses import replace

import driven
import numpy as np
from toys import PERIOD, toy_reading, toy_robot, toy_rule, update_spec

from hebb_controller.controller import controller_for
from hebb_controller.node.loop import ControlLoop
from hebb_controller.node.succession import SwapSettings
from hebb_controller.node.supervisor import SupervisorSettings
from hebb_controller.node.values import Loaded, Phase, Sample, Source
from hebb_controller.rule import Envelope, LayerEnvelope

NS = round(PERIOD * 1e9)
GENTLE = {"scale": 0.125, "update": update_spec(normalisation="clip", decay=0.125)}
# A blend of 4 ticks, a probation of 16.
SWAP = SwapSettings(blend=4 * PERIOD, probation=16 * PERIOD)


def loaded(name, *, norm=None, robot=None, **rule):
    """Return a rule; with ``norm``, one with an envelope, left at once if ``norm`` is small."""
    made = toy_rule(seed=sum(map(ord, name)), **{**GENTLE, **rule})
    envelope = None
    if norm is not None:
        layers = len(made.header.layer_sizes) - 1
        envelope = Envelope(1, (LayerEnvelope(norm, 1e9, 1.0),) * layers)
    made = replace(made, sha256=name, header=replace(made.header, envelope=envelope))
    return Loaded(controller_for(made, robot or toy_robot()), made, name, asked=f"./{name}")


class Driven:
    """A loop, and a robot with constant readings except for noise."""

    def __init__(self, first=None, *, run=True, swap=SWAP, **settings):
        self.robot = toy_robot()
        first = first or loaded("one")
        self.first = first
        self.loop = ControlLoop(
            self.robot,
            first,
            driven.settings(**{"sensor_timeout": 0.25} | settings),
            swap=swap,
            supervisor=SupervisorSettings(margin=1.0, twin_speed=0.1, twin_fall_rate=0.1),
        )
        self.stamp = 0
        if run:
            self.loop.start(0.0)
            self.step(5)
            assert self.loop.status.phase is Phase.RUN

    def step(self, ticks=1, *, sources=(), **fields):
        """Tick; ``sources`` maps topics to the number of ticks by which their stamps lag."""
        commands = []
        for _ in range(ticks):
            self.stamp += NS
            little = 1e-9 * (self.stamp // NS)
            noise = {
                "joint_velocity": np.full(2, little),
                "angular_velocity_base": np.full(3, little),
            }
            reading = toy_reading(self.robot, self.stamp * 1e-9, **{**noise, **fields})
            heard = tuple(
                Source(topic, self.stamp - round(behind * NS), reading.received)
                for topic, behind in dict(sources).items()
            )
            commands.append(self.loop.tick(Sample(reading, self.stamp, heard), reading.received))
        return commands

    @property
    def status(self):
        return self.loop.status

    @property
    def state(self):
        return {k: v.tobytes() for k, v in self.loop.controller.runtime.state.items()}


def run_again(driven):
    """Take the robot through its default pose to the first tick of its next run."""
    if driven.status.phase is Phase.DAMPED:
        assert driven.loop.reset_estop(driven.stamp * 1e-9) == ""
    else:
        driven.loop.start(driven.stamp * 1e-9)
    while driven.status.phase is Phase.TO_DEFAULT_POSE:
        driven.step()
    assert driven.status.phase is Phase.RUN
