"""How long a decision takes: ``route()`` for 8 models with n up to 5 and a query of 400 tokens, on one core.

Prints the time in milliseconds, and as a ratio to a call of a similar kind that everybody has: ``json.loads`` of a
1 MB document, timed in the same run.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from bestroute import BestRoute, MajorityVote, Plan, Pool, Price, Query, ThresholdPolicy
from bestroute.router.features import WIDTH
from bestroute.router.multi_head import MultiHeadRouter
from bestroute.testing import FakeGenerator


def engine() -> BestRoute:
    """Return an engine with a router of 36 plans over 8 models."""
    names = [f"model-{k}" for k in range(8)]
    pool = Pool(names, {m: Price(0.1 * (k + 1), 0.4 * (k + 1)) for k, m in enumerate(names)}, names[-1])
    plans = tuple(Plan.of(c) for c in pool.candidates())
    rng = np.random.default_rng(0)
    router = MultiHeadRouter(
        pool=pool,
        plans=plans,
        weights=rng.normal(0, 0.1, (WIDTH, 2 * len(plans))),
        means=np.full(2 * len(plans), 0.5),
        center=np.zeros(WIDTH),
        output_tokens=np.full(len(names), 100.0),
    )
    members = {name: FakeGenerator(["x"]) for name in names}
    return BestRoute(pool, members, router, MajorityVote(), ThresholdPolicy(0.8))


def milliseconds(call: Callable[[], object], *, repeats: int = 500) -> np.ndarray:
    """Time a call again and again."""
    for _ in range(5):
        call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    return np.array(times)


def main() -> None:
    """Print the figures."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    router = engine()
    text = "Given a list of orders, each with a date, a customer and an amount, explain how to find the ten best. "
    query = Query((text * 20)[:1600])
    route = milliseconds(lambda: router.route(query))
    document = json.dumps([{"a": i, "b": str(i)} for i in range(40_000)])
    loads = milliseconds(lambda: json.loads(document), repeats=20)
    p50, p95 = np.percentile(route, (50, 95))
    print(f"route(), 8 models x n <= 5 (36 plans), query of {query.prompt_tokens} tokens, one core:")
    print(f"  p50 {p50:.3f} ms, p95 {p95:.3f} ms; {p50 / np.median(loads):.3f} of json.loads of 1 MB in this run")


if __name__ == "__main__":
    main()
