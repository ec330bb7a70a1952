"""Messages beside the output."""

from __future__ import annotations

import os

import click


def say(text: str) -> None:
    """Print a line to standard error.

    If that fails, as when its reader ended on the same Ctrl-C, everything goes nowhere from then on:
    Python would try again when it exits, and change the exit code.
    """
    try:
        click.echo(text, err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
