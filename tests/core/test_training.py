"""Training: heads that learn, caps, prices that are not lucky, folds that keep groups, the same every time."""

from dataclasses import replace

import numpy as np
import pytest

from bestroute import ConfigError, Plan, Pool, Price, QualityPolicy, RecordError, Step
from bestroute.labels import SampleArrays, label_plans
from bestroute.labels.votes import vote_odds
from bestroute.records.records import ModelSamples
from bestroute.router.predicting import predicted
from bestroute.router.shrinkage import cheapest_that_meets
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import cap_n, train_router
from bestroute.stats.folds import deal_folds, standard_errors
from bestroute.testing import synthetic_pool, synthetic_records
from bestroute.types.plans import Candidate

QUALITY = TrainSettings(reward="quality")


@pytest.fixture(scope="module")
def arrays():
    return SampleArrays.of(synthetic_records(320), synthetic_pool(), reward="quality")


@pytest.fixture(scope="module")
def trained(arrays):
    return train_router(arrays, QUALITY)


@pytest.fixture(scope="module")
def fresh():
    return SampleArrays.of(synthetic_records(200, seed=9, prefix="fresh"), synthetic_pool(), reward="quality")


def test_easy_and_hard_queries_are_told_apart_by_their_words(trained, fresh):
    prediction = trained.router.predict(fresh.queries())
    small = prediction.plans.index(Plan.of(Candidate("small")))
    easy = np.array(["easy" in group for group in fresh.groups])
    assert prediction.expected_quality[easy, small].mean() > 0.6
    assert prediction.expected_quality[~easy, small].mean() < 0.4
    assert prediction.match_probability[easy, small].mean() > prediction.match_probability[~easy, small].mean() + 0.3


def test_predicted_draws_and_tokens_are_near_what_comes(trained, fresh):
    prediction = trained.router.predict(fresh.queries())
    labels = label_plans(fresh, trained.router.plans)
    assert np.abs(prediction.expected_draws - labels.draws).mean() < 0.15
    assert prediction.output_tokens.mean(axis=0) == pytest.approx(np.nanmean(fresh.output_tokens, axis=(0, 2)), rel=0.1)


def test_training_twice_gives_the_same_router(arrays, trained):
    assert train_router(arrays, QUALITY).router.fingerprint == trained.router.fingerprint


def test_every_plan_of_the_hull_is_offered_and_the_reference_too(trained):
    router = trained.router
    assert set(router.fixed_plans) <= set(router.plans)
    assert router.pool.reference_plan in router.plans
    assert len(router.plans) <= 9 + 24 + len(router.fixed_plans)


def test_a_reward_that_can_be_fooled_caps_n(arrays):
    misled = replace(arrays, reward=-arrays.quality, acceptance=None)
    assert cap_n(misled) == {"small": 1, "mid": 1, "large": 1}
    plans = train_router(misled, TrainSettings()).router.plans
    assert plans == tuple(Plan.of(Candidate(model)) for model in arrays.pool.models)


def test_an_n_that_is_ahead_by_luck_alone_is_no_reason_to_draw_more():
    rng = np.random.default_rng(3)

    def by_chance(samples):
        return replace(samples, reward=tuple(rng.random(samples.size)))

    records = [replace(r, samples={m: by_chance(s) for m, s in r.samples.items()}) for r in synthetic_records(60)]
    luck = SampleArrays.of(records, synthetic_pool())
    ahead = label_plans(luck, [Plan.of(Candidate("mid", n)) for n in (1, 2, 3)]).quality.mean(axis=0)
    assert ahead.argmax() > 0
    assert cap_n(luck)["mid"] == 1


def test_a_verifier_caps_nothing(arrays):
    assert cap_n(arrays) == {"small": 3, "mid": 3, "large": 3}


def test_a_vote_of_two_is_no_better_than_one_but_three_may_be():
    pool = synthetic_pool(max_n=2)
    votes = SampleArrays.of(synthetic_records(80), pool, reward="majority")
    assert cap_n(votes) == {"small": 1, "mid": 1, "large": 1}


