"""Changing the pool of a trained router: a member comes with few labelled queries, or goes for free.

The heads of a router are linear in a few directions (a hard query, a long answer), and they are told apart by their
columns alone. So a new member is new columns, a member that leaves takes its columns with it, and no other number
changes, to the last bit.

The new columns are learnt from few records, too few to learn anything from texts. What the router's own labels say
of a record tells where it lies along the directions, better than any prediction could; the new labels are regressed
on that place, and what is predicted of a query's place is left to the router as it is. This is exact if the new
member's success depends on a query only through how the old members fare on it; what is peculiar to the new member
is not learnt. Because no prediction of a labelled query is used, it does no harm if the router was trained on it.
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
"""A new member needs at least so many labelled queries."""
FEWEST_GROUPS = 5
"""Of at least so many groups."""
MOST_PLANS = 12
"""Plans with acceptance that a new member brings, at most, beside its candidates."""
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Of the regression, as a share of the place's variance in a direction; beside them, no slope at all."""
FOLDS = 10
CAUTION = 0.5
"""So many standard errors are taken off a new plan's mean quality and match probability: of many plans those are
chosen that were lucky on the few records."""


@on_one_core
def add_model(
    router: MultiHeadRouter, arrays: SampleArrays, *, on_progress: Callable[[str], object] | None = None
) -> MultiHeadRouter:
    """Let one more model into a router; predictions about all others stay as they are, bit by bit.

    A frozen price of quality is raised where, by the router's own predictions, the wider choice would miss a target
    that was met without it, or miss it by more, and the default policy with it. Promises go, since they were shown
    about other choices.

    Args:
        router: A trained router.
        arrays: Records with samples of every model of the new pool, which is the router's with one model more,
            anywhere but the reference. They may be among those the router was trained on.
        on_progress: Told what is under way, and how much was learnt.

    Raises:
        ConfigError: If the pool is not the router's with one model more.
        RecordError: If there are too few records, or they lack what the router's plans need.
    """
    tell = on_progress or (lambda _: None)
    pool = arrays.pool
    model = new_member(router.pool, pool)
    groups = len(set(arrays.groups))
    if len(arrays) < FEWEST_QUERIES or groups < FEWEST_GROUPS:
        raise RecordError(
            f"a new member needs at least {FEWEST_QUERIES} labelled queries of at least {FEWEST_GROUPS} groups, got "
            f"{len(arrays)} of {groups}; label more, with samples of every model of the new pool"
        )
    check_scale(arrays)
    tell("searching plans")
    longest = max(len(plan.steps) for plan in router.plans)  # what the records that it was trained on paid for
    found = search_plans(arrays, offered=MOST_PLANS, most_steps=max(longest, USUAL_MEMBERS))
    cap = cap_n(arrays)[model]
    candidates = [Plan.of(c) for c in pool.candidates(max_n=cap) if c.model == model]
    with_it = [plan for plan in (*found.offered, *found.hull) if model in plan.models and plan.candidate is None]
    new = HeadLayout(tuple(dict.fromkeys([*candidates, *with_it]))[: cap + MOST_PLANS], (model,))
    tell(f"labelling {len(router.plans) + len(new.plans)} plans on {len(arrays)} records")
    margin = router.settings.margin
    targets = _heads(new, label_plans(arrays, new.plans, margin=margin), arrays)
    places = _places(router, _heads(router.layout, label_plans(arrays, router.plans, margin=margin), arrays))
    fit = _regress(places, targets, new.scales(targets), deal_folds(arrays.groups, min(FOLDS, groups)))
    means = fit.means.copy()
    means[: 2 * len(new.plans)] -= CAUTION * standard_errors(fit.left, arrays.groups)[: 2 * len(new.plans)]
    tell(f"{fit.explained:.0%} of how {model} varies over left-out queries follows the other members")
    plans = tuple(sorted([*router.plans, *new.plans], key=lambda plan: _order(plan, pool)))
    layout = HeadLayout(plans, pool.models)
    slopes = dict(zip(router.plans, router.match_slopes, strict=True))
    usual = _usual_slope(router)
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
    frozen = _as_careful(router, extended, arrays)
    follows = router.default_policy == policy_for(router.frozen.get(DEFAULT_TARGET))
    return replace(
        extended,
        frozen=frozen,
        default_policy=policy_for(frozen.get(DEFAULT_TARGET)) if follows else router.default_policy,
    )


