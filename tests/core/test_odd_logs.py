"""Logs with content that is odd but legal: nothing of it is lost, taken for something else, or paired wrongly."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from bestroute import ConfigError, RecordError
from bestroute.evaluation.baselines import _kmeans
from bestroute.records.collect import read_prompts
from bestroute.records.jsonl import write_jsonl
from bestroute.records.logs.importing import import_logs
from bestroute.records.logs.logged_call import moment
from bestroute.records.logs.streams import whole_reply

ASKS = {"role": "user", "content": "What is it?"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALLED = '[{"name": "weather", "arguments": {"town": "Oslo"}}]'
IMAGE = {"type": "image_url", "image_url": {"url": "https://a/b.png"}}
DATA = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA"}}


def imported(tmp_path, *rows, **options):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = import_logs([path], **options)
    lines = list(done.lines)
    if not options.get("as_records"):
        write_jsonl(tmp_path / "prompts.jsonl", lines)
        assert len(read_prompts(tmp_path / "prompts.jsonl")) == len(lines)
    return done, lines


def chat(answer, **request):
    message = {"role": "assistant", "content": answer} if isinstance(answer, str) else answer
    return {
        "request": {"model": "m", "messages": [ASKS], **request},
        "response": {"model": "m", "choices": [{"message": message}]},
    }


def test_the_one_call_of_the_older_api_is_a_tool_call_with_its_answer(tmp_path):
    call = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"town": "Oslo"}'}}
    row = chat(call, messages=[ASKS, call, {"role": "function", "name": "weather", "content": "sun"}])
    _, (line,) = imported(tmp_path, row)
    _, asked, given = line["messages"]
    assert asked["tool_calls"][0]["function"]["name"] == "weather"
    assert given == {"role": "tool", "content": "sun", "tool_call_id": asked["tool_calls"][0]["id"]}
    assert line["answered"]["text"] == CALLED


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ("required", "required"),
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_which_tools_are_to_be_called_is_kept(tmp_path, wanted, kept):
    _, (line,) = imported(tmp_path, chat("x", tools=[TOOL], tool_choice=wanted))
    assert line["tool_choice"] == kept


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ({"type": "input_image", "image_url": "https://a/b.png"}, IMAGE),
        ({"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}, IMAGE),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAA"}}, DATA),
        ({"type": "image", "mime_type": "image/png", "base64": "AAA"}, DATA),
        ({"message_content.type": "image", "message_content.image.image.url": "https://a/b.png"}, IMAGE),
        ({"message_content": {"type": "image", "image": {"image": {"url": "https://a/b.png"}}}}, IMAGE),
        (IMAGE, IMAGE),
    ],
)
def test_images_of_every_client_are_those_of_chat_completions(tmp_path, part, kept):
    turn = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}
    _, (line,) = imported(tmp_path, chat("x", messages=[turn]))
    assert line["messages"][0]["content"] == [{"type": "text", "text": "What is it?"}, kept]


def span(**attributes):
    return {"name": "chat", "span_id": "s", "attributes": {"gen_ai.request.model": "m", **attributes}}


def test_images_and_plain_instructions_of_a_span_are_kept(tmp_path):
    blocks = [
        {"type": "text", "content": "What is it?"},
        {"type": "uri", "modality": "image", "uri": "https://a/b.png"},
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "AAA"},
    ]
    turns = json.dumps([{"role": "user", "parts": blocks}])
    _, (line,) = imported(tmp_path, span(**{"gen_ai.input.messages": turns, "gen_ai.system_instructions": "Be brief."}))
    assert line["messages"][0] == {"role": "system", "content": "Be brief."}
    assert line["messages"][1]["content"][1:] == [IMAGE, DATA]


def test_contents_in_the_event_of_a_whole_call_are_read(tmp_path):
    contents = {
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "What is it?"}]}],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "A cat"}]}],
    }
    event = {"name": "gen_ai.client.inference.operation.details", "attributes": contents}
    _, (line,) = imported(tmp_path, {**span(), "events": [event]})
    assert (line["query"], line["answered"]["text"]) == ("What is it?", "A cat")


def test_tools_and_parts_that_are_numbered_or_written_as_json_are_read(tmp_path):
    row = span(
        **{
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": json.dumps([{"type": "text", "text": "What is it?"}, IMAGE]),
            "llm.request.functions.0.name": "weather",
            "llm.request.functions.0.parameters": '{"type": "object"}',
        }
    )
    _, (line,) = imported(tmp_path, row)
    assert line["query"] == "What is it?"
    assert line["tools"] == [TOOL]


def generation(**fields):
    return {"id": "o", "traceId": "t", "type": "GENERATION", "model": "m", "input": "Q?", "output": "A", **fields}


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({"mood": "good"}, '{"mood": "good"}'),
        ('{"mood": "good"}', '{"mood": "good"}'),
        ("[1,2]", "[1,2]"),
        (["a", "b"], '["a", "b"]'),
        (42, "42"),
    ],
)
def test_an_answer_that_is_json_is_its_text(tmp_path, output, text):
    _, (line,) = imported(tmp_path, generation(output=output))
    assert line["answered"]["text"] == text
    _, (line,) = imported(tmp_path, {"query": "Q?", "answer": output, "model": "m"})
    assert line["answered"]["text"] == text


@pytest.mark.parametrize("output", [{"error": {"message": "busy"}}, {"choices": []}, {"x": None}, {}, [], None])
def test_what_is_no_answer_is_none(tmp_path, output):
    _, (line,) = imported(tmp_path, generation(output=output))
    assert "answered" not in line


def test_tools_that_the_handler_for_langchain_writes_behind_the_turns_are_tools(tmp_path):
    answered = {"role": "tool", "content": "sun", "tool_call_id": "c"}
    _, (line,) = imported(tmp_path, generation(input=[ASKS, answered, {"role": "tool", "content": TOOL}]))
    assert line["tools"] == [TOOL]
    assert line["messages"] == [ASKS, answered]


def test_cached_and_reasoning_tokens_are_counted_as_they_are_billed(tmp_path):
    details = {"input": 10, "input_cached_tokens": 90, "output": 5, "output_reasoning_tokens": 7, "total": 112}
    _, (line,) = imported(tmp_path, generation(usageDetails=details))
    assert (line["answered"]["input_tokens"], line["answered"]["output_tokens"]) == (100, 12)
    reply = {"role": "assistant", "model": "m", "content": "x", "usage": {"input_tokens": 3, "output_tokens": 4}}
    reply["usage"]["cache_read_input_tokens"] = 97
    _, (line,) = imported(tmp_path, {"request": {"model": "m", "messages": [ASKS]}, "response": reply})
    assert line["answered"]["input_tokens"] == 100


def test_a_question_that_is_json_is_its_text(tmp_path):
    _, lines = imported(tmp_path, {"query": "[1, 2, 3]"}, {"query": '{"order": 5}'})
    assert [line["query"] for line in lines] == ["[1, 2, 3]", '{"order": 5}']


@pytest.mark.parametrize("written", [json.dumps, lambda turns: turns])
def test_a_system_prompt_beside_turns_goes_before_them(tmp_path, written):
    turns = [ASKS, {"role": "assistant", "content": "A cat"}, {"role": "user", "content": "Sure?"}]
    _, (line,) = imported(tmp_path, {"messages": written(turns), "system": "Be brief.", "question_id": 1})
    assert line["messages"] == [{"role": "system", "content": "Be brief."}, *turns]


def test_what_python_prints_of_turns_is_read_as_turns(tmp_path):
    row = {"attributes.llm.input_messages": str([{"message.role": "user", "message.content": "What's it?"}])}
    _, (line,) = imported(tmp_path, {**row, "span_kind": "LLM", "context.span_id": "s"})
    assert line["query"] == "What's it?"


@pytest.mark.parametrize(
    "printed", ["{'role': 'user', 'content': [b'x', (1, {2}), 1e999]}", "{('a',): 1}", "[{'x': y}]"]
)
def test_what_python_prints_of_odd_values_can_be_written(tmp_path, printed):
    imported(tmp_path, {"query": printed}, {"query": "Why?", "answer": printed})


def test_an_event_whose_name_is_no_text_is_no_trouble(tmp_path):
    done, _ = imported(
        tmp_path,
        span(**{"gen_ai.prompt.0.content": "Q?", "gen_ai.prompt.0.role": "user"}),
        {**span(), "events": [{"name": ["x"]}]},
    )
    assert done.left_out == 1


def test_a_spend_log_from_a_table_has_empty_messages_beside_the_request(tmp_path):
    sent = json.dumps({"model": "m", "messages": [ASKS]})
    row = {"request_id": "r", "call_type": "acompletion", "spend": "0.01", "messages": "{}", "response": "{}"}
    _, (line,) = imported(tmp_path, {**row, "model": "m", "proxy_server_request": sent})
    assert line["query"] == "What is it?"


def test_embeddings_are_no_calls_of_a_model_that_answers(tmp_path):
    body = {"model": "text-embedding-3-small", "input": "some words"}
    batch = [{"custom_id": "a", "url": "/v1/embeddings", "body": {**body, "model": "own"}}]
    done, (line,) = imported(tmp_path, *batch, {"custom_id": "b", "body": {"model": "m", "messages": [ASKS]}})
    assert (done.left_out, line["id"]) == (1, "b")
    reply = {"object": "list", "data": [{"embedding": [0.1]}]}
    done, _ = imported(tmp_path, chat("x"), {"request": {**body, "model": "own"}, "response": reply}, {"request": body})
    assert done.left_out == 2


def half(name, **fields):
    return {"custom_id": name, **fields}


def test_batches_that_share_ids_are_never_paired_by_chance(tmp_path):
    asks = [half("r", body={"model": "m", "messages": [{"role": "user", "content": text}]}) for text in ("A?", "B?")]
    replies = [half("r", response={"body": chat(text)["response"]}) for text in ("of A", "of B")]
    with pytest.raises(RecordError, match="'custom_id' 'r' more than once"):
        imported(tmp_path, *asks, *replies)
    with pytest.raises(RecordError, match="'custom_id' 'r' more than once"):
        imported(tmp_path, *replies, *asks)
    _, lines = imported(tmp_path, asks[0], replies[0], asks[1], replies[1])
    assert [line["answered"]["text"] for line in lines] == ["of A", "of B"]
    _, lines = imported(tmp_path, *({**one, "custom_id": None} for one in asks))
    assert [line["query"] for line in lines] == ["A?", "B?"]


def test_all_choices_of_a_call_are_samples_that_share_its_bill(tmp_path):
    choices = [{"message": {"role": "assistant", "content": text}} for text in ("one two", "two one", "six six")]
    reply = {"model": "m", "choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 20}}
    row = {"request_id": "r", "request_body": {"model": "m", "messages": [ASKS]}, "response_body": reply}
    _, (line,) = imported(tmp_path, {**row, "cost_usd": 0.2}, as_records=True)
    samples = line["samples"]["m"]
    assert samples["text"] == ["one two", "two one", "six six"]
    assert sum(samples["output_tokens"]) == 20
    assert sum(samples["cost_usd"]) == pytest.approx(0.2)


CHUNKS = [
    {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "A "}}]},
    {"model": "m", "choices": [{"index": 0, "delta": {"content": "cat"}}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
]
BLOCKS = [
    {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "cat"}},
    {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 2}},
]
ENDED = {"model": "m", "output": [{"type": "message", "role": "assistant", "content": "A cat"}]}
EVENTS = [
    {"type": "response.created"},
    {
        "type": "response.completed",
        "response": {**ENDED, "usage": {"input_tokens": 3, "output_tokens": 2}},
    },
]


def as_sent(events):
    return "".join(f"event: x\ndata: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n"


@pytest.mark.parametrize("events", [CHUNKS, BLOCKS, EVENTS])
@pytest.mark.parametrize("kept", [list, as_sent, lambda events: {"streamed_data": as_sent(events)}])
def test_a_reply_kept_as_its_stream_is_put_together(tmp_path, events, kept):
    _, (line,) = imported(tmp_path, {"request": {"model": "m", "messages": [ASKS]}, "response": kept(events)})
    assert line["answered"] == {"model": "m", "text": "A cat", "input_tokens": 3, "output_tokens": 2}


def test_tool_calls_of_a_stream_are_put_together():
    pieces = [
        {"index": 0, "id": "c", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"town":'}},
        {"index": 0, "function": {"arguments": ' "Oslo"}'}},
    ]
    reply = whole_reply([{"choices": [{"delta": {"tool_calls": [piece]}}]} for piece in pieces])
    assert reply["choices"][0]["message"]["tool_calls"] == [
        {"id": "c", "name": "weather", "arguments": '{"town": "Oslo"}'}
    ]
    block = {"type": "tool_use", "id": "c", "name": "weather", "input": {}}
    reply = whole_reply(
        [
            {"type": "message_start", "message": {}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": {"partial_json": '{"town": "Oslo"}'}},
        ]
    )
    assert reply["content"][0]["input"] == {"town": "Oslo"}


def test_ids_and_groups_that_hold_personal_data_stay_apart_and_hide_it(tmp_path):
    pytest.importorskip("datafog")
    rows = [{"id": f"{name}@example.com", "query": f"{name} asks for things", "user_id": name} for name in ("al", "bo")]
    rows += [{"id": "5551234567", "query": "Where to?"}, {"id": "5551234568", "query": "Something else entirely"}]
    done, lines = imported(tmp_path, *rows, mask=True)
    assert len({line["id"] for line in lines}) == len({line["group"] for line in lines}) == done.groups == 4
    assert "example.com" not in json.dumps(lines)
    assert "555123" not in json.dumps(lines)
    assert list(done.lines) == lines


def test_all_that_was_masked_is_counted(tmp_path):
    pytest.importorskip("datafog")
    (tmp_path / "log.jsonl").write_text("".join(f'{{"query": "write to {name}@b.com"}}\n' for name in "abc"))
    command = [sys.executable, "-m", "bestroute", "import", "log.jsonl", "--mask", "--out", "prompts.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "masked: EMAIL 3" in done.stdout


@pytest.mark.parametrize(
    "written",
    [
        "1725192000.0",
        "2024-09-01 12:00:00 UTC",
        "2024-09-01T12:00:00.000000000Z",
        "2024/09/01 12:00:00",
        "Sun, 01 Sep 2024 12:00:00 GMT",
    ],
)
def test_times_are_read_as_tools_write_them(written):
    assert moment(written) == moment("2024-09-01T12:00:00Z")
    assert moment("20240901") == moment("2024-09-01")


def test_an_entry_of_an_answer_that_is_no_row_is_refused(tmp_path):
    with pytest.raises(RecordError, match="line 1 entry 2: expected an object, got 5"):
        imported(tmp_path, {"data": [{"query": "a?"}, 5]})


def test_a_mapped_field_may_be_absent_from_some_rows(tmp_path):
    rows = {"ask": "A?", "told_by": "m", "reply": "x"}, {"ask": "B?"}
    _, lines = imported(tmp_path, *rows, columns={"query": "ask", "model": "told_by", "answer": "reply"})
    assert [line["query"] for line in lines] == ["A?", "B?"]
    with pytest.raises(ConfigError, match="--map task=kind: there is no such column, only 'ask', 'told_by', 'reply'"):
        imported(tmp_path, *rows, columns={"query": "ask", "task": "kind"})


def test_a_first_line_that_is_cut_is_named_as_any_other(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"query": "a?"\n{"query": "b?"}\n')
    with pytest.raises(RecordError, match="log.jsonl line 1: not valid JSON"):
        import_logs([tmp_path / "log.jsonl"])


def test_queries_that_are_alike_make_no_library_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _kmeans(np.repeat(np.eye(2), 5, axis=0), 4).shape == (4, 2)
