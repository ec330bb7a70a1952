"""What ``hebb evaluate`` does with scenarios: read, run, tabulate, write."""

from __future__ import annotations

import contextlib
import glob
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ..errors import HebbError, ScenarioError
from ..robot import FloatArray, RobotSpec, load_robot
from ..train.adaptation import (
    LATER,
    Adaptation,
    ControlTrial,
    adaptation,
    control_shares,
    run_control_share,
)
from ..train.controls import Scrambled
from ..train.executor import TaskRunner
from ..train.metrics import RECOVERY_WINDOW, SPAN
from ..train.source import Source, blaming
from ..train.suite import (
    TEST_SEEDS,
    Cell,
    Contender,
    Factory,
    Row,
    Trial,
    by_factory,
    contrasts,
    count_shares,
    run_suite,
)
from ..train.tables import tables
from .until_stopped import until_stopped

if TYPE_CHECKING:
    from hebb_sim.condition import Condition
    from hebb_sim.damage import Damage

SHAM_ONSET = 5.0  # s; if nothing happens, before and after this moment are compared
DRAW_STREAM = 2  # of an episode's seed; its pose uses 0, its weights 1
LAST_SEED = 2**32  # above it, the streams of a seed would be those of others
NOT_A_NAME = set("/\\*?:")
SURROUNDINGS = ("trunk", "ground")  # parts to which the same happens without the robot's damage


@dataclass(frozen=True)
class SuiteOptions:
    """The options of an evaluation in scenarios.

    Attributes:
        controllers: ``[NAME=]FILE``, ``[NAME=]PATTERN`` or ``[NAME=]package.module:factory`` each.
        scenarios: names or paths.
        robot: name of the robot spec.
        episodes: per scenario and training seed.
        seed: of the first episode, from ``TEST_SEEDS`` on.
        asked: requested speed v*, m/s.
        plasticity_gain: factor on every weight change.
        controls: whether to run them.
        workers: worker processes.
    """

    controllers: tuple[str, ...]
    scenarios: tuple[str, ...]
    robot: str
    episodes: int
    seed: int
    asked: float
    plasticity_gain: float
    controls: bool
    workers: int


@dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation in scenarios.

    Attributes:
        settings: settings it was run with.
        contenders: the controllers compared.
        trials: scenario -> the episodes that every contender went through.
        cells: the cells, with every outcome.
        rows: the measures of the cells.
        contrasts: between each pair of contenders.
        controls: their results, if they were run.
        stopped: Ctrl-C or the error that came before the end, after which only what was finished is
            included, the last cell or control with fewer episodes; None if nothing did.
    """

    settings: Row
    contenders: list[Contender]
    trials: dict[str, list[Trial[Condition]]]
    cells: list[Cell]
    rows: list[Row]
    contrasts: list[Row]
    controls: list[Adaptation]
    stopped: BaseException | None

    @property
    def report(self) -> Row:
        """What is printed as JSON."""
        controls = [asdict(one) for one in self.controls]
        return {
            **self.settings,
            "cells": self.rows,
            "contrasts": self.contrasts,
            "controls": controls,
        }

    @property
    def text(self) -> str:
        """The same as Markdown tables."""
        return tables(self.rows, self.contrasts, self.controls)


def evaluate_suite(options: SuiteOptions) -> Evaluation:
    """Return the measures of all controllers in all scenarios.

    Raises:
        HebbError: a controller or scenario cannot be used; raised before anything is run.
    """
    from hebb_sim.episode import EpisodeRunner

    if options.seed + options.episodes > LAST_SEED - TEST_SEEDS:
        most = LAST_SEED - TEST_SEEDS - options.episodes
        raise HebbError(
            f"--seed {options.seed}: at most {most} with scenarios and {options.episodes} episodes."
        )
    spec = load_robot(options.robot)
    contenders = [_contender(text, options) for text in options.controllers]
    names = [contender.name for contender in contenders]
    if twice := {name for name in names if names.count(name) > 1}:
        raise HebbError(
            f"two controllers are called '{min(twice)}'. Fix: name them with NAME=FILE."
        )
    # Fails here, once, if one does not fit.
    periods = {factory().interface.period for who in contenders for factory in who.factories}
    if len(periods) > 1:
        click.echo(
            f"The controllers tick every {', '.join(f'{period:g}' for period in sorted(periods))} s: "
            f"their physics steps, and faults that are counted in ticks, differ.",
            err=True,
        )
    trials = {Path(name).stem: _trials(name, spec, options) for name in options.scenarios}
    if len(trials) < len(options.scenarios):
        raise ScenarioError("two scenarios have the same name. Fix: rename one of the files.")
    control_trials = {
        name: [control_trial(trial, spec) for trial in some]
        for name, some in trials.items()
        if options.controls and all(trial.condition.damages for trial in some)
    }
    everyone = [*contenders, *(_scrambled(contenders) if options.controls else ())]
    runner = EpisodeRunner(options.robot)
    cell_tasks = [(name, some, who) for name, some in trials.items() for who in everyone]
    control_tasks = [
        (name, control_shares(who, some, runner), who)
        for name, some in control_trials.items()
        for who in contenders
    ]
    count = count_shares(everyone, trials) + sum(len(some) for _, some, _ in control_tasks)
    bar = click.progressbar(length=count, label="Shares of episodes", file=sys.stderr)
    cells: list[Cell] = []
    controls: list[Adaptation] = []

    def step() -> None:
        bar.update(1)

    def work(pool: TaskRunner) -> None:
        for name, some, who in cell_tasks:
            with blaming_others(who, f"in scenario {name}"):
                run_suite(
                    [who],
                    {name: some},
                    runner,
                    pool,
                    asked=options.asked,
                    on_result=step,
                    cells=cells,
                )
        for name, shares, who in control_tasks:
            results: dict[int, FloatArray] = {}
            try:
                with blaming_others(who, f"in scenario {name}"):
                    pool.map(run_control_share, shares, on_result=step, results=results)
            finally:
                found = by_factory(results, len(who.factories))
                if found[0]:
                    seeds = [np.concatenate(parts) for parts in found]
                    rng = _bootstrap(options, name, who.name)
                    controls.append(adaptation(name, who.name, seeds, rng))

    with bar:
        stopped = until_stopped(options.workers, work)
    settings: Row = {
        "robot": options.robot,
        "speed_asked": options.asked,
        "first_seed": TEST_SEEDS + options.seed,
        "plasticity_gain": options.plasticity_gain,
        "controllers": {who.name: [_origin(f) for f in who.factories] for who in contenders},
    }
    rows = [cell.row(_bootstrap(options, cell.scenario, cell.controller)) for cell in cells]
    return Evaluation(
        settings, contenders, trials, cells, rows, contrasts(cells), controls, stopped=stopped
    )


def blaming_others(contender: Contender, where: str) -> contextlib.AbstractContextManager[None]:
    """Return what makes the errors of somebody else's controller name it; ours stay as they are."""
    if all(not isinstance(f, Source) or f.is_file for f in contender.factories):
        return contextlib.nullcontext()
    return blaming(contender.name, where)


def _bootstrap(options: SuiteOptions, scenario: str, controller: str) -> np.random.Generator:
    """Return the generator of one cell's bootstrap: the same whatever else is evaluated."""
    return np.random.default_rng((options.seed, *f"{scenario}\0{controller}".encode()))


def _contender(text: str, options: SuiteOptions) -> Contender:
    name, equals, rest = text.partition("=")
    if not equals or Path(text).exists() or NOT_A_NAME & set(name):
        name, rest = "", text
    pattern = any(c in rest for c in "*?[") and not Path(rest).exists()
    found = sorted(glob.glob(rest)) if pattern else [rest]  # noqa: PTH207
    if not found:
        raise HebbError(f"{rest}: no such file.")
    sources = [Source(path, options.robot, options.plasticity_gain).pinned() for path in found]
    if not name:
        name = Path(rest).name if sources[0].is_file else rest
        name = name.removesuffix(".rule.safetensors").removesuffix(".baseline.safetensors")
    return Contender(name, sources)


