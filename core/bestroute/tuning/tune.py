"""Tune a trained router on records that it was not trained on: a promise, or a refusal."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from bestroute._utils.text import utf8
from bestroute.errors import ConfigError, NotTunedError, RecordError
from bestroute.evaluation.evaluate import made_once, refuse_seen
from bestroute.labels import SampleArrays, label_plans
from bestroute.labels.plan_labels import check_scale
from bestroute.policies.policies import QualityPolicy
from bestroute.policies.promises import Kind, Promise, prices_of
from bestroute.records.seen import SeenRecords
from bestroute.router import MultiHeadRouter
from bestroute.router.predicting import predicted
from bestroute.router.training import train_router
from bestroute.stats.folds import deal_folds
from bestroute.tuning.certify import Certificate, Outcomes, certify_budget, certify_drop
from bestroute.tuning.judged import certify_drop_by_people
from bestroute.tuning.splits import ORDER_SHARE, deal_parts
from bestroute.types.arrays import FloatArray, IntArray

PRICES = 401
"""Number of prices considered; at most ``sequence.MOST_POINTS`` of them are tested."""


@dataclass(frozen=True, eq=False)
class ByPeople:
    """Records with all samples judged by people, and the same records with the judge's labels."""

    judge: SampleArrays
    people: SampleArrays


class RefusedError(NotTunedError):
    """A promise cannot be established on these records; ``queries`` is the number that would suffice.

    ``queries`` is ``None`` if no number would, because no setting of the router has a margin.
    """

    def __init__(self, message: str, queries: int | None) -> None:
        """Store the number with the message."""
        super().__init__(message)
        self.queries = queries


def tune_max_drop(
    router: MultiHeadRouter,
    arrays: SampleArrays,
    max_drop: float,
    *,
    confidence: float = 0.95,
    order: SampleArrays | None = None,
    cross_fit: int | None = None,
    by_people: ByPeople | None = None,
    seed: int = 0,
    on_progress: Callable[[str], object] | None = None,
) -> Promise:
    """Find the cheapest decisions shown to lose at most ``max_drop`` of the reference's mean quality.

    Args:
        router: The router as it will be used.
        arrays: Records of its pool that it was not trained on.
        max_drop: Allowed drop, as a share of the reference's mean quality, in [0, 1).
        confidence: Confidence of the promise, in [0.5, 1).
        order: Records for ordering; default: a part of ``arrays``, by group.
        cross_fit: Train this many routers alike, each on the other folds of ``arrays`` by group, and look at those:
            for records that the router has seen. What is shown then holds for such routers, not for this very one.
        by_people: Records that people judged, where the labels of ``arrays`` are a judge's: then what is promised is
            what people would see (``tuning/judged``), by an interval of many groups instead of an exact bound.
        seed: Seed of the permutation of the groups.
        on_progress: Called with what is in progress.

    Raises:
        RefusedError: If no setting that saves can be established; says how many queries would suffice.
        RecordError: If the router was trained on a record, qualities are not in [0, 1], or the reference is never
            right.
        ConfigError: If an argument is out of range.
    """
    if not 0 <= max_drop < 1:
        raise ConfigError(f"max_drop must be in [0, 1), a relative drop, got {max_drop}")

    inputs = _TuningInputs(router, arrays, confidence, order, cross_fit, seed, on_progress)
    if by_people is not None:
        return _tune_by_people(inputs, by_people, max_drop)

    def certify(ordering: Outcomes, calibration: Outcomes) -> Certificate:
        return certify_drop(ordering, calibration, max_drop=max_drop, confidence=confidence)

    return _tune(inputs, "max_drop", max_drop, certify)


@dataclass(frozen=True, eq=False)
class _TuningInputs:
    """Arguments of ``tune_max_drop`` that say what a promise is established on."""

    router: MultiHeadRouter
    arrays: SampleArrays
    confidence: float
    order: SampleArrays | None
    cross_fit: int | None
    seed: int
    on_progress: Callable[[str], object] | None


def _tune_by_people(inputs: _TuningInputs, by_people: ByPeople, max_drop: float) -> Promise:
    router, confidence = inputs.router, inputs.confidence
    if inputs.cross_fit is not None:
        raise ConfigError("people's verdicts correct the labels of one router; leave --cross-fit out")
    _check_splits(router, [inputs.arrays, by_people.judge], may_be_seen=False)
    prices = np.geomspace(router.path[0], router.path[-1], PRICES)
    judge, people = (outcomes_of(router, of, prices) for of in (by_people.judge, by_people.people))

    def certify(ordering: Outcomes, calibration: Outcomes) -> Certificate:
        verdict = certify_drop_by_people(ordering, calibration, judge, people, max_drop=max_drop, confidence=confidence)
        if verdict.setting is None:
            raise _refused_by_people(max_drop, confidence, verdict, people.units)
        return verdict

    promise = _tune(inputs, "max_drop", max_drop, certify)
    shown = {**promise.shown_on, "people": {"queries": len(people.groups), "groups": people.units}}
    known_records = promise.seen_records | SeenRecords.of(by_people.people.ids, by_people.people.groups)
    return replace(promise, shown_on=shown, seen_records=known_records)


