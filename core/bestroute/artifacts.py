"""Folders that this library writes: of routers, reward models, encoders; written whole, or refused before any work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bestroute.errors import ArtifactError, ConfigError
from bestroute.jsonl import atomic_file

CONFIGS = {"router.json": "a router", "reward.json": "a reward model", "encoder.json": "an encoder"}
"""The file that tells what a folder holds."""


def read_part(path: Path, whose: str) -> bytes:
    """Return what a file of a folder holds.

    Args:
        path: The file.
        whose: What the folder should hold, with its article: ``"a router"``.

    Raises:
        ArtifactError: If it cannot be read; names it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot read it: {error.strerror or error}; is {path.parent} {whose}'s folder?"
        ) from error


def check_folder(folder: Path, config: str) -> None:
    """Refuse a folder that cannot be written, or that holds something else than what is to be written.

    Commands ask before they train, so that nobody waits for what cannot be kept.

    Args:
        folder: It need not exist.
        config: Name of the file that tells what is to be written: one of ``CONFIGS``.

    Raises:
        ConfigError: Names the folder and what is there.
    """
    for name, what in CONFIGS.items():
        if name != config and (folder / name).exists():
            raise ConfigError(
                f"{folder}: holds {what} ({name}), and {CONFIGS[config]} would damage it; give another folder"
            )
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: cannot be written, since {there} is no folder that may be; give another folder")


def write_folder(folder: Path, files: Mapping[str, bytes], *, gone: Iterable[str] = ()) -> None:
    """Put files into a folder when all of them are on disk: what fails before that leaves the folder as it was.

    Args:
        folder: Made if it is not there.
        files: By name, put in place in this order. The last is the configuration, which names the others' hashes: a
            process that is killed between two of them leaves a folder that is told to be damaged.
        gone: Files of what was here before; removed afterwards, and their folder with them if it is empty.

    Raises:
        ConfigError: If the folder holds something else.
    """
    check_folder(folder, list(files)[-1])
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:  # it is left in the reverse order
        for name, data in reversed(list(files.items())):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(atomic_file(folder / name))
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    for name in gone:
        path = folder / name
        path.unlink(missing_ok=True)
        if path.parent != folder and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
