"""The ledger: a row for every sample drawn, failed and cancelled ones too."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Literal, TypedDict

from bestroute.errors import ConfigError, named

Status = Literal["ok", "failed", "cancelled"]


class LedgerRow(TypedDict):
    """One sample's bill."""

    run_id: str
    """The same for all samples of one call."""
    time: float
    """Seconds since 1970, UTC."""
    model: str
    """Pool name."""
    step: int
    """Step of the plan, from 0."""
    status: Status
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: float
    estimated: bool
    """Whether the provider told no usable usage, so that we counted ourselves."""
    error: str | None
    reference_cost_usd: float
    """What the reference would have cost for the whole call; on the call's first row, 0 on the others."""


class Totals(TypedDict):
    """Sums over rows."""

    samples: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    reference_cost_usd: float


_COLUMNS = tuple(LedgerRow.__annotations__)
_SQL_TYPES = {
    "run_id": "TEXT",
    "model": "TEXT",
    "status": "TEXT",
    "error": "TEXT",
    "time": "REAL",
    "cost_usd": "REAL",
}
_SQLITE = "sqlite:///"


class Ledger:
    """Keeps every bill, in memory or in an SQLite file.

    Safe to share between threads; an SQLite ledger also between processes. Rows of one draw are written
    together or not at all.

    Args:
        url: ``"sqlite:///path"``, or ``None`` for memory.

    Raises:
        ConfigError: If the URL is of another kind, or the file cannot be opened.
    """

    def __init__(self, url: str | None = None) -> None:
        """Open the ledger, creating the file's table where it is missing."""
        self.url = url
        self._lock = threading.Lock()
        self._rows: list[LedgerRow] = []
        self._local = threading.local()
        if url is not None:
            if not url.startswith(_SQLITE) or url == _SQLITE:
                raise ConfigError(f"a ledger's url is 'sqlite:///path' (or none, for memory), got {url!r}")
            try:
                columns = ", ".join(f"{name} {_SQL_TYPES.get(name, 'NUMERIC')}" for name in _COLUMNS)
                with self._connection() as connection:
                    connection.execute(f"CREATE TABLE IF NOT EXISTS samples ({columns})")
            except sqlite3.Error as error:
                raise ConfigError(f"cannot open the ledger {url!r}: {error}") from error

    def __repr__(self) -> str:
        """Show where it is kept."""
        return f"Ledger({self.url!r})" if self.url else "Ledger()"

    def __getstate__(self) -> dict[str, object]:
        """Pickle where it is kept; a ledger in memory goes along with its rows."""
        return {"url": self.url, "rows": self._rows}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Open it again."""
        self.__init__(state["url"])  # type: ignore[misc]
        self._rows = list(state["rows"])  # type: ignore[call-overload]

    @property
    def is_persistent(self) -> bool:
        """Whether writing touches a disk."""
        return self.url is not None

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Write rows, all or none."""
        if not self.is_persistent:
            with self._lock:
                self._rows += rows
            return
        marks = ", ".join("?" * len(_COLUMNS))
        with self._connection() as connection:
            connection.executemany(
                f"INSERT INTO samples ({', '.join(_COLUMNS)}) VALUES ({marks})",
                [tuple(row[name] for name in _COLUMNS) for row in rows],  # type: ignore[literal-required]
            )

    def rows(self) -> list[LedgerRow]:
        """Return every row, in writing order."""
        if not self.is_persistent:
            with self._lock:
                return [row.copy() for row in self._rows]
        query = f"SELECT {', '.join(_COLUMNS)} FROM samples ORDER BY rowid"
        with closing(self._connection().execute(query)) as found:
            rows: list[Any] = [dict(zip(_COLUMNS, row, strict=True)) for row in found]
        for row in rows:
            row["estimated"] = bool(row["estimated"])
        return rows

    def totals(self, by: Literal["model", "day"] | None = None) -> dict[str, Totals]:
        """Add rows up.

        Args:
            by: ``"model"`` (pool name) or ``"day"`` (``YYYY-MM-DD``, UTC); ``None`` puts all under ``"all"``.

        Raises:
            ConfigError: If ``by`` is something else.
        """
        if by not in (None, "model", "day"):
            raise ConfigError(f"totals: by must be one of {named(('model', 'day'))} or None, got {by!r}")
        totals: dict[str, Totals] = {}
        for row in self.rows():
            day = time.strftime("%Y-%m-%d", time.gmtime(row["time"]))
            key = {"model": row["model"], "day": day}.get(by or "", "all")
            total = totals.setdefault(
                key,
                {
                    "samples": 0,
                    "input_tokens": 0,
                    "output_tokens": 0,
                    "cost_usd": 0.0,
                    "reference_cost_usd": 0.0,
                },
            )
            total["samples"] += 1
            total["input_tokens"] += row["input_tokens"]
            total["output_tokens"] += row["output_tokens"]
            total["cost_usd"] += row["cost_usd"]
            total["reference_cost_usd"] += row["reference_cost_usd"]
        return totals

    @property
    def cost_usd(self) -> float:
        """What all samples cost."""
        return sum(row["cost_usd"] for row in self.rows())

    @property
    def reference_cost_usd(self) -> float:
        """What the reference alone would have cost."""
        return sum(row["reference_cost_usd"] for row in self.rows())

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's own connection; a forked process opens new ones."""
        if getattr(self._local, "process", None) != os.getpid():
            path = str(self.url)[len(_SQLITE) :]
            self._local.connection = sqlite3.connect(path, timeout=60.0)
            self._local.connection.execute("PRAGMA journal_mode=WAL")
            self._local.connection.execute("PRAGMA synchronous=FULL")
            self._local.process = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection
