"""Estimates from audits: what they add up to, and intervals that hold at every moment."""

import itertools

import numpy as np
import pytest

from bestroute.errors import ConfigError
from bestroute.monitoring import Audit, DropEstimate, Estimates
from bestroute.monitoring.estimate import bounds
from bestroute.stats.confidence_sequence import HORIZON, standard_errors_wide


def audit(drop, *, probability=0.5, predicted=0.0, **more):
    return Audit("c", 0.0, drop, probability, predicted_drop=predicted, **more)


def estimate(audits, *, certain=0, unaudited=0, predicted=0.0):
    made = DropEstimate()
    for one in audits:
        made.add(one)
    made.add_certain(certain)
    if unaudited:
        made.add_unaudited(unaudited, predicted_drop=predicted)
    return made


def test_nothing_audited_leaves_every_drop_possible():
    empty = DropEstimate().interval()
    assert (empty.mean, empty.low, empty.high, empty.audited, empty.calls) == (0, -1, 1, 0, 0)


def test_calls_of_the_reference_alone_cannot_have_dropped():
    half = estimate([], certain=30, unaudited=10).interval()
    assert (half.low, half.high, half.calls) == (-0.25, 0.25, 40)
    assert estimate([], certain=5).interval().high == 0.0


def test_an_audit_counts_with_the_inverse_of_its_probability():
    made = estimate([audit(1.0, probability=0.5), audit(0.0, probability=0.1)])
    assert made.interval().mean == pytest.approx(2 / 12)


def test_audited_and_certain_calls_share_the_mean():
    assert estimate([audit(0.5), audit(0.5)], certain=4).interval().mean == pytest.approx(0.25)
    assert estimate([audit(0.5), audit(0.5)], certain=4, unaudited=2).interval().mean == pytest.approx(0.25)


@pytest.mark.parametrize("probability", [0.3, 0.7])
def test_over_all_ways_to_choose_the_audits_the_weighted_sum_is_the_sum_of_all_drops(probability):
    drops, expected = (0.0, 1.0, -1.0, 0.5), 0.0
    for chosen in itertools.product((0, 1), repeat=4):
        chance = np.prod([probability if c else 1 - probability for c in chosen])
        made = estimate([audit(d, probability=probability) for d, c in zip(drops, chosen, strict=True) if c])
        expected += chance * made.drop
    assert expected == pytest.approx(sum(drops))


def test_predictions_that_are_right_correct_the_luck_of_the_audits():
    """Of 1,000 calls 200 lose 1 and are predicted so; by luck half of those audited are among them."""
    lucky = [audit(1.0, predicted=1.0)] * 50 + [audit(0.0)] * 50
    plain = estimate(lucky).interval()
    corrected = estimate(lucky, unaudited=900, predicted=150.0).interval()
    assert plain.mean == 0.5
    slope = 25 / (25 + 1.0)  # what a hundred audits and one squared drop of padding make of a perfect prediction
    assert corrected.mean == pytest.approx(0.5 - slope * (0.5 - 0.2))
    assert corrected.half_width < estimate([audit(a.drop) for a in lucky], unaudited=900).interval().half_width


def test_the_sums_of_two_processes_add_up_to_those_of_both():
    rng = np.random.default_rng(0)
    audits = [audit(float(d), probability=0.2, predicted=float(m)) for d, m in rng.uniform(-1, 1, (40, 2))]
    whole = estimate(audits, certain=7, unaudited=100, predicted=3.0)
    one, other = estimate(audits[:15], certain=7), estimate(audits[15:], unaudited=100, predicted=3.0)
    assert one.plus(other).to_dict() == pytest.approx(whole.to_dict())
    assert DropEstimate.from_dict(whole.to_dict()) == whole