def _trials(name: str, robot: RobotSpec, options: SuiteOptions) -> list[Trial[Condition]]:
    from hebb_sim.scenario import load_scenario

    scenario = load_scenario(name, robot)
    trials = []
    for seed in range(TEST_SEEDS + options.seed, TEST_SEEDS + options.seed + options.episodes):
        condition = scenario.draw(np.random.default_rng((seed, DRAW_STREAM)))
        onset = condition.onset if condition.damages else SHAM_ONSET
        if not SPAN <= onset <= condition.duration - SPAN:
            raise ScenarioError(
                f"{name}: the comparison starts at {onset:g} of {condition.duration:g} s; "
                f"it needs {SPAN:g} s before and {SPAN:g} s after."
            )
        if options.controls and onset + LATER + RECOVERY_WINDOW > condition.duration:
            raise ScenarioError(
                f"{name}: the controls need {LATER + RECOVERY_WINDOW:g} s after the comparison "
                f"starts, at {onset:g} of {condition.duration:g} s."
            )
        trials.append(Trial(condition, onset, seed))
    return trials


def control_trial(trial: Trial[Condition], robot: RobotSpec) -> ControlTrial[Condition]:
    """Return an episode with its controls: what happens to trunk and ground happens in all.

    Where nothing else happens at the onset, that is what the whole robot is spared.
    """
    condition = trial.condition
    around = _around(condition.damages)
    spells = [replace(spell, damages=_around(spell.damages)) for spell in condition.spells]
    return ControlTrial(
        damaged=condition,
        whole=replace(
            condition,
            damages=() if around == condition.damages else around,
            spells=tuple(spell for spell in spells if spell.damages),
        ),
        other=_on_another_leg(condition, robot),
        onset=trial.onset,
        seed=trial.seed,
    )


def _around(damages: Sequence[Damage]) -> tuple[Damage, ...]:
    return tuple(damage for damage in damages if damage.part in SURROUNDINGS)


def _on_another_leg(condition: Condition, robot: RobotSpec) -> Condition | None:
    """Return the condition with its damages on the next leg; None if they are on no leg.

    None, too, for a joint where the next leg has another number of joints.
    """
    legs = list(robot.legs)
    moved = []
    for damage in condition.damages:
        if damage.part in legs:
            part = legs[(legs.index(damage.part) + 1) % len(legs)]
        elif damage.part in robot.joint_names:
            joint = robot.joint_names.index(damage.part)
            leg = next((i for i, name in enumerate(legs) if joint in robot.legs[name]), None)
            if leg is None:
                return None
            ours, theirs = (robot.legs[legs[i % len(legs)]] for i in (leg, leg + 1))
            if len(ours) != len(theirs):
                return None
            part = robot.joint_names[theirs[ours.index(joint)]]
        else:
            return None
        moved.append(replace(damage, part=part))
    return replace(condition, damages=tuple(moved))


def _origin(factory: Factory) -> Row:
    """Return where a controller comes from, for the record."""
    assert isinstance(factory, Source)  # noqa: S101 - for the type checker
    kind = "file" if factory.is_file else "factory"
    return {kind: factory.text, **({"sha256": factory.sha256} if factory.sha256 else {})}


def _scrambled(contenders: Sequence[Contender]) -> list[Contender]:
    found = []
    for contender in contenders:
        sources = [f for f in contender.factories if isinstance(f, Source) and f.is_plastic]
        for how in ("random", "shuffled") if sources else ():
            rules = [Scrambled(source, how, seed) for seed, source in enumerate(sources)]
            found.append(Contender(f"{contender.name} ({how})", rules))
    return found


def write(evaluation: Evaluation, directory: Path) -> None:
    """Write ``evaluation.json``, ``evaluation.md`` and the plots.

    Raises:
        HebbError: something cannot be written.
    """
    from ..plots.evaluation import recovery_curves, retained_by_kind, speed_around_damage

    text = json.dumps(evaluation.report, indent=2)
    try:
        (directory / "evaluation.json").write_text(text + "\n", encoding="utf-8")
        (directory / "evaluation.md").write_text(evaluation.text + "\n", encoding="utf-8")
        speed_around_damage(evaluation.cells, directory / "speed.png")
        retained_by_kind(evaluation.rows, directory / "retained.png")
        recovery_curves(evaluation.cells, directory / "recovery.png")
    except OSError as error:
        raise HebbError(f"{directory}: cannot be written: {error.strerror}.") from error
