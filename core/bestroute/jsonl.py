"""JSON Lines files, plain or gzipped: every bad line is named, nothing is left half-written."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bestroute.errors import RecordError
from bestroute.files import atomic_file


def read_jsonl(path: Path, *, torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number, object)`` for every line that is not blank.

    Args:
        path: A ``.jsonl`` or ``.jsonl.gz`` file.
        torn_tail: Ignore a last line without a line end: the process that wrote it died in the middle.

    Raises:
        RecordError: If the file cannot be read, or a line is not a JSON object without NaN.
    """
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz" and raw:
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise RecordError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    lines = raw.split(b"\n")
    if torn_tail:
        lines = lines[:-1]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path} line {number}: not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise RecordError(f"{path} line {number}: expected a JSON object, got {type(value).__name__}")
        yield number, value


def dump_line(value: Mapping[str, Any]) -> str:
    """Return one line of JSON, without NaN, ending in a line end."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Write all lines or nothing (gzipped, reproducibly, if the name ends in ``.gz``)."""
    text = "".join(map(dump_line, values)).encode("utf-8")
    if path.suffix == ".gz":
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream:
            stream.write(text)
        text = buffer.getvalue()
    with atomic_file(path) as stream:
        stream.write(text)


def _refuse_constant(name: str) -> Callable[[], None]:
    raise ValueError(f"{name} is not a number")
