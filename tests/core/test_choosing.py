"""How far heads are believed: all of it where held-out choices show it pays, less where they do not."""

import numpy as np
import pytest

from bestroute.labels import SampleArrays, label_plans
from bestroute.router.heads import HeadLayout
from bestroute.router.held_out_calibration import held_out_calibration
from bestroute.router.shrinkage import TARGET_DROPS, choose
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
    choice = choose(heads.mean(axis=0), {0.5: nothing, 1.0: truth}, layout, labels, arrays)
    assert choice.decay == 1.0
    assert choice.slopes == pytest.approx(1.0)
    assert choice.savings[choice.path.index(choice.frozen["0"])] > 0.2


def test_where_nothing_speaks_for_more_less_is_believed(known):
    arrays, labels, layout, heads = known
    noise = np.random.default_rng(0).normal(size=heads.shape) * heads.std(axis=0)
    choice = choose(heads.mean(axis=0), {0.5: noise / 2, 1.0: noise}, layout, labels, arrays)
    assert choice.decay == 0.5
    assert choice.shrinkage <= 0.25


def test_a_dearer_target_never_saves_more(known):
    arrays, labels, layout, heads = known
    choice = choose(heads.mean(axis=0), {1.0: heads - heads.mean(axis=0)}, layout, labels, arrays)
    assert tuple(choice.frozen) == TARGET_DROPS
    prices = [np.inf if price is None else price for price in choice.frozen.values()]
    assert prices == sorted(prices, reverse=True)


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
