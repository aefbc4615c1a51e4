"""What an error may say in a log, a ledger, a message or a traceback: no key, no password, and not the query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

from bestroute.credentials import known_secrets
from bestroute.quotations import quoted_spans
from bestroute.text import encodable, text_of

LONGEST = 500
"""Characters of an error that are kept."""
_READ = 4 * LONGEST
"""Characters of an error that are looked at; what follows is cut off unread."""
_READ_IN_PLACE = 20_000
"""The same, of an error that goes on to the caller."""
_MOST_CAUSES = 50
_HIDDEN = "[hidden]"
_WORDS = ("message", "msg", "reason", "strerror", "detail", "details")
"""Attributes that errors of clients make their text of."""
_SECRETS = (
    re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi|r8|ghp|gho|pplx|xoxb|xoxp)[-_][\w*.-]{6,}", re.IGNORECASE),
    re.compile(r"\bAIza[\w-]{10,}"),
    re.compile(r"\bAKIA[A-Z0-9]{8,}"),
    re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]+)?"),
    re.compile(r"(?i)(?<=\bbearer\s)\s*[^\s\"',;]+"),
    re.compile(r"(?i)(?<=\bbasic\s)\s*[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
)
_NAMED_SECRET = re.compile(
    r"(?i)((?:api|access|secret|auth|subscription|refresh|id|session|client)[-_ ]?(?:key|token|secret)"
    r"|authorization|password|passwd|\bpwd|\bsecret|\b(?:set-)?cookie|\btoken(?==)|[?&](?:key|sig|signature|code)(?==))"
    r"(\"?'?\s*(?:[:=]|provided:|is)\s*\"?'?)(?!bearer\b|basic\b)([^\s\"',;&}]{4,})"
)


class Quotable(Protocol):
    """What an error may quote: a query."""

    def texts(self) -> Iterator[str]:
        """Yield every text of it, earlier turns among them."""
        ...


def redact(text: str, query: Quotable | None = None) -> str:
    """Hide what looks like a secret or is one, and pieces of the query, in a text.

    Args:
        text: Usually what an error says.
        query: Whose text, system prompt, context and messages must not appear.

    Returns:
        At most 500 characters that any encoder takes.

    Example:
        >>> redact("Incorrect API key provided: sk-abc123def456")
        'Incorrect API key provided: [hidden]'
    """
    text = encodable(_hidden(text[:_READ], query))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def describe(error: BaseException, query: Quotable | None = None) -> str:
    """Return an error as ``Type: message``, redacted."""
    return redact(f"{type(error).__name__}: {text_of(error)}", query)


def hide_quotations(error: BaseException, query: Quotable | None = None) -> BaseException:
    """Take out of an error, and of all that led to it, what ``redact`` hides; returns the error itself.

    Its type and its other facts (status, headers) stay, so that whoever catches it finds what he expects; what
    ``traceback`` prints of it quotes nothing. An error that led to it and cannot be changed is no longer named.
    """
    todo, seen = [error], {id(error): error}
    while todo and len(seen) < _MOST_CAUSES:
        part = todo.pop()
        _hide_in(part, query)
        for name in ("__cause__", "__context__"):
            led = getattr(part, name)
            if led is None or id(led) in seen:
                continue
            seen[id(led)] = led
            _hide_in(led, query)
            if _is_clean(led, query):
                todo.append(led)
            else:
                setattr(part, name, None)
        inner = getattr(part, "exceptions", ())
        todo += [e for e in inner if isinstance(e, BaseException)] if isinstance(inner, tuple) else []
    return error


def _hide_in(error: BaseException, query: Quotable | None) -> None:
    """Change the words of one error in place, where they quote."""
    error.args = tuple(_hidden_argument(argument, query) for argument in error.args)
    for name in _WORDS:
        value = getattr(error, name, None)
        if isinstance(value, str) and (hidden := _hidden(value[:_READ_IN_PLACE], query)) != value:
            try:
                setattr(error, name, hidden)
            except (AttributeError, TypeError):  # computed, or closed: then the args decide
                continue
    if notes := getattr(error, "__notes__", None):
        notes[:] = [_hidden(str(note)[:_READ_IN_PLACE], query) for note in notes]


def _hidden_argument(argument: Any, query: Quotable | None) -> Any:
    if isinstance(argument, bool | int | float | None):
        return argument
    is_text = isinstance(argument, str)
    text = (argument if is_text else repr(argument))[:_READ_IN_PLACE]
    hidden = _hidden(text, query)
    return argument if hidden == text and (not is_text or len(text) == len(argument)) else hidden


def _is_clean(error: BaseException, query: Quotable | None) -> bool:
    text = text_of(error)[:_READ_IN_PLACE]
    return _hidden(text, query) == text


def _hidden(text: str, query: Quotable | None) -> str:
    if query is not None:
        text = _without(text, quoted_spans(text, query.texts()))
    for secret in sorted(known_secrets(), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    for pattern in _SECRETS:
        text = pattern.sub(_HIDDEN, text)
    return _NAMED_SECRET.sub(rf"\1\2{_HIDDEN}", text)


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """Replace spans, in rising order, those that touch as one."""
    pieces: list[str] = []
    end = 0
    for first, last in spans:
        if first > end or not pieces:
            pieces += [text[end:first], _HIDDEN]
        end = max(end, last)
    return "".join([*pieces, text[end:]])
