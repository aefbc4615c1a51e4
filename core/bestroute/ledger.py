"""The ledger: a row for every sample drawn, failed and cancelled ones too."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Literal, TypedDict

from bestroute.errors import ConfigError, named
from bestroute.process_state import ProcessState
from bestroute.settings import check_count

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
_PATIENCE_S = 10.0
"""How long a write waits for another process's."""
logger = logging.getLogger(__name__)


class Ledger(ProcessState):
    """Keeps every bill, in memory or in an SQLite file.

    Safe to share between threads, and with forked processes; an SQLite ledger also between any processes. Rows of
    one draw are written together or not at all. No query is ever stored, and errors are stored without secrets.
    A file that cannot be written (disk full, locked for long) costs no answer: its rows wait in memory, count in
    every total, are logged as an error, and go to the file with the next rows it takes.

    Args:
        url: ``"sqlite:///path"``, or ``None`` for memory.
        keep_rows: How many rows memory keeps, the newest. Totals count those it has let go, too.

    Raises:
        ConfigError: If the URL is of another kind, or the file cannot be opened.
    """

    def __init__(self, url: str | None = None, *, keep_rows: int = 100_000) -> None:
        """Open the ledger, creating the file's table where it is missing."""
        super().__init__()
        check_count(keep_rows, "Ledger: keep_rows")
        self.url, self.keep_rows = url, keep_rows
        self._rows: deque[tuple[Any, ...]] = deque()
        """In memory; of a file, those that wait to be written."""
        self._gone: dict[tuple[str, str], Totals] = {}
        """Sums over rows that memory has let go, by model and day."""
        self._open()

    def _open(self) -> None:
        self._local = threading.local()
        self._inherited: list[Any] = []
        if self.url is None:
            return
        if not self.url.startswith(_SQLITE) or self.url == _SQLITE:
            raise ConfigError(f"a ledger's url is 'sqlite:///path' (or none, for memory), got {self.url!r}")
        try:
            self._write([])
        except sqlite3.Error as error:
            raise ConfigError(f"cannot open the ledger {self.url!r}: {error}") from error

    def __repr__(self) -> str:
        """Show where it is kept."""
        return f"Ledger({self.url!r})" if self.url else "Ledger()"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle where it is kept; a ledger in memory goes along with its rows, those that wait for a file do not."""
        with self._guard():
            return {"url": self.url, "keep_rows": self.keep_rows, "_rows": self._rows.copy(), "_gone": dict(self._gone)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open it again."""
        super().__setstate__(state)
        self._open()

    @property
    def is_persistent(self) -> bool:
        """Whether writing touches a disk."""
        return self.url is not None

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Write rows, all or none; what a file does not take waits."""
        values = [tuple(row[name] for name in _COLUMNS) for row in rows]  # type: ignore[literal-required]
        if not self.is_persistent:
            self._keep(values)
            return
        with self._guard():
            values = [*self._rows, *values]
            self._rows.clear()
        try:
            self._write(values)
        except sqlite3.Error as error:
            self._keep(values)
            logger.error(
                "the ledger %r cannot be written (%s): %d rows wait in memory; make room or mend the file",
                self.url,
                error,
                len(values),
            )

    def _keep(self, values: Sequence[tuple[Any, ...]]) -> None:
        with self._guard():
            self._rows.extend(values)
            while len(self._rows) > self.keep_rows:
                _add_up(self._gone, [_as_row(self._rows.popleft())], ("model", "day"))

    def _write(self, values: Sequence[tuple[Any, ...]]) -> None:
        """Add rows to the file, whose table is made where it is missing."""
        columns = ", ".join(f"{name} {_SQL_TYPES.get(name, 'NUMERIC')}" for name in _COLUMNS)
        marks = ", ".join("?" * len(_COLUMNS))
        with self._connection() as connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS samples ({columns})")
            connection.executemany(f"INSERT INTO samples ({', '.join(_COLUMNS)}) VALUES ({marks})", values)

    def _forget_parent(self) -> None:
        if self.is_persistent:  # rows that wait are written by the process that drew them
            self._rows, self._gone = deque(), {}

    def rows(self) -> list[LedgerRow]:
        """Return every row that is kept, in writing order, those that wait for a file last.

        Raises:
            ConfigError: If the file cannot be read.
        """
        return self._told()[0]

    def _told(self) -> tuple[list[LedgerRow], dict[tuple[str, str], Totals]]:
        """Return rows that are kept, and sums over those that memory has let go, of one moment."""
        found = self._written() if self.is_persistent else []
        with self._guard():
            gone = {key: total.copy() for key, total in self._gone.items()}
            found.extend(self._rows)
        return [_as_row(values) for values in found], gone

    def _written(self) -> list[tuple[Any, ...]]:
        try:
            with closing(
                self._connection().execute(f"SELECT {', '.join(_COLUMNS)} FROM samples ORDER BY rowid")
            ) as found:
                return list(found)
        except sqlite3.Error as error:
            raise ConfigError(f"cannot read the ledger {self.url!r}: {error}") from error

    def totals(self, by: Literal["model", "day"] | None = None) -> dict[str, Totals]:
        """Add rows up, those that memory has let go among them.

        Args:
            by: ``"model"`` (pool name) or ``"day"`` (``YYYY-MM-DD``, UTC); ``None`` puts all under ``"all"``.

        Raises:
            ConfigError: If ``by`` is something else, or the file cannot be read.
        """
        if by not in (None, "model", "day"):
            raise ConfigError(f"totals: by must be one of {named(('model', 'day'))} or None, got {by!r}")
        rows, gone = self._told()
        totals: dict[str, Totals] = {}
        for (model, day), part in gone.items():
            _merge(totals.setdefault({"model": model, "day": day}.get(by or "", "all"), _nothing()), part)
        sums: dict[tuple[str, ...], Totals] = {}
        _add_up(sums, rows, (by,) if by else ())
        for key, part in sums.items():
            _merge(totals.setdefault(key[0] if key else "all", _nothing()), part)
        return totals

    @property
    def cost_usd(self) -> float:
        """What all samples cost."""
        return self._total["cost_usd"]

    @property
    def reference_cost_usd(self) -> float:
        """What the reference alone would have cost."""
        return self._total["reference_cost_usd"]

    @property
    def _total(self) -> Totals:
        return self.totals().get("all", _nothing())

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's own connection; a forked process opens new ones."""
        if getattr(self._local, "process", None) != os.getpid():
            if hasattr(self._local, "connection"):
                self._inherited.append(self._local.connection)  # the parent's: closing it here would break its locks
            path = str(self.url)[len(_SQLITE) :]
            self._local.connection = sqlite3.connect(path, timeout=_PATIENCE_S)
            self._local.connection.execute("PRAGMA journal_mode=WAL")
            self._local.connection.execute("PRAGMA synchronous=FULL")
            self._local.process = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection


def _as_row(values: Iterable[Any]) -> LedgerRow:
    row: Any = dict(zip(_COLUMNS, values, strict=True))
    row["estimated"] = bool(row["estimated"])
    return row  # type: ignore[no-any-return]


def _nothing() -> Totals:
    return {"samples": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0, "reference_cost_usd": 0.0}


def _merge(total: Totals, part: Totals) -> None:
    total["samples"] += part["samples"]
    total["input_tokens"] += part["input_tokens"]
    total["output_tokens"] += part["output_tokens"]
    total["cost_usd"] += part["cost_usd"]
    total["reference_cost_usd"] += part["reference_cost_usd"]


def _add_up(totals: dict[Any, Totals], rows: Iterable[LedgerRow], by: Sequence[str]) -> None:
    """Add rows to the totals of their keys: model, day, both, or nothing."""
    for row in rows:
        told = {"model": row["model"]}
        if "day" in by:
            told["day"] = time.strftime("%Y-%m-%d", time.gmtime(row["time"]))
        part: Totals = {
            "samples": 1,
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "cost_usd": row["cost_usd"],
            "reference_cost_usd": row["reference_cost_usd"],
        }
        _merge(totals.setdefault(tuple(told[name] for name in by), _nothing()), part)
