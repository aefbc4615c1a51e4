"""Evaluate a router on records that it was not trained on, compared with baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestroute.encoders.encoder import Encoder, Remembering
from bestroute.encoders.loading import open_encoder
from bestroute.errors import ConfigError, RecordError
from bestroute.evaluation import baselines
from bestroute.evaluation.followed import followed
from bestroute.evaluation.oracle import chosen_on_half, oracle
from bestroute.evaluation.report import report_on
from bestroute.evaluation.series import Matches, Scored, Series
from bestroute.labels import PlanLabels, SampleArrays, label_plans
from bestroute.labels.plan_labels import check_scale, fixed_candidates
from bestroute.policies.policies import QualityPolicy, promise_of
from bestroute.records.seen import SeenRecords
from bestroute.router import MultiHeadRouter
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import TrainSettings, policy_for
from bestroute.router.training import train_router
from bestroute.stats.bootstrap import RESAMPLES
from bestroute.stats.folds import deal_folds
from bestroute.stats.single_thread import on_one_core
from bestroute.types.arrays import FloatArray
from bestroute.types.bases import PolicyBase, completed
from bestroute.types.plans import Plan
from bestroute.types.prediction import Prediction
from bestroute.types.protocols import Policy

NEEDS_TRAIN = "needs TRAIN to be fitted on"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result: ``report`` is plain JSON, ``decisions`` has one entry per query."""

    report: dict[str, Any]
    decisions: tuple[Mapping[str, Any], ...]
    scored: Scored


@on_one_core
def evaluate(
    router: MultiHeadRouter,
    test: SampleArrays,
    *,
    train: SampleArrays | None = None,
    policy: Policy | None = None,
    resamples: int = RESAMPLES,
    on_progress: Callable[[str], object] | None = None,
) -> Evaluation:
    """Evaluate a router on records that it was not trained on.

    Args:
        router: A trained router.
        test: Records of its pool, with none of the ids or groups that it was trained on.
        train: Records for fitting learned baselines, which are left out without them.
        policy: The policy of the decisions; default: the router's own.
        resamples: Number of bootstrap resamples over groups.
        on_progress: Called with what is in progress.

    Raises:
        RecordError: If the router has seen a test record or its group, the policy's promise was shown on one, or
            TRAIN shares one with TEST.
        ArtifactError: If the router does not fit the pool.
    """
    refuse_seen(router, test)
    refuse_tuned(router, test, policy)
    check_scale(test)
    if train is not None:
        for what, ours, theirs in (("id", train.ids, test.ids), ("group", train.groups, test.groups)):
            if shared := sorted(set(ours) & set(theirs)):
                raise RecordError(f"TRAIN and TEST share the {what} {shared[0]!r}; split by group")
    progress = on_progress or (lambda _: None)
    scored = _score(router, test, train, policy, progress)
    progress(f"resampling {resamples} times")
    return Evaluation(report_on(scored, router.frozen, resamples=resamples), scored.decisions, scored)


@on_one_core
def cross_fit(
    records: SampleArrays,
    settings: TrainSettings,
    *,
    folds: int,
    seed: int = 0,
    deals: int = 1,
    scored_as: SampleArrays | None = None,
    policy: Policy | None = None,
    encoder: Encoder | None = None,
    resamples: int = RESAMPLES,
    on_progress: Callable[[str], object] | None = None,
) -> Evaluation:
    """Train on all but one fold, for each fold by group, and pool the evaluations on the left-out folds.

    Everything that is chosen (plans, shrinkage, prices) is chosen inside the training folds. A frozen encoder is the
    same for all folds (``encoder``, if it is made already) and reads each query once; one that is fine-tuned is
    trained anew like the rest.

    Args:
        records: All records.
        settings: The training settings.
        folds: Number of folds.
        seed: Seed of the folds.
        deals: How often each training deals its own folds.
        scored_as: The same records as they are scored, where that differs from how they are trained on (a verifier
            that errs).
        policy: The policy of the decisions; default: each router's own.
        encoder: The settings' encoder, if it is loaded already.
        resamples: Number of bootstrap resamples over groups.
        on_progress: Called with what is in progress.

    Raises:
        ConfigError: If there are fewer groups than folds, or ``folds < 2``.
    """
    if not 2 <= folds <= len(set(records.groups)):
        raise ConfigError(f"cross-fit must be in 2..{len(set(records.groups))}, the number of groups, got {folds}")
    progress = on_progress or (lambda _: None)
    fold_of = deal_folds(records.groups, folds, seed=seed)
    encoder = made_once(settings, encoder)
    scores, frozen = [], {}
    for fold in range(folds):
        train = records.take(np.flatnonzero(fold_of != fold))
        train = train.with_token_means(train.token_means)
        test = (scored_as or records).take(np.flatnonzero(fold_of == fold)).with_token_means(train.token_means)
        progress(f"fold {fold + 1} of {folds}: training")
        training = train_router(train, settings, encoder=encoder, deals=deals)
        fitted = training.router
        frozen = fitted.frozen
        progress(f"fold {fold + 1} of {folds}: scoring")
        scores.append(_score(fitted, test, train, policy, lambda _: None, training.labels))
    scored = Scored.joined(scores)
    progress(f"resampling {resamples} times")
    report = report_on(scored, dict.fromkeys(frozen), resamples=resamples)
    return Evaluation({"cross_fit": folds, **report}, scored.decisions, scored)


