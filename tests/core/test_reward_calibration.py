"""From rewards to probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestroute import ArtifactError, ConfigError
from bestroute.reward_models.calibration import ENOUGH, Calibration, fit_calibration


def drawn(size, seed=0):
    rng = np.random.default_rng(seed)
    rewards = rng.normal(3.0, 2.0, size)
    chance = 1 / (1 + np.exp(-(rewards - 3)))
    return rewards, (rng.random(size) < chance).astype(float), chance


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_probabilities_come_out_near_the_true_ones(method):
    rewards, matches, chance = drawn(8000)
    curve = fit_calibration(rewards, matches, method)
    assert curve.method == method
    assert np.abs(curve(rewards) - chance).mean() < 0.03


@pytest.mark.parametrize("method", ["isotonic", "platt"])
@pytest.mark.parametrize("sign", [1, -1])
def test_order_is_kept_strictly_even_where_the_reward_misleads(method, sign):
    rewards, matches, _ = drawn(1500)
    curve = fit_calibration(sign * rewards, matches, method)
    ordered = curve(np.linspace(-40, 40, 4001))
    assert (np.diff(ordered) > 0).all()
    assert ordered.min() >= 0
    assert ordered.max() <= 1


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.sampled_from([0.0, 0.3, 1.0])), min_size=1, max_size=60))
def test_whatever_it_is_fitted_on_it_gives_probabilities(points):
    rewards, matches = np.array(points).T
    for method in ("isotonic", "platt"):
        values = fit_calibration(rewards, matches, method)(np.concatenate([rewards, [-1e12, 1e12]]))
        assert ((values >= 0) & (values <= 1)).all()


def test_few_samples_get_a_curve_and_many_get_steps():
    rewards, matches, _ = drawn(ENOUGH)
    assert fit_calibration(rewards, matches).method == "isotonic"
    assert fit_calibration(rewards[:-1], matches[:-1]).method == "platt"


def test_a_few_lucky_samples_are_not_taken_for_certain():
    curve = fit_calibration(np.arange(40.0), np.ones(40), "isotonic")
    assert curve(np.array([100.0]))[0] < 0.99


def test_a_platt_curve_of_an_unrelated_reward_is_flat_at_the_share():
    curve = fit_calibration(np.tile([1.0, 2.0], 500), np.repeat([0.0, 1.0], 500), "platt")
    assert curve(np.array([-9.0, 1.0, 9.0])) == pytest.approx([0.5] * 3, abs=0.01)


def test_nothing_to_fit_on_and_unknown_methods_are_refused():
    with pytest.raises(ConfigError, match="no held-out sample can be compared"):
        fit_calibration(np.zeros(0), np.zeros(0))
    with pytest.raises(ConfigError, match="calibration must be one of"):
        fit_calibration(np.zeros(1), np.zeros(1), "beta")


@pytest.mark.parametrize(
    ("scale", "knots", "values", "what"),
    [
        (0.0, [0.0, 1.0], [0.1, 0.2], "fit together"),
        (1.0, [0.0, 1.0], [0.1], "fit together"),
        (1.0, [0.0, 1.0], [0.2, 0.1], "rise with the reward"),
        (1.0, [1.0, 0.0], [0.1, 0.2], "rise with the reward"),
        (1.0, [0.0, 1.0], [0.1, 1.2], "rise with the reward"),
        (1.0, [], [-1.0, 0.0], "rise with the reward"),
        (1.0, [0.0], [float("nan")], "NaN"),
    ],
)
def test_a_curve_that_is_none_is_refused(scale, knots, values, what):
    with pytest.raises(ArtifactError, match=what):
        Calibration(0.0, scale, np.array(knots), np.array(values))
