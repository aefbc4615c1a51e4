"""Following audits: where the price starts, which way it moves, and where it comes to rest."""

import pickle

import numpy as np
import pytest

from bestroute import (
    BestRoute,
    Candidate,
    ConfigError,
    NotTunedError,
    Plan,
    Pool,
    Price,
    QualityPolicy,
    ThresholdPolicy,
)
from bestroute.monitoring import Audit
from bestroute.monitoring.steering import Steering, best_value
from bestroute.testing import FakeGenerator, FakeRouter
from bestroute.types.bases import RouterBase
from bestroute.types.prediction import Prediction

POOL = Pool(["small", "large"], {"small": Price(0.1, 0.4), "large": Price(2.5, 10.0)}, reference="large")
PLANS = (Plan.of(Candidate("small")), Plan.of(Candidate("large")))
SMALL, LARGE = 0, 1
COST = np.array([1.0, 10.0])


def audit(drop, probability=0.1, reference_quality=1.0):
    return Audit("c", 0.0, drop, probability, reference_quality=reference_quality)


def steering(target=0.01, price=20.0, **more):
    return Steering(target, price, lowest=1.0, highest=more.pop("highest", 100.0), **more)


def queries(rng, size):
    """Return predicted qualities: the small model is worse by up to 1, evenly."""
    quality = np.ones((size, 2))
    quality[:, SMALL] -= rng.random(size)
    return quality


def test_a_drop_above_the_target_raises_the_price_and_one_below_lowers_it():
    up, down = steering(), steering()
    up.observe(audit(1.0))
    down.observe(audit(-1.0))
    assert up.price_usd > 20 > down.price_usd


def test_the_target_is_a_share_of_the_reference_s_quality():
    still = steering(target=0.1)
    still.observe(audit(0.05, reference_quality=0.5))
    assert still.price_usd == pytest.approx(20.0)


def test_a_rare_audit_counts_more_than_a_frequent_one():
    often, rarely = steering(), steering()
    for made, probability in ((often, 0.4), (rarely, 0.1)):
        made.observe(audit(0.01, probability=0.2))
        made.observe(audit(1.0, probability=probability))
    assert rarely.moved == pytest.approx(4 * often.moved, rel=0.05)


def test_calls_of_the_reference_alone_loosen_it_since_they_lose_nothing():
    made = steering(target=0.05)
    made.observe(audit(0.05))
    made.observe_certain(10, 0.1)
    assert made.moved < 0.0


def test_to_choose_moves_nothing_since_nothing_may_be_drawn():
    made = steering(target=0.05)
    assert made.choose(np.array([[0.0, 1.0]]), COST[None], LARGE).tolist() == [LARGE]
    assert made.moved == 0.0


def test_without_audits_calls_of_the_reference_alone_move_nothing():
    made = steering(target=0.05)
    made.observe_certain(1000, 0.0)
    assert made.moved == 0.0


def test_an_audit_that_shows_nothing_takes_back_what_was_moved_on_trust_and_no_more():
    made = steering(target=0.05)
    made.observe_certain(10, 0.1)
    made.observe(audit(0.0))
    known = made.moved
    made.observe_certain(1000, 0.1)
    assert made.moved < known < 0.0
    for _ in range(2):
        made.observe_failed()
        assert made.moved == pytest.approx(known)


def test_where_the_share_of_audits_changes_certain_calls_and_audits_still_weigh_alike():
    """Of calls with a drop of the target twice over, and as many with none, the price stays where it is."""
    often, rarely = steering(target=0.02), steering(target=0.02)
    for made, share in ((often, 0.5), (rarely, 0.05)):
        made.observe(audit(0.02, probability=0.2))
        for _ in range(10):
            made.observe_certain(round(1 / share), share)
            made.observe(audit(0.04, probability=share))
    assert often.moved == pytest.approx(0.0, abs=0.003)
    assert rarely.moved == pytest.approx(0.0, abs=0.003)


def test_a_pickle_and_a_fork_have_a_lock_of_their_own():
    made = steering()
    made.observe(audit(0.5))
    with made._guard():
        copied = pickle.loads(pickle.dumps(made))
        assert copied.moved == made.moved
        copied.observe(audit(0.5))


def test_above_the_highest_price_plans_are_taken_to_be_worse_until_the_reference_is_left():
    made, better = steering(highest=20.0), np.array([[1.2, 1.0]])
    assert made.choose(better, COST[None], LARGE).tolist() == [SMALL]
    for _ in range(400):
        made.observe(audit(1.0))
    assert made.price_usd == pytest.approx(20.0)
    assert made.choose(better, COST[None], LARGE).tolist() == [LARGE]


