"""What log-probabilities, agreement and greedy draws are worth on the demo set: a part of ``docs/evidence.md``.

Everything is computed from the records that the demo ships. A level that is chosen is chosen on folds by group that
did not see the scored queries, over several deals of folds; intervals resample groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from auroc import Estimate, auroc, mean_of

from bestroute.demo.dataset import demo_records
from bestroute.demo.tasks import normalise
from bestroute.records.records import GreedySample, ModelSamples, Record
from bestroute.stats.bootstrap import interval, resample_groups
from bestroute.stats.calibration_error import debiased_calibration_error
from bestroute.stats.folds import deal_folds, standard_errors
from bestroute.stats.hull import hull_quality
from bestroute.types.arrays import BoolArray, FloatArray
from bestroute.types.signals import Signals

SMALL, LARGE = "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"
DEALS, FOLDS = 20, 5
UNTRAINED = 0.7
"""The acceptance level of ``LogprobConfidence`` where nobody has chosen another."""
ALLOWED_DROP = 0.01
DEARER = 10
"""The stand-in reference costs so many times what the model does that it stands above."""
BEST_OF = 5
"""The stand-in is right where any of so many of that model's samples is."""
LEVELS = np.append(np.linspace(0, 1, 201), 1.01)
"""Acceptance levels to choose from; the last accepts nothing."""


@dataclass(frozen=True, eq=False)
class Answers:
    """One model's answers to all queries: ``S`` sampled ones and the greedy one."""

    quality: FloatArray
    """Shape ``(Q, S)``."""
    cost_usd: FloatArray
    signals: Mapping[str, FloatArray]
    """By name, shape ``(Q, S)``."""
    forms: list[list[str]]
    tokens: FloatArray
    greedy_quality: FloatArray
    """Shape ``(Q,)``."""
    greedy_cost_usd: FloatArray
    greedy_probability: FloatArray
    """``exp(sum)`` of the greedy answer, shape ``(Q,)``."""

    @property
    def probability(self) -> FloatArray:
        """Return ``exp(sum)`` of each sample."""
        return np.exp(self.signals["sum"])


def answers_of(records: Sequence[Record], model: str) -> Answers:
    """Read what the records hold of a model."""
    samples = [record.samples[model] for record in records]
    greedy = [_greedy(one) for one in samples]
    return Answers(
        quality=np.array([one.known_quality for one in samples]),
        cost_usd=np.array([one.cost_usd for one in samples]),
        signals={
            name: np.array([[getattr(s, f"{name}_logprob") for s in _signals(one)] for one in samples])
            for name in ("sum", "mean", "min")
        },
        forms=[[normalise(text) for text in one.text or ()] for one in samples],
        tokens=np.array([one.output_tokens for one in samples]),
        greedy_quality=np.array([one.quality for one in greedy]),
        greedy_cost_usd=np.array([one.cost_usd for one in greedy]),
        greedy_probability=np.exp([one.signals.sum_logprob for one in greedy if one.signals is not None]),
    )


def _signals(samples: ModelSamples) -> Sequence[Signals]:
    if samples.signals is None:
        raise ValueError("the records have no signals; draw them with benchmarks/draws.py")
    return samples.signals


def _greedy(samples: ModelSamples) -> GreedySample:
    if samples.greedy is None:
        raise ValueError("the records have no greedy answers; draw them with benchmarks/draws.py")
    return samples.greedy


def auroc_of(answers: Answers, groups: Sequence[str]) -> dict[str, Estimate]:
    """Return the AUROC of "this sampled answer is right" of everything that a draw tells."""
    size = answers.quality.shape[1]
    of_each = np.repeat(np.asarray(groups), size)
    right = answers.quality.ravel()
    scores: dict[str, FloatArray] = {
        "sum of log-probabilities": answers.signals["sum"],
        "mean": answers.signals["mean"],
        "least token": answers.signals["min"],
        "fewer tokens": -answers.tokens,
    }
    estimates = {name: auroc(score.ravel(), right, of_each.tolist()) for name, score in scores.items()}
    for draws in (2, 3, 5):
        estimates[f"agreement of {draws} draws"] = _agreement_auroc(answers, draws, of_each.tolist())
    return estimates


