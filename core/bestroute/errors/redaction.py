"""Redact errors for logs, ledgers, messages and tracebacks: no keys, no passwords, no text of the query."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from bestroute._utils.text import encodable, text_of
from bestroute.errors.facts import field
from bestroute.errors.held_secrets import known_secrets

if TYPE_CHECKING:
    from bestroute.errors.quotations import Sources

LONGEST = 500
"""Most characters kept of an error."""
_READ = 4 * LONGEST
"""Most characters of an error that are processed; the rest is cut off unread."""
_READ_IN_PLACE = 20_000
"""The same limit for an error that is raised to the caller."""
_MOST_CAUSES = 50
_HIDDEN = "[hidden]"
_DEEP = 12
"""Depth to which data inside an error are searched."""
_WORDS = ("message", "msg", "reason", "strerror", "detail", "details", "filename", "filename2", "text")
"""Attributes from which clients', file and syntax errors build their text."""


class Quotable(Protocol):
    """A query whose texts an error may quote."""

    def texts(self) -> Iterator[str]:
        """Yield every text of it, including earlier turns."""
        ...


def redact(text: str, query: Quotable | None = None) -> str:
    """Replace secrets and quotations of the query in a text.

    Args:
        text: Usually what an error says.
        query: Whose text, system prompt, context and messages must not appear.

    Returns:
        At most 500 characters that any encoder takes.

    Example:
        >>> redact("Incorrect API key provided: sk-abc123def456")
        'Incorrect API key provided: [hidden]'
    """
    text = encodable(_Hider(query).beginning(text, _READ))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def describe(error: BaseException, query: Quotable | None = None) -> str:
    """Return an error as ``Type: message``, redacted; if that fails, its type alone. Never raises."""
    try:
        return redact(f"{type(error).__name__}: {text_of(error)}", query)
    except Exception as failure:
        return f"{_kind(error)}: {_HIDDEN} (redacting it raised {_kind(failure)})"


def _kind(error: BaseException) -> str:
    try:
        return str(type(error).__name__)
    except Exception:  # a metaclass of somebody else's
        return "Exception"


def hide_quotations(error: BaseException, query: Quotable | None = None) -> BaseException:
    """Redact an error and all its causes in place; returns the error.

    It is changed in place, so that its type and its other facts (status, headers) stay, and whoever catches it finds
    what he expects; what ``traceback`` prints of it quotes nothing. One that cannot be changed (a group, pydantic's) is
    replaced by one of its type that says the same. This never raises.
    """
    try:
        return _hidden(error, _Hider(query))
    except Exception:
        return RuntimeError(describe(error, query))


def is_clean(error: BaseException, query: Quotable | None = None) -> bool:
    """Return whether the text of an error, and of a group's parts, needs no redaction."""
    return _is_clean(error, _Hider(query))


def _hidden(error: BaseException, hider: _Hider) -> BaseException:
    first = _hide_alone(error, hider)
    todo, visited = [first], {id(error): error, id(first): first}
    while todo:
        part = todo.pop()
        for name in ("__cause__", "__context__"):
            led = getattr(part, name)
            if led is None or id(led) in visited:
                continue
            if len(visited) >= _MOST_CAUSES:
                _lead(part, name, None)
                continue
            visited[id(led)] = led
            hidden = _hide_alone(led, hider)
            if hidden is not led:
                visited[id(hidden)] = hidden
                _lead(part, name, hidden)
            todo.append(hidden)
        if isinstance(part, BaseExceptionGroup):
            todo += [e for e in part.exceptions if id(e) not in visited]
            visited.update((id(e), e) for e in part.exceptions)
    return first


def _lead(error: BaseException, name: str, led: BaseException | None) -> None:
    """Set the cause of an error without changing how its traceback is printed."""
    is_suppressed = error.__suppress_context__
    setattr(error, name, led)
    error.__suppress_context__ = is_suppressed