def test_where_training_froze_none_it_starts_with_the_reference():
    made = steering(price=None, highest=20.0)
    assert made.choose(np.array([[1.05, 1.0]]), np.array([[10.0, 10.0]]), LARGE).tolist() == [LARGE]


@pytest.mark.parametrize("worse", [0.0, 0.1, -0.1])
def test_the_mean_drop_comes_to_the_target_whatever_predictions_are_off_by(worse):
    """The small model is worse than predicted by ``worse`` (or better); a quarter of the calls is audited."""
    rng, target, made = np.random.default_rng(0), 0.03, steering(target=0.03, price=300.0, highest=300.0)
    drops = []
    for call in range(24_000):
        quality = queries(rng, 1)
        plan = made.choose(quality, COST[None], LARGE)[0]
        loss = 0.0 if plan == LARGE else float(np.clip(1 - quality[0, SMALL] + worse, -1, 1))
        made.observe_certain(int(plan == LARGE), 0.25)
        if plan != LARGE and rng.random() < 0.25:
            made.observe(audit(loss, probability=0.25))
        drops += [loss] * (call >= 12_000)
    assert np.mean(drops) == pytest.approx(target, abs=0.01)


class Frozen(FakeRouter, RouterBase):
    def steering_prices(self, drop):
        return 1e-4, 1e-2 if drop >= 0.01 else None, 1e-1


def router():
    return Frozen({("small", 1): 0.6, ("large", 1): 1.0}, output_tokens=[50, 50])


def test_a_policy_that_follows_starts_from_the_frozen_price_and_needs_no_tuning():
    with pytest.raises(NotTunedError):
        QualityPolicy(max_drop=0.01).resolve(router())
    policy = QualityPolicy(max_drop=0.01, follow=True).resolve(router())
    assert policy.steering.price_usd == pytest.approx(1e-2)
    assert str(policy) == "following drop 0.01, quality at 0.01 USD now"
    policy.observe(audit(1.0))
    assert policy.steering.price_usd > 1e-2
    assert policy.resolve(router()) is policy


def test_a_policy_that_follows_chooses_at_the_price_of_the_moment():
    policy = QualityPolicy(max_drop=0.01, follow=True).resolve(router())
    offered = Prediction(PLANS, np.ones((1, 2)), np.array([[0.6, 1.0]]), np.ones((1, 2)))
    cost = np.array([[0.0, 0.0045]])
    assert policy.choose(offered, cost, POOL).tolist() == [SMALL]
    for _ in range(10):
        policy.observe(audit(1.0))
    assert policy.choose(offered, cost, POOL).tolist() == [LARGE]


def test_what_cannot_follow_says_so():
    with pytest.raises(ConfigError, match="follow=True needs max_drop"):
        QualityPolicy(0.01, follow=True)
    with pytest.raises(ConfigError, match="starts from a price that training froze"):
        QualityPolicy(max_drop=0.01, follow=True).resolve(FakeRouter({("large", 1): 1.0}, output_tokens=[50, 50]))
    with pytest.raises(ConfigError, match="window"):
        QualityPolicy(max_drop=0.01, follow=True, window=0)


def test_a_policy_is_given_to_an_engine_as_on_the_command_line_or_by_its_arguments():
    members = {"small": FakeGenerator(["a"]), "large": FakeGenerator(["b"])}

    def policy(**given):
        return BestRoute(POOL, members, router(), **given).policy

    assert policy(policy="follow:0.01") == QualityPolicy(max_drop=0.01, follow=True)
    assert policy(policy="follow:0.01").steering is not None
    assert policy(max_drop=0.01, follow=True, window=50) == QualityPolicy(max_drop=0.01, follow=True, window=50)
    assert policy(policy="threshold:0.7") == ThresholdPolicy(0.7)
    with pytest.raises(ConfigError, match="follow=True needs max_drop="):
        policy(follow=True)
    with pytest.raises(ConfigError, match="follow must be True or False, got 0.01"):
        policy(max_drop=0.01, follow=0.01)
    with pytest.raises(ConfigError, match="policy must be threshold:0.8"):
        policy(policy="cheapest")


def test_ties_in_value_go_to_the_cheaper_plan():
    assert best_value(np.array([[0.5, 0.6]]), np.array([[0.0, 1.0]]), 10.0).tolist() == [0]
