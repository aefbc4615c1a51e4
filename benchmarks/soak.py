"""A soak: many calls at once against a server that fails a fifth of all requests. ``python benchmarks/soak.py``.

The loopback server runs in a process of its own; by its switches it answers with 429, 500 and 503, hangs up, or sends
an empty reply. Each way runs with a ledger in memory, on SQLite and on a PostgreSQL server started for it.
Every call must be answered, the ledger must agree with the server's own bill to the token, and memory, threads and
open files must be flat. Prints the figures and exits with 1 if any of that does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

from bestroute import BestRoute, Ledger, OpenAIGenerator, Plan, Pool, Price, Query, Result, Step
from bestroute.testing import FakeReward, LoopbackServer
from bestroute.testing.postgres_server import PostgresServer
from bestroute.types.settings import Settings

MEMBER = "chaos-17-{}"
EMPTY = 0.036
"""17 % of requests are refused or cut off; of the others this share comes back empty: a fifth in all."""
PRICES = {"small": Price(0.15, 0.6), "mid": Price(0.5, 1.5), "large": Price(2.5, 10.0)}
PLANS = (
    [Plan((Step("small"),))] * 5
    + [Plan((Step("small", 3),))] * 2
    + [Plan((Step("small", 2, 0.9), Step("mid", 1, 0.9), Step("large")))] * 3
)


def serve(pipe: Connection, seed: int) -> None:
    """Run the server; answer ``"bill"`` with what was billed so far, and stop at ``"stop"``."""
    chance, lock = random.Random(seed), threading.Lock()
    empty = 0

    def answer(model: str, messages: list[dict[str, object]]) -> str:
        nonlocal empty
        with lock:
            is_empty, length = chance.random() < EMPTY, chance.randint(3, 30)
            empty += is_empty
        return "" if is_empty else " ".join(["word"] * length)

    with LoopbackServer() as server:
        server.answers = answer
        pipe.send(server.base_url)
        while pipe.recv() == "bill":
            with server.brain.lock:
                statuses = [bill.status for bill in server.bills]
            counts = {status: statuses.count(status) for status in ("ok", "failed", "cancelled")}
            pipe.send({**server.usage, **counts, "injected": empty + counts["failed"] + counts["cancelled"]})


def rss_mb() -> float:
    """Return this process's memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Count open files and sockets."""
    return len(os.listdir("/proc/self/fd"))


