"""Fields of a robot spec, checked one by one.

Every function raises :class:`RobotSpecError` for what is not as it should be; ``where`` begins its message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from .errors import RobotSpecError

MAX_NAME = 100  # characters
_MAX_NUMBER = 1e9
_EXPONENT = re.compile(r"[-+]?[\d.]+[eE][-+]?\d+")


def as_mapping(node: object, where: str) -> Mapping[str, object]:
    """Return a mapping."""
    if not isinstance(node, dict):
        raise RobotSpecError(f"{where}: expected a mapping, found {type(node).__name__}.")
    return cast("Mapping[str, object]", node)


def needed(node: Mapping[str, object], key: str, where: str) -> object:
    """Return the value of a field that has no default."""
    if key not in node:
        raise RobotSpecError(f"{where}: '{key}' is missing. It has no default: state it.")
    return node[key]


def check_known(node: Mapping[str, object], allowed: tuple[str, ...], where: str) -> None:
    """Check that a mapping has no other fields."""
    for key in node:
        if key not in allowed:
            raise RobotSpecError(f"{where}: unknown field '{key}'. Known: {', '.join(allowed)}.")


def as_name(node: object, where: str) -> str:
    """Return text that fits on a line."""
    if not isinstance(node, str) or not node.isprintable() or not 0 < len(node) <= MAX_NAME:
        raise RobotSpecError(
            f"{where}: a name must be text of 1 to {MAX_NAME} printable characters (in quotes, if it "
            f"looks like a number)."
        )
    return node


def as_number(node: object, where: str) -> float:
    """Return a finite number."""
    if isinstance(node, bool) or not isinstance(node, (int, float)):
        found = repr(node[:40]) if isinstance(node, str) else type(node).__name__
        if isinstance(node, str) and _EXPONENT.fullmatch(node):
            found += ", which YAML takes for text: write 1.0e-9, with point and sign"
        raise RobotSpecError(f"{where}: expected a number, found {found}.")
    if not abs(node) <= _MAX_NUMBER:  # also refuses NaN
        raise RobotSpecError(f"{where}: must be a finite number within ±{_MAX_NUMBER:g}.")
    return float(node)


def as_positive(node: object, where: str) -> float:
    """Return a number above 0."""
    number = as_number(node, where)
    if number <= 0:
        raise RobotSpecError(f"{where} is {number:g}; it must be positive.")
    return number
