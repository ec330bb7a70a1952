"""``hebb diff``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator

import click

from ..json_fields import Json
from ..rule_diff import RuleDiff, TensorDifference, compare
from ..rule_file import load_rule
from .options import example, json_option

LONGEST = 60  # characters of a value that are shown


@click.command(epilog=example("hebb diff old.rule.safetensors new.rule.safetensors"))
@click.argument("a", type=click.Path(dir_okay=False))
@click.argument("b", type=click.Path(dir_okay=False))
@json_option
def diff(a: str, b: str, as_json: bool) -> None:
    """Show how two rule files differ: the contract with the robot first, then the rest.

    Exit code 0 if they are equal, 1 if they differ, 2 for bad input.
    """
    one, other = load_rule(a), load_rule(b)
    found = compare(one, other)
    if as_json:
        files = {
            "a": {"path": a, "sha256": one.sha256},
            "b": {"path": b, "sha256": other.sha256},
        }
        report = {"equal": found.equal, **files, **dataclasses.asdict(found)}
        click.echo(json.dumps(report, indent=2))
    else:
        for line in _lines(found):
            click.echo(line)
    sys.exit(0 if found.equal else 1)


def _lines(found: RuleDiff) -> Iterator[str]:
    for title, items in (("contract", found.contract), ("header", found.header)):
        if items:
            yield f"{title}:"
        for item in items:
            yield f"  {_short(item.field)}: {_short(item.a)} → {_short(item.b)}"
    if found.tensors:
        yield f"{'tensors:':24s} {'max |Δ|':>10s} {'|Δ|/|a|':>10s} {'correlation':>12s}"
    for tensor in found.tensors:
        yield f"  {tensor.name:22s} {_tensor(tensor)}"


def _tensor(found: TensorDifference) -> str:
    if found.shape_a is None or found.shape_b is None:
        return f"only in {'A' if found.shape_b is None else 'B'}"
    if found.max_abs is None:
        return f"shape {found.shape_a} → {found.shape_b}"
    cells = ((found.max_abs, ">10.3g"), (found.relative, ">10.3g"), (found.correlation, ">12.4f"))
    return " ".join(
        format("-", form.partition(".")[0]) if value is None else format(value, form)
        for value, form in cells
    )


def _short(value: Json) -> str:
    plain = isinstance(value, str) and value.isprintable()
    text = "–" if value is None else str(value) if plain else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
