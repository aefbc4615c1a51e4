"""Limits, faults and money reach the engine through the chat model: sync, async, streaming, in batches, bound."""

import asyncio
import threading

import openai
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.rate_limiters import BaseRateLimiter

from bestroute import Budget, BudgetError, ConfigError, Ledger, Plan, Price, Settings, Step, Verifier
from bestroute.testing import LoopbackServer

FAST = Settings(first_wait_s=0.001, max_wait_s=0.01)
WAYS = ["invoke", "ainvoke", "stream", "astream", "batch", "bound"]


@pytest.fixture
def call(joined):
    """Call a chat model one way or another; returns the message."""

    async def one(chat, way, text="hello you", **limits):
        if way == "ainvoke":
            return await chat.ainvoke(text, **limits)
        if way == "astream":
            return joined([chunk async for chunk in chat.astream(text, **limits)])
        ways = {
            "invoke": lambda: chat.invoke(text, **limits),
            "stream": lambda: joined(list(chat.stream(text, **limits))),
            "batch": lambda: chat.batch([text], **limits)[0],
            "bound": lambda: chat.bind(**limits).invoke(text),
        }
        return ways[way]()

    return one


@pytest.mark.parametrize("way", WAYS)
async def test_max_samples_reaches_the_engine_and_not_the_members(way, call, make, told, server):
    message = await call(make(("small", 4)), way, max_samples=2)
    assert told(message)["n"] == len(server.requests) == 2
    assert all("max_samples" not in body for body in server.sent())


@pytest.mark.parametrize("way", WAYS)
async def test_max_cost_usd_is_kept_to(way, call, make, told, server):
    chat = make(("small", 5))
    price = told(await call(chat, way, max_samples=1))["cost_usd"]
    server.reset()
    message = await call(chat, way, max_cost_usd=2.5 * price)
    assert told(message)["cost_usd"] <= 2.5 * price
    assert told(message)["n"] == 2
    with pytest.raises(BudgetError, match="nothing was drawn"):
        await call(chat, way, max_cost_usd=1e-12)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_deadline_ends_the_call(way, call, make, openai_model):
    with LoopbackServer() as server:  # what is abandoned hangs there, not on the server of other tests
        slow = openai_model("slow-60000-x", base_url=server.base_url)
        with pytest.raises(TimeoutError):
            await call(make(models={"small": slow, "large": openai_model("large")}), way, deadline_s=0.1)


class Shut(BaseRateLimiter):
    """Lets threads through once it is opened, and tasks never."""

    def __init__(self):
        self.opened, self.left, self.reached = threading.Event(), threading.Event(), asyncio.Event()

    def acquire(self, *, blocking=True):
        self.opened.wait(30)
        self.left.set()
        return True

    async def aacquire(self, *, blocking=True):
        self.reached.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_draw_that_waits_for_its_members_limiter_at_the_deadline_is_never_sent(
    way, call, make, openai_model, server, own_threads
):
    shut = Shut()
    models = {"small": openai_model("small-mini", rate_limiter=shut), "large": openai_model("large-max")}
    chat = make(models=models)
    with pytest.raises(TimeoutError):
        await call(chat, way, deadline_s=0.5)
    shut.opened.set()
    if way in ("invoke", "stream"):
        assert shut.left.wait(30)
    while own_threads():
        await asyncio.sleep(0.01)
    (row,) = chat.ledger.rows()
    assert (row["status"], row["cost_usd"]) == ("cancelled", 0)
    assert not server.requests


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
async def test_a_cancelled_task_that_waits_for_its_members_limiter_costs_nothing(way, call, make, openai_model, server):
    shut = Shut()
    models = {"small": openai_model("small-mini", rate_limiter=shut), "large": openai_model("large-max")}
    chat = make(models=models)
    task = asyncio.ensure_future(call(chat, way))
    await shut.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = chat.ledger.rows()
    assert (row["status"], row["cost_usd"]) == ("cancelled", 0)
    assert not server.requests


@pytest.mark.parametrize("way", WAYS)
async def test_an_allow_list_is_obeyed(way, call, make, told, server):
    message = await call(make(("large", 1)), way, allow=["small"])
    assert told(message)["model"] == "small"
    assert {body["model"] for body in server.sent()} == {"small-mini"}


def test_a_wave_is_drawn_at_the_same_time(make, told, server):
    plan = Plan((Step("small", 3, 1.0), Step("large")))
    chat = make(lambda query: plan, reward_model=Verifier(lambda query, text: "q=0.95" in text))
    assert told(chat.invoke("hi"))["n"] == 2
    server.reset()
    assert told(chat.invoke("hi", wave=3))["n"] == 3


