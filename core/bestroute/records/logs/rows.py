"""Rows of a file, whatever it is: JSON Lines, a JSON array or object, CSV, TSV, Parquet."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bestroute._utils.extras import need
from bestroute._utils.text import brief
from bestroute.errors import RecordError

_LARGEST_ARRAY = 512 * 2**20
"""Bytes of a JSON file that is one value: it is read whole."""
_LONGEST_LINE = 64 * 2**20
_CSV = f"read_csv(?, header=true, all_varchar=true, max_line_size={_LONGEST_LINE})"
_WRAPPERS = ("data", "runs", "observations", "items", "results", "traces", "spans", "logs", "requests", "rows")
"""Keys under which an answer of an API holds its rows."""


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``(where, row)`` for every row of a file; tables are read by DuckDB, each cell as a text.

    Raises:
        RecordError: If the file cannot be read as what it is; names the line where there are lines.
        ImportError: If a table is to be read and DuckDB is not installed.
    """
    form = table_form(path)
    if form == "parquet":
        yield from _table(path, "read_parquet(?)", "a Parquet file")
    elif form == "csv":
        yield from _table(path, _CSV, "a table")
    else:
        yield from _json(path, is_array=_head(path)[:1] == b"[")


def table_form(path: Path) -> str:
    """Return what a file is by its first bytes: ``jsonl`` (JSON of any kind), ``csv`` or ``parquet``.

    Raises:
        RecordError: If it cannot be read, or is empty.
    """
    head = _head(path)
    if not head:
        raise RecordError(f"{path}: is empty")
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if head[:1] in (b"{", b"[") else "csv"


def _head(path: Path) -> bytes:
    try:
        with _open(path) as stream:
            start: bytes = stream.read(4096)
    except (OSError, EOFError) as error:
        raise RecordError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _json(path: Path, *, is_array: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read JSON Lines; where the first line is no whole value, the file is one."""
    with _open(path) as stream:
        try:
            first = stream.readline(_LONGEST_LINE).decode("utf-8-sig", "surrogateescape")
            is_lines = not is_array and _is_json(first)
        except (OSError, EOFError) as error:
            raise RecordError(f"{path}: cannot read: {error}") from error
    if not is_lines:
        yield from _whole(path)
        return
    with _open(path) as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            where = f"{path} line {number}"
            text = line.decode("utf-8-sig", "surrogateescape")
            if text.strip():
                value = _parsed(text, where)
                if not isinstance(value, dict):
                    raise RecordError(f"{where}: expected a JSON object, got {brief(value)}")
                yield from _unwrapped(value, where)


def _whole(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _open(path) as stream:
        raw = stream.read(_LARGEST_ARRAY + 1)
    if len(raw) > _LARGEST_ARRAY:
        raise RecordError(f"{path}: one JSON value of more than {_LARGEST_ARRAY >> 20} MB; write one object a line")
    value = _parsed(raw.decode("utf-8-sig", "surrogateescape"), str(path))
    if isinstance(value, dict):
        yield from _unwrapped(value, str(path))
        return
    for number, row in enumerate(value, start=1):
        where = f"{path} entry {number}"
        if not isinstance(row, dict):
            raise RecordError(f"{where}: expected an object, got {brief(row)}")
        yield where, row


def _unwrapped(value: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of an API's answer, which stand in a list of their own, or the row that the object is."""
    inner = [name for name in _WRAPPERS if isinstance(value.get(name), list)]
    others = [part for name, part in value.items() if name not in inner and isinstance(part, str | dict | list)]
    if len(inner) == 1 and not ("input" in value or "messages" in value or "id" in value) and len(others) <= 2:
        for number, row in enumerate(value[inner[0]], start=1):
            if isinstance(row, dict):
                yield f"{where} entry {number}", row
        return
    yield where, value


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not valid JSON: {error}") from error


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
            why = str(error).strip().splitlines()
            raise RecordError(f"{path}: cannot read it as {what}: {why[0] if why else error}") from error


def _row(names: list[str], cells: tuple[Any, ...]) -> dict[str, Any]:
    return {name: _plain(cell) for name, cell in zip(names, cells, strict=True)}


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it: a table of numbers and times has types of its own."""
    if isinstance(cell, str | int | float | bool | None):
        return cell
    if isinstance(cell, Mapping):
        return {str(key): _plain(part) for key, part in cell.items()}
    if isinstance(cell, list | tuple):
        return [_plain(part) for part in cell]
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)
