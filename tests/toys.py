"""Small robots, rules and runs shared by several test directories.

Worker processes can import this module too, so what they unpickle is defined here.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from hebb_controller.contract import Contract, joint_contracts
from hebb_controller.network import InitialSpec
from hebb_controller.observation import Channel, observation_size
from hebb_controller.plasticity import RULE_KINDS, UpdateSpec
from hebb_controller.record import EpisodeRecord
from hebb_controller.robot import RobotSpec, parse_robot
from hebb_controller.rule import Rule, RuleHeader, make_rule
from hebb_controller.signals import SensorReading
from hebb_controller.train.baseline_file import FRAMES, Baseline
from hebb_controller.train.genome import BaselineGenome, Genome
from hebb_controller.train.metrics import RewardSpec

PERIOD = 0.125  # s; a binary fraction, like every number below, so that sums are exact

# Two joints. At this period, a target may move by 0.25 rad and 0.5 rad per tick; the torque limits
# allow targets to be 0.5 rad and 2 rad away from the joints.
DOCUMENT: Mapping[str, object] = {
    "name": "toy",
    "joint_defaults": {"kd": 1.0, "rotor_inertia": 0.0, "velocity": 8.0},
    "joints": {
        "knee": {
            "lower": -1.0,
            "upper": 1.5,
            "default": 0.25,
            "torque": 4.0,
            "kp": 8.0,
            "max_target_rate": 2.0,
        },
        "hip": {
            "lower": -4.0,
            "upper": 4.0,
            "default": 0.0,
            "torque": 32.0,
            "kp": 16.0,
            "max_target_rate": 4.0,
        },
    },
    "legs": {"left": ["knee", "hip"]},
    "safety": {"safe_action": "damp", "max_tilt": 1.0, "max_reading_age": 0.25},
    "simulation": {"urdf": "toy.urdf", "start_height": 0.5, "fall_height": 0.25},
}

# An episode earns its speed, m/s.
REWARD = RewardSpec(target=1.0, limit=1.0, fast=0.0, heading=0.0, sideways=0.0, power=0.0, fall=0.5)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
CHANNELS = (
    Channel("joint_position", scale=1.0, clip=4.0),
    Channel("tracking_error", scale=1.0, clip=4.0),
    Channel("clock", scale=1.0, clip=1.0),
)


def toy_document() -> dict[str, object]:
    """Return a modifiable copy of the toy robot's spec."""
    return copy.deepcopy(dict(DOCUMENT))


def toy_robot(*, safe_action: str = "damp") -> RobotSpec:
    """Return the two-joint toy robot."""
    document = toy_document()
    document["safety"] = {**DOCUMENT["safety"], "safe_action": safe_action}
    return parse_robot(document, where="toy")


def write_toy_robot(directory: Path) -> str:
    """Write the spec of the two-joint toy robot; return its path."""
    path = directory / "toy.yaml"
    path.write_text(yaml.safe_dump(toy_document(), sort_keys=False), encoding="utf-8")
    return str(path)


def toy_reading(robot: RobotSpec, stamp: float = 0.0, **fields: object) -> SensorReading:
    """Return the reading of a robot that stands still in its default pose."""
    reading = SensorReading(
        stamp=stamp,
        received=stamp,
        joint_position=robot.default.copy(),
        joint_velocity=np.zeros(robot.n_joints),
        orientation=np.array(UPRIGHT),
        angular_velocity_base=np.zeros(3),
        velocity_command=np.zeros(3),
    )
    arrays = {
        name: np.array(value, dtype=np.float64) if isinstance(value, (tuple, list)) else value
        for name, value in fields.items()
    }
    return replace(reading, **arrays)


def update_spec(**fields: object) -> UpdateSpec:
    """Return the method's plain update, with the given fields replaced."""
    plain = UpdateSpec(
        interval=1,
        trace_window=1.0,
        decay=0.0,
        normalisation="none",
        bound=1.0,
        learning_rate=0.5,
    )
    return replace(plain, **fields)


def toy_contract(robot: RobotSpec, channels: Sequence[Channel] = CHANNELS) -> Contract:
    """Return the contract of a rule trained on this robot with an action scale of 0.5 rad."""
    return Contract(
        robot=robot.name,
        actuator="pd",
        latency_ticks=0,
        channels=tuple(channels),
        joints=joint_contracts(robot, [0.5] * robot.n_joints),
    )


