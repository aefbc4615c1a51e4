"""Convert turns of conversations in any logged format to OpenAI's format."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bestroute.records.logs.images import image_part

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "humanmessage": "user",
    "aimessage": "assistant",
    "aimessagechunk": "assistant",
    "humanmessagechunk": "user",
    "systemmessage": "system",
    "toolmessage": "tool",
    "functionmessage": "function",
    "chatmessage": "user",
    "chatbot": "assistant",
    "developer": "system",
}
_KNOWN = frozenset({"system", "user", "assistant", "tool", "function"})
_LONGEST_PRINTED = 2**20
"""Most characters parsed as a Python literal, which takes hundreds of times their memory."""
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
_QUESTIONS = ("input", "question", "query", "text", "prompt", "human_input", "content")
"""Keys of an application's inputs that may have its query."""


def turns_of(value: Any) -> list[dict[str, Any]]:
    """Return the turns of a logged input or output; empty if it is no conversation.

    Args:
        value: A text, one turn, a list of turns, a list of one such list, an object around them, or any of these
            written as JSON. Turns may be in OpenAI's, Anthropic's, LangChain's, OpenTelemetry's or OpenInference's
            format.

    Example:
        >>> turns_of([[{"id": ["langchain", "schema", "HumanMessage"], "kwargs": {"content": "hi"}}]])
        [{'role': 'user', 'content': 'hi'}]
        >>> turns_of('{"messages": [{"role": "user", "content": "hi"}]}') == turns_of("hi")
        True
    """
    if isinstance(value, str):
        inner = decoded(value)
        if not isinstance(inner, str) and (not inner or (turns := turns_of(inner))):
            return turns if inner else []
        return [_user(value)] if value.strip() else []
    if isinstance(value, Mapping):
        return _turns_within(value)
    if not isinstance(value, Sequence):
        return []
    if len(value) == 1 and isinstance(value[0], list):
        return turns_of(value[0])
    return [turn for part in value for turn in ([_user(part)] if isinstance(part, str) else _turns(part))]


def decoded(value: Any) -> Any:
    """Parse a text that is a JSON object or list, or the Python repr of one; anything else is returned unchanged.

    Tables written by pandas have Python reprs of their objects.

    Example:
        >>> decoded("[1]"), decoded("[1"), decoded("1")
        ([1], '[1', '1')
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            inner = _printed(value)
        return inner if isinstance(inner, dict | list) else value
    return value


def _printed(text: str) -> Any:
    """Parse the Python repr of an object or list; the text if it is none."""
    if len(text) > _LONGEST_PRINTED or not text.lstrip().startswith(("{'", "[{'", "[[{'")):
        return text
    try:
        written = json.dumps(ast.literal_eval(text.strip()), default=str)
        return json.loads(written, parse_constant=lambda _: None)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def answer_text(turn: Mapping[str, Any]) -> str:
    """Return the text of an answer: its tool calls as JSON, as in records, or its text."""
    calls = turn.get("tool_calls")
    if calls:
        return json.dumps([_plain_call(call) for call in calls], ensure_ascii=False)
    return "\n".join(_texts(turn.get("content")))


def _turns_within(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    if turns := _turns(value):
        return turns
    for name in ("messages", "input_messages", "chat_history"):
        if isinstance(decoded(value.get(name)), list):
            return [*_system(value), *turns_of(value[name])]
    for name in _QUESTIONS:
        if isinstance(value.get(name), str | list) and value[name]:
            return [*_system(value), *turns_of(value[name])]
    return []


def _system(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a system prompt beside the turns, as in Anthropic's and the Responses API."""
    for name in ("system", "instructions"):
        if text := "\n".join(_texts(value.get(name))):
            return [{"role": "system", "content": text}]
    return []


def _turns(value: Any) -> list[dict[str, Any]]:
    """Return the turns of one object: a turn, and the tool results inside of it."""
    if not isinstance(value, Mapping):
        return []
    inner = _unpacked(value)
    role = _role(value, inner)
    if role is None:
        return _item(value)
    if isinstance(inner.get("parts"), list):
        return _turns_of_parts(role, inner["parts"])
    return _turns_of_content(role, inner)


