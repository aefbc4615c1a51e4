"""Journals of long runs: what is paid for is on disk at once, so that a killed run resumes without paying twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bestroute._utils.files import lock, writing
from bestroute.errors import ConfigError
from bestroute.records.jsonl import dump_line, read_jsonl, write_jsonl
from bestroute.records.schemas import check_line


class Journal:
    """A journal beside an output file (``<out>.<kind>``), with lines of format ``kind``; one process at a time.

    Args:
        out: The output file.
        kind: Format of the lines, one of ``schemas.NAMES``; also the suffix of the journal's name.
        doing: What the process is doing, for the error message of a second one.

    Raises:
        ConfigError: If another process has locked it.
    """

    def __init__(self, out: Path, kind: str, *, doing: str) -> None:
        """Open and lock the journal; nothing is read yet."""
        self.kind = kind
        self.path = out.with_name(f"{out.name}.{kind}")
        self._file = open(self.path, "a+b")
        try:
            lock(self._file)
        except OSError as error:
            self._file.close()
            raise ConfigError(f"{out}: another process is {doing} into it") from error

    def lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield its lines with their numbers; a last line torn by a crash is dropped.

        Raises:
            RecordError: At the first invalid line; names file, line and field.
        """
        for number, line in read_jsonl(self.path, torn_tail=True):
            yield number, check_line(line, self.kind, f"{self.path} line {number}")
        self._file.seek(0)
        whole = self._file.read()
        self._file.truncate(whole.rfind(b"\n") + 1)
        self._file.seek(0, os.SEEK_END)

    @property
    def is_empty(self) -> bool:
        """Whether the journal is empty."""
        return not self.path.exists() or not self.path.stat().st_size

    def append(self, line: Mapping[str, Any]) -> None:
        """Append a line and flush it to disk."""
        with writing(self.path):
            self._file.write(dump_line(line))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self, left: Iterable[Mapping[str, Any]] | None = None) -> None:
        """Close the journal: unchanged, or rewritten with the lines ``left``; it is removed if there are none."""
        if left is not None:
            lines = list(left)
            if lines:
                write_jsonl(self.path, lines)
            else:
                self.path.unlink(missing_ok=True)
        with writing(self.path):
            self._file.close()