def test_arrays_of_sums_give_what_single_estimates_give():
    rng = np.random.default_rng(1)
    made = [
        estimate([audit(float(d)) for d in rng.choice([-1, 0, 1], size)], certain=size, unaudited=3)
        for size in (1, 10, 200)
    ]
    together = DropEstimate(**{name: np.array([m.to_dict()[name] for m in made]) for name in made[0].to_dict()})
    for found, name in zip(bounds(together), ("mean", "low", "high"), strict=True):
        assert found == pytest.approx([getattr(m.interval(), name) for m in made])


def test_a_normal_walk_leaves_the_boundary_at_any_time_with_less_than_the_level():
    """The walk's density is carried from moment to moment on a grid; what lies beyond the boundary is taken away.

    Between moments the walk may leave and return unseen, so moments are close, 2 % apart from the hundredth audit on.
    """
    moments = np.unique(np.concatenate([np.arange(1, 100, 2), np.geomspace(100, 40 * HORIZON, 350)])).astype(float)
    grid = np.linspace(-7, 7, 351)  # in standard errors
    density = np.exp(-(grid**2) / 2)
    density /= density.sum()
    left = 0.0
    for before, now in itertools.pairwise(moments):
        outside = np.abs(grid) > standard_errors_wide(before)
        left += density[outside].sum()
        density[outside] = 0.0
        shrink, spread = np.sqrt(before / now), np.sqrt(1 - before / now)
        kernel = np.exp(-((grid[:, None] - shrink * grid[None, :]) ** 2) / (2 * spread**2))
        density = (kernel / kernel.sum(axis=0)) @ density
    assert 0.035 < left < 0.05


def test_at_the_horizon_it_is_at_most_a_fifth_wider_than_an_interval_for_that_moment_alone():
    assert standard_errors_wide(HORIZON) / 1.96 < 1.2
    assert standard_errors_wide(10 * HORIZON) / 1.96 < 2.0


@pytest.mark.parametrize("certain", [0, 3])
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_intervals_hold_at_all_moments_in_95_of_100_streams(certain, shift):
    """400 streams of 2,500 audits; the drop changes in the middle, and the running mean is what is asked for."""
    rng, streams, audits = np.random.default_rng(2), 400, 2_500
    rates = np.where(np.arange(audits) < audits // 2, 0.04, 0.04 + shift)
    drops = (rng.random((streams, audits)) < rates).astype(float) - (rng.random((streams, audits)) < 0.03)
    truth = np.cumsum(rates - 0.03) / np.arange(1, audits + 1) / (1 + certain)
    count = np.broadcast_to(np.arange(1.0, audits + 1), drops.shape)
    sums = DropEstimate(
        audited=count,
        weight=count,
        weight2=count,
        certain=certain * count,
        drop=(total := np.cumsum(drops, axis=1)),
        weight2_drop=total,
        weight2_drop2=np.cumsum(drops**2, axis=1),
    )
    _, low, high = bounds(sums)
    assert ((low <= truth) & (truth <= high)).all(axis=1).mean() >= 0.95


def test_estimates_are_kept_in_all_and_by_model_task_tag_and_day():
    kept = Estimates()
    kept.add(Audit("c", 86_400.0, 1.0, 0.5, model="small", tags={"task": "sums", "team": "a"}))
    kept.add_certain(at=0.0, tags={"team": "a"})
    assert {key: made.audited for key, made in kept.by_key.items()} == {
        ("all", ""): 1,
        ("model", "small"): 1,
        ("task", "sums"): 1,
        ("tag:team", "a"): 1,
        ("day", "1970-01-02"): 1,
        ("day", "1970-01-01"): 0,
    }
    assert kept.of(("tag:team", "a")).certain == kept.of().certain == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("drop", 1.5), ("drop", float("nan")), ("probability", 0.0), ("probability", 2.0), ("predicted_drop", -2.0)],
)
def test_an_audit_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        Audit(**{"call_id": "c", "at": 0.0, "drop": 0.0, "probability": 0.5, field: value})
