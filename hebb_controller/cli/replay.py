"""``hebb replay``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from ..errors import RecordingError
from ..recording import Checkpoint, Recording
from ..replay import Replay, replay_to_rounding
from ..replay import replay as run_again
from ..rule import Rule
from ..rule_file import load_rule
from ..runtime import RUNTIMES, make_runtime
from ..runtime.base import Runtime
from .options import example, json_option


@click.command(epilog=example("hebb replay walk.rule.safetensors run.mcap"))
@click.argument(
    "rules", nargs=-1, required=True, type=click.Path(dir_okay=False), metavar="RULE..."
)
@click.argument("recording", type=click.Path(dir_okay=False))
@click.option(
    "--any-rule", is_flag=True, help="Replay even if it was recorded with another rule file."
)
@click.option(
    "--rounding",
    is_flag=True,
    help="Compare each tick that follows recorded weights up to rounding, not bit for bit: for "
    "recordings from another machine.",
)
@json_option
def replay(
    rules: tuple[str, ...], recording: str, any_rule: bool, rounding: bool, as_json: bool
) -> None:
    """Rerun rules on recorded observations and compare actions and weights, bit for bit.

    The recording is an MCAP file from `hebb evaluate --record`, the launch argument `record`, or
    `ros2 bag record -s mcap`. Name every rule that drove. Equal bits are promised on the same build of
    numpy and the same kind of processor. Exit code 0 if they match, 1 if they differ, 2 for bad input.
    """
    from ..mcap_file import read_recording

    loaded = {rule.sha256: rule for rule in map(load_rule, rules)}
    if any_rule and len(loaded) != 1:
        raise RecordingError("--any-rule needs exactly one rule file, which is run on everything.")
    events = read_recording(Path(recording))

    def rule_of(checkpoint: Checkpoint) -> Rule:
        if any_rule:
            return next(iter(loaded.values()))
        if checkpoint.rule_sha256 not in loaded:
            raise RecordingError(
                f"{recording}: was made with another rule file (sha256 "
                f"{checkpoint.rule_sha256[:12]}…; given: "
                f"{', '.join(f'{sha256[:12]}…' for sha256 in loaded)}). Name that file too, or add "
                f"--any-rule."
            )
        return loaded[checkpoint.rule_sha256]

    def runtime_of(checkpoint: Checkpoint) -> tuple[Rule, Runtime]:
        if checkpoint.runtime not in RUNTIMES:
            raise RecordingError(
                f"{recording}: was made by runtime '{checkpoint.runtime}', which cannot be "
                f"replayed. Known: {', '.join(RUNTIMES)}."
            )
        rule = rule_of(checkpoint)
        return rule, make_runtime(checkpoint.runtime, rule)

    outcome = replay_to_rounding(events, rule_of) if rounding else run_again(events, runtime_of)
    if not outcome.ticks:
        raise RecordingError(
            f"{recording}: no tick can be replayed. Fix: record observation, action and weights from "
            f"the start of a run, with weights_every above 0."
        )
    versions = _versions(events)
    if as_json:
        facts = {"recorded_numpy": versions, "numpy": np.__version__}
        report = {"same": outcome.same, **dataclasses.asdict(outcome), **facts}
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(_text(outcome, rounding=rounding))
        if not outcome.same and not rounding and versions != [np.__version__]:
            click.echo(f"recorded with numpy {', '.join(versions)}, this is {np.__version__}")
    sys.exit(0 if outcome.same else 1)


def _versions(recording: Recording) -> Sequence[str]:
    return sorted({event.numpy for event in recording if isinstance(event, Checkpoint)})


def _text(outcome: Replay, *, rounding: bool) -> str:
    lines = []
    if outcome.first is None:
        compared = "all actions " + (
            f"and {outcome.checkpoints} weight snapshots match"
            if outcome.checkpoints
            else "match, no weights to compare"
        )
        same = "identical up to rounding" if rounding else "identical"
        lines.append(f"{same}: {outcome.ticks} ticks; {compared}")
    else:
        first = outcome.first
        size = (
            "by a number that is not finite"
            if first.size is None
            else f"by {first.size:.3g} at most"
        )
        where = "its action differs" if first.what == "action" else "the weights before it differ"
        lines.append(f"differs from tick {first.tick} on (at {first.stamp:.9g} s): {where}, {size}")
    if outcome.starts > 1 and not rounding:
        lines.append(f"started from recorded weights {outcome.starts} times")
    if outcome.lost:
        lines.append(
            f"{outcome.lost} ticks could not be replayed: something before them is missing"
        )
    return "\n".join(lines)
