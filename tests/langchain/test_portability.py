"""Requirement 14: a conversation that moves between members never carries private state, and its ids fit."""

import copy
import json
import re

import pytest

pytest.importorskip("langchain_anthropic")

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from langchain_bestroute.messages import prepared

LONG = "toolu." + "x" * 60


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def said_by(model, content="", ids=(), **options):
    calls = [{"name": "add", "args": {"a": i}, "id": id_, "type": "tool_call"} for i, id_ in enumerate(ids)]
    told = {"bestroute": {"model": model}, "id": "resp_1", "model_provider": "openai", "output_version": "v1"}
    return AIMessage(content, tool_calls=calls, response_metadata=told, id="msg_1", **options)


def test_own_messages_and_those_of_nobody_are_passed_untouched():
    history = [HumanMessage("a"), said_by("small", [{"type": "reasoning", "id": "rs_1"}]), AIMessage("b", id="x")]
    ready = prepared(history, "small")
    assert all(after is before for after, before in zip(ready, history, strict=True))


def test_of_another_members_message_text_and_calls_remain():
    content = [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "secret"},
        {"type": "text", "text": "let me add", "id": "msg_2", "annotations": [{"x": 1}]},
        {"type": "tool_call", "name": "add", "args": {"a": 0}, "id": "call_1"},
    ]
    private = {"reasoning_content": "secret", "__openai_function_call_ids__": {"call_1": "fc_1"}}
    before = said_by("small", content, ["call_1"], additional_kwargs=private, usage_metadata=None)
    (after,) = prepared([before], "large")
    assert after.content == "let me add"
    (call,) = after.tool_calls
    assert (call["name"], call["args"]) == ("add", {"a": 0})
    assert re.fullmatch("[a-zA-Z0-9]{9}", call["id"])
    assert (after.additional_kwargs, after.id) == ({}, None)
    assert after.response_metadata == {"bestroute": {"model": "small"}}


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "thinking", "thinking": "secret", "signature": "secret"}, {"type": "text", "text": "hello"}],
        [{"type": "redacted_thinking", "data": "secret"}, {"type": "text", "text": "hello"}],
        [{"type": "tool_use", "id": "x", "name": "f", "input": {}}, {"type": "text", "text": "hello"}],
        [
            {"type": "server_tool_use", "id": "x", "name": "f", "input": {"q": "secret"}},
            {"type": "text", "text": "hello"},
        ],
        [{"type": "non_standard", "value": "secret"}, {"type": "text", "text": "hello"}],
        "hello",
    ],
)
def test_private_blocks_of_any_provider_go(content):
    (after,) = prepared([said_by("small", content)], "large")
    assert after.content == "hello"
    assert "secret" not in after.model_dump_json()


def test_an_image_that_a_model_made_stays():
    image = {"type": "image", "base64": "AAAA", "mime_type": "image/png"}
    (after,) = prepared([said_by("small", [{"type": "text", "text": "see"}, image])], "large")
    assert [block["type"] for block in after.content] == ["text", "image"]
    assert after.content[1]["base64"] == "AAAA"


def test_ids_that_a_member_could_refuse_are_replaced_in_calls_and_results_alike():
    history = [
        HumanMessage("q"),
        said_by("small", ids=[LONG, "Ab1Cd2Ef3"]),
        ToolMessage("1", tool_call_id=LONG),
        ToolMessage("2", tool_call_id="Ab1Cd2Ef3"),
    ]
    before = copy.deepcopy(history)
    ready = prepared(history, "large")
    first, second = (call["id"] for call in ready[1].tool_calls)
    assert re.fullmatch("[a-zA-Z0-9]{9}", first)
    assert second == "Ab1Cd2Ef3"
    assert [m.tool_call_id for m in ready[2:]] == [first, second]
    assert history == before, "the caller's messages are not changed"
    assert prepared(history, "large")[1].tool_calls == ready[1].tool_calls, "the same ids every time"


def test_an_id_that_comes_twice_is_told_apart():
    history = [
        said_by("small", ids=["call_0"]),
        ToolMessage("1", tool_call_id="call_0"),
        HumanMessage("more"),
        said_by("small", ids=["call_0"]),
        ToolMessage("2", tool_call_id="call_0"),
    ]
    ready = prepared(history, "large")
    ids = [ready[i].tool_calls[0]["id"] for i in (0, 3)]
    assert len(set(ids)) == 2
    assert [ready[i].tool_call_id for i in (1, 4)] == ids
    assert prepared(history, "small") == history


def test_the_results_of_an_own_turn_keep_their_ids_beside_a_foreign_one():
    history = [
        said_by("large", ids=[LONG]),
        ToolMessage("1", tool_call_id=LONG),
        said_by("small", ids=[LONG]),
        ToolMessage("2", tool_call_id=LONG),
    ]
    ready = prepared(history, "large")
    assert (ready[0].tool_calls[0]["id"], ready[1].tool_call_id) == (LONG, LONG)
    assert ready[2].tool_calls[0]["id"] == ready[3].tool_call_id != LONG


def test_calls_that_did_not_parse_keep_pace():
    broken = {"name": "add", "args": "{", "id": LONG, "error": "x", "type": "invalid_tool_call"}
    message = AIMessage("", invalid_tool_calls=[broken], response_metadata={"bestroute": {"model": "small"}})
    ready = prepared([message, ToolMessage("no", tool_call_id=LONG)], "large")
    assert ready[0].invalid_tool_calls[0]["id"] == ready[1].tool_call_id != LONG


# On the wire: the server refuses, as Anthropic does, foreign blocks, foreign signatures, strange and unknown ids.


@pytest.fixture
def pool(server):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    return {
        "claude": ChatAnthropic(
            model="claude", base_url=server.root_url, api_key="k", max_retries=0, max_tokens=2000, thinking=thinking
        ),
        "gpt": ChatOpenAI(model="gpt", base_url=server.base_url, api_key="k", max_retries=0, use_responses_api=True),
    }


@pytest.mark.parametrize(("first", "second"), [("claude", "gpt"), ("gpt", "claude")])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_turn_may_be_restarted_on_the_other_provider(make, pool, server, first, second, is_async):
    chat = make((first, 1), models=pool, prices=dict.fromkeys(pool, make().prices["small"])).bind_tools([add])
    history = [HumanMessage('CALL add({"a": 2, "b": 3})')]
    history.append(chat.invoke(history))
    history.append(add.invoke(history[-1].tool_calls[0]))
    asked = {"model": second}
    answer = await chat.ainvoke(history, **asked) if is_async else chat.invoke(history, **asked)
    assert "tool said: 5" in answer.text
    assert answer.response_metadata["bestroute"]["model"] == second
    again = chat.invoke([*history, answer, HumanMessage("and back")], model=first)
    assert again.response_metadata["bestroute"]["model"] == first
    bodies = [json.dumps(r["body"]) for r in server.requests]
    assert "loopback-signature" not in "".join(b for b in bodies if '"model": "gpt"' in b)


def test_a_turn_that_stays_sends_its_own_private_state(make, pool, server):
    chat = make(("claude", 1), models=pool, prices=dict.fromkeys(pool, make().prices["small"])).bind_tools([add])
    history = [HumanMessage('CALL add({"a": 2, "b": 3})')]
    history.append(chat.invoke(history))
    history.append(add.invoke(history[-1].tool_calls[0]))
    assert "tool said: 5" in chat.invoke(history).text
    assert "loopback-signature" in json.dumps(server.requests[-1]["body"])
