"""The bound keeps its level at the boundary, and the walk stops where it has to."""

import math

import numpy as np
import pytest

from bestroute.tuning.betting import best_log_wealth, needed_log_wealth
from bestroute.tuning.certify import Outcomes, certify_drop
from bestroute.tuning.fixed_sequence import MOST_POINTS, order_settings, passed_in_sequence
from bestroute.tuning.sample_size import draws_needed, fewest_for_budget, fewest_for_drop
from bestroute.tuning.splits import deal_parts, group_means

RUNS = 3000
LAWS = {
    "rarely a whole loss": lambda rng, shape: rng.choice([0.99, -0.01], p=[0.01, 0.99], size=shape),
    "as often better as worse": lambda rng, shape: rng.choice([1.0, 0.0, -1.0], p=[0.02, 0.96, 0.02], size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, size=shape),
    "skewed to gains": lambda rng, shape: rng.choice([0.1, -0.9], p=[0.9, 0.1], size=shape),
}


def rejected(losses, *, mean=-0.05, variance=0.02, confidence=0.95):
    guess = np.full(len(losses), mean), np.full(len(losses), variance)
    wealth = best_log_wealth(losses, largest=1.0, confidence=confidence, mean=guess[0], variance=guess[1])
    return wealth >= needed_log_wealth(confidence)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [30, 300, 1200])
@pytest.mark.parametrize("variance", [1e-6, 0.02, 1.0])
def test_a_mean_loss_of_exactly_zero_is_accepted_as_harmless_in_at_most_a_twentieth(law, n, variance):
    losses = LAWS[law](np.random.default_rng(n), (RUNS, n))
    assert rejected(losses, variance=variance).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


def test_a_plain_gain_is_recognised():
    losses = np.random.default_rng(0).choice([0.5, 0.0, -0.5], p=[0.05, 0.8, 0.15], size=(500, 400))
    assert rejected(losses).mean() > 0.95


def test_equal_answers_pass_only_beyond_the_floor():
    fewest = fewest_for_drop(1.0, 0.01, 0.95)
    equal = np.full((1, 4 * fewest), -0.01)
    assert not rejected(equal[:, :fewest], variance=1e-8)[0]
    assert rejected(equal[:, : 2 * fewest], variance=1e-8)[0]


def test_wealth_never_falls_below_what_one_loss_may_take():
    wealth = best_log_wealth(np.ones((1, 50)), largest=1.0, confidence=0.95, mean=np.zeros(1), variance=np.zeros(1))
    assert np.isfinite(wealth).all()
    assert wealth[0] == 0.0


def test_bets_do_not_look_ahead():
    first = np.random.default_rng(1).uniform(-1, 0.7, (1, 100))
    found = []
    for then in (0.0, 0.001, 0.9):  # losses alone cannot raise the maximum, so bets on the first hundred made it
        losses = np.concatenate([first, np.full((1, 100), then)], axis=1)
        wealth = best_log_wealth(losses, largest=1.0, confidence=0.999, mean=np.zeros(1), variance=np.ones(1))
        found.append(float(wealth[0]))
    assert 0.5 < found[0] < needed_log_wealth(0.999)
    assert found[0] == found[1] == found[2]


def outcomes(quality, reference):
    """One setting that costs half as much, on queries that are a group each."""
    n = len(reference)
    costs = np.full((1, n), 0.5), np.ones(n)
    return Outcomes(np.array(quality)[None], costs[0], np.array(reference), costs[1], np.arange(n))


def test_which_test_is_run_is_told_before_the_calibration_part_is_looked_at():
    # by the ordering part 60 groups are the fewest for 5 %; by the calibration part it would be 120
    order = outcomes(np.full(40, 1.0), np.full(40, 1.0))
    reference = np.tile([0.0, 1.0], 35)
    calibrate = outcomes(np.clip(reference + 0.03, 0.0, 1.03), reference)
    assert fewest_for_drop(1.0, 0.05, 0.95) == 60 <= calibrate.units < fewest_for_drop(0.5, 0.05, 0.95)
    assert certify_drop(order, calibrate, max_drop=0.05, confidence=0.95).setting == 0
    # and the other way round only a policy that is plainly better passes: this one is equal
    equal = outcomes(np.full(70, 1.0), np.full(70, 1.0))
    half = outcomes(np.tile([0.0, 1.0], 20), np.tile([0.0, 1.0], 20))
    assert certify_drop(half, equal, max_drop=0.05, confidence=0.95).setting is None
    assert certify_drop(equal, equal, max_drop=0.05, confidence=0.95).setting == 0


@pytest.mark.parametrize(
    ("quality", "drop", "draws"), [(0.8, 0.01, 375), (1.0, 0.05, 60), (0.75, 0.0, 12), (1.0, 0.0, 2**31)]
)
def test_the_floor_is_log_20_over_the_margin(quality, drop, draws):
    assert fewest_for_drop(quality, drop, 0.95) == draws


def test_the_floor_of_a_budget_is_what_free_answers_need():
    assert fewest_for_budget(0.5, 1.0, 0.95) == math.ceil(math.log(20) / math.log(2))


def test_no_number_shows_what_is_not_so():
    assert draws_needed(np.array([0.1, 0.0]), np.ones(2), 0.95).tolist() == [np.inf, np.inf]
    assert draws_needed(np.array([-0.1]), np.array([0.2]), 0.95)[0] == pytest.approx(24.73, abs=0.01)


def test_what_passes_behind_a_failure_does_not_count():
    assert passed_in_sequence(np.array([True, True, False, True])) == 2
    assert passed_in_sequence(np.array([False, True])) == 0
    assert passed_in_sequence(np.array([True])) == 1


def test_settings_are_tested_from_the_safest_towards_more_saving_and_none_twice():
    rng = np.random.default_rng(0)
    saving = np.linspace(0.0, 0.9, 200)
    losses = (saving - 0.5)[:, None] * 0.3 + rng.normal(0, 0.05, (200, 300))
    points = order_settings(losses, saving, saving >= 0.1)
    assert saving[points[0]] <= 0.12
    assert (np.diff(saving[points]) > 0).all()
    assert len(points) <= MOST_POINTS
    assert 0.5 <= saving[points].max() < 0.6  # plainly too bold ones are left out


def test_nothing_worth_promising_is_no_setting():
    assert len(order_settings(np.zeros((3, 4)), np.zeros(3), np.zeros(3, dtype=bool))) == 0


def test_parts_are_disjoint_by_group_whatever_the_order_of_the_records():
    groups = [f"g{i // 3}" for i in range(300)]
    order, rest = deal_parts(groups, seed=0)
    assert sorted([*order, *rest]) == list(range(300))
    assert not {groups[i] for i in order} & {groups[i] for i in rest}
    assert len(order) == 45
    again, _ = deal_parts(groups[::-1], seed=0)
    assert {groups[::-1][i] for i in again} == {groups[i] for i in order}


def test_a_group_is_one_draw_in_the_order_of_its_first_query():
    means = group_means(np.array([[1.0, 2.0, 4.0, 8.0]]), ["b", "a", "b", "c"])
    assert means.tolist() == [[2.5, 2.0, 8.0]]
