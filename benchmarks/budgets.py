"""What a shared budget takes, and whether it holds: ``python benchmarks/budgets.py``.

Prints the time a reserving and a settling call takes on SQLite and on a local PostgreSQL, as a ratio to memory, one
after another and many at once; then lets processes spend at a budget's edge, one killed midway, clocks 90 s apart, a
dead process freeing what it may within the run, and exits with 1 if what was billed passes the budget plus one call in
flight per process.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bestroute import Budget
from bestroute.testing.postgres_server import PostgresServer

USD = 0.01
"""What every call costs."""
RELEASE_S = 2.0
"""After how long of silence a process counts as dead."""


def one_by_one(budget: Budget, calls: int) -> float:
    """Return the median milliseconds of a call that reserves and settles."""
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        budget.reserve(1e-9)
        budget.settle(1e-9, 1e-9)
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken)


async def at_once(budget: Budget, calls: int) -> float:
    """Return the milliseconds a call, of so many begun together."""

    async def call() -> None:
        await budget.areserve(1e-9)
        budget.settle(1e-9, 1e-9)

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(calls)))
    return 1000 * (time.perf_counter() - started) / calls


def spend(url: str, usd: float, calls: int, skew_s: float, bill: str) -> None:
    """Spend what the budget lets through; the provider bills what it is asked."""
    real = time.time
    time.time = lambda: real() + skew_s
    budget = Budget(usd, store=url, release_s=RELEASE_S)

    async def call(i: int) -> None:
        attempt_id = f"{os.getpid()}-{i}"
        if await budget.areserve(USD, attempt_id=attempt_id):
            with open(bill, "ab", buffering=0) as file:
                file.write(b"x")
            await asyncio.sleep(0.001 * (i % 40))
            budget.settle(USD, USD, attempt_id=attempt_id)

    async def every() -> None:
        await asyncio.gather(*(call(i) for i in range(calls)))

    asyncio.run(every())
    time.sleep(1.5 * RELEASE_S)
    while budget.reserve(USD):  # what the dead one has freed by now
        with open(bill, "ab", buffering=0) as file:
            file.write(b"x")
        budget.settle(USD, USD)
    budget.close()


def at_the_edge(url: str, processes: int, calls: int) -> bool:
    """Spend at the edge of a budget; print what came of it, and return whether it held."""
    usd = round(0.6 * processes * calls * USD, 6)
    with tempfile.TemporaryDirectory() as folder:
        bill = Path(folder) / "bill"
        context = multiprocessing.get_context("spawn")
        skews = [0.0, 90.0, -90.0, 0.0]
        workers = [
            context.Process(target=spend, args=(url, usd, calls, skews[k % 4], str(bill))) for k in range(processes)
        ]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        while not bill.exists():
            time.sleep(0.01)
        time.sleep(0.05)
        os.kill(int(workers[-1].pid or 0), signal.SIGKILL)
        for worker in workers:
            worker.join()
        seconds, billed = time.perf_counter() - started, USD * bill.stat().st_size
    noted = Budget(usd, store=url).spent_usd
    holds = billed <= usd + processes * USD and noted <= usd + processes * USD
    print(
        f"  {'ok ' if holds else 'NO '} {processes} processes x {calls} calls, one killed: budget {usd:.2f} USD, "
        f"billed {billed:.2f}, noted {noted:.2f}, {seconds:.1f} s"
    )
    return holds


def main() -> None:
    """Read the arguments and run it on every store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2500)
    parser.add_argument("--processes", type=int, default=4)
    arguments = parser.parse_args()
    memory = one_by_one(Budget(1.0), 1000)
    print(f"memory: {memory:.4f} ms a call")
    held = []
    with tempfile.TemporaryDirectory() as folder:
        held.append(run("sqlite", f"sqlite:///{folder}/budget.db", memory, arguments))
    if (why := PostgresServer.missing()) is None:
        with PostgresServer() as server:
            held.append(run("postgresql", server.new_url(), memory, arguments))
    else:
        print(f"postgresql: skipped, {why}")
    sys.exit(0 if all(held) else 1)


def run(name: str, url: str, memory_ms: float, arguments: argparse.Namespace) -> bool:
    """Measure one store."""
    budget = Budget(1.0, store=url, name="time")
    alone = one_by_one(budget, 300)
    together = asyncio.run(at_once(budget, arguments.calls))
    budget.close()
    print(
        f"{name}: {alone:.2f} ms a call one by one ({alone / memory_ms:.0f} x memory), "
        f"{together:.3f} ms of {arguments.calls} at once ({together / memory_ms:.0f} x)"
    )
    return at_the_edge(url, arguments.processes, arguments.calls)


if __name__ == "__main__":
    main()
