"""Checkpoints: everything a run needs to resume as if it had never stopped; no pickle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from ..errors import TrainingError
from ..files import write_atomically
from ..json_fields import Json

NAME = "checkpoint.safetensors"


def save_checkpoint(
    directory: Path, arrays: dict[str, npt.NDArray[np.float32]], document: dict[str, Json]
) -> None:
    """Write a checkpoint atomically.

    Args:
        directory: directory of the run.
        arrays: as returned by :meth:`Evolution.arrays`.
        document: everything else, as JSON.

    Raises:
        OSError: it cannot be written; the previous one remains.
    """
    metadata = {"checkpoint": json.dumps(document, sort_keys=True)}
    data = safetensors.numpy.save(arrays, metadata=metadata)
    write_atomically(directory / NAME, data, alone=True)


def load_checkpoint(
    directory: Path,
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, Json]]:
    """Return what :func:`save_checkpoint` wrote.

    Raises:
        TrainingError: there is no checkpoint, or it is damaged.
    """
    path = directory / NAME
    if not path.is_file():
        raise TrainingError(
            f"{path}: no such checkpoint. Name the --out of a run that was stopped."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            document = json.loads(file.metadata()["checkpoint"])
            if not isinstance(document, dict):
                raise TypeError("its document is not an object")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path}: not a checkpoint, or damaged: {error}.") from error
    return arrays, document
