"""A simulator and a controller as processes, watched by this one; shared by the tests over ROS."""

import itertools
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState

from hebb_controller.contract import Contract, joint_contracts
from hebb_controller.network import InitialSpec
from hebb_controller.node.operator_client import Operator
from hebb_controller.node.processes import CONTROLLER, SIMULATOR, NodeProcess
from hebb_controller.observation import Channel, observation_size
from hebb_controller.plasticity import UpdateSpec
from hebb_controller.rule import Envelope, LayerEnvelope, RuleHeader, make_rule
from hebb_controller.share import share_dir

CONTROL = "/controller_node"
SIM = "/sim_node"
RUNNING = []  # the running rig, if any
PATIENCE = 30.0  # s, how long a test waits for what must happen
LATE = 2.0  # s by which a patient rig lets either side be late: a shared machine may stall for 1


def find_stand_ins():
    """Let child processes find the modules in ``stand_ins``, which run in place of nodes."""
    here = str(Path(__file__).parent / "stand_ins")
    paths = os.getenv("PYTHONPATH", "").split(os.pathsep)
    if here not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, paths)])


def write_spec(directory, **parts):
    """Write the shipped robot's spec with some parts replaced; return its path."""
    shipped = share_dir() / "config" / "robots" / "a1.yaml"
    document = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    path = directory / "robot.yaml"
    path.write_text(yaml.safe_dump({**document, **parts}, sort_keys=False), encoding="utf-8")
    return str(path)


def patient_parameters(directory, *, safe_action="damp"):
    """Return controller parameters with which a busy machine does not make it damp."""
    safety = {"safe_action": safe_action, "max_tilt": 1.0, "max_reading_age": LATE}
    return {
        "robot": write_spec(directory, safety=safety),
        "sensor_timeout": LATE,
        "frozen_timeout": LATE + 0.5,  # or it would trip first
    }


class Recorder:
    """Every message of a topic with the steady time of its arrival."""

    def __init__(self):
        self.items = []
        self._more = threading.Condition()

    def __call__(self, message):
        now = time.monotonic()
        with self._more:
            self.items.append((now, message))
            self._more.notify_all()

    def wait(self, what, timeout=PATIENCE, *, since=0):
        """Return the first (time, message) from index ``since`` on for which ``what`` holds."""
        end = time.monotonic() + timeout
        index = since
        with self._more:
            while True:
                while index < len(self.items):
                    if what(self.items[index][1]):
                        return self.items[index]
                    index += 1
                left = end - time.monotonic()
                assert left > 0, (
                    f"no such message among {len(self.items) - since}, the last: {self.items[-1:]}"
                )
                self._more.wait(left)

    def wait_for(self, count, timeout=PATIENCE):
        """Wait until ``count`` more messages have come."""
        self.wait_for_all(len(self.items) + count, timeout)

    def wait_for_all(self, count, timeout=PATIENCE):
        """Wait until ``count`` messages have come in all."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.items) >= count, timeout), len(self.items)


def values(status):
    """Return the key-value pairs of a diagnostic status."""
    return {pair.key: pair.value for pair in status.values}


def is_damp(command):
    return len(command.position) == 0 and list(command.velocity) == [0.0] * len(command.name)


def exploding_rule(robot):
    """Return a rule whose weights grow at every tick, beyond its envelope."""
    gentle = gentle_rule(robot, scale=1.0)
    envelope = Envelope(1000, (LayerEnvelope(norm=30.0, change=1e9, saturation=1.0),) * 2)
    update = replace(gentle.header.update, decay=0.0, normalisation="none")
    header = replace(gentle.header, update=update, envelope=envelope)
    return make_rule(header, gentle.layers)


def gentle_rule(robot, *, seed=0, scale=0.02):
    """Return a plastic rule that moves the robot's joints a little without toppling it."""
    channels = (
        Channel("gravity", 1.0, 5.0),
        Channel("joint_position", 1.0, 5.0),
        Channel("clock", 1.0, 1.0),
    )
    sizes = (observation_size(channels, robot.n_joints), 16, robot.n_joints)
    rng = np.random.default_rng(seed)
    layers = [
        {
            name: (scale * rng.standard_normal((n_out, n_in))).astype(np.float32)
            for name in ("A", "B", "C", "D", "eta")
        }
        for n_in, n_out in zip(sizes, sizes[1:], strict=False)
    ]
    header = RuleHeader(
        format_version=1,
        kind="ABCD_eta",
        layer_sizes=sizes,
        update=UpdateSpec(2, 5.0, 0.02, "clip", 0.5, 0.1),
        initial=InitialSpec("uniform", 0.1),
        tick_period=0.02,
        contract=Contract(
            robot.name, "pd", 0, channels, joint_contracts(robot, [0.15] * robot.n_joints)
        ),
        provenance={},
        license="Apache-2.0",
    )
    return make_rule(header, layers)


