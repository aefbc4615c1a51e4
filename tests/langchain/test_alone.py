"""What a member does alone, it does in the pool: its attributes, its arguments, its tools, its streams, its errors."""

import json
import re
import threading
from dataclasses import replace
from unittest.mock import MagicMock

import pytest

pytest.importorskip("langchain_openai")

import httpx
import numpy as np
import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, custom_tool
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from bestroute import ConfigError, Ledger, MajorityVote, Price, Settings
from langchain_bestroute import BestRouteChat, __version__
from langchain_bestroute.messages import summed_counts, to_query

PRICES = {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}


class Member(BaseChatModel):
    """A user's own class."""

    reply: AIMessage = AIMessage("hello")

    @property
    def _llm_type(self):
        return "own"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=self.reply.model_copy())])


def pool_of(member, **options):
    return BestRouteChat(models={"small": member}, prices={"small": PRICES["small"]}, **options)


# 1. Attributes.


class Tenant(Member):
    max_retries: int = 2
    _token: str = PrivateAttr("private")

    @model_validator(mode="after")
    def _resolve(self):
        object.__setattr__(self, "_header", "X-Tenant")
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        reply = AIMessage(f"{self._header} {self._token} {self.region} {self.max_retries}")
        return ChatResult(generations=[ChatGeneration(message=reply)])


def test_a_member_keeps_private_attributes_and_those_beside_its_fields():
    member = Tenant()
    object.__setattr__(member, "region", "eu")
    member._token = "changed"
    assert pool_of(member).invoke("hi").text == "X-Tenant changed eu 0"


# 2. Options of streams.


class Fielded(Member):
    """A class that has the field, and whose streams do not take the argument."""

    stream_usage: bool = True

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        assert not kwargs
        yield ChatGenerationChunk(message=AIMessageChunk("hello"))


def test_stream_usage_goes_to_those_alone_whose_streams_take_it():
    assert "".join(chunk.text for chunk in pool_of(Fielded()).stream("hi")) == "hello"


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_server_that_refuses_stream_options_is_asked_once_more_without_and_never_again(
    server, openai_model, way
):
    chat = pool_of(openai_model("refuse-stream_options-small"))
    for _ in range(2):
        if way == "stream":
            text = "".join(chunk.text for chunk in chat.stream("one two"))
        else:
            text = "".join([chunk.text async for chunk in chat.astream("one two")])
        assert text
    assert ["stream_options" in body for body in server.sent()] == [True, False, False]
    assert all(row["estimated"] for row in chat.ledger.rows())


# 3. Values of the constructor.


def test_a_reasoning_model_gets_no_temperature_and_its_own_name_of_the_limit(server):
    member = ChatOpenAI(model="gpt-5-mini", base_url=server.base_url, api_key="k")
    chat = pool_of(member, temperature=0.2, max_tokens=9)
    chat.invoke("hi")
    chat.invoke("hi", temperature=0.3)
    first, second = server.sent()
    assert (first["max_completion_tokens"], "temperature" in first, "max_tokens" in first) == (9, False, False)
    assert second["temperature"] == 0.3  # a call's own value is the caller's to answer for


def options_sent(server, *names):
    return [{name: body[name] for name in names if name in body} for body in server.sent()]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_temperature_of_the_router_that_a_server_refuses_is_left_out_from_then_on(server, openai_model, way):
    chat = pool_of(openai_model("reasoning-deployment-7"), temperature=0.2)
    for _ in range(2):
        match way:
            case "invoke":
                message = chat.invoke("one two")
            case "ainvoke":
                message = await chat.ainvoke("one two")
            case "stream":
                message = sum_of(list(chat.stream("one two")))
            case _:
                message = sum_of([chunk async for chunk in chat.astream("one two")])
        assert message.text
    assert options_sent(server, "temperature") == [{"temperature": 0.2}, {}, {}]


def sum_of(chunks):
    return sum(chunks[1:], chunks[0])


