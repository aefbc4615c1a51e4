"""What the engine does on the first day, with members and prices alone: a part of ``docs/evidence.md``.

The engine itself answers all questions, in several orders, by recorded answers; what it learns of which steps pay it
learns on the way. Against the reference asked once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
from auroc import Estimate
from evidence_demo import BEST_OF, DEARER, LARGE

from bestroute import BestRoute, Pool, Price
from bestroute.demo.dataset import demo_pool, demo_records
from bestroute.demo.tasks import check
from bestroute.generators.replay import ReplayGenerator
from bestroute.records.records import ModelSamples, Record
from bestroute.stats.bootstrap import interval, resample_groups
from bestroute.types.arrays import FloatArray

ORDERS = 10
STAND_IN = "stand-in"


def stand_in_samples(record: Record) -> ModelSamples:
    """Return samples of a better reference: a right one of any five of the model's own, where there is one."""
    own, random = record.samples[LARGE], Random(record.id)
    taken = []
    for _ in range(own.size):
        drawn = random.sample(range(own.size), BEST_OF)
        taken.append(max(drawn, key=lambda i: own.quality[i] or 0.0))

    def column(values: Sequence[Any] | None) -> Any:
        return None if values is None else tuple(values[i] for i in taken)

    return ModelSamples(
        quality=column(own.quality),
        text=column(own.text),
        input_tokens=own.input_tokens,
        output_tokens=column(own.output_tokens),
    )


def stand_in_pool() -> Pool:
    """Return the model below a reference at ten times its price."""
    price = demo_pool().prices[LARGE]
    dearer = Price(price.input * DEARER, price.output * DEARER)
    return Pool([LARGE, STAND_IN], {LARGE: price, STAND_IN: dearer}, STAND_IN, bills_input="once")


def first_days(records: Sequence[Record], pool: Pool, *, orders: int = ORDERS) -> dict[str, Any]:
    """Return saving and drop of the engine without router and reward model, a mean over orders of the questions."""
    quality, usd = (np.zeros((orders, len(records))) for _ in range(2))
    for order in range(orders):
        members = {model: ReplayGenerator(records, model, seed=order) for model in pool.models}
        engine = BestRoute(pool, members)
        for q in np.random.default_rng(order).permutation(len(records)):
            result = engine.run(records[q].query)
            quality[order, q], usd[order, q] = check(records[q].extra, result.text), result.cost_usd
    price = pool.prices[pool.reference]
    samples = [record.samples[pool.reference] for record in records]
    reference_quality = np.array([np.mean(one.known_quality) for one in samples])
    reference_usd = np.array(
        [
            ((one.input_tokens or 0) * price.input + np.mean(one.output_tokens or (0,)) * price.output) / 1e6
            for one in samples
        ]
    )
    weights = np.vstack(
        [np.full(len(records), 1 / len(records)), resample_groups([r.group for r in records], resamples=2000)]
    )
    dearest = max(float(row.sum() / reference_usd.sum() - 1) for row in usd)
    return {
        "saving": _relative(weights, usd.mean(axis=0), reference_usd).to_json(),
        "drop": _relative(weights, quality.mean(axis=0), reference_quality).to_json(),
        "extra_of_the_dearest_order": dearest,
        "orders": orders,
    }


def _relative(weights: FloatArray, own: FloatArray, reference: FloatArray) -> Estimate:
    values = 1 - (weights @ own) / (weights @ reference)
    return Estimate(float(values[0]), interval(values[1:]))


def measure(say: Callable[[str], None] = print) -> dict[str, Any]:
    """Return the figures of both pools."""
    logging.getLogger("bestroute").setLevel(logging.ERROR)
    say("day one: the demo's pool")
    records = list(demo_records())
    figures = {"pool": first_days(records, demo_pool())}
    say("day one: below the stand-in")
    with_reference = [
        replace(record, samples={LARGE: record.samples[LARGE], STAND_IN: stand_in_samples(record)})
        for record in records
    ]
    figures["stand_in"] = first_days(with_reference, stand_in_pool())
    return figures


if __name__ == "__main__":
    import json

    print(json.dumps(measure(), indent=1))