def test_without_a_reward_only_single_samples_are_offered():
    records = [
        replace(r, samples={m: ModelSamples(s.quality[:1], None, None, 50.0, (9.0,)) for m, s in r.samples.items()})
        for r in synthetic_records(60)
    ]
    arrays = SampleArrays.of(records, synthetic_pool(max_n=1))
    assert all(plan.candidate.n == 1 for plan in train_router(arrays).router.plans)


def test_one_model_in_the_pool_trains_and_answers_with_it():
    pool = Pool(("large",), {"large": Price(1, 2)}, "large", max_n=2)
    records = [replace(r, samples={"large": r.samples["large"]}) for r in synthetic_records(60)]
    router = train_router(SampleArrays.of(records, pool, reward="quality"), QUALITY).router
    assert router.pool.models == ("large",)
    assert pool.reference_plan in router.plans


def test_too_few_groups_are_refused_by_number(arrays):
    few = arrays.take(range(8))
    with pytest.raises(RecordError, match="at least 5 groups, got 2"):
        train_router(few, QUALITY)


def test_folds_keep_groups_together_whatever_the_order():
    groups = [f"g{i // 3}" for i in range(60)]
    folds = deal_folds(groups, 5)
    assert len(set(zip(groups, folds.tolist(), strict=True))) == 20
    assert np.bincount(folds).tolist() == [12] * 5
    assert (deal_folds(groups[::-1], 5)[::-1] == folds).all()
    assert (deal_folds(groups, 5, seed=1) != folds).any()


def test_a_lucky_cheap_price_behind_a_failure_is_not_taken():
    assert cheapest_that_meets(np.array([True, False, True, True])) == 2
    assert cheapest_that_meets(np.array([True, True])) == 0
    assert cheapest_that_meets(np.array([True, False])) is None


def test_where_nothing_can_be_learnt_the_router_is_not_worse_than_the_fixed_plans():
    rng = np.random.default_rng(0)
    records = [replace(r, query=" ".join(rng.choice(list("abcdefgh"), 6))) for r in synthetic_records(240)]
    arrays = SampleArrays.of(records, synthetic_pool(), reward="quality")
    test = SampleArrays.of(
        [replace(r, query=" ".join(rng.choice(list("abcdefgh"), 6))) for r in synthetic_records(240, seed=5)],
        synthetic_pool(),
        reward="quality",
    )
    router = train_router(arrays, QUALITY).router
    labels, known = (label_plans(part, router.plans) for part in (test, arrays))
    prediction, cost = predicted(router, test)
    rows = np.arange(len(test))
    for price in router.path[30:70:10]:
        chosen = QualityPolicy(price).choose(prediction, cost, router.pool)
        fixed = int((known.quality * price - known.cost_usd).mean(axis=0).argmax())
        worth = labels.quality * price - labels.cost_usd
        behind = worth[:, fixed] - worth[rows, chosen]
        assert behind.mean() <= 2 * standard_errors(behind[:, None], test.groups)[0]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"margin": -0.5}, "margin must be >= 0"),
        ({"margin": float("nan")}, "margin must be >= 0"),
        ({"offered": -3}, "plans must be >= 0"),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_settings_check_themselves(option, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TrainSettings(**option)


def test_where_only_costs_are_told_they_stand_for_tokens():
    records = [
        replace(
            r,
            samples={
                m: ModelSamples(s.quality, s.text, s.reward, cost_usd=tuple(1e-6 * t for t in s.output_tokens))
                for m, s in r.samples.items()
            },
        )
        for r in synthetic_records(80)
    ]
    arrays = SampleArrays.of(records, synthetic_pool(), reward="quality")
    k = arrays.pool.models.index("large")
    told = np.array(records[0].samples["large"].cost_usd)
    assert arrays.output_tokens[0, k] * arrays.pool.prices["large"].output / 1e6 == pytest.approx(told)
    _, cost = predicted(train_router(arrays, QUALITY).router, arrays)
    assert cost.min() > 0


def test_votes_of_many_records_are_played_in_fewer_orders_each():
    arrays = SampleArrays.of(synthetic_records(40, samples=4), synthetic_pool(), reward="majority")
    plan = Plan((Step("small", 2, 0.75), Step("large", 1)))
    few, many = (vote_odds(arrays, plan, draws=draws).answer for draws in (8, 2000))
    assert np.abs(few - many).mean() < 0.1
    assert (few * 8 == (few * 8).round()).all()
