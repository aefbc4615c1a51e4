"""Train a router: fit heads on records, and choose mix, shrinkage and prices on folds by group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bestroute.encoders.encoder import Encoder, encode_all
from bestroute.encoders.loading import open_encoder
from bestroute.errors import RecordError
from bestroute.features.hashing import featurise
from bestroute.labels import PlanLabels, SampleArrays, label_plans
from bestroute.labels.plan_labels import check_scale, largest_n
from bestroute.records.seen import SeenRecords
from bestroute.router.accept_levels import AcceptLevel, accept_levels
from bestroute.router.evidence import Evidence, evidence_for, group_resamples
from bestroute.router.familiarity import Familiarity, held_out_familiarity
from bestroute.router.feature_maps import FeatureMaps, learner_inputs
from bestroute.router.heads import HeadLayout
from bestroute.router.held_out_calibration import held_out_calibration
from bestroute.router.multi_head import MultiHeadRouter
from bestroute.router.plan_length import longer_plans, usual_plans
from bestroute.router.plan_search import PlanSearch, search_plans
from bestroute.router.shrinkage import DEFAULT_TARGET, choose
from bestroute.router.stacking import fit_stack
from bestroute.router.train_settings import EMBEDDING_BLOCKS, TrainSettings, policy_for
from bestroute.stats.folds import FOLDS, deal_folds, standard_errors
from bestroute.stats.single_thread import on_one_core
from bestroute.types.arrays import BoolArray, FloatArray
from bestroute.types.plans import Candidate, Plan

EXPLAINED = "quality explained on held-out folds"
LONGER = "quality that plans of more than two members add on held-out folds"
FAMILIAR = "familiar are"
KIND = 12
"""Mean number of queries per group from which groups count as kinds of task, not as variants of one question."""
CALIBRATION = "calibration error of match probability, worst head"


@dataclass(frozen=True, eq=False)
class Training:
    """A trained router and its held-out figures."""

    router: MultiHeadRouter
    labels: PlanLabels
    """Labels of the training records for the router's plans."""
    summary: dict[str, float | str]
    """Held-out figures, for printing."""
    intervals: dict[str, tuple[float, float]]
    """95 % intervals of the estimated figures, by bootstrap over groups."""
    evidence: dict[str, Evidence | None]
    """Evidence from held-out folds for each frozen price, by target drop; ``None``: the policy is the reference
    alone."""
    savings: FloatArray
    """Saving at each price of the router's path on held-out folds, as a share of the reference's cost."""
    accept_levels: dict[str, AcceptLevel]
    """Levels of cheaper models' first answers, by model; empty if samples vote or rewards have only two values."""


