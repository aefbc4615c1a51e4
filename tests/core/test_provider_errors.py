"""What an error of every provider means, told of their clients' own exception classes; a client that is not installed
is skipped. ``test_errors_by_shape.py`` tells the same of shapes alone.
"""

import json

import httpx
import pytest

from bestroute.errors.facts import retry_after_s
from bestroute.faults.error_rules import Action, rule_for

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def reply(status, body=None, headers=None):
    return httpx.Response(status, request=REQUEST, headers=headers, content=json.dumps(body or {}).encode())


def means(error):
    rule = rule_for(error)
    return rule.name, rule.action


RATE = ("rate limit", Action.RETRY)
DENIED = ("not allowed, or not there", Action.RAISE)
CONTEXT = ("context length", Action.GO_ON_TO_ABLE)
FILTER = ("content filter", Action.GO_ON_TO_ABLE)
SERVER = ("server failure", Action.RETRY)
MOMENT = ("for the moment", Action.RETRY)
BAD = ("bad request", Action.RAISE)
QUOTA = ("quota used up", Action.GO_ON)
CLIENT = ("no client", Action.RAISE)
LINE = ("no connection, or no answer in time", Action.RETRY)
ANSWER = ("malformed answer", Action.RETRY)
CUT = ("cut off at its limit of length", Action.GO_ON)


# Clients that are built alike: openai, anthropic, groq, together, fireworks.


@pytest.mark.parametrize("name", ["openai", "anthropic", "groq", "together", "fireworks"])
@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("BadRequestError", 400, BAD),
        ("AuthenticationError", 401, DENIED),
        ("PermissionDeniedError", 403, DENIED),
        ("NotFoundError", 404, DENIED),
        ("ConflictError", 409, MOMENT),
        ("UnprocessableEntityError", 422, BAD),
        ("RateLimitError", 429, RATE),
        ("InternalServerError", 503, SERVER),
    ],
)
def test_a_status_of_a_client_made_by_stainless(name, kind, status, expected):
    library = pytest.importorskip(name)
    response = reply(status, headers={"retry-after": "3"})
    error = getattr(library, kind)("no", response=response, body={"error": {"message": "no"}})
    assert means(error) == expected
    assert retry_after_s(error) == 3.0


@pytest.mark.parametrize("name", ["openai", "anthropic", "groq", "together", "fireworks"])
def test_a_line_that_is_down_of_a_client_made_by_stainless(name):
    library = pytest.importorskip(name)
    assert means(library.APITimeoutError(request=REQUEST)) == LINE
    assert means(library.APIConnectionError(request=REQUEST)) == LINE
    assert means(library.APIResponseValidationError(response=reply(200), body=None)) == ANSWER


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("overloaded_error", SERVER),
        ("api_error", SERVER),
        ("timeout_error", SERVER),
        ("rate_limit_error", RATE),
        ("invalid_request_error", BAD),
        ("authentication_error", DENIED),
    ],
)
def test_anthropic_tells_an_error_inside_a_200_stream(type_, expected):
    anthropic = pytest.importorskip("anthropic")
    body = {"type": "error", "error": {"type": type_, "message": "no"}}
    assert means(anthropic.APIStatusError("no", response=reply(200), body=body)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "server_error", "code": None, "message": "no"}, SERVER),
        ({"type": "error", "code": "server_error", "message": "no"}, SERVER),
        ({"type": "requests", "code": "rate_limit_exceeded", "message": "no"}, RATE),
        ({"type": "insufficient_quota", "code": "insufficient_quota", "message": "no"}, QUOTA),
        ({"type": "invalid_request_error", "code": "context_length_exceeded", "message": "no"}, CONTEXT),
        ({"type": "invalid_request_error", "code": None, "message": "no"}, BAD),
        ({"type": "overloaded_error", "message": "no"}, SERVER),
        ({"code": 502, "message": "Provider returned error"}, SERVER),
        ({"code": 429, "message": "Provider returned error"}, RATE),
    ],
)
def test_openai_tells_an_error_inside_a_200_stream(body, expected):
    openai = pytest.importorskip("openai")
    assert means(openai.APIError("no", request=REQUEST, body=body)) == expected


def test_openai_replies_that_were_cut_off_or_filtered():
    openai = pytest.importorskip("openai")
    chat = pytest.importorskip("openai.types.chat")
    cut = chat.ChatCompletion.model_construct(choices=[], usage=None)
    assert means(openai.LengthFinishReasonError(completion=cut)) == CUT
    assert means(openai.ContentFilterFinishReasonError()) == FILTER


# Amazon.


def bedrock(code, status=None, message="no", headers=None, kind="ClientError"):
    exceptions = pytest.importorskip("botocore.exceptions")
    response = {"Error": {"Code": code, "Message": message}}
    if status is not None:
        response["ResponseMetadata"] = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    return getattr(exceptions, kind)(response, "Converse")


