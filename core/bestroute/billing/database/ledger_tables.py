"""The ledger in a database: its tables and versions, reading and writing of rows, and totals by SQL."""

from __future__ import annotations

import copy
import functools
import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from bestroute._utils.text import brief
from bestroute.billing.call_bills import FELL_BACK, CallBill
from bestroute.billing.database.address import Address
from bestroute.billing.database.connection import Database, lock_for_tables, opened, transaction
from bestroute.billing.ledger_rows import (
    COLUMNS,
    LedgerRow,
    Selection,
    Totals,
    add_totals,
    as_text,
    beside_answers,
    costs_beside,
    day_text,
    hour_of,
    hour_text,
    no_totals,
)
from bestroute.billing.outcomes import CallOutcome, Feedback, OutcomeGroup, OutcomeNotes
from bestroute.errors import ConfigError

VERSION = 4
_MOST_INTEGER = 2**63 - 1
_AT_ONCE = 10_000
"""Number of calls passed on at a time."""
_BETWEEN = "\x1f"
"""Separator of plan and reason, which no plan contains."""


class _Count(sa.TypeDecorator[int]):
    """A whole number of any size; SQLite stores one beyond 64 bits with 15 digits."""

    impl = sa.Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        is_sqlite = dialect.name == "sqlite"
        return dialect.type_descriptor(sa.Numeric(asdecimal=False) if is_sqlite else sa.Numeric())

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return _as_sqlite if dialect.name == "sqlite" else None

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        return lambda value: None if value is None else int(value)


def _as_sqlite(value: int) -> int | float:
    return value if -_MOST_INTEGER <= value <= _MOST_INTEGER else float(min(value, 10**300))


