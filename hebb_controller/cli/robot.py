"""``hebb robot``."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import yaml

from ..errors import RobotSpecError
from ..spec_completeness import missing_fields
from ..spec_draft import draft_from_urdf, spec_text
from .options import example


@click.group()
def robot() -> None:
    """Robot specs."""


@robot.command(name="import", epilog=example("hebb robot import dog.urdf --out dog.yaml"))
@click.argument("urdf", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="YAML to write."
)
@click.option(
    "--skip",
    multiple=True,
    metavar="JOINT",
    help="Leave this joint out; may be given several times.",
)
def import_(urdf: Path, out: Path, skip: tuple[str, ...]) -> None:
    """Draft a robot spec from a URDF: joints, limits, legs, left and right.

    What a URDF does not state, such as gains and the default pose, has no value in the draft; the
    spec loads only once each has one. Nothing is overwritten.
    """
    draft = draft_from_urdf(urdf, skip=skip)
    text = spec_text(draft, directory=out.parent)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        reason = "it already exists" if isinstance(error, FileExistsError) else error.strerror
        raise RobotSpecError(f"{out}: not written: {reason}. Choose another --out.") from error
    legs = ", ".join(f"{leg.name} ({len(leg.joints)})" for leg in draft.legs) or "none"
    click.echo(f"{out}: {len(draft.joints)} joints; legs {legs}; mirrored {2 * len(draft.mirror)}")
    for note in draft.notes:
        click.echo(f"note: {note}")
    click.echo("To state before it loads:")
    for line in missing_fields(cast("dict[str, object]", yaml.safe_load(text))):
        click.echo(f"  {line}")
