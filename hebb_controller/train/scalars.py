"""A training run's log as TensorBoard scalars."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from ..errors import TrainingError
from .trainer import Generation


def with_scalars(
    lines: Iterable[Generation], directory: Path, *, done: int
) -> Iterator[Generation]:
    """Yield log lines, each written as TensorBoard scalars. Needs the ``tensorboard`` extra.

    Args:
        lines: what :meth:`Trainer.run` yields.
        directory: where the event files go.
        done: generations that are done already; what was written of later ones is hidden.

    Raises:
        TrainingError: they cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    try:
        with contextlib.closing(SummaryWriter(str(directory), purge_step=done + 1)) as writer:
            for line in lines:
                for name, value in asdict(line).items():
                    if name != "generation":
                        writer.add_scalar(name, value, line.generation)
                writer.flush()
                yield line
    except OSError as error:
        raise TrainingError(
            f"{directory}: scalars cannot be written: {error}. What the checkpoint holds is safe: "
            f"mend this, and add --resume."
        ) from error
