"""Training presets: what is evolved, how, towards what, and under which conditions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hebb_sim.condition import Condition
from hebb_sim.damage import Damage
from hebb_sim.scenario import load_scenario

from ..contract import Contract, joint_contracts
from ..errors import TrainingError
from ..network import InitialSpec
from ..observation import Channel, observation_size
from ..plasticity import UpdateSpec
from ..robot import RobotSpec, load_robot
from ..train.curriculum import Stage
from ..train.evolution import EvolutionSpec
from ..train.genome import Genome
from ..train.metrics import RewardSpec
from ..train.symmetry import Mirror, network_mirrors
from ..train.trainer import TrainingSpec

CHANNELS = (
    Channel("gravity", scale=1.0, clip=5.0),
    Channel("angular_velocity", scale=0.25, clip=5.0),
    Channel("heading", scale=3.0, clip=1.0),  # steer hard: saturates at a third of a radian
    Channel("joint_position", scale=2.0, clip=5.0),
    Channel("joint_velocity", scale=0.1, clip=5.0),
    Channel("tracking_error", scale=2.0, clip=5.0),
    Channel("clock", scale=1.0, clip=1.0),
)
SIDEWAYS_SCALE = 0.3  # rad an action of 1 moves the sideways joints
LEG_SCALE = 0.7  # rad an action of 1 moves the others

HIDDEN = (32, 16)

# Penalised for drifting and falling from the start, a novice learns to stand still.
WALKS = 100  # generations after which it walks
WALK = RewardSpec(
    target=0.6, limit=0.75, fast=2.0, heading=0.1, sideways=0.1, power=0.0002, fall=0.0
)
WALK_STRAIGHT = replace(WALK, heading=0.8, fall=0.8)

STEERS = 290  # generations after which it also holds its course

LIMPS = ("FR", "RR")  # a symmetric rule learns the other two legs along with these
DEFICIT = 2.0  # or a limp front leg, the hardest, is sacrificed to the rest
LIMPS_ALONG, LIMPS_WELL, GOES_ON = 0.4, 0.6, 0.5  # marks of its first three stages
AVERAGED = 20  # generations
DRAWS = 8  # moments per generation at which legs go limp
ONSETS = (0.5, 4.0)  # s, the span in which they do
DURATION = 7.0  # s, length of episodes in which they may
HEALS = (1.0, 4.0)  # s, the span after which, in the last stage, some have their torque back
HEALED = 6.0  # s, by when all of those have
STIFF = (("locked", 0.0), ("narrowed", 0.2))  # what else happens to a whole leg in the last stage
GOLDEN, PLASTIC = 0.618034, 0.754878  # 1 over the golden ratio, and over the plastic one
FAULTS = ("weak_motor", "locked_joint", "motor_strength", "sensor_bias", "sensor_constant")

ANT_SCALE = 0.6  # rad an action of 1 moves a joint of the ant
BODY_DURATION = 16.0  # s, the length of the published episodes
DISTANCE = RewardSpec(
    target=100.0, limit=100.0, fast=0.0, heading=0.0, sideways=0.0, power=0.0, fall=0.0
)


@dataclass(frozen=True)
class Preset:
    """A training recipe.

    Attributes:
        spec: the run.
        conditions: (stage, draw), both counted from 0 -> what a candidate is put through.
    """

    spec: TrainingSpec
    conditions: Callable[[int, int], tuple[Condition, ...]]

    def until(self, generations: int | None, ticks: int | None) -> Preset:
        """Return the recipe with another end, if one is given; see :class:`TrainingSpec`."""
        if generations is None and ticks is None:
            return self
        return replace(self, spec=replace(self.spec, generations=generations, ticks=ticks))

    def settled(self) -> Preset:
        """Return the recipe with sigma and step at their minimum from the start."""
        evolution = self.spec.evolution
        least = replace(evolution, sigma=evolution.sigma_min, step=evolution.step_min)
        return replace(self, spec=replace(self.spec, evolution=least))


def fast(seed: int, robot: str = "a1") -> Preset:
    """Return the recipe that walks from random weights in about 20 minutes on two cores.

    Args:
        seed: seed of everything random.
        robot: name or path of a robot spec, for a quadruped about the size of the A1.

    Raises:
        HebbError: the robot spec cannot be used, or states no ``mirror``.
    """
    body = load_robot(robot)
    mirrors = network_mirrors(CHANNELS, body, HIDDEN)
    # A joint that turns the other way in a mirror moves a leg sideways.
    scales = [SIDEWAYS_SCALE if sign < 0 else LEG_SCALE for sign in mirrors[-1].sign]
    genome = _plastic(body, scales, mirrors=mirrors)
    spec = TrainingSpec(
        robot=robot,
        genome=genome,
        evolution=EvolutionSpec(
            pairs=32,
            sigma=0.1,
            sigma_decay=0.993,
            sigma_min=0.03,
            step=0.03,
            step_decay=0.994,
            step_min=0.008,
        ),
        stages=(Stage(WALK, generations=WALKS, settles=False), Stage(WALK_STRAIGHT)),
        generations=STEERS,
        seed=seed,
    )
    return Preset(spec, _walk_then_steer)


def robust(seed: int, robot: str = "a1") -> Preset:
    """Return the recipe for a gait that keeps walking with a limp leg.

    Learning to walk first and to limp later means leaving a gait in which a limp front leg always
    ends in a fall; 18 million ticks were not enough to leave it. Here a leg is limp from the first
    generation on, and a condition is weighted by its deficit. A fall costs no more than the time it
    cuts off, until there is a gait for every leg. Then legs go limp in mid-walk, at eight moments and
    poses per generation: what works at one of them may fail at another. Arguments and errors are
    those of :func:`fast`; the robot's legs are ``FR``, ``FL``, ``RR`` and ``RL``.
    """
    walk = fast(seed, robot)
    careful = replace(WALK_STRAIGHT, heading=0.4, fall=0.4)
    spec = replace(
        walk.spec,
        evolution=replace(
            walk.spec.evolution, sigma_min=0.05, step_min=0.01, deficit=DEFICIT, averaged=AVERAGED
        ),
        stages=(
            Stage(WALK, mark=LIMPS_ALONG, settles=False),
            Stage(WALK, mark=LIMPS_WELL),
            Stage(careful, mark=GOES_ON),
            Stage(careful),
        ),
        generations=None,
        ticks=10_000_000,
        draws=DRAWS,
    )
    return Preset(spec, functools.partial(_limp, robot=load_robot(robot)))


def paper(seed: int) -> Preset:
    """Return the recipe of Najarro & Risi 2020 for their quadruped, as far as a robot can follow it.

    Hyperparameters are theirs, with the step converted to standardised ranks. Observations are what a
    robot measures (docs/training.md), actions are position targets, and bodies are ranked one by one.
    """
    robot = load_robot("ant")
    channels = (
        Channel("gravity", scale=1.0, clip=5.0),
        Channel("angular_velocity", scale=0.25, clip=5.0),
        Channel("heading", scale=1.0, clip=1.0),
        Channel("joint_position", scale=1.0, clip=5.0),
        Channel("joint_velocity", scale=0.1, clip=5.0),
    )
    genome = Genome(
        kind="ABCD_eta",
        layer_sizes=(observation_size(channels, robot.n_joints), 128, 64, robot.n_joints),
        update=UpdateSpec(
            interval=1,
            trace_window=1.0,
            decay=0.0,
            normalisation="none",
            bound=1.0,
            learning_rate=1.0,
        ),
        initial=InitialSpec("uniform", 0.1),
        tick_period=0.02,
        contract=_contract(robot, channels, [ANT_SCALE] * robot.n_joints),
        eta_max=None,
        start_scale=1.0,
    )
    spec = TrainingSpec(
        robot="ant",
        genome=genome,
        evolution=EvolutionSpec(
            pairs=250,
            sigma=0.1,
            sigma_decay=0.999,
            sigma_min=0.01,
            step=0.2 * math.sqrt(12.0),  # ranks within ±0.5 have a standard deviation of 1/√12
            step_decay=0.995,
            step_min=0.001 * math.sqrt(12.0),
            optimiser="sgd",
        ),
        stages=(Stage(DISTANCE),),
        generations=300,
        seed=seed,
    )
    return Preset(spec, lambda stage, draw: _bodies(BODY_DURATION))


def ant(seed: int) -> Preset:
    """Return a recipe of minutes for the bodies of Najarro & Risi 2020; it learns like ``fast``.

    The rule is not its own mirror image: the leg left whole in training mirrors the shortened one.
    """
    robot = load_robot("ant")
    genome = _plastic(robot, [ANT_SCALE] * robot.n_joints, mirrors=None)
    spec = replace(
        fast(seed).spec,
        robot="ant",
        genome=genome,
        stages=(Stage(DISTANCE),),
        generations=None,
        ticks=2_000_000,
    )
    return Preset(spec, lambda stage, draw: _bodies(5.0))


PRESETS: dict[str, Callable[..., Preset]] = {
    "fast": fast,
    "robust": robust,
    "ant": ant,
    "paper": paper,
}


def preset(name: str, seed: int, robot: str | None = None) -> Preset:
    """Return a recipe, for another robot if one is given.

    Raises:
        TrainingError: it works with its own robot only.
        HebbError: the robot spec cannot be used.
    """
    if robot is None:
        return PRESETS[name](seed)
    if name in ("ant", "paper"):
        raise TrainingError(
            f"preset '{name}' is for robot 'ant' only. Use another preset with --robot."
        )
    # A worker of a cluster has another working directory.
    place = str(Path(robot).absolute()) if robot.endswith((".yaml", ".yml")) else robot
    return PRESETS[name](seed, place)


def _plastic(
    robot: RobotSpec,
    scales: Sequence[float],
    *,
    mirrors: tuple[Mirror, ...] | None,
) -> Genome:
    """Return rules for a robot, constrained enough to be learned in minutes."""
    return Genome(
        kind="ABCD_eta",
        layer_sizes=(observation_size(CHANNELS, robot.n_joints), *HIDDEN, robot.n_joints),
        update=UpdateSpec(
            interval=4,
            trace_window=10.0,
            decay=0.04,
            normalisation="clip",
            bound=3.0,
            learning_rate=1.0,
        ),
        initial=InitialSpec("uniform", 0.1),
        tick_period=0.02,
        contract=_contract(robot, CHANNELS, scales),
        eta_max=0.1,
        start_scale=0.25,
        mirrors=mirrors,
    )


def _bodies(duration: float) -> tuple[Condition, ...]:
    """Return an episode with the whole body, and one with a front leg cut to a quarter."""
    return Condition(duration), Condition(duration, (Damage("FR", "shortened", 0.25),))


def _walk_then_steer(stage: int, draw: int) -> tuple[Condition, ...]:
    """Return undamaged episodes: short ones until it walks, then alternately long ones and turns.

    Straight episodes alone hardly teach steering: chance turns a robot more than its rule does. A
    rule that is its own mirror image turns left as it turns right, so one side is enough.
    """
    if stage == 0:
        return (Condition(duration=5.0),)
    if draw % 2:
        return (Condition(duration=10.0),)
    turn = 0.8 * _spread(draw)  # rad
    return (Condition(duration=6.0, turn=turn), Condition(duration=6.0))


def _limp(stage: int, draw: int, robot: RobotSpec) -> tuple[Condition, ...]:
    """Return an episode with a limp front leg, one with a limp rear leg, a third, later a fourth.

    In the first two stages the legs are limp from the start and the third is undamaged. After that,
    legs go limp in mid-walk in every other draw. In the last stage the limp legs heal in half of those
    draws and half of the others, the third has one of the faults in half of both, and in the fourth a
    leg stiffens in mid-walk.
    """
    if stage < 2:
        return (*(Condition(5.0, (Damage(leg, "limp"),)) for leg in LIMPS), Condition(5.0))
    third = Condition(DURATION)
    if stage > 2 and draw % 4 >= 2:
        fault = _fault(FAULTS[draw // 2 % len(FAULTS)], draw, robot)
        third = replace(fault, duration=DURATION, onset=_within(ONSETS, draw))
    onsets = [_within(ONSETS, draw + i) if draw % 2 else 0.0 for i, _ in enumerate(LIMPS)]
    heals = stage > 2 and draw % 4 in (1, 2)
    lasts = _within(HEALS, draw, step=PLASTIC)
    ends = [min(onset + lasts, HEALED) if heals else math.inf for onset in onsets]
    limps = (
        Condition(DURATION, (Damage(leg, "limp"),), onset, end)
        for leg, onset, end in zip(LIMPS, onsets, ends, strict=True)
    )
    if stage < 3:
        return (*limps, third)
    leg, (kind, amount) = LIMPS[draw // 2 % 2], STIFF[draw % 2]
    return (*limps, third, Condition(DURATION, (Damage(leg, kind, amount),), _within(ONSETS, draw)))


def _within(span: tuple[float, float], draw: int, *, step: float = GOLDEN) -> float:
    """Return a number within a span; over all draws they are spread evenly.

    Two numbers of one draw are as good as independent if their steps differ.
    """
    return span[0] + (span[1] - span[0]) * _spread(draw, step)


def _spread(draw: int, step: float = GOLDEN) -> float:
    return step * draw % 1.0


def _fault(scenario: str, draw: int, robot: RobotSpec) -> Condition:
    return load_scenario(scenario, robot).draw(np.random.default_rng((3, draw)))


def _contract(robot: RobotSpec, channels: tuple[Channel, ...], scales: Sequence[float]) -> Contract:
    """Return how a rule is wired to a robot; ``scales``: rad per joint for an action of 1."""
    return Contract(
        robot=robot.name,
        actuator="pd",
        latency_ticks=0,
        channels=channels,
        joints=joint_contracts(robot, list(scales)),
        velocity_cutoff=robot.velocity_cutoff,
    )
