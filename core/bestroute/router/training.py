"""Training a router: records in, heads out; how heads are mixed, shrunk and priced is chosen on folds by group."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bestroute.blas import on_one_core
from bestroute.cost import plan_costs
from bestroute.encoders.encoder import Encoder, encode_all
from bestroute.encoders.frozen import open_encoder
from bestroute.errors import RecordError
from bestroute.labels import PlanLabels, SampleArrays, label_plans
from bestroute.labels.table import check_scale, largest_n
from bestroute.plans import Candidate, Plan
from bestroute.policies import QualityPolicy
from bestroute.pool import Pool
from bestroute.protocols import BoolArray, FloatArray, IntArray
from bestroute.router.calibration import debiased_calibration_error
from bestroute.router.features import featurise
from bestroute.router.heads import HeadLayout
from bestroute.router.maps import FeatureMaps
from bestroute.router.multi_head import MultiHeadRouter, seen_hash
from bestroute.router.settings import EMBEDDING_BLOCKS, TrainSettings, policy_for
from bestroute.router.stacking import Stack, fit_stack
from bestroute.search import PlanSearch, search_plans

FOLDS = 5
SHRINKAGES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
USUAL_SHRINKAGE = 0.5
"""Taken unless held-out folds speak against it: where nothing can be predicted it costs nothing, and it lets the
price move the choice of single queries where without it all would change plan at once."""
TARGET_DROPS = ("0", "0.005", "0.01", "0.015", "0.02", "0.03", "0.04", "0.045")
"""Relative drops in quality for which training freezes a price."""
DEFAULT_TARGET = "0.01"
"""Its price is the default policy's."""
PATH_POINTS = 101


@dataclass(frozen=True, eq=False)
class Training:
    """A trained router and what its held-out folds say."""

    router: MultiHeadRouter
    labels: PlanLabels
    """Of the training records, over the router's plans."""
    summary: dict[str, float | str | dict[str, float | None]]
    """Held-out figures, to be printed."""
    savings: FloatArray
    """What each price of the router's path saved on held-out folds, as a share of the reference's cost."""


