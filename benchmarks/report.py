"""What a report of a million ledger rows takes: ``python benchmarks/report.py``.

Makes a ledger on SQLite of 1.6 rows a call, every call noted for audits and 3 % compared, and runs ``bestroute report``
in a process of its own; prints seconds, processor time and peak memory, and exits with 1 above 20 s of processor time
or 500 MB.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bestroute import Ledger
from bestroute.billing.ledger import LedgerRow
from bestroute.billing.outcomes import CallOutcome

MODELS = ("small", "medium", "large")
PLANS = ("small x 3 until 0.7, then large x 1", "small x 1", "large x 1", "medium x 2")
SECONDS, MEGABYTES = 20.0, 500.0


def fill(path: Path, rows: int) -> int:
    """Write the ledger; return how many calls it has."""
    chance, written, calls = random.Random(0), 0, 0
    with Ledger(f"sqlite:///{path}") as ledger:
        while written < rows:
            batch: list[LedgerRow] = []
            outcomes = []
            while len(batch) < min(20_000, rows - written):
                bills, outcome = call(chance, 1.78e9 + 4.0 * calls)
                batch += bills
                outcomes.append(outcome)
                calls += 1
            ledger.add(batch, outcomes=outcomes, timeout_s=100)
            written += len(batch)
    return calls


def call(chance: random.Random, at: float) -> tuple[list[LedgerRow], CallOutcome]:
    """Return one call's rows, and what is known of it."""
    name, plan = f"{chance.getrandbits(128):032x}", chance.choice(PLANS)
    tags = {"team": chance.choice(("search", "ads", "mail")), "task": chance.choice(("sums", "code", "chat"))}
    reference = chance.uniform(0.002, 0.01)
    rows: list[LedgerRow] = [
        {
            "call_id": name,
            "time": at,
            "model": chance.choice(MODELS),
            "step": 0,
            "status": "ok" if chance.random() > 0.02 else "failed",
            "input_tokens": 500,
            "output_tokens": 100,
            "cached_input_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
            "cost_usd": chance.uniform(0.0001, 0.004),
            "estimated": False,
            "error": None,
            "reference_cost_usd": 0.0 if i else reference,
            "plan": plan,
            "reason": f"the cheapest plan with a match probability of 0.{chance.randrange(6, 9)}",
            "tags": tags,
        }
        for i in range(chance.choice((1, 1, 1, 2, 3)))
    ]
    is_compared = chance.random() < 0.03
    outcome = CallOutcome(
        name,
        at,
        plan.split()[0],
        plan,
        "certain" if plan == "large x 1" else "compared" if is_compared else "unaudited",
        0.03,
        tags,
        predicted_drop=chance.uniform(0, 0.02),
        familiarity=chance.random(),
        target=0.01,
        drop=float(chance.random() < 0.01) if is_compared else None,
        cost_usd=sum(row["cost_usd"] for row in rows),
        reference_cost_usd=reference,
    )
    return rows, outcome


def main() -> None:
    """Fill the ledger and report on it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ledger", type=Path, help="Keep the ledger here; used again if it is there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.ledger or Path(folder) / "bills.db"
        if not path.exists():
            print(f"{fill(path, options.rows):,} calls written")
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "bestroute", "report", str(path), "--out", f"{folder}/report.html"]
        subprocess.run(command, check=True)
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = after.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    print(f"{options.rows:,} rows: {seconds:.1f} s, {processor:.1f} s of processor time, at most {peak:.0f} MB")
    sys.exit(0 if processor <= SECONDS and peak <= MEGABYTES else 1)


if __name__ == "__main__":
    main()
