"""What was paid for a reply that ended in an error."""

from types import SimpleNamespace

import pytest

from bestroute import BestRoute, BestRouteError, GenerationError, Pool, Price, Usage
from bestroute.faults.paid_errors import CUT_OFF, sample_of_error, usage_of_error
from bestroute.types.bases import GeneratorBase

TOLD = {"prompt_tokens": 9, "completion_tokens": 4}


def error_with(**fields):
    error = RuntimeError("x")
    error.__dict__.update(fields)
    return error


def completion(reason="length", usage=TOLD):
    message = SimpleNamespace(content='{"a": "b')
    return SimpleNamespace(choices=[SimpleNamespace(finish_reason=reason, message=message)], usage=usage)


@pytest.mark.parametrize(
    "error",
    [
        error_with(completion=completion()),
        error_with(last_completion=completion()),
        error_with(response=SimpleNamespace(usage=TOLD)),
        error_with(response=SimpleNamespace(usage_metadata=TOLD)),
        error_with(usage=TOLD),
        error_with(body={"error": {"message": "no"}, "usage": TOLD}),
    ],
)
def test_the_usage_of_a_reply_that_ended_in_an_error_is_read(error):
    assert usage_of_error(error) == Usage(9, 4)
    outer = ValueError("a framework's own")
    outer.__cause__ = error
    assert usage_of_error(outer) == Usage(9, 4)


@pytest.mark.parametrize("told", [None, {}, {"prompt_tokens": -1, "completion_tokens": 4}, "9", 9, [], float("nan")])
def test_a_usage_that_makes_no_sense_is_none(told):
    assert usage_of_error(error_with(completion=completion(usage=told), usage=told)) is None


def test_a_reply_that_a_client_was_reading_when_it_raised_is_billed():
    def read(response):
        return response["choices"][0]["message"]

    def ask():
        response = {"choices": [], "usage": TOLD}
        return read(response)

    with pytest.raises(IndexError) as raised:
        ask()
    assert usage_of_error(raised.value) == Usage(9, 4)
    assert sample_of_error(raised.value).error is raised.value


def test_an_error_that_breaks_when_it_is_looked_at_tells_none():
    class Told:
        @property
        def prompt_tokens(self):
            raise RuntimeError

    class Broken(Exception):
        usage = Told()

        @property
        def completion(self):
            raise RuntimeError

    assert usage_of_error(Broken()) is None
    assert sample_of_error(Broken()).error is not None


def test_a_reply_that_was_cut_off_is_a_sample_with_a_flaw():
    sample = sample_of_error(error_with(completion=completion()))
    assert (sample.text, sample.usage, sample.finish_reason) == ('{"a": "b', Usage(9, 4), "length")
    assert (sample.flaw, sample.error) == (CUT_OFF, None)
    assert sample_of_error(error_with(completion=completion(usage=None))).usage is None


def test_any_other_reply_stays_an_error_with_its_bill():
    error = error_with(completion=completion("content_filter"))
    sample = sample_of_error(error)
    assert (sample.text, sample.usage, sample.error, sample.flaw) == ("", Usage(9, 4), error, None)
    assert sample_of_error(RuntimeError("x")).usage is None


def test_openai_s_own_errors_are_billed():
    openai = pytest.importorskip("openai")
    types = pytest.importorskip("openai.types.chat")
    told = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "{"}}],
        "usage": {**TOLD, "total_tokens": 13},
    }
    cut = sample_of_error(openai.LengthFinishReasonError(completion=types.ChatCompletion.model_validate(told)))
    assert (cut.text, cut.usage, cut.flaw) == ("{", Usage(9, 4), CUT_OFF)
    try:
        filtered = openai.ContentFilterFinishReasonError(completion=types.ChatCompletion.model_validate(told))
    except TypeError:  # older clients keep no completion
        filtered = openai.ContentFilterFinishReasonError()
        filtered.completion = types.ChatCompletion.model_validate(told)
    filtered.completion.choices[0].finish_reason = "content_filter"
    assert sample_of_error(filtered).usage == Usage(9, 4)
    assert sample_of_error(filtered).error is filtered


class Failing:
    native_n = False

    def __init__(self, error):
        self.error = error

    def generate(self, query, n, *, params, cancel):
        raise self.error


def engine(error):
    return BestRoute(Pool(["small"], {"small": Price(1, 2)}, "small"), {"small": Failing(error)})


def test_the_engine_bills_a_reply_that_was_cut_off_and_keeps_it():
    result = engine(error_with(completion=completion())).run("hi")
    assert (result.text, result.cost_usd) == ('{"a": "b', pytest.approx((9 * 1 + 4 * 2) / 1e6))
    assert [s.flaw for s in result.samples] == [CUT_OFF]


def test_the_engine_bills_any_error_that_tells_a_usage():
    router = engine(error_with(completion=completion("content_filter")))
    with pytest.raises(GenerationError):
        router.run("hi")
    (row,) = router.ledger.rows()
    assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("failed", 9, 4)


def test_a_reply_is_billed_once_though_the_same_error_is_raised_again():
    """A client may keep its error, whose traceback then holds what was there the first time."""
    kept = ConnectionError("down")

    class Keeps(GeneratorBase):
        requests = 0

        def generate(self, query, n, *, params, cancel):
            self.requests += 1
            if self.requests == 1:
                reply = {"usage": {"prompt_tokens": 1000, "completion_tokens": 500}}
                assert reply
            raise kept

    engine = BestRoute(Pool(["m"], {"m": Price(1.0, 1.0)}, "m"), {"m": Keeps()})
    with pytest.raises(BestRouteError):
        engine.run("hi")
    first = engine.ledger.rows()[0]
    assert (first["input_tokens"], first["output_tokens"]) == (1000, 500)
    assert engine.ledger.cost_usd == pytest.approx(0.0015)
