"""``hebb replay``."""

from __future__ import annotations

import dataclasses
import json
import sys

import click
import numpy as np

from ..errors import HebbError
from ..recording import Replay, load_recording, replay_recording
from ..rule_file import load_rule
from ..runtime.numpy_runtime import NumpyRuntime
from .options import example, json_option, rule_argument

RUNTIMES = {"numpy": NumpyRuntime}


@click.command(epilog=example("hebb replay walk.rule.safetensors walk.recording.safetensors"))
@rule_argument
@click.argument("recording", type=click.Path(dir_okay=False))
@click.option("--any-rule", is_flag=True, help="Also where it was recorded with another rule file.")
@json_option
def replay(rule: str, recording: str, any_rule: bool, as_json: bool) -> None:
    """Run a rule on recorded observations: are actions and weights the recorded ones, bit for bit?

    `hebb evaluate --record` makes recordings. Bits are promised on the same build of numpy and the
    same kind of processor. Exit code 0 if they are the same, 1 if they differ, 2 for bad input.
    """
    loaded, recorded = load_rule(rule), load_recording(recording)
    header = recorded.header
    if header.rule_sha256 != loaded.sha256 and not any_rule:
        raise HebbError(
            f"{recording}: was made with another rule file (sha256 {header.rule_sha256[:12]}…, "
            f"{rule} has {loaded.sha256[:12]}…). Name that file, or add --any-rule."
        )
    if header.runtime not in RUNTIMES:
        raise HebbError(
            f"{recording}: was made by runtime '{header.runtime}'. "
            f"Replayed can be: {', '.join(RUNTIMES)}."
        )
    outcome = replay_recording(recorded, RUNTIMES[header.runtime](loaded))
    if as_json:
        versions = {"recorded_numpy": header.numpy, "numpy": np.__version__}
        report = {"same": outcome.same, **dataclasses.asdict(outcome), **versions}
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(_text(outcome, header.tick_period))
        if not outcome.same and header.numpy != np.__version__:
            click.echo(f"recorded with numpy {header.numpy}, this is {np.__version__}")
    sys.exit(0 if outcome.same else 1)


def _text(outcome: Replay, tick_period: float) -> str:
    if outcome.first is None:
        return f"the same: {outcome.ticks} ticks, every action and every weight"
    first = outcome.first
    lines = [
        f"differs from tick {first.tick} of {outcome.ticks} on (at {first.tick * tick_period:g} s):"
    ]
    if first.action:
        lines.append(f"  its action differs, by {first.action_difference:.3g} at most")
    if first.weights:
        lines.append("  the weights that it leaves differ")
    lines.append(f"  at the end weights differ by {outcome.final_difference:.3g} at most")
    return "\n".join(lines)