@pytest.mark.parametrize("n", [1, 3])
def test_a_temperature_of_the_member_or_the_call_that_a_server_refuses_is_the_members_own_error(
    server, openai_model, n
):
    model, vote = openai_model("reasoning-small"), {"reward_model": MajorityVote()}
    own = openai_model("reasoning-small", temperature=0.3)
    for chat, call in (
        (pool_of(model, **vote), {"temperature": 0.3}),
        (pool_of(own, **vote), {}),
        (pool_of(own, temperature=0.2, **vote), {}),
        (pool_of(model.bind(temperature=0.3), **vote), {}),
    ):
        with pytest.raises(openai.BadRequestError, match="temperature"):
            chat.invoke("hi", n=n, **call)
        assert server.sent()[-1]["temperature"] == 0.3


@pytest.mark.parametrize("constructed", [True, False])
def test_a_limit_goes_by_the_older_name_to_a_server_that_knows_no_other(server, openai_model, constructed):
    limit = {"max_tokens": 9}
    chat = pool_of(openai_model("refuse-max_completion_tokens-small"), **(limit if constructed else {}))
    for _ in range(2):
        assert chat.invoke("hi", **({} if constructed else limit)).text
    assert options_sent(server, "max_tokens", "max_completion_tokens") == [{"max_completion_tokens": 9}, limit, limit]


@pytest.mark.parametrize("constructed", [True, False])
def test_a_limit_goes_by_the_newer_name_to_a_server_that_wants_it(server, constructed):
    limit = {"max_tokens": 9}
    member = BaseChatOpenAI(model="reasoning-small", base_url=server.base_url, api_key="k", max_retries=0)
    chat = pool_of(member, **(limit if constructed else {}))
    for _ in range(2):
        assert chat.invoke("hi", **({} if constructed else limit)).text
    newer = {"max_completion_tokens": 9}
    assert options_sent(server, "max_tokens", "max_completion_tokens") == [limit, newer, newer]


def test_a_server_that_takes_neither_name_of_a_limit_is_asked_twice(server, openai_model):
    chat = pool_of(openai_model("refuse-max_completion_tokens-refuse-max_tokens-small"), max_tokens=9)
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        chat.invoke("hi")
    assert len(server.sent()) == 2


def test_values_of_the_constructor_win_over_the_members_and_lose_to_the_calls(server, openai_model):
    chat = pool_of(openai_model("small-mini", temperature=0.9, stop=["a"]), temperature=0.1, stop=["b"])
    chat.invoke("hi")
    chat.invoke("hi", temperature=0.5, stop=["c"])
    assert [(body["temperature"], body["stop"]) for body in server.sent()] == [(0.1, ["b"]), (0.5, ["c"])]


def test_the_number_of_choices_is_the_routers_alone(server, openai_model):
    chat = pool_of(openai_model("small-mini", n=3))
    message = chat.invoke("hi")
    assert "n" not in server.sent()[0]
    assert message.response_metadata["bestroute"]["n"] == len(server.bills) == 1


# 5. Bills.


class Answer(BaseModel):
    """An answer."""

    value: int


def test_a_reply_that_the_client_refuses_as_cut_off_is_billed_and_raised(server, openai_model):
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    server.script("small-mini", [{"text": '{"val', "finish_reason": "length", "usage": usage}] * 3)
    chat = pool_of(openai_model("small-mini"))
    with pytest.raises(openai.LengthFinishReasonError):
        chat.with_structured_output(Answer).invoke("hi")
    rows = chat.ledger.rows()
    assert {(row["input_tokens"], row["output_tokens"], row["estimated"]) for row in rows} == {(7, 3, False)}


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
        {"input_tokens": -7, "output_tokens": 3, "total_tokens": -4},
        {"input_tokens": "7", "output_tokens": None, "total_tokens": []},
    ],
)
@pytest.mark.parametrize("n", [1, 3])
def test_a_usage_without_sense_is_estimated_and_the_message_says_what_was_billed(usage, n):
    reply = AIMessage("one two three").model_copy(update={"usage_metadata": usage})
    chat = pool_of(Member(reply=reply), router=lambda query: ("small", n), reward_model=MajorityVote())
    message = chat.invoke("a question of several words")
    rows = chat.ledger.rows()
    assert all(row["estimated"] and row["cost_usd"] > 0 for row in rows)
    assert message.usage_metadata["output_tokens"] == sum(row["output_tokens"] for row in rows) >= 3 * n


