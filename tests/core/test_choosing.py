"""How far heads are believed: all of it where held-out choices show it pays, less where they do not."""

import numpy as np
import pytest

from bestroute.labels import SampleArrays, label_plans
from bestroute.router import shrinkage
from bestroute.router.heads import HeadLayout
from bestroute.router.held_out_calibration import held_out_calibration
from bestroute.router.shrinkage import HULL_SLACK, TARGET_DROPS, choose
from bestroute.stats.hull import hull_quality
from bestroute.testing import synthetic_pool, synthetic_records
from bestroute.types.plans import Candidate, Plan


@pytest.fixture(scope="module")
def known():
    """Records of three models, their labels, and heads that are true."""
    pool = synthetic_pool()
    arrays = SampleArrays.of(synthetic_records(200), pool, reward="quality")
    plans = tuple(Plan.of(Candidate(model)) for model in pool.models)
    labels, layout = label_plans(arrays, plans), HeadLayout(plans, pool.models)
    tokens = np.nanmean(arrays.output_tokens, axis=2)
    return arrays, labels, layout, layout.join(labels.match_probability, labels.quality, labels.draws, tokens)


def test_heads_that_are_right_are_believed(known):
    arrays, labels, layout, heads = known
    truth = heads - heads.mean(axis=0)
    nothing = np.zeros_like(truth)
    choice = choose(heads.mean(axis=0), [{0.5: nothing, 1.0: truth}], layout, labels, arrays)
    assert choice.decay == 1.0
    assert choice.slopes == pytest.approx(1.0)
    assert choice.savings[choice.path.index(choice.frozen["0"])] > 0.2


def test_where_nothing_speaks_for_more_less_is_believed(known):
    arrays, labels, layout, heads = known
    noise = np.random.default_rng(0).normal(size=heads.shape) * heads.std(axis=0)
    choice = choose(heads.mean(axis=0), [{0.5: noise / 2, 1.0: noise}], layout, labels, arrays)
    assert choice.decay == 0.5
    assert choice.shrinkage <= 0.25


def test_a_dearer_target_never_saves_more(known):
    arrays, labels, layout, heads = known
    choice = choose(heads.mean(axis=0), [{1.0: heads - heads.mean(axis=0)}], layout, labels, arrays)
    assert tuple(choice.frozen) == TARGET_DROPS
    prices = [np.inf if price is None else price for price in choice.frozen.values()]
    assert prices == sorted(prices, reverse=True)


def test_one_deal_of_folds_that_is_lucky_does_not_decide(known):
    arrays, labels, layout, heads = known
    truth = heads - heads.mean(axis=0)
    lucky = choose(heads.mean(axis=0), [{1.0: truth}], layout, labels, arrays)
    both = choose(heads.mean(axis=0), [{1.0: truth}, {1.0: -truth}], layout, labels, arrays)
    assert lucky.shrinkage > 0.25 >= both.shrinkage


def test_of_kinds_of_task_no_price_is_frozen_at_which_held_out_choices_are_below_the_hull(known, monkeypatch):
    """Heads of noise that have to be believed, and kinds of task: some prices win less than a coin."""
    arrays, labels, layout, heads = known
    monkeypatch.setattr(shrinkage, "SHRINKAGES", (1.0,))
    costs, qualities = labels.cost_usd.mean(axis=0), labels.quality.mean(axis=0)

    def least_over_hull(seed):
        noise = 0.2 * np.random.default_rng(seed).normal(size=heads.shape) * heads.std(axis=0)
        choice = choose(heads.mean(axis=0), [{1.0: noise}], layout, labels, arrays, [np.ones(len(arrays))])
        quality, cost = (of.mean(axis=1) for of in (choice.outcomes.quality, choice.outcomes.cost))
        over = dict(zip(choice.path, quality - hull_quality(costs, qualities, cost), strict=True))
        return min(0.0 if price is None else over[price] for price in choice.frozen.values())

    assert min(map(least_over_hull, range(5))) >= -HULL_SLACK
    monkeypatch.setattr(shrinkage, "HULL_SLACK", 9.0)
    assert min(map(least_over_hull, range(5))) < -0.002, "what would be frozen otherwise"


def test_the_calibration_error_is_of_slopes_from_other_folds(known):
    """Predictions that are right in one fold and upside down in the other: slopes of both together hide it."""
    arrays, labels, layout, heads = known
    folds, means = np.arange(len(arrays)) // 2 % 2, heads.mean(axis=0)
    told = heads - means
    told[folds == 1] *= -1
    error, *_ = held_out_calibration(means, told, layout, labels, arrays, folds)
    assert error > 0.2
    honest, *_ = held_out_calibration(means, heads - means, layout, labels, arrays, folds)
    assert honest < 0.001
