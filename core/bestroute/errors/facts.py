"""Facts about an error of any library: types, HTTP status, codes, messages, and when to retry.

Nothing is imported from a provider's client. Errors are written by others: whatever is read of one may raise, and is
then taken for absent.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from bestroute._utils.interruptions import is_interruption
from bestroute._utils.text import text_of

_DEPTH = 5
"""Most causes of an error that are followed."""

_CODES: Mapping[int, str] = {
    400: """invalid_request_error badrequesterror invalid_argument failed_precondition out_of_range
        validationexception validationerror""",
    401: "authentication_error invalid_api_key unauthenticated",
    402: "billing_error",
    403: """permission_error permission_denied accessdeniedexception accessdenied expiredtokenexception expiredtoken
        unrecognizedclientexception invalidsignatureexception signaturedoesnotmatch invalidclienttokenid
        incompletesignature missingauthenticationtoken optinrequired""",
    404: "not_found_error not_found model_not_found resourcenotfoundexception",
    408: "modeltimeoutexception requesttimeout requesttimeoutexception request_timeout",
    409: "aborted",
    413: "request_too_large",
    429: """rate_limit_error rate_limit_exceeded too_many_requests resource_exhausted throttlingexception throttling
        toomanyrequestsexception""",
    499: "cancelled",
    500: """server_error api_error internal_error internal_server_error internalservererror internal data_loss
        internalserverexception internalfailure modelerrorexception modelstreamerrorexception""",
    502: "bad_gateway",
    503: """service_unavailable service_unavailable_error unavailable serviceunavailableexception serviceunavailable
        modelnotreadyexception slow_down capacity_exceeded over_capacity""",
    504: "timeout_error timeout gateway_timeout deadline_exceeded",
    529: "overloaded_error overloaded engine_overloaded server_overloaded model_overloaded",
}
"""Statuses implied by codes and types of errors (OpenAI-compatible, Anthropic's, AWS's, Google's, gRPC's)."""
_STATUS_OF = {code: status for status, codes in _CODES.items() for code in codes.split()}
_VAGUE = (400, 424, 498)
"""Statuses that are less specific than the provider's code: AWS throttles with 400."""
_IN_WORDS = re.compile(
    r"^\[([45]\d\d)\]|\b(?:error code|status(?:[ _]code)?|http(?: error)?)(?: is|[:=])? ?\(?([45]\d\d)\b"
)


@dataclass(frozen=True)
class Facts:
    """Facts about an error and its causes."""

    error: BaseException
    types: frozenset[str]
    """Type names of the error and its causes, including base classes."""
    status: int | None
    """HTTP status, or the one implied by a code, also for an error in a reply with status 200."""
    codes: tuple[str, ...]
    """The provider's codes, types and states, in lower case, innermost first."""
    words: str
    """The messages of the error and its causes, in lower case."""

    @classmethod
    def of(cls, error: BaseException) -> Facts:
        """Collect the facts of an error and its causes."""
        chain = list(causes(error))
        codes = tuple(code for e in chain for code in _codes(e))
        words = " ".join(text for e in chain for text in (text_of(e), *map(text_of, _raw_bodies(e)))).lower()
        types = frozenset(str(field(kind, "__name__")) for e in chain for kind in type(e).__mro__)
        return cls(error, types, _meant(chain, codes, words), codes, words)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, at most five; of a group, its first."""
    found: BaseException | None = error
    for _ in range(_DEPTH):
        if found is None:
            return
        yield found
        if isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        else:
            found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def field(holder: Any, name: str) -> Any:
    """Return an attribute, or a mapping's value; ``None`` if there is none, or if reading it raises."""
    try:
        return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
    except BaseException as error:
        if is_interruption(error):
            raise
        return None


def bodies(error: BaseException) -> Iterator[Mapping[str, Any]]:
    """Yield the error objects in the provider's reply, innermost first."""
    for body in _raw_bodies(error):
        if isinstance(body, list) and len(body) == 1:
            body = body[0]
        if isinstance(body, Mapping):
            for name in ("error", "Error"):
                if isinstance(inner := field(body, name), Mapping):
                    yield inner
            yield body


