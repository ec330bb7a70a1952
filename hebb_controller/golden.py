"""Golden vectors: a stretch of a run that every implementation must repeat, tick by tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from .errors import RuleFileError
from .plasticity import RULE_KINDS, Array
from .rounding import tick_bounds
from .rule import MAX_GOLDEN_TICKS, Golden, Rule
from .runtime.base import Runtime, State

MAX_BYTES = 4 * 1024 * 1024


def record_golden(
    runtime: Runtime, observations: Array | Sequence[Array], rng: np.random.Generator
) -> Golden:
    """Return the first ticks of a run: up to 32, fewer for a large network.

    Args:
        runtime: the runtime, which is reset first.
        observations: what it sees, (n_observation,) per tick.
        rng: draws the initial weights.
    """
    runtime.reset(rng)
    states, actions = [runtime.state], []
    bytes_per_tick = sum(array.nbytes for array in states[0].values())
    ticks = min(MAX_GOLDEN_TICKS, len(observations), max(MAX_BYTES // bytes_per_tick - 2, 1))
    for observation in observations[:ticks]:
        actions.append(runtime.step(observation))
        states.append(runtime.state)
    arrays = {
        "initial": states[0]["initial"],
        "weights": [state["weights"] for state in states],
        "trace": [state["trace"] for state in states],
        "observation": observations[:ticks],
        "action": actions,
    }
    return Golden(**{f.name: np.array(arrays[f.name], dtype=np.float32) for f in fields(Golden)})


def compare_golden(rule: Rule, runtime: Runtime) -> None:
    """Check that a runtime repeats the golden vectors of its rule, each tick from the recorded state.

    Raises:
        RuleFileError: the rule has none, or the runtime differs at some tick; the message names the
            tick, the tensor and the element.
    """
    golden = rule.golden
    if golden is None:
        raise RuleFileError("the rule has no golden vectors. Write them: hebb export --rule.")
    for tick, observation in enumerate(golden.observation):
        before = _state(golden, tick)
        bounds = tick_bounds(rule, before, observation)
        runtime.restore(before)
        action = runtime.step(observation)
        after = runtime.state
        found = {"action": action, "weights": after["weights"]}
        recorded = {"action": golden.action[tick], "weights": golden.weights[tick + 1]}
        if rule.header.update.trace_window > 1 and RULE_KINDS[rule.header.kind].tensors:
            found["trace"], recorded["trace"] = after["trace"], golden.trace[tick + 1]
        for name, values in found.items():
            # either may be off the exact value by the bound; NaN is never within it
            allowed = 2.0 * getattr(bounds, name).bound
            off = np.abs(np.asarray(values, dtype=np.float64) - recorded[name])
            wrong = np.flatnonzero(~(off <= allowed))
            if wrong.size:
                i = int(wrong[0])
                raise RuleFileError(
                    f"golden tick {tick}: {name}[{i}] is {values[i]:.9g}, recorded as "
                    f"{recorded[name][i]:.9g}; rounding explains at most {allowed[i]:.2g}."
                )


def _state(golden: Golden, tick: int) -> State:
    return {
        "weights": golden.weights[tick],
        "initial": golden.initial,
        "trace": golden.trace[tick],
        "tick": np.array(tick, dtype=np.int64),
    }
