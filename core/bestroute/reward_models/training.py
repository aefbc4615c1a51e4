"""Train a reward model on records: fit a scorer on pairs, calibrate and evaluate it on held-out folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bestroute.errors import RecordError
from bestroute.records.records import Record
from bestroute.records.seen import SeenRecords
from bestroute.reward_models.best_of_n import pair_accuracy, quality_by_n
from bestroute.reward_models.calibration import Calibration, fit_calibration
from bestroute.reward_models.light import PENALTIES, LightScorer, fit_light, read_samples
from bestroute.reward_models.pairs import make_pairs, pairs_or_none, urns
from bestroute.reward_models.proxy import HeldOutRewards, ProxyRewardModel, Scorer
from bestroute.reward_models.reward_settings import RewardSettings
from bestroute.reward_models.samples import SampleTable
from bestroute.stats.calibration_error import debiased_calibration_error
from bestroute.stats.folds import deal_folds
from bestroute.stats.single_thread import on_one_core
from bestroute.types.arrays import BoolArray, FloatArray, IntArray

LIGHT_FOLDS = 5
"""Default folds of the light model, and folds of the calibration's evaluation."""
_HELD_OUT_FOLDS = 10
"""Number of equal parts of the groups for a transformer without folds: one for checkpoints, one for the report."""

Progress = Callable[[str, int, int], object]
"""Called with what is in progress, how much of it is done, and the total."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted scorer with held-out scores of the samples."""

    scorer: Scorer
    held_out: FloatArray
    """Held-out scores, shape ``(N,)``; NaN if the sample was used for training or choice of the scorer."""
    fold_of: IntArray
    """Fold of each sample, shape ``(N,)``."""
    notes: dict[str, Any]
    """Entries of the report."""


def train_reward(
    records: Sequence[Record],
    settings: RewardSettings = RewardSettings(),  # noqa: B008  # frozen
    *,
    normalise: Callable[[str], str] | None = None,
    resamples: int = 2000,
    on_progress: Progress | None = None,
) -> ProxyRewardModel:
    """Train a reward model on records.

    Args:
        records: Records with texts and qualities of samples.
        settings: The training settings.
        normalise: Brings answers to canonical form, for the majority vote in the report.
        resamples: Number of bootstrap resamples for the report's intervals.
        on_progress: Called with what is in progress.

    Returns:
        The reward model; ``report`` has its figures on held-out records.

    Raises:
        RecordError: If there are too few groups, no texts, or no two samples of unequal quality to compare.
        ConfigError: If the encoder or the reference is unknown.
    """
    report_progress = on_progress or (lambda *_: None)
    table = SampleTable.of(records, reference=settings.reference)
    pairs, scheme = make_pairs(table, settings.pairs, most_per_query=settings.pairs_per_query, seed=settings.seed)
    fit = _fit_light if settings.encoder == "light" else _fit_transformer
    fitted = fit(table, pairs, settings, report_progress)
    held_out = fitted.held_out
    report_progress("report", 0, 1)
    comparable = ~(np.isnan(held_out) | np.isnan(table.match))
    calibration = fit_calibration(held_out[comparable], table.match[comparable], settings.calibration)
    report = {
        "encoder": settings.encoder,
        "reference": settings.reference,
        "pairs": {"scheme": scheme, "made": len(pairs)},
        "records": len(records),
        "groups": len(set(table.groups)),
        "samples": len(table),
        "samples_without_text": table.without_text,
        **fitted.notes,
        "pair_accuracy": _accuracies(table, held_out, settings, resamples),
        "calibration": _calibration_report(fitted, table, comparable, calibration, settings),
        "best_of_n": quality_by_n(
            table,
            held_out,
            across=not any(len(urn) > 1 for urn in urns(table, across=False)),
            most_n=settings.most_n,
            normalise=normalise,
            resamples=resamples,
            seed=settings.seed,
        ),
        "settings": asdict(settings),
    }
    report_progress("report", 1, 1)
    names = [
        (table.ids[q], table.models[m], text)
        for q, m, text in zip(table.query_of, table.model_of, table.texts, strict=True)
    ]
    return ProxyRewardModel(
        fitted.scorer,
        calibration,
        SeenRecords.of(table.ids, table.groups),
        HeldOutRewards.of(names, held_out),
        report,
    )


