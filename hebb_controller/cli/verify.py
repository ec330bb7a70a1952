"""``hebb verify``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass

import click
import numpy as np

from ..contract import check_contract
from ..controller import controller_for
from ..errors import ContractError, HebbError, MissingExtraError, RuleFileError, SignatureError
from ..golden import compare_golden
from ..observation import observation_limits
from ..robot import load_robot
from ..rule import Rule
from ..rule_file import load_rule
from ..runtime import RUNTIMES, make_runtime
from ..runtime.numpy_runtime import NumpyRuntime
from ..signature import Trust
from .options import example, json_option, robot_option, rule_argument, trust_options

TRIAL_TICKS = 2_000
BUDGET = 0.5  # fraction of the tick period that the 99th percentile of a tick may take


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    ok: bool
    detail: str


@click.command(epilog=example("hebb verify rules/a1_walk.rule.safetensors --robot a1"))
@rule_argument
@robot_option
@trust_options
@json_option
def verify(rule: str, robot: str, trust: Trust, as_json: bool) -> None:
    """Check a rule file: fields, tensors, contract with a robot, golden vectors, a timed trial run.

    Exit code 2 if a check fails.
    """
    spec = load_robot(robot)
    checks: list[Check] = []
    p99 = None
    sha256 = None
    try:
        loaded = load_rule(rule, trust=trust)
        sha256 = loaded.sha256
        checks.append(Check("file", True, f"{loaded.n_parameters} finite coefficients"))
        if trust.policy == "enforce":
            checks.append(Check("signature", True, "by a trusted key"))
        check_contract(loaded.header.contract, spec, where=rule)
        controller_for(loaded, spec)
        checks.append(Check("contract", True, f"fits robot '{spec.name}'"))
        checks += _golden(loaded)
        trial, p99 = _trial(loaded)
        checks.append(trial)
        if p99 is not None:
            allowed = BUDGET * loaded.header.tick_period * 1e6
            detail = f"p99 of a tick is {p99:.0f} µs of processor time; {BUDGET:.0%} of the period is {allowed:.0f} µs"
            checks.append(Check("time", p99 <= allowed, detail))
    except HebbError as error:
        names = {ContractError: "contract", SignatureError: "signature"}
        name = names.get(type(error), "file")
        checks.append(Check(name, False, str(error)))
    ok = all(check.ok for check in checks)
    if as_json:
        report = {
            "ok": ok,
            "checks": [asdict(check) for check in checks],
            "p99_tick_us": p99,
            "sha256": sha256,
        }
        click.echo(json.dumps(report, indent=2))
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name:12s} {check.detail}")
    if not ok:
        failed = next(check for check in checks if not check.ok)
        click.echo(f"error: {failed.detail}", err=True)
        sys.exit(2)


def _golden(rule: Rule) -> list[Check]:
    """Return whether each runtime that is installed repeats the golden vectors."""
    if rule.golden is None:
        return [Check("golden", True, "the file has none; hebb export --rule writes them")]
    checks = []
    for name in RUNTIMES:
        try:
            compare_golden(rule, make_runtime(name, rule))
        except MissingExtraError:
            continue
        except RuleFileError as error:
            checks.append(Check(f"golden {name}", False, str(error)))
        else:
            detail = f"{rule.golden.ticks} ticks as recorded, up to rounding"
            checks.append(Check(f"golden {name}", True, detail))
    return checks


def _trial(rule: Rule) -> tuple[Check, float | None]:
    """Return whether a trial run stays finite and, if so, the 99th percentile of a tick, µs.

    The run sees noise, then all observations at their extremes for a long stretch, then noise again.
    Its time is processor time: how long other processes keep it waiting says nothing about the rule.
    """
    runtime = NumpyRuntime(rule)
    rng = np.random.default_rng(0)
    runtime.reset(rng)
    contract = rule.header.contract
    limits = observation_limits(contract.channels, len(contract.joints))
    observations = limits * rng.uniform(-1, 1, (TRIAL_TICKS, limits.size)).astype(np.float32)
    third = TRIAL_TICKS // 3
    observations[third : 2 * third] = limits * np.sign(observations[0])
    durations = np.empty(TRIAL_TICKS)
    for tick, observation in enumerate(observations):
        start = time.thread_time()
        with np.errstate(all="ignore"):  # the results are checked below
            action = runtime.step(observation)
        durations[tick] = time.thread_time() - start
        weights = runtime.state["weights"]
        if not (np.isfinite(action).all() and np.isfinite(weights).all()):
            detail = f"weights or actions stop being finite at tick {tick} of a trial."
            return Check("trial", False, detail), None
    largest = max(float(np.abs(layer).max()) for layer in runtime.layers)
    detail = (
        f"{TRIAL_TICKS} ticks of noise and extremes stay finite, largest |weight| {largest:.2f}"
    )
    return Check("trial", True, detail), float(np.percentile(durations, 99)) * 1e6
