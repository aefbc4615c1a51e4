"""The first draw of a member is greedy where a plan may draw several times, and nowhere else."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from bestroute import (
    BestRoute,
    Candidate,
    ConfigError,
    Endpoint,
    OpenAIGenerator,
    Plan,
    Pool,
    Price,
    QualityPolicy,
    Query,
    Settings,
    Step,
)
from bestroute.billing.expected_cost import billed_calls, plan_costs
from bestroute.testing import FakeGenerator, FakeReward, FakeRouter, LoopbackServer

PRICES = {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}
NEVER = FakeReward(lambda text: 0.0, is_probability=True)


@pytest.fixture
def server():
    with LoopbackServer() as serving:
        yield serving


def on(server, plan, *, bills="per_sample", small="small", large="large", reward=NEVER, own=None, **options):
    pool = Pool(["small", "large"], PRICES, "large", bills_input=bills)
    params = {"temperature": 0.8} if own is None else own
    members = {
        name: OpenAIGenerator(model, base_url=server.base_url, api_key="k", native_n=bills == "once", params=params)
        for name, model in (("small", small), ("large", large))
    }
    return BestRoute(pool, members, router=lambda query: plan, reward_model=reward, **options)


def drawn_at(server):
    return [(body["model"], body.get("n") or 1, body.get("temperature")) for body in server.sent()]


def modes(result):
    return [sample.signals.mode for sample in result.samples]


def test_the_first_of_n_draws_is_greedy_and_the_others_at_the_members_temperature(server):
    result = on(server, ("small", 3)).run("hi")
    assert Counter(drawn_at(server)) == {("small", 1, 0.0): 1, ("small", 1, 0.8): 2}
    assert modes(result) == ["greedy", "sampled", "sampled"]


def test_draws_one_by_one_begin_greedily_and_so_does_every_member(server):
    plan = Plan((Step("small", 2, accept=0.9), Step("large")))
    result = on(server, plan).run("hi")
    assert drawn_at(server) == [("small", 1, 0.0), ("small", 1, 0.8), ("large", 1, 0.0)]
    assert modes(result) == ["greedy", "sampled", "greedy"]


def test_a_member_that_comes_twice_in_a_plan_is_greedy_once(server):
    plan = Plan((Step("small", 1, accept=0.9), Step("large", 1, accept=0.9), Step("small", 2)))
    on(server, plan).run("hi")
    assert drawn_at(server)[:2] == [("small", 1, 0.0), ("large", 1, 0.0)]
    assert drawn_at(server)[2:] == [("small", 1, 0.8)] * 2


def test_a_plan_of_one_draw_is_what_its_member_does_alone(server):
    result = on(server, ("small", 1)).run("hi")
    assert drawn_at(server) == [("small", 1, 0.8)]
    assert modes(result) == ["sampled"]


def test_where_one_draw_is_all_that_is_allowed_it_is_what_the_member_does_alone(server):
    on(server, ("small", 3)).run("hi", max_samples=1)
    assert drawn_at(server) == [("small", 1, 0.8)]


def test_one_reference_in_a_failed_plans_place_draws_as_it_does_alone(server):
    on(server, ("small", 2), small="fail-503-small", settings=Settings(attempts=1)).run("hi")
    assert drawn_at(server)[-1] == ("large", 1, 0.8)


ALWAYS = Settings(greedy_first="always")


def test_n_choices_of_one_request_are_one_request_at_the_members_temperature(server):
    result = on(server, ("small", 4), bills="once").run("hi")
    assert drawn_at(server) == [("small", 4, 0.8)]
    assert modes(result) == ["sampled"] * 4


def test_a_member_of_one_request_begins_greedily_where_it_draws_one_by_one(server):
    on(server, Plan((Step("small", 2, accept=0.9), Step("large"))), bills="once").run("hi")
    assert drawn_at(server) == [("small", 1, 0.0), ("small", 1, 0.8), ("large", 1, 0.0)]


def test_always_makes_n_choices_of_one_request_one_greedy_and_the_rest(server):
    result = on(server, ("small", 4), bills="once", settings=ALWAYS).run("hi")
    assert Counter(drawn_at(server)) == {("small", 1, 0.0): 1, ("small", 3, 0.8): 1}
    assert modes(result) == ["greedy"] + ["sampled"] * 3
    prompts = sum(bill.input_tokens for bill in server.bills)
    assert (prompts, result.usage.input) == (2, 2)


def test_async_draws_begin_greedily_too(server):
    async def run():
        async with on(server, ("small", 3), bills="once", settings=ALWAYS) as engine:
            return await engine.arun("hi")

    assert modes(asyncio.run(run())) == ["greedy", "sampled", "sampled"]


@pytest.mark.parametrize("params", [{"temperature": 0.3}, {"extra_body": {"temperature": 0.3}}, {"temperature": 1}])
def test_a_caller_who_sets_the_temperature_has_it_in_every_draw(server, params):
    result = on(server, ("small", 3), bills="once", settings=ALWAYS).run(Query("hi", params=params))
    assert [n for _, n, _ in drawn_at(server)] == [3]
    assert drawn_at(server)[0][2] == params.get("temperature", 0.3)
    assert modes(result) == ["sampled"] * 3


def test_a_caller_who_sets_it_to_0_draws_greedily(server):
    result = on(server, ("small", 2)).run(Query("hi", params={"temperature": 0}))
    assert modes(result) == ["greedy"] * 2


def test_the_setting_turns_it_off(server):
    on(server, ("small", 3), settings=Settings(greedy_first=False)).run("hi")
    assert drawn_at(server) == [("small", 1, 0.8)] * 3


def test_the_setting_is_checked():
    with pytest.raises(ConfigError, match="greedy_first must be True, False or 'always', got 'yes'"):
        Settings(greedy_first="yes")


@pytest.mark.parametrize("own", [{"temperature": 0}, {"reasoning_effort": "low"}])
def test_a_member_that_is_greedy_or_reasons_already_draws_as_it_does(server, own):
    on(server, ("small", 3), bills="once", own=own, settings=ALWAYS).run("hi")
    assert [n for _, n, _ in drawn_at(server)] == [3]


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5-nano", "openai/o4-mini", "deepseek-reasoner"])
def test_models_that_reason_are_never_asked_for_it(server, model):
    on(server, ("small", 2), small=model, own={}).run("hi")
    assert drawn_at(server) == [(model, 1, None)] * 2


def test_a_member_that_refuses_it_keeps_its_own_and_is_not_asked_again(server):
    options = {"small": "refuse-temperature-small", "own": {}, "bills": "once", "settings": ALWAYS}
    engine = on(server, ("small", 3), **options)
    first, second = engine.run("hi"), engine.run("ho")
    assert modes(first) == modes(second) == ["sampled"] * 3
    sizes = Counter((n, t) for _, n, t in drawn_at(server))
    assert sizes == {(1, 0.0): 1, (1, None): 1, (2, None): 1, (3, None): 1}


def test_a_member_that_dislikes_the_value_keeps_its_own(server):
    result = on(server, ("small", 2), small="reasoning-small", own={}).run("hi")
    assert modes(result) == ["sampled", "sampled"]
    assert result.cost_usd > 0


def test_a_generator_whose_temperature_cannot_be_set_is_asked_as_ever():
    small = FakeGenerator(["a", "b", "c"], native_n=True)
    pool = Pool(["small", "large"], PRICES, "large", bills_input="once")
    engine = BestRoute(
        pool, {"small": small, "large": small}, router=lambda q: ("small", 3), reward_model=FakeReward(len)
    )
    engine.run("hi")
    assert (small.calls, small.params) == ([("hi", 3)], [{}])


def test_a_shipped_fake_has_a_greedy_answer():
    small = FakeGenerator(["a", "b"], greedy="greedy")
    engine = BestRoute(
        Pool(["small"], {"small": Price(1, 1)}, "small"),
        {"small": small},
        router=lambda q: ("small", 3),
        reward_model=FakeReward(len),
    )
    result = engine.run("hi")
    assert sorted(s.text for s in result.samples) == ["a", "b", "greedy"]
    assert (result.samples[0].text, modes(result)) == ("greedy", ["greedy", "sampled", "sampled"])


def test_a_failed_greedy_draw_is_greedy_again(server):
    server.script("small", [{"status": 500}, "a", "b"])
    on(server, ("small", 2), settings=Settings(first_wait_s=0, concurrency=1)).run("hi")
    assert Counter(t for _, _, t in drawn_at(server))[0.0] in (1, 2)
    assert Counter(t for _, _, t in drawn_at(server)).total() == 3


# What it is expected to cost is what it costs.


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("greedy_first", [True, False, "always"])
@pytest.mark.parametrize("bills", ["once", "per_sample"])
def test_the_expected_cost_counts_the_prompts_that_are_billed(server, n, greedy_first, bills):
    plan = Plan.of(Candidate("small", n))
    router = FakeRouter({plan: (0.9, 0.9), Plan.of(Candidate("large")): (1.0, 0.5)}, [4.0, 4.0])
    pool = Pool(["small", "large"], PRICES, "large", bills_input=bills)
    members = {
        m: OpenAIGenerator(m, base_url=server.base_url, api_key="k", native_n=bills == "once") for m in pool.models
    }
    engine = BestRoute(
        pool,
        members,
        router,
        FakeReward(len),
        QualityPolicy(1.0),
        settings=Settings(greedy_first=greedy_first),
    )
    server.script("small", ["four words of text"] * n)
    result = engine.run(Query("three words here", input_tokens=3))
    expected = result.decision.costs_usd[result.decision.column]
    assert result.cost_usd == pytest.approx(expected)
    assert result.cost_usd == pytest.approx(sum(b.input_tokens * 1e-6 + b.output_tokens * 2e-6 for b in server.bills))


def test_a_greedy_request_bills_one_prompt_more_and_never_more_than_one_a_sample():
    import numpy as np

    plans = tuple(Plan.of(Candidate("small", n)) for n in (1, 2, 5))
    draws = np.array([[[1.0], [2.0], [5.0]]])
    assert billed_calls(plans, draws, ["small"])[0, :, 0].tolist() == [1, 1, 1]
    assert billed_calls(plans, draws, ["small"], ["small"])[0, :, 0].tolist() == [1, 2, 2]
    assert billed_calls(plans, draws, [], ["small"])[0, :, 0].tolist() == [1, 2, 5]
    pool = Pool(["small"], {"small": Price(1.0, 0.0)}, "small", bills_input="once", endpoints={"small": Endpoint()})
    costs = plan_costs(plans, draws, np.array([[1.0]]), np.array([1e6]), pool, greedy_apart=["small"])
    assert costs[0].tolist() == [1.0, 2.0, 2.0]
