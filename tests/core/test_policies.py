import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import Candidate, ConfigError, NotTunedError, Plan, Pool, Prediction, Price, QualityPolicy, Step
from bestroute import ThresholdPolicy as Threshold


def brute_force(table, threshold, reference):
    """Algorithm 1 in plain Python, on (model position, n, probability, cost) rows."""
    best = None
    for row, (position, n, probability, cost) in enumerate(table):
        if probability < threshold:
            continue
        if best is None or (cost, n, position) < best[0]:
            best = ((cost, n, position), row)
    return reference if best is None else best[1]


@st.composite
def tables(draw):
    """A pool, its candidates in router order, probabilities and costs; a fifth of the tables is full of ties."""
    models = draw(st.integers(1, 4))
    max_n = draw(st.integers(1, 4))
    has_ties = draw(st.integers(0, 4)) == 0
    size = (models - 1) * max_n + 1
    if has_ties:
        numbers = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    else:
        numbers = st.floats(0, 1, allow_nan=False, width=32)
    probabilities = draw(st.lists(numbers, min_size=size, max_size=size))
    costs = draw(st.lists(numbers, min_size=size, max_size=size))
    reference = draw(st.integers(0, models - 1))
    return models, max_n, reference, probabilities, costs, draw(numbers)


@settings(max_examples=10_000, deadline=None)
@given(tables())
def test_algorithm_1_agrees_with_brute_force(case):
    models, max_n, reference, probabilities, costs, threshold = case
    names = [f"m{k}" for k in range(models)]
    pool = Pool(names, {m: Price(1, 1) for m in names}, names[reference], max_n)
    candidates = pool.candidates()
    rows = [(names.index(c.model), c.n, p, x) for c, p, x in zip(candidates, probabilities, costs, strict=True)]
    wanted = brute_force(rows, threshold, candidates.index(Candidate(names[reference])))
    prediction = Prediction(
        tuple(map(Plan.of, candidates)),
        np.array([probabilities]),
        np.array([probabilities]),
        np.ones((1, models)),
    )
    assert Threshold(threshold).choose(prediction, np.array([costs]), pool).tolist() == [wanted]


@settings(max_examples=300, deadline=None)
@given(tables(), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_lowers_the_cost_while_the_reference_matches_itself(case, one, two):
    models, max_n, reference, probabilities, costs, _ = case
    names = [f"m{k}" for k in range(models)]
    pool = Pool(names, {m: Price(1, 1) for m in names}, names[reference], max_n)
    candidates = pool.candidates()
    at = candidates.index(Candidate(names[reference]))
    probabilities[at] = 1.0
    prediction = Prediction(
        tuple(map(Plan.of, candidates)), np.array([probabilities]), np.array([probabilities]), np.ones((1, models))
    )
    low, high = (costs[Threshold(t).choose(prediction, np.array([costs]), pool)[0]] for t in sorted((one, two)))
    assert low <= high


def predict(pool, plans, match, quality=None, draws=None):
    match = np.array([match])
    quality = match if quality is None else np.array([quality])
    return Prediction(plans, match, quality, np.ones((1, len(pool.models))), draws)


def test_ties_in_cost_go_to_the_smaller_n_then_to_pool_order(pool):
    plans = (("mid", 2), ("mid", 1), ("small", 2), ("small", 1), ("large", 1))
    prediction = predict(pool, plans, [0.9] * 5)
    equal = np.ones((1, 5))
    assert prediction.plans[Threshold(0.5).choose(prediction, equal, pool)[0]].candidate == Candidate("small", 1)


def test_the_threshold_is_reached_by_equality(pool):
    prediction = predict(pool, (("small", 1), ("large", 1)), [0.8, 1.0])
    assert Threshold(0.8).choose(prediction, np.array([[1.0, 2.0]]), pool).tolist() == [0]


def test_nothing_valid_means_the_reference(pool):
    prediction = predict(pool, (("large", 1), ("small", 1)), [0.0, 0.1])
    assert Threshold(0.8).choose(prediction, np.array([[9.0, 1.0]]), pool).tolist() == [0]


def test_plans_that_are_more_than_a_candidate_are_not_considered(pool):
    plan = Plan((Step("small", 1, 0.5), Step("large")))
    prediction = predict(pool, (("large", 1), plan), [1.0, 1.0], draws=np.ones((1, 2, 2)))
    assert Threshold(0.5).choose(prediction, np.array([[9.0, 1.0]]), pool).tolist() == [0]


@pytest.mark.parametrize("bad", [-0.1, 1.7, float("nan"), "0.5", True])
def test_a_threshold_is_a_probability(bad):
    with pytest.raises(ConfigError, match=r"threshold must be in \[0, 1\], a match probability, got"):
        Threshold(bad)


def test_a_router_without_the_reference_is_refused_by_name(pool):
    prediction = predict(pool, (("small", 1),), [0.1])
    with pytest.raises(ConfigError, match="the router must offer the plan 'large x 1'"):
        Threshold(0.5).choose(prediction, np.array([[1.0]]), pool)


def test_quality_policy_weighs_quality_against_cost(pool):
    prediction = predict(pool, (("small", 1), ("large", 1)), [0.5, 1.0], quality=[0.5, 0.9])
    costs = np.array([[1.0, 3.0]])  # 2 USD more for 0.4 more quality: 5 USD a unit
    assert QualityPolicy(4.9).choose(prediction, costs, pool).tolist() == [0]
    assert QualityPolicy(5.1).choose(prediction, costs, pool).tolist() == [1]
    assert QualityPolicy(0.0).choose(prediction, costs, pool).tolist() == [0]


def test_a_quality_policy_needs_a_price_or_a_promise():
    with pytest.raises(ConfigError, match="either price_usd or max_drop"):
        QualityPolicy()
    with pytest.raises(ConfigError, match="either price_usd or max_drop"):
        QualityPolicy(1.0, 0.1)
    with pytest.raises(ConfigError, match="price_usd must be >= 0"):
        QualityPolicy(-1.0)
    with pytest.raises(NotTunedError, match="bestroute tune DIR TUNE --max-drop 0.01"):
        QualityPolicy(max_drop=0.01).resolve(object())


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("match_probability", [[0.5, float("nan")]], "match_probability holds NaN"),
        ("match_probability", [[0.5, 1.5]], r"match_probability must be in \[0, 1\]"),
        ("expected_quality", [[0.5]], r"expected_quality must have shape \(1, 2\)"),
        ("output_tokens", [[-1.0, 1.0, 1.0]], "must be >= 0"),
    ],
)
def test_a_prediction_checks_itself(field, value, sentence):
    good = {
        "plans": (("small", 1), ("large", 1)),
        "match_probability": [[0.5, 1.0]],
        "expected_quality": [[0.5, 1.0]],
        "output_tokens": [[1.0, 1.0, 1.0]],
    }
    arrays = {k: np.array(v) if k != "plans" else v for k, v in {**good, field: value}.items()}
    with pytest.raises(ConfigError, match=sentence):
        Prediction(**arrays)


def test_predictions_cannot_be_changed(pool):
    prediction = predict(pool, (("small", 1), ("large", 1)), [0.5, 1.0])
    with pytest.raises(ValueError, match="read-only"):
        prediction.match_probability[0, 0] = 1.0
