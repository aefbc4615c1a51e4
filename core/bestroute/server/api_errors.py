"""Convert errors to OpenAI's format: status, type, code, and a message without secrets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bestroute.errors import BudgetError, ConfigError, DeadlineError, GenerationError, StoreError
from bestroute.errors.facts import Facts, bodies, retry_after_s
from bestroute.errors.facts import field as field_of
from bestroute.errors.redaction import describe
from bestroute.types.query import Query

logger = logging.getLogger("bestroute.server")

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "invalid_request_error", 429: "rate_limit_error"}


@dataclass(frozen=True)
class ApiErrorBody:
    """The error that a caller receives."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it in OpenAI's format."""
        fields = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": fields}


class RequestError(Exception):
    """A request that cannot be answered, with the error for its caller."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, type: str | None = None
    ) -> None:
        """Store the error for the caller."""
        super().__init__(message)
        kind = type or _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.body = ApiErrorBody(status, message, kind, code, param)


STORE_AWAY = "the server's database of bills cannot be asked now; its log says why"
_NO_RETRY = {"x-should-retry": "false"}
"""Headers that OpenAI's clients use for retries."""


def api_error(error: BaseException, query: Query | None = None) -> ApiErrorBody:
    """Convert an error; a member's own error keeps its status, type and code.

    Args:
        error: The error.
        query: The query, whose text must not appear in the message.
    """
    if isinstance(error, RequestError):
        return error.body
    if isinstance(error, StoreError):
        logger.error("a request failed: %s", describe(error, query))
        return ApiErrorBody(503, STORE_AWAY, "server_error", "store_unavailable")
    if isinstance(error, BudgetError):
        return ApiErrorBody(429, describe(error, query), "insufficient_quota", "budget_exceeded", headers=_NO_RETRY)
    if isinstance(error, DeadlineError):
        return ApiErrorBody(504, describe(error, query), "server_error", "deadline_exceeded", headers=_NO_RETRY)
    if isinstance(error, GenerationError):
        return _of_member(error, query)
    if isinstance(error, ConfigError):
        return ApiErrorBody(400, describe(error, query).removeprefix("ConfigError: "), code="invalid_value")
    logger.error("a request failed: %s", describe(error, query), exc_info=not isinstance(error, OSError) and _clean())
    return ApiErrorBody(500, "the server failed to answer; its log says why", "server_error", "internal_error")


def _of_member(error: GenerationError, query: Query | None) -> ApiErrorBody:
    """Return the error when no member answered: the last one's own."""
    cause = error.members_own
    facts = Facts.of(cause)
    status = facts.status
    if status is None:
        is_late = "timeout" in " ".join(facts.types).lower()
        status, kind, code = (
            (504, "server_error", "upstream_timeout") if is_late else (502, "server_error", "upstream_error")
        )
    else:
        own = next(bodies(cause), {})
        kind = _word(field_of(own, "type")) or _TYPES.get(
            status, "invalid_request_error" if status < 500 else "server_error"
        )
        code = _word(field_of(own, "code")) or "upstream_error"
        return ApiErrorBody(
            status, describe(error, query), kind, code, _word(field_of(own, "param")), _retry_headers(cause)
        )
    return ApiErrorBody(status, describe(error, query), kind, code)


def _word(value: Any) -> str | None:
    return str(value)[:100] if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def _retry_headers(error: BaseException) -> dict[str, str]:
    seconds = retry_after_s(error)
    return {} if seconds is None else {"retry-after": f"{seconds:g}"}


def _clean() -> bool:
    """Return whether tracebacks are logged: only with debug logging, since they may contain callers' texts."""
    return logger.isEnabledFor(logging.DEBUG)
