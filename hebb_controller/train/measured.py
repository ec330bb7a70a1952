"""Measurements that a rule carries: static twin, golden vectors, stability envelope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..controller import Controller, interface_for
from ..envelope import stability_envelope
from ..errors import RuleFileError
from ..golden import record_golden
from ..network import InitialSpec
from ..plasticity import Array, layer_views
from ..record import EpisodeRecord
from ..recording import Recorder, Tick
from ..robot import RobotSpec
from ..rule import Envelope, Rule, StaticTwin, make_rule
from ..runtime.numpy_runtime import NumpyRuntime
from .metrics import mean_speed
from .task import C, Evaluate

TWIN_EPISODES = 40
REFERENCE_TRIES = 10
FIRST_SEED = 2_000_000  # apart from the seeds of training and `hebb evaluate`


def measured_rule(rule: Rule, robot: RobotSpec, evaluate: Evaluate[C], condition: C) -> Rule:
    """Return a rule with its static twin, golden vectors and envelope, from reference episodes.

    Args:
        rule: a plastic rule.
        robot: the robot that it was trained for.
        evaluate: runs an episode.
        condition: condition of the reference episode and of those that measure the twin.

    Raises:
        RuleFileError: the rule's weights diverge, or it is static.
        ContractError: the rule does not fit the robot.
    """
    if rule.header.kind == "static":
        raise RuleFileError("a static rule has no twin, and no weights that could diverge.")
    runtime = Recorder(NumpyRuntime(rule), rule)
    controller = Controller(robot, interface_for(rule, robot), runtime)
    for seed in range(FIRST_SEED, FIRST_SEED + REFERENCE_TRIES):
        if not evaluate(controller, condition, seed).fallen:
            break
    ticks = [event for event in runtime.recording() if isinstance(event, Tick)]
    observations = np.array([tick.observation for tick in ticks])
    rng = np.random.default_rng(FIRST_SEED)
    envelope = stability_envelope(rule, observations, horizon=len(observations), rng=rng)
    static = layer_views(np.asarray(runtime.state["weights"], np.float32), rule.header.layer_sizes)
    twin = Controller(robot, interface_for(rule, robot), NumpyRuntime(twin_of(rule, static)))
    seeds = range(FIRST_SEED, FIRST_SEED + TWIN_EPISODES)
    walks = [evaluate(twin, condition, seed) for seed in seeds]
    return _with(rule, static, envelope=envelope, walks=walks, observations=observations)


def twin_of(rule: Rule, static: Sequence[Array]) -> Rule:
    """Return the static rule with these weights, (n_out, n_in) per layer."""
    header = replace(
        rule.header,
        kind="static",
        initial=InitialSpec("evolved", rule.header.initial.scale),
        envelope=None,
        static_twin=None,
    )
    return make_rule(header, [{"initial": weights} for weights in static], where="static twin")


def _with(
    rule: Rule,
    static: Sequence[Array],
    *,
    envelope: Envelope,
    walks: Sequence[EpisodeRecord],
    observations: Array,
) -> Rule:
    twin = StaticTwin(
        episodes=len(walks),
        duration=walks[0].duration,
        speed=float(np.mean([mean_speed(walk) for walk in walks])),
        fall_rate=float(np.mean([walk.fallen for walk in walks])),
    )
    golden = record_golden(NumpyRuntime(rule), observations, np.random.default_rng(FIRST_SEED))
    layers = [{name: layer[name] for name in rule.stored if name in layer} for layer in rule.layers]
    return make_rule(
        replace(rule.header, envelope=envelope, static_twin=twin),
        layers,
        neurons=rule.neurons,
        static=static,
        golden=golden,
    )
