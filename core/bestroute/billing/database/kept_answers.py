"""Results of a large job's rows, by key, shared by several machines so that none repeats another's work."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from bestroute.billing.database.address import read_address
from bestroute.billing.database.connection import Database, lock_for_tables, opened, transaction
from bestroute.billing.store_url import Store
from bestroute.errors import UnreadableStoreError

_answers = sa.Table(
    "bestroute_answers",
    sa.MetaData(),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("answer", sa.JSON().with_variant(JSONB, "postgresql"), nullable=False),
)
_AT_ONCE = 500
T = TypeVar("T")


class Answers:
    """Results in a database; safe between threads and machines.

    Args:
        store: A path or URL, as for a ledger.

    Raises:
        UnreadableStoreError: If the database cannot be reached, here or later; the message has no password.
    """

    def __init__(self, store: Store) -> None:
        """Create the table."""
        self._database = Database(read_address(store, "a job's answers"))
        self._lock = threading.Lock()
        with self._using():
            opened(lambda: _make_table(self._database.connection()[0]))

    def found(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the results that exist."""
        answers: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = _answers.c.key.in_(keys[start : start + _AT_ONCE])
            answers |= self._run(lambda connection, some=some: _read(connection, some))  # type: ignore[misc]
        return answers

    def beginning(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return the results whose keys have a prefix, the oldest first."""
        return self._run(lambda connection: _read(connection, _begins(prefix)))

    def keep(self, key: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Store a result, and return the stored one: another machine's, if that was faster."""

        def kept(connection: sa.Connection) -> dict[str, Any]:
            insert = sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert
            row = {"key": key, "time": time.time(), "answer": _written(answer)}
            with transaction(connection):
                connection.execute(insert(_answers).values(row).on_conflict_do_nothing())
                return _read(connection, _answers.c.key == key)[key]

        return self._run(kept)

    def replace(self, key: str, answer: Mapping[str, Any]) -> None:
        """Replace the stored result of a key."""
        statement = sa.update(_answers).where(_answers.c.key == key).values(answer=_written(answer))
        self._run(lambda connection: connection.execute(statement))

    def drop(self, prefix: str) -> None:
        """Delete the results whose keys have a prefix."""
        statement = sa.delete(_answers).where(_begins(prefix))
        self._run(lambda connection: connection.execute(statement))

    def close(self) -> None:
        """Close the connection; it reopens when needed."""
        with self._lock:
            self._database.close()

    def _run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run work that may be repeated, once more on a new connection if the first one was lost."""
        with self._using():
            try:
                return work(self._database.connection()[0])
            except sa.exc.DBAPIError:
                self._database.close()
                return work(self._database.connection()[0])

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Return a context with exclusive use of the connection; errors have no password."""
        with self._database.in_use(), self._lock:
            try:
                yield
            except (sa.exc.SQLAlchemyError, OSError) as error:
                self._database.close()
                address = self._database.address
                raise UnreadableStoreError(
                    f"the answers in {address.shown!r} cannot be reached: {address.hide(error)}"
                ) from None


def _make_table(connection: sa.Connection) -> None:
    with transaction(connection):
        lock_for_tables(connection)
        _answers.metadata.create_all(connection)


def _begins(prefix: str) -> sa.ColumnElement[bool]:
    """Return the condition that a key has a prefix; without LIKE, which ignores case on SQLite."""
    return sa.func.substr(_answers.c.key, 1, len(prefix)) == prefix


def _read(connection: sa.Connection, which: sa.ColumnElement[bool]) -> dict[str, dict[str, Any]]:
    query = sa.select(_answers.c.key, _answers.c.answer).where(which).order_by(_answers.c.time)
    return {key: json.loads(answer) if isinstance(answer, str) else answer for key, answer in connection.execute(query)}


def _written(answer: Mapping[str, Any]) -> str:
    """Encode a result as ASCII JSON, since PostgreSQL takes neither NUL nor lone surrogates in JSON."""
    return json.dumps(dict(answer))
