"""Files of folders that this library writes: routers, reward models, encoders."""

from __future__ import annotations

from pathlib import Path

from bestroute.errors import ArtifactError


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
