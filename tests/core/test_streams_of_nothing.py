"""Streams of which nothing can be seen: blanks, refusals."""

import json

import httpx
import pytest

from bestroute import BestRoute, Delta, OpenAIGenerator, Pool, Price, Query, Sample, Settings, Usage
from bestroute.testing import FakeGenerator

openai = pytest.importorskip("openai")

POOL = Pool(["small", "large"], {"small": Price(1, 1), "large": Price(2, 2)}, "large")
FAST = Settings(attempts=1)


class Streaming:
    native_n = False

    def __init__(self, *texts):
        self.texts = texts

    def generate(self, query, n, *, params, cancel):
        return [Sample("".join(self.texts), usage=Usage(1, 1))]

    def stream(self, query, *, params, cancel):
        yield from map(Delta, self.texts)
        yield Sample("".join(self.texts), usage=Usage(1, 1))


def streamed(engine, text="hi there"):
    *deltas, result = engine.stream(text)
    return [delta.text for delta in deltas], result


def engine_of(member):
    members = {"small": member, "large": FakeGenerator(["fine"])}
    return BestRoute(POOL, members, router=lambda query: "small", settings=FAST)


@pytest.mark.parametrize("texts", [[" "], ["\n", "\n\t"], ["\r\n"]])
def test_a_stream_of_blanks_is_an_empty_reply_as_without_streaming(texts):
    shown, result = streamed(engine_of(Streaming(*texts)))
    assert "".join(shown).strip() == result.text.strip() == engine_of(Streaming(*texts)).run("hi there").text == "fine"
    assert [row.sample.flaw for row in result.samples] == ["the reply is empty", None]


def test_blanks_before_a_text_are_shown_with_it():
    shown, result = streamed(engine_of(Streaming("\n", "\n", "Yes", ".")))
    assert (shown, result.text) == (["\n", "\n", "Yes", "."], "\n\nYes.")


def refusing():
    """A member whose server refuses in a stream."""

    def chunk(delta, reason=None, **fields):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **fields}

    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    pieces = [{"refusal": "I can"}, {"refusal": "not."}]
    events = [*map(chunk, pieces), chunk({}, "stop"), {**chunk({}), "choices": [], "usage": usage}]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=body.encode(), headers=headers))
    member = OpenAIGenerator("small", api_key="k")
    client = openai.OpenAI(api_key="k", max_retries=0, http_client=httpx.Client(transport=transport))
    member.without_retries = lambda: member
    member._sync = lambda: client
    return member


def test_a_refusal_in_a_stream_is_the_answer_as_without_streaming():
    engine = engine_of(refusing())
    shown, result = streamed(engine, Query("hi there"))
    assert (result.model, "".join(shown), result.payload.refusal) == ("small", "", "I cannot.")
    assert [(row["model"], row["input_tokens"], row["output_tokens"]) for row in engine.ledger.rows()] == [
        ("small", 9, 2)
    ]
