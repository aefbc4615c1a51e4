"""What a trained router makes of log-probabilities on the demo set: a part of ``docs/evidence.md``.

Two models, one greedy draw of each, accepted by ``exp(sum)``; five folds by group, several deals. Plans, acceptance
levels and the price that met a drop of 1 % are chosen inside the training folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments import averaged

from bestroute.evaluation.evaluate import cross_fit
from bestroute.evaluation.report import report_on
from bestroute.evaluation.series import Scored
from bestroute.labels import SampleArrays
from bestroute.records.records import ModelSamples, Record
from bestroute.router.train_settings import TrainSettings
from bestroute.types.arrays import FloatArray
from bestroute.types.pool import Pool
from bestroute.types.prices import Price

FOLDS, SEEDS, RESAMPLES = 5, 5, 2000


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
