"""Reading and writing whole files, safely: bounded in size, and all or nothing."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .errors import HebbError


def read_bounded(path: Path, limit: int | None, refused: type[HebbError]) -> bytes:
    """Return the bytes of a file, but no more than ``limit + 1``, which shows that it is too large.

    Args:
        path: the file.
        limit: maximum size, bytes; None for no limit.
        refused: the error to raise.

    Raises:
        HebbError: of class ``refused``; the file is missing, unreadable, or not a regular file.
    """
    try:
        if path.exists() and not path.is_file():  # a directory, or a pipe that would never end
            raise refused(f"{path}: not a file.")
        with path.open("rb") as file:
            return file.read(-1 if limit is None else limit + 1)
    except FileNotFoundError as error:
        raise refused(f"{path}: no such file.") from error
    except OSError as error:
        raise refused(f"{path}: cannot be read: {error.strerror}.") from error


def write_atomically(path: Path, data: bytes, *, alone: bool = False) -> None:
    """Write a file that appears whole or not at all; an existing one stays until then.

    Args:
        path: the file.
        data: its bytes.
        alone: whether no other process can be writing it. If so, the temporary name is fixed, so
            that killed processes leave at most one such file behind.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{'partial' if alone else os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name without the data
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
