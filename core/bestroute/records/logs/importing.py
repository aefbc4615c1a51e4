"""Convert log files to prompts and records, in two passes: one to group and sample, one to write.

Between the passes only the id, group and stratum of each call are kept, so memory grows with the number of calls but
not with their length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import ConfigError, RecordError, named
from bestroute.records.jsonl import is_readable
from bestroute.records.logs import formats
from bestroute.records.logs.logged_call import LoggedCall
from bestroute.records.logs.masking import Masking
from bestroute.records.logs.near_duplicates import Groups
from bestroute.records.logs.rows import read_rows, table_form
from bestroute.records.logs.subsample import check_sample, stratum_of, subsample

_KNOWN = "a question, a chat or a run of a model that fits into a line of 8 MB"
_MOST_VOTES = 200
"""Rows by which a file's format is recognised."""


@dataclass(frozen=True)
class Outline:
    """What the first pass keeps of a call that will be written."""

    place: int
    """Index among the calls of the log."""
    id: str
    group: str


@dataclass(frozen=True)
class Lines:
    """The lines of prompts or records; every iteration reads the log again."""

    log: Log
    outlines: Sequence[Outline]
    """The chosen calls, in order."""
    as_records: bool
    masking: Masking | None

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.outlines)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield the lines."""
        if self.masking is not None:
            self.masking.clear()
        chosen = iter(self.outlines)
        wanted = next(chosen, None)
        for place, call in enumerate(call for call in self.log.calls() if call is not None):
            if wanted is None:
                return
            if place != wanted.place:
                continue
            line = call.record(wanted.id, wanted.group) if self.as_records else call.prompt(wanted.id, wanted.group)
            assert line is not None  # calls without an answer are not chosen for records
            yield self.masking.mask_line(line) if self.masking is not None else line
            wanted = next(chosen, None)


@dataclass(frozen=True)
class Log:
    """Log files of one format."""

    paths: tuple[Path, ...]
    format: str
    columns: Mapping[str, str]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every row of every file."""
        for path in self.paths:
            for _, row in read_rows(path):
                yield row

    def calls(self) -> Iterator[LoggedCall | None]:
        """Yield the call of each row; ``None`` for a row that is no call, or whose line would be too large to read."""
        for call in formats.calls_of(self.rows(), self.format, self.columns):
            yield None if call is None or not is_readable(call.prompt("", "")) else call


@dataclass(frozen=True)
class Imported:
    """The result of an import: its figures, and the lines to write."""

    lines: Lines
    """Lines of prompts or records."""
    format: str
    """The format that the files were read as."""
    rows: int
    """Number of rows read."""
    left_out: int
    """Rows that are not model calls, have no query, or are too long for a line."""
    unanswered: int
    """Calls left out of records, because they have no answer of a named model."""
    groups: int
    models: Mapping[str, int] = field(default_factory=dict)
    """Number of answers by model."""
    priced: int = 0
    """Number of them with a cost."""
    masked: Mapping[str, int] = field(default_factory=dict)
    """Number of masked items by kind, after the lines were iterated."""


@dataclass
class _Survey:
    """The result of the first pass: one entry per call, without its texts."""

    ids: list[str] = field(default_factory=list)
    strata: list[tuple[str, ...]] = field(default_factory=list)
    models: list[str | None] = field(default_factory=list)
    """The model whose answer is logged; ``None`` without an answer."""
    is_priced: list[bool] = field(default_factory=list)
    groups: Groups = field(default_factory=Groups)
    left_out: int = 0

    @classmethod
    def of(cls, log: Log, by: Sequence[str]) -> _Survey:
        """Read a log."""
        survey, names, known = cls(), _Names(), dict[str, str]()
        for call in log.calls():
            if call is None:
                survey.left_out += 1
                continue
            model = known.setdefault(call.model, call.model) if call.model and call.answer is not None else None
            survey.ids.append(names.distinct(call.name))
            survey.strata.append(stratum_of(call, by))
            survey.models.append(model)
            survey.is_priced.append(model is not None and call.cost_usd is not None)
            survey.groups.add(call.query, call.session)
        return survey


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
    """Read logs as lines of prompts, or of records with the logged answers.

    Args:
        paths: Files, all of one format.
        log_format: One of ``formats.names()``; default: recognised from the first rows.
        columns: Columns of a user's own table, by our fields.
        as_records: Whether to make records with the logged answers; calls without one are left out.
        size: Number of calls to sample; default: all.
        by: Stratify the sample by these: day, task, length.
        seed: Seed of the sample.
        mask: Whether to mask personal data.

    Raises:
        RecordError: If a file cannot be read, has an unknown format, or has no call.
        ConfigError: If an option is invalid.
        ImportError: If a library for tables, near-duplicates or masking is not installed.
    """
    if log_format is not None and log_format not in formats.names():
        raise ConfigError(f"--from must be one of {named(formats.names())}, got {brief(log_format)}")
    check_sample(size, by)
    masking = Masking() if mask else None
    log = Log(tuple(paths), log_format or _recognised(paths, columns), columns or {})
    survey = _Survey.of(log, by)
    rows = sum(1 for _ in log.rows()) if not survey.ids else len(survey.ids) + survey.left_out
    if not survey.ids:
        raise RecordError(
            f"{named(map(str, paths))}: read as {log.format}, none of {rows} rows holds {_KNOWN}; "
            "give --from another format, or --map query=COLUMN"
        )
    answered = [place for place, model in enumerate(survey.models) if not as_records or model is not None]
    if not answered:
        raise RecordError(
            f"{named(map(str, paths))}: no call has both an answer and the name of its model, which --records needs"
        )
    drawn = range(len(answered)) if size is None else subsample([survey.strata[p] for p in answered], size, seed)
    chosen = [answered[place] for place in drawn]
    groups = survey.groups.found()
    outlines = [Outline(place, survey.ids[place], survey.ids[groups[place]]) for place in chosen]
    given = [place for place in chosen if survey.models[place] is not None]
    return Imported(
        Lines(log, outlines, as_records, masking),
        log.format,
        rows,
        survey.left_out,
        len(survey.ids) - len(answered),
        len({groups[place] for place in chosen}),
        Counter(str(survey.models[place]) for place in given),
        sum(survey.is_priced[place] for place in given),
        masking.found if masking else {},
    )


def _recognised(paths: Sequence[Path], columns: Mapping[str, str] | None) -> str:
    """Return the most frequent format of the first rows.

    Raises:
        RecordError: If no row has a known format; the message says what was found and what to do.
    """
    if columns:
        return table_form(paths[0])
    votes: Counter[str] = Counter()
    there = "no rows"
    for row in islice((row for path in paths for _, row in read_rows(path)), _MOST_VOTES):
        if there == "no rows":
            there = f"fields {named(sorted(row)[:12])}"
        if (name := formats.recognised(row)) is not None:
            votes[name] += 1
    if not votes:
        raise RecordError(
            f"{named(map(str, paths))}: its format is not recognised ({there}); "
            f"give --from {', '.join(formats.names())}, or name the column of the query by --map query=COLUMN"
        )
    name = votes.most_common(1)[0][0]
    return table_form(paths[0]) if name in formats.TABLES else name


class _Names:
    """Makes ids of calls unique by appending numbers."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()
        self._used: set[str] = set()

    def distinct(self, name: str) -> str:
        id_ = name
        while id_ in self._used:
            self._times[name] += 1
            id_ = f"{name}-{self._times[name] + 1}"
        self._used.add(id_)
        return id_
