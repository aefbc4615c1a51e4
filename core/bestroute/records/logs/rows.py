"""Read the rows of a file of any format: JSON Lines, a JSON array or object, CSV, TSV, Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from bestroute._utils.extras import need
from bestroute._utils.text import brief, utf8
from bestroute.errors import RecordError
from bestroute.records.jsonl import MOST_DIGITS, opened

_LARGEST_ARRAY = 512 * 2**20
"""Most bytes of a file that is one JSON value, which is read into memory."""
_LONGEST_LINE = 64 * 2**20
_GZIPPED = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WRAPPERS = ("data", "runs", "observations", "items", "results", "traces", "spans", "logs", "requests", "rows")
"""Keys under which API responses have their rows."""


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``(location, row)`` for every row of a file; tables are read by DuckDB, with text cells.

    Raises:
        RecordError: If the file cannot be read in its format; names the line if possible.
        ImportError: If DuckDB is needed for a table and not installed.
    """
    form = table_form(path)
    if form == "parquet":
        yield from _table(path, "read_parquet(?)", "a Parquet file")
    elif form == "csv":
        yield from _table(path, _csv(path), "a table")
    else:
        yield from _json(path, is_array=_head(path)[:1] == b"[")


def table_form(path: Path) -> str:
    """Return a file's format, from its first bytes: ``jsonl`` (JSON of any kind), ``csv`` or ``parquet``.

    Raises:
        RecordError: If it cannot be read, or is empty.
    """
    head = _head(path)
    if not head:
        raise RecordError(f"{path}: is empty")
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if head[:1] in (b"{", b"[") else "csv"


def _csv(path: Path) -> str:
    options = f"header=true, all_varchar=true, max_line_size={_LONGEST_LINE}"
    start = _first_bytes(path)
    if start == _GZIPPED:
        options += ", compression='gzip'"
    if start in _UTF16:
        options += ", encoding='utf-16'"
    return f"read_csv(?, {options})"


def _head(path: Path) -> bytes:
    with _open(path) as stream:
        start = stream.read(4096)
    return (utf8(start) if isinstance(start, str) else start).removeprefix(b"\xef\xbb\xbf").lstrip()


def _open(path: Path) -> AbstractContextManager[IO[bytes] | IO[str]]:
    """Open a file, decompressed regardless of its name, since exports are saved under any name."""
    return opened(path, packed=_first_bytes(path) == _GZIPPED)


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(2)
    except OSError as error:
        raise RecordError(f"{path}: cannot read: {error.strerror or error}") from error


def _json(path: Path, *, is_array: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read JSON Lines; if none of the first two non-blank lines is valid JSON, the whole file is one value."""
    with _open(path) as stream:
        lines = iter(lambda: _text(stream.readline(_LONGEST_LINE)), "")
        is_lines = not is_array and any(map(_is_json, islice((line for line in lines if line.strip()), 2)))
    if not is_lines:
        yield from _whole(path)
        return
    with _open(path) as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            where = f"{path} line {number}"
            if (text := _text(line)).strip():
                value = _parsed(text, where)
                if not isinstance(value, dict):
                    raise RecordError(f"{where}: expected a JSON object, got {brief(value)}")
                yield from _unwrapped(value, where)


def _whole(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _open(path) as stream:
        raw = stream.read(_LARGEST_ARRAY + 1)
    if len(raw) > _LARGEST_ARRAY:
        raise RecordError(f"{path}: one JSON value of more than {_LARGEST_ARRAY >> 20} MB; write one object a line")
    value = _parsed(_text(raw), str(path))
    if isinstance(value, dict):
        yield from _unwrapped(value, str(path))
        return
    for number, row in enumerate(value, start=1):
        where = f"{path} entry {number}"
        if not isinstance(row, dict):
            raise RecordError(f"{where}: expected an object, got {brief(row)}")
        yield where, row


def _text(read: bytes | str) -> str:
    return read if isinstance(read, str) else read.decode("utf-8-sig", "surrogateescape")


def _unwrapped(value: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of an API response, which are in a list inside of it, or the object itself as a row."""
    inner = [name for name in _WRAPPERS if isinstance(value.get(name), list)]
    others = [part for name, part in value.items() if name not in inner and isinstance(part, str | dict | list)]
    if len(inner) == 1 and not ("input" in value or "messages" in value or "id" in value) and len(others) <= 2:
        for number, row in enumerate(value[inner[0]], start=1):
            if not isinstance(row, dict):
                raise RecordError(f"{where} entry {number}: expected an object, got {brief(row)}")
            yield f"{where} entry {number}", row
        return
    yield where, value


def _is_json(line: str) -> bool:
    try:
        return line.lstrip()[:1] == "{" and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parsed(text: str, where: str) -> Any:
    """Parse JSON; numbers that cannot be stored again become ``None``."""
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not valid JSON: {error}") from error


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= MOST_DIGITS else None


def _table(path: Path, source: str, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    need("reading a table", "duckdb", extra="import")
    import duckdb

    with duckdb.connect() as connection:
        try:
            cursor = connection.execute(f"SELECT * FROM {source}", [str(path)])
            names, number = [column[0] for column in cursor.description or ()], 0
            while rows := cursor.fetchmany(1000):
                for row in rows:
                    number += 1
                    yield f"{path} row {number}", _row(names, row)
        except duckdb.Error as error:
            raise RecordError(f"{path}: cannot read it as {what}: {_why(str(error))}") from error


def _why(error: str) -> str:
    """Return DuckDB's error message without our statement."""
    if "not utf-8 encoded" in error:
        return "it is not UTF-8; save it as UTF-8, or as UTF-16 with a byte order mark"
    message = error.partition("\nLINE ")[0]  # of our statement
    lines = [line for line in message.strip().splitlines() if line and not line.startswith("Original Line")]
    return " ".join(lines[:2])


def _row(names: list[str], cells: tuple[Any, ...]) -> dict[str, Any]:
    return {name: _plain(cell) for name, cell in zip(names, cells, strict=True)}


def _plain(cell: Any) -> Any:
    """Convert a cell to JSON; NaN becomes ``None``."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    if isinstance(cell, str | int | float | bool | None):
        return cell
    if isinstance(cell, Mapping):
        return {str(key): _plain(part) for key, part in cell.items()}
    if isinstance(cell, list | tuple):
        return [_plain(part) for part in cell]
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)
