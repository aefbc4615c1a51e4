import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestroute.labels.simulation import in_order_of
from bestroute.stats.bootstrap import interval, interval95, resample_groups, resampled_means
from bestroute.stats.hull import hull_quality, upper_hull
from bestroute.stats.label_directions import LabelSpace, unit_directions

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8)


@given(POINTS, st.floats(0, 1))
def test_no_mixture_of_two_points_is_above_the_hull(points, share):
    cost, quality = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    for i in range(len(points)):
        for j in range(len(points)):
            at = share * cost[i] + (1 - share) * cost[j]
            mixed = share * quality[i] + (1 - share) * quality[j]
            assert hull_quality(cost, quality, at) >= mixed - 1e-9


@given(POINTS)
def test_the_hull_is_made_of_the_points(points):
    cost, quality = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    hull = upper_hull(cost, quality)
    assert cost[hull[0]] == cost.min()
    assert quality[hull[-1]] == quality.max()
    assert (np.diff(cost[hull]) > 0).all()
    assert (np.diff(quality[hull]) > 0).all()


def test_between_two_points_a_coin_is_drawn():
    assert hull_quality(np.array([1.0, 3.0]), np.array([0.0, 1.0]), 2.0) == pytest.approx(0.5)
    assert hull_quality(np.array([1.0, 3.0]), np.array([0.0, 1.0]), 9.0) == 1.0


def test_queries_of_one_group_are_drawn_together():
    weights = resample_groups(["a", "a", "b", "c"], resamples=200, seed=1)
    assert weights.sum(axis=1) == pytest.approx(np.ones(200))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == 0).any()
    assert np.array_equal(weights, resample_groups(["a", "a", "b", "c"], resamples=200, seed=1))


def test_an_interval_holds_the_middle():
    assert interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_both_ways_to_resample_groups_have_one_distribution():
    values, groups = np.array([0.0, 1.0, 2.0, 5.0]), ["a", "a", "b", "c"]
    weighted = resample_groups(groups, resamples=20_000, seed=1) @ values
    means = resampled_means(values[:, None], groups, resamples=20_000, seed=1)[:, 0]
    assert interval(means) == pytest.approx(interval(weighted), abs=0.05)
    assert interval95(weighted) == list(interval(weighted))
    assert interval95(np.full(40, np.nan)) is None


def test_absent_samples_come_last_in_every_order():
    keys = np.random.default_rng(0).random((3, 5, 4))
    order = in_order_of(keys, np.array([[False, False, True, True]]))
    assert np.sort(order, axis=-1).tolist() == np.broadcast_to(np.arange(4), order.shape).tolist()
    assert set(order[..., :2].ravel()) == {0, 1}


def test_directions_that_a_transformer_learns_are_those_of_the_label_space():
    labels, scales = np.random.default_rng(0).random((30, 3)), np.array([1.0, 2.0, 0.5])
    own, space = unit_directions(labels, scales), LabelSpace.of(labels, scales).directions(labels)
    assert (own**2).sum() == pytest.approx(30)
    assert own / own[0] == pytest.approx(space / space[0])