@on_one_core
def train_router(
    arrays: SampleArrays,
    settings: TrainSettings = TrainSettings(),  # noqa: B008  # frozen
    *,
    found: PlanSearch | None = None,
    labels: PlanLabels | None = None,
    features: NDArray[np.float32] | None = None,
    encoder: Encoder | None = None,
    on_progress: Callable[[str], object] | None = None,
) -> Training:
    """Train a router on records.

    Args:
        arrays: The training records, with their kind of reward.
        settings: What to do with them.
        found: Plans to use instead of searching for them.
        labels: Labels of the same records and plans, if they are known already.
        features: Of the same records' queries (``featurise``), if they are known already.
        encoder: The settings' encoder, if it is made already; one to be fine-tuned is made for the records at hand.
        on_progress: Told what is under way.

    Raises:
        RecordError: If there are too few records, or they lack what the pool needs.
    """
    if len(set(arrays.groups)) < FOLDS:
        raise RecordError(f"training needs records of at least {FOLDS} groups, got {len(set(arrays.groups))}")
    check_scale(arrays)
    tell = on_progress or (lambda _: None)
    pool = arrays.pool
    tell("searching plans")
    found = found or search_plans(arrays, offered=settings.offered)
    caps = cap_n(arrays)
    candidates = tuple(Plan.of(c) for c in pool.candidates() if c.n <= caps[c.model])
    on_hull = [plan for plan in found.hull if plan.candidate is None]
    plans = tuple(dict.fromkeys([*candidates, *found.offered, *on_hull]))
    layout = HeadLayout(plans, pool.models)
    if labels is None or labels.plans != plans:
        tell(f"labelling {len(plans)} plans on {len(arrays)} records")
        labels = label_plans(arrays, plans, margin=settings.margin)
    every, seen = labels, frozenset(seen_hash(f"{what}:{name}") for what, names in _names(arrays) for name in names)
    token_means, tokens = arrays.token_means, np.nanmean(arrays.output_tokens, axis=2)
    targets = layout.join(labels.match_probability, labels.quality, labels.draws, tokens)
    tell("reading queries")
    features = featurise(arrays.queries()) if features is None else features
    encoder, trusted = fit_encoder(arrays, settings, targets, layout.scales(targets), encoder, tell)
    texts = [query.text for query in arrays.queries()]
    embeddings = None if encoder is None else encode_all(encoder, texts, show=on_progress is not None)
    maps = FeatureMaps.fit(features, embeddings=embeddings, seed=settings.seed)
    tell("fitting heads")
    folds = deal_folds(arrays.groups, FOLDS, seed=settings.seed)
    blocks, kernels, used = maps.blocks(features, embeddings), maps.landmark_kernels(), settings.used_blocks
    stack = fit_stack(
        [blocks[b] for b in used],
        [kernels[b] for b in used],
        maps.forest_inputs(blocks) if settings.forest else None,
        targets,
        layout.scales,
        folds,
        trusted=trusted,
        wary=[i for i, b in enumerate(used) if b in EMBEDDING_BLOCKS],
        seed=settings.seed,
    )
    weights = [np.zeros((block.shape[1], len(stack.offsets))) for block in blocks]
    for b, fitted in zip(used, stack.weights, strict=True):
        weights[b] = fitted
    if not trusted.all():  # what follows is chosen on what the encoder has not seen
        rows = np.flatnonzero(trusted)
        stack, targets = replace(stack, held_out=stack.held_out[rows]), targets[rows]
        arrays, labels = arrays.take(rows), labels.take(rows)
        folds = folds[rows]
    slopes = _match_slopes(stack.held_out[:, : len(plans)], labels.match_probability)
    inputs = arrays.input_tokens[:, pool.models.index(pool.reference)]
    shrinkage, path, frozen, savings = _choose_policy(stack, layout, labels, arrays, slopes, inputs)
    router = MultiHeadRouter(
        pool=pool,
        plans=plans,
        maps=maps,
        weights=as_saved(np.vstack(weights)),
        offsets=as_saved(stack.offsets),
        forest=stack.forest,
        loadings=as_saved(stack.loadings),
        means=as_saved(stack.means),
        match_slopes=as_saved(slopes),
        shrinkage=shrinkage,
        path=path,
        frozen=frozen,
        fixed_plans=found.hull,
        settings=settings,
        token_means=token_means,
        seen=seen,
        default_policy=policy_for(frozen[DEFAULT_TARGET]),
        encoder=encoder,
    )
    error, perfect = _calibration(stack, layout, labels, pool, folds)
    explained = 1 - float(((stack.means + stack.held_out - targets) ** 2)[:, len(plans) : 2 * len(plans)].sum()) / max(
        float(((targets - stack.means) ** 2)[:, len(plans) : 2 * len(plans)].sum()), 1e-12
    )
    summary: dict[str, float | str | dict[str, float | None]] = {
        "plans": float(len(plans)),
        "capped at n": ", ".join(f"{model} {n}" for model, n in caps.items()),
        "quality explained on held-out folds": explained,
        "shrinkage": shrinkage,
        "calibration error of match probability, worst head": error,
        "of a perfect head of that size": perfect,
        "saved on held-out folds at a drop of": {
            drop: None if price is None else float(savings[path.index(price)]) for drop, price in frozen.items()
        },
    }
    return Training(router, every, summary, savings)


def fit_encoder(
    arrays: SampleArrays,
    settings: TrainSettings,
    targets: FloatArray,
    scales: FloatArray,
    encoder: Encoder | None,
    tell: Callable[[str], object],
) -> tuple[Encoder | None, BoolArray]:
    """Return the encoder of a training run, and which queries' embeddings may be judged by, shape ``(Q,)``."""
    everything = np.ones(len(arrays), dtype=bool)
    if settings.encoder is None:
        return None, everything
    if not settings.fine_tune:
        return encoder or open_encoder(settings.encoder, max_tokens=settings.max_tokens), everything
    from bestroute.encoders.finetune import fine_tune

    tell("fine-tuning the encoder")
    rank = deal_folds(arrays.groups, len(set(arrays.groups)), seed=settings.seed)
    texts = [query.text for query in arrays.queries()]
    tuned = fine_tune(
        settings.encoder, texts, targets, scales, rank, max_tokens=settings.max_tokens, seed=settings.seed
    )
    tell(f"variance left unexplained on its held-out groups: {', '.join(f'{u:.3f}' for u in tuned.unexplained)}")
    return tuned.encoder, tuned.trusted


