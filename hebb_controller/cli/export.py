"""``hebb export``."""

from __future__ import annotations

import click

from ..errors import RuleFileError
from ..robot import load_robot, load_shipped_robot
from ..rule import Rule
from ..rule_file import load_rule, save_rule
from .options import example, rule_argument

REFERENCE_DURATION = 10.0  # s, length of the episodes in which a rule is measured


@click.command(
    epilog=example(
        "hebb export rules/a1_walk.rule.safetensors --onnx a1_walk.onnx",
        "hebb export bare.rule.safetensors --rule measured.rule.safetensors",
    ),
)
@rule_argument
@click.option("--onnx", type=click.Path(dir_okay=False), help="The .onnx file to write.")
@click.option(
    "--rule",
    "measured",
    type=click.Path(dir_okay=False),
    help="The rule file to write: the same rule, with its measurements in simulation.",
)
@click.option("--robot", help="Robot spec to measure on.  [default: the rule's own]")
def export(rule: str, onnx: str | None, measured: str | None, robot: str | None) -> None:
    """Write a rule as an ONNX graph, or with its static twin, golden vectors and envelope.

    The graph is self-contained: one tick, with the state going in and out; docs/onnx.md shows how to
    run it from C++. The measurements need the `sim` and `train` extras; a rule whose weights diverge
    is not written.
    """
    if onnx is None and measured is None:
        raise click.UsageError("name what to write: --onnx or --rule.")
    if robot is not None and measured is None:
        raise click.UsageError("--robot needs --rule.")
    loaded = load_rule(rule)
    if measured is not None:
        try:
            loaded = with_measurements(
                loaded, robot or load_shipped_robot(loaded.header.contract.robot).name
            )
        except RuleFileError as error:
            raise RuleFileError(f"{rule}: not exported: {error}") from error
        save_rule(loaded, measured)
        click.echo(f"Wrote {measured}")
    if onnx is not None:
        from ..onnx_export import save_onnx

        save_onnx(loaded, onnx)
        click.echo(f"Wrote {onnx}")


def with_measurements(rule: Rule, robot: str) -> Rule:
    """Return a rule with its static twin, golden vectors and envelope.

    Raises:
        HebbError: its weights diverge, or it does not fit the robot.
    """
    from hebb_sim.condition import Condition
    from hebb_sim.episode import EpisodeRunner

    from ..train.measured import measured_rule

    condition = Condition(duration=REFERENCE_DURATION)
    return measured_rule(rule, load_robot(robot), EpisodeRunner(robot), condition)
