"""Changing the pool of a trained router: add a member with few labelled queries, or remove one without any.

The heads of a router are linear in a few latent directions (difficulty of the query, length of the answer), and each
head has a column of its own. So a new member adds columns, a removed member takes its columns away, and no other
number changes, to the last bit.

The new columns are learnt from few records, too few to learn anything from texts. A record's labels for the existing
plans determine its position along the directions, more precisely than any prediction; the new labels are regressed on
these positions. Predicting a query's position is left to the existing router. This is exact if the new member's success
depends on a query only through how the existing members do on it; anything specific to the new member is not learnt.
Since no prediction for a labelled query is used, the router may have been trained on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bestroute._utils.text import brief
from bestroute.errors import ConfigError, RecordError, named
from bestroute.labels import PlanLabels, SampleArrays, label_plans
from bestroute.labels.plan_labels import check_scale
from bestroute.policies.policies import QualityPolicy
from bestroute.records.seen import SeenRecords
from bestroute.router.heads import HeadLayout
from bestroute.router.multi_head import MultiHeadRouter
from bestroute.router.plan_length import USUAL_MEMBERS
from bestroute.router.plan_search import search_plans
from bestroute.router.predicting import predicted
from bestroute.router.shrinkage import DEFAULT_TARGET, cheapest_that_meets
from bestroute.router.train_settings import PoolChange, policy_for
from bestroute.router.training import as_saved, cap_n
from bestroute.stats.folds import deal_folds, standard_errors
from bestroute.stats.single_thread import on_one_core
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.plans import Candidate, Plan
from bestroute.types.pool import Pool

FEWEST_QUERIES = 50
"""Fewest labelled queries for a new member."""
FEWEST_GROUPS = 5
"""Fewest groups that they must belong to."""
MOST_PLANS = 12
"""Most plans with acceptance that a new member adds, besides its candidates."""
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Ridge penalties, as shares of the positions' variance in a direction; a model without slopes is tried as well."""
FOLDS = 10
CAUTION = 0.5
"""Standard errors subtracted from a new plan's mean quality and match probability, since choosing among many plans
favours those that were lucky on the few records.
"""


@on_one_core
def add_model(
    router: MultiHeadRouter, arrays: SampleArrays, *, on_progress: Callable[[str], object] | None = None
) -> MultiHeadRouter:
    """Add one model to a router; predictions about all others stay the same, bit by bit.

    A frozen price of quality is raised if, by the router's own predictions, the new choices would miss a target that
    was met before, or miss it by more; the default policy changes with it. Promises are dropped, since they were
    established for other decisions.

    Args:
        router: A trained router.
        arrays: Records with samples of every model of the new pool: the router's with one model more, which is not the
            reference. The router may have been trained on them.
        on_progress: Called with what is in progress, and how much was learnt.

    Raises:
        ConfigError: If the pool is not the router's with one model more.
        RecordError: If there are too few records, or they lack what the router's plans need.
    """
    report = on_progress or (lambda _: None)
    pool = arrays.pool
    model = new_member(router.pool, pool)
    groups = len(set(arrays.groups))
    if len(arrays) < FEWEST_QUERIES or groups < FEWEST_GROUPS:
        raise RecordError(
            f"a new member needs at least {FEWEST_QUERIES} labelled queries of at least {FEWEST_GROUPS} groups, got "
            f"{len(arrays)} of {groups}; label more, with samples of every model of the new pool"
        )
    check_scale(arrays)
    report("searching plans")
    longest = max(len(plan.steps) for plan in router.plans)  # the length that its training records supported
    found = search_plans(arrays, offered=MOST_PLANS, most_steps=max(longest, USUAL_MEMBERS))
    cap = cap_n(arrays)[model]
    candidates = [Plan.of(c) for c in pool.candidates(max_n=cap) if c.model == model]
    with_member = [plan for plan in (*found.offered, *found.hull) if model in plan.models and plan.candidate is None]
    new = HeadLayout(tuple(dict.fromkeys([*candidates, *with_member]))[: cap + MOST_PLANS], (model,))
    report(f"labelling {len(router.plans) + len(new.plans)} plans on {len(arrays)} records")
    margin = router.settings.margin
    targets = _heads(new, label_plans(arrays, new.plans, margin=margin), arrays)
    positions = _positions(router, _heads(router.layout, label_plans(arrays, router.plans, margin=margin), arrays))
    fit = _regress(positions, targets, new.scales(targets), deal_folds(arrays.groups, min(FOLDS, groups)))
    means = fit.means.copy()
    means[: 2 * len(new.plans)] -= CAUTION * standard_errors(fit.residuals, arrays.groups)[: 2 * len(new.plans)]
    report(f"the other members explain {fit.explained:.0%} of the variance of {model} over left-out queries")
    plans = tuple(sorted([*router.plans, *new.plans], key=lambda plan: _order(plan, pool)))
    layout = HeadLayout(plans, pool.models)
    slopes = dict(zip(router.plans, router.match_slopes, strict=True))
    usual = _mean_slope(router)
    hull = tuple(plan for plan in found.hull if model in plan.models and plan in plans)
    extended = replace(
        router,
        pool=pool,
        plans=plans,
        loadings=layout.arrange([(router.layout, router.loadings), (new, as_saved(fit.loadings))]),
        means=layout.arrange([(router.layout, router.means[None]), (new, as_saved(means)[None])])[0],
        match_slopes=np.array([slopes.get(plan, usual) for plan in plans]),
        fixed_plans=(*router.fixed_plans, *hull),
        token_means={**router.token_means, model: arrays.token_means[model]},
        seen_records=router.seen_records | SeenRecords.of(arrays.ids, arrays.groups),
        promises=(),
        changes=(*router.changes, PoolChange("added", model, len(arrays))),
    )
    frozen = _raise_prices(router, extended, arrays)
    follows = router.default_policy == policy_for(router.frozen.get(DEFAULT_TARGET))
    return replace(
        extended,
        frozen=frozen,
        default_policy=policy_for(frozen.get(DEFAULT_TARGET)) if follows else router.default_policy,
    )


