"""The answers of the loopback server: deterministic, distinct draws that state their quality in their text.

* The last message is a tool result: the next ``CALL name({json})`` directive of the last user message, else text.
* ``tool_choice`` is required or names a tool: that call, its arguments made from the JSON schema and the text.
* ``tool_choice`` is auto: a call if the text has a ``CALL`` directive or a word of a tool's name.
* ``response_format`` is ``json_*``: JSON made from the schema (``json_object``: keys named ``'x'`` in the text).
* Otherwise ``[model#k] answer q=<quality> to: <text>``, where ``k`` counts the draws of this model and prompt.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bestroute.testing.switches import Refused

QUALITY = (0.40, 0.95, 0.10, 0.70, 0.30, 0.60, 0.20, 0.50)
"""Qualities of consecutive draws, repeated."""


@dataclass(frozen=True)
class Answer:
    """One scripted choice: a text, a tool call, or a failure."""

    text: str = ""
    tool: str | None = None
    args: Mapping[str, Any] | None = None
    finish_reason: str | None = None
    """Finish reason; overrides the default."""
    usage: Mapping[str, Any] | None = None
    """Usage; overrides the counted one, in the format of chat completions: ``prompt_tokens``, ``completion_tokens``."""
    logprobs: Sequence[float | None] | None = None
    """Log-probabilities of the words of the text, if a request asks for them; default: -0.05 each."""
    status: int = 200
    """HTTP status of the failure; other values mean success."""

    def __post_init__(self) -> None:
        """Reject a usage that would be reported but not billed."""
        known = ("prompt_tokens", "completion_tokens", "total_tokens")
        unknown = [k for k in self.usage or {} if k not in known and not k.endswith("_details")]
        if unknown:
            raise ValueError(f"usage has {unknown[0]!r}; the words of chat completions are {', '.join(known)}")


def as_answer(entry: str | Mapping[str, Any]) -> Answer:
    """Parse one entry of a script.

    Raises:
        ValueError: If it has a key that an ``Answer`` has not.
    """
    if isinstance(entry, str):
        return Answer(entry)
    known = [f.name for f in fields(Answer)]
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise ValueError(f"a scripted answer has no {unknown[0]!r}; it may have {', '.join(known)}")
    return Answer(**entry)


def text_of(content: Any) -> str:
    """Return the text of a message's content, a string or parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return ""


def count_tokens(text: str | None) -> int:
    """Count tokens as billed: one per word, at least one."""
    return max(1, len((text or "").split()))


class Brain:
    """Creates answers; counts draws, so that all are distinct."""

    def __init__(self) -> None:
        """Start without draws."""
        self.lock = threading.Lock()
        self.answers: Callable[[str, list[dict[str, Any]]], str] | None = None
        self._ids = 0
        self.reset()

    def reset(self) -> None:
        """Reset draws, faults and scripts."""
        self.draws: dict[tuple[str, str], int] = defaultdict(int)
        self.calls: dict[str, int] = defaultdict(int)
        self.scripts: dict[str, list[Answer]] = {}

    def next_id(self, prefix: str) -> str:
        """Return a new id."""
        with self.lock:
            self._ids += 1
            return f"{prefix}_{self._ids:05d}"

    def answer(self, body: Mapping[str, Any], n: int) -> list[Answer]:
        """Answer a chat request ``n`` times, by the model's script if it has one.

        Raises:
            Refused: If the script says so, or has fewer than ``n`` answers left.
        """
        return self._scripted(body["model"], n) or self._thought_up(body, n)

    def _scripted(self, model: str, n: int) -> list[Answer] | None:
        with self.lock:
            script = self.scripts.get(model)
            if script is None:
                return None
            taken = script[:n]
            for i, answer in enumerate(taken):
                if answer.status != 200:
                    del script[: i + 1]  # what follows a failure is for the next request
                    raise Refused(answer.status, answer.text or f"scripted {answer.status}", code="scripted")
            if len(taken) < n:
                raise Refused(
                    500,
                    f"the script of {model!r} has {len(taken)} answers left, {n} were asked for",
                    code="script_exhausted",
                )
            del script[:n]
            return taken

    def _thought_up(self, body: Mapping[str, Any], n: int) -> list[Answer]:
        messages, model = body["messages"], body["model"]
        users = [i for i, m in enumerate(messages) if m["role"] == "user"]
        last = users[-1] if users else -1
        text = text_of(messages[last].get("content")) if users else ""
        tail = messages[last + 1 :] if users else []
        digest = hashlib.sha1(json.dumps(messages, sort_keys=True, default=str).encode()).hexdigest()
        answers = []
        for _ in range(n):
            with self.lock:
                k = self.draws[model, digest]
                self.draws[model, digest] += 1
            call = _tool_call(body, text, tail)
            answers.append(call or self._text_answer(body, text, tail, k))
        return answers

    def _text_answer(self, body: Mapping[str, Any], text: str, tail: Sequence[Mapping[str, Any]], k: int) -> Answer:
        wanted = body.get("response_format") or {}
        if wanted.get("type") == "json_schema":
            return Answer(json.dumps(synthesise((wanted.get("json_schema") or wanted)["schema"], text)))
        if wanted.get("type") == "json_object":
            return Answer(json.dumps({key: "foo" for key in re.findall(r"'(\w+)'", text) or ["value"]}))
        if self.answers is not None:
            return Answer(self.answers(body["model"], body["messages"]))
        tool_results = "".join(f" | tool said: {text_of(m['content'])}" for m in tail if m["role"] == "tool")
        quality = QUALITY[k % len(QUALITY)]
        return Answer(f"[{body['model']}#{k}] answer q={quality:.2f} to: {text[:200]}{tool_results}")


