"""What a long run has paid for so far, on disk as it comes: one that was killed goes on and pays for nothing twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bestroute._utils.files import lock
from bestroute.errors import ConfigError
from bestroute.records.jsonl import dump_line, read_jsonl, write_jsonl
from bestroute.records.schemas import check_line


class Journal:
    """Lines beside the file in which they will stand (``<out>.<kind>``), of the format ``kind``; one process at a time.

    Args:
        out: The file.
        kind: What the lines are, one of ``schemas.NAMES``; the end of the journal's name.
        doing: What a process that has it is doing, for the sentence to another one.

    Raises:
        ConfigError: If another process has it.
    """

    def __init__(self, out: Path, kind: str, *, doing: str) -> None:
        """Open and lock it; nothing is read yet."""
        self.kind = kind
        self.path = out.with_name(f"{out.name}.{kind}")
        self._file = open(self.path, "a+b")
        try:
            lock(self._file)
        except OSError as error:
            self._file.close()
            raise ConfigError(f"{out}: another process is {doing} into it") from error

    def lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield its lines with their numbers; a last one that was torn by a kill was not safe yet, and is dropped.

        Raises:
            RecordError: At the first line that is none of the format; names file, line and field.
        """
        for number, line in read_jsonl(self.path, torn_tail=True):
            yield number, check_line(line, self.kind, f"{self.path} line {number}")
        self._file.seek(0)
        whole = self._file.read()
        self._file.truncate(whole.rfind(b"\n") + 1)
        self._file.seek(0, os.SEEK_END)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written to it."""
        return not self.path.exists() or not self.path.stat().st_size

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line, and make sure that it is on disk."""
        self._file.write(dump_line(line))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, left: Iterable[Mapping[str, Any]] | None = None) -> None:
        """Let it go: as it is, or with no line but those that are ``left``; without any it is removed."""
        if left is not None:
            lines = list(left)
            if lines:
                write_jsonl(self.path, lines)
            else:
                self.path.unlink(missing_ok=True)
        self._file.close()
