"""Several pieces of evidence as one probability."""

import math

import numpy as np
import pytest

from bestroute import Agreement, Confidence, ConfigError, LogprobConfidence, MajorityVote, Plan, Query, Step
from bestroute.records.records import ModelSamples, Record
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.signals import Signals

QUERY = Query("What is 12 * 7?")
PLAN = Plan((Step("small", 1, 0.5), Step("mid", 1, 0.5), Step("large")))


def drawn(*answers: tuple[str, str, float | None]) -> list[DrawnSample]:
    return [
        DrawnSample(Sample(text, signals=None if p is None else Signals.from_logprobs([math.log(p)])), model, 0)
        for model, text, p in answers
    ]


def test_one_piece_of_evidence_is_itself_and_none_is_unknown():
    both = Confidence.of(LogprobConfidence(), Agreement())
    assert both.score_samples(QUERY, drawn(("a", "84", 0.8))) == [pytest.approx(0.8)]
    assert math.isnan(both.score_samples(QUERY, drawn(("a", "84", None)))[0])
    assert both.score_samples(QUERY, drawn(("a", "84", None), ("b", "84.", None))) == [pytest.approx(0.875)] * 2


def test_agreement_raises_and_contradiction_lowers_what_the_tokens_say():
    both = Confidence.of(LogprobConfidence(), Agreement())
    alone = both.score_samples(QUERY, drawn(("a", "84", 0.8)))[0]
    agreed = both.score_samples(QUERY, drawn(("a", "84", 0.8), ("b", "84", None)))[0]
    contradicted = both.score_samples(QUERY, drawn(("a", "84", 0.8), ("b", "85", None)))[0]
    assert contradicted < alone < agreed


def test_it_is_what_its_parts_are():
    both = Confidence.of(LogprobConfidence(), Agreement())
    assert (both.is_joint, both.needs_logprobs, both.is_light, both.default_accept) == (True, True, True, 0.7)
    assert not Confidence.of(LogprobConfidence()).is_joint
    assert Confidence.of(MajorityVote()).score(QUERY, ["84", "84"]) == [pytest.approx(0.875)] * 2
    with pytest.raises(ConfigError, match="at least one reward model"):
        Confidence.of()
    with pytest.raises(ConfigError, match="gives no probability"):
        Confidence.of(type("Plain", (), {"score": lambda self, query, texts: [1.0 for _ in texts]})())


def records(count: int, *, seed: int = 0) -> list[Record]:
    """Two members that are right with 0.9 where their tokens are probable, with 0.3 elsewhere; the reference always."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        is_easy = rng.random() < 0.5
        samples = {}
        for model in ("small", "mid"):
            right = rng.random() < (0.97 if is_easy else 0.3)
            text = "84" if right else str(rng.integers(0, 80))
            signals = (Signals.from_logprobs([math.log(0.9 if is_easy else 0.4)]),)
            samples[model] = ModelSamples((float(right),), (text,), signals=signals)
        samples["large"] = ModelSamples((1.0,), ("84",))
        made.append(Record(f"q{i}", "What is 12 * 7?", samples, group=f"g{i % 40}"))
    return made


def test_weights_and_level_are_fitted_on_held_out_folds_and_keep_the_drop():
    fitted = Confidence.of(LogprobConfidence(), Agreement()).fitted(records(400), PLAN, max_drop=0.02)
    assert 0.5 < fitted.default_accept < 1.0
    assert fitted.weights.report["drop"] <= 0.02
    assert fitted.weights.report["deals"] == 3
    agreed, contradicted = (
        fitted.score_samples(QUERY, drawn(("small", "84", 0.9), ("mid", other, 0.9)))[0] for other in ("84", "85")
    )
    assert agreed > 0.9 > contradicted
    gain, used = 0.0, 0
    for record in records(300, seed=1):
        told = [
            DrawnSample(Sample(own.text[0], signals=own.signals[0]), model, 0)
            for model, own in record.samples.items()
            if model != "large"
        ]
        if max(fitted.score_samples(QUERY, told)) >= fitted.default_accept:
            gain += record.samples["small"].quality[0]
            used += 1
    assert used > 50
    assert gain / used > 0.9


def test_one_deal_too_few_groups_and_a_plan_without_reference_are_refused():
    both = Confidence.of(Agreement())
    with pytest.raises(ConfigError, match="one deal of folds is no evidence"):
        both.fitted(records(40), PLAN, deals=1)
    with pytest.raises(ConfigError, match="need at least 10 groups"):
        both.fitted(records(8), PLAN)
    with pytest.raises(ConfigError, match="must end with the reference"):
        both.fitted(records(80), Plan((Step("small", 1, 0.5),)))
