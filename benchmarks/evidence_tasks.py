"""A confidence fitted on some tasks, on others: draws of cheap members, each accepted, given up or followed by more.

Three draws of the cheap arm and one of each cheaper member are played one after the other. After each, what is known
(who agrees with whom, how long answers and replies are; nothing of the query) says how probable the leading answer is
right. From the fifth draw on it may be accepted. It is given up for the reference as soon as what is still to be
drawn costs more than it is likely to save: that needs no labels. Weights and level are chosen on the training tasks
alone, on several deals of folds by task: the lowest level that loses no more than is asked, where a task may make up
for no more of others' losses than the drop that is asked for, since a few tasks on which the reference fails
would pay for anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestroute import Pool
from bestroute.labels.answer_forms import form_reader
from bestroute.records.records import Record
from bestroute.reward_models.confidence_fit import logistic
from bestroute.reward_models.evidence_curve import probabilities
from bestroute.stats.bootstrap import interval, resample_groups
from bestroute.stats.folds import deal_folds
from bestroute.types.arrays import BoolArray, FloatArray, IntArray

ARM = "llama-4-maverick"
DRAWN = (ARM, ARM, ARM, "gemma-3-27b", "llama-3.3-70b", "mistral-small-3.1-24b")
FIRST = 4
"""From which draw on, counted from 0, an answer may be accepted."""
ORDERS, DEALS = 3, 160
INNER, INNER_DEALS = 6, 3
"""Folds by task within the training tasks, and how often they are dealt."""
RIDGE = 100.0
"""Of 10 to 1,000 the best on 40 deals of half of the tasks (``live_tasks.designed_on``), tried by hand."""
LEVELS = tuple(np.round(np.concatenate([np.linspace(0.3, 0.9, 25), np.linspace(0.91, 0.99, 9)]), 3))
LEAST_LEVEL = 0.6
"""From which an answer may be accepted where tasks are new: there guesses are further off than folds can tell."""
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Stage:
    """What is known after a draw, of ``N`` plays."""

    table: FloatArray
    """Features, the first of them 1, shape ``(N, F)``."""
    quality: FloatArray
    """Of the answer that leads, shape ``(N,)``."""
    spent: FloatArray
    """USD so far, shape ``(N,)``."""


@dataclass(frozen=True, eq=False)
class Tasks:
    """The plays of all records, in several orders of their samples."""

    stages: tuple[Stage, ...]
    record_of: IntArray
    names: tuple[str, ...]
    """What folds keep together, by record."""
    reference: FloatArray
    """Quality of the reference, by play, as the others are."""
    reference_usd: FloatArray
    arm: FloatArray
    arm_usd: FloatArray

    @classmethod
    def of(cls, records: Sequence[Record], pool: Pool, names: Sequence[str], text: FloatArray | None = None) -> Tasks:
        """Play the records; ``text`` is what is read of their queries, shape ``(Q, D)``, where that may count."""
        forms = [{m: list(map(form_reader(r), r.samples[m].text or ())) for m in {*DRAWN}} for r in records]
        stages: list[list[Stage]] = []
        for order in range(ORDERS):
            columns = _drawn(records, forms, pool, order)
            stages.append([_stage(columns, draw, text) for draw in range(len(DRAWN))])
        joined = tuple(
            Stage(
                _standard(np.concatenate([s.table for s in of_stage])),
                np.concatenate([s.quality for s in of_stage]),
                np.concatenate([s.spent for s in of_stage]),
            )
            for of_stage in zip(*stages, strict=True)
        )

        def mean(model: str) -> tuple[FloatArray, FloatArray]:
            quality = [np.mean(r.samples[model].known_quality) for r in records]
            usd = [np.mean([_usd(r, model, i, pool) for i in range(r.samples[model].size)]) for r in records]
            return np.tile(quality, ORDERS), np.tile(usd, ORDERS)

        rows = np.tile(np.arange(len(records)), ORDERS)
        return cls(joined, rows, tuple(names), *mean(pool.reference), *mean(ARM))


@dataclass(frozen=True, eq=False)
class _Columns:
    """Of each draw, in order, shape ``(draws, Q)``."""

    form: Any
    quality: FloatArray
    tokens: FloatArray
    length: FloatArray
    usd: FloatArray


def _drawn(records: Sequence[Record], forms: Sequence[dict[str, list[str]]], pool: Pool, order: int) -> _Columns:
    form, quality, tokens, length, usd = [], [], [], [], []
    for draw, model in enumerate(DRAWN):
        place = [(order + DRAWN[:draw].count(model)) % r.samples[model].size for r in records]
        own = [r.samples[model] for r in records]
        form.append([f[model][i] for f, i in zip(forms, place, strict=True)])
        quality.append([s.known_quality[i] for s, i in zip(own, place, strict=True)])
        tokens.append([(s.output_tokens or (0.0,))[i] for s, i in zip(own, place, strict=True)])
        length.append([len((s.text or ("",))[i]) for s, i in zip(own, place, strict=True)])
        usd.append([_usd(r, model, i, pool) for r, i in zip(records, place, strict=True)])
    return _Columns(np.array(form, dtype=object), *map(np.array, (quality, tokens, length, usd)))


def _stage(columns: _Columns, draw: int, text: FloatArray | None) -> Stage:
    """Look at what is known after a draw; the answer with the most votes leads, the arm's own before others'."""
    form, rows = columns.form[: draw + 1], np.arange(columns.form.shape[1])
    agrees = (form[:, None] == form[None]) & (form[:, None] != "")
    votes = agrees.sum(axis=1)
    of_arm = np.array([model == ARM for model in DRAWN[: draw + 1]])
    leader = (votes + 0.5 * of_arm[:, None] - 1e-3 * np.arange(draw + 1)[:, None]).argmax(axis=0)
    same = agrees[leader, :, rows].T.astype(float)
    answer = form[leader, rows]
    own, other = same[of_arm].sum(axis=0), same[~of_arm].sum(axis=0)
    table = [
        *same,
        votes[leader, rows],
        np.where(same > 0, 0, votes).max(axis=0),
        [len(set(column)) for column in form.T],
        np.log1p(columns.length[: draw + 1][leader, rows]),
        [a.replace(".", "").replace("-", "").isdigit() for a in answer],
        [len(a) <= 3 for a in answer],
        *np.log1p(columns.tokens[: draw + 1]),
        own * other,
        (own >= 2) & (other >= 1),
        other >= 2,
        votes[leader, rows] == draw + 1,
        *([] if text is None else text.T),
    ]
    quality, spent = columns.quality[: draw + 1][leader, rows], columns.usd[: draw + 1].sum(axis=0)
    return Stage(np.column_stack([np.asarray(c, dtype=float) for c in table]), quality, spent)


def _standard(table: FloatArray) -> FloatArray:
    scaled = (table - table.mean(axis=0)) / (table.std(axis=0) + 1e-9)
    return np.column_stack([np.ones(len(table)), scaled])


def _usd(record: Record, model: str, place: int, pool: Pool) -> float:
    own, price = record.samples[model], pool.prices[model]
    return (float(own.input_tokens or 0) * price.input + (own.output_tokens or (0.0,))[place] * price.output) / 1e6


def topics(records: Sequence[Record], *, size: int = 60) -> FloatArray:
    """Return leading directions of the words of the queries, shape ``(Q, size)``; no label is looked at."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, min_df=3, ngram_range=(1, 2)).fit_transform([r.query for r in records])
    return np.asarray(TruncatedSVD(size, random_state=0).fit_transform(words))