# 6. Empty replies.


@pytest.mark.parametrize("n", [1, 3])
def test_an_empty_reply_of_openai_is_no_answer(server, openai_model, n):
    models = {"small": openai_model("empty-x"), "large": openai_model("large-max")}
    chat = BestRouteChat(
        models=models,
        prices=PRICES,
        router=lambda query: ("small", n),
        reward_model=lambda query, texts: [1.0] * len(texts),
    )
    (message,) = chat.batch(["hi there"])
    assert message.text.startswith("[large-max")


# 7. Streams.


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_that_was_cut_off_is_a_failed_draw(server, openai_model, n):
    models = {"small": openai_model("drop-2-x", streaming=True), "large": openai_model("large-max")}
    chat = BestRouteChat(
        models=models,
        prices=PRICES,
        router=lambda query: ("small", n),
        reward_model=lambda query, texts: [1.0] * len(texts),
        settings=Settings(attempts=1),
    )
    assert chat.invoke("hi there").text.startswith("[large-max")
    assert [row["status"] for row in chat.ledger.rows()].count("failed") == n


def test_a_stream_that_was_cut_off_ends_in_an_error(openai_model):
    with pytest.raises(ConnectionError, match="finish reason"):
        list(pool_of(openai_model("drop-2-x"), settings=Settings(attempts=1)).stream("one two three four"))


def test_a_stream_that_becomes_a_message_keeps_what_the_provider_says(server, openai_model):
    alone = openai_model("small-mini", streaming=True).invoke("hi").response_metadata
    pooled = pool_of(openai_model("small-mini", streaming=True)).invoke("hi").response_metadata
    assert {name: pooled[name] for name in alone} == alone
    assert pooled["finish_reason"] == "stop"


class Thinker(Member):
    """Tells an id only after its thoughts, as the Responses API does, and notes something for traces alone."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        yield ChatGenerationChunk(
            message=AIMessageChunk("", additional_kwargs={"reasoning": {"id": "rs_1"}}),
            generation_info={"lc_gateway_metadata": {"provider": "openai"}},
        )
        yield ChatGenerationChunk(message=AIMessageChunk("hel", id="msg_1"))
        yield ChatGenerationChunk(message=AIMessageChunk("lo"))

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        noted = {"lc_gateway_metadata": {"provider": "openai"}, "finish_reason": "stop"}
        return ChatResult(generations=[ChatGeneration(message=self.reply.model_copy(), generation_info=noted)])


def ids_of(message):
    """The ids of a message and its blocks, without their numbers: each reply has its own."""
    blocks = [block for block in message.content if isinstance(block, dict)]
    return [str(found).rstrip("0123456789") for found in (message.id, *(block.get("id") for block in blocks))]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("version", [None, "v0", "responses/v1", "v1"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_the_message_id_of_the_responses_api_survives_in_every_output_version(
    openai_model, version, n, way, streaming
):
    told = {} if version is None else {"output_version": version}
    alone = openai_model("small-mini", use_responses_api=True, streaming=streaming, **told)
    by_member = pool_of(alone, router=lambda query: ("small", n), reward_model=lambda query, texts: [1.0] * len(texts))
    by_both = by_member.model_copy(update=told)
    found = []
    for model in (alone, by_member, by_both):
        match way:
            case "invoke":
                message = model.invoke("hi")
            case "ainvoke":
                message = await model.ainvoke("hi")
            case "stream":
                message = sum_of(list(model.stream("hi")))
            case _:
                message = sum_of([chunk async for chunk in model.astream("hi")])
        found.append(ids_of(message))
    assert "msg_" in found[0]
    assert found == [found[0]] * 3


def test_an_id_that_comes_late_in_a_stream_is_the_messages():
    chunks = list(pool_of(Thinker()).stream("hi"))
    assert sum(chunks[1:], chunks[0]).id == "msg_1"
    assert len({chunk.id for chunk in chunks[1:]}) == 1


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("disable_streaming", [False, True])
def test_what_a_member_notes_for_traces_reaches_them_and_not_the_message(n, disable_streaming):
    member = Thinker(disable_streaming=disable_streaming)
    chat = pool_of(member, router=lambda query: ("small", n), reward_model=MajorityVote())
    (((alone,),),), (((pooled,),),) = (
        (chosen.generate([[HumanMessage("hi")]]).generations,) for chosen in (member, chat)
    )
    assert pooled.generation_info == alone.generation_info
    assert "lc_gateway_metadata" not in pooled.message.response_metadata
    chunks = list(chat.stream("hi"))
    assert not any("lc_gateway_metadata" in chunk.response_metadata for chunk in chunks)


class Own(ChatOpenAI):
    """Made of OpenAI's class, with streams of its own, which tell no reason."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        yield ChatGenerationChunk(message=AIMessageChunk("hello"))


