"""Fit the weights and the acceptance level of a confidence on records, by held-out folds over several deals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bestroute.errors import ConfigError, RecordError
from bestroute.labels.answer_forms import form_reader, tools_of
from bestroute.records.records import Record
from bestroute.reward_models.evidence_curve import FittedWeights, features, probabilities
from bestroute.stats.folds import deal_folds
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.plans import Plan
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample

Evidence = Callable[[Query, Sequence[DrawnSample]], FloatArray]
"""Returns the evidence about each sample, shape ``(samples, K)``."""
RIDGES = (0.3, 3.0, 30.0)
ORDERS = 3
"""Random orders in which each record's samples are played."""
LEVELS = tuple(np.round(np.concatenate([np.arange(0.5, 0.9, 0.025), np.arange(0.9, 0.999, 0.01)]), 3))
_NEVER = 1.0


@dataclass(frozen=True, eq=False)
class Played:
    """All ``M`` moments at which a plan may accept in simulated plays, with the ``N`` samples available then."""

    table: FloatArray
    """Features of each sample, shape ``(N, F)``."""
    quality: FloatArray
    """Shape ``(N,)``."""
    moment_of: IntArray
    """Index of each sample's moment, shape ``(N,)``, ascending."""
    play_of: IntArray
    """Index of each moment's play, shape ``(M,)``, ascending."""
    record_of: IntArray
    """Index of each play's record."""
    reference: FloatArray
    """Mean quality of the reference, for each record."""


def fit(
    evidence_of: Evidence,
    records: Sequence[Record],
    plan: Plan,
    *,
    max_drop: float,
    deals: int,
    folds: int,
    group_of: Callable[[Record], str] | None,
    seed: int,
) -> tuple[FittedWeights, float]:
    """Return weights, and the lowest level whose held-out drop is within the limit; see ``Confidence.fitted``."""
    groups = [record.group if group_of is None else group_of(record) for record in records]
    if deals < 3:
        raise ConfigError(f"Confidence: one deal of folds is no evidence, deals must be at least 3, got {deals}")
    if len(set(groups)) < 2 * folds:
        raise ConfigError(
            f"Confidence: {folds} folds need at least {2 * folds} groups, the records have {len(set(groups))}"
        )
    played = play(evidence_of, records, plan, seed=seed)
    held_out: dict[float, list[FloatArray]] = {ridge: [] for ridge in RIDGES}
    for deal in range(deals):
        fold_of = deal_folds(groups, folds, seed=seed + deal)
        sample_fold = fold_of[played.record_of[played.play_of[played.moment_of]]]
        for ridge in RIDGES:
            predictions = np.full(len(played.quality), np.nan)
            for fold in range(folds):
                train, test = sample_fold != fold, sample_fold == fold
                predictions[test] = probabilities(
                    logistic(played.table[train], played.quality[train], ridge), played.table[test]
                )
            held_out[ridge].append(predictions)
    losses = {ridge: float(np.mean([_log_loss(g, played.quality) for g in held_out[ridge]])) for ridge in RIDGES}
    ridge = min(losses, key=lambda r: losses[r])
    drops = {level: float(np.mean([drop_at(played, g, level)[0] for g in held_out[ridge]])) for level in LEVELS}
    accept = _NEVER
    for level in sorted(LEVELS, reverse=True):  # from the highest level down to the first that loses too much
        if drops[level] > max_drop:
            break
        accept = float(level)
    report: dict[str, Any] = {
        "log_loss": losses[ridge],
        "drop": drops.get(accept, 0.0),
        "accepted": float(np.mean([drop_at(played, g, accept)[1] for g in held_out[ridge]])),
        "groups": len(set(groups)),
        "deals": deals,
    }
    return FittedWeights(logistic(played.table, played.quality, ridge), ridge, report), accept


