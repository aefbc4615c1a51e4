"""Options that a server refuses by name, in the words of several servers."""

from types import SimpleNamespace

import pytest

from bestroute.faults.refusals import Refusals, refused_option


def refusal(message, status=400, **body):
    error = RuntimeError(f"Error code: {status} - {message}")
    error.status_code, error.body = status, {"error": {"message": message, **body}}
    return error


OURS = ("stream_options", "stream_usage", "n", "logprobs", "temperature", "max_tokens", "max_completion_tokens")
FASTAPI = {
    "detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]
}


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (refusal("Extra inputs are not permitted: stream_options", 422), "stream_options"),
        (refusal("Unknown field: stream_options.include_usage"), "stream_options"),
        (refusal(str(FASTAPI), 422), "stream_options"),
        (refusal("Unrecognized request argument supplied: logprobs"), "logprobs"),
        (refusal("`n` is not supported by this model", 422), "n"),
        (refusal("'n' : number must be at most 1"), "n"),
        (refusal("Only one completion choice is allowed, got n=3: must be 1"), "n"),
        (
            refusal(
                "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value"
            ),
            "temperature",
        ),
        (
            refusal("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
            "max_tokens",
        ),
        (TypeError("create() got an unexpected keyword argument 'stream_options'"), "stream_options"),
    ],
)
def test_a_refused_option_is_found_by_its_name(error, name):
    assert refused_option(error, OURS) == name
    assert refused_option(error, [other for other in ("top_p", "seed", "tools")]) is None


@pytest.mark.parametrize(
    "error",
    [
        refusal("max_tokens is too large: 100000. This model has at most 4096 completion tokens."),
        refusal("Invalid 'temperature': decimal above maximum value. Expected a value <= 2"),
        refusal("temperature: Input should be less than or equal to 1"),
        refusal("The model does not support images"),
        refusal("that didn't work\\n since tools are not supported"),
        refusal("stream_options is not supported", 401),
        refusal("stream_options is not supported", 500),
        RuntimeError("stream_options is not supported"),
        ValueError("n"),
    ],
)
def test_what_dislikes_a_value_or_something_else_refuses_no_option(error):
    assert refused_option(error, OURS) is None


def test_a_refused_option_is_left_out_from_then_on_but_not_where_the_caller_chose_it():
    refusals = Refusals(["temperature"])
    request, error = {"temperature": 0.2, "seed": 1}, refusal("Unsupported value: 'temperature'")
    assert not refusals.learn(error, request, keep=["temperature"])
    assert refusals.adapted(request) == request
    assert refusals.learn(error, request)
    assert refusals.adapted(request) == {"seed": 1}
    assert refusals.adapted(request, keep=["temperature"]) == request


def test_a_limit_of_length_gets_its_other_name_even_where_the_caller_chose_it():
    refusals = Refusals([])
    request = {"max_tokens": 9}
    error = refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    assert refusals.learn(error, request, keep=request)
    assert refusals.adapted(request, keep=request) == {"max_completion_tokens": 9}


def test_a_server_that_takes_neither_name_is_not_asked_for_ever():
    refusals = Refusals([])
    assert refusals.learn(refusal("unknown field max_tokens"), {"max_tokens": 9})
    assert not refusals.learn(refusal("unknown field max_completion_tokens"), {"max_completion_tokens": 9})


def test_a_name_that_was_only_presumed_is_given_up_once():
    refusals = Refusals([], model="o3-mini")
    assert refusals.adapted({"max_tokens": 9}) == {"max_completion_tokens": 9}
    assert refusals.learn(refusal("unknown field max_completion_tokens"), {"max_completion_tokens": 9})
    assert refusals.adapted({"max_tokens": 9}) == {"max_tokens": 9}
    assert refusals.learn(refusal("unknown field max_tokens"), {"max_tokens": 9})
    assert not refusals.learn(refusal("unknown field max_completion_tokens"), {"max_completion_tokens": 9})


def test_a_thread_that_sent_before_another_learned_asks_once_more_too():
    refusals = Refusals(["stream_options"])
    sent, error = {"stream_options": {}}, refusal("unknown field stream_options")
    assert [refusals.learn(error, sent), refusals.learn(error, sent)] == [True, True]
    assert not refusals.learn(error, refusals.adapted(sent))


def test_an_error_that_breaks_when_it_is_looked_at_refuses_nothing():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert refused_option(Broken(), OURS) is None
    assert refused_option(RuntimeError(SimpleNamespace()), OURS) is None
