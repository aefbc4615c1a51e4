"""What is empty, wherever a framework may note something."""

from types import SimpleNamespace

import pytest

from bestroute import Sample
from bestroute.selection.empty_reply import EMPTY, carries_something, flaw_of


def message(**fields):
    return SimpleNamespace(**{"content": "", "additional_kwargs": {}, **fields})


@pytest.mark.parametrize(
    "payload",
    [
        None,
        message(),
        message(additional_kwargs={"refusal": None}),
        message(additional_kwargs={"refusal": None, "tool_calls": [], "audio": {}, "note": "  "}),
        message(additional_kwargs={"tool_calls": [], "tool_call_id": [], "status": []}),
        message(additional_kwargs={"a": {"b": [{"c": None}, ""]}}),
        message(additional_kwargs={"usage": {"input_tokens": 9}, "stop_reason": "end_turn", "is_blocked": False}),
        message(additional_kwargs={"reasoning_content": "Let me see."}),
        message(content=[]),
        message(content=[{"type": "text", "text": " "}]),
        message(content=[{"type": "thinking", "thinking": "Let me see.", "signature": "x"}]),
        message(blocks=[SimpleNamespace(block_type="thinking", content="Let me see.")]),
        message(tool_calls=[], function_call=None, refusal=None),
        SimpleNamespace(message=message(additional_kwargs={"refusal": None})),
    ],
)
def test_an_empty_reply_is_empty_whatever_is_noted_beside_it(payload):
    assert flaw_of(Sample("\n", payload)) == EMPTY


@pytest.mark.parametrize(
    "payload",
    [
        message(additional_kwargs={"refusal": "I cannot."}),
        message(additional_kwargs={"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}),
        message(additional_kwargs={"function_call": {"name": "f", "arguments": ""}}),
        message(refusal="I cannot."),
        SimpleNamespace(message=message(), raw={"choices": [{"message": {"refusal": "I cannot."}}]}),
        SimpleNamespace(
            message=message(), raw=SimpleNamespace(choices=[SimpleNamespace(delta=message(refusal="No."))])
        ),
        message(tool_calls=[{"name": "f", "args": {}}]),
        message(content=[{"type": "image", "data": "x"}]),
        message(content=[{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "4"}]),
    ],
)
def test_a_refusal_a_call_or_an_image_is_a_reply(payload):
    assert carries_something(payload)
    assert flaw_of(Sample("", payload)) is None


def test_a_thought_is_worth_showing_while_it_streams():
    assert carries_something(message(additional_kwargs={"reasoning_content": "Let me see."}))
    assert carries_something(message(content=[{"type": "thinking", "thinking": "Let me see."}]))


def test_an_empty_object_in_a_calls_place_carries_nothing():
    assert not carries_something(message(tool_calls={}))
    assert not carries_something(message(tool_calls=[{}]))
