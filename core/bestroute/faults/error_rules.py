"""What an error means for the call: raise at once, retry, or try another member. One table of rules.

The rules read ``bestroute.errors.facts``: status, codes, names of types and, last, words.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from bestroute.errors import BestRouteError, EmptyReplyError, GenerationError
from bestroute.errors.facts import Facts


class Action(Enum):
    """How a failed draw is handled."""

    RAISE = "raise it at once"
    """A configuration error that someone must fix; using a more expensive model would only hide it."""
    RETRY = "ask again, then go on"
    GO_ON = "go on"
    """Retrying does not help, but another member may answer."""
    GO_ON_TO_ABLE = "go on to a member that can take it"
    """This member cannot take this prompt; the member itself is healthy."""


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    name: str
    action: Action
    applies: Callable[[Facts], bool]


def _has_code(*codes: str) -> Callable[[Facts], bool]:
    return lambda facts: not set(facts.codes).isdisjoint(codes)


def _has_type(*names: str) -> Callable[[Facts], bool]:
    return lambda facts: not facts.types.isdisjoint(names)


def _has_status(*statuses: int) -> Callable[[Facts], bool]:
    return lambda facts: facts.status in statuses


def _says(*phrases: str) -> Callable[[Facts], bool]:
    """Match client errors (not server failures) whose message contains a phrase."""
    return lambda facts: (
        (facts.status is None or 400 <= facts.status < 429) and any(phrase in facts.words for phrase in phrases)
    )


def _says_without_status(*phrases: str) -> Callable[[Facts], bool]:
    """Match errors with neither status nor code whose message contains a phrase."""
    return lambda facts: facts.status is None and any(phrase in facts.words for phrase in phrases)


def _any(*tests: Callable[[Facts], bool]) -> Callable[[Facts], bool]:
    return lambda facts: any(test(facts) for test in tests)


def _is_ours_to_fix(facts: Facts) -> bool:
    return isinstance(facts.error, BestRouteError) and not isinstance(facts.error, GenerationError)


def _is_never_built(facts: Facts) -> bool:
    """Return whether a client could not be created: missing library, missing key, unknown argument."""
    return (
        isinstance(facts.error, ImportError | NotImplementedError)
        or type(facts.error).__name__ in _BASES
        or not facts.types.isdisjoint(_NEVER_SENT)
        or any(phrase in facts.words for phrase in _NO_KEY)
        or "unexpected keyword argument" in facts.words
    )


_BASES = ("OpenAIError", "AnthropicError", "GroqError", "TogetherError", "FireworksError")
"""Base classes of clients' errors: raised themselves, they mean that a client could not be created."""
_NEVER_SENT = (
    *("UnsupportedProtocol", "InvalidURL", "LocalProtocolError", "MissingSchema", "InvalidSchema"),
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError"),
    *("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "ProfileNotFound", "NoRegionError"),
    *("ParamValidationError", "UnknownServiceError", "UnknownEndpointError", "DefaultCredentialsError"),
    "LocalTokenNotFoundError",
)
"""Types of errors raised before anything was sent."""
_NO_KEY = (
    "api_key client option must be set",
    "could not resolve authentication method",
    "missing key inputs argument",
    "client must be instantiated",
)


def mark_foreign_turn(error: BaseException) -> None:
    """Mark an error of a conversation with turns of other members, which may be what was rejected."""
    with suppress(Exception):  # a class may take no attributes
        error._bestroute_foreign_turn = True  # type: ignore[attr-defined]


def _had_foreign_turn(facts: Facts) -> bool:
    return facts.status in (400, 422) and getattr(facts.error, "_bestroute_foreign_turn", False) is True


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
            _has_code("context_length_exceeded", "string_above_max_length", "exceed_context_size_error"),
            _has_type("ContextOverflowError", "ContextWindowExceededError"),
            _has_status(413),
            _says(
                *("context length", "context window", "maximum context", "context limit", "context size"),
                *("prompt is too long", "input is too long", "input tokens exceed", "too many tokens"),
                *("maximum number of tokens", "`max_new_tokens` must be"),
            ),
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
    Rule(
        "cut off at its limit of length",
        Action.GO_ON,
        _has_type("LengthFinishReasonError", "IncompleteOutputException", "IncompleteGenerationError"),
    ),
    Rule(
        "quota used up",
        Action.GO_ON,
        _any(
            _has_code("insufficient_quota", "billing_hard_limit_reached", "servicequotaexceededexception"),
            _has_type("BudgetExceededError"),
        ),
    ),
    Rule(
        "rate limit",
        Action.RETRY,
        _any(
            _has_status(429),
            _has_type("RateLimitError", "ResourceExhausted"),
            _says_without_status("too many requests", "rate limit", "resource exhausted"),
        ),
    ),
    Rule("for the moment", Action.RETRY, _has_status(408, 409, 425, 499)),
    Rule(
        "server failure",
        Action.RETRY,
        _any(
            lambda facts: facts.status is not None and facts.status >= 500,
            _has_type("OverloadedError", "ServiceUnavailableError", "ServiceUnavailable", "InternalServerError"),
            _says_without_status("overloaded", "service unavailable", "temporarily unavailable", "at capacity"),
        ),
    ),
    Rule("another member's turn", Action.GO_ON_TO_ABLE, _had_foreign_turn),
    Rule(
        "bad request",
        Action.RAISE,
        _any(
            lambda facts: facts.status is not None and 400 <= facts.status < 500,
            _has_type("InvalidRequestError", "UnprocessableEntityError"),
        ),
    ),
    Rule("no client", Action.RAISE, _is_never_built),
    Rule(
        "no connection, or no answer in time",
        Action.RETRY,
        _has_type(
            *("TimeoutError", "TimeoutException", "Timeout", "APITimeoutError", "DeadlineExceeded"),
            *("ConnectionError", "APIConnectionError", "ClientConnectionError", "HTTPClientError", "TransportError"),
            *("NetworkError", "ProtocolError", "ServiceRequestError", "ServiceResponseError", "NoResponseError"),
            *("IncompleteRead", "IncompleteReadError", "ClientPayloadError", "ChunkedEncodingError", "gaierror"),
        ),
    ),
    Rule(
        "malformed answer",
        Action.RETRY,
        _has_type("JSONDecodeError", "APIResponseValidationError", "ResponseValidationError", "DecodingError"),
    ),
)
"""The first matching rule decides."""

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
