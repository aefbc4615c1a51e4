"""Baselines, fitted on training records with the router's own features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bestroute.evaluation.series import Series
from bestroute.features.hash_rules import BUCKETS
from bestroute.features.hashing import featurise
from bestroute.labels import PlanLabels, SampleArrays, label_plans
from bestroute.labels.plan_labels import fixed_candidates
from bestroute.labels.simulation import in_order_of
from bestroute.policies.policies import QualityPolicy, ThresholdPolicy
from bestroute.router import MultiHeadRouter
from bestroute.router.feature_maps import FeatureMaps, learner_inputs
from bestroute.router.plan_search import PlanSearch
from bestroute.router.predicting import predicted
from bestroute.router.stacking import Stack, fit_stack
from bestroute.router.train_settings import BLOCKS
from bestroute.router.training import train_router
from bestroute.stats.folds import FOLDS, deal_folds
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.plans import Candidate, Plan
from bestroute.types.prediction import Prediction

THRESHOLDS = tuple(np.linspace(0, 1, 41).round(3).tolist())
CLUSTERS = 50
CASCADE_SAMPLES = 5
_WORDS = BUCKETS // 2


def best_route(prediction: Prediction, cost: FloatArray, labels: PlanLabels, router: MultiHeadRouter) -> Series:
    """The BEST-Route paper: match probabilities of candidates, its Algorithm 1, at every threshold."""
    chosen = [ThresholdPolicy(t).choose(prediction, cost, router.pool) for t in THRESHOLDS]
    return Series.chosen(labels, np.array(chosen), THRESHOLDS)


def hybrid_llm(
    prediction: Prediction, cost: FloatArray, labels: PlanLabels, router: MultiHeadRouter, quality: FloatArray
) -> Series:
    """Hybrid-LLM: the reference against one cheaper model, n = 1 (arXiv:2404.14618).

    The cheaper model is the one of the highest training quality (``quality``, by pool order).
    """
    pool = router.pool
    others = [k for k, model in enumerate(pool.models) if model != pool.reference]
    if not others:
        others = [pool.models.index(pool.reference)]
    small = Plan.of(Candidate(pool.models[max(others, key=lambda k: quality[k])]))
    columns = [labels.plans.index(small), labels.plans.index(pool.reference_plan)]
    pair = prediction.take(columns)
    chosen = [ThresholdPolicy(t).choose(pair, cost[:, columns], pool) for t in THRESHOLDS]
    return Series.chosen(labels.columns(columns), np.array(chosen), THRESHOLDS)


@dataclass(frozen=True, eq=False)
class QueryFeatures:
    """The features of ``Q`` queries that learned baselines read; they are large, so no baseline keeps them."""

    features: NDArray[np.float32]
    """Shape ``(Q, WIDTH)``."""
    maps: FeatureMaps
    """Fitted on the training queries."""
    blocks: tuple[NDArray[np.float32], ...]
    """The mapped features."""

    @classmethod
    def of(cls, arrays: SampleArrays, maps: FeatureMaps | None = None) -> QueryFeatures:
        """Compute the features of queries; without ``maps``, fit these on the queries (of training)."""
        features = featurise(arrays.queries())
        maps = maps or FeatureMaps.fit(features)
        return cls(features, maps, maps.blocks(features))


Learned = Callable[[QueryFeatures], Series]
"""A baseline fitted on the training records: returns its choices for test queries, evaluated."""


def n_label(train: SampleArrays, test: SampleArrays, train_features: QueryFeatures, *, margin: float = 0.0) -> Learned:
    """Predict which models match the reference (n = 1), and choose the cheapest of them; at every threshold."""
    plans, labels = _singles(train, margin)
    heads = _fitted(train, train_features, labels.match_probability)
    mean_cost = labels.cost_usd.mean(axis=0)
    reference = plans.index(train.pool.reference_plan)

    def evaluated(queries: QueryFeatures) -> Series:
        capable = _predicted(heads, queries)
        cost = np.tile(mean_cost, (len(test), 1))
        chosen = []
        for threshold in THRESHOLDS:
            valid = capable >= threshold
            valid[:, reference] = True
            chosen.append(np.where(valid, cost, np.inf).argmin(axis=1))
        return Series.chosen(_singles(test)[1], np.array(chosen), THRESHOLDS)

    return evaluated


def n_class(train: SampleArrays, test: SampleArrays, train_features: QueryFeatures) -> Learned:
    """Predict the model of the best quality (n = 1; the cheapest in a tie): a single point without a parameter."""
    _, labels = _singles(train)
    quality, cost = labels.quality, labels.cost_usd.mean(axis=0)
    is_best = quality >= quality.max(axis=1, keepdims=True) - 1e-9
    winner = np.where(is_best, cost, np.inf).argmin(axis=1)
    heads = _fitted(train, train_features, np.eye(quality.shape[1])[winner])
    return lambda queries: Series.chosen(_singles(test)[1], _predicted(heads, queries).argmax(axis=1)[None], (None,))


def kmeans_tfidf(
    train: SampleArrays, test: SampleArrays, train_features: QueryFeatures, path: tuple[float, ...]
) -> Learned:
    """Cluster hashed TF-IDF vectors; each cluster uses the candidate that is best for its training queries."""
    plans = fixed_candidates(train)
    labels = label_plans(train, plans, matches=False)
    words = train_features.features[:, :_WORDS]
    idf = np.log((1 + len(words)) / (1 + (words > 0).sum(axis=0))).astype(np.float32)
    centers = _kmeans(_unit(words * idf), min(CLUSTERS, max(2, len(words) // 5)))
    cluster_of = _nearest(_unit(words * idf), centers)
    sizes = np.bincount(cluster_of, minlength=len(centers)).astype(np.float64)
    means = [np.zeros((len(centers), len(plans))) for _ in range(2)]
    for mean, values in zip(means, (labels.quality, labels.cost_usd), strict=True):
        np.add.at(mean, cluster_of, values)
        mean += 0.5 * values.mean(axis=0)  # empty and tiny clusters are regularised towards all queries
        mean /= sizes[:, None] + 0.5

    def evaluated(queries: QueryFeatures) -> Series:
        assigned = _nearest(_unit(queries.features[:, :_WORDS] * idf), centers)
        chosen = [(means[0] * price - means[1]).argmax(axis=1)[assigned] for price in path]
        return Series.chosen(label_plans(test, plans, matches=False), np.array(chosen), path)

    return evaluated


def cascade(test: SampleArrays, *, orders: int = 64) -> Series:
    """Self-consistency cascade: five samples of each model, cheapest first, until enough of them agree.

    The parameter is the required share of agreement; the reference, drawn once, is last.

    Raises:
        ValueError: If there are no answers to compare, or fewer than five samples.
    """
    if test.answers is None:
        raise ValueError("the records' answers cannot be compared: it needs --reward majority")
    pool = test.pool
    cheap = [pool.models.index(model) for model in pool.cheaper_models]
    if not cheap or int(test.sizes[:, cheap].min()) < CASCADE_SAMPLES:
        raise ValueError(f"it needs {CASCADE_SAMPLES} samples of every model but the reference")
    rng = np.random.default_rng(0)
    shape = (len(test), orders)
    levels = tuple(k / CASCADE_SAMPLES for k in range(1, CASCADE_SAMPLES + 1))
    quality, cost = np.zeros((*shape, len(levels))), np.zeros((*shape, len(levels)))
    is_open = np.ones((*shape, len(levels)), dtype=bool)
    rows = np.arange(len(test))[:, None, None]
    for k in cheap:
        drawn = _drawn(rng, test.sizes[:, k], orders, test.quality.shape[2], CASCADE_SAMPLES)
        answers = test.answers[:, k][rows, drawn]
        votes = ((answers[..., :, None] == answers[..., None, :]) & (answers[..., :, None] > 0)).sum(axis=-1)
        first = votes.argmax(axis=2)
        agreement = votes.max(axis=2) / CASCADE_SAMPLES
        truth = np.take_along_axis(test.quality[:, k][rows, drawn], first[..., None], axis=2)[..., 0]
        spent = test.sample_usd[:, k][rows, drawn].sum(axis=2)
        if pool.bills(pool.models[k]) == "once":
            spent = spent - (CASCADE_SAMPLES - 1) * test.prompt_usd[:, k][:, None]
        for c, level in enumerate(levels):
            accepts = is_open[..., c] & (agreement >= level)
            cost[..., c] += is_open[..., c] * spent
            quality[..., c] += accepts * truth
            is_open[..., c] &= ~accepts
    reference = pool.models.index(pool.reference)
    quality += is_open * np.nanmean(test.quality[:, reference], axis=1)[:, None, None]
    cost += is_open * np.nanmean(test.sample_usd[:, reference], axis=1)[:, None, None]
    return Series(levels, quality.mean(axis=1), cost.mean(axis=1))


def query_statistics(
    router: MultiHeadRouter,
    train: SampleArrays,
    test: SampleArrays,
    train_features: QueryFeatures,
    path: tuple[float, ...],
    *,
    on_train: PlanLabels,
    on_test: PlanLabels,
) -> Learned:
    """Train the same router on statistics of the query alone, without its words.

    ``on_train`` and ``on_test`` are labels of the router's plans.
    """
    found = PlanSearch(tuple(p for p in router.plans if p.candidate is None), router.fixed_plans)
    settings = replace(router.settings, blocks=(1,), forest=False, encoder=None, fine_tune=False)
    other = train_router(train, settings, found=found, labels=on_train, features=train_features.features).router

    def evaluated(queries: QueryFeatures) -> Series:
        guess, cost = predicted(other, test, queries.features)
        chosen = np.array([QualityPolicy(v).choose(guess, cost, test.pool) for v in path])
        are_same = other.plans == router.plans
        labels = on_test if are_same else label_plans(test, other.plans, margin=router.settings.margin)
        return Series.chosen(labels, chosen, path)

    return evaluated


def _singles(arrays: SampleArrays, margin: float = 0.0) -> tuple[list[Plan], PlanLabels]:
    plans = [Plan.of(Candidate(model)) for model in arrays.pool.models]
    return plans, label_plans(arrays, plans, margin=margin)


def _fitted(train: SampleArrays, train_features: QueryFeatures, targets: FloatArray) -> Stack:
    """Fit heads on the training records."""
    return fit_stack(
        learner_inputs(train_features.maps, train_features.features, used=BLOCKS, forest=False),
        targets,
        lambda labels: np.ones(labels.shape[1]),
        deal_folds(train.groups, FOLDS),
    )


def _predicted(heads: Stack, queries: QueryFeatures) -> FloatArray:
    """Return the heads' predictions for queries, shape ``(Q, H)``."""
    directions = sum(b @ w for b, w in zip(queries.blocks, heads.weights, strict=True))
    return np.asarray(heads.means + (directions - heads.offsets) @ heads.loadings)


