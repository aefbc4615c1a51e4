"""LangSmith's exported runs; only runs of models are used, not the chains and tools around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestroute.records.logs.logged_call import LoggedCall, first, logged_call, moment, number, text, tokens
from bestroute.records.logs.openai_bodies import other_answers, own_answer, response_format_of, tool_choice_of, tools_of
from bestroute.records.logs.turns import decoded


def fits(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a run, or an example of a dataset."""
    return "inputs" in row and ("outputs" in row or "run_type" in row)


def call_of(row: Mapping[str, Any]) -> LoggedCall | None:
    """Return the call of a run; ``None`` if it is not a model's, or failed without a prompt."""
    if str(first(row, "run_type") or "llm").lower() not in ("llm", "chat_model"):
        return None
    inputs, outputs = decoded(row.get("inputs")), decoded(row.get("outputs"))
    extra, metadata = decoded(row.get("extra")), first(decoded(row.get("extra")), "metadata")
    params = first(extra, "invocation_params") or {}
    usage = first(outputs, "llm_output.token_usage", "usage_metadata") or _usage_of(outputs)
    prompt = first(inputs, "messages", "input", "prompts") or inputs
    return logged_call(
        prompt,
        None if row.get("error") else _answer(outputs),
        id=text(first(row, "id", "run_id")),
        model=text(
            first(metadata, "ls_model_name")
            or first(params, "model", "model_name")
            or first(outputs, "llm_output.model_name")
        ),
        input_tokens=tokens(first(row, "prompt_tokens") or first(usage, "prompt_tokens", "input_tokens")),
        output_tokens=tokens(first(row, "completion_tokens") or first(usage, "completion_tokens", "output_tokens")),
        cost_usd=number(first(row, "total_cost")),
        at=moment(first(row, "start_time")),
        session=text(first(metadata, "thread_id", "session_id", "conversation_id")) or text(row.get("trace_id")),
        tools=tools_of(first(params, "tools", "functions")),
        tool_choice=tool_choice_of(params) if isinstance(params, Mapping) else None,
        others=() if row.get("error") else other_answers(outputs),
        response_format=response_format_of(params),
        task=text(first(row, "name")) or "",
    )


def _answer(outputs: Any) -> Any:
    """Return the message in a run's outputs: LangChain's generations, or the result of a traced client."""
    generation = first(outputs, "generations")
    while isinstance(generation, list) and generation:
        generation = generation[0]
    if isinstance(generation, Mapping):
        return first(generation, "message") or {"role": "assistant", "content": first(generation, "text")}
    return own_answer(first(outputs, "output") or outputs)


def _usage_of(outputs: Any) -> Any:
    generation = first(outputs, "generations")
    while isinstance(generation, list) and generation:
        generation = generation[0]
    return first(generation, "message.kwargs.usage_metadata", "message.usage_metadata") or first(outputs, "usage")
