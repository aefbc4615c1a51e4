"""Database connections: a lasting one for a writer, short ones for readers, and transactions."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import sqlalchemy as sa

from bestroute._utils.extras import to_install
from bestroute.billing.database.address import Address
from bestroute.billing.database.forks import gate
from bestroute.errors import ConfigError

PATIENCE_S = 10.0
"""How long a statement waits for another process's lock, or a connection for its server, seconds."""
_OPENING_S = 30.0
"""How long to retry opening a database that others have locked, seconds."""
_AGAIN_S = 0.05
_LOCK = 7_305_421_181
"""PostgreSQL's advisory lock for creating tables."""
logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class Database:
    """A database, opened anew whenever it is needed and is not open.

    Statements commit one by one; ``transaction`` takes several together. SQLite's file is watched: where it was
    deleted or another was put in its place, ``connection`` opens what is there now. What uses the lasting connection
    does so within ``in_use``: a fork waits for it and closes the connection.

    Args:
        address: Address of the database.
        patience_s: How long to wait for locks and servers, seconds.
        synchronous: SQLite's setting: ``"FULL"`` survives a power cut, ``"NORMAL"`` the end of a process.
    """

    def __init__(self, address: Address, patience_s: float = PATIENCE_S, synchronous: str = "FULL") -> None:
        """Set up without connecting."""
        self.address, self.synchronous = address, synchronous
        self.is_file = address.path is not None
        self._engine = self._make_engine(patience_s)
        self._connection: sa.Connection | None = None
        self._file: tuple[int, int] | None = None
        gate.keep(self)

    def in_use(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which no thread forks this process."""
        return gate.in_use()

    def _make_engine(self, patience_s: float) -> sa.Engine:
        address = self.address
        if address.path is not None:
            url = sa.URL.create("sqlite", database=address.path)
            # one thread at a time uses the lasting connection, but not always the same
            arguments: dict[str, Any] = {"timeout": patience_s, "check_same_thread": False}
        else:
            url = sa.URL.create(
                "postgresql+psycopg",
                username=address.user,
                password=address.password,
                host=address.host,
                port=address.port,
                database=address.name,
                query=address.options,
            )
            milliseconds = max(1, int(1000 * patience_s))
            arguments = {
                "connect_timeout": max(2, int(patience_s)),
                "client_encoding": "utf8",
                "options": f"-c lock_timeout={milliseconds} -c TimeZone=UTC",
            }
            if "options" in address.options:
                del arguments["options"]
        try:
            engine = sa.create_engine(
                url,
                connect_args=arguments,
                poolclass=sa.pool.NullPool,
                hide_parameters=True,
                isolation_level="AUTOCOMMIT",
            )
        except ImportError as error:
            raise ConfigError(f"{address.shown!r} needs psycopg: {to_install('postgres')}") from error
        return engine

    def connection(self) -> tuple[sa.Connection, bool]:
        """Return the lasting connection, and whether it was made anew."""
        if self._connection is not None and self.is_replaced():
            logger.warning("the file of %r was deleted or replaced; what is there now is opened", self.address.shown)
            self.close()
            for rest in ("-wal", "-shm"):  # of the file that is gone: SQLite would take them for the new one's
                with contextlib.suppress(OSError):
                    os.unlink(f"{self.address.path}{rest}")
        if self._connection is not None:
            return self._connection, False
        connection = self._engine.connect()
        try:
            if self.is_file:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                connection.exec_driver_sql(f"PRAGMA synchronous={self.synchronous}")
                self._file = self._file_now()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection, True

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a short connection for the caller."""
        if self.is_file and self._file_now() is None:
            raise sa.exc.OperationalError("", None, FileNotFoundError("the file is gone"))
        with self.in_use(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    def is_replaced(self) -> bool:
        """Return whether the file at the path is no longer the one that was opened."""
        return self.is_file and self._file != self._file_now()

    def _file_now(self) -> tuple[int, int] | None:
        try:
            found = os.stat(str(self.address.path))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Close the lasting connection."""
        with self.in_use():
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.close()

    def of_a_fork(self) -> Database:
        """Return a copy for a forked process.

        A connection that was not closed before the fork is the parent's; it is kept, unused: closing it would end it.
        """
        other = copy.copy(self)
        gate.keep(other)
        _of_parents.append(self._connection)
        self._connection = other._connection = None
        return other


_of_parents: list[sa.Connection | None] = []


def opened(begin: Callable[[], _T]) -> _T:
    """Return the result of opening a database, retried while others have locked SQLite's file.

    Several processes that open a new file at once turn its journal over and make its tables: SQLite refuses some of
    them at once, however patient they are, and others' commits may leave one no turn for long.

    Args:
        begin: Opens the database; must be repeatable.

    Raises:
        sqlalchemy.exc.OperationalError: If it stays locked for half a minute, or opening fails otherwise.
    """
    ends = time.monotonic() + _OPENING_S
    while True:
        try:
            with gate.in_use():
                return begin()
        except sa.exc.OperationalError as error:
            if "database is locked" not in str(error.orig) or time.monotonic() >= ends:
                raise
        time.sleep(_AGAIN_S)


@contextlib.contextmanager
def transaction(connection: sa.Connection) -> Iterator[None]:
    """Run statements in a transaction; SQLite's write lock is taken at the start."""
    is_sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def lock_for_tables(connection: sa.Connection) -> None:
    """Lock other processes out of creating tables until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
