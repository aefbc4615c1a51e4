"""Printing lines that hold names chosen by users, of models, tags and files."""

from __future__ import annotations

import click

from bestroute._utils.text import one_line


def print_line(line: str, *, err: bool = False) -> None:
    """Print one line; line breaks and other control characters in it are escaped.

    Args:
        line: What to print.
        err: Whether to print to stderr, where progress goes.
    """
    click.echo(one_line(line), err=err)
