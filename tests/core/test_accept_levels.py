"""Levels of acceptance are chosen on some folds and judged on others."""

import numpy as np
import pytest

from bestroute import Pool, Price
from bestroute.labels import SampleArrays
from bestroute.records.records import ModelSamples, Record
from bestroute.router.accept_levels import TARGET, accept_levels
from bestroute.router.plan_search import search_plans

POOL = Pool(["small", "large"], {"small": Price(1, 1), "large": Price(10, 10)}, "large", max_n=1)


def arrays_of(quality, reward, *, pool=POOL, each=1):
    """One answer of the small model a record; the reference is right; ``each`` records a group."""
    return SampleArrays.of(
        [
            Record(
                f"q{i}",
                f"question {i}",
                {
                    "small": ModelSamples((q,), reward=(r,), input_tokens=10.0, output_tokens=(10.0,)),
                    "large": ModelSamples((1.0,), reward=(1.0,), input_tokens=10.0, output_tokens=(10.0,)),
                },
                group=f"g{i // each}",
            )
            for i, (q, r) in enumerate(zip(quality, reward, strict=True))
        ],
        pool,
    )


def test_a_level_that_separates_right_from_wrong_is_found_and_its_figures_are_of_other_folds():
    reward = np.linspace(0.01, 0.99, 400)
    found = accept_levels(arrays_of((reward > 0.5).astype(float), reward), deals=3)["small"]
    assert found.level == pytest.approx(0.5, abs=0.05)
    assert found.saving == pytest.approx(0.5 - 0.1, abs=0.05), "half of it is accepted, and all of it is drawn"
    assert -0.005 <= found.drop <= TARGET
    assert found.saving_ci95[0] < found.saving < found.saving_ci95[1]


def test_a_reward_that_tells_nothing_has_no_level():
    rng = np.random.default_rng(0)
    found = accept_levels(arrays_of((rng.random(400) < 0.6).astype(float), rng.random(400)), deals=3)["small"]
    assert found.level is None
    assert str(found) == "at no level"


def test_luck_of_one_fold_shows_on_the_others():
    """Noise with few groups: what chose a level flatters it, what the other folds gave does not."""
    flattery = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        quality, reward = (rng.random(60) < 0.95).astype(float), rng.random(60)
        arrays = arrays_of(quality, reward)
        found = accept_levels(arrays, deals=3)["small"]
        if found.level is not None:
            flattery.append(found.drop - (1 - np.where(reward >= found.level, quality, 1.0).mean()))
    assert len(flattery) >= 10
    assert np.mean(flattery) > 0.003


def test_groups_are_dealt_whole_and_order_does_not_matter():
    rng = np.random.default_rng(1)
    reward = rng.random(200)
    quality = (rng.random(200) < reward).astype(float)
    arrays = arrays_of(quality, reward, each=10)
    turned = arrays.take(rng.permutation(200))
    assert accept_levels(arrays, deals=3)["small"].level == accept_levels(turned, deals=3)["small"].level
    assert accept_levels(arrays, deals=3)["small"].drop == pytest.approx(accept_levels(turned, deals=3)["small"].drop)


def test_a_verdict_has_no_level():
    quality = np.array([0.0, 1.0] * 50)
    assert accept_levels(arrays_of(quality, quality), deals=3) == {}


def test_the_search_offers_a_plan_at_the_level_that_was_chosen():
    reward = np.linspace(0.01, 0.99, 400)
    arrays = arrays_of((reward > 0.437).astype(float), reward)
    chosen = accept_levels(arrays, deals=3)["small"].level

    def levels(**options):
        return {step.accept for plan in search_plans(arrays, **options).offered for step in plan.steps}

    assert chosen not in levels()
    assert chosen in levels(levels={"small": chosen})
