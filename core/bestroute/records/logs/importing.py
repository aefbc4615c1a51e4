"""From files of a log to prompts and records: recognised, read, grouped, drawn from, masked, written at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bestroute.errors import ConfigError, RecordError, named
from bestroute.records.logs import formats
from bestroute.records.logs.logged_call import LoggedCall
from bestroute.records.logs.masking import Masking
from bestroute.records.logs.near_duplicates import groups_of
from bestroute.records.logs.rows import read_rows
from bestroute.records.logs.subsample import subsample

_KNOWN = "a question, a chat or a run of a model"


@dataclass(frozen=True)
class Imported:
    """What an import read and wrote."""

    lines: tuple[Mapping[str, Any], ...]
    """Of the prompts, or of the records."""
    format: str
    """What the files were read as."""
    rows: int
    """Read in all."""
    left_out: int
    """Rows that are no call of a model, or ask nothing."""
    unanswered: int
    """Calls that were left out of records, because the log has no answer of a named model."""
    groups: int
    models: Mapping[str, int] = field(default_factory=dict)
    """How many answers of each model there are."""
    priced: int = 0
    """How many of them have a cost."""
    masked: Mapping[str, int] = field(default_factory=dict)
    """What was taken out, by kind."""


def import_logs(
    paths: Sequence[Path],
    *,
    log_format: str | None = None,
    columns: Mapping[str, str] | None = None,
    as_records: bool = False,
    size: int | None = None,
    by: Sequence[str] = (),
    seed: int = 0,
    mask: bool = False,
) -> Imported:
    """Read logs into lines of prompts, or of records with the answers that were given.

    Args:
        paths: Files, all of one format.
        log_format: One of ``formats.names()``; default: recognised by the first rows.
        columns: Columns of a person's own table by our fields.
        as_records: Make records of the answers that were given; calls without one are left out.
        size: How many calls are wanted; default: all.
        by: What the sample is stratified by: day, task, length.
        seed: Of the sample.
        mask: Take personal data out.

    Raises:
        RecordError: If a file cannot be read, is of no format that is known, or holds no call.
        ConfigError: If an option makes no sense.
        ImportError: If what reads tables, finds near-duplicates or masks is not installed.
    """
    if log_format is not None and log_format not in formats.names():
        raise ConfigError(f"--from must be one of {named(formats.names())}, got {log_format!r}")
    rows = [row for path in paths for _, row in read_rows(path)]
    name = log_format or _recognised(rows, paths, columns)
    read = list(formats.calls_of(rows, name, columns or {}))
    calls = [call for call in read if call is not None]
    if not calls:
        raise RecordError(
            f"{named(map(str, paths))}: read as {name}, none of {len(rows)} rows holds {_KNOWN}; "
            "give --from another format, or --map query=COLUMN"
        )
    groups = groups_of([call.query for call in calls], [call.session for call in calls])
    named_calls = dict(zip(map(id, calls), zip(_distinct(calls), groups, strict=True), strict=True))
    ids = [id_ for id_, _ in named_calls.values()]
    answered = [call for call in calls if not as_records or (call.answer is not None and call.model)]
    if not answered:
        raise RecordError(
            f"{named(map(str, paths))}: no call has both an answer and the name of its model, which --records needs"
        )
    chosen = answered if size is None else subsample(answered, size, by, seed)
    masking = Masking() if mask else None
    lines = []
    for call in chosen:
        id_, group = named_calls[id(call)]
        line = call.record(id_, ids[group]) if as_records else call.prompt(id_, ids[group])
        lines.append(masking.mask_line(line) if masking and line else line)
    given = [call for call in chosen if call.answer is not None and call.model]
    return Imported(
        tuple(line for line in lines if line is not None),
        name,
        len(rows),
        len(read) - len(calls),
        len(calls) - len(answered),
        len({named_calls[id(call)][1] for call in chosen}),
        Counter(str(call.model) for call in given),
        sum(call.cost_usd is not None for call in given),
        masking.found if masking else {},
    )


def _recognised(rows: Sequence[Mapping[str, Any]], paths: Sequence[Path], columns: Mapping[str, str] | None) -> str:
    """Return the format that most of the first rows have.

    Raises:
        RecordError: If none has any; says what is there and what to do.
    """
    if columns:
        return "jsonl"
    votes = Counter(name for row in rows[:200] if (name := formats.recognised(row)) is not None)
    if not votes:
        there = f"fields {named(sorted(rows[0])[:12])}" if rows else "no rows"
        raise RecordError(
            f"{named(map(str, paths))}: cannot tell what it is ({there}); "
            f"give --from {', '.join(formats.names())}, or say where the question stands by --map query=COLUMN"
        )
    return votes.most_common(1)[0][0]


def _distinct(calls: Sequence[LoggedCall]) -> Iterator[str]:
    """Yield an id for each call, none twice: what repeats gets a number."""
    times: Counter[str] = Counter()
    used: set[str] = set()
    for call in calls:
        id_ = call.name
        while id_ in used:
            times[call.name] += 1
            id_ = f"{call.name}-{times[call.name] + 1}"
        used.add(id_)
        yield id_
