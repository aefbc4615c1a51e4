"""Logs of other tools: the same conversation as each of them exports it, read back as the same prompts and records."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute import ConfigError, RecordError
from bestroute.cli import main
from bestroute.records.collect import read_prompts
from bestroute.records.jsonl import read_jsonl, write_jsonl
from bestroute.records.logs import importing
from bestroute.records.logs.formats import FORMATS, recognised
from bestroute.records.logs.importing import import_logs
from bestroute.records.logs.logged_call import LoggedCall, number
from bestroute.records.logs.near_duplicates import Groups
from bestroute.records.logs.rows import read_rows
from bestroute.records.logs.subsample import check_sample, stratum_of, subsample
from bestroute.records.logs.turns import turns_of
from bestroute.records.records import read_records

SYSTEM, FIRST, REPLY, LAST = "Be brief.", "I am in Oslo.", "Noted.", "How warm is it here?"
ANSWER = "About 12 degrees."
CALLED = '[{"name": "weather", "arguments": {"town": "Oslo"}}]'
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TURNS = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": FIRST},
    {"role": "assistant", "content": REPLY},
    {"role": "user", "content": LAST},
]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Oslo"}'}}
USAGE = {"prompt_tokens": 31, "completion_tokens": 5, "total_tokens": 36}
REPLY_BODY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1772352000,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}],
    "usage": USAGE,
}
REQUEST_BODY = {"model": "gpt-4o-mini", "messages": TURNS, "tools": [TOOL]}
TIME = "2026-03-01T08:00:00Z"


def constructed(kind, content, **more):
    return {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", kind],
        "kwargs": {"content": content, **more},
    }


def attribute(key, value):
    kind = "intValue" if isinstance(value, int) else "stringValue"
    return {"key": key, "value": {kind: str(value) if kind == "intValue" else value}}


LANGSMITH = {
    "id": "run-1",
    "run_type": "llm",
    "name": "chat",
    "start_time": TIME,
    "inputs": {
        "messages": [
            [
                constructed("SystemMessage", SYSTEM),
                constructed("HumanMessage", FIRST),
                constructed("AIMessage", REPLY),
                constructed("HumanMessage", LAST),
            ]
        ]
    },
    "outputs": {
        "generations": [[{"text": ANSWER, "message": constructed("AIMessage", ANSWER, tool_calls=[])}]],
        "llm_output": {"token_usage": USAGE, "model_name": "gpt-4o-mini"},
    },
    "extra": {"invocation_params": {"model": "gpt-4o-mini", "tools": [TOOL]}, "metadata": {"thread_id": "s1"}},
    "total_cost": "0.00042",
}
LANGFUSE = {
    "id": "obs-1",
    "traceId": "trace-1",
    "type": "GENERATION",
    "name": "chat",
    "startTime": TIME,
    "model": "gpt-4o-mini",
    "input": {"messages": TURNS, "tools": [TOOL]},
    "output": {"role": "assistant", "content": ANSWER},
    "usageDetails": {"input": 31, "output": 5, "total": 36},
    "costDetails": {"total": 0.00042},
    "sessionId": "s1",
}
OTEL_TURNS = [{"role": turn["role"], "parts": [{"type": "text", "content": turn["content"]}]} for turn in TURNS[1:]]
OTEL = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {"traceId": "t", "spanId": "root", "name": "invoke_agent", "attributes": []},
                        {
                            "traceId": "t",
                            "spanId": "span-1",
                            "startTimeUnixNano": "1772352000000000000",
                            "attributes": [
                                attribute("gen_ai.operation.name", "chat"),
                                attribute("gen_ai.request.model", "gpt-4o-mini"),
                                attribute("gen_ai.usage.input_tokens", 31),
                                attribute("gen_ai.usage.output_tokens", 5),
                                attribute("gen_ai.conversation.id", "s1"),
                                attribute("gen_ai.tool.definitions", json.dumps([TOOL])),
                                attribute(
                                    "gen_ai.system_instructions", json.dumps([{"type": "text", "content": SYSTEM}])
                                ),
                                attribute("gen_ai.input.messages", json.dumps(OTEL_TURNS)),
                                attribute(
                                    "gen_ai.output.messages",
                                    json.dumps(
                                        [
                                            {
                                                "role": "assistant",
                                                "parts": [{"type": "text", "content": ANSWER}],
                                                "finish_reason": "stop",
                                            }
                                        ]
                                    ),
                                ),
                            ],
                        },
                    ]
                }
            ]
        }
    ]
}
OPENLLMETRY = {
    "name": "openai.chat",
    "context": {"trace_id": "t", "span_id": "span-1"},
    "start_time": TIME,
    "attributes": {
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.prompt_tokens": 31,
        "gen_ai.usage.completion_tokens": 5,
        **{f"gen_ai.prompt.{i}.{name}": turn[name] for i, turn in enumerate(TURNS) for name in turn},
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": ANSWER,
    },
}
PHOENIX = {
    "context.span_id": "span-1",
    "context.trace_id": "t",
    "span_kind": "LLM",
    "name": "ChatCompletion",
    "start_time": TIME,
    "attributes.llm.model_name": "gpt-4o-mini",
    "attributes.llm.input_messages": [
        {"message": {"role": turn["role"], "content": turn["content"]}} for turn in TURNS
    ],
    "attributes.llm.output_messages": [{"message": {"role": "assistant", "content": ANSWER}}],
    "attributes.llm.token_count.prompt": 31,
    "attributes.llm.token_count.completion": 5,
    "attributes.llm.tools": [{"tool": {"json_schema": TOOL}}],
}
PHOENIX_NUMBERED = {
    "context": {"span_id": "span-1", "trace_id": "t"},
    "attributes": {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        **{f"llm.input_messages.{i}.message.{name}": t[name] for i, t in enumerate(TURNS) for name in t},
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWER,
    },
}
HELICONE = {
    "request_id": "h-1",
    "request_created_at": TIME,
    "request_body": REQUEST_BODY,
    "response_body": REPLY_BODY,
    "response_status": 200,
    "model": "gpt-4o-mini",
    "prompt_tokens": 31,
    "completion_tokens": 5,
    "cost_usd": 0.00042,
    "request_properties": {"Helicone-Session-Id": "s1", "task": "chat"},
}
LITELLM = {
    "id": "l-1",
    "call_type": "acompletion",
    "model": "gpt-4o-mini",
    "messages": TURNS,
    "model_parameters": {"tools": [TOOL]},
    "response": REPLY_BODY,
    "response_cost": 0.00042,
    "prompt_tokens": 31,
    "completion_tokens": 5,
    "startTime": 1772352000.0,
    "status": "success",
}
BATCH = [
    {"id": "b", "custom_id": "q-1", "response": {"status_code": 200, "body": REPLY_BODY}, "error": None},
    {"custom_id": "q-1", "method": "POST", "url": "/v1/chat/completions", "body": REQUEST_BODY},
]
RESPONSES = {
    "id": "resp_1",
    "created_at": 1772352000,
    "model": "gpt-4o-mini",
    "instructions": SYSTEM,
    "input": TURNS[1:],
    "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ANSWER}]}],
    "usage": {"input_tokens": 31, "output_tokens": 5},
}
EXPORTS = {
    "langsmith": ("langsmith", [LANGSMITH, {**LANGSMITH, "id": "chain", "run_type": "chain"}]),
    "langfuse": ("langfuse", [LANGFUSE, {**LANGFUSE, "id": "span", "type": "SPAN"}]),
    "langfuse trace": (
        "langfuse",
        [{"id": "t", "totalCost": 1, "input": "x", "output": "y", "observations": [LANGFUSE, {"type": "SPAN"}]}],
    ),
    "langfuse csv cells": (
        "langfuse",
        [{n: json.dumps(v) if isinstance(v, dict) else v for n, v in LANGFUSE.items()}],
    ),
    "otel": ("otel", [OTEL]),
    "openllmetry": ("otel", [OPENLLMETRY]),
    "phoenix": ("phoenix", [PHOENIX, {**PHOENIX, "span_kind": "CHAIN"}]),
    "phoenix numbered": ("phoenix", [PHOENIX_NUMBERED]),
    "helicone": ("helicone", [HELICONE]),
    "helicone text bodies": (
        "helicone",
        [{**HELICONE, "request_body": json.dumps(REQUEST_BODY), "response_body": json.dumps(REPLY_BODY)}],
    ),
    "litellm": ("litellm", [LITELLM, {**LITELLM, "call_type": "aembedding"}]),
    "litellm spend log": (
        "litellm",
        [
            {
                "request_id": "l-1",
                "call_type": "acompletion",
                "spend": 0.00042,
                "model": "gpt-4o-mini",
                "messages": {},
                "proxy_server_request": json.dumps(REQUEST_BODY),
                "response": json.dumps(REPLY_BODY),
            }
        ],
    ),
    "openai-batch": ("openai-batch", BATCH),
    "openai-logs": ("openai-logs", [{"request": REQUEST_BODY, "response": REPLY_BODY}]),
    "openai stored": ("openai-logs", [{**REPLY_BODY, **REQUEST_BODY}]),
    "responses": ("openai-logs", [RESPONSES]),
    "fine-tuning": ("openai-logs", [{"messages": [*TURNS, {"role": "assistant", "content": ANSWER}]}]),
    "table": ("jsonl", [{"Conversation": TURNS, "Response": ANSWER, "Model": "gpt-4o-mini"}]),
}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(("name", "rows"), EXPORTS.values(), ids=EXPORTS)
def test_every_export_gives_the_same_chat_and_the_same_answer(tmp_path, name, rows):
    path = written(tmp_path / "log.jsonl", rows)
    done = import_logs([path])
    assert (done.format, len(done.lines)) == (name, 1)
    (line,) = done.lines
    assert line["messages"] == TURNS
    assert line["query"] == LAST
    if "fine-tuning" not in str(rows) and name != "jsonl" and "tools" in json.dumps(rows):
        assert line["tools"] == [TOOL]
    if (answered := line.get("answered")) is not None:
        assert (answered["model"], answered["text"]) == ("gpt-4o-mini", ANSWER)
        assert answered.get("input_tokens", 31) == 31
        assert answered.get("output_tokens", 5) == 5
        assert answered.get("cost_usd", 0.00042) == 0.00042
    else:
        assert "model" not in json.dumps(rows)  # only chats for fine-tuning tell no model
    written(tmp_path / "prompts.jsonl", done.lines)
    assert read_prompts(tmp_path / "prompts.jsonl")[0].query == LAST


@pytest.mark.parametrize(
    "name", ["langsmith", "langfuse", "otel", "helicone", "litellm", "openai-batch", "openai-logs"]
)
def test_records_hold_the_answer_that_was_given_as_a_sample_without_a_quality(tmp_path, name):
    path = written(tmp_path / "log.jsonl", EXPORTS[name][1])
    written(tmp_path / "records.jsonl", import_logs([path], as_records=True).lines)
    (record,) = read_records(tmp_path / "records.jsonl")
    samples = record.samples["gpt-4o-mini"]
    assert (samples.text, samples.quality) == ((ANSWER,), (None,))
    assert (samples.input_tokens, samples.output_tokens) == (31, (5,))
    assert samples.cost_usd in (None, (0.00042,))
    assert record.extra["messages"] == TURNS


@pytest.mark.parametrize(
    "answer",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        constructed("AIMessage", "", tool_calls=[{"name": "weather", "args": {"town": "Oslo"}, "id": "c1"}]),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"town": "Oslo"}}],
        },
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "weather", "arguments": {"town": "Oslo"}}]},
        {"message": {"role": "assistant", "tool_calls": [{"tool_call": {"function": CALL["function"]}}]}},
        {"type": "function_call", "name": "weather", "arguments": '{"town": "Oslo"}', "call_id": "c1"},
    ],
    ids=["openai", "langchain", "anthropic", "otel", "openinference", "responses"],
)
def test_tool_calls_of_every_tool_are_recorded_in_one_form(tmp_path, answer):
    row = {"id": "1", "run_type": "llm", "inputs": {"messages": TURNS}, "outputs": {"output": answer}}
    row["extra"] = {"metadata": {"ls_model_name": "m"}}
    (line,) = import_logs([written(tmp_path / "log.jsonl", [row])]).lines
    assert line["answered"]["text"] == CALLED


def test_a_tool_turn_keeps_its_id_and_what_the_tool_said():
    anthropic = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "12"}]},
    ]
    otel = [
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "12"}]},
    ]
    for turns in (anthropic, otel):
        called, said = turns_of(turns)
        assert called["tool_calls"][0]["id"] == said["tool_call_id"] == "c1"
        assert (said["role"], said["content"]) == ("tool", "12")


def csv_text(rows, **options):
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0], **options)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


TABLE = [
    {"Question": 'Why, "so"?\nTell me.', "Answer": "Because.", "Cost": "$0.002", "Model": "m", "Category": "why"},
    {"Question": "Where is\u00a0it? \U0001f600", "Answer": "", "Cost": "", "Model": "", "Category": "where"},
    {"Question": "", "Answer": "x", "Cost": "n/a", "Model": "m", "Category": ""},
]


@pytest.mark.parametrize(
    ("encoding", "options"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {"lineterminator": "\r\n"}),
        ("utf-8", {"delimiter": ";"}),
        ("utf-8", {"delimiter": "\t"}),
        ("utf-16", {"delimiter": "\t"}),
    ],
    ids=["plain", "mark and CRLF", "semicolons", "tabs", "UTF-16"],
)
def test_a_table_as_people_have_it_is_read(tmp_path, encoding, options):
    (tmp_path / "t.csv").write_bytes(csv_text(TABLE, **options).encode(encoding))
    done = import_logs([tmp_path / "t.csv"])
    assert (done.rows, done.left_out, done.format) == (3, 1, "csv")
    why, where = done.lines
    assert (why["query"].replace("\r\n", "\n"), why["task"]) == (TABLE[0]["Question"], "why")
    assert why["answered"] == {"model": "m", "text": "Because.", "cost_usd": 0.002}
    assert where["query"] == TABLE[1]["Question"]
    assert "answered" not in where


def test_a_column_of_the_persons_own_is_the_question_where_they_say_so(tmp_path):
    written(tmp_path / "t.jsonl", [{"Frage": "Warum?", "Antwort": "Darum.", "nr": 7}])
    (line,) = import_logs([tmp_path / "t.jsonl"], columns={"query": "Frage", "id": "nr"}).lines
    assert (line["id"], line["query"]) == ("7", "Warum?")
    with pytest.raises(ConfigError, match="--map query=frage: there is no such column, only 'Frage', 'Antwort', 'nr'"):
        import_logs([tmp_path / "t.jsonl"], columns={"query": "frage"})


def test_a_known_answer_of_a_table_is_what_checks_look_for(tmp_path):
    rows = [{"question": "12 * 7?", "answer": "85", "model": "m", "expected": 84}, {"question": "Why?", "soll": "So."}]
    written(tmp_path / "t.jsonl", rows[:1])
    (line,) = import_logs([tmp_path / "t.jsonl"]).lines
    assert (line["answer"], line["answered"]["text"]) == (84, "85")
    written(tmp_path / "u.jsonl", rows[1:])
    (line,) = import_logs([tmp_path / "u.jsonl"], columns={"expected": "soll"}).lines
    assert line["answer"] == "So."


def test_parquet_an_array_an_answer_of_an_api_and_gzip_are_read_as_lines_are(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    rows = [{"question": "Why?", "answer": "So.", "model": "m"}, {"question": "How?", "answer": "Thus.", "model": "m"}]
    written(tmp_path / "lines.jsonl", rows)
    (tmp_path / "array.json").write_text("\ufeff" + json.dumps(rows, indent=1), encoding="utf-8")
    (tmp_path / "api.json").write_text(json.dumps({"data": rows, "meta": {"page": 1}}))
    (tmp_path / "lines.jsonl.gz").write_bytes(gzip.compress((tmp_path / "lines.jsonl").read_bytes()))
    with duckdb.connect() as connection:
        connection.read_json(str(tmp_path / "lines.jsonl")).write_parquet(str(tmp_path / "t.parquet"))
    expected = list(import_logs([tmp_path / "lines.jsonl"]).lines)
    assert [line["query"] for line in expected] == ["Why?", "How?"]
    for name in ("array.json", "api.json", "lines.jsonl.gz", "t.parquet"):
        assert list(import_logs([tmp_path / name]).lines) == expected, name


def test_a_line_of_ten_megabytes_and_nulls_everywhere_are_no_trouble(tmp_path):
    long = {**HELICONE, "request_id": "long", "response_body": {**REPLY_BODY, "padding": "x" * 10 * 2**20}}
    nulls = {**dict.fromkeys(HELICONE), "request_body": REQUEST_BODY}
    done = import_logs([written(tmp_path / "log.jsonl", [long, nulls])])
    first, second = done.lines
    assert [first["messages"], second["messages"]] == [TURNS, TURNS]
    assert first["group"] == second["group"]


def test_a_call_too_long_for_a_line_is_left_out_and_counted(tmp_path):
    done = import_logs([written(tmp_path / "log.jsonl", [{"query": "x" * 9 * 2**20}, {"query": "Why?"}])])
    assert ([line["query"] for line in done.lines], done.left_out) == (["Why?"], 1)


@pytest.mark.parametrize(
    "content",
    [b'\n\n{"query": "Why?"}\n{"query": "How?"}\n', '{"query": "Why?"}\n{"query": "How?"}\n'.encode("utf-16")],
    ids=["blank lines first", "UTF-16"],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_lines_are_read_however_the_file_begins_and_is_called(tmp_path, content, pack):
    (tmp_path / "log.jsonl").write_bytes(pack(content))
    assert [line["query"] for line in import_logs([tmp_path / "log.jsonl"]).lines] == ["Why?", "How?"]


@pytest.mark.parametrize("value", ["Infinity", "1e999", "NaN", "9" * 400, '["a"]', '{"a": null}'])
@pytest.mark.parametrize("field", ["time", "model", "cost", "input_tokens", "expected", "id"])
def test_numbers_and_names_that_are_none_are_left_out_of_a_call(tmp_path, field, value):
    (tmp_path / "log.jsonl").write_text(f'{{"query": "Why?", "answer": "So.", "model": "m", "{field}": {value}}}\n')
    lines = list(import_logs([tmp_path / "log.jsonl"]).lines)
    write_jsonl(tmp_path / "prompts.jsonl", lines)
    assert [line for _, line in read_jsonl(tmp_path / "prompts.jsonl")] == lines
    assert lines[0]["query"] == "Why?"


def test_a_row_of_a_table_is_kept_where_a_number_of_it_is_none(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        row = (
            "'Why?' AS query, 'nan'::double AS expected, {'grades': ['-inf'::float, 1.5]} AS task, 'nan'::float AS cost"
        )
        connection.execute(f"COPY (SELECT {row}) TO '{tmp_path / 't.parquet'}' (FORMAT parquet)")
    done = import_logs([tmp_path / "t.parquet"])
    write_jsonl(tmp_path / "prompts.jsonl", done.lines)
    assert [line["query"] for _, line in read_jsonl(tmp_path / "prompts.jsonl")] == ["Why?"]
    assert done.left_out == 0


@pytest.mark.parametrize("field", ["response_body.model", "request_body.model"])
def test_a_model_that_is_no_text_is_unknown(tmp_path, field):
    odd = json.loads(json.dumps(HELICONE))
    body, name = field.split(".")
    odd[body][name] = ["m"]
    assert import_logs([written(tmp_path / "log.jsonl", [odd])]).rows == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (gzip.compress(b'{"query": "%d"}\n' % 7)[:-9], "cannot read: Compressed file ended"),
        (
            gzip.compress(os.urandom(99_999).hex().join(('{"query": "', '"}\n')).encode())[:-9],
            "cannot read: Compressed",
        ),
        (gzip.compress(b"question,answer\nWhy?,So.\n" * 3000)[:-20], "cannot read it as a table: .*end of GZIP"),
        ("question,answer\nM\u00fcller?,b\n".encode("latin-1"), "it is not UTF-8; save it as UTF-8"),
        (b'[{"a": 1}, 2]', "entry 2: expected an object, got 2"),
        (b'{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        (b'{"a": 1, "b": 2}\n', "its format is not recognised .fields 'a', 'b'.; give --from"),
        (b'{"custom_id": "1", "body": {"model": "m"}}\n', "none of 1 rows holds a question"),
        (b"PAR1 but not really", "cannot read it as a Parquet file"),
        (b"[" * 100_000, "not valid JSON"),
    ],
    ids=[
        "empty",
        "cut gzip",
        "gzip cut later",
        "cut table",
        "Latin-1",
        "array",
        "torn",
        "foreign",
        "no chat",
        "parquet",
        "deep",
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, content, why):
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(RecordError, match=why):
        import_logs([tmp_path / "log"])
    outcome = CliRunner().invoke(main, ["import", str(tmp_path / "log"), "--out", str(tmp_path / "p.jsonl")])
    assert outcome.exit_code == 2
    assert len(outcome.stderr.strip().splitlines()) == 1
    assert "SELECT" not in outcome.stderr
    assert not (tmp_path / "p.jsonl").exists()


def test_the_same_and_nearly_the_same_and_one_session_share_a_group():
    long = "Summarise the following report on the harvest of apples in the north of the country this year"
    queries = [long, long + " please", "What is 12 * 7?", "what is  12 * 7?", "Hello there", "And now?", "Who are you?"]
    sessions = [None, None, None, None, "s", "s", None]
    groups = Groups()
    for query, session in zip(queries, sessions, strict=True):
        groups.add(query, session)
    assert groups.found() == [0, 0, 2, 2, 4, 4, 6]


def test_a_log_is_never_held_whole(tmp_path, monkeypatch):
    """A line is written before the next row is read, and what is kept in between holds nothing that a call says."""
    rows = [{"question": f"What of the word {i} {'pad' * 50}?", "answer": f"so {i}", "model": "m"} for i in range(40)]
    path, counted = written(tmp_path / "log.jsonl", rows), []

    def counting(which):
        for where, row in read_rows(which):
            counted.append(where)
            yield where, row

    monkeypatch.setattr(importing, "read_rows", counting)
    done = import_logs([path], as_records=True, size=30)
    assert len(done.lines) == 30
    kept = repr(done)
    assert "padpad" not in kept
    assert "so 7" not in kept
    del counted[:]
    outlines = done.lines.outlines
    for outline, line in zip(outlines, done.lines, strict=True):
        assert len(counted) == outline.place + 1
        assert line["query"].startswith(f"What of the word {outline.place} ")
    survey = importing._Survey.of(done.lines.log, ["length"])
    assert "padpad" not in repr((survey.ids, survey.strata, survey.models, survey.groups._first_places))


def test_lines_are_written_one_by_one_and_all_or_none(tmp_path):
    path, at_disk = tmp_path / "p.jsonl", []

    def lines():
        for i in range(3):
            at_disk.append(sum(part.stat().st_size for part in tmp_path.glob(".p.jsonl.*")))
            yield {"id": str(i), "text": "x" * 200_000}

    write_jsonl(path, lines())
    assert at_disk[0] < at_disk[1] < at_disk[2]
    before = path.read_bytes()
    with pytest.raises(RecordError, match="line 2: would be longer than 8 MB"):
        write_jsonl(path, [{"id": "a"}, {"id": "x" * 9 * 2**20}])
    assert path.read_bytes() == before
    assert [part.name for part in tmp_path.iterdir()] == ["p.jsonl"]
    write_jsonl(tmp_path / "p.jsonl.gz", [{"id": "a"}])
    assert gzip.decompress((tmp_path / "p.jsonl.gz").read_bytes()) == b'{"id": "a"}\n'
    assert b"p.jsonl" not in (tmp_path / "p.jsonl.gz").read_bytes()


def call(i, task, day):
    return LoggedCall(({"role": "user", "content": f"question {i}"},), id=str(i), task=task, at=day)


def test_a_sample_keeps_the_shares_of_its_strata_and_is_the_same_for_a_seed():
    calls = [call(i, "rare" if i % 20 == 0 else "often", None) for i in range(200)]
    strata = [stratum_of(one, ["task"]) for one in calls]
    taken = subsample(strata, 40, seed=3)
    assert sum(calls[place].task == "rare" for place in taken) == 2
    assert len(set(taken)) == 40
    assert taken == sorted(taken)
    assert taken == subsample(strata, 40, seed=3)
    assert taken != subsample(strata, 40, seed=4)
    assert {calls[place].task for place in subsample(strata, 2, seed=0)} == {"rare", "often"}
    with pytest.raises(ConfigError, match="--stratify takes 'day', 'task', 'length', got 'colour'"):
        check_sample(2, ["colour"])


def test_personal_data_is_taken_out_of_every_text_of_a_line(tmp_path):
    pytest.importorskip("datafog")
    turns = [
        {"role": "user", "content": "I am bob@example.com, call 555-123-4567."},
        {"role": "assistant", "content": "Thanks, bob@example.com."},
        {"role": "user", "content": "My other mail is al@example.org. On 12/03/2020 it was 12."},
    ]
    row = {"messages": turns, "response": "al@example.org, noted.", "model": "m"}
    done = import_logs([written(tmp_path / "l.jsonl", [row])], mask=True)
    (line,) = done.lines
    text = json.dumps(line)
    assert "@" not in text
    assert "555" not in text
    assert line["messages"][1]["content"] == "Thanks, [EMAIL_1]."
    assert line["query"] == "My other mail is [EMAIL_2]. On 12/03/2020 it was 12."


def test_the_command_says_what_it_read_and_what_comes_next(tmp_path):
    written(tmp_path / "log.jsonl", EXPORTS["langsmith"][1])
    out = tmp_path / "prompts.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "bestroute", "import", str(tmp_path / "log.jsonl"), "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1 prompts in 1 groups, of 2 rows read as langsmith" in done.stdout
    assert "gpt-4o-mini 1; 1 of them with a cost" in done.stdout
    assert "1 rows left out" in done.stderr
    assert f"bestroute collect {out}" in done.stderr


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "messages", "input", "output", "type", "parts", "kwargs", "text", "usage"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
NAMES = sorted({name for _, rows in EXPORTS.values() for row in rows for name in row})


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), json_values, max_size=8))
def test_no_row_however_odd_ends_an_import(row):
    recognised(row)
    for one in FORMATS.values():
        rows = list(one.opened(row))
        for inner in one.joined(rows) if one.joined else rows:
            made = one.call_of(inner)
            assert made is None or made.query.strip()


@pytest.mark.parametrize(
    ("written", "usd"),
    [
        ("0,003", 0.003),
        ("0.3 cents", 0.003),
        ("3¢", 0.03),
        ("1 000", 1000.0),
        ("$1 000.50", 1000.5),
        ("1.234,56", 1234.56),
        ("1,234.5", 1234.5),
        ("0.02 dollars", 0.02),
        ("+0.5", 0.5),
        ("1/2", None),
        ("½", None),
        ("€0.02", None),
        ("0.02 EUR", None),
        ("0.01-0.02", None),
    ],
)
def test_a_cost_in_words_is_its_usd_or_unknown(written, usd):
    assert number(written) == (None if usd is None else pytest.approx(usd))
