"""The learners under the router: exact where they can be, honest about folds, quiet where there is nothing to learn."""

from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute.router.feature_maps import LearnerInputs
from bestroute.router.forest import Forest
from bestroute.router.stacking import DECAYS, fit_stack, nonnegative
from bestroute.stats.calibration_error import debiased_calibration_error
from bestroute.stats.folds import standard_errors

FOLDS = np.arange(200) % 5


def fit(features, labels, *, trees=None, folds=FOLDS):
    inputs = LearnerInputs([features], [None], None if trees is None else trees.astype(np.float32))
    return fit_stack(lambda visible: inputs, labels, lambda seen: np.ones(seen.shape[1]), folds)


def predict(stack, features, trees=None):
    directions = features @ stack.weights[0] - stack.offsets
    if trees is not None:
        directions = directions + stack.forest.predict(trees)
    return stack.means + directions @ stack.loadings


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_nonnegative_least_squares_agrees_with_trying_every_subset(seed, width):
    rng = np.random.default_rng(seed)
    columns, target = rng.normal(size=(20, width)), rng.normal(size=20)
    best = float(target @ target)
    for size in range(1, width + 1):
        for subset in combinations(range(width), size):
            weights = np.linalg.lstsq(columns[:, subset], target, rcond=None)[0]
            if (weights >= 0).all():
                best = min(best, float(((columns[:, subset] @ weights - target) ** 2).sum()))
    found = nonnegative(columns, target)
    assert (found >= 0).all()
    assert float(((columns @ found - target) ** 2).sum()) == pytest.approx(best, rel=1e-5)


def test_a_linear_function_is_recovered():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 4))
    labels = features @ rng.normal(size=(4, 2)) + 3.0
    stack = fit(features, labels)
    assert predict(stack, features) == pytest.approx(labels, abs=0.05)
    assert stack.means + stack.held_out[1.0] == pytest.approx(labels, abs=0.1)


def test_trees_learn_what_is_not_linear():
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, size=(200, 2))
    labels = np.sign(features[:, :1] * features[:, 1:])
    alone, helped = fit(features, labels), fit(features, labels, trees=features)
    assert alone.held_out[1.0].var() < 0.1 * labels.var()
    assert np.corrcoef(helped.held_out[1.0][:, 0], labels[:, 0])[0, 1] > 0.6


def test_noise_is_shrunk_towards_the_mean():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(200, 5)), rng.normal(size=(200, 1))
    stack = fit(features, labels, trees=features)
    assert stack.held_out[1.0].var() < 0.1 * labels.var()
    fresh = rng.normal(size=(500, 5))
    assert predict(stack, fresh, fresh.astype(np.float32)).var() < 0.2 * labels.var()


@pytest.mark.parametrize("heads", [1, 5])
def test_a_fold_is_predicted_without_its_own_labels(heads):
    rng = np.random.default_rng(2)
    features = rng.normal(size=(200, 3))
    labels = features[:, :1] + rng.normal(size=(200, heads))
    changed = labels.copy()
    changed[FOLDS == 0] = rng.normal(size=(40, heads)) * np.arange(1, heads + 1)  # other directions, too
    inside = FOLDS == 0
    stacks = [fit(features, y, trees=features) for y in (labels, changed)]
    for decay in DECAYS:
        one, other = (stack.means + stack.held_out[decay] for stack in stacks)
        assert one[inside] == pytest.approx(other[inside], abs=1e-6)
        assert one[~inside] != pytest.approx(other[~inside], abs=1e-6)


def test_a_fold_is_read_through_maps_that_were_found_without_it():
    rng = np.random.default_rng(5)
    features, labels = rng.normal(size=(200, 3)), rng.normal(size=(200, 2))
    asked = []

    def inputs_of(visible):
        asked.append(tuple(sorted(set(FOLDS[~visible].tolist()))))
        return LearnerInputs([features], [None], None)

    fit_stack(inputs_of, labels, lambda seen: np.ones(seen.shape[1]), FOLDS)
    singles, pairs = {(a,) for a in range(5)}, set(combinations(range(5), 2))
    assert sorted(asked) == sorted([(), *singles, *pairs])


