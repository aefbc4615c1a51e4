"""What a call leaves in the ledger, whatever becomes of it; and what routers over the same members share."""

import logging
from contextlib import aclosing, suppress
from typing import Any
from unittest import mock

import httpx
import openai
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import ConfigurableField
from langchain_openai import ChatOpenAI

from bestroute import BestRouteError, Ledger, Settings
from langchain_bestroute import BestRouteChat

from .. import shared_bills as shared

# Sharing.


def small_of(make, openai_model, model, **options):
    return make(("small", 1), models={"small": openai_model(model), "large": openai_model("large-max")}, **options)


def say_hi(chat):
    chat.invoke("hi")


def other_forms(chat):
    """The forms in which a caller may hold the same router."""
    fields = chat.configurable_fields(
        temperature=ConfigurableField(id="warmth"),
        timeout=ConfigurableField(id="patience"),
        max_retries=ConfigurableField(id="retries"),
        max_n=ConfigurableField(id="most"),
    )
    return {
        "bind": chat.bind(temperature=0.5),
        "with_config": chat.with_config(tags=["x"]),
        "copy": chat.model_copy(update={"max_n": 3}),
        "temperature": fields.with_config(configurable={"warmth": 0.5}),
        "timeout": fields.with_config(configurable={"patience": 9.0}),
        "max_retries": fields.with_config(configurable={"retries": 0}),
        "max_n": fields.with_config(configurable={"most": 2}),
    }


FORMS = ("bind", "with_config", "copy", "temperature", "timeout", "max_retries", "max_n")


@pytest.mark.parametrize("form", FORMS)
def test_a_breaker_that_opens_in_another_form_is_open_in_the_origin(make, openai_model, server, form):
    chat = small_of(make, openai_model, "fail-500-x", settings=shared.FAILS_TWICE, ledger=Ledger(), budget=5.0)
    shared.a_breaker_is_open_for_both(chat, other_forms(chat)[form], say_hi, server)


@pytest.mark.parametrize("form", FORMS)
def test_a_limit_of_concurrency_holds_over_all_forms(make, openai_model, server, form):
    chat = small_of(make, openai_model, "slow-60-small", settings=Settings(concurrency=2))
    shared.two_at_a_time_are_asked(chat, other_forms(chat)[form], say_hi, server)


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_have_the_same_connections(server, make, form):
    connections = []
    connect = httpx.HTTPTransport.handle_request

    def noted(transport, request):
        connections.append(transport)
        return connect(transport, request)

    client = httpx.Client()
    member = ChatOpenAI(model="small-mini", base_url=server.base_url, api_key="k", http_client=client)
    chat = make(("small", 1), models={"small": member, "large": member})
    other = other_forms(chat)[form]
    with mock.patch.object(httpx.HTTPTransport, "handle_request", noted):
        chat.invoke("hi")
        other.invoke("hi")
    assert len(set(map(id, connections))) == 1
    client.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_no_form_opens_a_connection_of_its_own(own_server, openai_model, make, form, way):
    models = {name: openai_model(name, base_url=own_server.base_url) for name in ("small", "large")}
    chat = make(("small", 1), models=models)
    routers = [chat, other_forms(chat)[form], chat, other_forms(chat)[form]]
    await shared.one_connection_is_opened(routers, lambda router: asked(router, way, "hi"), own_server)


# Ids and tags.


async def asked(chat, how, text, **options):
    """Ask one question; return the message."""
    if how == "invoke":
        return chat.invoke(text, **options)
    if how == "batch":
        return chat.batch([text], **options)[0]
    if how == "ainvoke":
        return await chat.ainvoke(text, **options)
    if how == "abatch":
        return (await chat.abatch([text], **options))[0]
    chunks = list(chat.stream(text, **options)) if how == "stream" else [c async for c in chat.astream(text, **options)]
    return sum(chunks[1:], chunks[0])


WAYS = ("invoke", "batch", "stream", "ainvoke", "abatch", "astream")


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("is_bound", [False, True])
async def test_rows_have_the_runs_id_the_calls_and_the_tags(make, how, is_bound):
    chat, tags = make(("small", 2), ledger=Ledger()), {"team": "search"}
    if is_bound:
        message = await asked(chat.bind(tags=tags), how, "hi")
    else:
        message = await asked(chat, how, "hi", tags=tags)
    rows, about = chat.ledger.rows(), message.response_metadata["bestroute"]
    assert [row["tags"] for row in rows] == [tags, tags]
    assert {row["call_id"] for row in rows} == {about["call_id"]}
    assert {row["run_id"] for row in rows} == {about["run_id"]} == {about["call_id"]}


def test_the_run_id_is_langchains(make):
    import uuid

    chat, run_id = make(("small", 1), ledger=Ledger()), uuid.uuid4()
    chat.invoke("hi", config={"run_id": run_id})
    assert chat.ledger.rows()[0]["run_id"] == str(run_id)


def test_an_answer_of_the_cache_is_one_whatever_the_tags(make, server):
    set_llm_cache(InMemoryCache())
    chat = make(("small", 1))
    assert chat.invoke("hi", tags={"team": "a"}).text == chat.invoke("hi", tags={"team": "b"}).text
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_an_invoke_that_streams_inside_has_its_run(make, how):
    chat = make(("small", 1), ledger=Ledger(), streaming=True)
    message = await asked(chat, how, "hi")
    assert chat.ledger.rows()[0]["run_id"] == message.response_metadata["bestroute"]["run_id"]
    assert message.id == f"lc_run--{chat.ledger.rows()[0]['run_id']}"


@pytest.mark.parametrize("tags", [["a"], {"team": 3}, "search"])
def test_tags_that_are_no_dict_of_texts_are_refused_in_one_sentence(make, server, tags):
    with pytest.raises(BestRouteError, match="tags must be a dict of strings"):
        make().invoke("hi", tags=tags)
    assert not server.requests


