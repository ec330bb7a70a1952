"""``hebb sign``."""

from __future__ import annotations

from pathlib import Path

import click

from .. import signature
from .options import example

PATH = click.Path(dir_okay=False, path_type=Path)


@click.group()
def sign() -> None:
    """Sign files, so that a robot can refuse those made or changed by others."""


@sign.command(epilog=example("hebb sign keygen fleet"))
@click.argument("name", type=PATH)
def keygen(name: Path) -> None:
    """Make a pair of keys: NAME.pem, to sign with and keep secret, and NAME.pub, for the robots."""
    private, public = signature.make_keys(name)
    click.echo(f"{private}: private, keep it secret\n{public}: public, give it to the robots")


@sign.command(epilog=example("hebb sign file walk.rule.safetensors --key fleet.pem"))
@click.argument("file", type=PATH)
@click.option("--key", type=PATH, required=True, help="The private key, NAME.pem.")
def file(file: Path, key: Path) -> None:
    """Sign a file: FILE.sig appears beside it. Sign it again whenever it has changed."""
    click.echo(signature.sign(file, key))