class Soak:
    """One run: counts answers and takes the time and the memory."""

    def __init__(self, base_url: str, calls: int, ledger_url: str | None) -> None:
        """Make an engine."""
        self.calls, self.lock = calls, threading.Lock()
        self.latency: list[float] = []
        self.memory: list[float] = []
        self.errors: list[str] = []
        self.cost_usd = 0.0
        self.samples = self.retried = self.fallbacks = 0
        members = {m: OpenAIGenerator(MEMBER.format(m), base_url=base_url, api_key="none", timeout=900) for m in PRICES}
        chance = random.Random(1)
        plans = [chance.choice(PLANS) for _ in range(997)]
        reward = FakeReward(lambda text: min(1.0, len(text) / 150), is_probability=True)
        reward.scored = _Nowhere()
        self.engine = BestRoute(
            Pool(tuple(PRICES), PRICES, "large"),
            members,
            lambda query: plans[int(query.text.split()[-1]) % len(plans)],
            reward,
            ledger=Ledger(ledger_url, keep_rows=2000),
            settings=Settings(attempts=6, first_wait_s=0.01, max_wait_s=0.2, breaker_failures=50),
        )

    def query(self, i: int) -> Query:
        """Return the i-th query."""
        return Query(f"what is the answer to question {i}")

    def note(self, result: Result, seconds: float) -> None:
        """Note an answer."""
        with self.lock:
            self.latency.append(seconds)
            self.cost_usd += result.cost_usd
            self.samples += len(result.samples)
            self.retried += sum(not s.is_sound for s in result.samples)
            self.fallbacks += "failed" in result.decision.reason
            if not result.text.strip():
                self.errors.append("an empty answer")
            if len(self.latency) % max(1, self.calls // 20) == 0:
                gc.collect()
                self.memory.append(rss_mb())

    def in_threads(self, at_once: int) -> None:
        """Make all calls from threads."""

        def one(i: int) -> None:
            started = time.perf_counter()
            try:
                self.note(self.engine.run(self.query(i)), time.perf_counter() - started)
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")

        with self.engine, ThreadPoolExecutor(at_once) as threads:
            list(threads.map(one, range(self.calls)))

    async def in_tasks(self, at_once: int) -> None:
        """Make all calls from tasks."""
        numbers = iter(range(self.calls))

        async def worker() -> None:
            for i in numbers:
                started = time.perf_counter()
                try:
                    self.note(await self.engine.arun(self.query(i)), time.perf_counter() - started)
                except Exception as error:
                    self.errors.append(f"{type(error).__name__}: {error}")

        async with self.engine:
            await asyncio.gather(*(worker() for _ in range(at_once)))
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            self.errors.append(f"{len(left)} tasks are left")


class _Nowhere(list[list[str]]):
    def append(self, item: list[str]) -> None:
        """Forget it: the fake's diary would grow."""


def soak(way: str, calls: int, at_once: int, ledger_url: str | None) -> tuple[bool, float]:
    """Run one way; print its figures, return whether all held, and the seconds a call."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, 7), daemon=True)
    process.start()
    run = Soak(ours.recv(), calls, ledger_url)
    threads, files, started = threading.active_count(), open_files(), time.perf_counter()
    if way == "threads":
        run.in_threads(at_once)
    else:
        asyncio.run(run.in_tasks(at_once))
    seconds = time.perf_counter() - started
    gc.collect()
    ours.send("bill")
    billed = ours.recv()
    ours.send("stop")
    process.join()
    run.engine.ledger.close()
    total = run.engine.ledger.totals()["all"]
    tokens = {"input": total["input_tokens"], "output": total["output_tokens"]}
    cost = sum(part["cost_usd"] for part in run.engine.ledger.totals(by="model").values())
    settled = run.memory[len(run.memory) // 4 :]
    growth = settled[-1] - settled[0]
    requests = billed["ok"] + billed["failed"] + billed["cancelled"]
    checks = {
        "every call was answered": len(run.latency) == calls and not run.errors,
        "a row for every request": total["samples"] == requests == run.samples,
        "tokens as the server billed them": tokens == {"input": billed["input"], "output": billed["output"]},
        "results add up to the ledger": abs(run.cost_usd - cost) < 1e-9,
        "memory is flat": growth < 10.0,
        "no thread is left": threading.active_count() == threads,
        "no file is left open": open_files() <= files + 2,
    }
    p50, p99 = statistics.median(run.latency), statistics.quantiles(run.latency, n=100)[98]
    print(f"{way}: {calls} calls, {at_once} at once, {seconds:.0f} s, {calls / seconds:.0f} calls/s")
    print(
        f"  {requests} requests, {billed['injected']} faults injected ({billed['injected'] / requests:.1%}), "
        f"{run.retried} samples repeated, {run.fallbacks} calls fell back"
    )
    print(f"  latency p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
    print(f"  billed {tokens['input']} + {tokens['output']} tokens, the server {billed['input']} + {billed['output']}")
    print(f"  cost {cost:.9f} USD in the ledger, {run.cost_usd:.9f} USD in the results")
    print(f"  memory {settled[0]:.1f} MB after a quarter, {settled[-1]:.1f} MB at the end ({growth:+.1f})")
    for name, holds in checks.items():
        print(f"  {'ok ' if holds else 'NO '} {name}")
    for error in run.errors[:5]:
        print(f"      {error}")
    return all(checks.values()), seconds / calls


def main() -> None:
    """Read the arguments and run both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=30_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--ways", nargs="+", default=["tasks", "threads"], choices=["tasks", "threads"])
    parser.add_argument(
        "--ledgers", nargs="+", default=["memory", "sqlite", "postgresql"], choices=["memory", "sqlite", "postgresql"]
    )
    arguments = parser.parse_args()
    logging.getLogger("bestroute").setLevel(logging.ERROR)  # every injected fault would be a line
    with contextlib.ExitStack() as stack:
        urls = ledger_urls(arguments.ledgers, stack)
        held = []
        for way in arguments.ways:
            first: float | None = None
            for name, url in urls.items():
                print(f"ledger: {name}")
                holds, seconds = soak(way, arguments.calls, arguments.at_once, url(way) if url else None)
                held.append(holds)
                first = first or seconds
                print(f"  {1000 * seconds:.2f} ms a call, {seconds / first:.2f} x the first ledger's")
    sys.exit(0 if all(held) else 1)


def ledger_urls(names: list[str], stack: contextlib.ExitStack) -> dict[str, Callable[[str], str] | None]:
    """Return where each run's ledger is, by kind and way; leaves out what cannot be here."""
    urls: dict[str, Callable[[str], str] | None] = {}
    for name in names:
        if name == "memory":
            urls[name] = None
        elif name == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            urls[name] = lambda way, folder=folder: f"sqlite:///{folder}/{way}.db"  # type: ignore[misc]
        elif (why := PostgresServer.missing()) is None:
            server = stack.enter_context(PostgresServer())
            urls[name] = lambda way, server=server: server.new_url()  # type: ignore[misc]
        else:
            print(f"{name}: skipped, {why}")
    return urls


if __name__ == "__main__":
    main()
