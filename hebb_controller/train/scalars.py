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
    """Yield log lines, writing each as TensorBoard scalars. Needs the ``tensorboard`` extra.

    Args:
        lines: as yielded by :meth:`Trainer.run`.
        directory: where the event files go.
        done: generations completed so far; scalars of later ones are hidden.

    Raises:
        TrainingError: the scalars cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    try:
        with contextlib.ExitStack() as stack:
            writer = None
            for line in lines:  # the first one shows that no other run is using the directory
                if writer is None:
                    writer = SummaryWriter(str(directory), purge_step=done + 1)
                    stack.enter_context(contextlib.closing(writer))
                for name, value in asdict(line).items():
                    if name != "generation":
                        writer.add_scalar(name, value, line.generation)
                writer.flush()
                yield line
    except OSError as error:
        raise TrainingError(
            f"{directory}: scalars cannot be written: {error}. "
            f"The checkpoint is safe: fix this and add --resume."
        ) from error
