"""``bestroute import``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from bestroute._utils.text import brief
from bestroute.cli.paths import FILE, check_lines_of, check_not_read
from bestroute.cli.printing import print_line
from bestroute.errors import ConfigError, RecordError


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a log is read."""
    for option in reversed(
        [
            click.option(
                "--from",
                "log_format",
                metavar="FORMAT",
                help="The format of the files; default: detected from their content.",
            ),
            click.option(
                "--map",
                "pairs",
                multiple=True,
                metavar="FIELD=COLUMN",
                help="The column of your files that holds a field (see below).",
            ),
            click.option("--sample", "size", type=int, help="Only N calls, chosen at random."),
            click.option(
                "--stratify",
                default="",
                metavar="NAMES",
                help="Stratify --sample by day, task, length (comma-separated).",
            ),
            click.option("--seed", type=int, default=0, show_default=True, help="Random seed of --sample."),
            click.option(
                "--mask", is_flag=True, help="Mask e-mail and IP addresses, phone, card and social security numbers."
            ),
        ]
    ):
        command = option(command)
    return command


@click.command(
    "import",
    epilog="\b\nExamples:\n  bestroute import runs.jsonl --out prompts.jsonl\n"
    "  bestroute import chats.csv --map query=Frage --sample 500 --stratify task --out prompts.jsonl",
)
@click.argument("files", metavar="FILE...", type=FILE, nargs=-1, required=True)
@click.option(
    "--out", type=FILE, required=True, help="File for the prompts, or records with --records; .jsonl or .jsonl.gz."
)
@click.option("--records", "as_records", is_flag=True, help="Keep the logged answers, as samples of their models.")
@log_options
def import_logs_command(files: tuple[Path, ...], out: Path, as_records: bool, **reading: Any) -> None:
    """Convert logs of other tools, or your own tables, into prompts for `bestroute collect`.

    \b
    FORMAT is one of langsmith, langfuse, openai-batch, openai-logs, litellm, otel, phoenix, helicone,
    jsonl, csv, parquet. Files may be JSON Lines, a JSON array, CSV, TSV or Parquet, gzipped or not.
    FIELD is one of query, messages, system, answer (the logged one), expected (the known right one),
    model, id, group, task, time, input_tokens, output_tokens, cost_usd, tools.

    Chats keep their turns, system prompt and tools. Identical and nearly identical queries, and calls of one session,
    share a group. Log entries that are not model calls are left out and counted.
    """  # noqa: D301  # the backspace keeps click from filling the lines
    check_not_read(out, files)
    check_lines_of(out, "records" if as_records else "prompts")
    import_into(out, files, as_records=as_records, **read_log_options(**reading))
    if not as_records:
        print_line(f"next: bestroute collect {out} --pool pool.yaml --n 3 --out records.jsonl", err=True)


def read_log_options(*, pairs: tuple[str, ...], stratify: str, **others: Any) -> dict[str, Any]:
    """Return the values of ``log_options`` as ``import_logs`` takes them."""
    from bestroute.records.logs.columns import read_map

    return {**others, "columns": read_map(pairs), "by": [name.strip() for name in stratify.split(",") if name.strip()]}


def import_into(out: Path, files: tuple[Path, ...], *, keeps: bool = False, **options: Any) -> None:
    """Read logs, write their prompts or records, and print a summary; ``options`` are those of ``import_logs``.

    Raises:
        ConfigError: If ``out`` is one of the logs; with ``keeps``, if it exists with other lines than those that would
            be written now (the same lines may come from an earlier run).
    """
    from bestroute.records.jsonl import write_jsonl
    from bestroute.records.logs.importing import import_logs

    check_not_read(out, files)
    done = import_logs(files, **options)
    if keeps and out.exists() and not _holds(out, done.lines):
        raise ConfigError(f"{out} exists already; add --force to overwrite it, or choose another --out")
    write_jsonl(out, done.lines)
    masked = dict(done.masked)
    kind = "records" if options.get("as_records") else "prompts"
    print_line(f"{out}: {len(done.lines)} {kind} in {done.groups} groups, of {done.rows} rows read as {done.format}")
    if (first := next(iter(done.lines), None)) is not None:
        print_line(f"first query: {brief(first['query'])}; if that is not a query, use --map query=COLUMN")
    if done.left_out:
        print_line(f"{done.left_out} rows left out: not a model call, without a query, or longer than 8 MB", err=True)
    if done.unanswered:
        print_line(f"{done.unanswered} calls left out: without an answer or a model name", err=True)
    if done.models:
        answers = ", ".join(f"{model} {count}" for model, count in done.models.items())
        print_line(f"logged answers: {answers}; {done.priced} of them with a cost")
    if masked:
        print_line("masked: " + ", ".join(f"{kind} {count}" for kind, count in masked.items()))


def _holds(path: Path, lines: Iterable[Any]) -> bool:
    """Whether a file holds those lines and no others."""
    from bestroute.records.jsonl import read_jsonl

    try:
        return all(line == wanted for (_, line), wanted in zip_longest(read_jsonl(path), lines, fillvalue=(0, None)))
    except RecordError:
        return False