def toy_rule(
    kind: str = "ABCD_eta",
    *,
    seed: int = 0,
    robot: RobotSpec | None = None,
    channels: Sequence[Channel] = CHANNELS,
    hidden: Sequence[int] = (5,),
    update: UpdateSpec | None = None,
    initial: InitialSpec | None = None,
    scale: float = 0.5,
    tick_period: float = PERIOD,
) -> Rule:
    """Return a rule with random coefficients."""
    robot = robot or toy_robot()
    sizes = (observation_size(channels, robot.n_joints), *hidden, robot.n_joints)
    initial = initial or InitialSpec("uniform", 0.5)
    evolved = ["initial"] if initial.distribution == "evolved" else []
    per_neuron = RULE_KINDS[kind].per_neuron
    names = evolved if per_neuron else [*RULE_KINDS[kind].tensors, *evolved]
    rng = np.random.default_rng(seed)
    layers = [
        {name: (scale * rng.standard_normal((n_out, n_in))).astype(np.float32) for name in names}
        for n_in, n_out in zip(sizes, sizes[1:], strict=False)
    ]
    neurons = [
        {
            name: (scale * rng.standard_normal(size)).astype(np.float32)
            for name in RULE_KINDS[kind].tensors
        }
        for size in (sizes if per_neuron else ())
    ]
    header = RuleHeader(
        format_version=1,
        kind=kind,
        layer_sizes=sizes,
        update=update or update_spec(),
        initial=initial,
        tick_period=tick_period,
        contract=toy_contract(robot, channels),
        provenance={"made": "by hand", "seeds": [1, 2]},
        license="Apache-2.0",
    )
    return make_rule(header, layers, neurons=neurons)


def toy_baseline(kind: str, *, seed: int = 0, hidden: int = 4, frames: int = FRAMES) -> Baseline:
    """Return a baseline with random weights: 6 observations, some hidden neurons, 2 actions."""
    robot = toy_robot()
    genome = BaselineGenome(
        kind=kind,
        layer_sizes=(observation_size(CHANNELS, robot.n_joints), hidden, robot.n_joints),
        frames=frames if kind == "stacked" else 1,
        tick_period=PERIOD,
        contract=toy_contract(robot),
    )
    vector = np.random.default_rng(seed).standard_normal(genome.size).astype(np.float32)
    return genome.baseline(vector, {"made": "by hand"})


def toy_genome() -> Genome:
    """Return a genome for the two-joint toy robot: 6-2, kind AD, 24 numbers."""
    robot = toy_robot()
    return Genome(
        kind="AD",
        layer_sizes=(observation_size(CHANNELS, robot.n_joints), robot.n_joints),
        update=update_spec(),
        initial=InitialSpec("uniform", 0.5),
        tick_period=PERIOD,
        contract=toy_contract(robot),
        eta_max=0.1,
        start_scale=0.5,
    )


def toy_training(robot_file: str, *, generations: int = 4, seed: int = 7):
    """Return a TrainingSpec that takes well under a second: 6 pairs, episodes of 8 ticks."""
    from hebb_controller.train.curriculum import Stage
    from hebb_controller.train.evolution import EvolutionSpec  # torch: not for the workers
    from hebb_controller.train.trainer import TrainingSpec

    return TrainingSpec(
        robot=robot_file,
        genome=toy_genome(),
        evolution=EvolutionSpec(
            pairs=6,
            sigma=0.2,
            sigma_decay=0.9,
            sigma_min=0.05,
            step=0.1,
            step_decay=0.95,
            step_min=0.01,
        ),
        stages=(Stage(REWARD),),
        generations=generations,
        seed=seed,
    )


def make_record(
    position: object, *, period: float = PERIOD, duration: float | None = None, **fields: object
) -> EpisodeRecord:
    """Return an episode record without heading, power, damage or fall unless they are given.

    Args:
        position: (T, 3) m.
        period: s.
        duration: s; by default that of the rows.
        **fields: other fields of the record.
    """
    rows = np.array(position, dtype=np.float64).reshape(-1, 3)
    record = EpisodeRecord(
        period=period,
        duration=len(rows) * period if duration is None else duration,
        position=rows,
        heading=np.zeros(len(rows)),
        power=np.zeros(len(rows)),
        damaged=np.zeros(len(rows), dtype=np.bool_),
        beyond_limits=np.zeros(len(rows)),
        fallen=False,
    )
    return replace(record, **fields)


@dataclass(frozen=True)
class ToyCondition:
    """What happens in a toy episode.

    Attributes:
        crash_once: path of a file; the process that finds it missing creates it and dies.
        spoil: whether a record that moves backwards holds NaN.
    """

    crash_once: str = ""
    spoil: bool = False


def slide(controller: object, condition: ToyCondition, seed: int) -> EpisodeRecord:
    """Return an episode in which the first action is the speed: a real controller, no simulator."""
    if condition.crash_once and not os.path.exists(condition.crash_once):  # noqa: PTH110 - a worker
        Path(condition.crash_once).touch()
        os._exit(1)
    controller.reset(np.random.default_rng(seed))
    x, rows = 0.0, []
    for tick in range(8):
        reading = toy_reading(controller.robot, tick * PERIOD, joint_position=(0.75, 0.5))
        controller.step(reading, reading.received)
        x += float(controller.last_action[0]) * PERIOD
        rows.append((x, 0.0, 0.0))
    if condition.spoil and x < 0:
        rows[3] = (np.nan, 0.0, 0.0)
    return make_record(rows)


class InlineExecutor(Executor):
    """Runs everything at once, in this process."""

    def submit(self, function, /, *arguments, **named):
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:  # noqa: BLE001 - the future carries any error
            future.set_exception(error)
        return future
