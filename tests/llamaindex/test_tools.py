"""Requirement 29: tools, in each member's own format; tool turns stay; the best of n among tool calls."""

import json
import random
import threading

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from bestroute import ConfigError, OpenAIGenerator
from bestroute.testing import FakeGenerator
from llamaindex_bestroute import generator
from llamaindex_bestroute.messages import for_member, turn_owner

CALLS = 'CALL add({"a": 2, "b": 3}) then CALL multiply({"a": 5, "b": 7})'


def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two integers."""
    return a * b


TOOLS = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(multiply)]
WAYS = ["chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools"]


async def by(llm, how, tools=TOOLS, **options):
    """Chat with tools in one of four ways; of a stream, the last response."""
    reply = getattr(llm, how)(tools, **options)
    if how.startswith("a"):
        reply = await reply
    if how.startswith("stream"):
        return list(reply)[-1]
    return [r async for r in reply][-1] if how.startswith("astream") else reply


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("how", WAYS)
async def test_a_call_comes_back_with_its_arguments_and_id(make, server, told, n, how):
    llm = make(("small", n))
    response = await by(llm, how, user_msg=CALLS)
    (selected,) = llm.get_tool_calls_from_response(response)
    assert (selected.tool_name, selected.tool_kwargs) == ("add", {"a": 2, "b": 3})
    assert selected.tool_id
    assert [b.tool_name for b in response.message.blocks if isinstance(b, ToolCallBlock)] == ["add"]
    assert told(response)["n"] == n
    assert response.raw["usage"]["completion_tokens"] == server.usage["output"]
    assert server.sent()[0]["tools"][0]["function"]["name"] == "add"


@pytest.mark.parametrize("how", WAYS)
async def test_a_call_may_be_required_or_named(make, server, how):
    llm = make()
    response = await by(llm, how, user_msg="nothing to see", tool_required=True)
    assert server.sent()[-1]["tool_choice"] == "required"
    assert llm.get_tool_calls_from_response(response)
    await by(llm, how, user_msg="1 and 2", tool_choice="multiply")
    assert server.sent()[-1]["tool_choice"] == {"type": "function", "function": {"name": "multiply"}}
    await by(llm, how, user_msg="1 and 2", tool_choice="none")
    assert server.sent()[-1]["tool_choice"] == "none"


@pytest.mark.parametrize("how", WAYS)
async def test_a_reply_without_a_call_is_an_error_only_where_one_is_wanted(make, how):
    llm = make()
    response = await by(llm, how, user_msg="hello")
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(ValueError, match="expected a tool call, got none; the model answered"):
        llm.get_tool_calls_from_response(response)


async def test_without_tools_nothing_about_tools_is_sent(make, server):
    for how in WAYS:
        await by(make(), how, tools=[], user_msg="hello")
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(server.sent()[-1])


def test_every_chunk_of_a_stream_can_be_asked_for_its_calls(make):
    llm = make()
    chunks = list(llm.stream_chat_with_tools(TOOLS, user_msg=CALLS))
    read = [llm.get_tool_calls_from_response(c, error_on_no_tool_call=False) for c in chunks]
    assert read[0] == []
    assert read[-1][0].tool_kwargs == {"a": 2, "b": 3}
    assert any(calls and calls[0].tool_kwargs == {} for calls in read), "some chunk's arguments do not parse yet"
    assert len({calls[0].tool_id for calls in read if calls}) == 1


def test_a_call_is_streamed_as_it_comes(make, like):
    sent = []

    class Slow(OpenAILike):
        def stream_chat(self, messages, **kwargs):
            for arguments in ("", '{"a": 2,', '{"a": 2, "b": 3}'):
                sent.append(arguments)
                block = ToolCallBlock(tool_call_id="call_1", tool_name="add", tool_kwargs=arguments)
                message = ChatMessage(role="assistant", blocks=[TextBlock(text=""), block])
                raw = {"choices": [{"finish_reason": "tool_calls"}]}
                yield ChatResponse(message=message, delta="", raw=raw)

    options = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8000}
    models = {"small": Slow(model="slow", api_key="x", **options), "large": like("large-max")}
    llm = make(models=models)
    read = []
    for chunk in llm.stream_chat_with_tools(TOOLS, user_msg="hi"):
        (call,) = llm.get_tool_calls_from_response(chunk)
        read.append((len(sent), call.tool_kwargs))
    assert read[:3] == [(1, {}), (2, {"a": 2}), (3, {"a": 2, "b": 3})]


@pytest.mark.parametrize("how", WAYS)
async def test_the_callers_history_is_not_changed(make, server, how):
    history = [ChatMessage(role="user", content="first")]
    message = ChatMessage(role="user", content=CALLS)
    await by(make(("small", 2)), how, chat_history=history, user_msg=message)
    assert [m.content for m in history] == ["first"]
    assert [m["content"] for m in server.sent()[0]["messages"]] == ["first", CALLS]


def test_prepared_arguments_are_plain_json_until_a_member_is_called(make, server):
    call = make()._prepare_chat_with_tools(TOOLS, user_msg="hi", tool_required=True)
    json.dumps({name: value for name, value in call.items() if name != "messages"})
    assert server.requests == []


def test_one_call_alone_is_kept_unless_parallel_calls_are_allowed(make, server):
    llm = make()
    message = llm.chat_with_tools(TOOLS, user_msg=CALLS).message
    two = message.model_copy(update={"blocks": [*message.blocks, message.blocks[-1].model_copy()]})
    kept = llm._validate_chat_with_tools_response(ChatResponse(message=two), TOOLS)
    assert len(llm.get_tool_calls_from_response(kept)) == 1
    both = llm._validate_chat_with_tools_response(ChatResponse(message=two), TOOLS, allow_parallel_tool_calls=True)
    assert len(llm.get_tool_calls_from_response(both)) == 2
    llm.chat_with_tools(TOOLS, user_msg=CALLS, allow_parallel_tool_calls=True)
    assert [body["parallel_tool_calls"] for body in server.sent()] == [False, True]


async def test_predict_and_call(make):
    llm = make(("small", 2))
    assert llm.predict_and_call(TOOLS, user_msg=CALLS).response == "5"
    assert (await llm.apredict_and_call(TOOLS, user_msg=CALLS)).response == "5"
    assert llm.predict_and_call(TOOLS, user_msg="hello", error_on_no_tool_call=False).sources == []
    with pytest.raises(ValueError, match="expected a tool call"):
        llm.predict_and_call(TOOLS, user_msg="hello")


def test_tools_given_as_dicts_are_offered_and_a_providers_own_stay_as_they_are(make, server, user):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    weather = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": schema}}
    before = json.dumps(weather)
    make().chat(user("weather in 'Rome'"), tools=[weather, {"type": "web_search"}], tool_required=True)
    sent = server.sent()[0]
    assert sent["tools"][0]["function"]["parameters"]["properties"] == schema["properties"]
    assert sent["tools"][1] == {"type": "web_search"}
    assert sent["tool_choice"] == "required"
    assert json.dumps(weather) == before


BROKEN = (
    {"tool": "subtract", "args": {"a": 1, "b": 2}},
    {"tool": "add", "args": {"a": 1}},
    {"tool": "add", "args": {"a": 1, "b": "two"}},
    {"text": "I would rather talk"},
    {"tool": "add", "args": {"a": 1, "b": 2}, "finish_reason": "length"},
)
GOOD = {"tool": "add", "args": {"a": 1, "b": 2}}


class TestSelection:
    """Samples that are no valid calls are out before the reward (``bestroute.selection``)."""

    @pytest.fixture
    def best_of_3(self, make):
        return make(("small", 3), reward_model=lambda q, texts: [1.0] * len(texts), bills_input="once")

    @pytest.mark.parametrize("broken", BROKEN)
    def test_a_broken_sample_never_wins(self, best_of_3, server, told, broken):
        server.script("small-mini", [broken, GOOD, broken])
        response = best_of_3.chat_with_tools(TOOLS, user_msg="x", tool_required=True)
        assert best_of_3.get_tool_calls_from_response(response)[0].tool_kwargs == {"a": 1, "b": 2}
        assert told(response)["rewards"] == [None, 1.0, None]
        assert told(response)["flaws"][0]

    def test_then_agreement_decides_and_calls_are_rendered_for_the_reward(self, make, server):
        seen = []

        def reward(query, texts):
            seen.extend(texts)
            return [1.0, 0.0, 0.0]

        other = {"tool": "add", "args": {"a": 8, "b": 9}}
        server.script("small-mini", [other, GOOD, {"tool": "add", "args": {"b": 2, "a": 1}}])
        llm = make(("small", 3), reward_model=reward, bills_input="once")
        response = llm.chat_with_tools(TOOLS, user_msg="x")
        assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"a": 1, "b": 2}
        assert seen == ['add({"a": 8, "b": 9})', 'add({"a": 1, "b": 2})', 'add({"a": 1, "b": 2})']

    def test_best_of_3_is_valid_exactly_where_a_sample_was(self, best_of_3, server):
        """200 scripted calls of a member valid 70 % of the time."""
        draw = random.Random(7)
        shares = {True: 0, False: 0}
        for _ in range(200):
            script = [GOOD if draw.random() < 0.7 else draw.choice(BROKEN) for _ in range(3)]
            server.script("small-mini", script)
            response = best_of_3.chat_with_tools(TOOLS, user_msg="x", tool_required=True)
            calls = best_of_3.get_tool_calls_from_response(response, error_on_no_tool_call=False)
            is_whole = response.raw["choices"][0]["finish_reason"] != "length"
            is_valid = is_whole and [(c.tool_name, c.tool_kwargs) for c in calls] == [("add", {"a": 1, "b": 2})]
            assert is_valid == (GOOD in script)
            shares[is_valid] += 1
        assert shares[False] > 0

    def test_json_of_a_schema_competes_too(self, best_of_3, server, user):
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        server.script("small-mini", ["no json", '{"b": 1}', '{"a": 1}'])
        assert best_of_3.chat(user("x"), response_format=wanted).message.content == '{"a": 1}'


class TestTurns:
    """A tool turn stays with the model that made the call, read from the messages themselves."""

    def test_it_stays_also_after_the_messages_were_stored(self, make, server, told):
        turns = iter(["small", "large", "large"])
        llm = make(lambda q: (next(turns), 1))
        history = [ChatMessage(role="user", content=CALLS)]
        response = llm.chat_with_tools(TOOLS, chat_history=history)
        (call,) = llm.get_tool_calls_from_response(response)
        result = ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": call.tool_id})
        stored = [ChatMessage.model_validate_json(m.model_dump_json()) for m in (*history, response.message, result)]
        response = llm.chat_with_tools(TOOLS, chat_history=stored)
        assert [b["model"] for b in server.sent()] == ["small-mini", "small-mini"]
        assert told(response)["reason"] == "a tool turn stays with the model that made the call"
        assert told(llm.chat([*stored, response.message, ChatMessage(role="user", content="hi")]))["model"] == "large"

    @pytest.mark.parametrize(
        ("messages", "owner"),
        [
            ([], None),
            ([("user", None)], None),
            ([("assistant", "small"), ("tool", None)], "small"),
            ([("assistant", "small"), ("tool", None), ("tool", None)], "small"),
            ([("assistant", "small"), ("tool", None), ("user", None)], None),
            ([("assistant", None), ("tool", None)], None),
            ([("assistant", "small")], None),
        ],
    )
    def test_whose_turn_it_is(self, messages, owner):
        def message(role, model):
            notes = {} if model is None else {"bestroute": {"model": model}}
            blocks = [ToolCallBlock(tool_name="add", tool_call_id="1")] if role == "assistant" else []
            return ChatMessage(role=role, blocks=[TextBlock(text="x"), *blocks], additional_kwargs=notes)

        assert turn_owner([message(*m) for m in messages]) == owner

    def test_another_members_turn_loses_what_is_private_and_gets_ids_that_all_accept(self):
        notes = {"bestroute": {"model": "claude"}, "stop_reason": "tool_use"}
        thought = ThinkingBlock(content="hm", additional_information={"signature": "s"})
        call = ToolCallBlock(tool_name="add", tool_call_id="toolu_" + "x" * 60, tool_kwargs='{"a": 1}')
        turn = [
            ChatMessage(role="user", content="q"),
            ChatMessage(role="assistant", blocks=[thought, TextBlock(text="t"), call], additional_kwargs=notes),
            ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": call.tool_call_id}),
        ]
        before = [m.model_dump_json() for m in turn]
        sent = for_member(turn, "gpt")
        assert [b.block_type for b in sent[1].blocks] == ["text", "tool_call"]
        assert sent[1].additional_kwargs == {}
        assert sent[1].blocks[1].tool_kwargs == {"a": 1}
        new = sent[1].blocks[1].tool_call_id
        assert new.isalnum()
        assert len(new) == 9
        assert sent[2].additional_kwargs == {"tool_call_id": new}
        own = for_member(turn, "claude")
        assert own[1].blocks[0].additional_information == {"signature": "s"}
        assert own[1].additional_kwargs == {"stop_reason": "tool_use"}
        assert own[2].additional_kwargs == {"tool_call_id": call.tool_call_id}
        assert [m.model_dump_json() for m in turn] == before

    def test_ids_that_a_provider_gives_again_each_turn_stay_apart(self):
        def turn(result):
            call = ToolCallBlock(tool_name="add", tool_call_id="add", tool_kwargs={})
            notes = {"bestroute": {"model": "llama"}}
            yield ChatMessage(role="assistant", blocks=[call], additional_kwargs=notes)
            yield ChatMessage(role="tool", content=result, additional_kwargs={"tool_call_id": "add"})

        sent = for_member([*turn("1"), *turn("2")], "gpt")
        ids = [m.blocks[0].tool_call_id if m.role == "assistant" else m.additional_kwargs["tool_call_id"] for m in sent]
        assert ids[0] == ids[1] != ids[2] == ids[3]

    def test_what_nobody_of_the_pool_wrote_stays_as_it_is(self):
        call = ToolCallBlock(tool_name="add", tool_call_id="x.y", tool_kwargs="{}")
        foreign = ChatMessage(role="assistant", blocks=[call], additional_kwargs={"tool_calls": ["raw"]})
        assert for_member([foreign], "gpt") == [foreign]


def test_a_member_that_answers_in_text_alone_reads_earlier_tool_turns(make, like, server, told):
    models = {"small": like("small-mini"), "large": OpenAIGenerator("large-max", base_url=server.base_url, api_key="k")}
    llm = make(models=models)
    history = [ChatMessage(role="user", content=CALLS)]
    response = llm.chat_with_tools(TOOLS, chat_history=history)
    (call,) = llm.get_tool_calls_from_response(response)
    result = ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": call.tool_id})
    history += [response.message, result, ChatMessage(role="user", content="and now in words")]
    assert told(llm.chat(history, model="large", n=1))["model"] == "large"
    sent = server.sent()[-1]["messages"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 2, "b": 3}'}
    assert sent[2] == {"role": "tool", "content": "5", "tool_call_id": sent[1]["tool_calls"][0]["id"]}


def test_members_that_cannot_call_tools_are_left_out(make, like, told):
    models = {"small": like("small-mini", is_function_calling_model=False), "large": like("large-max")}
    llm = make(None, models=models, reference="large", reward_model=None)
    assert told(llm.chat_with_tools(TOOLS, user_msg=CALLS))["model"] == "large"
    llm = make(models=models)
    with pytest.raises(ConfigError, match="the router chose 'small', but it cannot call tools"):
        llm.chat_with_tools(TOOLS, user_msg=CALLS)
    llm = make(models={"small": FakeGenerator(["x"]), "large": like("large-max")})
    with pytest.raises(ConfigError, match="answers in text alone, and the query needs tools"):
        llm.chat_with_tools(TOOLS, user_msg=CALLS)


@pytest.mark.parametrize("how", WAYS)
async def test_a_large_reply_is_judged_off_the_loop_in_async_calls(make, server, monkeypatch, how):
    judges = []
    monkeypatch.setattr("bestroute.selection.checks.IN_PLACE", 0)
    judge = generator.judge
    monkeypatch.setattr(generator, "judge", lambda *of: judges.append(threading.current_thread().name) or judge(*of))
    await by(make(("small", 1)), how, user_msg=CALLS)
    assert [name == "bestroute-judge" for name in judges] == [how.startswith("a")]
