"""Folders that this library writes, in one format: a JSON configuration that names the hashes of the files beside it.

Routers, reward models and encoders are folders of that kind; promises are a file of it. A folder is written whole, or
refused before any work, and holds nothing that runs code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bestroute._utils.files import atomic_file
from bestroute._utils.text import brief
from bestroute.errors import ArtifactError, BestRouteError, ConfigError


@dataclass(frozen=True)
class ArtifactKind:
    """What a kind of folder contains, and how errors name it."""

    config: str
    """Name of the configuration file."""
    noun: str
    format: int
    """The format version that is written and read."""
    remedy: str
    """What to do about a damaged folder, or one of another version."""


ROUTER = ArtifactKind("router.json", "a router", 4, "train the router again")
REWARD_MODEL = ArtifactKind("reward.json", "a reward model", 1, "train the reward model again")
ENCODER = ArtifactKind("encoder.json", "an encoder", 1, "make the encoder again")
PROMISES = ArtifactKind("promises.json", "a router's promises", 1, "tune again")
REFUSALS = ArtifactKind("refusals.json", "a router's refused promises", 1, "delete it")
"""Files beside a router's that are not part of its folder format."""
KINDS = (ROUTER, REWARD_MODEL, ENCODER)
_MOST_BYTES = 16 * 2**20
"""Most bytes of a configuration: enough for the hashes of a million training records."""
_MOST_VALUES = 350_000
_LONGEST_PROBLEM = 200
"""Most characters shown of an error."""


def sha256(data: bytes) -> str:
    """Return a file's hash as stored in configurations."""
    return hashlib.sha256(data).hexdigest()


def to_json(config: Mapping[str, Any]) -> bytes:
    """Return the bytes of a configuration."""
    return (json.dumps(config, indent=1, allow_nan=False) + "\n").encode()


def from_json(data: bytes) -> Any:
    """Parse a configuration within a limit on its size in memory.

    Raises:
        ValueError: If it is none.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise ValueError(f"it holds more than {_MOST_VALUES} values")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def to_tensors(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Return named arrays as a safetensors file."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def from_tensors(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Read a safetensors file.

    Raises:
        ValueError: If it is none.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def packed(kind: ArtifactKind, config: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a folder by name; the configuration is last, with the format and the others' hashes."""
    hashes = {name: sha256(data) for name, data in files.items()}
    return {**files, kind.config: to_json({"format": kind.format, **config, "sha256": hashes})}


def read_config(folder: Path, kind: ArtifactKind) -> tuple[dict[str, Any], bytes]:
    """Return a folder's configuration, and its bytes.

    Raises:
        ArtifactError: If it is missing, or of another version.
        ValueError: If it is no JSON; see ``damaged``.
    """
    data = read_part(folder / kind.config, kind.noun, most=_MOST_BYTES)
    config = from_json(data)
    version = config.get("format") if isinstance(config, dict) else None
    if version != kind.format:
        is_later = isinstance(version, int) and version > kind.format
        remedy = "a later release made it: upgrade bestroute" if is_later else kind.remedy
        raise ArtifactError(
            f"{folder / kind.config}: format {brief(version)}, this version reads {kind.format}; {remedy}"
        )
    return config, data


def read_files(folder: Path, kind: ArtifactKind, config: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files that a configuration lists, by name.

    Raises:
        ArtifactError: If one is missing, outside the folder, or not the one that the configuration names.
    """
    files = {}
    for name, digest in dict(config["sha256"]).items():
        files[name] = read_part(inside(folder, name, kind), kind.noun)
        if sha256(files[name]) != digest:
            raise ArtifactError(f"{folder / name}: its hash is not the one in {kind.config}; the folder is damaged")
    return files


def files_in(folder: Path, kind: ArtifactKind) -> list[str]:
    """Return the files that a folder lists; empty if it has no such configuration, or a damaged one."""
    try:
        names = list(from_json(read_part(folder / kind.config, kind.noun, most=_MOST_BYTES))["sha256"])
        return [name for name in names if inside(folder, name, kind)]
    except (OSError, ValueError, LookupError, TypeError, RecursionError, ArtifactError):
        return []


@contextmanager
def damaged(folder: Path, kind: ArtifactKind) -> Iterator[None]:
    """Return a context that converts any error of a damaged folder to one sentence that names the file."""
    try:
        yield
    except ArtifactError:
        raise
    except (
        BestRouteError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        ArithmeticError,
    ) as error:
        what = f"{type(error).__name__}: {str(error)[:_LONGEST_PROBLEM]}"
        raise ArtifactError(
            f"{folder / kind.config}: damaged, it is no file of {kind.noun} ({what}); {kind.remedy}"
        ) from error


def inside(folder: Path, name: str, kind: ArtifactKind) -> Path:
    """Return the path of a file that a configuration lists.

    Raises:
        ArtifactError: If it lies outside the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(f"{folder / kind.config}: names a file outside the folder, {name!r}; the folder is damaged")
    return path


def read_part(path: Path, whose: str, *, most: int | None = None) -> bytes:
    """Return the content of a file in a folder.

    Args:
        path: The file.
        whose: What the folder should hold, with its article: ``"a router"``.
        most: Bytes that such a file may have; ``None``: as many as there are.

    Raises:
        ArtifactError: If it cannot be read, or is longer; names it.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read() if most is None else stream.read(most + 1)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot read it: {error.strerror or error}; is {path.parent} {whose}'s folder?"
        ) from error
    if most is not None and len(data) > most:
        raise ArtifactError(f"{path}: longer than {most >> 20} MB, which no file of {whose} is; the folder is damaged")
    return data


def check_folder(folder: Path, config: str) -> None:
    """Refuse a folder that is not writable, or contains something else.

    Commands ask before they train, so that nobody waits for what cannot be kept.

    Args:
        folder: It need not exist.
        config: Name of the file that tells what is to be written: that of one of ``KINDS``.

    Raises:
        ConfigError: Names the folder and what is there.
    """
    wanted = next(kind for kind in KINDS if kind.config == config)
    for kind in KINDS:
        if kind is not wanted and (folder / kind.config).exists():
            raise ConfigError(
                f"{folder}: holds {kind.noun} ({kind.config}), and {wanted.noun} would damage it; give another folder"
            )
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: cannot be written, since {there} is no folder that may be; give another folder")


def write_folder(folder: Path, files: Mapping[str, bytes], *, gone: Iterable[str] = ()) -> None:
    """Replace the files of a folder once all are on disk; an earlier failure leaves it unchanged.

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