def _unpacked(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object with the content, which LangChain and OpenInference nest one level deeper."""
    for name in ("kwargs", "data", "message"):
        if isinstance(value.get(name), Mapping):
            return value[name]  # type: ignore[no-any-return]
    if any(key.startswith("message.") for key in value):
        return {key.removeprefix("message."): part for key, part in value.items()}
    return value


def _role(value: Mapping[str, Any], inner: Mapping[str, Any]) -> str | None:
    name = inner.get("role") or value.get("role")
    if name is None and isinstance(value.get("id"), list) and value["id"]:
        name = value["id"][-1]
    for of in (value, inner):
        name = name or (of.get("type") if isinstance(of.get("type"), str) else None)
    if not isinstance(name, str):
        return None
    role = _ROLES.get(name.lower(), name.lower())
    return role if role in _KNOWN else None


def _item(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turn of a Responses API item, if it is one."""
    if value.get("type") == "function_call":
        call = _call(value.get("name"), value.get("arguments"), value.get("call_id"))
        return [{"role": "assistant", "content": None, "tool_calls": [call]}]
    if value.get("type") == "function_call_output":
        return [{"role": "tool", "content": _written(value.get("output")), "tool_call_id": value.get("call_id")}]
    return []


def _turns_of_content(role: str, inner: Mapping[str, Any]) -> list[dict[str, Any]]:
    turn: dict[str, Any] = {"role": role, "content": inner.get("content")}
    if role == "function" and isinstance(inner.get("name"), str):
        turn |= {"role": "tool", "tool_call_id": f"call_{inner['name']}"}
    if turn["content"] is None:
        turn["content"] = inner.get("contents")
    calls = [_tool_call(call) for call in _list(decoded(inner.get("tool_calls")))]
    calls = calls or [_tool_call(call) for call in _list(_of(inner, "additional_kwargs", "tool_calls"))]
    calls = calls or _legacy_calls(inner)
    answers: list[dict[str, Any]] = []
    if isinstance(turn["content"], list):
        turn["content"], inside, answers = _blocks(turn["content"])
        calls = calls or inside
    elif turn["content"] is not None and not isinstance(turn["content"], str):
        turn["content"] = _written(turn["content"])
    if calls:
        turn["tool_calls"] = calls
    for name in ("tool_call_id", "name"):
        if isinstance(inner.get(name), str) and (name == "tool_call_id" or turn["role"] == "function"):
            turn[name] = inner[name]
    is_empty = turn["content"] in (None, "", []) and not calls
    return [*answers, *([] if answers and is_empty else [turn])]


def _legacy_calls(inner: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the single call of OpenAI's legacy ``function_call``, which had no id."""
    call = decoded(inner.get("function_call")) or _of(inner, "additional_kwargs", "function_call")
    if not isinstance(call, Mapping) or not call.get("name"):
        return []
    return [_call(call["name"], call.get("arguments"), f"call_{call['name']}")]


def _blocks(content: list[Any]) -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """Separate a list of parts into content, tool calls, and tool results."""
    kept: list[Any] = []
    calls: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "tool_use":
            calls.append(_call(part.get("name"), part.get("input"), part.get("id")))
        elif kind == "tool_result":
            text = "\n".join(_texts(part.get("content")))
            answers.append({"role": "tool", "content": text, "tool_call_id": part.get("tool_use_id")})
        elif kind in ("input_text", "output_text"):
            kept.append({"type": "text", "text": part.get("text", "")})
        elif kind not in _THOUGHTS:
            kept.append({"type": "text", "text": part} if isinstance(part, str) else _part(part))
    if all(isinstance(part, Mapping) and part.get("type") == "text" for part in kept):
        return "\n".join(str(part.get("text") or "") for part in kept), calls, answers
    return kept, calls, answers


def _part(part: Any) -> Any:
    """Return a content part in OpenAI's format; OpenInference names fields by their path."""
    if not isinstance(part, Mapping):
        return part
    nested = part.get("message_content")
    inner = {
        key.removeprefix("message_content."): value
        for key, value in (nested if isinstance(nested, Mapping) else part).items()
    }
    return image_part(inner) or (inner if inner.get("type") else {"type": "text", **inner})


def _turns_of_parts(role: str, blocks: list[Any]) -> list[dict[str, Any]]:
    """Return the turns of OpenTelemetry's parts."""
    kept: list[Any] = []
    calls: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for part in blocks:
        if isinstance(part, str):
            kept.append({"type": "text", "text": part})
        elif isinstance(part, Mapping):
            kind = part.get("type")
            if kind == "tool_call":
                calls.append(_call(part.get("name"), part.get("arguments"), part.get("id")))
            elif kind == "tool_call_response":
                response = part.get("response", part.get("result"))
                answers.append({"role": "tool", "content": _written(response), "tool_call_id": part.get("id")})
            elif kind in (None, "text"):
                kept.append({"type": "text", "text": str(part.get("content", part.get("text")) or "")})
            elif kind not in _THOUGHTS:
                kept.append(_part(part))
    has_text_alone = all(part.get("type") == "text" for part in kept)
    content = "\n".join(str(part.get("text") or "") for part in kept) if has_text_alone else kept
    turn: dict[str, Any] = {"role": role, "content": content}
    if calls:
        turn["tool_calls"] = calls
    return answers if answers and not kept else [*answers, turn]


def _tool_call(call: Any) -> dict[str, Any]:
    """Return a tool call in OpenAI's format."""
    if not isinstance(call, Mapping):
        return _call(None, call, None)
    if isinstance(call.get("tool_call"), Mapping):
        return _tool_call(call["tool_call"])
    call = {key.removeprefix("tool_call."): value for key, value in call.items()}
    if isinstance(call.get("function"), Mapping):
        return _call(call["function"].get("name"), call["function"].get("arguments"), call.get("id"))
    if "function.name" in call:
        return _call(call["function.name"], call.get("function.arguments"), call.get("id"))
    arguments = next((call[name] for name in ("args", "arguments", "input") if name in call), None)
    return _call(call.get("name"), arguments, call.get("id"))


def _call(name: Any, arguments: Any, id_: Any) -> dict[str, Any]:
    call: dict[str, Any] = {"type": "function", "function": {"name": str(name), "arguments": _written(arguments)}}
    return {"id": id_, **call} if isinstance(id_, str) else call


def _plain_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {"name": function["name"], "arguments": decoded(function["arguments"])}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        text = next((part[n] for n in ("text", "content") if n in part), None) if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _of(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
