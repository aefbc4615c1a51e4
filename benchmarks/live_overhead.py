"""What noting calls for audits adds to a call: the same calls with audits on and off, in turn, as a ratio.

    python benchmarks/live_overhead.py --calls 2000

Members answer at once, so the engine's own time is all there is; the ledger is in memory, then on SQLite. What audits
themselves take is their threads', and not a call's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bestroute import BestRoute, Ledger, Pool, Price
from bestroute.testing import FakeGenerator

QUESTION = "What is 12 * 7? Answer with only the number."


def seconds_a_call(engine: BestRoute, calls: int) -> float:
    """Return the median time of a call, by its thread's own clock, which other processes do not slow."""
    times = []
    for _ in range(calls):
        start = time.thread_time()
        engine.run(QUESTION)
        times.append(time.thread_time() - start)
    return statistics.median(times)


def main() -> None:
    """Measure in blocks, in turn, so that what else the machine does falls on both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    arguments = parser.parse_args()
    pool = Pool(["small", "large"], {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}, "large")
    with tempfile.TemporaryDirectory() as folder:
        for name, url in (("memory", None), ("SQLite", f"sqlite:///{Path(folder) / 'bills.db'}")):
            with Ledger(url) as ledger:
                members = {model: FakeGenerator(["84"]) for model in pool.models}
                engine = BestRoute(pool, members, lambda query: "small", ledger=ledger)
                blocks, times = 10, {0.0: [], 0.04: []}  # type: int, dict[float, list[float]]
                for i in range(2 * blocks):
                    engine.audit = 0.04 if i % 2 else 0.0
                    times[engine.audit].append(seconds_a_call(engine, arguments.calls // blocks))
                engine.close()
            off, on = (statistics.median(times[share]) for share in (0.0, 0.04))
            print(f"{name}: {1000 * off:.3f} ms a call, {1000 * on:.3f} ms with audits, ratio {on / off:.2f}")


if __name__ == "__main__":
    main()