def remove_model(router: MultiHeadRouter, model: str) -> MultiHeadRouter:
    """Remove a model and every plan that uses it; predictions about all others stay the same, bit by bit.

    Needs no records. Prices of quality and the default policy stay. Promises are dropped, since they were established
    for other decisions.

    Raises:
        ConfigError: If the pool has no such model, or it is the reference.
    """
    old = router.pool
    old.check_model(model)
    if model == old.reference:
        raise ConfigError(
            f"{model!r} is the reference, against which every label was made; train a router with another reference"
        )
    pool = without_member(old, model)
    plans = tuple(plan for plan in router.plans if model not in plan.models)
    layout = HeadLayout(plans, pool.models)
    kept = np.array([plan in plans for plan in router.plans])
    return replace(
        router,
        pool=pool,
        plans=plans,
        loadings=layout.arrange([(router.layout, router.loadings)]),
        means=layout.arrange([(router.layout, router.means[None])])[0],
        match_slopes=router.match_slopes[kept],
        token_means={m: means for m, means in router.token_means.items() if m != model},
        fixed_plans=tuple(p for p in router.fixed_plans if model not in p.models) or (pool.reference_plan,),
        promises=(),
        changes=(*router.changes, PoolChange("removed", model)),
    )


def new_member(old: Pool, new: Pool) -> str:
    """Return the model by which the new pool extends the old one.

    Raises:
        ConfigError: If that is not the only difference; prices may differ.
    """
    more = [model for model in new.models if model not in old.models]
    if len(more) != 1 or tuple(m for m in new.models if m != more[0]) != old.models:
        raise ConfigError(
            f"the new pool must be the router's, {named(old.models)} in this order, with one model more, got "
            f"{named(new.models)}; add one model at a time, and remove one with remove-model"
        )
    if new.reference != old.reference:
        raise ConfigError(
            f"the reference must stay {old.reference!r}, against which every label was made, "
            f"got {brief(new.reference)}; train a router for another reference"
        )
    return more[0]


@dataclass(frozen=True, eq=False)
class _Fit:
    """New heads: their means over the router's training queries, loadings ``(R, H)``, and the share explained."""

    means: FloatArray
    loadings: FloatArray
    explained: float
    residuals: FloatArray
    """Residuals on left-out folds, shape ``(Q, H)``."""


def _heads(layout: HeadLayout, labels: PlanLabels, arrays: SampleArrays) -> FloatArray:
    """Return the labels of records in the order of a layout's heads, shape ``(Q, H)``."""
    tokens = np.nanmean(arrays.output_tokens, axis=2)[:, [arrays.pool.models.index(m) for m in layout.models]]
    return layout.join(labels.match_probability, labels.quality, labels.draws, tokens)


def _positions(router: MultiHeadRouter, heads: FloatArray) -> FloatArray:
    """Return the positions of records along the router's directions, from their labels; shape ``(Q, R)``."""
    scales = router.layout.scales(heads)
    deviations = (heads - router.means) * scales
    return np.asarray(deviations @ np.linalg.pinv(router.loadings * scales, rcond=1e-6))