def text_auroc(texts: Sequence[str], answers: Answers, groups: Sequence[str]) -> Estimate:
    """Return the AUROC of the question alone: a ridge regression on its words and letters, learnt on other folds."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline, make_union

    fold_of, predicted = deal_folds(groups, FOLDS), np.zeros(len(texts))
    mean = answers.quality.mean(axis=1)
    for fold in range(FOLDS):
        here = fold_of == fold
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
        model = make_pipeline(make_union(words, letters), Ridge(alpha=3.0))
        model.fit([texts[i] for i in np.flatnonzero(~here)], mean[~here])
        predicted[here] = model.predict([texts[i] for i in np.flatnonzero(here)])
    size = answers.quality.shape[1]
    return auroc(np.repeat(predicted, size), answers.quality.ravel(), np.repeat(np.asarray(groups), size).tolist())


def _agreement_auroc(answers: Answers, draws: int, groups: Sequence[str]) -> Estimate:
    """Return the AUROC of agreement with other draws: each deal pairs every sample with ``draws - 1`` others."""
    made = [
        auroc(_one_deal(answers, draws, d).ravel(), answers.quality.ravel(), groups, resamples=200) for d in range(5)
    ]
    low, high = np.mean([one.ci95 for one in made], axis=0)
    return Estimate(float(np.mean([one.value for one in made])), (float(low), float(high)))


def _one_deal(answers: Answers, draws: int, deal: int) -> FloatArray:
    size = answers.quality.shape[1]
    _, codes = np.unique(np.array(answers.forms), return_inverse=True)
    codes = codes.reshape(answers.quality.shape)
    shifts = np.random.default_rng(deal).permutation(size - 1)[: draws - 1] + 1
    return np.sum([codes == np.roll(codes, int(by), axis=1) for by in shifts], axis=0).astype(float)


def calibration(answers: Answers, groups: Sequence[str]) -> dict[str, Any]:
    """Return how often answers are right by what ``exp(sum)`` says of them."""
    claimed, right = answers.probability.ravel(), answers.quality.ravel()
    of_each = np.repeat(np.asarray(groups), answers.quality.shape[1])
    error, _ = debiased_calibration_error(claimed[:, None], right[:, None], of_each.tolist())
    bins = []
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.001)):
        here = (claimed >= low) & (claimed < high)
        bins.append(
            {
                "from": low,
                "to": min(high, 1),
                "answers": int(here.sum()),
                "said": float(claimed[here].mean()),
                "right": mean_of(right[here], of_each[here].tolist()),
            }
        )
    return {"error": float(error[0]), "bins": bins}


def greedy_against_sampled(answers: Answers, groups: Sequence[str]) -> dict[str, Estimate]:
    """Return how much more often the greedy answer is right than one sample, and than a vote of five."""
    return {
        "over one sample": mean_of(answers.greedy_quality - answers.quality.mean(axis=1), groups),
        "over a vote of five": mean_of(answers.greedy_quality - _vote_of_five(answers), groups),
    }


def _vote_of_five(answers: Answers, *, deals: int = 200) -> FloatArray:
    """Return the quality of the leading answer of five samples, the earliest of equals, a mean over deals."""
    random, total = np.random.default_rng(0), np.zeros(len(answers.quality))
    for _ in range(deals):
        for q, forms in enumerate(answers.forms):
            drawn = random.permutation(len(forms))[:5]
            votes = [forms[i] for i in drawn]
            leading = max(votes, key=votes.count)
            total[q] += answers.quality[q, drawn[votes.index(leading)]]
    return total / deals


@dataclass(frozen=True, eq=False)
class Ladder:
    """A cheap answer, accepted or not by a probability, else the reference: ``(Q, S)`` cheap draws, ``(Q,)``."""

    probability: FloatArray
    cheap_quality: FloatArray
    cheap_usd: FloatArray
    reference_quality: FloatArray
    reference_usd: FloatArray
    groups: tuple[str, ...]

    def at(self, level: float) -> tuple[FloatArray, FloatArray]:
        """Return quality and cost of each query when answers are accepted from this level; level above 1: no draw."""
        if level > 1:
            return self.reference_quality, self.reference_usd
        taken = self.probability >= level
        quality = np.where(taken, self.cheap_quality, self.reference_quality[:, None]).mean(axis=1)
        usd = (self.cheap_usd + np.where(taken, 0, self.reference_usd[:, None])).mean(axis=1)
        return quality, usd

    def frozen(self, rows: BoolArray) -> float:
        """Return the level that saves most on these queries, the loss and its standard error within what is allowed."""
        made = [self.at(level) for level in LEVELS]
        lost = np.column_stack([(1 - ALLOWED_DROP) * self.reference_quality - quality for quality, _ in made])[rows]
        surely = lost.mean(axis=0) + standard_errors(lost, [self.groups[i] for i in np.flatnonzero(rows)])
        able = [(made[i][1][rows].mean(), LEVELS[i]) for i in np.flatnonzero(surely <= 0)]
        return float(min(able)[1])


@dataclass(frozen=True)
class Bill:
    """What a policy saved, and lost, against the reference."""

    saving: Estimate
    drop: Estimate
    accepted: float
    gain_over_hull: Estimate | None = None
    """Quality above what mixtures of fixed choices reach at its cost."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        figures: dict[str, Any] = {
            "saving": self.saving.to_json(),
            "drop": self.drop.to_json(),
            "accepted": self.accepted,
        }
        return figures if self.gain_over_hull is None else {**figures, "gain_over_hull": self.gain_over_hull.to_json()}


