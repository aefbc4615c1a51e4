"""Files that are written whole or not at all, and files that one process has for itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside ``path`` and put it in place only when all of it is on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def is_same_file(path: Path, other: Path) -> bool:
    """Return whether two names are of one file, by links too; of files that are not there yet, by their names."""
    try:
        return path.samefile(other)
    except OSError:
        return path.resolve() == other.resolve()


def lock(stream: IO[bytes]) -> None:
    """Take a file for this process for as long as it is open; where the system has no such locks, nobody is kept off.

    Raises:
        OSError: If another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
