"""JSON Lines files, plain or gzipped: every bad line is named, nothing is left half-written."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bestroute.errors import RecordError
from bestroute.exports import file_kind
from bestroute.files import atomic_file

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_EXPECTED = 'expected JSON Lines, one object a line, such as {"id": "q1", "query": "What is 12 * 7?"}'


def read_jsonl(path: Path, *, torn_tail: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number, object)`` for every line that is not blank.

    A byte order mark, as Windows programs write it, is read over, in front of every line (files that were joined have
    several); a file that says by its mark that it is UTF-16 is read as that.

    Args:
        path: A ``.jsonl`` or ``.jsonl.gz`` file.
        torn_tail: Ignore a last line without a line end: the process that wrote it died in the middle.

    Raises:
        RecordError: If the file cannot be read, or a line is not a JSON object without NaN.
    """
    raw = _content(path)
    lines = raw.split(b"\n")
    if torn_tail:
        lines = lines[:-1]
    is_first = True
    for number, line in enumerate(lines, start=1):
        while line.startswith(_BOM):
            line = line[len(_BOM) :]
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            kind = file_kind(raw.removeprefix(_BOM)) if is_first else None
            raise _refused(path, number, f"not valid JSON: {error}", kind) from error
        if not isinstance(value, dict):
            kind = file_kind(raw.removeprefix(_BOM)) if is_first and isinstance(value, list) else None
            raise _refused(path, number, f"expected a JSON object, got {type(value).__name__}", kind)
        is_first = False
        yield number, value


def _content(path: Path) -> bytes:
    """Return a file's bytes, unpacked and in UTF-8 where it says by a mark that it is UTF-16."""
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz" and raw:
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise RecordError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    if not raw.startswith(_UTF16):
        return raw
    try:
        return raw.decode("utf-16").encode("utf-8")
    except UnicodeError as error:
        raise RecordError(f"{path}: its mark says UTF-16, but it is not: {error}") from error


def _refused(path: Path, number: int, why: str, kind: str | None) -> RecordError:
    return RecordError(f"{path} is {kind}; {_EXPECTED}" if kind else f"{path} line {number}: {why}")


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
