"""What a trained router makes of log-probabilities on the demo set: a part of ``docs/evidence.md``.

One greedy draw of each of two models, accepted by ``exp(sum)``; five folds by group, several deals. Plans, acceptance
levels and the price that met a drop of 1 % are chosen inside the training folds. Minutes a deal on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from evidence_demo import LARGE, SMALL, Answers, answers_of, stand_in
from experiments import averaged

from bestroute.demo.dataset import demo_records
from bestroute.evaluation.evaluate import cross_fit
from bestroute.evaluation.report import report_on
from bestroute.evaluation.series import Scored
from bestroute.labels import SampleArrays
from bestroute.records.records import ModelSamples, Record
from bestroute.router.train_settings import TrainSettings
from bestroute.types.arrays import FloatArray
from bestroute.types.pool import Pool
from bestroute.types.prices import Price

FOLDS, SEEDS, RESAMPLES = 5, 3, 2000
STAND_IN = "stand-in"


@dataclass(frozen=True, eq=False)
class Draws:
    """One draw of a model for each query."""

    quality: FloatArray
    probability: FloatArray
    cost_usd: FloatArray


def pool_of(models: Sequence[str], reference: str) -> Pool:
    """Return a pool of single draws; what each one cost is recorded, so that prices are not used."""
    return Pool(models, {model: Price(1.0, 1.0) for model in models}, reference, max_n=1)


def arrays_of(records: Sequence[Record], pool: Pool, draws: Mapping[str, Draws]) -> SampleArrays:
    """Return records that hold one draw of each model, whose reward is its probability."""
    made = [
        replace(
            record,
            samples={
                model: ModelSamples(
                    quality=(float(own.quality[q]),),
                    reward=(float(own.probability[q]),),
                    input_tokens=1,
                    output_tokens=(1,),
                    cost_usd=(float(own.cost_usd[q]),),
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
        runs.append(cross_fit(arrays, TrainSettings(seed=seed), folds=FOLDS, seed=seed, resamples=10).scored)
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


def greedy_draws(answers: Answers) -> Draws:
    """Return the greedy answers with their probabilities."""
    return Draws(answers.greedy_quality, answers.greedy_probability, answers.greedy_cost_usd)


def measure(say: Callable[[str], None] = print) -> dict[str, Any]:
    """Return the figures of both pools."""
    records = demo_records()
    large, small = (answers_of(records, model) for model in (LARGE, SMALL))
    quality, usd = stand_in(large)
    pools = {
        "pool": (LARGE, {SMALL: greedy_draws(small), LARGE: greedy_draws(large)}),
        "stand_in": (STAND_IN, {LARGE: greedy_draws(large), STAND_IN: Draws(quality, np.ones(len(quality)), usd)}),
    }
    figures: dict[str, Any] = {"deals": SEEDS}
    for name, (reference, draws) in pools.items():
        say(f"routers: {name}")
        figures[name] = routed(arrays_of(records, pool_of(tuple(draws), reference), draws))
    return figures
