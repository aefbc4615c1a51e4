"""Alarms: what raises one, how soon, and how often one is false."""

import itertools

import numpy as np
import pytest

from bestroute.monitoring import Audit
from bestroute.monitoring.alarms import DROP_LEVEL, DROP_STARTS, HORIZON_AUDITS, Alarms, Bettors, Ranks
from bestroute.stats.wealth import (
    MEAN_BETS,
    RANK_BETS,
    begins,
    mean_factors,
    money,
    rank_factors,
    wealth_over_time,
)


def made(target=0.0, models=("small",)):
    return Alarms(target, models, least_probability=0.04)


def audit(drop):
    return Audit("c", 0.0, drop, 0.04)


def test_the_money_is_one_and_half_of_it_begins_at_once():
    assert money(6).sum() == pytest.approx(1.0)
    assert money(6)[0] == 0.5
    assert begins(600, 6).tolist() == [0, 100, 200, 300, 400, 500]


@pytest.mark.parametrize("length", [1, 4, 7])
def test_over_all_streams_of_a_claim_that_holds_wealth_stays_one_in_the_mean(length):
    """Each observation is -1 or 1 with equal chances: all streams are gone through."""
    streams = np.array(list(itertools.product((-1.0, 1.0), repeat=length)))
    wealth = np.exp(mean_factors(streams).sum(axis=1)).mean(axis=-1)
    assert wealth.mean() == pytest.approx(1.0)
    highest = wealth_over_time(mean_factors(streams), 3).max(axis=1)
    assert all((highest >= 1 / level).mean() <= level for level in (0.5, 0.25, 0.1))


def test_bets_on_a_uniform_rank_are_fair():
    ranks = (np.arange(10_000) + 0.5) / 10_000
    assert np.exp(rank_factors(ranks)).mean(axis=0) == pytest.approx(np.ones(len(RANK_BETS)))


def test_bettors_one_by_one_win_what_the_whole_stream_says():
    rng = np.random.default_rng(0)
    observed = rng.choice([-1.0, 0.0, 1.0], size=(30, 60), p=[0.2, 0.4, 0.4])
    highest = wealth_over_time(mean_factors(observed), 6).max(axis=1)
    for stream, most in zip(observed, highest, strict=True):
        for level in (0.9 / most, 1.1 / most):
            if level >= 1:
                continue
            bettors = Bettors(len(MEAN_BETS), starts=6, level=level, horizon=60)
            assert any([bettors.add(row) for row in mean_factors(stream)]) == (level > 1 / most)


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.1])
def test_false_alarms_of_the_drop_are_at_most_the_level_over_the_horizon(rate):
    rng = np.random.default_rng(1)
    null = rng.choice([-1.0, 0.0, 1.0], size=(1_000, HORIZON_AUDITS), p=[rate, 1 - 2 * rate, rate])
    assert (wealth_over_time(mean_factors(null), DROP_STARTS).max(axis=1) >= 1 / DROP_LEVEL).mean() <= DROP_LEVEL


def test_a_loss_of_5_points_raises_the_alarm_within_500_audits():
    rng, raised = np.random.default_rng(2), []
    for _ in range(40):
        alarms, drops = made(), rng.choice([-1.0, 0.0, 1.0], size=500, p=[0.01, 0.93, 0.06])
        raised.append(any(alarms.observe(audit(drop)) for drop in drops))
    assert np.mean(raised) >= 0.9


def test_the_alarm_says_of_what_it_is_and_how_often_it_is_false():
    alarms = made(target=0.01)
    found = next(filter(None, (alarms.observe(audit(1.0)) for _ in range(100))))
    assert [(a.kind, a.level, a.horizon) for a in found] == [("drop", DROP_LEVEL, HORIZON_AUDITS)]
    assert found[0].message == "the drop is above the target of 0.01: audits show it"


def test_calls_of_the_reference_alone_speak_against_the_alarm():
    """One in ten audited calls is lost; with nine calls of the reference beside each that is one point in a hundred."""

    def raised(certain):
        alarms, found = made(target=0.02), False
        for i in range(900):
            alarms.observe_certain(25 * certain)  # 25 calls for each that is audited
            found |= bool(alarms.observe(audit(float(i % 10 == 0))))
        return found

    assert raised(0)
    assert not raised(9)


def test_one_odd_query_is_no_odd_traffic():
    alarms = made()
    assert not any(alarms.observe_query(0.0 if i == 50 else 0.6) for i in range(500))
    assert any(alarms.observe_query(0.0) for _ in range(100))


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("logprobs", lambda rng: 1.0, lambda rng: 0.0),
        ("acceptance", lambda rng: float(rng.random() < 0.8), lambda rng: float(rng.random() < 0.5)),
        ("length", lambda rng: rng.integers(10, 200), lambda rng: rng.integers(100, 400)),
        ("error", lambda rng: float(rng.random() < 0.02), lambda rng: float(rng.random() < 0.3)),
        ("latency", lambda rng: rng.exponential(1.0), lambda rng: rng.exponential(3.0)),
    ],
)
def test_a_member_that_changes_raises_the_alarm_of_what_has_changed(kind, before, after):
    rng, alarms = np.random.default_rng(3), made(models=("small", "large"))
    assert not any(alarms.observe_draw("small", {kind: before(rng)}) for _ in range(1_500))
    found = [a for _ in range(600) for a in alarms.observe_draw("small", {kind: after(rng)})]
    assert found
    assert {(a.kind, a.model) for a in found} == {(kind, "small")}


def test_what_is_not_known_raises_nothing():
    assert made().observe_draw("small", {"length": float("nan"), "acceptance": float("nan")}) == []
    assert made().observe_draw("stranger", {"length": 3.0}) == []


def test_ranks_of_any_order_are_spread_evenly():
    for value in (lambda rng: rng.random(), lambda rng: float(rng.random() < 0.3), lambda rng: 1.0):
        rng, ranks = np.random.default_rng(4), Ranks(seed=5)
        found = np.array([ranks.rank(value(rng)) for _ in range(4_000)])
        assert np.histogram(found, bins=4, range=(0, 1))[0] == pytest.approx(np.full(4, 1_000), abs=130)


@pytest.mark.parametrize(("looks_every", "horizon"), [(1, 300), (8, 320), (8, 323)])
def test_alarms_are_the_same_one_at_a_time_and_many(looks_every, horizon):
    random = np.random.default_rng(3)
    factors = mean_factors(np.clip(random.normal(0.15, 0.5, 2_000), -1, 1))
    of = {"bets": factors.shape[1], "starts": 6, "level": 0.05, "horizon": horizon, "looks_every": looks_every}
    one, many, parts = Bettors(**of), Bettors(**of), Bettors(**of)
    expected = [i for i, factor in enumerate(factors) if one.add(factor)]
    assert len(expected) > 5
    assert [i for i, _ in many.add_all(factors)] == expected
    cuts = [0, 1, 2, 9, 500, 501, 1_999, 2_000]
    found = [low + i for low, high in itertools.pairwise(cuts) for i, _ in parts.add_all(factors[low:high])]
    assert found == expected


def test_changes_of_a_member_are_the_same_one_at_a_time_and_many():
    random = np.random.default_rng(4)
    draws = [{"length": value} for value in (*random.normal(100, 10, 900), *random.normal(180, 10, 900))]
    one, many = made(), made()
    expected = [i for i, draw in enumerate(draws) if one.observe_draw("small", draw)]
    assert expected
    assert [i for i, _ in many.observe_draws("small", draws)] == expected
