"""The learning curve: more labels bring more where there is something to learn, and promises say what they take."""

import pytest

from bestroute.labels import SampleArrays
from bestroute.router.train_settings import TrainSettings
from bestroute.testing import synthetic_pool, synthetic_records
from bestroute.tuning.learning_curve import PROMISES, CurvePoint, LearningCurve, learning_curve
from bestroute.tuning.sample_size import fewest_for_drop

SETTINGS = TrainSettings(reward="quality", offered=0, forest=False)


@pytest.fixture(scope="module")
def curve():
    records = synthetic_records(120, samples=2)
    return learning_curve(SampleArrays.of(records, synthetic_pool(max_n=1), reward="quality"), SETTINGS)


def test_points_rise_to_four_fifths_of_the_records(curve):
    sizes = [point.records for point in curve.points]
    assert sizes[:2] == [20, 50]
    assert 90 <= sizes[-1] <= 100
    for point in curve.points:
        assert point.saving_ci95[0] <= point.saving <= point.saving_ci95[1]
        assert point.drop_ci95[0] <= point.drop <= point.drop_ci95[1]


def test_the_gain_is_that_of_the_last_step_paired(curve):
    gain, low, high = curve.gain
    assert gain == pytest.approx(curve.points[-1].saving - curve.points[-2].saving)
    assert low <= gain <= high
    assert f"from {curve.points[-2].records} to {curve.points[-1].records} records" in curve.verdict


def test_a_promise_takes_at_least_what_any_bound_does_and_less_for_a_larger_drop(curve):
    needed = [curve.needed[drop] for drop in PROMISES]
    assert all(number is not None for number in needed)
    assert needed == sorted(needed, reverse=True)
    assert needed[0] >= fewest_for_drop(1.0, 0.01, 0.95)


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [((0.1, 0.05, 0.2), "more bring more"), ((0.0, -0.01, 0.01), "more bring little"), ((0.1, -0.1, 0.3), "more may")],
)
def test_the_verdict_follows_the_interval(gain, verdict):
    points = tuple(CurvePoint(size, 0.1, (0.0, 0.2), 0.0, (-0.1, 0.1)) for size in (20, 50))
    assert verdict in LearningCurve(points, "0.01", gain, {}).verdict
