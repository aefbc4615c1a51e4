"""The kind of answer a query asks for, judged from the query alone. Only comparable answers are worth a second draw.

Conservative: a query that does not specify a form counts as open text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from bestroute.selection.answer_form import options_in
from bestroute.types.query import TOKEN_LIMITS, Query, role_of

AnswerKind = Literal["tool call", "turn after a tool", "JSON", "choice", "number", "short answer"]
"""The kinds of comparable answers; open text is ``None``."""
SHORT_TOKENS = 16
"""An output token limit up to which any answer counts as short."""
_TAIL = 2_000
"""Characters at the end of a text that are searched for wording."""
_LONGEST_CLAUSE = 16
"""Most words of a clause that can specify the form of the answer."""
_WHAT = (
    r"(?P<what>number|integer|digits?|numeral|numeric|figure|percentage|year|word|name|letter|date|time|label|category|"
    r"value|result|(?:final |correct )?answer)s?"
)
_ONLY = (
    re.compile(
        r"(?:(?:please|and|then|now|but|so|your)\s+)*(?:answer|reply|respond|return|output|give|write|say|state|provide)\b"
        rf"(?=.*\b(?:only|just|nothing but|exactly one|a single|one)\b).*?\b{_WHAT}\b.*"
    ),
    re.compile(
        rf"(?:(?:with|and|but)\s+)*(?:just|only|nothing but)\s+(?:(?:the|a|an|one|your|single)\s+)*{_WHAT}\b.{{0,20}}"
    ),
    re.compile(rf"(?:(?:the|a|one|single|final)\s+)*{_WHAT}\s+only"),
    re.compile(r".*\b(?:yes or no|yes/no|true or false|true/false)"),
    re.compile(r"(?:one|single|a single|in one)[- ]word(?: answer)?.{0,20}"),
)
"""Clauses that specify the form of the answer."""
_CLAUSES = re.compile(r"[.!?;:,\n()]+")
_NUMBERS = frozenset({"number", "integer", "digit", "digits", "numeral", "numeric", "figure", "percentage", "year"})
_CHOOSES = re.compile(
    r"\?\s*$|\b(?:which|choose|select|pick|correct|best|option|choices|multiple[- ]choice)\b[^\n]*\s*$", re.IGNORECASE
)
_FIRST_OPTION = re.compile(r"\(?A[).:]\s")
_OPTION_LINES = re.compile(r"^\s*\(?[A-J][).:]\s+\S", re.MULTILINE)
_OPEN = re.compile(
    r"\b(?:explain|justify|elaborate|describe|discuss|summari[sz]e|essay|paragraph)\b"
    r"|\b(?:write|implement|create|generate|build|develop|complete)\b.{0,60}"
    r"\b(?:code|function|script|program|class|query|regex|story|poem|e-?mail|letter to|song|article)\b",
    re.IGNORECASE,
)
"""Wording of queries that ask for more than a short answer."""
_ASKING_JSON = ("response_format", "response_schema", "format", "structured_output")
_FORMATS = frozenset({"json_object", "json_schema", "json", "object"})


def answer_kind(query: Query) -> AnswerKind | None:
    r"""Return the kind of answer that a query asks for; ``None`` for open text.

    Available tools make it a tool call (or a turn after a tool, which may be a call or text); a response format or
    schema makes it JSON; letters with choices, wording such as "answer with only the number", "one word", "yes or no"
    at a line's end, and a limit of at most 16 tokens make it short. A request for reasons makes it open text.

    Args:
        query: The query.

    Example:
        >>> answer_kind(Query("What is 12 * 7? Answer with only the number."))
        'number'
        >>> answer_kind(Query("Capital of France?\nA) Rome\nB) Paris")), answer_kind(Query("Write a poem."))
        ('choice', None)
    """
    if query.tools and query.params.get("tool_choice") != "none":
        return "turn after a tool" if _is_tool_result(query) else "tool call"
    if _asks_json(query.params):
        return "JSON"
    if _OPEN.search(query.text):
        return None
    if _offers_choices(query.text):
        return "choice"
    for clause in _CLAUSES.split(f"{query.system[-_TAIL:]}\n{query.text[-_TAIL:]}".casefold()):
        if len(clause.split()) <= _LONGEST_CLAUSE and (found := _wording(clause.strip(" *_'\"`"))) is not None:
            return found
    limits = [query.params[name] for name in TOKEN_LIMITS if isinstance(query.params.get(name), int)]
    return "short answer" if limits and min(limits) <= SHORT_TOKENS else None


def _offers_choices(text: str) -> bool:
    first = _FIRST_OPTION.search(text)
    if first is None or len(options_in(text)) < 2:
        return False
    return len(_OPTION_LINES.findall(text)) > 2 or _CHOOSES.search(text[: first.start()][-_TAIL:]) is not None


def _wording(clause: str) -> AnswerKind | None:
    for pattern in _ONLY:
        if found := pattern.fullmatch(clause):
            return "number" if found.groupdict().get("what") in _NUMBERS else "short answer"
    return None


def _asks_json(params: Mapping[str, Any]) -> bool:
    wish = next((params[name] for name in _ASKING_JSON if params.get(name) is not None), None)
    kind = wish.get("type") if isinstance(wish, Mapping) else wish
    return kind in _FORMATS if isinstance(kind, str) else wish is not None


def _is_tool_result(query: Query) -> bool:
    """Return whether the last message is a tool's result."""
    return role_of((query.messages or [None])[-1]) in ("tool", "function")