@dataclass
class Rig:
    """A simulator and a controller, each a process, and the messages heard from them.

    Either may be restarted, with other parameters, while the other keeps running.
    """

    directory: Path
    operator: Operator
    simulator_module: str
    controller_module: str
    simulator_parameters: dict
    controller_parameters: dict
    controller_environment: dict | None = None
    readings: Recorder = field(default_factory=Recorder)
    commands: Recorder = field(default_factory=Recorder)
    diagnostics: Recorder = field(default_factory=Recorder)
    statuses: Recorder = field(default_factory=Recorder)
    starts: int = 0

    def __post_init__(self):
        self.simulator = self.start_simulator()
        self.controller = self.start_controller()

    def start_simulator(self, **parameters):
        self.simulator = self._start(
            self.simulator_module, {**self.simulator_parameters, **parameters}
        )
        return self.simulator

    def start_controller(self, **parameters):
        self.controller = self._start(
            self.controller_module,
            {**self.controller_parameters, **parameters},
            self.controller_environment,
        )
        return self.controller

    def _start(self, module, parameters, environment=None):
        self.starts += 1
        log = self.directory / f"{self.starts}_{module.rpartition('.')[2]}.log"
        return NodeProcess(module, parameters, environment=environment, log=log)

    def listen(self, *, readings=True):
        latched = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        if readings:
            self.operator.watch(JointState, "joint_states", self.readings, 1000)
            self.operator.watch(JointState, "joint_command", self.commands, 1000)
        self.operator.watch(DiagnosticArray, "/diagnostics", self.diagnostics)
        self.operator.watch(DiagnosticStatus, f"{CONTROL}/status", self.statuses, latched)

    def up(self, *, active=True):
        """Configure and activate the controller on the held reading; unpause the simulation."""
        assert self.operator.change_state(CONTROL, "configure", timeout=PATIENCE), self.logs()
        if active:
            assert self.operator.change_state(CONTROL, "activate"), self.logs()
        self.set(SIM, "paused", False)
        return self

    def running(self, *, resets=0, since=0):
        """Wait until the network drives the robot.

        Args:
            resets: how often to reset, as an operator would, after a stall of the machine.
            since: index of the first status that counts.
        """
        try:
            for _ in range(resets):
                _, status = self.statuses.wait(
                    lambda s: values(s)["phase"] in ("RUN", "DAMPED"), since=since
                )
                if values(status)["phase"] == "RUN":
                    break
                since = len(self.statuses.items)
                assert self.operator.trigger(f"{CONTROL}/reset_estop") == ""
            self.wait_for_phase("RUN", since=since)
        except AssertionError as error:
            raise AssertionError(self.logs()) from error
        return self

    def set(self, node, name, value):
        reason = self.operator.set_parameter(node, name, value)
        assert not reason, reason

    def wait_for_phase(self, phase, *, since=0):
        return self.statuses.wait(lambda s: values(s)["phase"] == phase, since=since)

    @property
    def status(self):
        return values(self.statuses.items[-1][1])

    def wait_for_sim(self, what, *, since=0):
        """Return the (time, status) of the first simulator diagnostics for which ``what`` holds."""
        when, message = self.diagnostics.wait(
            lambda m: any("receiver" in s.name and what(s) for s in m.status), since=since
        )
        return when, message.status[0]

    def logs(self):
        return self.simulator.output() + self.controller.output()


@contextmanager
def rigs(make_directory, rule_file, *, simulator=SIMULATOR, controller=CONTROLLER):
    """Yield the function that starts a rig, one at a time since they share their topics.

    Args:
        make_directory: returns a new directory for a rig's output.
        rule_file: default rule file of a rig.
        simulator, controller: modules that the two run.
    """
    modules = simulator, controller
    numbers = itertools.count()

    def end():
        for made in RUNNING:
            made.operator.close()  # first, so that ending the others cannot hold it up
            made.simulator.end()
            made.controller.end()
        RUNNING.clear()

    def start(
        *,
        sim=None,
        controller=None,
        lock_step=False,
        patient=False,
        readings=True,
        module=modules[1],
        environment=None,
    ):
        end()
        directory = make_directory()
        drive = {"tick_source": "sensor" if lock_step else "timer", "lock_step": lock_step}
        if patient:
            sim = {"command_timeout": LATE, **(sim or {})}
            controller = {**patient_parameters(directory), **(controller or {})}
        # A new node for each rig, so that it hears nothing from the previous one.
        watcher = Operator(name=f"watcher_{os.getpid()}_{next(numbers)}")
        made = Rig(
            directory,
            watcher,
            modules[0],
            module,
            {"paused": True, "real_time_factor": 0.0 if lock_step else 1.0, **(sim or {})},
            {"rule_file": str(rule_file), **drive, **(controller or {})},
            environment,
        )
        RUNNING.append(made)
        made.listen(readings=readings)
        return made

    try:
        yield start
    finally:
        end()
