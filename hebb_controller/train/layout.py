"""The position of each tensor of a network in the evolved vector."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..plasticity import RULE_KINDS, Array
from .baseline_file import Axis, axes
from .symmetry import ALONE, Mirror, free_numbers, free_numbers_of_neurons, repeated


@dataclass(frozen=True)
class Part:
    """One tensor in the vector: ``vector[start : start + count][index] * factor``."""

    index: npt.NDArray[np.int64]
    factor: npt.NDArray[np.float32]
    count: int


def _whole(shape: tuple[int, ...]) -> Part:
    """Return the part for a tensor whose numbers are all free."""
    index = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    return Part(index, np.ones(shape, np.float32), index.size)


def tensors_in(vector: Array, layout: Sequence[Mapping[str, Part]]) -> list[dict[str, Array]]:
    """Return the tensors encoded in a vector, group by group of the layout."""
    groups: list[dict[str, Array]] = []
    start = 0
    for parts in layout:
        group = {}
        for name, part in parts.items():
            group[name] = vector[start : start + part.count][part.index] * part.factor
            start += part.count
        groups.append(group)
    return groups


def vector_of(groups: Sequence[Mapping[str, Array]], layout: Sequence[Mapping[str, Part]]) -> Array:
    """Return the vector that encodes tensors: the inverse of :func:`tensors_in`."""
    numbers = []
    for group, parts in zip(groups, layout, strict=True):
        for name, part in parts.items():
            free = np.zeros(part.count)
            stands = part.factor != 0
            free[part.index[stands]] = group[name][stands] / part.factor[stands]
            numbers.append(free)
    return np.concatenate(numbers).astype(np.float32)


@functools.cache
def rule_layout(
    kind: str, layer_sizes: tuple[int, ...], mirrors: tuple[Mirror, ...] | None, *, evolved: bool
) -> tuple[Mapping[str, Part], ...]:
    """Return the parts of a rule's tensors: per layer of neurons, then per layer of synapses.

    Args:
        kind: a key of ``RULE_KINDS``.
        layer_sizes: neurons per layer.
        mirrors: mirror of every layer of neurons, if the rule is its own mirror image.
        evolved: whether the initial weights are part of the vector.
    """
    rule_kind = RULE_KINDS[kind]
    neurons = [
        {
            name: _whole((size,))
            if mirrors is None
            else Part(*free_numbers_of_neurons(mirrors, k, name))
            for name in rule_kind.tensors
        }
        for k, size in enumerate(layer_sizes if rule_kind.per_neuron else ())
    ]
    names = () if rule_kind.per_neuron else rule_kind.tensors
    layers = [
        {
            name: _whole((n_out, n_in))
            if mirrors is None
            else Part(*free_numbers(mirrors[k], mirrors[k + 1], name))
            for name in (*names, *(("initial",) if evolved else ()))
        }
        for k, (n_in, n_out) in enumerate(zip(layer_sizes, layer_sizes[1:], strict=False))
    ]
    return (*neurons, *layers)


@functools.cache
def baseline_layout(
    kind: str, layer_sizes: tuple[int, ...], frames: int, mirrors: tuple[Mirror, ...] | None
) -> Mapping[str, Part]:
    """Return the parts of a baseline's tensors; arguments of :class:`~.genome.BaselineGenome`."""

    def mirror(axis: Axis) -> Mirror:
        assert mirrors is not None  # noqa: S101 - for the type checker
        return ALONE if axis.layer is None else repeated(mirrors[axis.layer], axis.times)

    return {
        name: _whole((post.size(layer_sizes), pre.size(layer_sizes)))
        if mirrors is None
        else Part(*free_numbers(mirror(pre), mirror(post), "initial"))
        for name, (post, pre) in axes(kind, len(layer_sizes), frames).items()
    }
