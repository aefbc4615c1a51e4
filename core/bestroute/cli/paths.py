"""Paths on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import click

from bestroute._utils.files import is_same_file
from bestroute.errors import ConfigError


class _Path(click.Path):
    """A path; a name that the system cannot have, or that stands for a stream, is refused like any other wrong one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-":
            self.fail("'-' would be a file of that name, no stream; give the name of a file (or ./-)", param, ctx)
        try:
            return super().convert(value, param, ctx)
        except ValueError:  # half a character, or NUL
            self.fail(f"{value!r} can be the name of no file", param, ctx)


FILE = _Path(path_type=Path, dir_okay=False)
FOLDER = _Path(path_type=Path, file_okay=False)


def check_not_read(out: Path, read: Iterable[Path | str]) -> None:
    """Check that a file that is to be written is none of those that are read.

    Raises:
        ConfigError: If it is.
    """
    if any(is_same_file(out, Path(path)) for path in read):
        raise ConfigError(f"{out} is read by this command, which would write over it; give another name")


def check_lines_of(out: Path, kind: str) -> None:
    """Check that a file that is to be written over is not there, is empty, or has lines of that format.

    Args:
        out: The file.
        kind: A format, one of ``schemas.NAMES``.

    Raises:
        ConfigError: If it is something else.
    """
    from bestroute.errors import RecordError
    from bestroute.records.jsonl import read_jsonl
    from bestroute.records.schemas import check_line

    if not out.is_file():
        return
    try:
        for number, line in islice(read_jsonl(out), 1):
            check_line(line, kind, f"{out} line {number}")
            if kind == "prompts" and "samples" in line:  # a record is a prompt, too, and its samples were paid for
                raise RecordError(f"{out} line {number}: is a record")
    except RecordError as error:
        raise ConfigError(f"{out} is there already and holds no {kind}; give another name, or remove it") from error