def made_once(settings: TrainSettings, encoder: Encoder | None) -> Encoder | None:
    """Return the encoder that all folds share; ``None`` if each fine-tunes its own."""
    if settings.encoder is None or settings.fine_tune:
        return encoder
    return Remembering(encoder or open_encoder(settings.encoder, max_tokens=settings.max_tokens))


def refuse_seen(router: MultiHeadRouter, arrays: SampleArrays) -> None:
    """Refuse records that the router was trained on, or that share a group with those.

    Raises:
        RecordError: Names the first such record.
    """
    if (record := _first_seen(router.seen_records, arrays)) is not None:
        raise RecordError(
            f"the router was trained on the {record}, so it would look too good; give other records, "
            "or --cross-fit 5 to train anew for each fold"
        )


def refuse_tuned(router: MultiHeadRouter, arrays: SampleArrays, policy: Policy | None) -> None:
    """Refuse records on which the policy's promise was established, since the price was chosen on them.

    Raises:
        RecordError: Names the first such record.
        NotTunedError: If the policy rests on a promise that the router does not have.
    """
    promise = promise_of(policy, router)
    if promise is None:
        return
    if (record := _first_seen(promise.seen_records, arrays)) is not None:
        raise RecordError(
            f"the promise of a {promise} was shown on the {record}, so it would look too good; give "
            "records that tuning has not seen"
        )


def _first_seen(seen_records: SeenRecords, arrays: SampleArrays) -> str | None:
    """Return the first of these records whose id or group is among others, as text; ``None`` if there is none."""
    for what, names, is_known in (
        ("id", arrays.ids, seen_records.has_id),
        ("group", arrays.groups, seen_records.has_group),
    ):
        if (name := next(filter(is_known, names), None)) is not None:
            return f"{what} {name!r}"
    return None


def _score(
    router: MultiHeadRouter,
    test: SampleArrays,
    train: SampleArrays | None,
    policy: Policy | None,
    progress: Callable[[str], object],
    on_train: PlanLabels | None = None,
) -> Scored:
    pool = test.pool
    router.check_pool(pool)
    progress("labelling")
    if train is not None and on_train is None:
        on_train = label_plans(train, router.plans, margin=router.settings.margin)
    labels = label_plans(test, router.plans, margin=router.settings.margin)
    progress("predicting")
    prediction, cost = predicted(router, test)
    path = router.path
    reference = router.plans.index(pool.reference_plan)
    arms = fixed_candidates(test)
    chosen = np.array([QualityPolicy(v).choose(prediction, cost, pool) for v in path])
    frozen = np.array([policy_for(v).choose(prediction, cost, pool) for v in router.frozen.values()])
    on_arms = label_plans(test, arms, matches=False)
    fixed = _labels_of(tuple(dict.fromkeys((*router.fixed_plans, pool.reference_plan))), labels, test, router)
    series = {
        "reference": Series.chosen(labels, np.full((1, len(test)), reference), (None,)),
        "arms": _fixed(on_arms),
        "plans": _fixed_path(router, fixed, train, on_train),
        "curve": Series.chosen(labels, chosen, path),
        "frozen": Series.chosen(labels, frozen, tuple(router.frozen)),
    }
    if on_train is not None and train is not None:
        series["frozen_plans"] = _frozen_plans(router, labels, test, train, on_train)
    decides = policy or router.default_policy
    if decides is not None:
        decides = completed(decides, PolicyBase).resolve(router, pool)
    decisions: tuple[Mapping[str, Any], ...] = ()
    streams = None
    if isinstance(decides, QualityPolicy) and decides.follow:
        progress("streams of calls, some of them audited")
        streams = followed(decides, router, pool, labels, prediction, cost, test.groups)
    if decides is not None:
        taken = np.asarray(decides.choose(prediction, cost, pool), dtype=np.intp)
        series["policy"] = Series.chosen(labels, taken[None], (str(decides),))
        decisions = tuple(_decision(test.ids[q], router.plans[p], prediction, cost, q, p) for q, p in enumerate(taken))
    missing: dict[str, str] = {}
    progress("baselines")
    baseline, missing = _baselines(router, test, train, prediction, cost, labels, on_train)
    others = [baseline[name] for name in ("cascade",) if name in baseline]  # what is no choice among those plans
    series["oracle"] = oracle((labels, fixed, on_arms), path, others=others)
    heads = [i for i, plan in enumerate(router.plans) if plan.candidate is not None and i != reference]
    matches = Matches(
        tuple(router.plans[i] for i in heads),
        prediction.match_probability[:, heads],
        labels.match_probability[:, heads],
    )
    return Scored(test.ids, test.groups, {**series, **baseline}, missing, decisions, matches, streams)


def _fixed(labels: PlanLabels) -> Series:
    return Series(labels.plans, labels.quality, labels.cost_usd)