def test_a_stream_whose_class_tells_no_reason_is_not_taken_for_one_that_was_cut_off():
    member = Own(model="small-mini", api_key="k")
    assert "".join(chunk.text for chunk in pool_of(member).stream("hi")) == "hello"


def test_a_mock_in_the_place_of_a_client_is_called_itself(openai_model):
    member = openai_model("small-mini")
    member.client = MagicMock()
    reply = {"role": "assistant", "content": "mocked"}
    member.client.with_raw_response.create.return_value.parse.return_value = {
        "id": "1",
        "model": "small-mini",
        "choices": [{"index": 0, "message": reply, "finish_reason": "stop"}],
    }
    assert pool_of(member).invoke("hi").text == "mocked"


# 8. Tools and schemas on the wire.


@tool
def add(a: int, b: int | None = None) -> int:
    """Add two numbers."""
    return a + (b or 0)


@custom_tool(format={"type": "grammar", "syntax": "regex", "definition": "[0-9]+"})
def count(text: str) -> str:
    """Count."""
    return text


@pytest.mark.parametrize("strict", [None, False, True])
def test_tools_are_sent_as_the_member_sends_them(server, openai_model, strict):
    openai_model("small-mini").bind_tools([add], strict=strict).invoke("hi")
    pool_of(openai_model("small-mini")).bind_tools([add], strict=strict).invoke("hi")
    alone, pooled = server.sent()
    assert pooled["tools"] == alone["tools"]


def test_a_custom_tool_is_sent_with_its_grammar(server, openai_model):
    openai_model("small-mini", use_responses_api=True).bind_tools([count]).invoke("hi")
    pool_of(openai_model("small-mini", use_responses_api=True)).bind_tools([count]).invoke("hi")
    alone, pooled = server.sent("/responses")
    assert pooled["tools"] == alone["tools"]
    assert alone["tools"][0]["format"]["syntax"] == "regex"


def test_what_is_bound_is_plain_json(openai_model):
    bound = pool_of(openai_model("small-mini")).bind_tools([add]).kwargs["tools"]
    assert json.loads(json.dumps(bound)) == bound


class Long(BaseModel):
    """An answer that is never long enough."""

    value: str = Field(min_length=10_000)


@pytest.mark.parametrize("responses", [False, True])
async def test_the_reply_that_does_not_fit_a_class_is_with_the_members_error(server, openai_model, responses):
    server.answers = lambda model, messages: '{"value": "short"}'
    member = openai_model("small-mini", use_responses_api=responses)
    for model in (member, pool_of(member)):
        with pytest.raises(ValidationError) as raised:
            model.invoke("hi", response_format=Long)
        assert raised.value.response.status_code == 200
        with pytest.raises(ValidationError) as raised:
            await model.ainvoke("hi", response_format=Long)
        assert raised.value.response.status_code == 200