def _names(arrays: SampleArrays) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ("id", arrays.ids), ("group", arrays.groups)


def as_saved(array: FloatArray) -> FloatArray:
    """Bring to the precision and the memory order of the file, so that a router predicts alike before it is saved."""
    return np.ascontiguousarray(array, dtype=np.float32).astype(np.float64)


def cap_n(arrays: SampleArrays) -> dict[str, int]:
    """Return, for each model, the n beyond which true quality rises no more on the records.

    A reward that can be fooled makes quality fall with n; a vote of two is no better than one. The cap is the
    smallest n that no other is ahead of by more than the standard error of the paired difference over groups: the
    records that choose n also judge it, and by luck alone some n is ahead.

    Source:
        Breiman, Friedman, Olshen, Stone, "Classification and Regression Trees" (1984): the rule of one standard error.
    """
    caps = {}
    for model, top in largest_n(arrays.pool, arrays).items():
        if not arrays.can_choose or top == 1:
            caps[model] = 1
            continue
        quality = label_plans(arrays, [Plan.of(Candidate(model, n)) for n in range(1, top + 1)], matches=False).quality
        best = int(np.argmax(quality.mean(axis=0) >= quality.mean(axis=0).max() - 1e-9))
        behind = quality[:, [best]] - quality
        near = [n for n in range(best + 1) if behind[:, n].mean() <= standard_error(behind[:, n], arrays.groups) + 1e-9]
        caps[model] = near[0] + 1
    return caps


def standard_error(values: FloatArray, groups: Sequence[str]) -> float:
    """Return the standard error of the mean of values ``(Q,)`` that come in groups."""
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(group_of, values)
    return float(np.sqrt(len(sums)) * sums.std()) / len(values)


def deal_folds(groups: Sequence[str], folds: int, *, seed: int = 0) -> IntArray:
    """Deal groups to folds, the same whatever their order; returns the fold of each query."""

    def key(group: str) -> str:
        return hashlib.sha256(f"{seed} {group}".encode()).hexdigest()

    dealt = {group: i % folds for i, group in enumerate(sorted(set(groups), key=key))}
    return np.array([dealt[group] for group in groups], dtype=np.intp)


def scaled_heads(
    means: FloatArray, deviations: FloatArray, layout: HeadLayout, slopes: FloatArray, shrinkage: float
) -> FloatArray:
    """Shrink deviations towards the training means: match probabilities by their own slopes, the rest by one factor."""
    factors = np.full(layout.width, shrinkage)
    factors[: len(layout.plans)] = slopes
    return np.asarray(means + deviations * factors)


def _match_slopes(deviations: FloatArray, match_probability: FloatArray) -> FloatArray:
    """Calibrate match probabilities: the slope of the label on predictions of held-out folds, in [0, 1], ``(P,)``.

    Args:
        deviations: Predicted, from the mean; shape ``(Q, P)``.
        match_probability: Labels, shape ``(Q, P)``.
    """
    truth = match_probability - match_probability.mean(axis=0)
    power = (deviations**2).sum(axis=0)
    slopes = np.divide((truth * deviations).sum(axis=0), power, out=np.zeros_like(power), where=power > 0)
    return np.asarray(np.clip(slopes, 0, 1))


def _calibration(
    stack: Stack, layout: HeadLayout, labels: PlanLabels, pool: Pool, folds: IntArray
) -> tuple[float, float]:
    """Return the worst head's calibration error and a perfect head's of that size; slopes come from other folds."""
    heads, width = np.tile(stack.means, (len(folds), 1)) + stack.held_out, len(layout.plans)
    for fold in np.unique(folds):
        inside = folds == fold
        slopes = _match_slopes(stack.held_out[~inside, :width], labels.match_probability[~inside])
        heads[inside] = scaled_heads(stack.means, stack.held_out[inside], layout, slopes, 1.0)
    probabilities = layout.prediction(heads, pool).match_probability
    error, perfect = debiased_calibration_error(probabilities, labels.match_probability)
    return float(error.max()), float(perfect[int(error.argmax())])