def bill_of(
    ladder: Ladder,
    quality: FloatArray,
    usd: FloatArray,
    accepted: float,
    fixed: tuple[FloatArray, FloatArray] | None = None,
) -> Bill:
    """Compare a policy with the reference and, where fixed choices are given (quality, usd: ``(Q, P)``), their hull."""
    weights = np.vstack([np.full(len(quality), 1 / len(quality)), resample_groups(ladder.groups, resamples=2000)])
    savings = 1 - (weights @ usd) / (weights @ ladder.reference_usd)
    drops = 1 - (weights @ quality) / (weights @ ladder.reference_quality)
    gain = None
    if fixed is not None:
        gains = np.array(
            [row @ quality - float(hull_quality(row @ fixed[1], row @ fixed[0], float(row @ usd))) for row in weights]
        )
        gain = Estimate(float(gains[0]), interval(gains[1:]))
    return Bill(
        Estimate(float(savings[0]), interval(savings[1:])),
        Estimate(float(drops[0]), interval(drops[1:])),
        accepted,
        gain,
    )


def frozen_bill(ladder: Ladder, fixed: tuple[FloatArray, FloatArray] | None = None) -> tuple[Bill, list[float]]:
    """Return the bill of levels frozen on other folds, a mean over deals, and each deal's drop."""
    qualities, bills, drops, accepted = [], [], [], []
    for deal in range(DEALS):
        fold_of = deal_folds(ladder.groups, FOLDS, seed=deal)
        quality, usd = np.zeros(len(ladder.groups)), np.zeros(len(ladder.groups))
        for fold in range(FOLDS):
            here = fold_of == fold
            level = ladder.frozen(~here)
            own_quality, own_usd = ladder.at(level)
            quality[here], usd[here] = own_quality[here], own_usd[here]
            accepted.append(float((ladder.probability[here] >= level).mean()))
        qualities.append(quality)
        bills.append(usd)
        drops.append(float(1 - quality.mean() / ladder.reference_quality.mean()))
    made = bill_of(ladder, np.mean(qualities, axis=0), np.mean(bills, axis=0), float(np.mean(accepted)), fixed)
    return made, drops


def stand_in(answers: Answers) -> tuple[FloatArray, FloatArray]:
    """Return quality and cost of a better, dearer reference made of a model's own samples."""
    size = answers.quality.shape[1]
    wrong = (answers.quality < 0.5).sum(axis=1)
    all_wrong = np.array([comb(int(w), BEST_OF) / comb(size, BEST_OF) for w in wrong])
    return 1 - all_wrong, DEARER * answers.cost_usd.mean(axis=1)