class _Tags(sa.TypeDecorator[dict[str, str]]):
    """Tags of a call; many rows share the same, so SQLite's text of each is parsed once."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        return dialect.type_descriptor(sa.JSON() if dialect.name == "sqlite" else JSONB())

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self.impl_instance.coerce_compared_value(op, value)  # the name of a tag is a text, no tags

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        read: Any = super().result_processor(dialect, coltype)
        if read is None:
            return None  # the driver reads them
        cached = functools.lru_cache(functools.partial(_as_tags, read))
        return lambda text: dict(cached(text))  # each row has a mapping of its own


def _as_tags(read: Any, text: str) -> dict[str, str]:
    try:
        return dict(read(text))
    except (ValueError, TypeError):
        raise ConfigError(f"a row of the ledger has tags that are no JSON object: {brief(text)}") from None


_metadata = sa.MetaData()
_versions = sa.Table(
    "bestroute_versions",
    _metadata,
    sa.Column("part", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
_samples = sa.Table(
    "bestroute_samples",
    _metadata,
    sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("hour", sa.BigInteger, nullable=False),  # since 1970: what totals are told apart by stands in front
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("requests", sa.SmallInteger, nullable=False),
    sa.Column("input_tokens", _Count, nullable=False),
    sa.Column("output_tokens", _Count, nullable=False),
    sa.Column("cost_usd", sa.Double, nullable=False),
    sa.Column("reference_cost_usd", sa.Double, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("tags", _Tags, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("cached_input_tokens", _Count, nullable=False),
    sa.Column("cache_write_tokens", _Count, nullable=False),
    sa.Column("reasoning_tokens", _Count, nullable=False),
    sa.Column("estimated", sa.Boolean, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("call_id", sa.Text, nullable=False, index=True),
    sa.Column("run_id", sa.Text),  # NULL where it is the call's
    sa.Column("attempt_id", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("latency_s", sa.Double),
    sa.Column("row_id", sa.Text, unique=True),  # a row that is written twice is kept once
    sa.Index("bestroute_samples_time", "time"),
)
_outcomes = sa.Table(
    "bestroute_audits",
    _metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("time", sa.Double, nullable=False, index=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("probability", sa.Double, nullable=False),
    sa.Column("tags", _Tags, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("predicted_drop", sa.Double),
    sa.Column("familiarity", sa.Double),
    sa.Column("target", sa.Double),
    sa.Column("drop", sa.Double),
    sa.Column("reference_quality", sa.Double),
    sa.Column("method", sa.Text),
    sa.Column("differs", sa.Boolean),
    sa.Column("cost_usd", sa.Double, nullable=False),
    sa.Column("reference_cost_usd", sa.Double, nullable=False),
)
_feedback = sa.Table(
    "bestroute_feedback",
    _metadata,
    sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("call_id", sa.Text, nullable=False, index=True),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("row_id", sa.Text, unique=True),
)
_OF_OUTCOME = tuple(f.name for f in fields(CallOutcome))
_OF_FEEDBACK = tuple(f.name for f in fields(Feedback))
_FIRST_COLUMNS = (
    "run_id, time, model, step, status, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, "
    "reasoning_tokens, cost_usd, estimated, error, reference_cost_usd"
)
"""The columns of version 1, whose table on SQLite was named ``samples``."""
_COUNTS = ("step", "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


def _first_values(prefix: str) -> str:
    """Return the SQL values of a row, for the columns of version 1 and the later ones."""
    columns = ", ".join(f"{prefix}{name}" for name in _FIRST_COLUMNS.split(", "))
    return (
        f"{columns}, {prefix}run_id, lower(hex(randomblob(16))), 1, 1, 'draw', '', '', '{{}}', "
        f"CAST({prefix}time / 3600 AS INTEGER)"
    )


_FIRST_INTO = (
    f"INSERT INTO bestroute_samples ({_FIRST_COLUMNS}, call_id, attempt_id, attempt, requests, kind, plan, reason, "
    "tags, hour)"
)
_COMPATIBLE = (
    "CREATE VIEW IF NOT EXISTS samples AS SELECT coalesce(run_id, call_id) AS run_id, "
    f"{_FIRST_COLUMNS.removeprefix('run_id, ')} FROM bestroute_samples ORDER BY position",
    "CREATE TRIGGER IF NOT EXISTS samples_insert INSTEAD OF INSERT ON samples BEGIN "
    f"{_FIRST_INTO} VALUES ({_first_values('NEW.')}); END",
)
"""A view in place of version 1's table on SQLite, for earlier releases and users' own SQL."""


@dataclass(frozen=True)
class Entry:
    """Rows that are written atomically."""

    rows: Sequence[tuple[str, LedgerRow]] = ()
    """Each row with an id."""
    outcomes: Sequence[CallOutcome] = ()
    feedback: Sequence[Feedback] = ()
    name: str = ""
    """Name of the entry, which makes writing feedback idempotent."""

    def __len__(self) -> int:
        """Return the number of table rows."""
        return len(self.rows) + len(self.outcomes) + len(self.feedback)


class LedgerTables:
    """Rows in a database. One thread at a time writes; readers have connections of their own."""

    def __init__(self, address: Address, patience_s: float) -> None:
        """Open the database, migrate its tables to this version, and check that they are writable."""
        self.database = Database(address, patience_s)
        try:
            opened(self._open)
        except BaseException:
            self.close()
            raise

    def of_a_fork(self) -> LedgerTables:
        """Return a copy for a forked process, with connections of its own."""
        other = copy.copy(self)
        other.database = self.database.of_a_fork()
        return other

    def _open(self) -> sa.Connection:
        connection, is_new = self.database.connection()
        if is_new:
            try:
                _prepare(connection)
            except BaseException:
                self.close()
                raise
        return connection

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries, all or none; existing rows stay, existing outcomes are updated."""
        values = [_as_values(name, row) for entry in entries for name, row in entry.rows]
        newest = {as_text(o.call_id): _of_outcome(o) for entry in entries for o in entry.outcomes}
        notes = [{**vars(f), "row_id": f"{e.name}:{i}"} for e in entries for i, f in enumerate(e.feedback)]
        if values or newest or notes:
            with self.database.in_use():
                self._insert(values, notes, newest)

    def _insert(
        self, values: Sequence[Mapping[str, Any]], notes: Sequence[Mapping[str, Any]], newest: Mapping[str, Any]
    ) -> None:
        for is_last in (False, True):
            connection = self._open()
            try:
                with transaction(connection):
                    rows, scores, calls = _inserts(self.database.is_file)
                    if values:
                        connection.execute(rows, values)
                    if notes:
                        connection.execute(scores, notes)
                    if newest:
                        in_one_order = [
                            newest[call_id] for call_id in sorted(newest)
                        ]  # a fixed order prevents deadlocks
                        connection.execute(calls, in_one_order)
                if not self.database.is_replaced():
                    return
            except sa.exc.DBAPIError as error:
                is_gone = error.connection_invalidated or _is_table_missing(error)
                self.close()
                if is_last or not is_gone:
                    raise
        raise sa.exc.OperationalError("", None, FileNotFoundError("the file is replaced again and again"))

    def close(self) -> None:
        """Close the connection; it reopens when needed."""
        self.database.close()

    def rows(self, newest: int | None = None, kind: str | None = None, until: float = math.inf) -> list[LedgerRow]:
        """Return rows in writing order: all, or the newest of a kind drawn before a moment."""
        c = _samples.c
        query = sa.select(*(c[name] for name in COLUMNS)).order_by(c.position.desc()).limit(newest)
        if kind is not None:
            query = query.where(c.kind == kind)
        if until < math.inf:
            query = query.where(c.time + 0.0 < until)  # not by the index of times, whose order is not the rows'
        with self.database.reading() as connection:
            found = connection.execution_options(yield_per=1000).execute(query)
            return [_as_row(values) for values in found][::-1]

    def has_call(self, call_id: str) -> bool:
        """Return whether a call has a row."""
        with self.database.reading() as connection:
            one = sa.select(_samples.c.position).where(_samples.c.call_id == call_id).limit(1)
            return connection.execute(one).first() is not None

    def outcomes(self, since: float, status: str | None, until: float = math.inf) -> list[CallOutcome]:
        """Return the outcomes of calls from a moment on, of one status or all, in order of time."""
        query = sa.select(*(_outcomes.c[name] for name in _OF_OUTCOME)).order_by(_outcomes.c.time)
        query = _between(query, since, until)
        if status is not None:
            query = query.where(_outcomes.c.status == status)
        with self.database.reading() as connection:
            found = connection.execution_options(yield_per=1000).execute(query)
            return [CallOutcome(**dict(zip(_OF_OUTCOME, values, strict=True))) for values in found]

    def count_outcomes(self, status: str, target: float | None, since: float, until: float) -> int:
        """Return how many calls there are of a status and a target."""
        query = sa.select(sa.func.count()).where(_outcomes.c.status == status, _outcomes.c.target == target)
        with self.database.reading() as connection:
            return connection.scalar(_between(query, since, until)) or 0

    def outcome_groups(self, since: float, until: float) -> list[OutcomeGroup]:
        """Sum the outcomes of similar calls in the database."""
        c = _outcomes.c
        day = sa.cast(sa.func.floor(c.time / 86_400), sa.BigInteger) if not self.database.is_file else _sqlite_day()
        is_shadow = c.mode == "shadow"
        is_priced = sa.and_(c.reference_cost_usd > 0, sa.or_(sa.not_(is_shadow), c.status.in_(("compared", "certain"))))
        weight = sa.case((is_shadow, 1 / c.probability), else_=1.0)
        reference = weight * c.reference_cost_usd
        saved = weight * (c.reference_cost_usd - c.cost_usd)
        keys = [c.mode, c.status, c.model, day.label("day"), c.tags]
        products = (saved, reference, saved * saved, reference * reference, saved * reference)
        query = sa.select(
            *keys,
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(c.predicted_drop), 0.0),
            sa.func.count(c.predicted_drop),
            sa.func.count(sa.case((is_priced, 1))),
            *(sa.func.sum(sa.case((is_priced, each), else_=0.0)) for each in products),
            c.target,
            sa.func.max(c.time),
        ).group_by(c.tags, sa.text("day"), c.model, c.status, c.mode, c.target)  # what differs most first
        with self.database.reading() as connection:
            return [OutcomeGroup(*values) for values in connection.execute(_between(query, since, until))]

    def visit_notes(self, since: float, until: float, visit: Callable[[OutcomeNotes], None]) -> None:
        """Pass on what alarms need of each call, in batches, in order of time."""
        c = _outcomes.c
        query = sa.select(c.call_id, c.mode, c.status, c.familiarity).order_by(c.time)
        with self.database.reading() as connection:
            found = connection.execution_options(yield_per=_AT_ONCE).execute(_between(query, since, until))
            for batch in found.partitions():
                visit(OutcomeNotes(*zip(*batch, strict=True)))

    def feedbacks(self) -> list[Feedback]:
        """Return the feedback on calls, in writing order."""
        columns = [_feedback.c[name] for name in _OF_FEEDBACK]
        with self.database.reading() as connection:
            found = connection.execute(sa.select(*columns).order_by(_feedback.c.position))
            return [Feedback(*values) for values in found]

    def totals(self, selection: Selection) -> dict[tuple[str, ...], Totals]:
        """Sum rows in the database: first equal ones, so that tags are split once for many rows."""
        c = _samples.c
        total = sa.func.total if self.database.is_file else sa.func.sum  # SQLite's sum fails beyond 64 bits
        sums = [
            sa.func.count().label("samples"),
            sa.func.count(sa.case((c.status != "ok", 1))).label("failed"),
            sa.func.sum(c.requests).label("requests"),
            total(c.input_tokens).label("input_tokens"),
            total(c.output_tokens).label("output_tokens"),
            sa.func.sum(c.cost_usd).label("cost_usd"),
            sa.func.sum(c.reference_cost_usd).label("reference_cost_usd"),
        ]
        by = selection.by if "kind" in selection.by else (*selection.by, "kind")  # what answers cost stands apart
        names = ["tags" if name.startswith("tag") else name for name in by]
        keys = [(c.hour // 24 if name == "day" else c[name]).label(f"by_{name}") for name in dict.fromkeys(names)]
        query = self._of(selection, sa.select(*keys, *sums).group_by(*(key.name for key in keys)))
        if "tags" in names:
            query = self._by_tag(query.subquery("alike"), by, [each.name for each in sums])
        else:
            query = query.with_only_columns(*(keys[names.index(name)] for name in names), *sums)
        with self.database.reading() as connection:
            found = connection.execute(query).all()
        first, place = len(names), names.index("kind")
        added: dict[tuple[str, ...], Totals] = {}
        for row in found:
            if not row[first]:
                continue
            more = _totals(row[first:], kind=row[place])
            if row[place] != "draw" and len(by) > len(selection.by):
                more = beside_answers(more)
            key = _key(row[: len(selection.by)], selection.by)
            add_totals(added.setdefault(key, no_totals()), more)
        return added

    def visit_calls(self, selection: Selection, visit: Callable[[Sequence[CallBill]], None]) -> None:
        """Pass on the bill of each call, in batches, as summed by the database."""
        c = _samples.c
        answers = sa.case((c.reference_cost_usd != 0, "1"), else_="0")  # stands with one row of an answered call
        failed_last = sa.case((c.status == "ok", "3"), else_="2")
        place = sa.func.instr if self.database.is_file else sa.func.strpos  # SQLite's LIKE takes no heed of case
        fell_back = place(c.reason, FELL_BACK) > 0
        rank = sa.case((fell_back, failed_last), else_=answers)
        plan_and_reason = sa.collate(rank + c.plan + _BETWEEN + c.reason, "BINARY" if self.database.is_file else "C")
        query = sa.select(
            c.call_id,
            sa.func.min(c.time),
            sa.func.max(plan_and_reason),
            sa.func.count(),
            sa.func.count(sa.case((c.status != "ok", 1))),
            sa.func.sum(c.cost_usd),
            sa.func.sum(c.reference_cost_usd),
        )
        # on SQLite not by the index of calls, whose order is not that of the rows: to sort takes a third less time
        by_call = sa.text("+call_id") if self.database.is_file else c.call_id
        query = self._of(selection, query.where(c.kind == "draw").group_by(by_call))
        with self.database.reading() as connection:
            found = connection.execution_options(yield_per=_AT_ONCE).execute(query)
            for batch in found.partitions():
                visit([CallBill(call, at, *best[1:].split(_BETWEEN, 1), *sums) for call, at, best, *sums in batch])

    def rows_of(self, call_ids: Iterable[str]) -> list[LedgerRow]:
        """Return the rows of some calls in writing order."""
        columns = [_samples.c[name] for name in COLUMNS]
        query = sa.select(*columns).where(_samples.c.call_id.in_(list(call_ids))).order_by(_samples.c.position)
        with self.database.reading() as connection:
            return [_as_row(values) for values in connection.execute(query)]

    def _of(self, selection: Selection, query: Any) -> Any:
        """Restrict a query to the selected rows."""
        c = _samples.c
        if selection.since > -math.inf:
            query = query.where(c.time >= selection.since)
        if selection.until < math.inf:
            query = query.where(c.time < selection.until)
        for name, value in (selection.tags or {}).items():
            query = query.where(self._tag(c.tags, name) == value)
        return query

    def _by_tag(self, alike: Any, by: Sequence[str], sums: Sequence[str]) -> Any:
        """Sum the totals of similar rows by names and values of their tags."""
        source, keys = alike, []
        for i, name in enumerate(by):
            if name == "tag":
                tags = self._tags(alike.c.by_tags, f"each_tag_{i}")
                source = source.outerjoin(tags, sa.true())
                key = sa.func.coalesce(tags.c.key + "=" + tags.c.value, "")
            elif name.startswith("tag:"):
                key = sa.func.coalesce(self._tag(alike.c.by_tags, name.removeprefix("tag:")), "")
            else:
                key = alike.c[f"by_{name}"]
            keys.append(key.label(f"key_{i}"))
        total = [sa.func.sum(alike.c[name]) for name in sums]
        return sa.select(*keys, *total).select_from(source).group_by(*(key.name for key in keys))

    def _tags(self, tags: Any, name: str) -> Any:
        """Return tags as a table of keys and values."""
        if self.database.is_file:
            return sa.func.json_each(tags).table_valued("key", "value", name=name)
        return sa.func.jsonb_each_text(tags).table_valued("key", "value", name=name).lateral()

    def _tag(self, tags: Any, name: str) -> Any:
        """Return the value of one tag, or NULL."""
        if not self.database.is_file:
            return tags.op("->>", return_type=sa.Text())(name)
        each = self._tags(tags, "one_tag")
        return sa.select(each.c.value).where(each.c.key == name).scalar_subquery()


def _between(query: Any, since: float, until: float) -> Any:
    """Restrict a query to a span of time."""
    if since > -math.inf:
        query = query.where(_outcomes.c.time >= since)
    return query.where(_outcomes.c.time < until) if until < math.inf else query


def _sqlite_day() -> Any:
    """Return the SQL expression of the day since 1970, without floor, which some SQLite builds lack."""
    return sa.cast(_outcomes.c.time / 86_400, sa.BigInteger)


@functools.cache
def _inserts(is_sqlite: bool) -> tuple[Any, Any, Any]:
    """Return the insert statements of rows, feedback and outcomes, cached because building them is slow."""
    insert: Any = sqlite_insert if is_sqlite else postgres_insert
    calls = insert(_outcomes)
    newer = {name: calls.excluded[name] for name in _OF_OUTCOME if name != "call_id"}
    return (
        insert(_samples).on_conflict_do_nothing(),
        insert(_feedback).on_conflict_do_nothing(),
        calls.on_conflict_do_update(index_elements=["call_id"], set_=newer),
    )


def _prepare(connection: sa.Connection) -> None:
    """Create missing tables, and migrate those of an earlier release to this version.

    Raises:
        ConfigError: If a later release created them.
    """
    if _version(connection) == VERSION and sa.inspect(connection).has_table(_samples.name):
        return
    is_sqlite = connection.dialect.name == "sqlite"
    with transaction(connection):
        lock_for_tables(connection)
        if (version := _version(connection)) > VERSION:
            raise ConfigError(
                f"the ledger is of version {version}, created by a later release; this one reads up to {VERSION}: "
                "upgrade bestroute"
            )
        has_first = is_sqlite and "samples" in sa.inspect(connection).get_table_names()
        if 0 < version < VERSION and sa.inspect(connection).has_table(_samples.name):
            _add_columns(connection)
        _metadata.create_all(connection)
        if has_first:
            _take_first_rows(connection)
        if is_sqlite:
            for statement in _COMPATIBLE:
                connection.exec_driver_sql(statement)
        connection.execute(sa.delete(_versions).where(_versions.c.part == "ledger"))
        connection.execute(sa.insert(_versions).values(part="ledger", version=VERSION))


def _version(connection: sa.Connection) -> int:
    if not sa.inspect(connection).has_table(_versions.name):
        return 0
    return connection.scalar(sa.select(_versions.c.version).where(_versions.c.part == "ledger")) or 0


def _add_columns(connection: sa.Connection) -> None:
    """Add the columns that an earlier release's tables lack; all of them are nullable."""
    known = {column["name"] for column in sa.inspect(connection).get_columns(_samples.name)}
    for column in _samples.columns:
        if column.name not in known:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {_samples.name} ADD COLUMN {column.name} {kind}")


def _take_first_rows(connection: sa.Connection) -> None:
    """Migrate version 1's rows; numpy numbers, which it stored as bytes, become numbers."""
    assert isinstance(connection.connection.driver_connection, sqlite3.Connection)
    connection.connection.driver_connection.create_function(
        "bestroute_count", 1, lambda value: int.from_bytes(value, "little") if isinstance(value, bytes) else value
    )
    for name in _COUNTS:
        connection.exec_driver_sql(f"UPDATE samples SET {name} = bestroute_count({name}) WHERE typeof({name}) = 'blob'")
    connection.exec_driver_sql(f"{_FIRST_INTO} SELECT {_first_values('samples.')} FROM samples ORDER BY rowid")
    connection.exec_driver_sql("DROP TABLE samples")


def _is_table_missing(error: sa.exc.DBAPIError) -> bool:
    return "no such table" in str(error.orig) or getattr(error.orig, "sqlstate", None) == "42P01"


def _as_values(name: str, row: LedgerRow) -> dict[str, Any]:
    return {
        **row,
        "row_id": name,
        "hour": hour_of(row["time"]),
        "run_id": None if row["run_id"] == row["call_id"] else row["run_id"],
        "step": _small(row["step"]),
        "attempt": _small(row["attempt"]),
    }


def _of_outcome(outcome: CallOutcome) -> dict[str, Any]:
    texts = {name: as_text(getattr(outcome, name)) for name in ("call_id", "model", "plan", "status", "mode")}
    tags = {as_text(name): as_text(value) for name, value in outcome.tags.items()}
    return {**vars(outcome), **texts, "tags": tags}


def _small(value: int) -> int:
    """Return a number limited to 32 bits."""
    return max(-(2**31), min(value, 2**31 - 1))


def _as_row(values: sa.Row[Any]) -> LedgerRow:
    row: Any = dict(zip(COLUMNS, values, strict=True))
    row["run_id"] = row["run_id"] or row["call_id"]
    return row  # type: ignore[no-any-return]


def _key(values: Sequence[Any], by: Sequence[str]) -> tuple[str, ...]:
    texts = {"hour": hour_text, "day": day_text}
    return tuple(texts.get(name, str)(value) for name, value in zip(by, values, strict=True))


def _totals(values: Sequence[Any], *, kind: str) -> Totals:
    samples, failed, requests, input_tokens, output_tokens, cost_usd, reference_cost_usd = values
    if not math.isfinite(cost_usd + reference_cost_usd):
        raise ConfigError("a row of the ledger has a cost that is no finite number")
    return {
        "samples": samples,
        "failed": failed,
        "requests": int(requests),
        "input_tokens": int(input_tokens),
        "output_tokens": int(output_tokens),
        "cost_usd": cost_usd,
        "reference_cost_usd": reference_cost_usd,
        **costs_beside(kind, cost_usd),
    }