@on_one_core
def _fit_light(table: SampleTable, pairs: IntArray, settings: RewardSettings, report_progress: Progress) -> Fitted:
    """Fit without each fold in turn, then on all records with the penalty that is best on held-out pairs."""
    folds = settings.folds or LIGHT_FOLDS
    fold_of = _deal(table, folds, settings)[table.query_of]
    if len(np.unique(fold_of[pairs[:, 0]])) < 2:
        raise RecordError(
            f"all {len(pairs)} pairs lie in one of {folds} folds, so nothing can be learnt when it is held out; give "
            "records of more groups in which samples differ in quality"
        )
    features = read_samples(
        table.queries,
        table.query_of,
        table.texts,
        on_progress=lambda done, total: report_progress("reading samples", done, total),
    )
    losses = np.zeros((folds, len(PENALTIES)))
    predictions = np.full((len(PENALTIES), len(table)), np.nan)
    for fold in range(folds):
        report_progress("fitting", fold, folds + 1)
        inside = fold_of == fold
        margins = []
        for p, scorer in enumerate(fit_light(features, pairs, ~inside)):
            predictions[p, inside] = scorer.score_features(features)[inside]
            margins.append(predictions[p, pairs[inside[pairs[:, 0]]]] @ np.array([1.0, -1.0]))
        losses[fold] = [np.logaddexp(0, -margin).sum() for margin in margins]
    held_out = np.full(len(table), np.nan)
    for fold in range(folds):  # its penalty is chosen on the other folds
        others = losses[np.arange(folds) != fold].sum(axis=0)
        inside = fold_of == fold
        held_out[inside] = predictions[int(others.argmin()), inside]
    chosen = PENALTIES[int(losses.sum(axis=0).argmin())]
    report_progress("fitting", folds, folds + 1)
    final: LightScorer = fit_light(features, pairs, np.ones(len(table), dtype=bool), penalties=(chosen,))[0]
    report_progress("fitting", folds + 1, folds + 1)
    return Fitted(final, held_out, fold_of, {"folds": folds, "pairs_learnt": len(pairs), "penalty": chosen})


def _fit_transformer(
    table: SampleTable, pairs: IntArray, settings: RewardSettings, report_progress: Progress
) -> Fitted:
    """Fine-tune once with two parts held out; with folds, once without each fold and once for the final model."""
    from bestroute.reward_models.transformer import TransformerScorer, fit_transformer

    folds = settings.folds or 1
    part_of = _deal(table, _HELD_OUT_FOLDS if folds == 1 else folds, settings)[table.query_of]
    query_of = table.query_of
    held_out = np.full(len(table), np.nan)
    notes: dict[str, Any] = {"folds": folds}

    def fit(name: str, to_choose: BoolArray, hidden: BoolArray) -> TransformerScorer:
        learnt, choosing = (pairs[chosen[pairs[:, 0]]] for chosen in (~(to_choose | hidden), to_choose))
        if not len(learnt) or not len(choosing):
            raise RecordError("too few pairs to learn from and to choose a checkpoint by; give more records")
        notes["pairs_learnt"] = min(len(learnt), settings.transformer.most_pairs or len(learnt))
        return fit_transformer(
            settings.encoder,
            table,
            learnt,
            choosing,
            settings.transformer,
            seed=settings.seed,
            on_progress=lambda done, total: report_progress(name, done, total),
        )

    def score(scorer: TransformerScorer, inside: BoolArray) -> None:
        rows = np.flatnonzero(inside)
        queries = [table.queries[q] for q in query_of[rows]]
        texts = [table.texts[i] for i in rows]
        held_out[rows] = scorer.score_many(
            queries, texts, on_progress=lambda done, total: report_progress("scoring held-out samples", done, total)
        )

    if folds == 1:
        scorer = fit("training", part_of == 0, part_of == 1)
        score(scorer, part_of == 1)
        return Fitted(scorer, held_out, part_of, notes)
    for fold in range(folds):
        hidden = part_of == fold
        score(fit(f"training, fold {fold + 1} of {folds}", part_of == (fold + 1) % folds, hidden), hidden)
    scorer = fit("training", part_of == 0, np.zeros(len(table), dtype=bool))
    return Fitted(scorer, held_out, part_of, notes)


def _accuracies(table: SampleTable, held_out: FloatArray, settings: RewardSettings, resamples: int) -> dict[str, Any]:
    """Return accuracies on pairs within a model's samples, as in best-of-n, and on pairs across models."""
    found: dict[str, Any] = {}
    for scheme in ("ends", "across"):
        pairs = pairs_or_none(table, scheme, most_per_query=settings.pairs_per_query, seed=settings.seed)
        found[scheme] = pair_accuracy(table, held_out, pairs, resamples=resamples)
    return found


def _deal(table: SampleTable, folds: int, settings: RewardSettings) -> IntArray:
    if len(set(table.groups)) < folds:
        raise RecordError(
            f"training needs records of at least {folds} groups, got {len(set(table.groups))}; give more records"
        )
    return deal_folds(table.groups, folds, seed=settings.seed)


def _calibration_report(
    fitted: Fitted, table: SampleTable, comparable: BoolArray, calibration: Calibration, settings: RewardSettings
) -> dict[str, Any]:
    """Return the calibration error on folds by group that the curve was not fitted on."""
    rows = np.flatnonzero(comparable)
    rewards, matches = fitted.held_out[rows], table.match[rows]
    groups = [table.groups[q] for q in table.query_of[rows]]
    report: dict[str, Any] = {"method": calibration.method, "samples": len(rows), "matched": float(matches.mean())}
    if len(set(groups)) < LIGHT_FOLDS:
        return {**report, "error": None, "perfect": None}
    fold_of = deal_folds(groups, LIGHT_FOLDS, seed=settings.seed + 1)
    predictions = np.zeros(len(rows))
    for fold in range(LIGHT_FOLDS):
        inside = fold_of == fold
        curve = fit_calibration(rewards[~inside], matches[~inside], settings.calibration)
        predictions[inside] = curve(rewards[inside])
    error, perfect = debiased_calibration_error(predictions[:, None], matches[:, None], groups)
    return {**report, "error": float(error[0]), "perfect": float(perfect[0])}
