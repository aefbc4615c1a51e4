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
    """Write a file beside ``path`` and put it in place only when all of it is on disk.

    A link stays, and what it points to is replaced. What is no file, ``/dev/null`` or a pipe, is written into.
    """
    if _is_stream(path):
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None  # not of a name that nobody gave
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


def _is_stream(path: Path) -> bool:
    """Whether a name stands for something that bytes go into, and not for a file that holds them."""
    is_open = os.path.abspath(path).startswith(("/dev/", "/proc/"))  # /dev/stdout, of a file too
    return path.exists() and not path.is_dir() and (is_open or not path.is_file())


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
