"""The Responses API over the same engines: what it asks becomes a chat completion's request, and comes back."""

import json

import pytest

openai_types = pytest.importorskip("openai.types.responses")

TOOL = {
    "type": "function",
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    "strict": True,
}
CALLS_ADD = 'Please CALL add({"a": 1, "b": 2})'


def ask(served, **body):
    return served.post("/v1/responses", {"model": "auto", **body})


def test_a_response_has_the_text_the_usage_and_the_decision(served, server):
    answer = ask(served, input="What is 2 + 2?", instructions="Be brief.", metadata={"a": "b"}, temperature=0.5)
    found = answer.json()
    response = openai_types.Response.model_validate(found)
    assert response.output_text == "[large-max#0] answer q=0.40 to: What is 2 + 2?"
    assert (response.status, response.object, response.model) == ("completed", "response", "large-max")
    assert response.usage.output_tokens == server.usage["output"]
    assert response.usage.input_tokens == server.usage["input"]
    assert (response.instructions, response.metadata, response.temperature) == ("Be brief.", {"a": "b"}, 0.5)
    assert found["bestroute"]["model"] == answer.headers["x-bestroute-model"] == "large-max"
    (sent,) = server.sent()
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2 + 2?"},
    ]
    assert sent["temperature"] == 0.5


def test_what_a_request_says_is_asked_as_a_chat_completion(served, server):
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
    ask(
        served,
        model="small-mini",
        input=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "What is this?"}, image]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
            },
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "3"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "4"}]},
        ],
        tools=[TOOL],
        tool_choice={"type": "function", "name": "add"},
        parallel_tool_calls=False,
        max_output_tokens=50,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}, "verbosity": "low"},
        user="u",
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        store=False,
        truncation="auto",
    )
    (sent,) = server.sent()
    calls = [{"id": i, "type": "function", "function": {"name": "add", "arguments": "{}"}} for i in ("c1", "c2")]
    function = {name: value for name, value in TOOL.items() if name != "type"}
    assert sent == {
        "model": "small-mini",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": image["image_url"], "detail": "low"}},
                ],
            },
            {"role": "assistant", "content": "I look.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
            {"role": "tool", "tool_call_id": "c2", "content": "4"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "max_tokens": 50,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
        "verbosity": "low",
        "user": "u",
        "logprobs": True,
    }


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_call_is_an_item_and_its_turn_stays_with_the_member(served, server, streams):
    body = {"model": "auto-cheap", "input": [{"role": "user", "content": CALLS_ADD}], "tools": [TOOL]}
    if streams:
        events = served.events("/v1/responses", body)
        deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
        (item,) = events[-1]["response"]["output"]
        assert "".join(deltas) == item["arguments"]
        assert len(deltas) > 1
    else:
        (item,) = served.post("/v1/responses", body).json()["output"]
    assert (item["type"], item["name"], json.loads(item["arguments"])) == ("function_call", "add", {"a": 1, "b": 2})
    turn = [*body["input"], item, {"type": "function_call_output", "call_id": item["call_id"], "output": "3"}]
    found = ask(served, input=turn, tools=[TOOL]).json()
    assert found["bestroute"]["model"] == "small-mini"
    assert found["output"][0]["content"][0]["type"] == "output_text"
    assert server.sent()[-1]["messages"][-1]["tool_call_id"] == item["call_id"].rpartition("-br")[0]


def test_a_stream_is_the_events_of_a_response(served):
    events = served.events("/v1/responses", {"model": "auto", "input": "What is 2 + 2?"})
    kinds = [event["type"] for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert len(kinds[4:-4]) > 3
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    response = openai_types.Response.model_validate(events[-1]["response"])
    assert response.output_text == text == "[large-max#0] answer q=0.40 to: What is 2 + 2?"
    assert events[-1]["response"]["bestroute"]["cost_usd"] > 0
    ids = {event["item_id"] for event in events if "item_id" in event}
    assert ids == {response.output[0].id}


def test_an_answer_that_is_cut_is_incomplete(serve, server, pool_of):
    served = serve(pool=pool_of(server.base_url, {"trunc-max": (1, 1)}))
    found = ask(served, input="What is 2 + 2?").json()
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    events = served.events("/v1/responses", {"model": "auto", "input": "What is 2 + 2?"})
    assert events[-1]["type"] == "response.incomplete"


def test_a_stream_that_breaks_ends_with_an_error(serve, server, pool_of):
    served = serve(pool=pool_of(server.base_url, {"drop-2-max": (1, 1)}))
    events = served.events("/v1/responses", {"model": "auto", "input": "What is 2 + 2?"})
    assert events[-1]["type"] == "error"
    assert events[-1]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools"),
        ({"input": "x", "tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input"),
        ({"input": [1]}, "input"),
        ({"input": [{"content": "x"}]}, "input"),
        ({"input": 3}, "input"),
        ({}, "input"),
        ({"input": "x", "instructions": 3}, "instructions"),
        ({"input": "x", "text": 3}, "text"),
        ({"input": "x", "include": 3}, "include"),
    ],
)
def test_what_members_cannot_do_is_a_400_that_names_the_field(served, server, body, param):
    answer = ask(served, **body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert not server.requests
