"""What an error means, told of real exceptions of real clients."""

import json

import httpx
import pytest

from bestroute import BudgetError, ConfigError, GenerationError, PriceError
from bestroute.errors import EmptyReplyError
from bestroute.faults.error_rules import RULES, UNKNOWN, Action, rule_for

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")


def response(status, headers=None):
    return httpx.Response(status, request=REQUEST, headers=headers)


def of_openai(kind, status, code=None, message="no"):
    body = {"message": message, "code": code, "type": "x"}
    return kind(message, response=response(status), body=body)


def of_anthropic(kind, status, type_="x", message="no"):
    return kind(
        message, response=response(status), body={"type": "error", "error": {"type": type_, "message": message}}
    )


def status_of(library, status, code=None, message="no"):
    make = of_openai if library is openai else of_anthropic
    kinds = {
        400: "BadRequestError",
        401: "AuthenticationError",
        403: "PermissionDeniedError",
        404: "NotFoundError",
        409: "ConflictError",
        422: "UnprocessableEntityError",
        429: "RateLimitError",
    }
    name = kinds.get(status, "InternalServerError" if status >= 500 else "APIStatusError")
    return make(getattr(library, name), status, code, message)


@pytest.mark.parametrize("library", [openai, anthropic])
@pytest.mark.parametrize(
    ("status", "action"),
    [
        (400, Action.RAISE),
        (401, Action.RAISE),
        (402, Action.RAISE),
        (403, Action.RAISE),
        (404, Action.RAISE),
        (408, Action.RETRY),
        (409, Action.RETRY),
        (413, Action.GO_ON_TO_ABLE),
        (422, Action.RAISE),
        (429, Action.RETRY),
        (500, Action.RETRY),
        (502, Action.RETRY),
        (503, Action.RETRY),
        (529, Action.RETRY),
    ],
)
def test_a_status_decides_for_every_client_alike(library, status, action):
    assert rule_for(status_of(library, status)).action is action


@pytest.mark.parametrize(
    "error",
    [
        of_openai(openai.BadRequestError, 400, "context_length_exceeded"),
        of_openai(openai.BadRequestError, 400, None, "This model's maximum context length is 8192 tokens"),
        of_anthropic(anthropic.BadRequestError, 400, "invalid_request_error", "prompt is too long: 300000 tokens"),
        RuntimeError("the context window is 4096 tokens"),
        type("ContextOverflowError", (Exception,), {})("too much"),
    ],
)
def test_a_prompt_that_is_too_long_goes_on_to_a_member_that_can_take_it(error):
    rule = rule_for(error)
    assert (rule.name, rule.action) == ("context length", Action.GO_ON_TO_ABLE)


@pytest.mark.parametrize(
    "error",
    [
        of_openai(openai.BadRequestError, 400, "content_filter"),
        of_openai(openai.BadRequestError, 400, "content_policy_violation"),
        of_anthropic(anthropic.BadRequestError, 400, "x", "Output blocked by content filtering policy"),
    ],
)
def test_a_content_filter_goes_on_to_a_member_that_can_take_it(error):
    assert (rule_for(error).name, rule_for(error).action) == ("content filter", Action.GO_ON_TO_ABLE)


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("message", ["no access to this context window", "set up a content filter first", "no"])
@pytest.mark.parametrize("code", [None, "content_filter", "insufficient_quota"])
def test_what_is_not_allowed_is_raised_whatever_else_it_says(status, message, code):
    assert rule_for(status_of(openai, status, code, message)).action is Action.RAISE


def test_a_server_that_fails_while_it_speaks_of_context_is_asked_again():
    assert rule_for(of_openai(openai.InternalServerError, 500, None, "context window service down")).name == (
        "server failure"
    )


@pytest.mark.parametrize(
    "error",
    [
        openai.APITimeoutError(request=REQUEST),
        openai.APIConnectionError(request=REQUEST),
        anthropic.APITimeoutError(request=REQUEST),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("server disconnected"),
        TimeoutError("late"),
        ConnectionResetError("gone"),
        EmptyReplyError("nothing in it"),
        json.JSONDecodeError("bad", "{", 1),
    ],
)
def test_what_may_pass_is_asked_again(error):
    assert rule_for(error).action is Action.RETRY


def test_the_cause_of_an_error_counts():
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx.UnsupportedProtocol("htp://")
    assert (rule_for(error).name, rule_for(error).action) == ("no client", Action.RAISE)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("x"),
        PriceError("x"),
        BudgetError("x"),
        ImportError("no module named 'openai'"),
        NotImplementedError("no async"),
        openai.OpenAIError("The api_key client option must be set"),
        TypeError("Could not resolve authentication method. Expected either api_key or auth_token to be set"),
        TypeError("create() got an unexpected keyword argument 'temprature'"),
    ],
)
def test_what_somebody_has_to_mend_is_raised_at_once(error):
    assert rule_for(error).action is Action.RAISE


def test_a_quota_that_is_used_up_is_not_asked_again():
    error = of_openai(openai.RateLimitError, 429, "insufficient_quota")
    assert (rule_for(error).name, rule_for(error).action) == ("quota used up", Action.GO_ON)


@pytest.mark.parametrize("error", [RuntimeError("?"), KeyError("choices"), GenerationError("no recorded answer")])
def test_what_is_unknown_goes_on_without_asking_again(error):
    assert rule_for(error) is UNKNOWN
    assert UNKNOWN.action is Action.GO_ON


def test_every_rule_has_a_name_of_its_own():
    assert len({rule.name for rule in RULES}) == len(RULES)