def _tool_call(body: Mapping[str, Any], text: str, tail: Sequence[Mapping[str, Any]]) -> Answer | None:
    """Decide whether to call a tool, and with which arguments."""
    tools = {t["function"]["name"]: t["function"] for t in body.get("tools") or [] if t.get("function")}
    choice = body.get("tool_choice")
    if not tools or choice == "none":
        return None
    directives = re.findall(r"CALL (\w+)\((\{.*?\})\)", text)
    done = sum(1 for m in tail if m["role"] == "tool")
    if done < len(directives) and directives[done][0] in tools:
        return Answer(tool=directives[done][0], args=json.loads(directives[done][1]))
    if done and choice in (None, "auto"):
        return None
    name: str | None = None
    if isinstance(choice, dict):
        name = (choice.get("function") or choice).get("name")
    elif choice == "required":
        called = {t["function"]["name"] for m in tail for t in m.get("tool_calls") or []}
        rest = [tool for tool in tools if tool not in called] or list(tools)
        name = rest[0] if done == 0 else rest[-1]
    elif not directives:
        named = (tool for tool in tools if any(w in text.lower() for w in tool.lower().split("_") if len(w) > 3))
        name = next(named, None)
    if name is None:
        return None
    return Answer(tool=name, args=synthesise(tools[name].get("parameters") or {}, text))


def synthesise(schema: Mapping[str, Any], text: str) -> Any:
    """Create a value that fits a JSON schema, from the numbers and quoted strings of a text."""
    numbers = [int(x) for x in re.findall(r"-?\d+", text)]
    strings = re.findall(r"[\"'\u201c]([^\"'\u201d]+)[\"'\u201d]", text)
    return _fill(schema, schema, numbers, strings)


def _fill(schema: Any, root: Mapping[str, Any], numbers: list[int], strings: list[str]) -> Any:
    schema = _resolve(schema, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _fill(schema["anyOf"][0], root, numbers, strings)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        return {k: _fill(v, root, numbers, strings) for k, v in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [_fill(schema.get("items") or {"type": "string"}, root, numbers, strings)]
    if kind in ("integer", "number"):
        value = numbers.pop(0) if numbers else 1
        return value if kind == "integer" else float(value)
    if kind in ("boolean", "null"):
        return True if kind == "boolean" else None
    return strings.pop(0) if strings else "foo"


def _resolve(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    while isinstance(schema, dict) and "$ref" in schema:
        node: Any = root
        for part in schema["$ref"].lstrip("#/").split("/"):
            node = node[part]
        schema = node
    return schema or {}
