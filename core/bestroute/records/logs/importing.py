"""From files of a log to prompts and records: read twice, once to group and to draw, once to write; never held whole.

What is kept of a call between the two is its id, its group and its stratum: memory grows with the number of calls, not
with what they say.
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
"""Rows that say what a file is."""


@dataclass(frozen=True)
class Outline:
    """What is kept of a call that will be written."""

    place: int
    """Among the calls of the log."""
    id: str
    group: str


@dataclass(frozen=True)
class Lines:
    """The lines of prompts, or of records; each time they are gone through the log is read again."""

    log: Log
    outlines: Sequence[Outline]
    """Of the calls chosen, in order."""
    as_records: bool
    masking: Masking | None

    def __len__(self) -> int:
        """How many there are."""
        return len(self.outlines)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield one line after another."""
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
    """Files of one format."""

    paths: tuple[Path, ...]
    format: str
    columns: Mapping[str, str]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every row of every file."""
        for path in self.paths:
            for _, row in read_rows(path):
                yield row

    def calls(self) -> Iterator[LoggedCall | None]:
        """Yield the call of each row; ``None`` for a row that is none, or whose line nothing would read again."""
        for call in formats.calls_of(self.rows(), self.format, self.columns):
            yield None if call is None or not is_readable(call.prompt("", "")) else call


@dataclass(frozen=True)
class Imported:
    """What an import read, and what it will write."""

    lines: Lines
    """Of the prompts, or of the records."""
    format: str
    """What the files were read as."""
    rows: int
    """Read in all."""
    left_out: int
    """Rows that are no call of a model, ask nothing, or are too long for a line."""
    unanswered: int
    """Calls that were left out of records, because the log has no answer of a named model."""
    groups: int
    models: Mapping[str, int] = field(default_factory=dict)
    """How many answers of each model there are."""
    priced: int = 0
    """How many of them have a cost."""
    masked: Mapping[str, int] = field(default_factory=dict)
    """What was taken out, by kind, once the lines were gone through."""


@dataclass
class _Survey:
    """What the first reading finds: one entry a call, none of which holds what the call says."""

    ids: list[str] = field(default_factory=list)
    strata: list[tuple[str, ...]] = field(default_factory=list)
    models: list[str | None] = field(default_factory=list)
    """Whose answer the log has; ``None`` where it has none."""
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
    """Return the format that most of the first rows have.

    Raises:
        RecordError: If none has any; says what is there and what to do.
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
            f"{named(map(str, paths))}: cannot tell what it is ({there}); "
            f"give --from {', '.join(formats.names())}, or say where the question stands by --map query=COLUMN"
        )
    name = votes.most_common(1)[0][0]
    return table_form(paths[0]) if name in formats.TABLES else name


class _Names:
    """Ids of calls, none twice: what repeats gets a number."""

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
