"""JSON documents decoded into dataclasses; missing, unknown and mistyped fields are named."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections import Counter
from collections.abc import Iterable
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from .errors import HebbError, RuleFileError

MAX_STRING = 200  # characters in a name
MAX_DIGITS = 40  # in a whole number
MAX_NUMBER = 1e9  # its square is still a float32
MAX_DEPTH = 100  # of lists and objects within each other

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
T = TypeVar("T")


def parse_json(text: bytes, where: str) -> Json:
    """Return a parsed JSON document.

    Raises:
        RuleFileError: it is not JSON, repeats a key, has a number beyond the range of a float, or nests
            more than ``MAX_DEPTH`` deep.
    """

    def no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        keys = dict(pairs)
        if len(keys) != len(pairs):
            twice = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
            raise RuleFileError(f"{where}: header: duplicate key {twice[:40]!r}.")
        return keys

    def no_constant(name: str) -> Json:
        raise RuleFileError(f"{where}: header: {name} is not a number.")

    def finite(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise RuleFileError(
                f"{where}: header: {digits[:MAX_DIGITS]} is too large for a number."
            )
        return number

    try:
        parsed: Json = json.loads(
            text.decode(),
            object_pairs_hook=no_duplicates,
            parse_constant=no_constant,
            parse_float=finite,
        )
    except HebbError:
        raise
    except (ValueError, RecursionError) as error:
        raise RuleFileError(f"{where}: header is not valid JSON: {error}.") from error
    level, depth = [parsed], 0
    while level := [child for node in level for child in _inside(node)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise RuleFileError(f"{where}: header nests more than {MAX_DEPTH} deep.")
    return parsed


def _inside(node: Json) -> Iterable[Json]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


_hints = functools.cache(typing.get_type_hints)  # called for every tensor and joint


def decode(wanted: type[T], node: Json, where: str, field: str = "header") -> T:
    """Return ``node`` as an instance of a dataclass.

    Args:
        wanted: the dataclass; its fields are of type float, int, str, ``tuple[X, ...]``,
            ``Mapping[str, Json]`` or dataclasses themselves, or one of these ``| None`` if the
            field may be absent.
        node: the JSON value.
        where: named in errors, along with the field.
        field: path of ``node`` in the document.

    Raises:
        RuleFileError: a field is missing, unknown, or of the wrong type.
    """
    if not isinstance(node, dict):
        raise _wrong(where, field, "an object", node)
    hints = _hints(wanted)  # type: ignore[arg-type] # every class is hashable
    for key in node:
        if key not in hints:
            raise RuleFileError(
                f"{where}: {field}: unknown field {key[:40]!r}. Known: {', '.join(hints)}."
            )
    values = {}
    for key, hint in hints.items():
        if key not in node and _optional(hint):
            continue
        if key not in node:
            raise RuleFileError(f"{where}: {field}: '{key}' is missing.")
        values[key] = _value(hint, node[key], where, f"{field}.{key}")
    return wanted(**values)


def _value(wanted: object, node: Json, where: str, field: str) -> object:
    """Return ``node`` as the type of a field; see :func:`decode`."""
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return decode(wanted, node, where, field)
    if _optional(wanted):
        (wanted,) = (item for item in typing.get_args(wanted) if item is not type(None))
        return _value(wanted, node, where, field)
    if typing.get_origin(wanted) is tuple:
        if not isinstance(node, list):
            raise _wrong(where, field, "a list", node)
        item = typing.get_args(wanted)[0]
        return tuple(_value(item, n, where, f"{field}[{i}]") for i, n in enumerate(node))
    if wanted is float:
        if isinstance(node, bool) or not isinstance(node, (int, float)):
            raise _wrong(where, field, "a number", node)
        if not abs(node) <= MAX_NUMBER:  # also refuses NaN
            raise _wrong(where, field, f"a number within ±{MAX_NUMBER:g}", node)
        return float(node)
    if wanted is int:
        if isinstance(node, bool) or not isinstance(node, int):
            raise _wrong(where, field, "a whole number", node)
        if len(str(node)) > MAX_DIGITS:  # it ends up in a message
            raise _wrong(where, field, f"a whole number of at most {MAX_DIGITS} digits", node)
        return node
    if wanted is str:
        if not isinstance(node, str):
            raise _wrong(where, field, "a string", node)
        if not node.isprintable() or len(node) > MAX_STRING:  # it ends up in a log line
            raise _wrong(where, field, f"printable, at most {MAX_STRING} characters", node)
        return node
    if not isinstance(node, dict):  # Mapping[str, Json]
        raise _wrong(where, field, "an object", node)
    try:
        json.dumps(node, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # a lone surrogate
        raise RuleFileError(f"{where}: {field} contains invalid Unicode: {error}.") from error
    return MappingProxyType(node)


def present(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Return a dataclass's fields as ``decode`` expects them, without those that are None.

    For the ``dict_factory`` of :func:`dataclasses.asdict`.
    """
    return {key: value for key, value in pairs if value is not None}


def _wrong(where: str, field: str, wanted: str, node: Json) -> RuleFileError:
    return RuleFileError(f"{where}: {field} must be {wanted}, found {str(node)[:40]!r}.")


def _optional(hint: object) -> bool:
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