def test_an_object_of_a_class_is_in_the_message_too(server, openai_model):
    server.script("small-mini", ['{"value": 3}'])
    chat = pool_of(openai_model("small-mini")).with_structured_output(Answer, include_raw=True)
    raw = chat.invoke("hi")["raw"]
    assert raw.additional_kwargs["parsed"] == Answer(value=3)


def test_the_schema_of_what_comes_is_known(openai_model):
    plain = openai_model("small-mini").with_structured_output(Answer).get_output_jsonschema()
    assert pool_of(openai_model("small-mini")).with_structured_output(Answer).get_output_jsonschema() == plain


class Titled(BaseModel):
    """A person."""

    name: str
    age: int | None = None


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # of langchain-openai's own
@pytest.mark.parametrize("responses", [False, True])
@pytest.mark.parametrize("streaming", [False, True])
def test_the_schema_of_a_class_is_sent_as_the_member_sends_it(server, openai_model, responses, streaming):
    server.script("small-mini", ['{"name": "Ann", "age": 3}'] * 2)
    member = openai_model("small-mini", use_responses_api=responses, streaming=streaming)
    for chat in (member, pool_of(member)):
        chat.with_structured_output(Titled, include_raw=True).invoke("hi")
    alone, pooled = server.sent("/responses") if responses else server.sent()
    assert pooled == {**alone, **{name: pooled[name] for name in ("stream_options",) if name in pooled}}


class Parsing(Member):
    streaming: bool = False

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        yield ChatGenerationChunk(message=AIMessageChunk("3", additional_kwargs={"parsed": Answer(value=3)}))


@pytest.mark.parametrize("n", [1, 2])
def test_an_object_in_a_stream_stays_an_object_where_the_stream_becomes_a_message(n):
    chat = pool_of(Parsing(streaming=True), router=lambda query: ("small", n), reward_model=MajorityVote())
    assert chat.invoke("hi").additional_kwargs["parsed"] == Answer(value=3)
    (chunk,) = [chunk for chunk in chat.stream("hi") if chunk.additional_kwargs]
    assert chunk.additional_kwargs["parsed"] == Answer(value=3)


class Itself(Member):
    def bind_tools(self, tools, **kwargs):
        return self


class Sequence(Member):
    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=tools) | RunnableLambda(lambda message: message)


def test_a_member_whose_bind_tools_returns_itself_answers():
    assert pool_of(Itself()).bind_tools([add]).invoke("hi").text == "hello"


def test_a_member_whose_bind_tools_returns_a_sequence_is_told_in_one_sentence():
    with pytest.raises(ConfigError, match="bind_tools returned a RunnableSequence; in a pool it has to return"):
        pool_of(Sequence()).bind_tools([add]).invoke("hi")


# 9. A conversation that moves.


class Picky(ChatOpenAI):
    """Refuses every turn of another."""

    def _generate(self, messages, *args, **kwargs):
        if any(isinstance(message, AIMessage) for message in messages):
            request = httpx.Request("POST", "http://stub")
            raise openai.BadRequestError("a foreign turn", response=httpx.Response(400, request=request), body=None)
        return super()._generate(messages, *args, **kwargs)


def history_of(writer):
    call = {"name": "add", "args": {"a": 1}, "id": "toolu_" + "x" * 50}
    told = {"bestroute": {"model": writer}}
    return [
        HumanMessage("hi"),
        AIMessage("", tool_calls=[call], response_metadata=told),
        ToolMessage("1", tool_call_id=call["id"]),
        AIMessage("one", response_metadata=told),
        HumanMessage("and two?"),
    ]


def test_ids_of_calls_that_move_are_taken_by_every_provider(server, openai_model):
    pool_of(openai_model("small-mini")).invoke(history_of("large"))
    called, result = (m for m in server.sent()[0]["messages"] if m.get("tool_calls") or m["role"] == "tool")
    assert re.fullmatch("[a-zA-Z0-9]{9}", result["tool_call_id"])
    assert called["tool_calls"][0]["id"] == result["tool_call_id"]