@pytest.mark.parametrize(
    ("code", "status", "message", "expected"),
    [
        ("ThrottlingException", 429, "Too many tokens, please wait before trying again.", RATE),
        ("ThrottlingException", 400, "Rate exceeded", RATE),
        ("ServiceUnavailableException", 503, "no", SERVER),
        ("InternalServerException", 500, "no", SERVER),
        ("ModelNotReadyException", 429, "no", RATE),
        ("ModelTimeoutException", 408, "no", MOMENT),
        ("ModelErrorException", 424, "no", SERVER),
        ("ServiceQuotaExceededException", 400, "no", QUOTA),
        ("AccessDeniedException", 403, "You don't have access to the model", DENIED),
        ("ExpiredTokenException", 400, "The security token is expired", DENIED),
        ("ResourceNotFoundException", 404, "no", DENIED),
        ("ValidationException", 400, "The provided model identifier is invalid.", BAD),
        ("ValidationException", 400, "Input is too long for requested model.", CONTEXT),
    ],
)
def test_bedrock_tells_status_and_code_in_a_dict(code, status, message, expected):
    assert means(bedrock(code, status, message)) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("throttlingException", RATE),
        ("modelStreamErrorException", SERVER),
        ("internalServerException", SERVER),
        ("serviceUnavailableException", SERVER),
        ("validationException", BAD),
    ],
)
def test_bedrock_tells_an_error_inside_a_stream(code, expected):
    assert means(bedrock(code, kind="EventStreamError")) == expected


def test_bedrock_says_how_long_to_wait_in_a_dict():
    assert retry_after_s(bedrock("ThrottlingException", 429, headers={"retry-after": "2"})) == 2.0


def test_bedrock_inside_a_framework_s_own_error():
    error = ValueError("Error raised by bedrock service")
    error.__cause__ = bedrock("ThrottlingException", 429)
    assert means(error) == RATE


def test_botocore_without_credentials_or_without_a_line():
    exceptions = pytest.importorskip("botocore.exceptions")
    assert means(exceptions.NoCredentialsError()) == CLIENT
    assert means(exceptions.NoRegionError()) == CLIENT
    assert means(exceptions.ParamValidationError(report="x")) == CLIENT
    assert means(exceptions.EndpointConnectionError(endpoint_url="x")) == LINE
    assert means(exceptions.ReadTimeoutError(endpoint_url="x")) == LINE
    assert means(exceptions.ConnectionClosedError(endpoint_url="x")) == LINE


# Google.


@pytest.mark.parametrize(
    ("status", "state", "message", "expected"),
    [
        (429, "RESOURCE_EXHAUSTED", "quota", RATE),
        (503, "UNAVAILABLE", "The model is overloaded.", SERVER),
        (500, "INTERNAL", "no", SERVER),
        (504, "DEADLINE_EXCEEDED", "no", SERVER),
        (403, "PERMISSION_DENIED", "no", DENIED),
        (404, "NOT_FOUND", "no", DENIED),
        (400, "INVALID_ARGUMENT", "API key not valid.", BAD),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            CONTEXT,
        ),
    ],
)
def test_gemini_tells_a_code_and_a_state(status, state, message, expected):
    errors = pytest.importorskip("google.genai.errors")
    body = {"error": {"code": status, "message": message, "status": state}}
    assert means(errors.APIError(status, body)) == expected


def test_gemini_says_how_long_to_wait_in_its_details():
    errors = pytest.importorskip("google.genai.errors")
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}
    body = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [info]}}
    assert retry_after_s(errors.ClientError(429, body)) == 2.5


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ResourceExhausted", RATE),
        ("TooManyRequests", RATE),
        ("ServiceUnavailable", SERVER),
        ("DeadlineExceeded", SERVER),
        ("InternalServerError", SERVER),
        ("Aborted", MOMENT),
        ("Cancelled", MOMENT),
        ("Unauthenticated", DENIED),
        ("PermissionDenied", DENIED),
        ("NotFound", DENIED),
        ("InvalidArgument", BAD),
    ],
)
def test_google_api_core(kind, expected):
    exceptions = pytest.importorskip("google.api_core.exceptions")
    assert means(getattr(exceptions, kind)("no")) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RESOURCE_EXHAUSTED", RATE),
        ("UNAVAILABLE", SERVER),
        ("DEADLINE_EXCEEDED", SERVER),
        ("UNAUTHENTICATED", DENIED),
        ("NOT_FOUND", DENIED),
        ("INVALID_ARGUMENT", BAD),
    ],
)
def test_grpc_tells_its_code_by_a_method(name, expected):
    grpc = pytest.importorskip("grpc")
    aio = pytest.importorskip("grpc.aio")
    empty = aio.Metadata()
    assert means(aio.AioRpcError(grpc.StatusCode[name], empty, empty, details="no")) == expected


# Others.


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (429, "You are using a Trial key", RATE),
        (401, "invalid api token", DENIED),
        (503, "no", SERVER),
        (499, "cancelled", MOMENT),
        (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081", CONTEXT),
        (422, "no", BAD),
    ],
)
def test_cohere_keeps_status_and_headers_on_the_error(status, message, expected):
    api_error = pytest.importorskip("cohere.core.api_error")
    error = api_error.ApiError(status_code=status, body={"message": message}, headers={"Retry-After": "4"})
    assert means(error) == expected
    assert retry_after_s(error) == 4.0