def play(
    tasks: Tasks, guesses: Sequence[FloatArray], level: float, goes_on: Sequence[BoolArray]
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return quality, USD and whether a cheap answer was accepted, of each play.

    Args:
        tasks: What was drawn.
        guesses: After each draw, how probable the leading answer is right; below ``FIRST`` they are not looked at.
        level: From which it is accepted; at infinity the reference answers at once.
        goes_on: After each draw but the last, whether more is drawn if it is not accepted.
    """
    quality, cost = tasks.reference.copy(), np.zeros(len(tasks.reference))
    is_open, accepted = np.full(len(cost), np.isfinite(level)), np.zeros(len(cost), dtype=bool)
    for draw, stage in enumerate(tasks.stages):
        cost[is_open] = stage.spent[is_open]
        if draw >= FIRST:
            ends = is_open & (guesses[draw] >= level)
            quality[ends], accepted = stage.quality[ends], accepted | ends
            is_open = is_open & ~ends
        if draw < len(goes_on):
            is_open = is_open & goes_on[draw]
    return quality, cost + np.where(accepted, 0.0, tasks.reference_usd), accepted


def scored(
    tasks: Tasks, groups: Sequence[str], *, max_drop: float, deals: int = DEALS, least_level: float = LEAST_LEVEL
) -> dict[str, Any]:
    """Fit on three fifths of the names, score on the others, deal by deal.

    Args:
        tasks: The plays.
        groups: By record, what intervals resample whole.
        max_drop: The drop that is asked for.
        deals: How often.
        least_level: From which an answer may be accepted.

    Returns:
        Means over the deals with standard errors; and intervals by resampled groups of what each record gave in the
        mean of the deals that it was scored in.
    """
    found, sums, times = [], np.zeros((len(tasks.names), 6)), np.zeros(len(tasks.names))
    for deal in range(deals):
        is_test = np.isin(deal_folds(list(tasks.names), 5, seed=1000 + deal), (0, 1))[tasks.record_of]
        levels = [level for level in LEVELS if level >= least_level]
        level, guesses, goes_on = _fitted(tasks, ~is_test, max_drop, levels, seed=deal)
        quality, cost, accepted = play(tasks, guesses, level, goes_on)
        columns = np.column_stack([quality, cost, tasks.reference, tasks.reference_usd, tasks.arm, tasks.arm_usd])
        found.append((*_figures(columns[is_test].mean(axis=0)), accepted[is_test].mean()))
        np.add.at(sums, tasks.record_of[is_test], columns[is_test])
        np.add.at(times, tasks.record_of[is_test], 1)
    means = sums / np.maximum(times, 1)[:, None]
    resampled = np.array([_figures(row) for row in resample_groups(groups, resamples=RESAMPLES) @ means])
    table, names = np.array(found), ("saving", "drop", "saving_beyond_coin", "accepted")
    error = table.std(axis=0, ddof=1) / np.sqrt(deals)
    return {
        "deals": deals,
        **{name: float(table[:, c].mean()) for c, name in enumerate(names)},
        **{f"{name}_se": float(error[c]) for c, name in enumerate(names)},
        **{f"{name}_ci95": list(interval(resampled[:, c])) for c, name in enumerate(names[:3])},
    }


def _figures(means: FloatArray) -> tuple[float, float, float]:
    """Return saving, drop, and the saving above a coin between reference and arm at that drop."""
    quality, cost, reference, reference_usd, arm, arm_usd = means
    saving, drop = 1 - cost / reference_usd, 1 - quality / reference
    coin = max(drop, 0.0) / (1 - arm / reference) * (1 - arm_usd / reference_usd)
    return float(saving), float(drop), float(saving - coin)


def _fitted(
    tasks: Tasks, is_train: BoolArray, max_drop: float, levels: Sequence[float], *, seed: int
) -> tuple[float, list[FloatArray], list[BoolArray]]:
    """Return the lowest level that loses no more than is asked, how probable answers are right, and where to go on.

    Of training plays, probabilities are means over folds by task that held them out. Without a level that also saves,
    it is infinite.
    """
    dealt = [deal_folds(list(tasks.names), INNER, seed=500 + seed + 10_000 * deal) for deal in range(INNER_DEALS)]
    guesses = [
        _guessed(stage, is_train, [np.array(folds)[tasks.record_of] for folds in dealt]) for stage in tasks.stages
    ]
    name_of = np.unique(np.array(tasks.names)[tasks.record_of], return_inverse=True)[1]
    for level in sorted(levels):
        goes_on = _goes_on(tasks, guesses, is_train, level)
        quality, cost, _ = play(tasks, guesses, level, goes_on)
        loss = (tasks.reference - quality)[is_train] / tasks.reference[is_train].sum()
        loses = np.maximum(np.bincount(name_of[is_train], loss), -max_drop).sum()
        if loses <= max_drop and cost[is_train].sum() < tasks.reference_usd[is_train].sum():
            return float(level), guesses, goes_on
    return np.inf, guesses, []


def _guessed(stage: Stage, is_train: BoolArray, dealt: Sequence[IntArray]) -> FloatArray:
    guess = probabilities(logistic(stage.table[is_train], stage.quality[is_train], RIDGE), stage.table)
    guess[is_train] = 0
    for fold_of in dealt:
        for fold in range(INNER):
            fit, held_out = is_train & (fold_of != fold), is_train & (fold_of == fold)
            weights = logistic(stage.table[fit], stage.quality[fit], RIDGE)
            guess[held_out] += probabilities(weights, stage.table[held_out]) / len(dealt)
    return guess


def _goes_on(tasks: Tasks, guesses: Sequence[FloatArray], is_train: BoolArray, level: float) -> list[BoolArray]:
    """Return where the chance that a later draw is accepted is worth what is still to be drawn; no label is needed."""
    usd = [stage.spent[is_train].mean() for stage in tasks.stages]
    goes_on = []
    for draw, stage in enumerate(tasks.stages[:-1]):
        later = np.any([guesses[i] >= level for i in range(max(draw + 1, FIRST), len(DRAWN))], axis=0).astype(float)
        chance = probabilities(logistic(stage.table[is_train], later[is_train], RIDGE), stage.table)
        goes_on.append(chance * tasks.reference_usd[is_train].mean() > usd[-1] - usd[draw])
    return goes_on
