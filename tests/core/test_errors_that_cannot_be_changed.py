"""Errors whose text cannot be changed quote nothing either: groups, pydantic's, and those with a text of their own."""

import asyncio
import traceback

import pytest
from pydantic import BaseModel, ValidationError

from bestroute import BestRoute, GenerationError, Pool, Price, Query
from bestroute.errors.held_secrets import keep_hidden
from bestroute.errors.redaction import hide_quotations, redact
from bestroute.testing import FakeGenerator

QUERY = "My secret diagnosis is appendicitis, number 4471; please tell nobody about it"
POOL = Pool(["s"], {"s": Price(1, 1)}, "s")


class Form(BaseModel):
    a: int


def validation(text):
    with pytest.raises(ValidationError) as caught:
        Form(a=text)
    return caught.value


class OwnText(Exception):
    __slots__ = ("request",)

    def __init__(self, text):
        self.request = {"content": [text]}.items()

    def __str__(self):
        return f"refused: {list(self.request)}"


class OwnGroup(ExceptionGroup):
    pass


def group(text):
    return OwnGroup(f"all failed for {text}", [ValueError(text), ExceptionGroup(text, [OwnText(text)])])


def led_by(text):
    error = RuntimeError("it broke")
    error.__cause__ = group(text)
    error.add_note(f"while asking {text}")
    return error


def told(error):
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


class Failing(FakeGenerator):
    def __init__(self, make):
        super().__init__(["unused"])
        self.make = make

    def _take(self, query, n, params):
        raise self.make(query.text)


@pytest.mark.parametrize("make", [validation, OwnText, group, led_by])
@pytest.mark.parametrize("how", ["run", "arun", "stream"])
def test_what_a_member_raises_reaches_the_caller_by_its_type_and_without_the_query(make, how, caplog):
    caplog.set_level("DEBUG")
    routed = BestRoute(POOL, {"s": Failing(make)}, max_retries=0)
    ways = {
        "run": lambda: routed.run(QUERY),
        "arun": lambda: asyncio.run(routed.arun(QUERY)),
        "stream": lambda: list(routed.stream(QUERY)),
    }
    with pytest.raises(GenerationError) as caught:
        ways[how]()
    own = caught.value.members_own
    assert isinstance(own, type(make("x")))
    for text in (told(caught.value), told(own), caplog.text, str(routed.ledger.rows())):
        assert "appendicitis" not in text
        assert "diagnosis" not in text


def test_the_other_facts_of_such_errors_stay():
    query = Query(QUERY)
    [complaint] = hide_quotations(validation(QUERY), query).errors()
    assert (complaint["type"], complaint["loc"], complaint["input"]) == ("int_parsing", ("a",), "[hidden]")
    hidden = hide_quotations(group(QUERY), query)
    assert [type(part).__name__ for part in hidden.exceptions] == ["ValueError", "ExceptionGroup"]
    assert isinstance(hidden.exceptions[1].exceptions[0], OwnText)
    clean = ExceptionGroup("plain", [ValueError("503")])
    assert hide_quotations(clean, query) is clean


class Client:
    def __init__(self):
        self.headers = {
            "Connection": "keep-alive",
            "Accept-Encoding": "gzip, deflate",
            "Content-Type": "application/json",
            "User-Agent": "some-client/1.2.3",
            "Authorization": "Bearer abc123def",
            "X-Goog-Api-Key": "hunter2222",
            "Cookie": "session=abcd9876",
        }


def test_headers_that_are_no_secrets_are_told():
    member = Client()
    keep_hidden([member])
    plain = "no keep-alive with gzip, deflate and application/json by some-client/1.2.3"
    assert redact(plain) == plain
    for secret in ("abc123def", "hunter2222", "session=abcd9876"):
        assert redact(f"what is {secret} for") == "what is [hidden] for"