@pytest.mark.parametrize("decay", DECAYS)
def test_a_decayed_stack_believes_each_direction_less_than_the_one_before(decay):
    rng = np.random.default_rng(6)
    features = rng.normal(size=(200, 4))
    labels = features @ rng.normal(size=(4, 3)) + rng.normal(size=(200, 3)) * 0.1
    stack = fit(features, labels, trees=features)
    fewer = stack.decayed(decay)
    directions = features @ stack.weights[0] - stack.offsets + stack.forest.predict(features)
    factors = decay ** np.arange(len(stack.loadings))
    assert predict(fewer, features, features) == pytest.approx(stack.means + directions * factors @ stack.loadings)
    assert (fewer.loadings == stack.loadings).all()
    along, whole = (stack.held_out[d] @ np.linalg.pinv(stack.loadings) for d in (decay, 1.0))
    assert (along * whole).sum(axis=0) / (whole**2).sum(axis=0) == pytest.approx(factors, abs=0.05)


def test_a_forest_walks_as_the_library_that_grew_it():
    from sklearn.ensemble import ExtraTreesRegressor

    rng = np.random.default_rng(3)
    inputs, targets = rng.normal(size=(300, 6)).astype(np.float32), rng.normal(size=(300, 2))
    grown = Forest.fit(inputs, targets, seed=7, trees=10)
    theirs = ExtraTreesRegressor(10, min_samples_leaf=15, max_features=0.4, random_state=7).fit(inputs, targets)
    assert grown.predict(inputs) == pytest.approx(theirs.predict(inputs), abs=1e-5)
    assert grown.scaled(np.array([2.0, 0.0])).predict(inputs) == pytest.approx(
        theirs.predict(inputs) * [2.0, 0.0], abs=1e-5
    )
    assert grown.problem(6, 2) is None


def test_a_forest_is_the_same_however_many_cores_grow_it(monkeypatch):
    rng = np.random.default_rng(5)
    inputs, targets = rng.normal(size=(400, 6)).astype(np.float32), rng.normal(size=(400, 2))
    grown = []
    for many in (len(inputs), len(inputs) + 1):  # on all cores, on one
        monkeypatch.setattr("bestroute.router.forest.THREADED_FROM", many)
        grown.append(Forest.fit(inputs, targets, trees=20))
    for field in fields(Forest):
        np.testing.assert_array_equal(*(getattr(forest, field.name) for forest in grown))


def test_a_perfect_head_has_no_calibration_error_beyond_chance_and_a_bad_one_does():
    rng = np.random.default_rng(4)
    predicted = rng.uniform(0.1, 0.9, size=(4000, 1))
    happened = (rng.random((4000, 1)) < predicted).astype(float)
    alone = [str(i) for i in range(4000)]
    error, perfect = debiased_calibration_error(predicted, happened, alone)
    assert error[0] < 0.02
    assert 0.01 < perfect[0] < 0.04
    error, _ = debiased_calibration_error(np.clip(predicted + 0.1, 0, 1), happened, alone)
    assert error[0] == pytest.approx(0.1, abs=0.02)


def test_a_head_that_says_the_same_of_all_is_not_judged_by_the_order_of_the_file():
    happened = np.repeat([0.0, 1.0], 500)[:, None]
    error, _ = debiased_calibration_error(np.full((1000, 1), 0.5), happened, [str(i) for i in range(1000)])
    assert error[0] < 0.1


def test_the_size_of_groups_is_no_uncertainty():
    groups = ["large"] * 200 + [f"single {i}" for i in range(20)]
    assert standard_errors(np.ones((220, 1)), groups)[0] == pytest.approx(0, abs=1e-12)
    values = np.random.default_rng(0).normal(size=(1000, 1))
    alone = standard_errors(values, [str(i) for i in range(1000)])[0]
    assert alone == pytest.approx(values.std(ddof=1) / 1000**0.5)
    assert standard_errors(np.repeat(values, 3, axis=0), np.repeat(np.arange(1000), 3).astype(str))[0] == pytest.approx(
        alone
    )


def test_queries_of_a_group_are_alike_and_count_as_one_draw():
    """One coin a group: a head that knows its chance is perfect, though whole groups go one way."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(120), 6)
    found = []
    for _ in range(40):
        chance = rng.uniform(0.1, 0.9, size=120)
        happened = (rng.random(120) < chance)[group][:, None].astype(float)
        predicted = (chance[group] + rng.uniform(-0.01, 0.01, size=720))[:, None]
        as_if_alone, _ = debiased_calibration_error(predicted, happened, [str(i) for i in range(720)])
        error, perfect = debiased_calibration_error(predicted, happened, [str(g) for g in group])
        worse, _ = debiased_calibration_error(np.clip(predicted + 0.3, 0, 1), happened, [str(g) for g in group])
        found.append([as_if_alone[0], error[0], perfect[0], worse[0]])
    alone, error, perfect, worse = np.mean(found, axis=0)
    assert error < 0.6 * alone
    assert error < 0.6 * perfect
    assert worse > 0.2
