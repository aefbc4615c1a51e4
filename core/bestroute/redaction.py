"""What an error may say in a log, a ledger or a message: no key, no password, and not the query."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bestroute.query import Query

LONGEST = 500
"""Characters of an error that are kept."""
_HIDDEN = "[hidden]"
_SHORTEST_QUOTE = 24
"""A piece of the query this long, in an error, is taken for a quotation."""
_SECRETS = (
    re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi|r8|ghp|gho|pplx|xoxb|xoxp)[-_][\w*.-]{6,}", re.IGNORECASE),
    re.compile(r"\bAIza[\w-]{10,}"),
    re.compile(r"\bAKIA[A-Z0-9]{8,}"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]+)?"),
    re.compile(r"(?i)(?<=\bbearer\s)\s*[^\s\"',;]+"),
    re.compile(r"(?i)(?<=\bbasic\s)\s*[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
)
_NAMED_SECRET = re.compile(
    r"(?i)((?:api|access|secret|auth)[-_ ]?(?:key|token)|authorization|password|x-api-key)"
    r"(\"?'?\s*(?:[:=]|provided:|is)\s*\"?'?)(?!bearer\b|basic\b)([^\s\"',;&}]{4,})"
)


def redact(text: str, query: Query | None = None) -> str:
    """Hide what looks like a secret, and pieces of the query, in a text.

    Args:
        text: Usually what an error says.
        query: Whose text, system prompt and context must not appear.

    Example:
        >>> redact("Incorrect API key provided: sk-abc123def456")
        'Incorrect API key provided: [hidden]'
    """
    for secret in _SECRETS:
        text = secret.sub(_HIDDEN, text)
    text = _NAMED_SECRET.sub(rf"\1\2{_HIDDEN}", text)
    if query is not None:
        for part in (query.text, query.system, query.context):
            text = _without_quotes(text, part)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def describe(error: BaseException, query: Query | None = None) -> str:
    """Return an error as ``Type: message``, redacted."""
    return redact(f"{type(error).__name__}: {error}", query)


def _without_quotes(text: str, part: str) -> str:
    """Hide where a text quotes a part of the query, from its beginning, whole or cut off."""
    part = part.strip()
    if not part:
        return text
    if len(part) < _SHORTEST_QUOTE:
        return text.replace(part, _HIDDEN) if len(part) >= 8 else text
    start = text.find(part[:_SHORTEST_QUOTE])
    while start >= 0:
        end = start + _SHORTEST_QUOTE
        while end < len(text) and end - start < len(part) and text[end] == part[end - start]:
            end += 1
        text = text[:start] + _HIDDEN + text[end:]
        start = text.find(part[:_SHORTEST_QUOTE], start + len(_HIDDEN))
    return text
