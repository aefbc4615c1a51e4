"""What held-out folds show of a frozen price: intervals, the luck of choosing taken off, and when it is too little."""

from dataclasses import replace

import numpy as np
import pytest

from bestroute.labels import SampleArrays
from bestroute.policies.policies import QualityPolicy, ReferencePolicy
from bestroute.router.evidence import MOST_DROP, evidence_for
from bestroute.router.shrinkage import PlanOutcomes, ShrinkageChoice
from bestroute.router.train_settings import TrainSettings
from bestroute.router.training import train_router
from bestroute.testing import synthetic_pool, synthetic_records

PATH = tuple(float(v) for v in range(1, 31))


def choice_of(frozen, quality, reference, path=PATH, cost=0.5):
    quality = np.atleast_2d(quality)
    outcomes = PlanOutcomes(quality, np.full(quality.shape, cost), reference, np.ones(len(reference)))
    return ShrinkageChoice(1.0, 0.5, np.ones(1), path, frozen, outcomes)


def names(count):
    return [f"g{i}" for i in range(count)]


def test_answers_that_never_differ_prove_little_where_they_are_few():
    """No drop on 40 queries is no proof: what was missed may be ln(20) / 40 of them, 7.5 % of all quality."""
    few, many = (
        evidence_for(choice_of({"0.01": 1.0}, np.ones(q), np.ones(q), PATH[:1]), names(q))["0.01"] for q in (40, 1000)
    )
    assert few.drop == many.drop == 0
    assert few.upper_drop == pytest.approx(np.log(20) / 40)
    assert few.drop_ci95 == pytest.approx((-np.log(40) / 40, np.log(40) / 40))
    assert not few.is_enough
    assert few.records_needed(40, 0.01) == 75, "ln(20) / (5 % - 1 %)"
    assert many.is_enough
    assert many.drop_ci95[1] < 0.004


def test_the_interval_of_a_drop_is_that_of_its_mean_over_groups():
    rng = np.random.default_rng(0)
    reference = np.ones(900)
    quality = (rng.random(900) < 0.98).astype(float)
    choice = choice_of({"0.03": 1.0}, quality, reference, PATH[:1])
    found = evidence_for(choice, names(900))["0.03"]
    width = 1.96 * quality.std() / 30
    assert found.drop == pytest.approx(1 - quality.mean(), abs=0.002)
    assert found.drop_ci95[1] - found.drop_ci95[0] == pytest.approx(2 * width, rel=0.15)
    alike = evidence_for(choice, [f"g{i // 9}" for i in range(900)])
    assert alike["0.03"].drop_ci95[1] > found.drop_ci95[0], "groups are drawn whole"


def test_the_luck_of_choosing_among_prices_is_taken_off():
    """Thirty prices that all lose 10 %: the one that meets the target by luck is not believed."""
    rng = np.random.default_rng(3)
    apparent, corrected = [], []
    for _ in range(30):
        reference = (rng.random(120) < 0.7).astype(float)
        quality = (rng.random((30, 120)) < 0.63).astype(float)
        drops = 1 - quality.mean(axis=1) / reference.mean()
        quality = quality[np.argsort(-drops)]  # the last prices are the most careful ones, by luck alone
        if drops.min() > 0.05:
            continue
        frozen = float(PATH[int(np.flatnonzero(np.sort(drops)[::-1] > 0.05)[-1]) + 1])
        found = evidence_for(choice_of({"0.05": frozen}, quality, reference), names(120), resamples=200)
        apparent.append(1 - quality[PATH.index(frozen)].mean() / reference.mean())
        corrected.append(found["0.05"].drop)
    assert len(apparent) > 10
    assert np.mean(corrected) > np.mean(apparent) + 0.01


def test_a_target_that_only_the_reference_meets_shows_nothing():
    assert evidence_for(choice_of({"0": None}, np.ones(9), np.ones(9), PATH[:1]), names(9)) == {"0": None}


def test_the_default_policy_is_the_reference_until_a_larger_drop_can_be_ruled_out():
    pool, settings = synthetic_pool(max_n=1), TrainSettings(reward="quality", offered=2, forest=False)

    def trained(count):
        records = [replace(r, group=r.id) for r in synthetic_records(count, samples=3, prefix=f"n{count}-")]
        return train_router(SampleArrays.of(records, pool, reward="quality"), settings, deals=2)

    few, many = trained(40), trained(900)
    assert few.router.default_policy == ReferencePolicy()
    assert many.evidence["0.01"].upper_drop <= MOST_DROP
    assert many.router.default_policy == QualityPolicy(many.router.frozen["0.01"])
    assert few.router.frozen, "prices are frozen all the same; who names one has it"