def _hide_alone(error: BaseException, hider: _Hider) -> BaseException:
    """Return an error, or a group with its parts, without quotations in its text."""
    _hide_in(error, hider)
    if isinstance(error, BaseExceptionGroup):
        return _group(error, hider)
    if _is_clean(error, hider):
        return error
    for remake in (_of_pydantic, _of_own_text):
        with suppress(Exception):
            made = remake(error, hider)
            if _is_clean(made, hider):
                return made if made is error else _in_place_of(error, made)
    kind = type(error).__name__
    return _in_place_of(error, RuntimeError(f"{kind}: {hider.beginning(text_of(error), _READ_IN_PLACE)}"))


def _in_place_of(error: BaseException, made: BaseException) -> BaseException:
    """Return an error with the traceback, cause and notes of another."""
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    made.__suppress_context__, made.__traceback__ = error.__suppress_context__, error.__traceback__
    made.__dict__.update(error.__dict__)  # notes, and what a client said of it: ``response`` and the like
    return made


def _group(group: BaseExceptionGroup[Any], hider: _Hider) -> BaseException:
    inner = [_hide_alone(part, hider) for part in group.exceptions]
    message = hider.beginning(group.message, _READ_IN_PLACE)
    is_same = message == group.message and all(new is old for new, old in zip(inner, group.exceptions, strict=True))
    if is_same:
        return group
    try:
        made = type(group)(message, inner)
    except Exception:  # its class is made in another way
        made = BaseExceptionGroup(message, inner)
    return _in_place_of(group, made)


def _of_own_text(error: BaseException, hider: _Hider) -> BaseException:
    """Return an error whose text cannot be changed as an instance of a subclass with another text."""
    kind, text = type(error), hider.beginning(text_of(error), _READ_IN_PLACE)
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__slots__": ()}
    texts = {"__str__": lambda _: text, "__repr__": lambda _: f"{kind.__name__}({text!r})"}
    error.__class__ = type(kind.__name__, (kind,), {**named, **texts})
    return error


def _of_pydantic(error: BaseException, hider: _Hider) -> BaseException:
    """Return pydantic's error with the same messages but hidden values."""
    validation: Any = error
    complaints = [
        {"type": each["type"], "loc": each["loc"], "input": _HIDDEN, "ctx": each.get("ctx", {})}
        for each in validation.errors(include_url=False)
    ]
    return _of_own_text(type(validation).from_exception_data(validation.title, complaints), hider)


@cache
def _secrets() -> tuple[re.Pattern[str], ...]:
    """Return the pattern of secrets; compiled at the first error."""
    return (
        re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi|r8|ghp|gho|pplx|xoxb|xoxp)[-_][\w*.-]{6,}", re.IGNORECASE),
        re.compile(r"\bAIza[\w-]{10,}"),
        re.compile(r"\bAKIA[A-Z0-9]{8,}"),
        re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]+)?"),
        re.compile(r"(?i)(?<=\bbearer\s)\s*[^\s\"',;]+"),
        re.compile(r"(?i)(?<=\bbasic\s)\s*[A-Za-z0-9+/=]{8,}"),
        re.compile(r"(?<=://)[^/\s@]+(?=@)"),
        re.compile(r"(?<=\binput_value=).*?(?=, input_type=)", re.DOTALL),  # pydantic's errors quote what they refuse
    )


@cache
def _named_secret() -> re.Pattern[str]:
    """Return the pattern of secrets that follow a name."""
    return re.compile(
        r"(?i)((?:api|access|secret|auth|subscription|refresh|id|session|client)[-_ ]?(?:key|token|secret)"
        r"|authorization|password|passwd|\bpwd|\bsecret|\b(?:set-)?cookie|\btoken(?==)|[?&](?:key|sig|signature|code)(?==))"
        r"(\"?'?\s*(?:[:=]|provided:|is)\s*\"?'?)(?!bearer\b|basic\b)([^\s\"',;&}]{4,})"
    )


