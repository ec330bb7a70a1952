"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., None])

rule_argument = click.argument("rule", type=click.Path(dir_okay=False))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def robot_option(function: F) -> F:
    """Add ``--robot``."""
    return click.option(
        "--robot", default="a1", show_default=True, help="A shipped robot spec, or a .yaml file."
    )(function)


def workers_option(function: F) -> F:
    """Add ``--workers``."""
    return click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=os.cpu_count() or 1,
        show_default="one per core",
        help="Worker processes; the result does not depend on it.",
    )(function)


def example(text: str) -> str:
    """Return an epilog that shows an example."""
    return f"\b\nExample:\n  {text}"
