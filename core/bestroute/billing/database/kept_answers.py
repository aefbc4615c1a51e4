"""Answers to rows of a large job, by key: what several machines have done, so that none does it again."""

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
    """Answers in a database; safe between threads and machines.

    Args:
        store: A path or URL, as a ledger's.

    Raises:
        UnreadableStoreError: If the database cannot be reached, here or later; never with a password.
    """

    def __init__(self, store: Store) -> None:
        """Make the table."""
        self._database = Database(read_address(store, "a job's answers"))
        self._lock = threading.Lock()
        with self._using():
            opened(lambda: _make_table(self._database.connection()[0]))

    def found(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the answers there are."""
        answers: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = _answers.c.key.in_(keys[start : start + _AT_ONCE])
            answers |= self._run(lambda connection, some=some: _read(connection, some))  # type: ignore[misc]
        return answers

    def beginning(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return the answers whose keys begin so, the oldest first."""
        return self._run(lambda connection: _read(connection, _begins(prefix)))

    def keep(self, key: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an answer, and return the one that is kept: another machine's, if that was faster."""

        def kept(connection: sa.Connection) -> dict[str, Any]:
            insert = sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert
            row = {"key": key, "time": time.time(), "answer": _written(answer)}
            with transaction(connection):
                connection.execute(insert(_answers).values(row).on_conflict_do_nothing())
                return _read(connection, _answers.c.key == key)[key]

        return self._run(kept)

    def replace(self, key: str, answer: Mapping[str, Any]) -> None:
        """Put an answer in the place of the one that is kept."""
        statement = sa.update(_answers).where(_answers.c.key == key).values(answer=_written(answer))
        self._run(lambda connection: connection.execute(statement))

    def drop(self, prefix: str) -> None:
        """Forget the answers whose keys begin so."""
        statement = sa.delete(_answers).where(_begins(prefix))
        self._run(lambda connection: connection.execute(statement))

    def close(self) -> None:
        """Close the connection; it opens again when it is needed."""
        with self._lock:
            self._database.close()

    def _run(self, work: Callable[[sa.Connection], T]) -> T:
        """Do what may be done twice, once more on a new connection where the first one was lost."""
        with self._using():
            try:
                return work(self._database.connection()[0])
            except sa.exc.DBAPIError:
                self._database.close()
                return work(self._database.connection()[0])

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Use the connection alone; what goes wrong is said without a password."""
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
    """Return whether a key begins so; not by LIKE, which takes no heed of case on SQLite."""
    return sa.func.substr(_answers.c.key, 1, len(prefix)) == prefix


def _read(connection: sa.Connection, which: sa.ColumnElement[bool]) -> dict[str, dict[str, Any]]:
    query = sa.select(_answers.c.key, _answers.c.answer).where(which).order_by(_answers.c.time)
    return {key: json.loads(answer) if isinstance(answer, str) else answer for key, answer in connection.execute(query)}


def _written(answer: Mapping[str, Any]) -> str:
    """Return an answer as a text of ASCII: PostgreSQL takes neither NUL nor half a character within JSON."""
    return json.dumps(dict(answer))
