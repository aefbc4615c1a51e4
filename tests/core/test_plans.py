import pytest

from bestroute import Candidate, ConfigError, Plan, Step
from bestroute.types.plans import as_plan


def test_a_candidate_is_the_plan_of_one_step_without_acceptance():
    plan = Plan.of(Candidate("small", 3))
    assert plan == Plan((Step("small", 3),))
    assert plan.candidate == Candidate("small", 3)
    assert Plan((Step("small", 3, 0.5),)).candidate is None


@pytest.mark.parametrize("n", [0, -1])
def test_n_must_be_at_least_one(n):
    with pytest.raises(ConfigError, match=rf"Candidate 'small': n must be >= 1, got {n}"):
        Candidate("small", n)


@pytest.mark.parametrize("n", [1.5, "2", True, None])
def test_n_must_be_a_whole_number(n):
    with pytest.raises(ConfigError, match="whole number"):
        Step("small", n)


@pytest.mark.parametrize("accept", [-0.1, 1.1, float("nan"), "high"])
def test_accept_must_be_in_the_unit_interval(accept):
    with pytest.raises(ConfigError, match=r"accept must be in \[0, 1\]"):
        Step("small", 1, accept)


def test_only_the_last_step_may_do_without_accept():
    with pytest.raises(ConfigError, match="step 1 of 2"):
        Plan((Step("small", 2), Step("large", 1)))
    with pytest.raises(ConfigError, match="at least one step"):
        Plan(())


def test_a_plan_is_scored_if_there_is_a_choice_or_an_acceptance():
    assert not Plan((Step("small", 1),)).is_scored
    assert Plan((Step("small", 2),)).is_scored
    assert Plan((Step("small", 1, 0.5),)).is_scored


def test_what_a_router_function_may_return():
    wanted = Plan((Step("small", 2),))
    assert as_plan("small") == Plan((Step("small"),))
    assert as_plan(("small", 2)) == as_plan(Candidate("small", 2)) == as_plan(wanted) == wanted
    with pytest.raises(ConfigError, match=r"name of a pool member, \(model, n\), a Candidate or a Plan, got 7"):
        as_plan(7)
