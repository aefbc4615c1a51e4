"""Trains the router that the demo ships: ``python -m bestroute.demo.build``.

It sees the training groups only. Strength of the penalty, shrinkage and the policy's price are chosen on folds by
group inside them, and are then frozen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bestroute.cost import plan_costs
from bestroute.demo.arms import Arms, arms_of
from bestroute.demo.dataset import POLICIES, RECORDS, ROUTER, demo_pool, demo_records, training
from bestroute.demo.tasks import check
from bestroute.plans import Candidate, Plan
from bestroute.policies import QualityPolicy
from bestroute.pool import Pool
from bestroute.prediction import Prediction
from bestroute.protocols import FloatArray
from bestroute.query import Query
from bestroute.records import Record, read_records, write_records
from bestroute.router.features import featurise
from bestroute.router.multi_head import MultiHeadRouter, fit_heads, seen_hash

FOLDS = 5
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
SAVINGS = (0.1, 0.3, 0.5)
"""Operating points: for each, the price at which the policy comes closest to that saving on the folds. Nothing is
promised by that; the demo shows what comes of it on groups that were not seen."""


def relabel() -> int:
    """Check every recorded answer anew and write the records back; for when a checker was mended.

    Returns:
        How many samples have another quality now.
    """
    changed = 0
    records = []
    for record in read_records(RECORDS):
        samples = {}
        for model, old in record.samples.items():
            quality = tuple(check(record.extra, text) for text in old.text or ())
            changed += sum(new != before for new, before in zip(quality, old.quality, strict=True))
            samples[model] = replace(old, quality=quality)
        records.append(replace(record, samples=samples))
    write_records(RECORDS, records)
    return changed


def build(records: Sequence[Record], pool: Pool) -> tuple[MultiHeadRouter, dict[float, float]]:
    """Train a router for majority votes on records.

    Args:
        records: Of the training groups.
        pool: The demo pool.

    Returns:
        The router, whose own policy is the most careful operating point, and the price of each.
    """
    arms = arms_of(records, pool, pool.candidates())
    features = featurise([Query(r.query) for r in records])
    targets = np.hstack([arms.match_probability, arms.quality])
    folds = _folds([r.group for r in records])
    guesses = {l2: _out_of_fold(features, targets, folds, l2) for l2 in PENALTIES}
    shrinkage = {l2: _best_shrinkage(*guess, targets) for l2, guess in guesses.items()}
    errors = {
        l2: float(((means + shrinkage[l2] * deviations - targets) ** 2).mean())
        for l2, (means, deviations) in guesses.items()
    }
    l2 = min(errors, key=errors.__getitem__)
    means, deviations = guesses[l2]
    prices = _prices(means + shrinkage[l2] * deviations, arms, records, pool)
    weights, target_means, center = fit_heads(features, targets, l2=l2)
    router = MultiHeadRouter(
        pool=pool,
        plans=tuple(Plan.of(candidate) for candidate in arms.candidates),
        weights=weights,
        means=target_means,
        center=center,
        output_tokens=arms.output_tokens.mean(axis=0),
        shrinkage=shrinkage[l2],
        seen=frozenset(seen_hash(name) for r in records for name in (r.id, r.group)),
        default_policy=QualityPolicy(prices[min(SAVINGS)]),
    )
    return router, prices


def _folds(groups: Sequence[str]) -> FloatArray:
    """Deal groups to folds; the same whatever their order."""
    names = sorted(set(groups))
    dealt = np.random.default_rng(0).permutation(len(names)) % FOLDS
    fold_of = dict(zip(names, dealt, strict=True))
    return np.array([fold_of[group] for group in groups])


def _out_of_fold(
    features: FloatArray, targets: FloatArray, folds: FloatArray, l2: float
) -> tuple[FloatArray, FloatArray]:
    """Predict each fold by heads fitted on the others: training means, and deviations from them."""
    means, deviations = np.zeros_like(targets), np.zeros_like(targets)
    for fold in range(FOLDS):
        inside = folds == fold
        weights, mean, center = fit_heads(features[~inside], targets[~inside], l2=l2)
        means[inside] = mean
        deviations[inside] = (features[inside] - center) @ weights
    return means, deviations


def _best_shrinkage(means: FloatArray, deviations: FloatArray, targets: FloatArray) -> float:
    """Return the factor in [0, 1] with the least squared error, in closed form."""
    return float(np.clip(((targets - means) * deviations).sum() / (deviations**2).sum(), 0.0, 1.0))


def _prices(heads: FloatArray, arms: Arms, records: Sequence[Record], pool: Pool) -> dict[float, float]:
    """Choose, for each operating point, the price of quality that comes closest to its saving on the folds."""
    plans = tuple(Plan.of(candidate) for candidate in arms.candidates)
    match, quality = np.split(np.clip(heads, 0, 1), 2, axis=1)
    tokens = np.tile(arms.output_tokens.mean(axis=0), (len(records), 1))
    prediction = Prediction(plans, match, quality, tokens)
    inputs = np.array([float(Query(r.query).prompt_tokens) for r in records])  # as the engine will see them
    costs = plan_costs(plans, prediction.expected_draws, tokens, inputs, pool)
    reference = arms.cost_usd[:, arms.candidates.index(Candidate(pool.reference))].mean()
    rows = np.arange(len(records))
    savings = {}
    for price in np.geomspace(1e-3, 1e-7, 801):  # from careful to cheap
        chosen = QualityPolicy(float(price)).choose(prediction, costs, pool)
        savings[float(price)] = 1 - arms.cost_usd[rows, chosen].mean() / reference
    return {wanted: min(savings, key=lambda price: abs(savings[price] - wanted)) for wanted in SAVINGS}


def main() -> None:
    """Check the recorded answers, train on the training groups, write the router and its operating points."""
    changed = relabel()
    demo_records.cache_clear()
    router, prices = build(training(), demo_pool())
    router.save_pretrained(ROUTER)
    POLICIES.write_text(json.dumps({str(saving): price for saving, price in prices.items()}, indent=1) + "\n")
    print(f"{changed} samples relabelled")  # noqa: T201
    print(f"shrinkage {router.shrinkage:.3f}, prices {prices}, fingerprint {router.fingerprint}")  # noqa: T201


if __name__ == "__main__":
    main()
