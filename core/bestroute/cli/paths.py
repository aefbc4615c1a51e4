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
    """A path; names that the system cannot have, and ``-`` for a stream, are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-":
            self.fail(
                "'-' does not stand for a stream here; give the name of a file (or ./- for a file of that name)",
                param,
                ctx,
            )
        try:
            return super().convert(value, param, ctx)
        except ValueError:  # a lone surrogate, or NUL
            self.fail(f"{value!r} cannot be the name of a file", param, ctx)


FILE = _Path(path_type=Path, dir_okay=False)
FOLDER = _Path(path_type=Path, file_okay=False)


def check_not_read(out: Path, read: Iterable[Path | str]) -> None:
    """Check that the output is not one of the input files.

    Raises:
        ConfigError: If it is.
    """
    if any(is_same_file(out, Path(path)) for path in read):
        raise ConfigError(f"{out} is an input of this command, which would overwrite it; choose another name")


def check_lines_of(out: Path, kind: str) -> None:
    """Check that a file that will be overwritten does not exist, is empty, or begins with a line of that format.

    Args:
        out: The file.
        kind: A format, one of ``schemas.NAMES``.

    Raises:
        ConfigError: If it holds anything else.
    """
    from bestroute.errors import RecordError
    from bestroute.records.jsonl import read_jsonl
    from bestroute.records.schemas import check_line

    if not out.is_file():
        return
    try:
        for number, line in islice(read_jsonl(out), 1):
            check_line(line, kind, f"{out} line {number}")
            if kind == "prompts" and "samples" in line:  # a record is a valid prompt, but its samples were paid for
                raise RecordError(f"{out} line {number}: is a record")
    except RecordError as error:
        raise ConfigError(
            f"{out} exists already and does not hold {kind}; choose another name, or remove it"
        ) from error
