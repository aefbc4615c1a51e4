"""Where records hold greedy answers, what plans give is what the executor does when they begin with them."""

import itertools
import math

import numpy as np
import pytest

from bestroute import Agreement, LogprobConfidence, MajorityVote, Plan, Pool, Price, Query, Step, Verifier
from bestroute.engine.draw_wishes import is_first_of_several
from bestroute.engine.plan_executor import Draw, Score, execute
from bestroute.labels import SampleArrays, label_plans
from bestroute.records.records import GreedySample, ModelSamples, Record
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.signals import Signals

PRICES = {"small": Price(1, 1), "mid": Price(2, 2), "large": Price(50, 50)}
POOL = Pool(["small", "mid", "large"], PRICES, "large", max_n=3)
GREEDY = "greedy"


def signals(probability, mode="sampled"):
    return Signals.from_logprobs([math.log(probability)], mode=mode)


def own(greedy, *samples):
    """Samples of (text, quality, probability), and the greedy one."""
    text, quality, probability = greedy
    first = GreedySample(text, quality, output_tokens=6.0, signals=signals(probability, GREEDY))
    texts, qualities, known = zip(*samples, strict=True)
    told = tuple(map(signals, known))
    return ModelSamples(
        qualities, texts, output_tokens=(2.0,) * len(samples), input_tokens=10, signals=told, greedy=first
    )


RECORD = Record(
    "q1",
    "What is 12 * 7?",
    {
        "small": own(("83", 0.0, 0.5), ("84", 1.0, 0.9), ("83.", 0.0, 0.6), ("82", 0.0, 0.3)),
        "mid": own(("84", 1.0, 0.8), ("84.0", 1.0, 0.4), ("83", 0.0, 0.95), ("84", 1.0, 0.7)),
        "large": own(("84", 1.0, 0.9), ("84", 1.0, 0.9), ("81", 0.0, 0.2), ("84", 1.0, 0.9)),
    },
    group="g",
)
REWARDS = {
    "quality": Verifier(lambda query, text: None),  # scored below by what is known
    "logprobs": LogprobConfidence(),
    "agreement": Agreement(),
    "majority": MajorityVote(),
}


def draws_of(model):
    """Return the greedy answer and every order of the samples."""
    samples = RECORD.samples[model]
    urn = [(t, q, s, n) for t, q, s, n in zip(samples.text, samples.quality, samples.signals, [2.0] * 3, strict=True)]
    first = samples.greedy
    return (first.text, first.quality, first.signals, first.output_tokens), list(itertools.permutations(urn))


def played(plan, kind):
    """Return quality and cost in expectation: the executor on every order of the samples, greedy answers first."""
    reward, outcomes = REWARDS[kind], []
    greedy, orders = zip(*map(draws_of, POOL.models), strict=True)
    for chosen in itertools.product(*orders):
        urns = {m: list(order) for m, order in zip(POOL.models, chosen, strict=True)}
        firsts = dict(zip(POOL.models, greedy, strict=True))
        truth, cost, drawn, reply = [], 0.0, [], None
        steps = execute(plan, calibrated=reward.calibrated, is_joint=reward.is_joint)
        while True:
            try:
                command = steps.send(reply)
            except StopIteration as stop:
                answer = stop.value.samples[stop.value.chosen]
                break
            if isinstance(command, Score):
                if kind == "quality":
                    reply = [truth[s.sample.notes[0]] for s in command.samples]
                else:
                    reply = reward.score_samples(Query(RECORD.query), command.samples)
                continue
            assert isinstance(command, Draw)
            reply = []
            for _ in range(command.n):
                is_greedy = is_first_of_several(command.model, plan, drawn)
                text, quality, told, tokens = firsts[command.model] if is_greedy else urns[command.model].pop(0)
                sample = Sample(text, signals=told, notes=(len(truth),))
                truth.append(quality)
                price = POOL.prices[command.model]
                cost += (10 * price.input + tokens * price.output) / 1e6
                drawn.append(DrawnSample(sample, command.model, command.step))
                reply.append(drawn[-1])
        outcomes.append((truth[answer.sample.notes[0]], cost))
    return tuple(np.mean(outcomes, axis=0))


PLANS = [
    Plan((Step("small"),)),
    Plan((Step("small", 3),)),
    Plan((Step("small", 1, 0.7), Step("large"))),
    Plan((Step("small", 2, 0.75), Step("mid", 1, 0.75), Step("large"))),
    Plan((Step("mid", 3, 0.85), Step("small", 2, 0.75))),
    Plan((Step("small", 1, 0.8), Step("large", 2))),
]


@pytest.mark.parametrize("kind", REWARDS)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_plans_of_several_draws_begin_with_greedy_answers(kind, plan):
    labels = label_plans(SampleArrays.of([RECORD] * 200, POOL, reward=kind, greedy=True), [plan])
    quality, cost = played(plan, kind)
    exact = kind in ("quality", "logprobs")
    assert labels.quality.mean() == pytest.approx(quality, abs=1e-9 if exact else 0.02)
    assert labels.cost_usd.mean() == pytest.approx(cost, rel=1e-9 if exact else 0.03)


def test_choices_of_one_request_are_samples_as_the_engine_asks_for_them():
    pool = Pool(POOL.models, PRICES, "large", max_n=3, bills_input="once")
    arrays = SampleArrays.of([RECORD], pool, reward="quality", greedy=True)
    best_of_3, then = Plan((Step("small", 3),)), Plan((Step("small", 2, 0.9), Step("large", 2)))
    labels = label_plans(arrays, [best_of_3, then])
    assert labels.quality[0, 0] == pytest.approx(1.0)  # one of three samples is right, the greedy answer is not
    assert labels.cost_usd[0, 0] == pytest.approx((10 + 3 * 2) / 1e6)
    # greedy (wrong) and one of three samples, of which one is right; else two of the large one, never both wrong
    assert labels.quality[0, 1] == pytest.approx(1.0)
    assert labels.cost_usd[0, 1] == pytest.approx((2 * 10 + 6 + 2) / 1e6 + 2 / 3 * (10 + 4) * 50 / 1e6)


def test_a_match_is_with_a_sample_of_the_reference_whatever_was_greedy():
    arrays = SampleArrays.of([RECORD], POOL, reward="quality", greedy=True)
    labels = label_plans(arrays, [Plan((Step("small", 2),))])  # right if the one sample drawn is: 1 in 3
    assert labels.match_probability[0, 0] == pytest.approx(1 / 3 + 2 / 3 * 1 / 3)


def test_a_model_without_a_greedy_answer_in_every_record_draws_samples():
    bare = {m: ModelSamples(s.quality, s.text, None, 10, s.output_tokens) for m, s in RECORD.samples.items()}
    mixed = Record("q2", RECORD.query, {**RECORD.samples, "small": bare["small"]}, "g")
    plan = [Plan((Step("small", 2),)), Plan((Step("mid", 2),))]
    some = label_plans(SampleArrays.of([RECORD, mixed], POOL, reward="quality", greedy=True), plan)
    never = label_plans(SampleArrays.of([RECORD, mixed], POOL, reward="quality"), plan)
    assert some.cost_usd[:, 0] == pytest.approx(never.cost_usd[:, 0])
    assert (some.cost_usd[:, 1] > never.cost_usd[:, 1]).all()  # the greedy answer is longer
    none = SampleArrays.of([Record("q3", "?", bare, "g")], POOL, reward="quality", greedy=True)
    assert none.greedy is None
