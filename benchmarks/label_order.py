"""Which queries are best labelled first? Routers from the first 100 labels, by four orders, on recorded answers.

``python benchmarks/label_order.py --shared ../shared --work .venv-live``; a row each set, deal and order is kept in the
folder ``--work``. By lot; the queries first whose answers differ most; and by what a label is expected to change: a
ridge regression of the two members' difference in quality on the text's statistics and the answers' agreement, refitted
after every 25 labels, says how likely a label moves a query over the line at which its plan changes, and by how much.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from live_coverage import ARMS  # first: it sets how many threads numpy may use

import numpy as np  # isort: skip

from scipy.stats import norm

from bestroute.features.query_statistics import statistics
from bestroute.labels import SampleArrays, label_plans
from bestroute.policies.policies import QualityPolicy
from bestroute.records.records import Record, read_records
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.selection.answer_form import answer_form
from bestroute.stats.hull import hull_quality
from bestroute.types.arrays import FloatArray
from bestroute.types.pool import Pool
from bestroute.types.query import Query

SETS = {"cruxeval_output": "cruxeval", "reasoning_gym": "reasoning_gym", "tool_calls": "tool_calls"}
LABELS, FIRST, BATCH, DEALS = 100, 50, 25, 5
DROPS = (0.01, 0.03)


def agreement(record: Record) -> float:
    """Return the share of a record's answers that say what most of them say."""
    forms = [answer_form(text) for samples in record.samples.values() for text in samples.text or ()]
    return max(map(forms.count, forms)) / len(forms)


def changes(x: FloatArray, gap: FloatArray, known: list[int]) -> FloatArray:
    """Return what a label of each query is expected to be worth, in quality; -1 where there is one already.

    Args:
        x: What is read of the queries, shape ``(Q, D)``.
        gap: The reference's quality less the cheap member's; only that of ``known`` is looked at.
        known: Queries that have a label.
    """
    inverse = np.linalg.inv(x[known].T @ x[known] + 10 * np.eye(x.shape[1]))
    weights = inverse @ (x[known].T @ gap[known])
    noise = max(float(((gap[known] - x[known] @ weights) ** 2).mean()), 1e-3)
    guess, doubt = x @ weights, np.sqrt(noise * np.einsum("ij,jk,ik->i", x, inverse, x))
    away = (guess - max(float(np.median(guess)), 0.02)) / doubt  # the line is where half of the queries are cheap
    worth = doubt * (norm.pdf(away) - np.abs(away) * norm.cdf(-np.abs(away)))
    worth[known] = -1
    return np.asarray(worth)


def orders(records: list[Record], gap: FloatArray, rng: np.random.Generator) -> Iterator[tuple[str, list[int]]]:
    """Yield the queries that each order labels."""
    lot, agree = rng.permutation(len(records)), np.array([agreement(record) for record in records])
    yield "by lot", lot[:LABELS].tolist()
    yield "differing first", lot[np.argsort(agree[lot], kind="stable")][:LABELS].tolist()
    x = np.array([statistics(Query(record.query), longest=4000) for record in records], dtype=float)
    x = np.column_stack([(x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9), agree, agree**2, np.ones(len(x))])
    for name, share in (("what changes most", 1.0), ("half by lot, half what changes most", 0.5)):
        known = lot[:FIRST].tolist()
        while len(known) < LABELS:
            size = min(BATCH, LABELS - len(known))
            known += np.argsort(-changes(x, gap, known), kind="stable")[: round(share * size)].tolist()
            known += [i for i in lot.tolist() if i not in set(known)][: size - round(share * size)]
        yield name, known


def savings(train: SampleArrays, test: SampleArrays, deal: int) -> list[float]:
    """Return what the best mixture of a router's prices saves on the test part at each of ``DROPS``."""
    router = train_router(train, TrainSettings(seed=deal, forest=False)).router
    test = test.with_token_means(train.token_means)
    labels = label_plans(test, router.plans, matches=False)
    prediction, cost = predicted(router, test)
    rows, own = np.arange(len(test)), router.plans.index(test.pool.reference_plan)
    made = [np.full(len(rows), own), *(QualityPolicy(v).choose(prediction, cost, test.pool) for v in router.path)]
    drop = np.array([1 - labels.quality[rows, c].mean() / labels.quality[:, own].mean() for c in made])
    saved = np.array([1 - labels.cost_usd[rows, c].mean() / labels.cost_usd[:, own].mean() for c in made])
    return [float(saved_at) for saved_at in hull_quality(drop, saved, np.array(DROPS))]


def run(name: str, shared: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a set."""
    cheap, reference = ARMS[name]
    assert cheap is not None
    assert reference is not None
    full = Pool.from_file(shared / "data" / "pools" / f"{SETS[name]}.yaml")
    pool = Pool([cheap, reference], {m: full.prices[m] for m in (cheap, reference)}, reference=reference, max_n=1)
    records = [
        replace(r, group=r.id, samples={m: r.samples[m] for m in (cheap, reference)})
        for r in read_records(shared / "data" / f"{name}.jsonl.gz", pool=full)
    ]
    arrays = SampleArrays.of(records, pool)
    quality = np.nanmean(arrays.quality, axis=2)
    for deal in range(DEALS):
        dealt = np.random.default_rng(deal).permutation(len(records))
        half = min(len(dealt) // 2, 1500)
        train, test = dealt[:half], dealt[half : half + 1000]
        gap = quality[train, 1] - quality[train, 0]
        for order, chosen in orders([records[i] for i in train], gap, np.random.default_rng(deal)):
            saved = savings(arrays.take(train[chosen]), arrays.take(test), deal)
            yield {"set": name, "deal": deal, "order": order, "saved": saved}


def main() -> None:
    """Make the rows of all sets and print their means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    given = parser.parse_args()
    for name in given.only:
        rows = []
        for row in run(name, given.shared):
            rows.append(row)
            with (given.work / "label_order.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
        for order in dict.fromkeys(row["order"] for row in rows):
            saved = 100 * np.array([row["saved"] for row in rows if row["order"] == order])
            error = saved.std(axis=0, ddof=1) / np.sqrt(len(saved))
            print(
                name, order, [f"{m:.1f} ({e:.1f})" for m, e in zip(saved.mean(axis=0), error, strict=True)], flush=True
            )


if __name__ == "__main__":
    main()
