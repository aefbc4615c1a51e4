"""What a trained router makes of log-probabilities on the demo set: a part of ``docs/evidence.md``.

One greedy draw of each of two models, accepted by ``exp(sum)``; five folds by group, several deals. Plans, acceptance
levels and the price that met a drop of 1 % are chosen inside the training folds. Minutes a deal on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from evidence_demo import DEARER, LARGE, SMALL, answers_of, stand_in
from experiments import averaged

from bestroute.demo.dataset import demo_pool, demo_records
from bestroute.evaluation.evaluate import cross_fit
from bestroute.evaluation.report import report_on
from bestroute.evaluation.series import Scored
from bestroute.labels import SampleArrays
from bestroute.records.records import ModelSamples, Record
from bestroute.router.train_settings import DEALS, TrainSettings
from bestroute.types.arrays import FloatArray
from bestroute.types.pool import Pool
from bestroute.types.prices import Price

FOLDS, SEEDS, RESAMPLES = 5, 2, 2000
STAND_IN = "stand-in"


@dataclass(frozen=True, eq=False)
class Draws:
    """One draw of a model for each query."""

    quality: FloatArray
    probability: FloatArray
    input_tokens: FloatArray
    output_tokens: FloatArray


def pool_of(prices: Mapping[str, Price], reference: str) -> Pool:
    """Return a pool of single draws."""
    return Pool(tuple(prices), prices, reference, max_n=1)


def arrays_of(records: Sequence[Record], pool: Pool, draws: Mapping[str, Draws]) -> SampleArrays:
    """Return records that hold one draw of each model, whose reward is its probability."""
    made = [
        replace(
            record,
            samples={
                model: ModelSamples(
                    quality=(float(own.quality[q]),),
                    reward=(float(own.probability[q]),),
                    input_tokens=float(own.input_tokens[q]),
                    output_tokens=(float(own.output_tokens[q]),),
                )
                for model, own in draws.items()
            },
        )
        for q, record in enumerate(records)
    ]
    return SampleArrays.of(made, pool)


def routed(arrays: SampleArrays, *, seeds: int = SEEDS) -> dict[str, Any]:
    """Return the router's figures when it was frozen for a drop of 1 %, a mean over deals of folds."""
    runs: list[Scored] = []
    for seed in range(seeds):
        runs.append(
            cross_fit(arrays, TrainSettings(seed=seed), folds=FOLDS, seed=seed, deals=DEALS, resamples=10).scored
        )
    scored = averaged(runs)
    report = report_on(scored, dict.fromkeys(scored.series["frozen"].parameters), resamples=RESAMPLES)
    frozen = report["frozen"]["0.01"]
    return {
        name: {"value": frozen[key], "ci95": frozen[ci]}
        for name, key, ci in (
            ("saving", "saving", "saving_ci95"),
            ("drop", "drop", "drop_ci95"),
            ("gain_over_hull", "gain_over_hull_plans", "gain_ci95"),
        )
    }


def greedy_draws(records: Sequence[Record], model: str) -> Draws:
    """Return the greedy answers with their probabilities."""
    greedy = [record.samples[model].greedy for record in records]
    return Draws(
        quality=np.array([one.quality for one in greedy if one is not None]),
        probability=np.exp([one.signals.sum_logprob for one in greedy if one is not None and one.signals is not None]),
        input_tokens=np.array([one.input_tokens for one in greedy if one is not None]),
        output_tokens=np.array([one.output_tokens for one in greedy if one is not None]),
    )


def measure(say: Callable[[str], None] = print) -> dict[str, Any]:
    """Return the figures of both pools."""
    records, prices = demo_records(), demo_pool().prices
    large, small = greedy_draws(records, LARGE), greedy_draws(records, SMALL)
    quality, _ = stand_in(answers_of(records, LARGE))
    better = replace(large, quality=quality, probability=np.ones(len(quality)))
    dearer = Price(prices[LARGE].input * DEARER, prices[LARGE].output * DEARER)
    pools = {
        "pool": ({SMALL: prices[SMALL], LARGE: prices[LARGE]}, {SMALL: small, LARGE: large}),
        "stand_in": ({LARGE: prices[LARGE], STAND_IN: dearer}, {LARGE: large, STAND_IN: better}),
    }
    figures: dict[str, Any] = {"deals": SEEDS}
    for name, (priced, draws) in pools.items():
        say(f"routers: {name}")
        figures[name] = routed(arrays_of(records, pool_of(priced, tuple(draws)[-1]), draws))
    return figures
