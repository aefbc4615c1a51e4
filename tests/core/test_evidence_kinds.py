"""What records say of plans that accept on evidence is what the engine does with the same samples."""

import itertools
import math

import numpy as np
import pytest

from bestroute import Agreement, Confidence, LogprobConfidence, Plan, Pool, Price, Query, RecordError, Step
from bestroute.engine.plan_executor import Draw, Score, execute
from bestroute.labels import SampleArrays, label_plans
from bestroute.records.records import ModelSamples, Record
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.signals import Signals

POOL = Pool(
    ["small", "mid", "large"], {"small": Price(1, 1), "mid": Price(2, 2), "large": Price(50, 50)}, "large", max_n=2
)
REWARDS = {
    "logprobs": LogprobConfidence(),
    "agreement": Agreement(),
    "confidence": Confidence.of(LogprobConfidence(), Agreement()),
}


def own(texts, probabilities, quality) -> ModelSamples:
    signals = tuple(Signals() if p is None else Signals.from_logprobs([math.log(p)]) for p in probabilities)
    return ModelSamples(
        tuple(quality), tuple(texts), output_tokens=(2.0,) * len(texts), input_tokens=10, signals=signals
    )


RECORD = Record(
    "q1",
    "What is 12 * 7?",
    {
        "small": own(["84", "**83**"], [0.9, 0.6], [1.0, 0.0]),
        "mid": own(["84.0", "83"], [None, 0.95], [1.0, 0.0]),
        "large": own(["84", "84"], [None, None], [1.0, 1.0]),
    },
    group="g",
)


def played(plan: Plan, reward) -> tuple[float, float]:
    """Return quality and cost in expectation, by the executor on every order of every model's samples."""
    outcomes = []
    orders = [list(itertools.permutations(range(RECORD.samples[m].size))) for m in POOL.models]
    for chosen in itertools.product(*orders):
        piles = {m: list(order) for m, order in zip(POOL.models, chosen, strict=True)}
        truth, cost = {}, 0.0
        steps = execute(plan, calibrated=reward.calibrated, is_joint=reward.is_joint)
        reply = None
        while True:
            try:
                command = steps.send(reply)
            except StopIteration as stop:
                answer = stop.value.samples[stop.value.chosen]
                break
            if isinstance(command, Score):
                reply = reward.score_samples(Query(RECORD.query), command.samples)
                continue
            assert isinstance(command, Draw)
            reply = []
            for _ in range(command.n):
                i, samples = piles[command.model].pop(0), RECORD.samples[command.model]
                drawn = Sample(samples.text[i], signals=samples.signals[i], notes=(command.model, i))
                truth[command.model, i] = samples.quality[i]
                cost += 12 * POOL.prices[command.model].input / 1e6
                reply.append(DrawnSample(drawn, command.model, command.step))
        outcomes.append((truth[answer.sample.notes], cost))
    return tuple(np.mean(outcomes, axis=0))


@pytest.mark.parametrize("kind", REWARDS)
@pytest.mark.parametrize(
    "plan",
    [
        Plan((Step("small", 1, 0.7), Step("large"))),
        Plan((Step("small", 1, 0.7), Step("mid", 1, 0.7), Step("large"))),
        Plan((Step("small", 2, 0.75), Step("mid", 1, 0.75), Step("large"))),
        Plan((Step("mid", 2, 0.85), Step("small", 2, 0.85), Step("large"))),
    ],
    ids=str,
)
def test_labels_of_plans_on_evidence_are_what_the_executor_gives(kind, plan):
    arrays = SampleArrays.of([RECORD] * 200, POOL, reward=kind)
    labels = label_plans(arrays, [plan])
    quality, cost = played(plan, REWARDS[kind])
    assert labels.quality.mean() == pytest.approx(quality, abs=0.02)
    assert labels.cost_usd.mean() == pytest.approx(cost, rel=0.03)


def test_records_without_log_probabilities_are_refused_in_one_sentence():
    bare = {m: ModelSamples((1.0,), ("84",), output_tokens=(2.0,), input_tokens=9) for m in POOL.models}
    bare = Record("q1", "12 * 7?", bare, group="g")
    for kind in ("logprobs", "confidence"):
        with pytest.raises(RecordError, match="no record has log-probabilities of a short answer"):
            SampleArrays.of([bare], Pool(POOL.models, POOL.prices, "large", max_n=1), reward=kind)


def test_recorded_tool_calls_agree_by_their_schema():
    tools = [{"name": "add", "parameters": {"properties": {"a": {"type": "integer"}, "b": {"default": 1}}}}]
    texts = ('[{"name": "add", "arguments": {"a": "2"}}]', '[{"name": "add", "arguments": {"a": 2, "b": 1}}]')
    samples = {m: ModelSamples((1.0, 1.0), texts, output_tokens=(5.0, 5.0), input_tokens=9) for m in POOL.models}
    arrays = SampleArrays.of([Record("q", "2+1?", samples, "g", extra={"tools": tools})], POOL, reward="agreement")
    assert len(set(arrays.answers.ravel().tolist())) == 1
