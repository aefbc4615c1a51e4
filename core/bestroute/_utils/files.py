"""Atomic file writes, and exclusive file locks."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_OF_A_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EROFS)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Return a context that adds the path to errors of a full or broken disk, which name no file.

    Raises:
        OSError: The same error with the path.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _OF_A_DISK:
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a temporary file beside ``path`` and rename it to ``path`` once it is completely on disk.

    A symbolic link is kept and its target replaced. A device or pipe, such as ``/dev/null``, is written to directly.
    """
    if _is_stream(path):
        with writing(path), path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None  # not of a name that nobody gave
    try:
        with writing(path), os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _is_stream(path: Path) -> bool:
    """Return whether a path is a device or pipe rather than a regular file."""
    is_open = os.path.abspath(path).startswith(("/dev/", "/proc/"))  # /dev/stdout, of a file too
    return path.exists() and not path.is_dir() and (is_open or not path.is_file())


def is_same_file(path: Path, other: Path) -> bool:
    """Return whether two paths are the same file, also by links; paths that do not exist are compared by name."""
    try:
        return path.samefile(other)
    except OSError:
        return path.resolve() == other.resolve()


def lock(stream: IO[bytes]) -> None:
    """Lock a file for this process while it is open; no-op on systems without such locks.

    Raises:
        OSError: If another process has locked it.
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