def play(
    evidence_of: Evidence, records: Sequence[Record], plan: Plan, *, seed: int = 0, orders: int = ORDERS
) -> Played:
    """Simulate the accepting steps of a plan on the samples of records, in seeded random orders."""
    last = plan.steps[-1]
    if len(plan.steps) < 2 or last.accept is not None:
        raise ConfigError(f"Confidence: the plan must end with the reference, without accept, got '{plan}'")
    rng = np.random.default_rng(seed)
    tables: list[FloatArray] = []
    quality: list[float] = []
    moment_of: list[int] = []
    play_of: list[int] = []
    record_of: list[int] = []
    reference: list[float] = []
    moments = 0
    for r, record in enumerate(records):
        query, drawn_of = drawable(record, [step.model for step in plan.steps[:-1]])
        reference.append(float(np.mean(record.samples[last.model].known_quality)))
        for _ in range(orders):
            urns = {model: list(rng.permutation(len(own))) for model, own in drawn_of.items()}
            so_far: list[DrawnSample] = []
            known: list[float] = []
            for number, step in enumerate(plan.steps[:-1]):
                for _ in range(min(step.n, len(urns[step.model]))):
                    place = urns[step.model].pop()
                    so_far.append(replace(drawn_of[step.model][place], step=number))
                    known.append(record.samples[step.model].known_quality[place])
                    evidence = evidence_of(query, so_far)
                    tables.append(features(evidence, [len(s.text) for s in so_far]))
                    quality += known
                    moment_of += [moments] * len(so_far)
                    play_of.append(len(record_of))
                    moments += 1
            record_of.append(r)
    return Played(
        np.concatenate(tables),
        np.array(quality),
        np.array(moment_of, dtype=np.intp),
        np.array(play_of, dtype=np.intp),
        np.array(record_of, dtype=np.intp),
        np.array(reference),
    )


def drawable(record: Record, models: Sequence[str]) -> tuple[Query, dict[str, list[DrawnSample]]]:
    """Return a record's query, and its samples as the engine would have drawn them, with their canonical forms.

    Raises:
        RecordError: If texts are missing.
    """
    tools, form_of = tools_of(record) or None, form_reader(record)
    drawn: dict[str, list[DrawnSample]] = {}
    for model in dict.fromkeys(models):
        own = record.samples[model]
        if own.text is None:
            raise RecordError(
                f"record {record.id!r}: 'samples.{model}.text' is missing, and agreement compares answers"
            )
        drawn[model] = [
            DrawnSample(
                Sample(
                    text,
                    form=form_of(text),
                    signals=None if own.signals is None else own.signals[i],
                ),
                model,
                0,
            )
            for i, text in enumerate(own.text)
        ]
    return Query(record.query, tools=tools), drawn


def logistic(table: FloatArray, targets: FloatArray, ridge: float) -> FloatArray:
    """Return the weights of a logistic regression, by Newton's method; rows and targets of NaN are left out."""
    known = ~np.isnan(table).any(axis=1) & ~np.isnan(targets)
    x, y = table[known], targets[known]
    weights = np.zeros(table.shape[1])
    penalty = ridge * np.eye(table.shape[1])
    penalty[0, 0] = 1e-6
    for _ in range(50):
        p = probabilities(weights, x)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + penalty
        step = np.linalg.solve(hessian, x.T @ (p - y) + penalty @ weights)
        weights = weights - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return weights


def drop_at(played: Played, predictions: FloatArray, level: float) -> tuple[float, float]:
    """Return the relative drop against the reference, and the share of plays accepted, at a level."""
    gained, ended = played_out(played, predictions, level)
    return 1 - float(gained.mean()) / max(float(played.reference[played.record_of].mean()), 1e-12), float(
        (ended > 0).mean()
    )


def played_out(played: Played, predictions: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """Return each play's answer quality, and the moment of its acceptance, counted from 1; 0 if not accepted."""
    quality = played.reference[played.record_of].copy()
    when = np.zeros(len(quality))
    first_moment = np.searchsorted(played.play_of, np.arange(len(quality)))
    passing = np.flatnonzero(predictions >= level)
    for i in passing[::-1]:  # the earliest is assigned last
        play_number = played.play_of[played.moment_of[i]]
        quality[play_number] = played.quality[i]
        when[play_number] = played.moment_of[i] - first_moment[play_number] + 1
    return quality, when


def _log_loss(predictions: FloatArray, targets: FloatArray) -> float:
    known = ~np.isnan(predictions) & ~np.isnan(targets)
    p, y = np.clip(predictions[known], 1e-9, 1 - 1e-9), targets[known]
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
