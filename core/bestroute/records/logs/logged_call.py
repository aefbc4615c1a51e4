"""One logged call of a model, and its conversion to lines of prompts and records."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from bestroute._utils.text import utf8
from bestroute.records.chats import text_of
from bestroute.records.logs.turns import answer_text, turns_of
from bestroute.types.usage import Usage, divide_usage

_AMOUNT = re.compile(
    r"\+?(?:us)?\$?\s*(?:usd)?\s*([\d.,][\d.,'_\s]*(?:e[+-]?\d+)?)\s*(usd|us\$|\$|dollars?|tokens?|cents?|¢)?",
    re.IGNORECASE,
)
_THOUSANDS = (
    re.compile(r"(\d{1,3}(?:[\s'_]\d{3})+)(?:[.,](\d+))?"),
    re.compile(r"([1-9]\d{0,2}(?:,\d{3})+)(?:\.(\d+))?"),  # "0,003" is a decimal
    re.compile(r"([1-9]\d{0,2}(?:\.\d{3})+),(\d+)"),
)
_SECONDS, _DAY = re.compile(r"\d+(\.\d*)?"), re.compile(r"(19|20)\d\d[01]\d[0-3]\d")
_CENTS = ("cent", "cents", "¢")


@dataclass(frozen=True)
class LoggedCall:
    """Request, answer and cost of one call, as far as logged."""

    turns: tuple[Mapping[str, Any], ...]
    """In OpenAI's format; the last one is to be answered."""
    id: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    response_format: Mapping[str, Any] | None = None
    tool_choice: Any = None
    answer: str | None = None
    """The answer: a text, or tool calls as JSON; ``None`` if there is none."""
    others: tuple[str, ...] = ()
    """Answers of further choices of the same call; tokens and cost are for all of them."""
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    at: datetime | None = None
    session: str | None = None
    """Identifies the conversation."""
    task: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """The text of the last user turn, which is what is routed; ``""`` if there is none."""
        prompt = [turn for turn in self.turns if turn["role"] == "user"]
        return text_of(prompt[-1].get("content")) if prompt else ""

    @property
    def name(self) -> str:
        """Its id in the log, or a hash of its request."""
        if self.id:
            return self.id
        what = json.dumps([self.turns, self.tools], sort_keys=True, default=str)
        return "q-" + hashlib.sha256(utf8(what)).hexdigest()[:12]

    def prompt(self, id_: str, group: str) -> dict[str, Any]:
        """Return its line in a prompts file: a query with its system prompt, or the turns of a chat."""
        line: dict[str, Any] = {"id": id_, "query": self.query, "group": group, "task": self.task}
        roles = [turn["role"] for turn in self.turns]
        if roles in (["user"], ["system", "user"]) and isinstance(self.turns[-1].get("content"), str):
            if len(roles) == 2:
                line["system"] = text_of(self.turns[0].get("content"))
        else:
            line["messages"] = [dict(turn) for turn in self.turns]
        if self.tools:
            line["tools"] = [dict(tool) for tool in self.tools]
            if self.tool_choice is not None:
                line["tool_choice"] = self.tool_choice
        if self.response_format:
            line["response_format"] = dict(self.response_format)
        if self.at is not None:
            line["time"] = self.at.isoformat()
        if self.answer is not None and self.model:
            known = {name: getattr(self, name) for name in ("input_tokens", "output_tokens", "cost_usd")}
            details = {name: value for name, value in known.items() if value is not None}
            line["answered"] = {"model": self.model, "text": self.answer, **details}
        return {**line, **{name: value for name, value in self.extra.items() if name not in line}}

    def record(self, id_: str, group: str) -> dict[str, Any] | None:
        """Return its line in a records file: the prompt with the answer as a sample; ``None`` without an answer."""
        if self.answer is None or not self.model:
            return None
        texts = [self.answer, *self.others]
        samples: dict[str, Any] = {"text": texts, "quality": [None] * len(texts)}
        shares = [one.output for one in divide_usage(Usage(output=self.output_tokens or 0), texts)]
        if self.input_tokens is not None:
            samples["input_tokens"] = self.input_tokens
        if self.output_tokens is not None:
            samples["output_tokens"] = shares
        if self.cost_usd is not None:
            samples["cost_usd"] = [self.cost_usd * share / (sum(shares) or 1) for share in shares]
            if len(texts) == 1:
                samples["cost_usd"] = [self.cost_usd]
        line = self.prompt(id_, group)
        line.pop("answered", None)
        return {**line, "samples": {self.model: samples}}


