"""Plans have two members, unless held-out folds pay for more."""

import numpy as np
import pytest

from bestroute import Pool, Price
from bestroute.labels import SampleArrays
from bestroute.records.records import ModelSamples, Record
from bestroute.router.plan_length import longer_plans
from bestroute.router.shrinkage import PlanOutcomes, ShrinkageChoice
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import LONGER, train_router

SETTINGS = TrainSettings(reward="quality", offered=4, forest=False)
GROUPS = [f"g{i}" for i in range(8)]


def chains(price: float) -> SampleArrays:
    """Records of a pool with a verifier; ``second`` is right on 60 % of the queries that ``first`` gets wrong."""
    prices = {"first": Price(1, 1), "second": Price(price, price), "large": Price(100, 100)}
    rng, records = np.random.default_rng(0), []
    for i in range(60):
        first = i % 3 == 0
        right = {"first": first, "second": not first and rng.random() < 0.6, "large": True}
        samples = {m: ModelSamples((float(r),), ("x",), None, 10, (10.0,)) for m, r in right.items()}
        records.append(Record(f"q{i}", f"Question {i}", samples, f"g{i}"))
    return SampleArrays.of(records, Pool(tuple(prices), prices, "large", max_n=1), reward="quality")


@pytest.mark.parametrize(("price", "members"), [(2, 3), (50, 2)])
def test_a_third_member_is_offered_where_held_out_folds_pay_for_it(price, members):
    training = train_router(chains(price), SETTINGS)
    assert max(len(plan.steps) for plan in training.router.plans) == members
    assert training.labels.plans == training.router.plans
    assert training.router.predict(chains(price).queries()).plans == training.router.plans
    low, high = training.intervals[LONGER]
    assert low <= training.summary[LONGER] <= high
    assert (low > 0) == (members == 3)


def choice_of(quality, cost):
    ones = np.ones(len(GROUPS))
    outcomes = PlanOutcomes(np.array([quality], dtype=float), np.full((1, len(GROUPS)), cost), ones, ones)
    return ShrinkageChoice(1.0, 0.5, np.ones(1), (1.0,), {"0": None}, outcomes)


def test_what_longer_plans_bring_is_quality_and_cost_at_one_price():
    shorter, longer = choice_of([1, 1, 1, 1, 1, 1, 1, 0], 0.5), choice_of([1] * 8, 0.25)
    found = longer_plans(longer, shorter, GROUPS)
    assert found.gain == pytest.approx(0.25 + 1 / 8)
    assert found.pays
    assert not longer_plans(shorter, longer, GROUPS).pays
    assert not longer_plans(shorter, shorter, GROUPS).pays


def test_a_gain_that_hangs_on_one_group_does_not_pay():
    shorter, longer = choice_of([1, 1, 1, 1, 1, 1, 1, 0.0], 0.5), choice_of([1, 1, 1, 1, 1, 1, 0.1, 1.0], 0.5)
    found = longer_plans(longer, shorter, GROUPS)
    assert 0 < found.gain < found.error
    assert not found.pays
