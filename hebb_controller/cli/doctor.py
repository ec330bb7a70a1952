"""``hebb doctor``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ..contract import check_contract
from ..doctor.checks import check_moved_velocity, examine
from ..doctor.heard import Finding, Level, Needs
from ..errors import ContractError, ParameterError
from ..robot import RobotSpec, load_robot
from ..rule_file import load_rule
from .options import FiniteRange, example, json_option

PERIOD = 0.02  # s, the tick of every shipped rule, if no rule is given
SENSOR_TIMEOUT = 0.1  # s, the node's default


@click.command(
    epilog=example(
        "hebb doctor --robot dog.yaml --rule walk.rule.safetensors",
        "hebb doctor --robot dog.yaml --move --joint FR_hip_joint",
    )
)
@click.option("--robot", required=True, help="A shipped robot spec, or a .yaml file.")
@click.option(
    "--rule", type=click.Path(dir_okay=False, path_type=Path), help="Rule file that will drive it."
)
@click.option(
    "--seconds",
    type=FiniteRange(1.0, 600.0),
    default=3.0,
    show_default=True,
    help="How long to listen, s; move joints and body by hand meanwhile, to compare rates with angles.",
)
@click.option(
    "--sensor-timeout",
    type=FiniteRange(0.0, 10.0, min_open=True),
    default=SENSOR_TIMEOUT,
    show_default=True,
    help="The controller node's sensor_timeout, s; the robot's max_reading_age if that is shorter.",
)
@click.option("--namespace", default="", help="Namespace of the robot's topics.")
@click.option(
    "--joint-states", default="joint_states", show_default=True, help="Topic of the joints."
)
@click.option("--imu", default="imu/data", show_default=True, help="Topic of the IMU.")
@click.option(
    "--joint-command", default="joint_command", show_default=True, help="Topic of the commands."
)
@click.option(
    "--move", is_flag=True, help="Then move joints gently, one at a time. The robot must hang free."
)
@click.option(
    "--joint", "only", multiple=True, help="Move only this joint; may be given several times."
)
@click.option(
    "--amplitude",
    type=FiniteRange(0.02, 0.3),
    default=0.1,
    show_default=True,
    help="How far to move each joint, rad.",
)
@click.option("--yes", is_flag=True, help="Do not ask before anything moves.")
@json_option
def doctor(
    robot: str,
    rule: Path | None,
    seconds: float,
    sensor_timeout: float,
    namespace: str,
    joint_states: str,
    imu: str,
    joint_command: str,
    move: bool,
    only: tuple[str, ...],
    amplitude: float,
    yes: bool,
    as_json: bool,
) -> None:
    """Check a robot at rest against its spec and a rule, over ROS 2, before anything walks.

    Only listens unless --move is given. Exit code 1 if a check fails, 2 for bad input, 130 if the moves
    were interrupted.
    """
    spec = load_robot(robot)
    joints = _joints(spec, only)
    if move and not yes and (as_json or not sys.stdin.isatty()):
        raise ParameterError("--move asks for confirmation, which cannot be given here. Add --yes.")
    report = _Report(as_json)
    needs = _needs(spec, rule, sensor_timeout, report)

    from ..node.doctor import Doctor, Topics

    names = (joint_states, imu, joint_command)
    topics = Topics(*(_topic(namespace, name) for name in names))
    with Doctor(spec, topics) as found:
        for result in examine(spec, needs, found.listen(seconds)):
            report.tell(result)
        if move and report.failed:
            report.tell(Finding("move", Level.WARN, "nothing was moved", "fix the above first"))
        elif move and (yes or _confirmed(len(joints), amplitude)):
            from ..doctor.moves import Moves
            from ..stop_signals import stop_event

            moves = Moves(
                spec, joints, amplitude=amplitude, tell=report.tell, announce=report.announce
            )
            stopping = stop_event()
            said = found.move(moves, stopping.is_set)
            report.interrupted = stopping.is_set()
            measured = spec.velocity_cutoff is None
            if measured and (finding := check_moved_velocity(said, moves.windows)):
                report.tell(finding)
    report.end()


class _Report:
    """Prints findings as they come; for machines, all of them at the end."""

    def __init__(self, as_json: bool) -> None:
        self.interrupted = False
        self._as_json = as_json
        self._findings: list[Finding] = []

    @property
    def failed(self) -> bool:
        return any(finding.level is Level.FAIL for finding in self._findings)

    def tell(self, finding: Finding) -> None:
        self._findings.append(finding)
        if not self._as_json:
            fix = f". Fix: {finding.fix}." if finding.fix else ""
            click.echo(f"{finding.level.value:4s} {finding.check:18s} {finding.detail}{fix}")

    def announce(self, text: str) -> None:
        if not self._as_json:
            click.echo(f"next {'move':18s} {text}")

    def end(self) -> None:
        if self._as_json:
            rows = [
                {"check": f.check, "level": f.level.value, "detail": f.detail, "fix": f.fix}
                for f in self._findings
            ]
            click.echo(json.dumps({"ok": not self.failed, "findings": rows}, indent=2))
        if self.interrupted:
            sys.exit(130)
        if self.failed:
            sys.exit(1)


def _needs(robot: RobotSpec, path: Path | None, sensor_timeout: float, report: _Report) -> Needs:
    """Return what the node will need of the sensors, and report whether the rule fits the robot."""
    timeout = min(sensor_timeout, robot.safety.max_reading_age)
    if path is None:
        return Needs(PERIOD, timeout)
    rule = load_rule(path)
    try:
        check_contract(rule.header.contract, robot, where=str(path))
    except ContractError as error:
        what, _, fix = str(error).rstrip(".").rpartition(". ")
        report.tell(Finding("rule", Level.FAIL, what, fix[:1].lower() + fix[1:]))
    else:
        report.tell(Finding("rule", Level.OK, f"fits robot '{robot.name}'"))
    return Needs(rule.header.tick_period, timeout)


def _joints(robot: RobotSpec, only: tuple[str, ...]) -> list[int]:
    unknown = [name for name in only if name not in robot.joint_names]
    if unknown:
        raise ParameterError(
            f"--joint {unknown[0]}: robot '{robot.name}' has {', '.join(robot.joint_names)}."
        )
    return [i for i, name in enumerate(robot.joint_names) if not only or name in only]


def _topic(namespace: str, name: str) -> str:
    """Return a topic's full name."""
    return name if name.startswith("/") else f"/{namespace.strip('/')}/{name}".replace("//", "/")


def _confirmed(joints: int, amplitude: float) -> bool:
    return click.confirm(
        f"Joints to move: {joints}, by {amplitude:g} rad, one at a time, while the others hold. Is the "
        f"robot suspended, everyone clear, and a hand on the emergency stop?",
        err=True,
    )