def _regress(positions: FloatArray, targets: FloatArray, scales: FloatArray, folds: IntArray) -> _Fit:
    """Regress new heads on positions, with the ridge penalty that left-out groups favour, perhaps without slopes.

    The means are the regression's values at position 0, the mean of the router's training queries: the labelled
    queries may be harder or easier than those.
    """
    penalties = (*PENALTIES, None)
    left = np.zeros((len(penalties), *targets.shape))
    for fold in np.unique(folds):
        inside = folds == fold
        for i, penalty in enumerate(penalties):
            means, loadings = _ridge(positions[~inside], targets[~inside], penalty)
            left[i, inside] = targets[inside] - means - positions[inside] @ loadings
    errors = ((left * scales) ** 2).sum(axis=(1, 2))
    best = int(errors.argmin())
    means, loadings = _ridge(positions, targets, penalties[best])
    return _Fit(means, loadings, float(1 - errors[best] / max(errors[-1], 1e-300)), left[best])


def _ridge(positions: FloatArray, targets: FloatArray, penalty: float | None) -> tuple[FloatArray, FloatArray]:
    """Return intercepts ``(H,)`` and slopes ``(R, H)`` of a ridge regression; with ``None`` the slopes are 0."""
    center, means = positions.mean(axis=0), targets.mean(axis=0)
    if penalty is None:
        return means, np.zeros((positions.shape[1], targets.shape[1]))
    gram = (positions - center).T @ (positions - center)
    damped = gram + (penalty * np.trace(gram) / max(len(gram), 1) + 1e-12) * np.eye(len(gram))
    slopes = np.linalg.solve(damped, (positions - center).T @ (targets - means))
    return means - center @ slopes, slopes


def _raise_prices(before: MultiHeadRouter, router: MultiHeadRouter, arrays: SampleArrays) -> dict[str, float | None]:
    """Raise frozen prices at which the new choices would miss the target, as predicted for the records.

    A price of quality does not fix a drop: at the same price a good cheap member attracts queries away from expensive
    plans. No more is required of the router than of the one before, which may have missed the target on these few
    records too. Predictions are compared, not labels: if the router was trained on these records, their labels look
    better than they are.
    """
    quality, reference = _expected(router, arrays, router.path)
    prices = [price for price in router.frozen.values() if price is not None]
    without = dict(zip(prices, _expected(before, arrays, prices)[0].tolist(), strict=True))
    raised: dict[str, float | None] = {}
    for target, price in router.frozen.items():
        if price is None:
            raised[target] = None
            continue
        wanted = min((1 - float(target)) * reference, without[price])
        meets = cheapest_that_meets(quality >= wanted - 1e-12)
        raised[target] = None if meets is None else max(price, router.path[meets])
    return raised


def _expected(router: MultiHeadRouter, arrays: SampleArrays, prices: Sequence[float]) -> tuple[FloatArray, float]:
    """Return the mean predicted quality of a router's choices at prices, shape ``(C,)``, and of the reference."""
    pool, rows = router.pool, np.arange(len(arrays))
    prediction, cost = predicted(router, arrays, pool=pool)
    chosen = np.array([QualityPolicy(price).choose(prediction, cost, pool) for price in prices], dtype=np.intp)
    reference = prediction.expected_quality[:, router.plans.index(pool.reference_plan)].mean()
    return prediction.expected_quality[rows, chosen.reshape(-1, len(rows))].mean(axis=1), float(reference)


def _mean_slope(router: MultiHeadRouter) -> float:
    """Return the mean slope of match probabilities over all plans but the reference's."""
    others = [i for i, plan in enumerate(router.plans) if plan != router.pool.reference_plan]
    usual = router.match_slopes[others].mean() if others else router.shrinkage
    return float(np.float32(usual))


def _order(plan: Plan, pool: Pool) -> tuple[int, int]:
    """Sort candidates first, in the order of the pool; all others stay in order."""
    candidate: Candidate | None = plan.candidate
    return (len(pool.models), 0) if candidate is None else (pool.models.index(candidate.model), candidate.n)


def without_member(pool: Pool, model: str) -> Pool:
    """Return a pool without one of its members."""
    bills = pool.bills_input
    return replace(
        pool,
        models=tuple(m for m in pool.models if m != model),
        prices={m: price for m, price in pool.prices.items() if m != model},
        bills_input=bills if isinstance(bills, str) else {m: b for m, b in bills.items() if m != model},
        endpoints={m: endpoint for m, endpoint in pool.endpoints.items() if m != model},
    )