def remove_model(router: MultiHeadRouter, model: str) -> MultiHeadRouter:
    """Let a model go, and every plan that may ask it; predictions about all others stay as they are, bit by bit.

    It takes no records. Prices of quality and the default policy stay; promises go, since they were shown about
    other choices.

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
    """Return the model that a pool has more than another.

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
    left: FloatArray
    """What labels had beyond the prediction for their left-out fold, shape ``(Q, H)``."""


def _heads(layout: HeadLayout, labels: PlanLabels, arrays: SampleArrays) -> FloatArray:
    """Return what the heads of a layout should have said of records, shape ``(Q, H)``."""
    tokens = np.nanmean(arrays.output_tokens, axis=2)[:, [arrays.pool.models.index(m) for m in layout.models]]
    return layout.join(labels.match_probability, labels.quality, labels.draws, tokens)


def _places(router: MultiHeadRouter, heads: FloatArray) -> FloatArray:
    """Return where records lie along the router's directions by their labels, shape ``(Q, R)``."""
    scales = router.layout.scales(heads)
    deviations = (heads - router.means) * scales
    return np.asarray(deviations @ np.linalg.pinv(router.loadings * scales, rcond=1e-6))


def _regress(places: FloatArray, targets: FloatArray, scales: FloatArray, folds: IntArray) -> _Fit:
    """Regress new heads on places, with the penalty that left-out groups like best; perhaps without any slope.

    The means are what the regression says of the place 0, the mean of the router's training queries: the labelled
    ones may be harder or easier than those.
    """
    penalties = (*PENALTIES, None)
    left = np.zeros((len(penalties), *targets.shape))
    for fold in np.unique(folds):
        inside = folds == fold
        for i, penalty in enumerate(penalties):
            means, loadings = _ridge(places[~inside], targets[~inside], penalty)
            left[i, inside] = targets[inside] - means - places[inside] @ loadings
    errors = ((left * scales) ** 2).sum(axis=(1, 2))
    best = int(errors.argmin())
    means, loadings = _ridge(places, targets, penalties[best])
    return _Fit(means, loadings, float(1 - errors[best] / max(errors[-1], 1e-300)), left[best])


def _ridge(places: FloatArray, targets: FloatArray, penalty: float | None) -> tuple[FloatArray, FloatArray]:
    """Return intercepts ``(H,)`` and slopes ``(R, H)``; ``None``: no slopes."""
    center, means = places.mean(axis=0), targets.mean(axis=0)
    if penalty is None:
        return means, np.zeros((places.shape[1], targets.shape[1]))
    gram = (places - center).T @ (places - center)
    damped = gram + (penalty * np.trace(gram) / max(len(gram), 1) + 1e-12) * np.eye(len(gram))
    slopes = np.linalg.solve(damped, (places - center).T @ (targets - means))
    return means - center @ slopes, slopes


def _as_careful(before: MultiHeadRouter, router: MultiHeadRouter, arrays: SampleArrays) -> dict[str, float | None]:
    """Raise the frozen prices at which the wider choice would miss the target, by predictions for records.

    A price of quality is no drop: at the same price a good cheap member draws queries away from dear plans. No more is
    asked of the router than of the one before, which may have missed the target on these few records too. What the
    labels say of the choices cannot be asked: where the router has seen the records, they look better than they are.
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
    """Return the mean quality a router expects of its choices at prices, shape ``(C,)``, and of the reference."""
    pool, rows = router.pool, np.arange(len(arrays))
    prediction, cost = predicted(router, arrays, pool=pool)
    chosen = np.array([QualityPolicy(price).choose(prediction, cost, pool) for price in prices], dtype=np.intp)
    reference = prediction.expected_quality[:, router.plans.index(pool.reference_plan)].mean()
    return prediction.expected_quality[rows, chosen.reshape(-1, len(rows))].mean(axis=1), float(reference)


def _usual_slope(router: MultiHeadRouter) -> float:
    """Return how much deviations of match probabilities are believed in the mean of all plans but the reference's."""
    others = [i for i, plan in enumerate(router.plans) if plan != router.pool.reference_plan]
    usual = router.match_slopes[others].mean() if others else router.shrinkage
    return float(np.float32(usual))


def _order(plan: Plan, pool: Pool) -> tuple[int, int]:
    """Sort candidates first, in the order of the pool, then all others as they come."""
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
