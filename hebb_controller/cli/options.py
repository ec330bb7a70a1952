"""Options that several commands share."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..signature import POLICIES, Trust


class FiniteRange(click.FloatRange):
    """A range of numbers that also refuses NaN and infinity."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the number that was given; see :meth:`click.ParamType.convert`."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


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


def trust_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--signature-policy`` and ``--public-key``; they arrive as one argument, ``trust``."""

    @functools.wraps(function)
    def with_trust(
        *args: object, signature_policy: str, public_key: tuple[Path, ...], **options: object
    ) -> None:
        if public_key and signature_policy == "off":
            raise click.UsageError(
                "--public-key checks nothing without --signature-policy enforce or warn."
            )
        trust = Trust(signature_policy, public_key, warn=_warn)
        function(*args, trust=trust, **options)

    policy = click.option(
        "--signature-policy",
        type=click.Choice(POLICIES),
        default="off",
        show_default=True,
        help="What to do about a file that none of the keys signed: nothing, warn, or refuse it.",
    )
    key = click.option(
        "--public-key",
        type=click.Path(dir_okay=False, path_type=Path),
        multiple=True,
        help="NAME.pub of a trusted signer; may be given several times.",
    )
    return policy(key(with_trust))


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def example(*commands: str) -> str:
    """Return an epilog that shows an example, or several."""
    lines = "".join(f"\n  {command}" for command in commands)
    return f"\b\nExample:{lines}"
