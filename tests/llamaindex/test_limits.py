"""What one call, and all calls, may use: the engine's limits, budgets and faults, reached through ``BestRouteLLM``."""

import asyncio
import copy
import threading
import time

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import AudioBlock, ChatMessage, CitableBlock, DocumentBlock, TextBlock
from llama_index.core.rate_limiter import TokenBucketRateLimiter
from pydantic import BaseModel, Field

import bestroute
from bestroute.testing import LoopbackServer
from bestroute.types.settings import Settings
from llamaindex_bestroute.members import OwnTurn


@pytest.fixture
def server():
    """A server of one test's own: requests that are given up go on in it, and are billed after the test."""
    with LoopbackServer() as server:
        yield server


def test_a_calls_limits_reach_the_engine_and_not_the_members(make, server, user, told):
    llm = make(("small", 5))
    assert told(llm.chat(user("x"), max_samples=2))["n"] == 2
    assert told(llm.complete("x", allow=["large"], model="large", n=1))["model"] == "large"
    assert all("max_samples" not in body for body in server.sent())
    with pytest.raises(bestroute.BudgetError):
        llm.chat(user("x"), max_cost_usd=0.0)
    with pytest.raises(bestroute.ConfigError, match="max_samples must be a whole number"):
        llm.chat(user("x"), max_samples=0)


async def test_a_deadline_ends_a_slow_call(make, like, user):
    llm = make(models={"small": like("slow-60000-x")})
    started = time.perf_counter()
    with pytest.raises(TimeoutError):
        await llm.achat(user("x"), deadline_s=0.2)
    assert time.perf_counter() - started < 50


class Shut(TokenBucketRateLimiter):
    """Lets threads through once it is opened, and tasks never."""

    def acquire(self, num_tokens=0):
        OPENED.wait(30)

    async def async_acquire(self, num_tokens=0):
        REACHED.set()
        await asyncio.Event().wait()


OPENED, REACHED = threading.Event(), asyncio.Event()


@pytest.mark.parametrize("way", ["chat", "stream_chat", "achat", "astream_chat", "task"])
async def test_a_draw_that_waits_for_its_members_limiter_is_never_sent_once_nobody_waits_for_it(
    make, like, server, user, way, own_threads
):
    OPENED.clear()
    llm = make(models={"small": like("small-mini", rate_limiter=Shut(requests_per_minute=1))})

    async def ask():
        if way == "chat":
            llm.chat(user("x"), deadline_s=0.5)
        elif way == "stream_chat":
            list(llm.stream_chat(user("x"), deadline_s=0.5))
        elif way == "achat":
            await llm.achat(user("x"), deadline_s=0.5)
        elif way == "task":
            REACHED.clear()
            task = asyncio.ensure_future(llm.achat(user("x")))
            await REACHED.wait()
            task.cancel()
            await task
        else:
            async for _ in await llm.astream_chat(user("x"), deadline_s=0.5):
                pass

    with pytest.raises(asyncio.CancelledError if way == "task" else TimeoutError):
        await ask()
    OPENED.set()
    while own_threads():
        await asyncio.sleep(0.01)
    (row,) = llm.ledger.rows()
    assert (row["status"], row["cost_usd"]) == ("cancelled", 0)
    assert not server.requests


def test_a_limiter_in_its_members_place_is_copied_whole():
    turn = copy.copy(OwnTurn(Shut(requests_per_minute=1)))
    assert isinstance(turn, OwnTurn)
    assert turn.requests_per_minute == 1


def test_settings_reach_the_engine(make, like, server, user):
    llm = make(models={"small": like("fail-503-x")}, settings=Settings(attempts=2, first_wait_s=0.0))
    with pytest.raises(Exception, match="503"):
        llm.chat(user("x"))
    assert len(server.requests) == 2


def test_a_budget_of_all_calls_refuses_what_does_not_fit(make, user):
    llm = make(budget=1e-9)
    with pytest.raises(bestroute.BudgetError):
        llm.chat(user("x"))


def test_copies_share_one_budget(make, user):
    llm = make(budget=1.0)
    for copied in (llm.model_copy(), llm.model_copy(update={"temperature": 0.5})):
        copied.chat(user("x"))
    assert llm.engine.budget.spent_usd == pytest.approx(llm.ledger.cost_usd)
    assert llm.to_dict()["budget"] == 1.0


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (2, 3)])
def test_the_engine_retries_and_the_members_do_not(make, like, server, user, retries, requests):
    llm = make(models={"small": like("fail-503-x", max_retries=5)}, max_retries=retries)
    with pytest.raises(Exception, match="503"):
        llm.chat(user("x"))
    assert len(server.requests) == requests


def test_a_failed_member_gives_way_to_the_reference_and_it_is_said(make, like, user, told):
    llm = make(models={"small": like("fail-500-x"), "large": like("large-max")}, max_retries=0)
    for response in (llm.chat(user("x")), list(llm.stream_chat(user("x")))[-1]):
        assert response.message.content.startswith("[large-max")
        assert "small" in told(response)["reason"]


def test_a_tool_turn_whose_member_fails_restarts_on_the_reference(make, like, server, told):
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.core.tools import FunctionTool

    def add(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    tools = [FunctionTool.from_defaults(add)]
    llm = make(models={"small": like("small-mini"), "large": like("large-max")}, max_retries=0)
    history = [ChatMessage(role="user", content='CALL add({"a": 2, "b": 3})')]
    response = llm.chat_with_tools(tools, chat_history=history)
    (call,) = llm.get_tool_calls_from_response(response)
    result = ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": call.tool_id})
    server.script("small-mini", [{"status": 500}])
    response = llm.chat_with_tools(tools, chat_history=[*history, response.message, result])
    assert told(response)["model"] == "large"
    assert "tool said: 5" in response.message.content
    sent = server.sent()[-1]["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] != call.tool_id


def test_a_timeout_wins_over_the_members_own(make, like, user):
    member = like("slow-60000-x", timeout=30)
    llm = make(models={"small": member}, timeout=0.2, max_retries=0)
    with pytest.raises(Exception, match="timed out"):
        llm.chat(user("x"))
    assert member.timeout == 30


@pytest.mark.parametrize(
    "block",
    [
        DocumentBlock(data=b"twelve times seven " * 2000, title="a.txt", document_mimetype="text/plain"),
        DocumentBlock(data=b"%PDF" + b"1" * 1_000_000, title="a.pdf", document_mimetype="application/pdf"),
        AudioBlock(audio=b"1" * 5_000_000, format="wav"),
        CitableBlock(title="a", source="b", content=[TextBlock(text="twelve times seven " * 2000)]),
    ],
    ids=lambda block: block.block_type,
)
def test_every_block_counts_in_the_prompt(make, block):
    llm = make(("large", 1))
    message = ChatMessage(role="user", blocks=[block, TextBlock(text="what is this?")])
    with pytest.raises(bestroute.BudgetError):
        llm.chat([message], max_cost_usd=0.005)
    assert llm.ledger.rows() == []


def test_the_schema_of_an_object_counts_in_the_prompt(make):
    class Answer(BaseModel):
        value: int = Field(description="twelve times seven " * 2000)

    with pytest.raises(bestroute.BudgetError):
        make(("large", 1)).structured_predict(Answer, PromptTemplate("hi"), llm_kwargs={"max_cost_usd": 0.005})