def _refused_by_people(max_drop: float, confidence: float, verdict: Certificate, groups: int) -> RefusedError:
    enough = math.ceil(verdict.needed) if math.isfinite(verdict.needed) else None
    would = (
        f"about {enough} groups judged by people would do at best"
        if enough is not None
        else "no number would do: people see no setting with a margin"
    )
    return RefusedError(
        f"cannot promise a drop of at most {max_drop:g} with confidence {confidence:g} from a judge's labels and "
        f"people's verdicts on {groups} groups; {would}. The router is as it was",
        enough,
    )


def tune_budget(
    router: MultiHeadRouter,
    arrays: SampleArrays,
    usd_per_1k: float,
    *,
    confidence: float = 0.95,
    order: SampleArrays | None = None,
    cross_fit: int | None = None,
    seed: int = 0,
    on_progress: Callable[[str], object] | None = None,
) -> Promise:
    """Find the best decisions shown to cost at most ``usd_per_1k`` USD per 1,000 queries on average.

    The arguments and errors are those of ``tune_max_drop``.
    """
    if not (math.isfinite(usd_per_1k) and usd_per_1k > 0):
        raise ConfigError(f"budget must be > 0 USD per 1,000 queries, got {usd_per_1k}")

    def certify(ordering: Outcomes, calibration: Outcomes) -> Certificate:
        return certify_budget(ordering, calibration, budget=usd_per_1k / 1000, confidence=confidence)

    inputs = _TuningInputs(router, arrays, confidence, order, cross_fit, seed, on_progress)
    return _tune(inputs, "budget", usd_per_1k, certify)


def _tune(
    inputs: _TuningInputs, kind: Kind, value: float, certify: Callable[[Outcomes, Outcomes], Certificate]
) -> Promise:
    router, arrays, order = inputs.router, inputs.arrays, inputs.order
    confidence, cross_fit, seed = inputs.confidence, inputs.cross_fit, inputs.seed
    if not 0.5 <= confidence < 1:
        raise ConfigError(f"confidence must be in [0.5, 1), got {confidence}")
    if cross_fit is not None and order is not None:
        raise ConfigError("cross-fit trains on the other folds of TUNE; leave ORDER out")
    report = inputs.on_progress or (lambda _: None)
    splits = [arrays] if order is None else [arrays, order]
    check_scale(arrays)
    _check_splits(router, splits, may_be_seen=cross_fit is not None)
    first, rest = deal_parts(arrays.groups, seed=seed, share=ORDER_SHARE if order is None else 0.0)
    prices = np.geomspace(router.path[0], router.path[-1], PRICES)
    report("what the router's choices give on the records")
    if cross_fit is None:
        outcomes = outcomes_of(router, arrays, prices)
    else:
        outcomes = _cross_fitted(router, arrays, prices, cross_fit, seed, report)
    if order is not None:
        every, _ = deal_parts(order.groups, seed=seed, share=1.0)
        ordering = outcomes_of(router, order, prices).take(every)
    else:
        ordering = outcomes.take(first)
    calibration = outcomes.take(rest)
    if not len(ordering.groups) or not len(calibration.groups):
        raise RecordError(
            f"tuning needs records of at least 4 groups, got {len(set(arrays.groups))}; give more records, or leave "
            "'group' out where queries do not belong together"
        )
    report("betting")
    verdict = certify(ordering, calibration)
    if verdict.setting is None:
        raise _refusal(kind, value, confidence, verdict, arrays, calibration)
    return Promise(
        kind,
        value,
        confidence,
        float(prices[verdict.setting]),
        router.settings.reward,
        prices_of(arrays.pool),
        {
            "order": {"queries": len(ordering.groups), "groups": ordering.units},
            "calibrate": {"queries": len(calibration.groups), "groups": calibration.units},
            "seed": seed,
            "settings_tested": verdict.tested,
            "settings_passed": verdict.passed,
            "ids_sha256": hashlib.sha256(utf8("\n".join(sorted(arrays.ids)))).hexdigest(),
        },
        verdict.estimates,
        verdict.cap,
        cross_fit,
        reduce(or_, (SeenRecords.of(part.ids, part.groups) for part in splits), SeenRecords()),
    )


def _refuse_changed(router: MultiHeadRouter) -> None:
    if router.changes:
        raise ConfigError(
            f"cross-fit trains routers alike, and this one's pool was changed since it was trained "
            f"({', '.join(map(str, router.changes))}); tune on records it has not seen, without cross-fit"
        )