@on_one_core
def train_router(
    arrays: SampleArrays,
    settings: TrainSettings = TrainSettings(),  # noqa: B008  # frozen
    *,
    found: PlanSearch | None = None,
    labels: PlanLabels | None = None,
    features: NDArray[np.float32] | None = None,
    encoder: Encoder | None = None,
    deals: int = 1,
    on_progress: Callable[[str], object] | None = None,
) -> Training:
    """Train a router on records.

    Plans of more than two members are left out unless they add more than a standard error on held-out folds. Prices are
    frozen by the outcomes of decisions on held-out folds, averaged over all deals. The same evidence decides the
    default policy: if a drop of more than ``MOST_DROP`` cannot be ruled out, it is the reference.

    Args:
        arrays: The training records, with their kind of reward.
        settings: The training settings.
        found: Plans to use instead of searching for them.
        labels: Labels of the same records and plans, if they are computed already.
        features: Features of the same records' queries (``featurise``), if they are computed already.
        encoder: The settings' encoder, if it is loaded already; one to be fine-tuned is made for these records.
        deals: How often folds are dealt; one deal depends on chance.
        on_progress: Called with what is in progress.

    Raises:
        RecordError: If there are too few records, or they lack what the pool needs.
    """
    if len(set(arrays.groups)) < FOLDS:
        raise RecordError(
            f"training needs records of at least {FOLDS} groups, got {len(set(arrays.groups))}; give more records, or "
            "leave 'group' out where queries do not belong together"
        )
    check_scale(arrays)
    report = on_progress or (lambda _: None)
    pool = arrays.pool
    report("searching plans")
    accepts = accept_levels(arrays, deals=deals, seed=settings.seed)
    chosen_levels = {model: known.level for model, known in accepts.items() if known.level is not None}
    found = found or search_plans(arrays, offered=settings.offered, levels=chosen_levels)
    caps = cap_n(arrays)
    candidates = tuple(Plan.of(c) for c in pool.candidates() if c.n <= caps[c.model])
    on_hull = [plan for plan in found.hull if plan.candidate is None]
    plans = tuple(dict.fromkeys([*candidates, *found.offered, *on_hull]))
    known = arrays.quality[~np.isnan(arrays.quality)]
    quality_range = (float(known.min()), float(known.max()))
    layout = HeadLayout(plans, pool.models, quality_range)
    if labels is None or labels.plans != plans:
        report(f"labelling {len(plans)} plans on {len(arrays)} records")
        labels = label_plans(arrays, plans, margin=settings.margin)
    every, seen_records = labels, SeenRecords.of(arrays.ids, arrays.groups)
    token_means, tokens = arrays.token_means, np.nanmean(arrays.output_tokens, axis=2)
    targets = layout.join(labels.match_probability, labels.quality, labels.draws, tokens)
    report("reading queries")
    features = featurise(arrays.queries()) if features is None else features
    encoder, trusted = fit_encoder(arrays, settings, targets, layout.scales(targets), encoder, report)
    texts = [query.text for query in arrays.queries()]
    embeddings = None if encoder is None else encode_all(encoder, texts, show=on_progress is not None)
    maps = FeatureMaps.fit(features, embeddings=embeddings, seed=settings.seed)
    familiarity = Familiarity.fit(maps, features, arrays.groups, seed=settings.seed)
    report("fitting heads")
    folds = deal_folds(arrays.groups, FOLDS, seed=settings.seed)
    used = settings.used_blocks
    inputs = learner_inputs(maps, features, embeddings, used=used, forest=settings.forest, seed=settings.seed)
    trusted_only = [i for i, b in enumerate(used) if b in EMBEDDING_BLOCKS]
    stack = fit_stack(
        inputs, targets, layout.scales, folds, trusted=trusted, trusted_only=trusted_only, seed=settings.seed
    )
    held_out, dealt = [stack.held_out], [folds]
    for deal in range(1, deals if trusted.all() else 1):
        report(f"folds dealt anew, {deal + 1} of {deals}")
        anew = deal_folds(arrays.groups, FOLDS, seed=settings.seed + 10_007 * deal)
        again = fit_stack(
            inputs, targets, layout.scales, anew, trusted=trusted, trusted_only=trusted_only, seed=settings.seed
        )
        dealt.append(anew)
        held_out.append(again.held_out)
    if not trusted.all():  # choose on queries that the encoder was not tuned on
        rows = np.flatnonzero(trusted)
        held_out = [{decay: deviations[rows] for decay, deviations in deal.items()} for deal in held_out]
        arrays, labels, targets, folds = arrays.take(rows), labels.take(rows), targets[rows], folds[rows]
        dealt = [folds]
    choice = choose(stack.means, held_out, layout, labels, arrays)
    known_per_deal: list[FloatArray] | None = None
    if not carries_over(stack.means, held_out[0][choice.decay], layout, targets, arrays.groups):
        familiarity = Familiarity.fit(maps, features, list(map(str, range(len(features)))), seed=settings.seed)
        known_per_deal = held_out_familiarity(maps, features[trusted], dealt)
        choice = choose(stack.means, held_out, layout, labels, arrays, known_per_deal)
    longer = None
    usual = usual_plans(layout)
    if len(usual) < len(plans):
        short = HeadLayout(tuple(plans[i] for i in usual), pool.models, quality_range)
        of_short = [{d: short.arrange([(layout, deviations)]) for d, deviations in deal.items()} for deal in held_out]
        means = short.arrange([(layout, stack.means[None])])[0]
        shorter = choose(means, of_short, short, labels.columns(usual), arrays, known_per_deal)
        longer = longer_plans(choice, shorter, arrays.groups)
        if not longer.pays:
            stack = replace(stack, means=means, loadings=short.arrange([(layout, stack.loadings)]))
            targets, labels, every = short.arrange([(layout, targets)]), labels.columns(usual), every.columns(usual)
            plans, layout, held_out, choice = short.plans, short, of_short, shorter
    stack, deviations = stack.decayed(choice.decay), held_out[0][choice.decay]
    evidence = evidence_for(choice, arrays.groups)
    shown = evidence[DEFAULT_TARGET]
    default = policy_for(choice.frozen[DEFAULT_TARGET] if shown is not None and shown.is_enough else None)
    weights = [np.zeros((width, len(stack.offsets))) for width in maps.widths]
    for b, fitted in zip(used, stack.weights, strict=True):
        weights[b] = fitted
    router = MultiHeadRouter(
        pool=pool,
        plans=plans,
        maps=maps,
        weights=as_saved(np.vstack(weights)),
        offsets=as_saved(stack.offsets),
        forest=stack.forest,
        loadings=as_saved(stack.loadings),
        means=as_saved(stack.means),
        match_slopes=as_saved(choice.slopes),
        shrinkage=choice.shrinkage,
        path=choice.path,
        frozen=choice.frozen,
        fixed_plans=found.hull,
        settings=settings,
        token_means=token_means,
        seen_records=seen_records,
        default_policy=default,
        encoder=encoder,
        quality_range=quality_range,
        familiarity=familiarity,
    )
    error, perfect, error_ci95 = held_out_calibration(stack.means, deviations, layout, labels, arrays, folds)
    explained, explained_ci95 = _explained(stack.means, deviations, layout, targets, arrays.groups)
    summary: dict[str, float | str] = {
        "plans": float(len(plans)),
        "capped at n": ", ".join(f"{model} {n}" for model, n in caps.items()),
        EXPLAINED: explained,
        "shrinkage": choice.shrinkage,
        "decay of directions": choice.decay,
        CALIBRATION: error,
        "what chance alone makes of it in a perfect head of that size": perfect,
    }
    summary |= (
        {} if known_per_deal is None else {FAMILIAR: "texts, not groups: texts do not predict quality of other groups"}
    )
    intervals = {EXPLAINED: explained_ci95, CALIBRATION: error_ci95}
    if longer is not None:
        summary[LONGER], intervals[LONGER] = longer.gain, longer.gain_ci95
    return Training(router, every, summary, intervals, evidence, choice.savings, accepts)