def _choose_policy(
    stack: Stack,
    layout: HeadLayout,
    labels: PlanLabels,
    arrays: SampleArrays,
    slopes: FloatArray,
    inputs: FloatArray,
) -> tuple[float, tuple[float, ...], dict[str, float | None], FloatArray]:
    """Choose the shrinkage and freeze a price for each target drop, on predictions of held-out folds."""
    pool = arrays.pool
    reference = layout.plans.index(pool.reference_plan)
    quality0, cost0 = labels.quality[:, reference].mean(), labels.cost_usd[:, reference].mean()
    path = np.geomspace(1e-3, 1e2, PATH_POINTS) * cost0 / max(float(quality0), 1e-9)
    rows = np.arange(len(arrays))
    choices, points, relevant = {}, {}, np.zeros(len(path), dtype=bool)
    for shrinkage in SHRINKAGES:
        heads = scaled_heads(stack.means, stack.held_out, layout, slopes, shrinkage)
        prediction = layout.prediction(heads, pool)
        cost = plan_costs(layout.plans, prediction.expected_draws, prediction.output_tokens, inputs, pool)
        chosen = np.array([QualityPolicy(float(v)).choose(prediction, cost, pool) for v in path])
        got, paid = labels.quality[rows, chosen], labels.cost_usd[rows, chosen]  # (path, Q)
        choices[shrinkage] = chosen.astype(np.int16)
        points[shrinkage] = np.column_stack([got.mean(axis=1), paid.mean(axis=1)])
        relevant |= (points[shrinkage][:, 0] >= 0.9 * quality0) & (points[shrinkage][:, 1] <= 1.2 * cost0)
    where = relevant if relevant.any() else np.ones(len(path), dtype=bool)
    worths = {s: _mean_worth(labels, chosen[where], path[where]) for s, chosen in choices.items()}
    shrinkage = _as_good_as_best(worths, arrays.groups)
    frozen: dict[str, float | None] = {}
    quality, cost = points[shrinkage].T
    for target in TARGET_DROPS:
        best = cheapest_that_meets(quality >= (1 - float(target)) * quality0)
        if best is not None and cost[best] > cost0:
            best = None
        frozen[target] = None if best is None else float(path[best])
    return shrinkage, tuple(path.tolist()), frozen, np.asarray(1 - cost / cost0)


def _mean_worth(labels: PlanLabels, chosen: NDArray[np.int16], prices: FloatArray) -> FloatArray:
    """Return what the plans chosen at each price ``(prices, Q)`` are worth to each query on average, shape ``(Q,)``."""
    rows = np.arange(chosen.shape[1])
    got, paid = labels.quality[rows, chosen], labels.cost_usd[rows, chosen]
    return np.asarray(((got * prices[:, None] - paid) / np.sqrt(prices)[:, None]).mean(axis=0))


def cheapest_that_meets(meets: BoolArray) -> int | None:
    """Walk from the most careful price (the last) towards cheaper ones, and stop before the first that fails.

    A cheaper one beyond a failure may pass by luck alone.
    """
    failures = np.flatnonzero(~meets)
    first = int(failures[-1]) + 1 if len(failures) else 0
    return first if first < len(meets) else None


def _as_good_as_best(worths: dict[float, FloatArray], groups: Sequence[str]) -> float:
    """Return the shrinkage nearest to the usual one of those within half a standard error of the best, by group."""
    best = max(worths, key=lambda s: (worths[s].mean(), -s))
    as_good = []
    for shrinkage in worths:
        behind = worths[best] - worths[shrinkage]
        if behind.mean() <= standard_error(behind, groups) / 2:
            as_good.append(shrinkage)
    return min(as_good, key=lambda s: abs(s - USUAL_SHRINKAGE))
