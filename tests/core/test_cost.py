import numpy as np
import pytest

from bestroute import Candidate, Plan, Pool, Price, Step
from bestroute.billing.expected_cost import plan_costs


def cost(plans, draws, pool, *, tokens=(100.0, 200.0), prompt=1000.0):
    return plan_costs(plans, np.array([draws]), np.array([tokens]), np.array([prompt]), pool)[0]


def make(bills_input):
    return Pool(["small", "large"], {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}, "large", 5, bills_input)


def test_n_calls_bill_the_prompt_n_times():
    plans = [Plan.of(Candidate("small", 3))]
    assert cost(plans, [[3.0]], make("per_sample"))[0] == pytest.approx((3 * 1000 * 1 + 3 * 100 * 2) / 1e6)


def test_one_call_of_n_choices_bills_the_prompt_once():
    plans = [Plan.of(Candidate("small", 3))]
    assert cost(plans, [[3.0]], make("once"))[0] == pytest.approx((1000 * 1 + 3 * 100 * 2) / 1e6)


def test_samples_that_wait_for_acceptance_bill_the_prompt_each():
    plan = Plan((Step("small", 3, 0.9), Step("large", 1)))
    # 1.8 draws of small expected, the reference reached 40 % of the time
    expected = (1.8 * (1000 * 1 + 100 * 2) + 0.4 * (1000 * 10 + 200 * 20)) / 1e6
    assert cost([plan], [[1.8, 0.4]], make("once"))[0] == pytest.approx(expected)
    assert cost([plan], [[1.8, 0.4]], make("per_sample"))[0] == pytest.approx(expected)


def test_a_last_step_that_is_reached_sometimes_bills_its_one_prompt_that_often():
    plan = Plan((Step("small", 1, 0.9), Step("large", 4)))
    # reached half the time: 2 draws expected, half a prompt
    expected = (1000 * 1 + 100 * 2 + 0.5 * 1000 * 10 + 2 * 200 * 20) / 1e6
    assert cost([plan], [[1.0, 2.0]], make("once"))[0] == pytest.approx(expected)


def test_a_long_prompt_makes_best_of_n_by_calls_dearer_than_the_reference():
    pool = Pool(["small", "large"], {"small": Price(1.0, 1.0), "large": Price(3.0, 6.0)}, "large")
    plans = [Plan.of(Candidate("small", 5)), Plan.of(Candidate("large"))]
    short = cost(plans, [[5.0], [1.0]], pool, tokens=(300.0, 300.0), prompt=20.0)
    long = cost(plans, [[5.0], [1.0]], pool, tokens=(300.0, 300.0), prompt=2000.0)
    assert short[0] < short[1]
    assert long[0] > long[1]