def _unit(rows: FloatArray) -> FloatArray:
    return np.asarray(rows / np.maximum(np.sqrt((rows**2).sum(axis=1, keepdims=True)), 1e-9))


def _nearest(points: FloatArray, centers: FloatArray) -> IntArray:
    return np.asarray((points @ centers.T - 0.5 * (centers**2).sum(axis=1)).argmax(axis=1), dtype=np.intp)


def _kmeans(points: FloatArray, clusters: int, *, rounds: int = 20) -> FloatArray:
    """Return the centers of Lloyd's algorithm from seeded points, shape ``(clusters, width)``."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    start = points[np.random.default_rng(0).choice(len(points), clusters, replace=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # identical queries cannot form distinct clusters
        found = KMeans(clusters, init=start, n_init=1, max_iter=rounds, algorithm="lloyd").fit(points)
    return np.asarray(found.cluster_centers_, dtype=points.dtype)


def _drawn(rng: np.random.Generator, sizes: IntArray, orders: int, most: int, n: int) -> IntArray:
    """Draw ``n`` samples of each record without replacement, ``orders`` times; shape ``(Q, orders, n)``."""
    keys = rng.random((len(sizes), orders, most))
    return in_order_of(keys, np.arange(most) >= sizes[:, None, None])[:, :, :n]