class _Hider:
    """Redacts any number of texts with secrets and quotations that are looked up once."""

    def __init__(self, query: Quotable | None) -> None:
        self.sources = None if query is None else _sources_of(query)
        self.secrets = sorted(known_secrets(), key=len, reverse=True)

    def beginning(self, text: str, most: int) -> str:
        """Return the beginning of a text, redacted; no part of a key is left where it is cut."""
        head = text[:most]
        if len(text) > most:
            for secret in self.secrets:
                half = next((n for n in range(min(len(secret), most) - 1, 3, -1) if head.endswith(secret[:n])), 0)
                head = head[: len(head) - half]
        if self.sources is not None:
            head = _without(head, self.sources.spans(head))
        for secret in self.secrets:
            head = head.replace(secret, _HIDDEN)
        for pattern in _secrets():
            head = pattern.sub(_HIDDEN, head)
        return _named_secret().sub(rf"\1\2{_HIDDEN}", head)


_read_queries: dict[int, tuple[weakref.ref[Quotable], Sources]] = {}


def _sources_of(query: Quotable) -> Sources:
    """Return the indexed texts of a query, cached while it lives."""
    key = id(query)
    if (found := _read_queries.get(key)) is not None and found[0]() is query:
        return found[1]
    from bestroute.errors.quotations import Sources

    sources = Sources(query.texts())
    _read_queries[key] = weakref.ref(query, lambda _: _read_queries.pop(key, None)), sources
    return sources


def _hide_in(error: BaseException, hider: _Hider) -> None:
    """Redact the attributes of one error in place, as far as they can be changed."""
    with suppress(Exception):
        error.args = tuple(_hidden_argument(argument, hider) for argument in error.args)
    for name in _WORDS:
        _hide_attribute(error, name, field(error, name), hider)
    if isinstance(notes := field(error, "__notes__"), list):
        notes[:] = [hider.beginning(text_of(note), _READ_IN_PLACE) for note in notes]
    if not _is_clean(error, hider):  # its text is made of something else that it holds
        own = field(error, "__dict__")
        for name, value in own.copy().items() if isinstance(own, dict) else ():
            _hide_attribute(error, name, value, hider)


def _hide_attribute(error: BaseException, name: str, value: Any, hider: _Hider) -> None:
    hidden = _hidden_within(value, hider)
    if hidden is not value:
        with suppress(Exception):  # computed, or closed
            setattr(error, name, hidden)


def _hidden_within(value: Any, hider: _Hider, depth: int = _DEEP) -> Any:
    """Return plain data without quotations; the same object if it has none."""
    if isinstance(value, str):
        hidden = hider.beginning(value, _READ_IN_PLACE)
        return value if hidden == value else hidden
    if not depth or type(value) not in (dict, list, tuple):
        return value
    items = list(value.values()) if isinstance(value, dict) else list(value)
    cleared = [_hidden_within(part, hider, depth - 1) for part in items]
    if all(new is old for new, old in zip(cleared, items, strict=True)):
        return value
    return dict(zip(value, cleared, strict=True)) if isinstance(value, dict) else type(value)(cleared)


def _hidden_argument(argument: Any, hider: _Hider) -> Any:
    if isinstance(argument, bool | int | float | None):
        return argument
    is_text = isinstance(argument, str)
    try:
        text = argument if is_text else repr(argument)
    except Exception:  # what cannot be shown is not kept
        return _HIDDEN
    hidden = hider.beginning(text, _READ_IN_PLACE)
    return argument if hidden == text[:_READ_IN_PLACE] and not (is_text and len(text) > _READ_IN_PLACE) else hidden


def _is_clean(error: BaseException, hider: _Hider) -> bool:
    if isinstance(error, BaseExceptionGroup) and not all(_is_clean(part, hider) for part in error.exceptions):
        return False
    text = text_of(error)
    return hider.beginning(text, _READ_IN_PLACE) == text[:_READ_IN_PLACE]


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """Replace ascending spans; adjacent ones are merged."""
    pieces: list[str] = []
    end = 0
    for first, last in spans:
        if first > end or not pieces:
            pieces += [text[end:first], _HIDDEN]
        end = max(end, last)
    return "".join([*pieces, text[end:]])
