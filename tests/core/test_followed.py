"""Streams of calls that a price follows, drawn from records: what they come to, and what audits cost."""

import numpy as np
import pytest

from bestroute import Candidate, Plan, Pool, Price, QualityPolicy
from bestroute.evaluation.followed import Followed, followed
from bestroute.labels import PlanLabels
from bestroute.testing import FakeRouter
from bestroute.types.bases import RouterBase
from bestroute.types.prediction import Prediction

POOL = Pool(["small", "large"], {"small": Price(0.1, 0.4), "large": Price(2.5, 10.0)}, reference="large", max_n=1)
PLANS = (Plan.of(Candidate("small")), Plan.of(Candidate("large")))
COST = (1.0, 10.0)
GROUPS = tuple(f"g{i // 2}" for i in range(400))


class Frozen(FakeRouter, RouterBase):
    def __init__(self, price=30.0):
        super().__init__({("small", 1): 0.5, ("large", 1): 0.9}, output_tokens=[50, 50])
        self.price = price

    def steering_prices(self, drop):
        return 1.0, self.price, 1000.0


def stream(worse=0.0, **options):
    """The small model is predicted to lose up to 0.6, evenly; it loses ``worse`` more than that."""
    loss = np.random.default_rng(0).random(400) * 0.6
    truth = np.column_stack([np.clip(0.9 - loss - worse, 0, 1), np.full(400, 0.9)])
    expected = np.column_stack([0.9 - loss, np.full(400, 0.9)])
    cost = np.tile(COST, (400, 1))
    labels = PlanLabels(PLANS, truth, truth, cost, np.ones((400, 2, 1)))
    prediction = Prediction(PLANS, np.ones((400, 2)), expected, np.ones((400, 2)))
    policy = QualityPolicy(max_drop=0.03, follow=True)
    return followed(policy, Frozen(), POOL, labels, prediction, cost, GROUPS, **{"streams": 10, **options})


@pytest.mark.parametrize("worse", [0.0, 0.15])
def test_the_last_half_comes_to_the_target_though_predictions_are_wrong(worse):
    """Where a price is low the drop follows it more: moves by the slope of the moment would miss by a point."""
    report = stream(worse, calls=12_000, audit=0.2).report()
    assert report["drop"] == pytest.approx(0.03, abs=0.006)  # its standard error is 0.0026
    assert report["drop_ci95"][0] < report["drop"] < report["drop_ci95"][1]
    assert (report["target"], report["audit"], report["calls"], report["streams"]) == (0.03, 0.2, 12_000, 10)


def test_what_audits_cost_is_taken_off_the_saving():
    made = stream(calls=4_000, audit=0.2)
    by_small = (10.0 - made.cost_usd) / 9.0  # the share of calls that small answers
    assert made.audit_usd == pytest.approx(0.2 * 10.0 * by_small, rel=0.2)
    assert made.report()["saving"] == pytest.approx(np.mean(0.9 * by_small - made.audit_usd / 10.0))


def test_without_audits_the_price_stays_where_training_froze_it():
    made = stream(calls=2_000, audit=0.0)
    assert made.audit_usd.max() == 0.0
    by_small = np.mean(np.random.default_rng(0).random(400) * 0.6 * 30.0 <= 9.0)  # worth less than it saves
    assert (10.0 - made.cost_usd.mean()) / 9.0 == pytest.approx(by_small, abs=0.15)  # calls of the reference loosen it


def test_folds_are_pooled_by_their_number_of_queries():
    one, three = (Followed(*(np.full(2, v) for _ in range(5)), q, 0.01, 0.1, 100) for v, q in ((1.0, 1), (5.0, 3)))
    pooled = Followed.joined([one, three])
    assert pooled.quality.tolist() == [4.0, 4.0]
    assert (pooled.queries, pooled.target) == (4, 0.01)