def test_where_a_member_refuses_a_foreign_turn_another_is_asked(server, openai_model):
    picky = Picky(model="small-mini", base_url=server.base_url, api_key="k")
    chat = BestRouteChat(
        models={"small": picky, "large": openai_model("large-max")}, prices=PRICES, router=lambda query: ("small", 1)
    )
    assert chat.invoke(history_of("large")).text.startswith("[large-max")
    with pytest.raises(openai.BadRequestError):  # its own turns are another matter: somebody has to mend them
        chat.invoke(history_of("small"))


# What configured calls share; what a message tells.


def test_configured_calls_share_breakers_concurrency_and_members(openai_model):
    chat = BestRouteChat(
        models={"small": openai_model("fail-500-x"), "large": openai_model("large-max")},
        prices=PRICES,
        router=lambda query: ("small", 1),
        settings=Settings(attempts=1, breaker_failures=2, concurrency=3),
    )
    configured = chat.configurable_fields(temperature=ConfigurableField(id="t"))
    for _ in range(2):
        configured.with_config(configurable={"t": 0.5}).invoke("hi")
    assert chat.engine.breakers.is_open("small")
    twin = chat.model_copy(update={"max_n": 2})
    assert twin.engine.breakers is chat.engine.breakers
    assert twin.engine.generators["small"] is chat.engine.generators["small"]


def test_routers_with_ledgers_of_their_own_share_nothing(openai_model):
    member = openai_model("small-mini")
    one, other = pool_of(member), pool_of(member, ledger=Ledger())
    assert one.engine.breakers is not other.engine.breakers


def test_a_message_tells_the_call_and_the_run_and_tags_reach_the_ledger(openai_model):
    chat = pool_of(openai_model("small-mini"))
    message = chat.invoke("hi", tags={"team": "search"})
    told = message.response_metadata["bestroute"]
    (row,) = chat.ledger.rows()
    assert told["call_id"] == row["call_id"]
    assert re.fullmatch("[0-9a-f-]{36}", told["run_id"])
    assert row["tags"] == {"team": "search"}
    list(chat.stream("hi", tags={"team": "stream"}))
    assert chat.ledger.rows()[-1]["tags"] == {"team": "stream"}


def test_the_package_has_a_version():
    assert re.match(r"\d+\.\d+", __version__)


