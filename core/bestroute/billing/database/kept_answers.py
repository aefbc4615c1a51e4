"""Answers to rows of a large job, by key: what several machines have done, so that none does it again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from bestroute.billing.database.address import read_address
from bestroute.billing.database.connection import Database, lock_for_tables, transaction
from bestroute.billing.store_url import Store

_answers = sa.Table(
    "bestroute_answers",
    sa.MetaData(),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("answer", sa.JSON().with_variant(JSONB, "postgresql"), nullable=False),
)
_AT_ONCE = 500


class Answers:
    """Answers in a database; safe between threads and machines.

    Args:
        store: A path or URL, as a ledger's.
    """

    def __init__(self, store: Store) -> None:
        """Make the table."""
        self._database = Database(read_address(store, "a job's answers"))
        self._lock = threading.Lock()
        with self._lock:
            connection, _ = self._database.connection()
            with transaction(connection):
                lock_for_tables(connection)
                _answers.metadata.create_all(connection)

    def found(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the answers there are."""
        answers: dict[str, dict[str, Any]] = {}
        with self._lock:
            connection, _ = self._database.connection()
            for start in range(0, len(keys), _AT_ONCE):
                some = sa.select(_answers.c.key, _answers.c.answer).where(
                    _answers.c.key.in_(keys[start : start + _AT_ONCE])
                )
                answers |= {key: answer for key, answer in connection.execute(some)}
        return answers

    def keep(self, key: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an answer, and return the one that is kept: another machine's, if that was faster."""
        row = {"key": key, "time": time.time(), "answer": dict(answer)}
        with self._lock:
            connection, _ = self._database.connection()
            is_sqlite = connection.dialect.name == "sqlite"
            with transaction(connection):
                if is_sqlite:
                    connection.execute(sqlite_insert(_answers).values(row).on_conflict_do_nothing())
                else:
                    connection.execute(postgres_insert(_answers).values(row).on_conflict_do_nothing())
                kept = connection.execute(sa.select(_answers.c.answer).where(_answers.c.key == key)).scalar_one()
        return dict(kept)

    def close(self) -> None:
        """Close the connection; it opens again when it is needed."""
        with self._lock:
            self._database.close()
