"""The same calls in the export format of each tool, for trying out `bestroute import`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

MODEL = "gpt-4o-mini"
_START = datetime(2026, 3, 1, 8, tzinfo=UTC)
_USAGE = {"prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60}
_COST = 0.000027


def write_log(folder: Path, log_format: str, questions: Sequence[str]) -> list[Path]:
    """Write one answered call for each question; returns the files, which are to be imported together.

    Args:
        folder: Where.
        log_format: One of those that `bestroute import --from` takes.
        questions: A call is named ``call-1``, ``call-2`` and so on.
    """
    if log_format == "openai-batch":
        files = {"batch-input.jsonl": [], "batch-output.jsonl": []}  # type: dict[str, list[Mapping[str, Any]]]
        for number, question in enumerate(questions, start=1):
            id_, reply = f"call-{number}", {"status_code": 200, "body": _reply(number)}
            body = {"model": MODEL, "messages": _turns(question)}
            files["batch-input.jsonl"].append({"custom_id": id_, "url": "/v1/chat/completions", "body": body})
            files["batch-output.jsonl"].append({"id": f"b-{number}", "custom_id": id_, "response": reply})
        return [_lines(folder / name, rows) for name, rows in files.items()]
    rows = [_ROWS[log_format](number, question) for number, question in enumerate(questions, start=1)]
    if log_format in ("csv", "parquet"):
        return [_table(folder / f"log.{log_format}", rows)]
    return [_lines(folder / "log.jsonl", rows)]


def _turns(question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]


def _answer(number: int) -> str:
    return f"This is what was answered then, number {number}."


def _time(number: int) -> datetime:
    return _START + timedelta(hours=number)


def _reply(number: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": _answer(number)}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(_time(number).timestamp()),
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": _USAGE,
    }


def _langsmith(number: int, question: str) -> dict[str, Any]:
    def message(kind: str, content: str) -> dict[str, Any]:
        path = ["langchain", "schema", "messages", kind]
        return {"lc": 1, "type": "constructor", "id": path, "kwargs": {"content": content}}

    answered = {"text": _answer(number), "message": message("AIMessage", _answer(number))}
    return {
        "id": f"call-{number}",
        "run_type": "llm",
        "start_time": _time(number).isoformat(),
        "inputs": {"messages": [[message("SystemMessage", "Be brief."), message("HumanMessage", question)]]},
        "outputs": {
            "generations": [[answered]],
            "llm_output": {"token_usage": _USAGE, "model_name": MODEL},
        },
        "total_cost": str(_COST),
    }


def _langfuse(number: int, question: str) -> dict[str, Any]:
    return {
        "id": f"call-{number}",
        "traceId": f"trace-{number}",
        "type": "GENERATION",
        "startTime": _time(number).isoformat(),
        "model": MODEL,
        "input": {"messages": _turns(question)},
        "output": {"role": "assistant", "content": _answer(number)},
        "usageDetails": {"input": 20, "output": 40, "total": 60},
        "costDetails": {"total": _COST},
    }


def _otel(number: int, question: str) -> dict[str, Any]:
    def messages(role: str, content: str) -> str:
        return json.dumps([{"role": role, "parts": [{"type": "text", "content": content}]}])

    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": MODEL,
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.input.messages": messages("user", question),
        "gen_ai.output.messages": messages("assistant", _answer(number)),
    }
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    for key, count in (("gen_ai.usage.input_tokens", 20), ("gen_ai.usage.output_tokens", 40)):
        pairs.append({"key": key, "value": {"intValue": str(count)}})
    span = {
        "traceId": f"trace-{number}",
        "spanId": f"call-{number}",
        "startTimeUnixNano": str(int(_time(number).timestamp()) * 10**9),
        "attributes": pairs,
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def _phoenix(number: int, question: str) -> dict[str, Any]:
    columns = {
        "context.span_id": f"call-{number}",
        "span_kind": "LLM",
        "start_time": _time(number).isoformat(),
        "attributes.llm.model_name": MODEL,
        "attributes.llm.token_count.prompt": 20,
        "attributes.llm.token_count.completion": 40,
    }
    turns = [{"message.role": turn["role"], "message.content": turn["content"]} for turn in _turns(question)]
    answered = [{"message.role": "assistant", "message.content": _answer(number)}]
    return {**columns, "attributes.llm.input_messages": turns, "attributes.llm.output_messages": answered}


def _helicone(number: int, question: str) -> dict[str, Any]:
    return {
        "request_id": f"call-{number}",
        "request_created_at": _time(number).isoformat(),
        "request_body": {"model": MODEL, "messages": _turns(question)},
        "response_body": _reply(number),
        "response_status": 200,
        "cost_usd": _COST,
    }


def _litellm(number: int, question: str) -> dict[str, Any]:
    return {
        "id": f"call-{number}",
        "call_type": "acompletion",
        "status": "success",
        "startTime": _time(number).timestamp(),
        "model": MODEL,
        "messages": _turns(question),
        "response": _reply(number),
        "prompt_tokens": 20,
        "completion_tokens": 40,
        "response_cost": _COST,
    }


def _openai(number: int, question: str) -> dict[str, Any]:
    request = {"model": MODEL, "messages": _turns(question)}
    return {"id": f"call-{number}", "request": request, "response": _reply(number)}


def _plain(number: int, question: str) -> dict[str, Any]:
    return {
        "id": f"call-{number}",
        "question": question,
        "system": "Be brief.",
        "answer": _answer(number),
        "model": MODEL,
        "input_tokens": 20,
        "output_tokens": 40,
        "cost_usd": _COST,
        "time": _time(number).isoformat(),
    }


_ROWS = {
    "langsmith": _langsmith,
    "langfuse": _langfuse,
    "otel": _otel,
    "phoenix": _phoenix,
    "helicone": _helicone,
    "litellm": _litellm,
    "openai-logs": _openai,
    "jsonl": _plain,
    "csv": _plain,
    "parquet": _plain,
}
FORMATS = (*_ROWS, "openai-batch")
"""The formats of ``write_log``."""


def _lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV, or as Parquet by DuckDB."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    if path.suffix == ".csv":
        path.write_text(stream.getvalue(), encoding="utf-8", newline="")
        return path
    import duckdb

    plain = path.with_suffix(".csv")
    plain.write_text(stream.getvalue(), encoding="utf-8", newline="")
    source, target = (str(p).replace("'", "''") for p in (plain, path))
    duckdb.sql(f"COPY (SELECT * FROM read_csv('{source}', header=true)) TO '{target}' (FORMAT parquet)")
    plain.unlink()
    return path
