"""Prompts that are chats: check their turns, tools and response format, and convert them to queries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bestroute._utils.text import brief
from bestroute.errors import RecordError
from bestroute.types.query import Query
from bestroute.types.sample import Sample

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
CALL_FIELDS = ("response_format", "tool_choice")
"""Fields of a prompt that become parameters of its calls."""
_SYSTEM = ("system", "developer")


def check_chat(fields: Mapping[str, Any], where: str) -> None:
    """Check the fields that make a line a chat: ``messages``, ``system``, ``tools``, ``response_format``.

    Raises:
        RecordError: Begins with ``where`` and names the field.
    """
    if fields.get("messages") is not None:
        last_user_text(fields["messages"], where)
    if not isinstance(fields.get("system") or "", str):
        raise RecordError(f"{where}: 'system' must be a text, got {brief(fields['system'])}")
    tools = fields.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise RecordError(f"{where}: 'tools' must be a list of objects, as OpenAI's API takes them, got {brief(tools)}")
    if not isinstance(fields.get("response_format") or {}, dict):
        raise RecordError(f"{where}: 'response_format' must be an object, got {brief(fields['response_format'])}")


def last_user_text(messages: Any, where: str) -> str:
    """Return the text of the last user turn, which is what is routed.

    Args:
        messages: Turns, ``{"role": ..., "content": ...}``; the last one is a user's or a tool's.
        where: Begins the sentence of an error.

    Raises:
        RecordError: If the turns are invalid, or end with an answer.

    Example:
        >>> last_user_text([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "here")
        'hi'
    """
    if not isinstance(messages, list) or not messages:
        raise RecordError(f"{where}: 'messages' must be a list of turns that is not empty, got {brief(messages)}")
    for number, turn in enumerate(messages, start=1):
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise RecordError(
                f'{where}: turn {number} of \'messages\' must be an object like {{"role": "user", "content": "..."}} '
                f"with a role of {', '.join(ROLES)}, got {brief(turn)}"
            )
    if messages[-1]["role"] == "assistant":
        raise RecordError(
            f"{where}: 'messages' ends with an answer, where a prompt ends with what is to be answered; this looks "
            "like chat messages, as for fine-tuning: leave the last turn out, or read the file by bestroute import"
        )
    questions = [text_of(turn.get("content")) for turn in messages if turn["role"] == "user"]
    if not questions or not questions[-1].strip():
        raise RecordError(f"{where}: 'messages' has no last user turn with a text")
    return questions[-1]


def text_of(content: Any) -> str:
    r"""Return the text of a turn's content, which is a text or a list of parts.

    Example:
        >>> text_of([{"type": "text", "text": "a"}, {"type": "image_url"}, "b"])
        'a\nb'
    """
    return content if isinstance(content, str) else "\n".join(_texts(content))


def _texts(blocks: Any) -> Iterator[str]:
    for part in blocks if isinstance(blocks, list) else ():
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text


def query_of(text: str, fields: Mapping[str, Any]) -> Query:
    """Return the query of a prompt: its turns, with the system prompt first, and its tools."""
    system, messages = fields.get("system") or "", fields.get("messages")
    if messages and system and messages[0]["role"] not in _SYSTEM:
        messages = [{"role": "system", "content": system}, *messages]
    return Query(text, messages=messages or None, tools=fields.get("tools") or None, system=system)


def call_params(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call parameters that a prompt sets."""
    return {name: fields[name] for name in CALL_FIELDS if fields.get(name) is not None}


def reply_text(sample: Sample) -> str:
    """Return the text to record for a sample: its tool calls as JSON if it has any, else its text.

    Example:
        >>> calls = [{"function": {"name": "add", "arguments": '{"a": 2}'}}]
        >>> reply_text(Sample("", payload={"tool_calls": calls}))
        '[{"name": "add", "arguments": {"a": 2}}]'
    """
    calls = _calls(sample.payload)
    return json.dumps(calls, ensure_ascii=False) if calls else sample.text


def _calls(payload: Any) -> list[dict[str, Any]]:
    """Return the tool calls of a reply in OpenAI's or LangChain's format."""
    calls = _field(payload, "tool_calls")
    if not isinstance(calls, Sequence):
        calls = _field(_field(payload, "message"), "tool_calls")
    return [_call(call) for call in calls] if isinstance(calls, Sequence) else []


def _call(call: Any) -> dict[str, Any]:
    function = _field(call, "function") or call
    arguments = _field(function, "arguments")
    if arguments is None:
        arguments = _field(function, "args")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            pass  # recorded unchanged, for the checker to reject
    return {"name": _field(function, "name"), "arguments": arguments}


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
