"""The engine and the labels' closed forms tell the same: recorded samples, drawn again and again through ``run``."""

import random

import numpy as np
import pytest

from bestroute import BestRoute, MajorityVote, Plan, Pool, Query, Sample, Step, Usage, Verifier
from bestroute.demo.dataset import demo_pool, demo_records
from bestroute.demo.tasks import normalise
from bestroute.labels import SampleArrays, label_plans
from bestroute.records.records import read_records


class Urns:
    """One model's recorded samples, drawn without replacement; ``refill`` starts another order.

    The text of a sample is its place, so that what it was worth can be looked up afterwards.
    """

    def __init__(self, model, pool, records):
        self.model, self.native_n = model, pool.bills(model) == "once"
        self.samples = {record.query: record.samples[model] for record in records}
        self.random = random.Random(f"urns of {model}")
        self.left = {}

    def refill(self):
        self.left = {}

    def generate(self, query, n, *, params, cancel):
        recorded = self.samples[query.text]
        if query.text not in self.left:
            self.left[query.text] = self.random.sample(range(recorded.size), recorded.size)
        return [self.sample(query, self.left[query.text].pop(), i == 0) for i in range(n)]

    def sample(self, query, i, is_first):
        recorded = self.samples[query.text]
        prompt = int(recorded.input_tokens) if is_first else 0
        text = f"{self.model}/{i}"
        return Sample(text, usage=Usage(prompt, int(recorded.output_tokens[i])), finish_reason="stop")

    def quality(self, query, text):
        return self.samples[query.text].quality[int(text.rpartition("/")[2])]

    def words(self, query, text):
        return self.samples[query.text].text[int(text.rpartition("/")[2])]


def replay(records, pool, plan, reward, repeats):
    """Return quality and cost of every record and repeat, shape ``(Q, R)``."""
    urns = {model: Urns(model, pool, records) for model in pool.models}

    def look_up(what, query, text):
        return getattr(urns[text.partition("/")[0]], what)(query, text)

    engine = BestRoute(pool, urns, lambda query: plan, reward(look_up))
    quality, cost = np.zeros((len(records), repeats)), np.zeros((len(records), repeats))
    queries = [Query(record.query) for record in records]
    for r in range(repeats):
        for urn in urns.values():
            urn.refill()
        for q, query in enumerate(queries):
            result = engine.run(query)
            quality[q, r] = look_up("quality", query, result.text)
            cost[q, r] = result.cost_usd
    assert engine.ledger.cost_usd == pytest.approx(cost.sum(), rel=1e-9)
    return quality, cost


def check(replayed, labels, dearest, *, sure=1e-6):
    """Every record within what so many repeats may be off (Bernstein), and the mean of all within five errors.

    ``dearest`` is the most a run can cost. A record whose expectation is an end of the range is met exactly.
    """
    expected_of = (labels.quality[:, 0], labels.cost_usd[:, 0])
    for drawn, expected, most in zip(replayed, expected_of, (1.0, dearest), strict=True):
        records, repeats = drawn.shape
        assert drawn.max() <= most
        variance = np.maximum(expected * (most - expected), 0.0)  # the largest there is at this mean
        log = np.log(2 * records / sure)
        bound = np.sqrt(2 * variance * log / repeats) + np.where(variance > 1e-15, most * log / (3 * repeats), 0.0)
        off = drawn.mean(axis=1) - expected
        assert (np.abs(off) <= bound + 1e-12).all()
        assert abs(off.mean()) <= 5 * np.sqrt(drawn.var(axis=1).sum() / repeats) / records + 1e-12


def most_usd(records, pool, plan):
    """Return more than any run of the plan can cost."""
    samples = SampleArrays.of(records, pool, reward="quality").sample_usd
    return sum(step.n * np.nanmax(samples[:, pool.models.index(step.model)]) for step in plan.steps)


def verifier(look_up):
    return Verifier(lambda query, text: look_up("quality", query, text))


def votes(look_up):
    class Votes(MajorityVote):
        def score(self, query, texts):
            return super().score(query, [look_up("words", query, text) for text in texts])

    return Votes(normalise)


LIVECODEBENCH = [
    Plan((Step("gpt-4o-mini", 3, 1.0), Step("claude-3-haiku", 2, 1.0), Step("claude-3.5-sonnet"))),
    Plan((Step("gpt-4o-mini", 2, 1.0), Step("gpt-4o", 1, 1.0), Step("gpt-4o-mini", 2, 1.0))),
    Plan((Step("claude-3-haiku", 4),)),
]


@pytest.mark.parametrize("plan", LIVECODEBENCH, ids=str)
def test_recorded_problems_cost_and_score_through_the_engine_what_the_labels_say(shared, plan):
    pool = Pool.from_file(shared / "data" / "pools" / "livecodebench.yaml")
    records = read_records(shared / "data" / "livecodebench.jsonl.gz", pool=pool)
    labels = label_plans(SampleArrays.of(records, pool, reward="quality"), [plan])
    check(replay(records, pool, plan, verifier, repeats=10), labels, most_usd(records, pool, plan))


def demo_records_with_usage():
    """Some of the demo's records; every sixth, so that it stays quick."""
    return list(demo_records())[::6]


@pytest.mark.parametrize(
    "steps",
    [
        [(0, 2, 1.0), (1, 2, 1.0), (2, 1, None)],
        [(1, 3, 1.0), (2, 2, 1.0)],
        [(0, 3, None)],
    ],
    ids=str,
)
def test_the_demo_costs_and_scores_through_the_engine_what_the_labels_say(steps):
    pool, records = demo_pool(), demo_records_with_usage()
    plan = Plan(tuple(Step(pool.models[k], n, accept) for k, n, accept in steps))
    labels = label_plans(SampleArrays.of(records, pool, reward="quality"), [plan])
    check(replay(records, pool, plan, verifier, repeats=40), labels, most_usd(records, pool, plan))


def test_votes_on_the_demo_cost_and_score_through_the_engine_what_the_labels_say():
    pool, records = demo_pool(), demo_records_with_usage()
    plan = Plan((Step(pool.models[1], 3),))
    labels = label_plans(SampleArrays.of(records, pool, reward="majority", normalise=normalise), [plan])
    check(replay(records, pool, plan, votes, repeats=40), labels, most_usd(records, pool, plan))
