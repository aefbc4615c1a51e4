"""What an error means for the call: raise it at once, ask again, or go on to another member. One table of rules.

Nothing is imported from a provider's client: an error is told by its status, its code, the names of its types and,
last, its words, looked for in the error itself and in what caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bestroute.errors import BestRouteError, EmptyReplyError, GenerationError


class Action(Enum):
    """What is done about a failed draw."""

    RAISE = "raise it at once"
    """Somebody has to mend something; a dearer model would only hide it."""
    RETRY = "ask again, then go on"
    GO_ON = "go on"
    """Asking again is of no use, another member may answer."""
    GO_ON_TO_ABLE = "go on to a member that can take it"
    """It is this prompt that this member cannot take; the member itself is well."""


@dataclass(frozen=True)
class Facts:
    """What can be told of an error without knowing its library."""

    error: BaseException
    types: frozenset[str]
    """Names of the types of the error and its causes, bases included."""
    status: int | None
    """HTTP status, if there is one."""
    code: str
    """The provider's code, in lower case."""
    words: str
    """The messages of the error and its causes, in lower case."""

    @classmethod
    def of(cls, error: BaseException) -> Facts:
        """Gather the facts from an error and what caused it."""
        chain = list(_causes(error))
        return cls(
            error,
            frozenset(kind.__name__ for e in chain for kind in type(e).__mro__),
            next((status for e in chain if (status := _status(e)) is not None), None),
            next((code for e in chain if (code := _code(e))), ""),
            " ".join(str(e) for e in chain).lower(),
        )


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    name: str
    action: Action
    applies: Callable[[Facts], bool]


def _has_code(*codes: str) -> Callable[[Facts], bool]:
    return lambda facts: facts.code in codes


def _has_type(*names: str) -> Callable[[Facts], bool]:
    return lambda facts: not facts.types.isdisjoint(names)


def _has_status(*statuses: int) -> Callable[[Facts], bool]:
    return lambda facts: facts.status in statuses


def _says(*phrases: str) -> Callable[[Facts], bool]:
    """Whether a refusal (not a failure of the server) is put in one of these ways."""
    return lambda facts: (
        (facts.status is None or 400 <= facts.status < 429) and any(phrase in facts.words for phrase in phrases)
    )


def _any(*tests: Callable[[Facts], bool]) -> Callable[[Facts], bool]:
    return lambda facts: any(test(facts) for test in tests)


def _is_ours_to_fix(facts: Facts) -> bool:
    return isinstance(facts.error, BestRouteError) and not isinstance(facts.error, GenerationError)


def _is_never_built(facts: Facts) -> bool:
    """Whether a client could not be made at all: no library, no key, an argument that it does not know."""
    return (
        isinstance(facts.error, ImportError | NotImplementedError)
        or type(facts.error).__name__ in ("OpenAIError", "AnthropicError", "UnsupportedProtocol", "InvalidURL")
        or not facts.types.isdisjoint(("UnsupportedProtocol", "InvalidURL", "LocalProtocolError"))
        or "api_key client option must be set" in facts.words
        or "could not resolve authentication method" in facts.words
        or "unexpected keyword argument" in facts.words
    )


RULES: tuple[Rule, ...] = (
    Rule("ours to fix", Action.RAISE, _is_ours_to_fix),
    Rule("empty reply", Action.RETRY, lambda facts: isinstance(facts.error, EmptyReplyError)),
    Rule(
        "not allowed, or not there",
        Action.RAISE,
        _any(
            _has_status(401, 402, 403, 404, 407),
            _has_type("AuthenticationError", "PermissionDeniedError", "NotFoundError", "Unauthenticated"),
        ),
    ),
    Rule(
        "context length",
        Action.GO_ON_TO_ABLE,
        _any(
            _has_code("context_length_exceeded", "string_above_max_length"),
            _has_type("ContextOverflowError", "ContextWindowExceededError"),
            _has_status(413),
            _says("context length", "context window", "maximum context", "prompt is too long", "input is too long"),
        ),
    ),
    Rule(
        "content filter",
        Action.GO_ON_TO_ABLE,
        _any(
            _has_code("content_filter", "content_policy_violation", "responsibleaipolicyviolation"),
            _has_type("ContentFilterFinishReasonError", "ContentPolicyViolationError"),
            _says("content filter", "content management policy", "content filtering policy"),
        ),
    ),
    Rule("quota used up", Action.GO_ON, _has_code("insufficient_quota", "billing_hard_limit_reached")),
    Rule("rate limit", Action.RETRY, _any(_has_status(429), _has_type("RateLimitError", "ResourceExhausted"))),
    Rule("for the moment", Action.RETRY, _has_status(408, 409, 425)),
    Rule("server failure", Action.RETRY, lambda facts: facts.status is not None and facts.status >= 500),
    Rule("bad request", Action.RAISE, lambda facts: facts.status is not None and 400 <= facts.status < 500),
    Rule("no client", Action.RAISE, _is_never_built),
    Rule(
        "no connection, or no answer in time",
        Action.RETRY,
        _has_type(
            "TimeoutError",
            "ConnectionError",
            "TimeoutException",
            "APITimeoutError",
            "APIConnectionError",
            "TransportError",
            "IncompleteRead",
            "gaierror",
            "ServiceUnavailable",
            "InternalServerError",
            "DeadlineExceeded",
        ),
    ),
    Rule("malformed answer", Action.RETRY, _has_type("JSONDecodeError", "APIResponseValidationError")),
)
"""The first rule that applies decides."""

UNKNOWN = Rule("unknown error", Action.GO_ON, lambda facts: True)


def rule_for(error: BaseException) -> Rule:
    """Return the rule for an error.

    Example:
        >>> rule_for(TimeoutError("late")).name
        'no connection, or no answer in time'
        >>> rule_for(RuntimeError("?")).action
        <Action.GO_ON: 'go on'>
    """
    facts = Facts.of(error)
    return next((rule for rule in RULES if rule.applies(facts)), UNKNOWN)


def retry_after_s(error: BaseException | None) -> float | None:
    """Return how many seconds a provider asked to wait, if it did."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        return None
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name)) / scale
        except (TypeError, ValueError):  # absent, or a date
            continue
        if seconds >= 0:
            return seconds
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what caused it, at most five deep; a ``GenerationError`` speaks for itself."""
    found: BaseException | None = error
    for _ in range(5):
        if found is None:
            return
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _status(error: BaseException) -> int | None:
    for value in (
        getattr(error, "status_code", None),
        getattr(getattr(error, "response", None), "status_code", None),
        getattr(error, "http_status", None),
        getattr(error, "code", None),
    ):
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600:
            return value
    return None


def _code(error: BaseException) -> str:
    body: Any = getattr(error, "body", None)
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    told = (getattr(error, "code", None), *((body.get("code"), body.get("type")) if isinstance(body, dict) else ()))
    return next((value.lower() for value in told if isinstance(value, str)), "")
