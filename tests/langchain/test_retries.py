"""Members' own retries are off while the router samples; the caller's objects are not changed."""

import asyncio

import openai
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from bestroute.testing import LoopbackServer
from langchain_bestroute.members import Quiet, with_own_connections, without_retries

HELLO = [HumanMessage("hello")]


def clients_of(member):
    return [member.root_client, member.root_async_client, member.client, member.async_client]


def test_a_failing_member_is_asked_once_a_sample(make, openai_model, server):
    member = openai_model("fail-503-x", max_retries=5)
    with pytest.raises(openai.InternalServerError):
        make(models={"small": member}, prices={"small": make().prices["small"]}).engine.generators["small"].generate(
            _query(), 1, params={}, cancel=None
        )
    assert len(server.requests) == 1


async def test_the_same_in_async_and_in_streams(make, openai_model, server):
    member = openai_model("fail-503-x", max_retries=5)
    generator = make(models={"small": member}, prices={"small": make().prices["small"]}).engine.generators["small"]
    with pytest.raises(openai.InternalServerError):
        await generator.agenerate(_query(), 1, params={}, cancel=None)
    with pytest.raises(openai.InternalServerError):
        list(generator.stream(_query(), params={}, cancel=None))
    with pytest.raises(openai.InternalServerError):
        [piece async for piece in generator.astream(_query(), params={}, cancel=None)]
    assert len(server.requests) == 3


def _query():
    from bestroute import Query

    return Query("hello", messages=HELLO)


def test_the_callers_object_keeps_its_retries(openai_model, server):
    member = openai_model("flaky-1-x", max_retries=2)
    before = dict(member.__dict__)
    quiet = without_retries(member)
    assert [c.max_retries for c in (quiet.root_client, quiet.root_async_client)] == [0, 0]
    assert [c._client.max_retries for c in (quiet.client, quiet.async_client)] == [0, 0]
    assert member.__dict__ == before
    assert member.root_client.max_retries == 2
    assert "flaky-1-x" in member.invoke("hello").text


def test_the_copy_shares_the_connections_and_what_the_user_has_set(openai_model):
    member = openai_model("x", max_retries=2, temperature=0.5)
    quiet = without_retries(member)
    assert quiet.root_client._client is member.root_client._client
    assert quiet.model_fields_set == member.model_fields_set
    assert (quiet.temperature, quiet.model_name) == (0.5, "x")


def test_a_change_of_the_member_reaches_the_copy(openai_model):
    member = openai_model("x", max_retries=2)
    quiet = Quiet(member)
    first = quiet.get()
    assert quiet.get() is first
    member.temperature = 0.7
    assert (quiet.get().temperature, quiet.get().max_retries) == (0.7, 0)


def test_a_timeout_of_the_router_wins_over_the_members(openai_model):
    quiet = without_retries(openai_model("x", timeout=60), timeout=3.0)
    assert (quiet.root_client.timeout, quiet.root_async_client.timeout, quiet.request_timeout) == (3.0, 3.0, 3.0)
    by_parts = pytest.importorskip("httpx").Timeout(7.0, connect=1.0)
    assert without_retries(openai_model("x"), timeout=by_parts).root_client.timeout == by_parts


async def test_a_timeout_is_kept_on_the_wire(make, openai_model, server):
    chat = make(models={"small": openai_model("slow-3000-x")}, prices=make().prices, timeout=0.1, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        await chat.ainvoke("x", model="small")
    while server.inflight:  # its bill is not to fall into the next test
        await asyncio.sleep(0.02)


def test_anthropic_members_are_asked_once_too(make, server):
    anthropic = pytest.importorskip("anthropic")
    models = pytest.importorskip("langchain_anthropic")
    member = models.ChatAnthropic(model="fail-529-x", base_url=server.root_url, api_key="k", max_retries=4)
    generator = make(models={"small": member}, prices={"small": make().prices["small"]}).engine.generators["small"]
    with pytest.raises(anthropic.APIStatusError, match="529"):
        generator.generate(_query(), 1, params={}, cancel=None)
    assert len(server.requests) == 1
    assert member.max_retries == 4


def test_a_member_without_retries_is_used_as_it_is():
    member = FakeListChatModel(responses=["x"])
    assert without_retries(member) is member


def test_a_second_event_loop_works(make):
    """With openai 3 the plain model fails there."""
    with LoopbackServer() as own:
        member = ChatOpenAI(model="small-mini", base_url=own.base_url, api_key="k", max_retries=0)
        chat = make(("small", 2), models={"small": member}, max_retries=0)
        answers = [asyncio.run(chat.ainvoke(f"question {i}")) for i in range(3)]
        samples = [s for a in answers for s in a.response_metadata["bestroute"]["samples"]]
        assert [s["error"] for s in samples] == [None] * 6

        async def read():
            return "".join([chunk.text async for chunk in chat.astream("x", n=1)])

        assert all("small-mini" in asyncio.run(read()) for _ in range(2))


def test_a_second_loop_works_for_another_member_of_the_same_address(make):
    """``langchain-openai`` gives both the same connections."""
    with LoopbackServer() as own:

        def asked(model):
            member = ChatOpenAI(model=model, base_url=own.base_url, api_key="k", max_retries=0)
            chat = make(("small", 2), models={"small": member}, max_retries=0)
            return asyncio.run(chat.ainvoke("x")).response_metadata["bestroute"]["samples"]

        assert [sample["error"] for model in ("a", "b") for sample in asked(model)] == [None] * 4


def test_connections_of_a_later_loop_are_closed_when_it_ends():
    with LoopbackServer() as own:
        quiet, opened = Quiet(ChatOpenAI(model="small-mini", base_url=own.base_url, api_key="k")), []

        async def ask():
            member = quiet.aget()
            opened.append(member.root_async_client._client)
            assert (await member._agenerate(HELLO)).generations

        for _ in range(3):
            asyncio.run(ask())
    assert [connections.is_closed for connections in opened] == [False, True, True]  # the first are the member's own
    assert len(quiet._abroad) == 1


async def test_the_first_loop_shares_the_members_connections_another_has_its_own(openai_model):
    quiet = Quiet(openai_model("x"))
    here = quiet.aget()
    assert quiet.aget() is here is quiet.get()
    assert here.root_async_client._client is quiet.member.root_async_client._client

    def elsewhere():
        async def both():
            return quiet.aget(), quiet.aget()

        return asyncio.run(both())

    first, second = await asyncio.to_thread(elsewhere)
    assert first is second
    assert first is not here
    assert first.root_async_client._client is not here.root_async_client._client
    assert first.root_client is quiet.get().root_client
    assert first.root_async_client.max_retries == 0


async def test_connections_that_the_user_made_are_kept(openai_model):
    httpx = pytest.importorskip("httpx")
    async with httpx.AsyncClient() as own:
        member = without_retries(openai_model("x", http_async_client=own))
        assert with_own_connections(member) is member