@pytest.mark.parametrize(("bills_input", "requests"), [("once", 1), ("per_sample", 3)])
def test_requests_are_those_that_the_server_saw(make, server, bills_input, requests):
    chat = make(("small", 3), bills_input=bills_input, ledger=Ledger())
    chat.invoke("hi")
    shared.requests_are_the_servers(chat, server, requests)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_of_single_requests_one_that_fails_costs_the_others_nothing(make, openai_model, server, how):
    server.script("refuse-n-small", ["one", {"status": 400}, "three"])
    chat = small_of(make, openai_model, "refuse-n-small", bills_input="once", ledger=Ledger(), max_retries=0)
    with suppress(openai.APIError):
        await asked(chat, how, "hi", model="small", n=3)
    shared.one_of_three_failed(chat, server)


@pytest.mark.parametrize(("bills_input", "requests"), [("once", 2), ("per_sample", 4)])
def test_an_attempt_that_is_made_again_is_another_request(make, openai_model, server, bills_input, requests):
    settings = Settings(first_wait_s=0.0)
    chat = small_of(make, openai_model, "flaky-1-small", bills_input=bills_input, settings=settings, ledger=Ledger())
    chat.invoke("hi", model="small", n=3)
    shared.requests_are_the_servers(chat, server, requests)


# Any text.


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("text", shared.TEXTS)
async def test_any_text_is_answered_and_billed(make, server, tmp_path, how, text):
    chat = make(("small", 2), ledger=Ledger(f"sqlite:///{tmp_path}/bills.db"))
    call = {"name": f"f{text}", "args": {text: [text]}, "id": "call_1", "type": "tool_call"}
    messages = [
        SystemMessage(text),
        HumanMessage([{"type": "text", "text": text}]),
        AIMessage(text, tool_calls=[call]),
        ToolMessage(text, tool_call_id="call_1"),
        HumanMessage(text),
    ]
    message = await asked(chat, how, messages, tags={text: text})
    assert "small-mini" in message.text
    shared.both_draws_are_billed(chat, server)


# Errors quote nothing.


@pytest.mark.parametrize("how", WAYS)
async def test_an_error_that_quotes_the_query_is_quoted_nowhere(make, server, openai_model, tmp_path, caplog, how):
    server.answers = shared.quotes_the_query
    caplog.set_level(logging.DEBUG, logger="bestroute")
    caplog.set_level(logging.DEBUG, logger="langchain_bestroute")
    ledger = Ledger(f"sqlite:///{tmp_path}/bills.db")
    chat = make(("small", 2), ledger=ledger, settings=Settings(attempts=1))
    with pytest.raises(openai.APIError) as caught:
        await asked(chat, how, shared.QUERY)
    shared.nothing_is_quoted(caught.value, chat, caplog)


# Cancellations.


@pytest.mark.parametrize("how", ["ainvoke", "astream"])
@pytest.mark.parametrize("n", [1, 2])
async def test_every_request_of_a_cancelled_call_has_a_row(make, openai_model, server, cancel_at_random, how, n):
    chat = small_of(make, openai_model, "slow-8-small", ledger=Ledger())

    async def call():
        if how == "ainvoke":
            await chat.ainvoke("hi there", model="small", n=n)
        else:
            async with aclosing(chat.astream("hi there", model="small", n=n)) as chunks:
                async for _ in chunks:
                    pass

    await cancel_at_random(call, chat.ledger, seed=f"{how} {n}")
    shared.every_request_has_a_row(chat, server)


class Hanging(ChatOpenAI):
    """Its third request has no end."""

    steps: Any = None

    async def _agenerate(self, *args, **kwargs):
        await self.steps.begin()
        result = await super()._agenerate(*args, **kwargs)
        self.steps.end()
        return result


async def test_single_requests_that_came_before_a_cancellation_are_billed_as_told(make, server):
    where = {"base_url": server.base_url, "api_key": "sk-secret", "max_retries": 0}
    small = Hanging(model="refuse-n-small", steps=shared.Steps(), **where)
    models = {"small": small, "large": ChatOpenAI(model="large-max", **where)}
    chat = make(models=models, bills_input="once", ledger=Ledger())
    call = chat.ainvoke("hi there", model="small", n=3)
    await shared.what_came_before_a_cancellation_is_billed(chat, call, small.steps, server)


# Streams that break after their usage.


class Breaking(ChatOpenAI):
    """Loses its connection after the usage of a stream."""

    def _stream(self, *args, **kwargs):
        for chunk in super()._stream(*args, **kwargs):
            yield chunk
            if chunk.message.usage_metadata:
                raise httpx.ReadError("the line is cut")

    async def _astream(self, *args, **kwargs):
        async for chunk in super()._astream(*args, **kwargs):
            yield chunk
            if chunk.message.usage_metadata:
                raise httpx.ReadError("the line is cut")


@pytest.mark.parametrize("how", ["stream", "astream", "invoke", "ainvoke"])
async def test_a_stream_that_breaks_after_its_usage_is_billed_by_it(make, server, openai_model, how):
    server.answers = lambda model, messages: "w " * 50
    options = {"streaming": True} if "invoke" in how else {}
    member = Breaking(model="small-mini", base_url=server.base_url, api_key="k", max_retries=0, **options)
    chat = BestRouteChat(
        models={"small": member}, prices={"small": make().prices["small"]}, ledger=Ledger(), max_retries=0
    )
    with pytest.raises(httpx.ReadError):
        await asked(chat, how, "hi there", model="small", n=1)
    shared.a_broken_stream_is_billed_by_its_usage(chat, server)
