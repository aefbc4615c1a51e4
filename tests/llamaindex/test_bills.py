"""What a call leaves in the ledger, whatever becomes of it; and what copies share with their origin."""

import copy
import logging
from contextlib import aclosing, suppress
from typing import Any

import httpx
import openai
import pytest
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.llms.openai_like import OpenAILike

from bestroute import BestRouteError, Ledger, Price, Settings

from .. import shared_bills as shared

# Sharing.

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "max_n": lambda llm: llm.model_copy(update={"max_n": 3}),
    "temperature": lambda llm: llm.model_copy(update={"temperature": 0.5}),
    "max_retries": lambda llm: llm.model_copy(update={"max_retries": 0}),
    "timeout": lambda llm: llm.model_copy(update={"timeout": 9.0}),
}


def small_of(make, like, model, **options):
    return make(("small", 1), models={"small": like(model), "large": like("large-max")}, **options)


@pytest.mark.parametrize("how", COPIES)
def test_a_breaker_that_opens_in_a_copy_is_open_in_the_origin(make, like, user, server, how):
    llm = small_of(make, like, "fail-500-x", settings=shared.FAILS_TWICE, ledger=Ledger(), budget=5.0)
    shared.a_breaker_is_open_for_both(llm, COPIES[how](llm), lambda router: router.chat(user("hi")), server)


@pytest.mark.parametrize("how", COPIES)
def test_a_limit_of_concurrency_holds_over_copies(make, like, user, server, how):
    llm = small_of(make, like, "slow-60-small", settings=Settings(concurrency=2))
    shared.two_at_a_time_are_asked(llm, COPIES[how](llm), lambda router: router.chat(user("hi")), server)


@pytest.mark.parametrize("how", ["copy", "deepcopy", "max_n", "max_retries"])
def test_copies_have_the_same_connections(make, user, how):
    llm = make()
    other = COPIES[how](llm)
    llm.chat(user("hi"))
    other.chat(user("hi"))
    assert other.engine.generators["small"] is llm.engine.generators["small"]


@pytest.mark.parametrize("how", [how for how in COPIES if how != "timeout"])  # a client is made with it
@pytest.mark.parametrize("way", ["chat", "achat"])
async def test_no_copy_opens_a_connection_of_its_own(own_server, make, like, user, how, way):
    llm = make(models={name: like(name, api_base=own_server.base_url) for name in ("small", "large")})
    routers = [llm, COPIES[how](llm), llm, COPIES[how](llm)]
    await shared.one_connection_is_opened(routers, lambda router: asked(router, way, user("hi")), own_server)


# Ids and tags.

WAYS = (
    *("chat", "stream_chat", "achat", "astream_chat"),
    *("complete", "stream_complete", "acomplete", "astream_complete"),
)


async def asked(llm, how, messages, **options):
    """Ask, by the last message's text where the way takes a prompt; return the last response."""
    prompt = messages[-1].content if "complete" in how else messages
    answer = getattr(llm, how)(prompt, **options)
    if how.startswith("a"):
        answer = await answer
    if how.startswith("astream"):
        return [piece async for piece in answer][-1]
    return list(answer)[-1] if how.startswith("stream") else answer


@pytest.mark.parametrize("how", WAYS)
async def test_rows_have_the_calls_id_the_tags_and_the_run_id_that_a_call_names(make, user, told, how):
    llm = make(("small", 2), ledger=Ledger())
    response = await asked(llm, how, user("hi"), tags={"team": "search"}, run_id="run 7")
    rows = llm.ledger.rows()
    assert [(row["tags"], row["run_id"]) for row in rows] == [({"team": "search"}, "run 7")] * 2
    assert {row["call_id"] for row in rows} == {told(response)["call_id"]}


@pytest.mark.parametrize("options", [{"tags": ["a"]}, {"tags": {"a": 1}}, {"run_id": ""}, {"run_id": 7}])
def test_tags_and_ids_that_are_none_are_refused(make, user, server, options):
    with pytest.raises(BestRouteError, match="must be"):
        make().chat(user("hi"), **options)
    assert not server.requests


@pytest.mark.parametrize(("bills_input", "requests"), [("once", 1), ("per_sample", 3)])
def test_requests_are_those_that_the_server_saw(make, user, server, bills_input, requests):
    llm = make(("small", 3), bills_input=bills_input, ledger=Ledger())
    llm.chat(user("hi"))
    shared.requests_are_the_servers(llm, server, requests)


@pytest.mark.parametrize("how", ["chat", "achat"])
async def test_of_single_requests_one_that_fails_costs_the_others_nothing(make, like, user, server, how):
    server.script("refuse-n-small", ["one", {"status": 400}, "three"])
    llm = small_of(make, like, "refuse-n-small", bills_input="once", ledger=Ledger(), max_retries=0)
    with suppress(openai.APIError):
        options = {"model": "small", "n": 3}
        llm.chat(user("hi"), **options) if how == "chat" else await llm.achat(user("hi"), **options)
    shared.one_of_three_failed(llm, server)


