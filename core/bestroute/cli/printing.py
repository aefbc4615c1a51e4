"""What a command prints: one line at a time, whatever users called their models, tags and files."""

from __future__ import annotations

import click

from bestroute._utils.text import one_line


def print_line(line: str, *, err: bool = False) -> None:
    """Print a line, line breaks and other control characters within it as their escapes.

    Args:
        line: What to print.
        err: On stderr, where progress goes.
    """
    click.echo(one_line(line), err=err)