def _explained(
    means: FloatArray, deviations: FloatArray, layout: HeadLayout, targets: FloatArray, groups: Sequence[str]
) -> tuple[float, tuple[float, float]]:
    """Return the share of the variance of plans' qualities that held-out predictions explain, and its 95 % interval."""
    qualities = slice(len(layout.plans), 2 * len(layout.plans))
    left = ((means + deviations - targets) ** 2)[:, qualities].sum(axis=1)
    total = ((targets - means) ** 2)[:, qualities].sum(axis=1)
    resampled = group_resamples(np.column_stack([left, total]), groups, resamples=1000, seed=0)
    explained = 1 - resampled[:, 0] / np.maximum(resampled[:, 1], 1e-12)
    low, high = np.quantile(explained[1:], (0.025, 0.975))
    return float(explained[0]), (float(low), float(high))


def carries_over(
    means: FloatArray, deviations: FloatArray, layout: HeadLayout, targets: FloatArray, groups: Sequence[str]
) -> bool:
    """Return whether texts predict quality significantly on held-out groups.

    Always true if groups are small: those are variants of one question, and held-out ones are of the same kinds.
    """
    if len(groups) < KIND * len(set(groups)):
        return True
    return _explained(means, deviations, layout, targets, groups)[1][0] > 0


def fit_encoder(
    arrays: SampleArrays,
    settings: TrainSettings,
    targets: FloatArray,
    scales: FloatArray,
    encoder: Encoder | None,
    report: Callable[[str], object],
) -> tuple[Encoder | None, BoolArray]:
    """Return the encoder of a training run, and a mask of the queries whose embeddings are unbiased, shape ``(Q,)``."""
    everything = np.ones(len(arrays), dtype=bool)
    if settings.encoder is None:
        return None, everything
    if not settings.fine_tune:
        return encoder or open_encoder(settings.encoder, max_tokens=settings.max_tokens), everything
    from bestroute.encoders.finetune import fine_tune

    report("fine-tuning the encoder")
    rank = deal_folds(arrays.groups, len(set(arrays.groups)), seed=settings.seed)
    texts = [query.text for query in arrays.queries()]
    tuned = fine_tune(
        settings.encoder, texts, targets, scales, rank, max_tokens=settings.max_tokens, seed=settings.seed
    )
    report(f"variance left unexplained on its held-out groups: {', '.join(f'{u:.3f}' for u in tuned.unexplained)}")
    return tuned.encoder, tuned.trusted


def as_saved(array: FloatArray) -> FloatArray:
    """Round to the file's precision and memory order, so that a router predicts the same before and after saving."""
    return np.ascontiguousarray(array, dtype=np.float32).astype(np.float64)


def cap_n(arrays: SampleArrays) -> dict[str, int]:
    """Return, for each model, the n beyond which true quality no longer rises on the records.

    With an imperfect reward quality may fall with n, and a vote of two is no better than one sample. The cap is the
    smallest n that no other n beats by more than the standard error of the paired difference over groups: the records
    that choose n also evaluate it, and some n is ahead by chance alone.

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
        near = behind.mean(axis=0) <= standard_errors(behind, arrays.groups) + 1e-9
        caps[model] = int(near.argmax()) + 1
    return caps