def outcomes_of(router: MultiHeadRouter, arrays: SampleArrays, prices: FloatArray) -> Outcomes:
    """Return the outcomes of a router's decisions at each price on records, in the records' order."""
    labels = label_plans(arrays, router.plans, matches=False)
    prediction, cost = predicted(router, arrays)
    chosen = np.array([QualityPolicy(float(v)).choose(prediction, cost, arrays.pool) for v in prices])
    rows, reference = np.arange(len(arrays)), router.plans.index(arrays.pool.reference_plan)
    return Outcomes(
        labels.quality[rows, chosen],
        labels.cost_usd[rows, chosen],
        labels.quality[:, reference],
        labels.cost_usd[:, reference],
        _numbered(arrays),
    )


def _numbered(arrays: SampleArrays) -> IntArray:
    return np.asarray(np.unique(np.asarray(arrays.groups), return_inverse=True)[1], dtype=np.intp)


def _cross_fitted(
    router: MultiHeadRouter,
    arrays: SampleArrays,
    prices: FloatArray,
    folds: int,
    seed: int,
    report: Callable[[str], object],
) -> Outcomes:
    """Return the outcomes on each fold of a router trained on the others."""
    _refuse_changed(router)
    if not 2 <= folds <= len(set(arrays.groups)):
        raise ConfigError(f"cross-fit must be in 2..{len(set(arrays.groups))}, the number of groups, got {folds}")
    fold_of = deal_folds(arrays.groups, folds, seed=seed)
    encoder = made_once(router.settings, router.encoder)
    outcomes, rows = [], []
    for fold in range(folds):
        report(f"fold {fold + 1} of {folds}: training")
        inside = np.flatnonzero(fold_of == fold)
        train = arrays.take(np.flatnonzero(fold_of != fold))
        train = train.with_token_means(train.token_means)
        alike = train_router(train, router.settings, encoder=encoder).router
        outcomes.append(outcomes_of(alike, arrays.take(inside).with_token_means(train.token_means), prices))
        rows.append(inside)
    back = np.argsort(np.concatenate(rows))
    return Outcomes(
        np.hstack([part.quality for part in outcomes])[:, back],
        np.hstack([part.cost for part in outcomes])[:, back],
        np.concatenate([part.reference_quality for part in outcomes])[back],
        np.concatenate([part.reference_cost for part in outcomes])[back],
        _numbered(arrays),
    )


def _check_splits(router: MultiHeadRouter, splits: Sequence[SampleArrays], *, may_be_seen: bool) -> None:
    """Refuse TUNE and ORDER if they do not fit the router, were used to train it, or share records."""
    for part in splits:
        router.check_pool(part.pool)
        _check_quality(part)
        if not may_be_seen:
            refuse_seen(router, part)
    if len(splits) > 1:
        tune, order = splits
        for what, ours, theirs in (("id", order.ids, tune.ids), ("group", order.groups, tune.groups)):
            if shared := sorted(set(ours) & set(theirs)):
                raise RecordError(f"ORDER and TUNE share the {what} {shared[0]!r}; split by group")


def _check_quality(arrays: SampleArrays) -> None:
    known = arrays.quality[~np.isnan(arrays.quality)]
    if known.size and (known.min() < 0 or known.max() > 1):
        raise RecordError(
            f"a promise needs qualities in [0, 1], got {known.min():g} to {known.max():g}; bring them to that range"
        )


def _refusal(
    kind: Kind, value: float, confidence: float, verdict: Certificate, arrays: SampleArrays, calibration: Outcomes
) -> RefusedError:
    # TUNE's queries per group that calibrates: groups hold several queries, and some of them order
    a_group = len(arrays) / max(calibration.units, 1)
    least = math.ceil(verdict.fewest * a_group)
    enough = math.ceil(verdict.needed * a_group) if math.isfinite(verdict.needed) else None
    promise = f"a drop of at most {value:g}" if kind == "max_drop" else f"at most {value:g} USD per 1,000 queries"
    kept = (
        "if no answer differed"
        if kind == "max_drop" and value
        else "if every answer were " + ("free" if kind == "budget" else "right")
    )
    advice: dict[bool, Any] = {
        True: f"even {kept} no bound could from fewer than {least} queries like these "
        f"({verdict.fewest} groups to calibrate on; here are {calibration.units})",
        False: f"of {verdict.tested} settings that save the safest did not pass on {calibration.units} groups",
    }
    says = advice[calibration.units < verdict.fewest]
    if enough is not None:
        would = f"with this router about {enough} queries would do at best"
    else:
        would = "and with this router no number would do: no setting has a margin on these records"
    return RefusedError(
        f"cannot promise {promise} with confidence {confidence:g} from {len(arrays)} queries: {says}; {would}. "
        "The router is as it was",
        enough,
    )


def with_promise(router: MultiHeadRouter, promise: Promise) -> MultiHeadRouter:
    """Return the router with another promise; one of the same value is replaced."""
    others = (p for p in router.promises if (p.kind, p.value) != (promise.kind, promise.value))
    return replace(router, promises=(*others, promise))
