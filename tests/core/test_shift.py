"""Traffic that changes midway: streams of two kinds of queries, a frozen price and one that follows, audits paid."""

import numpy as np
import pytest

from bestroute.evaluation.shift import SPANS, shifted
from bestroute.labels import SampleArrays, label_plans
from bestroute.router.predicting import predicted
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import synthetic_pool, synthetic_records


@pytest.fixture(scope="module")
def traffic():
    """A router, and queries of half of the groups in which its predictions are turned upside down."""
    arrays = SampleArrays.of(synthetic_records(96), synthetic_pool(), reward="quality")
    router = train_router(arrays, TrainSettings(reward="quality")).router
    fresh = SampleArrays.of(synthetic_records(96, seed=5, prefix="new"), synthetic_pool(), reward="quality")
    prediction, cost = predicted(router, fresh)
    labels = label_plans(fresh, router.plans)
    is_new = np.arange(len(fresh)) % 2 == 1
    own = router.plans.index(synthetic_pool().reference_plan)
    quality = labels.quality.copy()
    others = [i for i in range(len(router.plans)) if i != own]
    quality[np.ix_(is_new, others)] *= 0.5
    labels = type(labels)(**{**vars(labels), "quality": quality})
    return router, synthetic_pool(), labels, prediction, cost, is_new


def test_the_frozen_price_keeps_the_target_on_the_traffic_it_is_chosen_for_and_breaks_it_where_that_changes(traffic):
    found = shifted(*traffic, target=0.05, audit=0.1, calls=2_000, streams=4)
    assert found.frozen["before"].drop.mean() <= 0.06
    assert found.frozen["after"].drop.mean() > 0.1
    assert all(found.follow[part].audits.mean() > 0 == found.frozen[part].audits.mean() for part in SPANS)


def test_audits_are_paid_out_of_the_saving_of_the_price_that_follows(traffic):
    little, much = (shifted(*traffic, target=0.05, audit=audit, calls=1_000, streams=3) for audit in (0.02, 0.5))
    assert much.follow["before"].audits.mean() > 10 * little.follow["before"].audits.mean()
    assert list(little.follow) == list(SPANS)


def test_the_streams_of_a_seed_are_the_same_again_and_a_change_needs_two_kinds(traffic):
    one, again = (shifted(*traffic, target=0.05, calls=200, streams=2, seed=3) for _ in range(2))
    assert one.follow["after"].drop.tolist() == again.follow["after"].drop.tolist()
    with pytest.raises(ValueError, match="queries of both kinds"):
        shifted(*traffic[:-1], np.ones(96), target=0.05)
