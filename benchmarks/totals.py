"""What totals over a million rows take: ``python benchmarks/totals.py``.

Prints seconds, processor time of this process (on SQLite that is all of it) and the growth of its memory, by everything
that totals can be told apart by, on SQLite and on a local PostgreSQL; exits with 1 if a sum is wrong, or takes 2 s or
100 MB. A machine that is busy with other work is told by seconds far above the processor time.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time

import sqlalchemy as sa

from bestroute import Ledger
from bestroute.billing.database.ledger_tables import _samples
from bestroute.billing.ledger import LedgerRow
from bestroute.testing.postgres_server import PostgresServer

WAYS: tuple[tuple[str, ...], ...] = (
    ("model",),
    ("day",),
    ("hour",),
    ("reason",),
    ("plan",),
    ("kind",),
    ("tag",),
    ("tag:team",),
    ("model", "day"),
)
SECONDS, MEGABYTES = 2.0, 100.0
WRITTEN = 5000
"""Rows that are written; the database repeats them."""


def row(i: int) -> LedgerRow:
    """Return the i-th row: 4 models, 10 sets of tags, 7 reasons, a call every 3 s."""
    return {
        "call_id": str(i),
        "time": 1.7e9 + 3.0 * i,
        "model": f"model-{i % 4}",
        "step": 0,
        "status": "ok" if i % 10 else "failed",
        "input_tokens": 100 + i % 50,
        "output_tokens": 50,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": 0.001,
        "estimated": False,
        "error": None,
        "reference_cost_usd": 0.01,
        "plan": f"model-{i % 4} x 1",
        "reason": f"the cheapest plan that is good enough, {i % 7}",
        "tags": {"team": ("search", "ads", "mail", "maps", "video")[i % 5], "env": ("prod", "test")[i // 5 % 2]},
    }


def fill(url: str, rows: int) -> None:
    """Write some rows and repeat them, each time later."""
    with Ledger(url) as ledger:
        ledger.add([row(i) for i in range(WRITTEN)], timeout_s=60)
    names = [column.name for column in _samples.columns if column.name not in ("position", "row_id", "time", "hour")]
    copied = ", ".join(names)
    later = f"time + {3 * WRITTEN}.0 * n, hour + {3 * WRITTEN} * n / 3600"
    numbers = f"WITH RECURSIVE times(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM times WHERE n < {rows // WRITTEN - 1})"
    engine = sa.create_engine(url) if url.startswith("sqlite") else sa.create_engine(_of_server(url))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO bestroute_samples ({copied}, time, hour) {numbers} "
            f"SELECT {copied}, {later} FROM times, (SELECT * FROM bestroute_samples) AS written"
        )
        if not url.startswith("sqlite"):
            connection.exec_driver_sql("ANALYZE bestroute_samples")
    engine.dispose()


def _of_server(url: str) -> sa.URL:
    from bestroute.billing.database.address import read_address

    address = read_address(url, "the benchmark")
    return sa.URL.create(
        "postgresql+psycopg", address.user, address.password, address.host, address.port, address.name, address.options
    )


def peak_mb() -> float:
    """Return the largest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def measure(name: str, url: str, rows: int) -> bool:
    """Print what every way takes; return whether all hold."""
    fill(url, rows)
    ledger = Ledger(url)
    ledger.totals()
    held = True
    for by in WAYS:
        before, started, cpu = peak_mb(), time.perf_counter(), time.process_time()
        totals = ledger.totals(by)
        seconds, cpu, grown = time.perf_counter() - started, time.process_time() - cpu, peak_mb() - before
        counted = sum(total["samples"] for total in totals.values())
        expected = rows * (2 if "tag" in by else 1)  # a row counts under each of its two tags
        took = cpu if name == "sqlite" else seconds
        holds = counted == expected and took < SECONDS and grown < MEGABYTES
        print(
            f"{'ok ' if holds else 'NO '} {name}, by {', '.join(by)}: {seconds:.2f} s ({cpu:.2f} s of processor time), "
            f"{len(totals)} totals, {grown:+.1f} MB"
        )
        held = held and holds
    ledger.close()
    return held


def main() -> None:
    """Measure each database."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    held = []
    with tempfile.TemporaryDirectory() as folder:
        held.append(measure("sqlite", f"sqlite:///{folder}/bills.db", rows))
    if (why := PostgresServer.missing()) is None:
        with PostgresServer() as server:
            held.append(measure("postgresql", server.new_url(), rows))
    else:
        print(f"postgresql: skipped, {why}")
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
