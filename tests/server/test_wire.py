"""What no loopback member says: thoughts, secrets in errors, awkward characters, and the money for n."""

import json

import pytest

from bestroute import GenerationError, Query
from bestroute.errors import Failure
from bestroute.selection.empty_reply import carries_something

pytest.importorskip("starlette")

from bestroute.server.api_errors import api_error
from bestroute.server.chat_request import chat_query, read_chat
from bestroute.server.exchange import _header, as_json
from bestroute.server.relay import Assembly, Piece


def chunk(**delta):
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def test_thoughts_are_shown_as_they_come_and_kept_in_the_reply():
    assert carries_something(Piece(chunk(reasoning_content="Hm."), "m"))
    assert not carries_something(Piece(chunk(role="assistant", content=""), "m"))
    stream = Assembly("m")
    for delta in ({"reasoning_content": "Hm, "}, {"reasoning_content": "7."}, {"content": "4"}, {"content": "9"}):
        stream.add(chunk(**delta))
    stream.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    assert stream.add({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}).usage.output == 5
    sample = stream.sample(Query("7 * 7?"), {}, 0.1)
    (choice,) = sample.payload.completion["choices"]
    assert choice["message"] == {"role": "assistant", "content": "49", "reasoning_content": "Hm, 7."}
    assert (sample.text, sample.finish_reason, sample.usage.input) == ("49", "stop", 3)


def test_pieces_in_odd_forms_make_an_answer_all_the_same():
    stream = Assembly("m")
    blocks = [{"type": "text", "text": "4"}]
    stream.add(
        {
            "choices": [None, {"index": None, "delta": {"content": blocks}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5},
        }
    )
    stream.add(
        chunk(tool_calls=["add", {"index": None, "id": "a", "function": {"name": "add", "arguments": {"a": 1}}}])
    )
    stream.add({"choices": [{"delta": "9"}, {"delta": None, "finish_reason": "stop"}]})
    sample = stream.sample(Query("7 * 7?"), {}, 0.1)
    assert (sample.text, sample.usage.output) == ("4", 5)
    (call,) = sample.payload.message.tool_calls
    assert (call["id"], call["function"]) == ("a", {"name": "add", "arguments": ""})


def test_a_stream_without_an_end_is_broken():
    stream = Assembly("m")
    stream.add(chunk(content="4"))
    with pytest.raises(ConnectionError, match="broke off"):
        stream.sample(Query("7 * 7?"), {}, 0.1)


def test_tool_calls_in_pieces_become_whole_calls():
    stream = Assembly("m")
    pieces = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "add", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a":'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "add", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": " 1}"}},
    ]
    for piece in pieces:
        stream.add(chunk(tool_calls=[piece]))
    stream.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    sample = stream.sample(Query("x"), {}, 0.1)
    calls = [(c["id"], c["function"]["arguments"]) for c in sample.payload.message.tool_calls]
    assert calls == [("a", '{"a": 1}'), ("b", "{}")]
    assert carries_something(sample.payload)


def test_no_key_and_no_question_stands_in_what_a_caller_is_told():
    class AuthenticationError(Exception):
        status_code = 401

    own = AuthenticationError("Incorrect API key provided: sk-abcdef123456; in: my secret question is long enough")
    own.body = {"message": "Incorrect API key provided: sk-abcdef123456", "code": "invalid_api_key", "type": "x"}
    query = Query("my secret question is long enough")
    error = GenerationError("no sample came", [Failure("small", own)])
    found = api_error(error, query)
    assert (found.status, found.code, found.type) == (401, "invalid_api_key", "x")
    assert "sk-abcdef" not in json.dumps(found.to_json())
    assert "my secret question" not in found.message


def test_what_nobody_foresaw_is_a_500_that_says_nothing(caplog):
    found = api_error(RuntimeError("at /etc/secret: sk-abcdef123456"))
    assert (found.status, found.code) == (500, "internal_error")
    assert "secret" not in found.message
    assert "sk-abcdef" not in caplog.text


def test_a_header_is_one_line_of_ascii_and_json_is_utf_8():
    assert _header("two\r\nlines: ü") == b"two??lines: ?"
    assert len(_header("x" * 10_000)) == 500
    assert as_json({"a": "ü"}) == '{"a":"ü"}'.encode()
    assert json.loads(as_json({"a": "\ud800"})) == {"a": "\ud800"}


def test_the_length_of_a_prompt_counts_turns_images_and_tools():
    alone = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]
    assert chat_query(alone, None, {}).input_tokens is None
    assert chat_query(alone, None, {}).prompt_tokens == Query("What is 2 + 2?", system="Be brief.").prompt_tokens
    turns = [*alone, {"role": "assistant", "content": "4"}, {"role": "user", "content": "And 3 + 3?"}]
    longer = chat_query(turns, None, {})
    assert (longer.text, longer.system) == ("And 3 + 3?", "Be brief.")
    assert longer.prompt_tokens > chat_query(alone, None, {}).prompt_tokens
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    assert chat_query([image], None, {}).prompt_tokens > 1000
    tools = [{"type": "function", "function": {"name": "add", "description": "Adds. " * 50}}]
    assert read_chat({"model": "a", "messages": alone, "tools": tools}).query.prompt_tokens > 50


def test_several_choices_are_reserved_and_never_pass_a_budget(serve, server, pool_of):
    served = serve(pool=pool_of(server.base_url, {"one-max": (1000, 1000)}), budget=0.05)
    answer = served.chat(n=5, max_tokens=20)
    assert answer.status_code == 200
    assert server.sent()[0]["max_tokens"] < 10
    assert served.service.engines.ledger.cost_usd <= 0.05