@pytest.mark.parametrize("way", WAYS)
async def test_only_the_accepted_answer_is_seen(way, call, make, told):
    plan = Plan((Step("small", 2, 1.0), Step("large")))
    message = await call(make(lambda query: plan, reward_model=Verifier(lambda q, text: "large-max" in text)), way)
    assert message.text.count("[") == 1
    assert told(message)["model"] == "large"
    assert [s["accepted"] for s in told(message)["samples"]] == [False, False, False]


@pytest.mark.parametrize("way", WAYS)
async def test_a_member_that_fails_is_replaced_and_the_metadata_says_so(way, call, make, openai_model, told, server):
    members = {"small": openai_model("fail-503-x"), "large": openai_model("large-max")}
    ledger = Ledger()
    message = await call(make(models=members, settings=FAST, ledger=ledger), way)
    assert told(message)["model"] == "large"
    assert "'small' failed (" in told(message)["reason"]
    assert "Error code: 503" in told(message)["reason"]
    assert [s["error"] is None for s in told(message)["samples"]] == [False] * 3 + [True]
    assert message.usage_metadata["total_tokens"] == server.usage["input"] + server.usage["output"]
    assert [row["status"] for row in ledger.rows()] == ["failed"] * 3 + ["ok"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_keeps_the_last_members_own_type(way, call, make, openai_model):
    failing = {"small": openai_model("fail-503-x"), "large": openai_model("fail-429-y")}
    with pytest.raises(openai.RateLimitError) as caught:
        await call(make(models=failing, settings=FAST), way)
    assert len(caught.value.__cause__.failures) == 6
    with pytest.raises(openai.AuthenticationError):
        await call(make(models={**failing, "small": openai_model("fail-401-x")}, settings=FAST), way)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_forced_model_never_falls_back(way, call, make, openai_model, server):
    members = {"small": openai_model("fail-503-x"), "large": openai_model("large-max")}
    with pytest.raises(openai.InternalServerError):
        await call(make(models=members, settings=FAST), way, model="small")
    assert {body["model"] for body in server.sent()} == {"fail-503-x"}


@pytest.mark.parametrize(("max_retries", "requests"), [(0, 1), (2, 3)])
def test_max_retries_is_the_engines_and_the_members_own_are_off(max_retries, requests, make, openai_model, server):
    members = {"small": openai_model("fail-503-x", max_retries=7)}
    chat = make(models=members, prices={"small": Price(1, 2)}, max_retries=max_retries, settings=FAST)
    with pytest.raises(openai.InternalServerError):
        chat.invoke("hi")
    assert len(server.requests) == requests


def test_a_run_has_a_budget(make, told):
    price = told(make().invoke("hello you"))["cost_usd"]
    budget = Budget(3 * price)
    chat = make(budget=budget)
    spent = [told(chat.invoke("hello you"))["cost_usd"] for _ in range(3)]
    assert sum(spent) == pytest.approx(budget.spent_usd, abs=1e-12)
    budget.settle(0.0, budget.left_usd)  # another chat model spends the rest
    with pytest.raises(BudgetError):
        chat.invoke("hello you")


def test_a_stream_that_dies_before_its_first_token_is_replaced(make, openai_model, told, joined):
    members = {"small": openai_model("drop-0-x"), "large": openai_model("large-max")}
    message = joined(list(make(models=members, settings=FAST).stream("one two three")))
    assert told(message)["model"] == "large"
    assert message.text.count("[large-max#0]") == 1


def test_a_limit_that_makes_no_sense_is_named(make):
    with pytest.raises(ConfigError, match="max_samples must be a whole number >= 1"):
        make().invoke("hi", max_samples=0)
    with pytest.raises(ConfigError, match="allow must be a sequence"):
        make().invoke("hi", allow="small")


def test_a_dry_run_calls_nobody(make, server):
    message = make(settings=Settings(dry_run=True)).invoke("hi")
    assert message.text.startswith("dry run: small x 1")
    assert server.requests == []


def test_members_without_usage_and_without_streams_keep_to_the_rules(make, told):
    members = {"small": FakeListChatModel(responses=["", "a b"]), "large": FakeListChatModel(responses=["c"])}
    message = make(models=members, settings=FAST).invoke("hi")
    assert message.text == "a b"
    assert [s["cost_usd"] > 0 for s in told(message)["samples"]] == [True, True]
