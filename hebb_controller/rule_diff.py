"""How two rules differ: first in what they expect of the robot, then in the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .json_fields import Json
from .plasticity import Array
from .rule import Rule
from .rule_file import header_text, named_tensors


@dataclass(frozen=True)
class FieldDifference:
    """A header field with its two values; None where a rule lacks it."""

    field: str
    a: Json
    b: Json


@dataclass(frozen=True)
class TensorDifference:
    """A tensor that differs.

    Attributes:
        name: as in the file.
        shape_a, shape_b: shapes; None where a rule lacks the tensor.
        max_abs: largest |a − b|.
        relative: |a − b| / |a|, Frobenius.
        correlation: Pearson correlation of the two.

    The last three are None where undefined: different shapes, a = 0, a constant tensor.
    """

    name: str
    shape_a: tuple[int, ...] | None
    shape_b: tuple[int, ...] | None
    max_abs: float | None = None
    relative: float | None = None
    correlation: float | None = None


@dataclass(frozen=True)
class RuleDiff:
    """All differences between two rules.

    Attributes:
        contract: what they expect of the robot.
        header: the other fields.
        tensors: coefficients, static twin and golden vectors.
    """

    contract: tuple[FieldDifference, ...]
    header: tuple[FieldDifference, ...]
    tensors: tuple[TensorDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.contract or self.header or self.tensors)


def compare(a: Rule, b: Rule) -> RuleDiff:
    """Return how two rules differ; tensors are compared bit for bit."""
    one, other = _header_fields(a), _header_fields(b)
    differences = [
        FieldDifference(field, one.get(field), other.get(field))
        for field in {**one, **other}
        if field not in one
        or field not in other
        or json.dumps(one[field]) != json.dumps(other[field])
    ]
    contract = [item for item in differences if item.field.startswith("contract.")]
    tensors, others = named_tensors(a), named_tensors(b)
    return RuleDiff(
        contract=tuple(contract),
        header=tuple(item for item in differences if item not in contract),
        tensors=tuple(
            difference
            for name in {**tensors, **others}
            if (difference := _compare(name, tensors.get(name), others.get(name)))
        ),
    )


def _header_fields(rule: Rule) -> dict[str, Json]:
    return dict(_flat(json.loads(header_text(rule.header, where="rule")), ""))


def _flat(node: Json, place: str) -> Iterator[tuple[str, Json]]:
    """Yield every value of a document with its place: ``contract.joints[hip].kp``.

    Items with a name (joints, channels) are keyed by it; the order of the names is one more value.
    """
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flat(value, f"{place}.{key}" if place else key)
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        names = [
            item.get("name", i) if isinstance(item, dict) else i for i, item in enumerate(node)
        ]
        if len({str(name) for name in names}) < len(names):
            names = list(range(len(node)))
        yield place, names
        for name, item in zip(names, node, strict=True):
            inner = (
                {k: v for k, v in item.items() if k != "name"} if isinstance(item, dict) else item
            )
            yield from _flat(inner, f"{place}[{name}]")
    else:
        yield place, node


def _compare(name: str, a: Array | None, b: Array | None) -> TensorDifference | None:
    if a is None or b is None or a.shape != b.shape:
        return TensorDifference(name, a if a is None else a.shape, b if b is None else b.shape)
    if a.tobytes() == b.tobytes():
        return None
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    size = float(np.linalg.norm(x))
    spread = float(np.std(x) * np.std(y))
    covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
    return TensorDifference(
        name,
        a.shape,
        b.shape,
        max_abs=float(np.abs(x - y).max()),
        relative=float(np.linalg.norm(x - y)) / size if size else None,
        correlation=covariance / spread if spread else None,
    )
