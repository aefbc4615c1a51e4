"""How many decisions a second: queries read, predicted and chosen in batches, on one core and on all of them.

Seconds are the processor's, so that a busy machine does not count. Prints where they go: reading queries (features),
predicting, choosing. What more cores or machines would do beyond those that are here is arithmetic, and says so.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from bestroute import QualityPolicy, Query
from bestroute.features.hashing import featurise
from bestroute.labels import SampleArrays
from bestroute.router import MultiHeadRouter
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import synthetic_pool, synthetic_records

WORDS = (
    "what is the sum of twelve and seven times a list where each order has date customer amount explain how to find "
    "ten best items write function that returns 42 if x not in table why does code fail with error"
).split()
BATCH = 256


def queries(count: int, words: int) -> list[Query]:
    """Return queries of so many words in the mean, no two alike."""
    rng = np.random.default_rng(0)
    lengths = np.maximum(3, rng.poisson(words, count))
    return [Query(f"{i}: " + " ".join(rng.choice(WORDS, length)) + "?") for i, length in enumerate(lengths)]


def trained() -> MultiHeadRouter:
    """Return a router of three models."""
    arrays = SampleArrays.of(synthetic_records(400), synthetic_pool(), reward="quality")
    return train_router(arrays, TrainSettings(reward="quality")).router


def decide(router: MultiHeadRouter, log: Sequence[Query]) -> dict[str, float]:
    """Decide on queries in batches; return the processor's seconds by step."""
    policy, spent = QualityPolicy(0.001), dict.fromkeys(("read", "predict", "choose"), 0.0)
    for start in range(0, len(log), BATCH):
        batch = log[start : start + BATCH]
        began = time.process_time()
        features = featurise(batch)
        read = time.process_time()
        prediction = router.predict(batch, features)
        predicted = time.process_time()
        costs = prediction.expected_draws.sum(axis=2) * 1e-4
        policy.choose(prediction, costs, router.pool)
        for name, seconds in zip(spent, (read - began, predicted - read, time.process_time() - predicted), strict=True):
            spent[name] += seconds
    return spent


def one_by_one(router: MultiHeadRouter, log: Sequence[Query]) -> float:
    """Return the processor's seconds where each query is decided on alone."""
    began = time.process_time()
    for query in log:
        decide(router, [query])
    return time.process_time() - began


def _worker(arguments: tuple[MultiHeadRouter, list[Query]]) -> float:
    return sum(decide(*arguments).values())


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=4096)
    count = options.parse_args().count
    router = trained()
    for words in (15, 60, 250):
        log = queries(count, words)
        decide(router, log[:BATCH])
        best = min((decide(router, log) for _ in range(3)), key=lambda spent: sum(spent.values()))
        total = sum(best.values())
        steps = ", ".join(f"{name} {1e6 * seconds / count:.0f} us" for name, seconds in best.items())
        alone = one_by_one(router, log[: count // 8]) * 8
        print(f"{words} words a query: {count / total:,.0f} decisions a second of one core ({steps})")
        print(f"  one by one {count / alone:,.0f}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    log = queries(count, 60)
    with multiprocessing.get_context("spawn").Pool(cores) as workers:
        workers.map(_worker, [(router, log[:BATCH])] * cores, chunksize=1)
        began = time.perf_counter()
        seconds = workers.map(_worker, [(router, log)] * cores, chunksize=1)
        wall = time.perf_counter() - began
    rate = sum(count / s for s in seconds)
    print(
        f"{cores} processes at once, 60 words: {rate:,.0f} a second of their processor time, "
        f"{cores * count / wall:,.0f} by the clock at a load of {os.getloadavg()[0]:.1f}; "
        "beyond these cores it is arithmetic: processes share nothing"
    )


if __name__ == "__main__":
    main()