def retry_after_s(error: BaseException | None, now: float | None = None) -> float | None:
    """Return the number of seconds that a provider asked to wait; ``None`` if it did not.

    Read from ``Retry-After`` (a number or an HTTP date), ``retry-after-ms``, or Google's ``RetryInfo``, wherever the
    client keeps them.

    Args:
        error: What the member raised.
        now: Time of this machine where the reply has no ``Date`` of its own; the clock's by default.
    """
    for e in () if error is None else causes(error):
        for seconds in _waits(e, time.time() if now is None else now):
            if seconds is not None and seconds >= 0:
                return seconds
    return None


def _waits(error: BaseException, now: float) -> Iterator[float | None]:
    headers = _headers(error)
    milliseconds = _number(headers.get("retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    yield _number(headers.get("retry-after"))
    if (until := _timestamp(headers.get("retry-after"))) is not None:
        sent = _timestamp(headers.get("date"))
        yield until - (now if sent is None else sent)
    yield _number(field(error, "retry_after"))
    for body in bodies(error):
        details = field(body, "details")
        for detail in details if isinstance(details, list) else ():
            delay = field(detail, "retryDelay")
            yield _number(delay.removesuffix("s")) if isinstance(delay, str) else None


def _headers(error: BaseException) -> dict[str, Any]:
    """Return the reply's headers with lower-case names, wherever a client stores them."""
    response = field(error, "response")
    metadata = field(response, "ResponseMetadata")
    for holder, name in (
        (response, "headers"),
        (metadata, "HTTPHeaders"),
        (error, "headers"),
        (field(error, "raw_response"), "headers"),
    ):
        headers = field(holder, name)
        try:
            if headers:
                return {str(key).lower(): value for key, value in headers.items()}
        except Exception:
            continue
    return {}


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _timestamp(value: Any) -> float | None:
    """Parse an HTTP date."""
    try:
        return parsedate_to_datetime(value).timestamp() if isinstance(value, str) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _meant(chain: list[BaseException], codes: tuple[str, ...], words: str) -> int | None:
    """Return the reply's status, or the one implied by its codes if that is more specific."""
    status = next((status for e in chain if (status := _status(e)) is not None), None)
    if status is not None and status >= 400 and status not in _VAGUE:
        return status
    meant = next((meant for code in codes if (meant := _status_of(code)) is not None), None)
    if meant is None and status is None and (found := _IN_WORDS.search(words)):
        meant = int(found[1] or found[2])
    return status if meant is None else meant


def _status_of(code: str) -> int | None:
    if len(code) == 3 and code.isdecimal() and code.isascii() and code[0] in "45":
        return int(code)
    return _STATUS_OF.get(code)


def _status(error: BaseException) -> int | None:
    response = field(error, "response")
    for value in (
        field(error, "status_code"),
        field(response, "status_code"),
        field(field(response, "ResponseMetadata"), "HTTPStatusCode"),
        field(error, "http_status"),
        field(error, "status"),
        field(error, "code"),
    ):
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600:
            return int(value)
    return None


def _codes(error: BaseException) -> Iterator[str]:
    """Yield an error's codes, types and states."""
    values = [_called(field(error, "code"))]
    values += [field(body, name) for body in bodies(error) for name in ("code", "Code", "type", "status")]
    for value in values:
        if isinstance(value, str):
            yield value.rpartition("#")[2].lower()  # AWS puts a namespace before it
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(int(value))


def _called(code: Any) -> Any:
    """Return a code as text; gRPC's is a method that returns an enumeration member."""
    if not callable(code):
        return code
    try:
        return field(code(), "name")
    except BaseException as error:
        if is_interruption(error):
            raise
        return None


def _raw_bodies(error: BaseException) -> Iterator[Any]:
    """Yield the reply's bodies, wherever clients store them, without reading from a connection."""
    response = field(error, "response")
    arguments = field(error, "args")
    for value in (
        field(error, "body"),
        field(error, "details"),
        response if isinstance(response, Mapping) else field(response, "_content"),
        arguments[0] if isinstance(arguments, tuple) and arguments else None,
    ):
        if isinstance(value, bytes | str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, Mapping | list):
            yield value
