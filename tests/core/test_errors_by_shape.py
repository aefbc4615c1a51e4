"""What an error means by its shape alone, no client being installed; and errors that break when they are looked at."""

from email.utils import formatdate
from types import SimpleNamespace

import pytest

from bestroute.errors import Failure
from bestroute.errors.facts import Facts, retry_after_s
from bestroute.errors.redaction import describe
from bestroute.faults.error_rules import UNKNOWN, Action, rule_for

NOW = 1_700_000_000.0


class Told(Exception):
    def __init__(self, *args, **fields):
        super().__init__(*args)
        self.__dict__.update(fields)


def with_headers(**headers):
    return Told("slow", response=SimpleNamespace(headers={k.replace("_", "-"): v for k, v in headers.items()}))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (Told(response={"Error": {"Code": "ThrottlingException"}}), "rate limit"),
        (Told(response={"ResponseMetadata": {"HTTPStatusCode": 403}}), "not allowed, or not there"),
        (Told(status_code=200, body={"type": "error", "error": {"type": "overloaded_error"}}), "server failure"),
        (Told(body={"type": "rate_limit_error"}), "rate limit"),
        (Told(body='{"error": {"type": "api_error"}}'), "server failure"),
        (Told(code=503, status="UNAVAILABLE"), "server failure"),
        (Told(code=lambda: SimpleNamespace(name="RESOURCE_EXHAUSTED")), "rate limit"),
        (Told(status=429), "rate limit"),
        (Told(code="429"), "rate limit"),
        (ValueError({"code": 502, "message": "Provider returned error"}), "server failure"),
        (ExceptionGroup("two", [TimeoutError("late"), ValueError("x")]), "no connection, or no answer in time"),
        (Exception("[429] Too Many Requests"), "rate limit"),
        (RuntimeError("Request failed with status code 503: busy"), "server failure"),
        (RuntimeError("Error code: 401 - no key"), "not allowed, or not there"),
        (RuntimeError("it took 500 tries"), UNKNOWN.name),
        (RuntimeError("Model is overloaded"), "server failure"),
        (ValueError("Rate limit reached for this key"), "rate limit"),
        (Told("Overloaded", status_code=400), "bad request"),
        (type("InvalidRequestError", (Exception,), {})("no"), "bad request"),
    ],
)
def test_an_error_is_told_by_where_clients_keep_its_status_and_code(error, name):
    assert rule_for(error).name == name


def test_a_status_that_says_more_than_its_code_counts():
    assert rule_for(Told(status_code=401, body={"error": {"type": "invalid_request_error"}})).action is Action.RAISE
    assert rule_for(Told(status_code=429, body={"error": {"type": "invalid_request_error"}})).name == "rate limit"
    assert rule_for(Told(status_code=503, body={"error": {"type": "invalid_request_error"}})).name == "server failure"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "2"}, 2.0),
        ({"retry_after": 2}, 2.0),
        ({"Retry_After": "2.5"}, 2.5),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9.0),
        ({"retry_after": formatdate(NOW + 5, usegmt=True)}, 5.0),
        ({"retry_after": formatdate(NOW + 95, usegmt=True), "Date": formatdate(NOW + 90, usegmt=True)}, 5.0),
        ({"retry_after": formatdate(NOW - 5, usegmt=True)}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": True}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_a_number_milliseconds_or_a_date(headers, seconds):
    assert retry_after_s(with_headers(**headers), NOW) == seconds


def test_a_date_is_counted_from_the_clock_where_the_reply_has_none():
    import time

    assert 50 < retry_after_s(with_headers(retry_after=formatdate(time.time() + 60, usegmt=True))) <= 60


@pytest.mark.parametrize(
    "error",
    [
        with_headers(retry_after="3"),
        Told(headers={"Retry-After": "3"}),
        Told(response={"ResponseMetadata": {"HTTPHeaders": {"retry-after": "3"}}}),
        Told(raw_response=SimpleNamespace(headers={"retry-after": "3"})),
        Told(retry_after=3),
        Told(details={"error": {"details": [{}, {"retryDelay": "3s"}]}}),
    ],
)
def test_how_long_to_wait_is_found_wherever_a_client_keeps_it(error):
    assert retry_after_s(error) == 3.0
    outer = RuntimeError("a framework's own error")
    outer.__cause__ = error
    assert retry_after_s(outer) == 3.0


def test_nobody_asked_to_wait():
    assert retry_after_s(None) is None
    assert retry_after_s(RuntimeError("no response")) is None


def broken(name):
    def raises(self):
        raise RuntimeError(f"{name} is broken")

    is_method = name.startswith("__")
    return type("Broken", (ConnectionError,), {name: raises if is_method else property(raises)})("x")


NAMES = ["__str__", "__repr__", "response", "status_code", "body", "code", "headers", "details", "args", "status"]


@pytest.mark.parametrize("name", NAMES)
def test_an_error_that_breaks_when_it_is_looked_at_still_has_its_rule(name):
    error = broken(name)
    assert rule_for(error).name == "no connection, or no answer in time"
    assert retry_after_s(error) is None
    assert describe(error).startswith("Broken: ")
    assert str(Failure("small", error)).startswith("'small': Broken: ")


def test_a_reply_that_breaks_when_it_is_looked_at_is_no_reply():
    class Response:
        @property
        def headers(self):
            raise RuntimeError("closed")

        status_code = headers

    assert rule_for(Told("x", response=Response())) is UNKNOWN
    assert retry_after_s(Told("x", response=Response())) is None


def test_a_body_that_is_no_json_or_too_deep_tells_nothing():
    for body in (b"<html>", "[" * 100_000, b"\xff\xfe", [], ["x"], {"error": "busy"}, 7):
        assert Facts.of(Told("x", body=body)).status is None