def _fixed_path(
    router: MultiHeadRouter, on_test: PlanLabels, train: SampleArrays | None, on_train: PlanLabels | None
) -> Series:
    """Evaluate at each price the fixed plan that was best on the training part.

    Without TRAIN the router's own list of such plans stands for it: the plans of its training records' hull.
    """
    if train is None or on_train is None:
        return _fixed(on_test)
    known = _labels_of(on_test.plans, on_train, train, router)
    quality, cost = known.quality.mean(axis=0), known.cost_usd.mean(axis=0)
    best = np.array([(quality * price - cost).argmax() for price in router.path])
    chosen = np.repeat(best[:, None], len(on_test.quality), axis=1)
    return Series.chosen(on_test, chosen, tuple(on_test.plans[i] for i in best))


def _frozen_plans(
    router: MultiHeadRouter, labels: PlanLabels, test: SampleArrays, train: SampleArrays, on_train: PlanLabels
) -> Series:
    """Evaluate for each target drop the cheapest fixed plan that met it on the training part."""
    plans = tuple(dict.fromkeys((*router.fixed_plans, test.pool.reference_plan)))
    known = _labels_of(plans, on_train, train, router)
    quality, cost = known.quality.mean(axis=0), known.cost_usd.mean(axis=0)
    wanted = (1 - np.array([float(target) for target in router.frozen])) * quality[
        plans.index(test.pool.reference_plan)
    ]
    best = np.where(quality >= wanted[:, None], cost, np.inf).argmin(axis=1)
    chosen = np.repeat(best[:, None], len(test), axis=1)
    return Series.chosen(_labels_of(plans, labels, test, router), chosen, tuple(router.frozen))


def _labels_of(plans: tuple[Plan, ...], known: PlanLabels, arrays: SampleArrays, router: MultiHeadRouter) -> PlanLabels:
    """Return the labels of plans; only unknown ones are computed."""
    new = tuple(plan for plan in plans if plan not in known.plans)
    every = known.beside(label_plans(arrays, new, margin=router.settings.margin)) if new else known
    return every.columns([every.plans.index(plan) for plan in plans])


def _baselines(
    router: MultiHeadRouter,
    test: SampleArrays,
    train: SampleArrays | None,
    prediction: Prediction,
    cost: FloatArray,
    labels: PlanLabels,
    on_train: PlanLabels | None,
) -> tuple[dict[str, Series], dict[str, str]]:
    pool = test.pool
    singles = [router.plans.index(Plan.of(c)) for c in pool.candidates(max_n=1)]
    quality = router.layout.split(router.means[None])[1][0][singles]
    cheapest = singles[int(labels.cost_usd[:, singles].mean(axis=0).argmin())]
    reference = router.plans.index(pool.reference_plan)
    found = {
        "best_route": baselines.best_route(prediction, cost, labels, router),
        "hybrid_llm": baselines.hybrid_llm(prediction, cost, labels, router, quality),
        "random_mix": _fixed(labels.columns([cheapest, reference])),
    }
    missing: dict[str, str] = {}
    coarse = router.path[::4]
    makers: dict[str, Callable[[], Series]] = {
        "cascade": lambda: baselines.cascade(test),
        "chosen_on_half": lambda: chosen_on_half(test, (*router.plans, *_others(router)), coarse),
    }
    for name, make in makers.items():
        try:
            found[name] = make()
        except ValueError as error:
            missing[name] = str(error)
    if train is None or on_train is None:
        missing |= dict.fromkeys(("n_class", "n_label", "kmeans_tfidf", "query_statistics"), NEEDS_TRAIN)
        return found, missing
    found |= _learned(router, test, train, labels, on_train, coarse)
    return found, missing


def _learned(
    router: MultiHeadRouter,
    test: SampleArrays,
    train: SampleArrays,
    labels: PlanLabels,
    on_train: PlanLabels,
    path: tuple[float, ...],
) -> dict[str, Series]:
    """Fit the learned baselines; features are computed once per part, and one part is kept in memory at a time."""
    features = baselines.QueryFeatures.of(train)
    fitted = {
        "n_class": baselines.n_class(train, test, features),
        "n_label": baselines.n_label(train, test, features, margin=router.settings.margin),
        "kmeans_tfidf": baselines.kmeans_tfidf(train, test, features, path),
        "query_statistics": baselines.query_statistics(
            router, train, test, features, path, on_train=on_train, on_test=labels
        ),
    }
    maps = features.maps
    del features
    features = baselines.QueryFeatures.of(test, maps)
    return {name: scored(features) for name, scored in fitted.items()}


def _others(router: MultiHeadRouter) -> tuple[Plan, ...]:
    return tuple(plan for plan in router.fixed_plans if plan not in router.plans)


def _decision(
    name: str, plan: Plan, prediction: Prediction, cost: FloatArray, row: int, column: int
) -> Mapping[str, Any]:
    return {
        "id": name,
        "plan": plan.to_json(),
        "match_probability": float(prediction.match_probability[row, column]),
        "expected_quality": float(prediction.expected_quality[row, column]),
        "estimated_cost_usd": float(cost[row, column]),
    }