def logged_call(prompt: Any, answered: Any, **known: Any) -> LoggedCall | None:
    """Return a call from a logged input and output; ``None`` if the input has no user turn.

    If the input ends with the answer (a complete conversation) and the output has none, the two are separated.
    """
    turns = turns_of(prompt)
    answers = [turn for turn in turns_of(answered) if turn["role"] != "system"]
    answer = answer_text(answers[-1]) if answers else None
    if turns and turns[-1]["role"] == "assistant":
        last = turns.pop()
        answer = answer or answer_text(last)
    if not any(turn["role"] == "user" for turn in turns):
        return None
    known.update({name: text(known.get(name)) for name in ("id", "model", "session")})
    call = LoggedCall(tuple(turns), answer=answer or None, **known)
    return call if call.query.strip() else None


def number(value: Any) -> float | None:
    """Parse a number as written in logs, such as ``"$0.002"`` or ``"1,204"``; ``None`` if invalid or below 0.

    Cents are converted to dollars; amounts in other currencies are unknown.

    Example:
        >>> number("$0.0021"), number("1,204"), number("0,5"), number(""), number(-1), number(True)
        (0.0021, 1204.0, 0.5, None, None, None)
        >>> number("0,003"), number("1 204,5"), number("0.3 cents"), number("€0.02"), number("1/2")
        (0.003, 1204.5, 0.003, None, None)
    """
    if isinstance(value, str):
        found = _AMOUNT.fullmatch(value.strip()[:100])
        value = None if found is None else _written(found[1].strip())
        if value is not None and found is not None and (found[2] or "").lower() in _CENTS:
            value /= 100
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1e15 else None


def _written(digits: str) -> float | None:
    for form in _THOUSANDS:
        if found := form.fullmatch(digits):
            whole, fraction = found.groups()
            return float(f"{re.sub('[^0-9]', '', whole)}.{fraction or 0}")
    try:
        return float(digits.replace(",", "."))
    except ValueError:
        return None


def tokens(value: Any) -> int | None:
    """Return a token count; ``None`` if invalid."""
    count = number(value)
    return None if count is None else round(count)


def text(value: Any) -> str | None:
    """Return a text that is not empty; ``None`` for anything else."""
    return value if isinstance(value, str) and value.strip() else None


def items(value: Any) -> list[Any]:
    """Return a list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def moment(value: Any) -> datetime | None:
    """Parse a time: ISO 8601, or seconds, milliseconds, microseconds or nanoseconds since 1970.

    Example:
        >>> moment("2026-03-01T08:00:00Z") == moment(1772352000) == moment("1772352000000") == moment(
        ...     1772352000 * 10**9
        ... )
        True
        >>> moment("yesterday") is None
        True
    """
    try:
        if isinstance(value, str) and (not _SECONDS.fullmatch(value.strip()) or _DAY.fullmatch(value.strip())):
            at = _written_time(value.strip())
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        seconds = float(value)
        if not math.isfinite(seconds):
            return None
        while seconds > 1e11:
            seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _written_time(text: str) -> datetime:
    """Parse a time in ISO 8601, also with slashes and a named zone, or in the format of e-mails.

    Raises:
        ValueError: If it is not a time.
    """
    try:
        return datetime.fromisoformat(re.sub(r"\s*(UTC|GMT)$", "+00:00", text).replace("/", "-"))
    except ValueError:
        return parsedate_to_datetime(text)


def first(value: Any, *paths: str) -> Any:
    """Return the first non-empty value at several paths, such as ``"usage.input"``; ``None`` if there is none.

    Example:
        >>> first({"usage": {"input": 3}, "a.b": 4}, "usage.prompt", "usage.input"), first({"a.b": 4}, "a.b")
        (3, 4)
    """
    for path in paths:
        at = value.get(path) if isinstance(value, Mapping) else None
        if at is None:
            at = value
            for name in path.split("."):
                at = at.get(name) if isinstance(at, Mapping) else None
        if at not in (None, "", [], {}):
            return at
    return None