def ladder_of(
    cheap: Answers, reference: tuple[FloatArray, FloatArray], groups: Sequence[str], *, greedy: bool
) -> Ladder:
    """Return the ladder of a cheap model's greedy answer, or of one of its samples."""
    if greedy:
        drawn = (cheap.greedy_probability, cheap.greedy_quality, cheap.greedy_cost_usd)
        return Ladder(*(values[:, None] for values in drawn), *reference, tuple(groups))
    return Ladder(cheap.probability, cheap.quality, cheap.cost_usd, *reference, tuple(groups))


Progress = Callable[[str], None]


def measure(say: Progress = print) -> dict[str, Any]:
    """Return all figures of the demo set."""
    records = demo_records()
    groups, texts = [record.group for record in records], [record.query for record in records]
    answers = {model: answers_of(records, model) for model in (SMALL, LARGE)}
    figures: dict[str, Any] = {"queries": len(records), "groups": len(set(groups))}
    for model, own in answers.items():
        say(f"demo: {model}")
        figures[model] = {
            "quality": float(own.quality.mean()),
            "greedy_quality": float(own.greedy_quality.mean()),
            "auroc": {
                **{name: made.to_json() for name, made in auroc_of(own, groups).items()},
                "the question's text alone, learnt": text_auroc(texts, own, groups).to_json(),
            },
            "calibration": _plain(calibration(own, groups)),
            "greedy": {name: made.to_json() for name, made in greedy_against_sampled(own, groups).items()},
        }
    say("demo: money")
    better = stand_in(answers[LARGE])
    figures["stand_in"] = {"quality": float(better[0].mean())}
    for name, greedy in (("greedy", True), ("sampled", False)):
        ladder = ladder_of(answers[LARGE], better, groups, greedy=greedy)
        made, drops = frozen_bill(ladder)
        untrained = bill_of(ladder, *ladder.at(UNTRAINED), float((ladder.probability >= UNTRAINED).mean()))
        figures["stand_in"][name] = {
            "frozen": made.to_json(),
            "drops_of_deals": [round(min(drops), 4), round(max(drops), 4)],
            "untrained": untrained.to_json(),
        }
    figures["pool"] = demo_pool_figures(answers, groups)
    return figures


def demo_pool_figures(answers: Mapping[str, Answers], groups: Sequence[str]) -> dict[str, Any]:
    """Return what the small model's log-probabilities are worth in the demo's own pool."""
    large, small = answers[LARGE], answers[SMALL]
    sampled = (large.quality.mean(axis=1), large.cost_usd.mean(axis=1))
    greedy = (large.greedy_quality, large.greedy_cost_usd)
    singles = [(small.quality.mean(axis=1), small.cost_usd.mean(axis=1)), sampled]
    greedy_singles = [(small.greedy_quality, small.greedy_cost_usd), greedy]
    fixed = {
        "sampled": tuple(np.column_stack(values) for values in zip(*singles, strict=True)),
        "greedy": tuple(np.column_stack(values) for values in zip(*singles, *greedy_singles, strict=True)),
    }
    figures: dict[str, Any] = {}
    against_sampled = Ladder(
        small.greedy_probability[:, None],
        small.greedy_quality[:, None],
        small.greedy_cost_usd[:, None],
        *sampled,
        tuple(groups),
    )
    figures["reference_greedy"] = bill_of(against_sampled, *greedy, 0.0, fixed["sampled"]).to_json()
    ladder = ladder_of(small, greedy, groups, greedy=True)
    made, _ = frozen_bill(ladder, fixed["greedy"])
    figures["frozen"] = made.to_json()
    figures["untrained"] = bill_of(
        ladder, *ladder.at(UNTRAINED), float((ladder.probability >= UNTRAINED).mean()), fixed["greedy"]
    ).to_json()
    figures["price_share"] = float(ladder.cheap_usd.mean() / ladder.reference_usd.mean())
    return figures


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.to_json()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    import json

    print(json.dumps(measure(), indent=1))
