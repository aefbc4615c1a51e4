"""Plan search against trying every plan of its family."""

from itertools import permutations, product

import numpy as np
import pytest

from bestroute import Pool, Price
from bestroute.labels import SampleArrays, label_plans
from bestroute.labels.plan_labels import fixed_candidates
from bestroute.records.records import ModelSamples, Record
from bestroute.router.plan_search import VOTE_LEVELS, _strata, search_plans
from bestroute.stats.hull import hull_quality
from bestroute.testing import synthetic_pool, synthetic_records
from bestroute.types.plans import Plan, Step


def arrays_of(reward, *, queries=60, max_n=2, seed=0):
    return SampleArrays.of(synthetic_records(queries, samples=4, seed=seed), synthetic_pool(max_n=max_n), reward=reward)


def every_plan(arrays, levels, most_steps):
    """All plans that ask each model once: steps with acceptance, ended by the best seen or by one sample."""
    models, tops = arrays.pool.models, range(1, arrays.pool.max_n + 1)
    plans = list(fixed_candidates(arrays))
    for size in range(1, most_steps + 1):
        for order in permutations(models, size):
            for n, accept in product(product(tops, repeat=size), product(levels, repeat=size)):
                steps = tuple(map(Step, order, n, accept))
                plans.append(Plan(steps))
                if size < most_steps:
                    plans += [Plan((*steps, Step(model))) for model in models if model not in order]
    return plans


@pytest.mark.parametrize(("reward", "levels"), [("quality", (1.0,)), ("majority", VOTE_LEVELS[:2])])
def test_the_hull_is_that_of_every_plan(reward, levels):
    arrays = arrays_of(reward)
    found = search_plans(arrays, most_steps=2)
    labels = label_plans(arrays, every_plan(arrays, levels, 2))
    cost, quality = labels.cost_usd.mean(axis=0), labels.quality.mean(axis=0)
    hull = label_plans(arrays, found.hull)
    at = np.linspace(cost.min(), 2 * cost[labels.plans.index(arrays.pool.reference_plan)], 50)
    reached = hull_quality(hull.cost_usd.mean(axis=0), hull.quality.mean(axis=0), at)
    slack = 1e-9 if reward == "quality" else 0.004  # a vote is searched in 16 seeded orders
    assert (reached >= hull_quality(cost, quality, at) - slack).all()


def test_offered_plans_are_few_distinct_cheapest_first_and_none_is_dominated():
    arrays = arrays_of("quality", queries=120, max_n=3)
    found = search_plans(arrays, offered=10)
    assert 1 < len(found.offered) <= 10
    assert len(set(found.offered)) == len(found.offered)
    labels = label_plans(arrays, (*fixed_candidates(arrays), *found.offered))
    cost = labels.cost_usd.mean(axis=0)
    own = cost[-len(found.offered) :]
    assert (np.diff(own) >= 0).all()
    strata = _strata(arrays)  # the mean over all records, then over parts from hard to easy
    quality, cost = strata @ labels.quality, strata @ labels.cost_usd
    for p in range(len(labels.plans) - len(found.offered), len(labels.plans)):
        as_good = (quality >= quality[:, [p]]).all(axis=0) & (cost <= cost[:, [p]]).all(axis=0)
        better = (quality > quality[:, [p]] + 1e-9).any(axis=0) | (cost < cost[:, [p]] - 1e-12).any(axis=0)
        beaten_by = [str(plan) for plan, beats in zip(labels.plans, as_good & better, strict=True) if beats]
        assert not beaten_by, f"{labels.plans[p]} is nowhere better and nowhere cheaper than {beaten_by}"


def accepting(arrays, **options):
    found = search_plans(arrays, **options)
    return [plan for plan in dict.fromkeys((*found.offered, *found.hull)) if plan.candidate is None]


@pytest.mark.parametrize("reward", ["quality", "majority"])
def test_no_plan_draws_a_single_sample_whatever_it_is(reward):
    plans = accepting(arrays_of(reward, queries=120, max_n=3))
    assert plans
    assert all(len(plan.steps) > 1 or plan.steps[0].n > 1 for plan in plans)


def test_no_voting_plan_gives_every_record_what_a_candidate_gives_it():
    arrays = arrays_of("majority", queries=120, max_n=3)
    plans = accepting(arrays)
    never = [Plan((Step(plan.steps[0].model, plan.steps[0].n, 1.0),)) for plan in fixed_candidates(arrays)]
    labels = label_plans(arrays, (*plans, *never))  # candidates that are played in orders, as plans are
    means = np.vstack([labels.quality, labels.cost_usd / labels.cost_usd.max()])
    for plan, own in zip(plans, means.T, strict=False):
        apart = np.abs(means[:, len(plans) :] - own[:, None]).max(axis=0)
        assert apart.min() > 1e-9, f"{plan} is {never[int(apart.argmin())]}"


def test_plans_stay_within_the_samples_and_four_steps():
    arrays = arrays_of("quality", max_n=9)
    found = search_plans(arrays)
    steps = [step for plan in (*found.offered, *found.hull) for step in plan.steps]
    assert max(step.n for step in steps) <= 4
    assert max(len(plan.steps) for plan in found.offered) <= 4


def test_without_a_reward_that_accepts_only_candidates_are_left():
    pool = Pool(("a", "b"), {"a": Price(1, 1), "b": Price(5, 5)}, "b", max_n=2)
    told = ModelSamples((0.0, 1.0), reward=(-3.0, 7.0), input_tokens=1.0, output_tokens=(1.0, 1.0))
    records = [Record(f"r{i}", "q", {"a": told, "b": told}, f"r{i}") for i in range(3)]
    found = search_plans(SampleArrays.of(records, pool))
    assert found.offered == ()
    assert all(plan.candidate is not None for plan in found.hull)


def test_the_order_of_records_and_samples_means_nothing():
    records = synthetic_records(60, samples=4)
    pool = synthetic_pool(max_n=2)

    def turned(record):
        samples = {
            m: ModelSamples(s.quality[::-1], s.text[::-1], s.reward[::-1], s.input_tokens, s.output_tokens[::-1])
            for m, s in record.samples.items()
        }
        return Record(**{**vars(record), "samples": samples})

    one = search_plans(SampleArrays.of(records, pool, reward="quality"))
    other = search_plans(SampleArrays.of([turned(r) for r in reversed(records)], pool, reward="quality"))
    assert one.hull == other.hull