def test_a_member_is_never_changed_by_threads_that_configure_it(server, openai_model):
    member = openai_model("small-mini", temperature=0.9)
    chats = [pool_of(member, temperature=i / 10) for i in range(4)]
    threads = [threading.Thread(target=chat.invoke, args=("hi",)) for chat in chats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(body["temperature"] for body in server.sent()) == [0.0, 0.1, 0.2, 0.3]
    assert member.temperature == 0.9


def test_a_member_that_holds_a_module_or_a_secret_that_raises_loses_no_error(openai_model):
    class Removed:
        def get_secret_value(self):
            raise RuntimeError("not here any more")

    member = openai_model("fail-400-x")
    object.__setattr__(member, "token", Removed())
    object.__setattr__(member, "module", openai)
    with pytest.raises(openai.BadRequestError):
        pool_of(member).invoke("hi")


# Answers in a form of their own.


class Told:
    """A provider's own usage."""

    prompt_tokens, completion_tokens = 3, 2


COUNTS = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
USAGES = {
    "no total": {"input_tokens": 3, "output_tokens": 2},
    "no details": {**COUNTS, "input_token_details": None},
    "an unknown detail": {**COUNTS, "output_token_details": {"reasoning": None}},
    "half a token": {**COUNTS, "input_token_details": {"audio": 1.5}},
    "an object": Told(),
    "numbers of numpy": {name: np.int64(count) for name, count in COUNTS.items()},
}


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
async def test_a_usage_that_langchain_cannot_add_up_costs_no_answer(way, n, usage):
    reply = AIMessage("hello")
    reply.usage_metadata = usage
    chat = pool_of(Member(reply=reply), reward_model=MajorityVote(), router=lambda query: ("small", n))
    if way == "stream":
        chunks = list(chat.stream("hi"))
        answer = sum(chunks[1:], chunks[0])
    else:
        answer = chat.invoke("hi") if way == "invoke" else await chat.ainvoke("hi")
    assert answer.text == "hello"
    assert json.loads(json.dumps(answer.usage_metadata))["total_tokens"] == 5 * n
    assert chat.ledger.cost_usd == pytest.approx(n * (3 * 1.0 + 2 * 2.0) / 1e6)


@pytest.mark.parametrize(
    "told", [{"prompt_tokens": "7"}, {"prompt_tokens": 7, "times": [0.1]}, {"prompt_tokens": None}]
)
def test_token_counts_in_a_providers_own_words_cost_no_answer(told):
    chat = pool_of(Member(reply=AIMessage("hello", response_metadata={"token_usage": told})))
    assert chat.invoke("hi").text == "hello"
    assert len(chat.generate([[HumanMessage("hi")]] * 2).generations) == 2


def test_token_counts_in_numbers_of_numpy_are_added_up():
    assert summed_counts([{"a": np.int64(3), "b": {"c": np.float32(1)}}, {"a": np.int64(4), "b": {"c": 2}}]) == {
        "a": 7,
        "b": {"c": 3},
    }


@pytest.mark.parametrize("n", [1, 2])
def test_a_whole_answer_that_is_a_chunk_can_be_streamed(n):
    chat = pool_of(
        Member(reply=AIMessageChunk("hello")), reward_model=MajorityVote(), router=lambda query: ("small", n)
    )
    chunks = list(chat.stream("hi"))
    assert sum(chunks[1:], chunks[0]).text == "hello"


def test_a_call_that_does_not_parse_is_not_nothing():
    call = {"name": "add", "args": "{", "id": "1", "error": "no JSON", "type": "invalid_tool_call"}
    chat = pool_of(Member(reply=AIMessage("", invalid_tool_calls=[call])))
    assert chat.invoke("hi").invalid_tool_calls == [call]
    assert len(chat.ledger.rows()) == 1


class Iterates:
    """An asynchronous iterator that cannot be closed."""

    def __init__(self, words):
        self.words = iter(words)

    def __aiter__(self):
        return self

    async def __anext__(self):
        for word in self.words:
            return ChatGenerationChunk(message=AIMessageChunk(word))
        raise StopAsyncIteration


class Streams(Member):
    def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        return Iterates(["one ", "two"])


async def test_a_stream_that_cannot_be_closed_is_read_to_its_end():
    chat = pool_of(Streams())
    assert [chunk.text async for chunk in chat.astream("hi") if chunk.text] == ["one ", "two"]
    assert [row["status"] for row in chat.ledger.rows()] == ["ok"]


class Marks(Member):
    """Says of chunks that they are the last, wherever they stand."""

    last: tuple[int, ...]

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for i, word in enumerate(["one ", "two ", "three"]):
            position = "last" if i in self.last else None
            yield ChatGenerationChunk(message=AIMessageChunk(word, chunk_position=position))


@pytest.mark.parametrize("last", [(), (0,), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("is_async", [False, True])
async def test_no_word_of_a_stream_is_lost_or_moved_by_what_calls_itself_the_last(last, is_async):
    chat = pool_of(Marks(last=last))
    chunks = [chunk async for chunk in chat.astream("hi")] if is_async else list(chat.stream("hi"))
    assert "".join(chunk.text for chunk in chunks) == "one two three"
    assert [chunk.chunk_position for chunk in chunks if chunk.chunk_position] == ["last"]
    assert chunks[-1].chunk_position == "last"


def test_what_a_query_needs_follows_a_change_of_it():
    query = to_query([HumanMessage("what is 2 + 3?")], {"tools": [{"type": "function", "function": {"name": "add"}}]})
    assert query.needs.tools
    assert not replace(query, tools=None).needs.tools
    assert replace(query, input_tokens=9).needs.tokens == 9