def mistral():
    for place in ("mistralai.client.errors", "mistralai.models", "mistralai.client.models"):
        errors = pytest.importorskip(place.partition(".")[0]) and __import__(place, fromlist=["x"])
        if hasattr(errors, "SDKError"):
            return errors
    pytest.skip("this mistralai has no SDKError")
    raise AssertionError


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (429, {"message": "Requests rate limit exceeded", "type": "rate_limited"}, RATE),
        (401, {"detail": "Unauthorized"}, DENIED),
        (500, {}, SERVER),
        (
            400,
            {"message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"},
            CONTEXT,
        ),
        (422, {"detail": []}, BAD),
    ],
)
def test_mistral_keeps_the_reply_as_it_came(status, body, expected):
    error = mistral().SDKError("API error occurred", reply(status, body, {"retry-after": "5"}), json.dumps(body))
    assert means(error) == expected
    assert retry_after_s(error) == 5.0


@pytest.mark.parametrize(("status", "expected"), [(429, RATE), (401, DENIED), (404, DENIED), (503, SERVER), (422, BAD)])
def test_hugging_face(status, expected):
    errors = pytest.importorskip("huggingface_hub.errors")
    assert means(errors.HfHubHTTPError("no", response=reply(status))) == expected


def test_hugging_face_without_a_status():
    errors = pytest.importorskip("huggingface_hub.errors")
    assert means(errors.InferenceTimeoutError("late")) == LINE
    assert means(errors.OverloadedError("Model is overloaded")) == SERVER
    assert means(errors.ValidationError("`inputs` tokens + `max_new_tokens` must be <= 2048")) == CONTEXT


@pytest.mark.parametrize(("status", "expected"), [(429, RATE), (404, DENIED), (500, SERVER), (400, BAD)])
def test_ollama(status, expected):
    ollama = pytest.importorskip("ollama")
    assert means(ollama.ResponseError("no", status)) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("RateLimitError", RATE),
        ("AuthenticationError", DENIED),
        ("NotFoundError", DENIED),
        ("ContextWindowExceededError", CONTEXT),
        ("ContentPolicyViolationError", FILTER),
        ("BadRequestError", BAD),
        ("UnsupportedParamsError", BAD),
        ("Timeout", MOMENT),
        ("ServiceUnavailableError", SERVER),
        ("InternalServerError", SERVER),
        ("APIConnectionError", SERVER),
    ],
)
def test_litellm(kind, expected, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    assert means(getattr(litellm, kind)(message="no", llm_provider="openai", model="m")) == expected


def test_litellm_s_own_budget(monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    assert means(litellm.BudgetExceededError(2.0, 1.0)) == QUOTA


@pytest.mark.parametrize(("status", "expected"), [(429, RATE), (401, DENIED), (503, SERVER), (400, BAD)])
def test_requests(status, expected):
    requests = pytest.importorskip("requests")
    response = requests.Response()
    response.status_code, response.headers["Retry-After"] = status, "6"
    error = requests.HTTPError("no", response=response)
    assert means(error) == expected
    assert retry_after_s(error) == 6.0


def test_requests_without_a_line():
    exceptions = pytest.importorskip("requests.exceptions")
    for kind in (exceptions.ConnectionError, exceptions.ReadTimeout, exceptions.ChunkedEncodingError):
        assert means(kind("no")) == LINE
    assert means(exceptions.MissingSchema("no")) == CLIENT


@pytest.mark.parametrize(("status", "expected"), [(429, RATE), (403, DENIED), (502, SERVER), (400, BAD)])
def test_httpx_keeps_what_the_provider_said_in_the_body(status, expected):
    error = httpx.HTTPStatusError("no", request=REQUEST, response=reply(status, headers={"Retry-After": "7"}))
    assert means(error) == expected
    assert retry_after_s(error) == 7.0


def test_httpx_with_a_code_in_the_body():
    body = {"error": {"code": "context_length_exceeded", "message": "no"}}
    assert means(httpx.HTTPStatusError("no", request=REQUEST, response=reply(400, body))) == CONTEXT


@pytest.mark.parametrize(("status", "expected"), [(429, RATE), (401, DENIED), (500, SERVER), (400, BAD)])
def test_aiohttp(status, expected):
    aiohttp = pytest.importorskip("aiohttp")
    error = aiohttp.ClientResponseError(None, (), status=status, message="no", headers={"Retry-After": "8"})
    assert means(error) == expected
    assert retry_after_s(error) == 8.0


def test_aiohttp_without_a_line():
    aiohttp = pytest.importorskip("aiohttp")
    for error in (aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError("cut"), aiohttp.ServerTimeoutError()):
        assert means(error) == LINE


@pytest.mark.parametrize(("status", "expected"), [(429, RATE), (401, DENIED), (503, SERVER), (400, BAD)])
def test_azure(status, expected):
    exceptions = pytest.importorskip("azure.core.exceptions")
    error = exceptions.HttpResponseError("no")
    error.status_code = status
    assert means(error) == expected
    assert means(exceptions.ServiceRequestError("no")) == LINE
    assert means(exceptions.ServiceResponseError("no")) == LINE