# Any text.


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("text", shared.TEXTS)
async def test_any_text_is_answered_and_billed(make, server, tmp_path, how, text):
    llm = make(("small", 2), ledger=Ledger(f"sqlite:///{tmp_path}/bills.db"))
    call = ToolCallBlock(tool_call_id="call_1", tool_name=f"f{text}", tool_kwargs={text: [text]})
    messages = [
        ChatMessage(role="system", content=text),
        ChatMessage(role="user", content=text),
        ChatMessage(role="assistant", blocks=[TextBlock(text=text), call]),
        ChatMessage(role="tool", content=text, additional_kwargs={"tool_call_id": "call_1"}),
        ChatMessage(role="user", blocks=[TextBlock(text=text), TextBlock(text=text)]),
    ]
    response = await asked(llm, how, messages, tags={text: text})
    assert "small-mini" in str(response)
    shared.both_draws_are_billed(llm, server)


# Errors quote nothing.


@pytest.mark.parametrize("how", WAYS)
async def test_an_error_that_quotes_the_query_is_quoted_nowhere(make, user, server, tmp_path, caplog, how):
    server.answers = shared.quotes_the_query
    caplog.set_level(logging.DEBUG, logger="bestroute")
    caplog.set_level(logging.DEBUG, logger="llamaindex_bestroute")
    llm = make(("small", 2), ledger=Ledger(f"sqlite:///{tmp_path}/bills.db"), settings=Settings(attempts=1))
    with pytest.raises(openai.APIError) as caught:
        await asked(llm, how, user(shared.QUERY))
    shared.nothing_is_quoted(caught.value, llm, caplog)


# Cancellations.


@pytest.mark.parametrize("how", ["achat", "astream_chat"])
@pytest.mark.parametrize("n", [1, 2])
async def test_every_request_of_a_cancelled_call_has_a_row(make, like, user, server, cancel_at_random, how, n):
    llm = small_of(make, like, "slow-8-small", ledger=Ledger())

    async def call():
        if how == "achat":
            await llm.achat(user("hi there"), model="small", n=n)
        else:
            async with aclosing(await llm.astream_chat(user("hi there"), model="small", n=n)) as pieces:
                async for _ in pieces:
                    pass

    await cancel_at_random(call, llm.ledger, seed=f"{how} {n}")
    shared.every_request_has_a_row(llm, server)


class Hanging(OpenAILike):
    """Its third request has no end."""

    steps: Any = None

    async def achat(self, *args, **kwargs):
        await self.steps.begin()
        response = await super().achat(*args, **kwargs)
        self.steps.end()
        return response


async def test_single_requests_that_came_before_a_cancellation_are_billed_as_told(make, like, user, server):
    there = {"api_base": server.base_url, "api_key": "sk-secret", "max_retries": 0, "is_chat_model": True}
    small = Hanging(model="refuse-n-small", steps=shared.Steps(), **there)
    llm = make(models={"small": small, "large": like("large-max")}, bills_input="once", ledger=Ledger())
    call = llm.achat(user("hi there"), model="small", n=3)
    await shared.what_came_before_a_cancellation_is_billed(llm, call, small.steps, server)


# Streams that break after their usage.


class Breaking(OpenAILike):
    """Loses its connection after the usage of a stream."""

    def stream_chat(self, *args, **kwargs):
        for piece in super().stream_chat(*args, **kwargs):
            yield piece
            if piece.raw.usage:
                raise httpx.ReadError("the line is cut")

    async def astream_chat(self, *args, **kwargs):
        async def pieces(source):
            async for piece in source:
                yield piece
                if piece.raw.usage:
                    raise httpx.ReadError("the line is cut")

        return pieces(await super().astream_chat(*args, **kwargs))


@pytest.mark.parametrize("how", ["stream_chat", "astream_chat"])
async def test_a_stream_that_breaks_after_its_usage_is_billed_by_it(make, user, server, how):
    server.answers = lambda model, messages: "w " * 50
    member = Breaking(
        model="small-mini", api_base=server.base_url, api_key="k", is_chat_model=True, context_window=9000
    )
    llm = make(None, models={"small": member}, prices={"small": Price(1, 2)}, ledger=Ledger(), max_retries=0)
    with suppress(httpx.ReadError):
        await asked(llm, how, user("hi there"))
    shared.a_broken_stream_is_billed_by_its_usage(llm, server)


# Streams that are left.


class Counting(OpenAILike):
    """Notes which of its streams are closed."""

    closed: Any = None

    async def astream_chat(self, *args, **kwargs):
        async def pieces(source):
            try:
                async for piece in source:
                    yield piece
            finally:
                self.closed.append("chat")

        return pieces(await super().astream_chat(*args, **kwargs))


@pytest.mark.parametrize("how", ["astream_chat", "astream_complete"])
async def test_a_stream_that_is_left_is_closed_and_billed_at_once(make, like, user, server, how):
    there = {"api_base": server.base_url, "api_key": "sk-secret", "max_retries": 0, "is_chat_model": True}
    small = Counting(model="small-mini", closed=[], **there)
    llm = make(models={"small": small, "large": like("large-max")}, ledger=Ledger())
    stream = await getattr(llm, how)(user("one two three") if how == "astream_chat" else "one two three")
    await anext(stream)
    await stream.aclose()
    assert [row["status"] for row in llm.ledger.rows()] == ["cancelled"]
    if how == "astream_chat":
        assert small.closed
