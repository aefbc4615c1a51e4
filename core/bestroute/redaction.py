"""What an error may say in a log, a ledger or a message: no key, no password, and not the query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bestroute.facts import text_of

if TYPE_CHECKING:
    from bestroute.query import Query

LONGEST = 500
"""Characters of an error that are kept."""
_READ = 4 * LONGEST
"""Characters of an error that are looked at; what follows is cut off unread."""
_HIDDEN = "[hidden]"
_SHORTEST_QUOTE = 21
"""So many letters and digits of the query in a row, in an error, are taken for a quotation."""
_SHORTEST_WHOLE = 8
"""A query of fewer is not looked for: it may be any word."""
_HOLDERS = ("content", "text", "blocks", "tool_calls", "function", "arguments", "args", "input", "tool_kwargs")
"""Where messages of frameworks keep what they say."""
_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})")
_NO_LETTER = re.compile(r"\\+[nrt]|[\W_]+")
_LETTER = re.compile(r"\\+u([0-9a-fA-F]{4})|\\+[nrt]|([^\W_])")
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
    r"(?i)((?:api|access|secret|auth|subscription|refresh|id|session|client)[-_ ]?(?:key|token|secret)"
    r"|authorization|password|passwd|\bpwd|\bsecret|\b(?:set-)?cookie|\btoken(?==)|[?&](?:key|sig|signature|code)(?==))"
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
    text = text[:_READ]
    if query is not None:
        text = _without_quotes(text, list(_parts(query)))
    for secret in _SECRETS:
        text = secret.sub(_HIDDEN, text)
    text = _NAMED_SECRET.sub(rf"\1\2{_HIDDEN}", text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def describe(error: BaseException, query: Query | None = None) -> str:
    """Return an error as ``Type: message``, redacted."""
    return redact(f"{type(error).__name__}: {text_of(error)}", query)


def _parts(query: Query) -> Iterator[str]:
    """Yield the letters of every text of a query, earlier turns among them."""
    for part in (query.text, query.system, query.context, *_texts(list(query.messages or ()))):
        if part:
            unescaped = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), part)
            yield _NO_LETTER.sub("", unescaped.lower())


def _texts(value: Any, depth: int = 6) -> Iterator[str]:
    """Yield the texts of a framework's messages, arguments of tool calls among them, or of parts of one."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, Mapping):
        yield from (text for part in value.values() for text in _texts(part, depth - 1))
    elif depth and isinstance(value, list | tuple):
        yield from (text for part in value for text in _texts(part, depth - 1))
    elif depth:
        found = (getattr(value, name, None) for name in _HOLDERS)
        yield from (text for part in found if part is not None for text in _texts(part, depth - 1))


def _without_quotes(text: str, parts: Iterable[str]) -> str:
    """Hide what a text quotes of the parts of a query: a short part whole, of a long one any piece.

    Letters and digits are compared, nothing else: so it is no matter how a quotation is escaped.
    """
    letters, places = "", []
    for found in _LETTER.finditer(text):
        letter = chr(int(found[1], 16)) if found[1] else found[2] or ""
        if letter.isalnum():
            letters += letter.lower()[0]
            places.append(found.span())
    is_quoted = bytearray(len(text))
    for part in parts:
        for start, length in _whole(letters, part) if len(part) < _SHORTEST_QUOTE else _pieces(letters, part):
            first, last = places[start][0], places[start + length - 1][1]
            is_quoted[first:last] = b"\1" * (last - first)
    pieces: list[str] = []
    for i, sign in enumerate(text):
        if not is_quoted[i]:
            pieces.append(sign)
        elif i == 0 or not is_quoted[i - 1]:
            pieces.append(_HIDDEN)
    return "".join(pieces)


def _whole(text: str, part: str) -> Iterator[tuple[int, int]]:
    """Yield start and length of each place where a text holds all of a short part."""
    start = text.find(part) if len(part) >= _SHORTEST_WHOLE else -1
    while start >= 0:
        yield start, len(part)
        start = text.find(part, start + len(part))


def _pieces(text: str, part: str) -> Iterator[tuple[int, int]]:
    """Yield start and length of each piece, just long enough to be a quotation, that a text has from a part.

    A part may be a book: so it is searched for a few short probes, and for quotations only around those it holds.
    """
    step = _SHORTEST_QUOTE // 3  # a quotation holds, at a multiple of the step, a whole probe of two steps
    for i in range(0, len(text) - 2 * step + 1, step):
        if text[i : i + 2 * step] in part:
            for j in range(max(0, i - step), i + 1):
                quote = text[j : j + _SHORTEST_QUOTE]
                if len(quote) == _SHORTEST_QUOTE and quote in part:
                    yield j, _SHORTEST_QUOTE
