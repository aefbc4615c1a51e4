import asyncio

import pytest

openai = pytest.importorskip("openai")

from bestroute import BestRoute, Cancel, ConfigError, Delta, GenerationError, OpenAIGenerator, Pool, Price, Query, Usage  # noqa: E402
from bestroute.generators.openai import chat_messages, generators_from, read_usage  # noqa: E402
from bestroute.types.endpoint import Endpoint  # noqa: E402
from bestroute.types.usage import sum_usage  # noqa: E402


def generator(server, model="small", **options):
    options = {"api_key": "sk-secret", "max_retries": 0, **options}
    return OpenAIGenerator(model, base_url=server.base_url, **options)


def draw(generator, n=1, text="how are you", **params):
    return generator.generate(Query(text), n, params=params, cancel=Cancel())


def billed(server):
    return Usage(server.usage["input"], server.usage["output"])


def test_native_n_is_one_call_whose_bill_is_shared_out(server):
    samples = draw(generator(server, native_n=True), 3)
    assert len(server.requests) == 1
    assert len({s.text for s in samples}) == 3
    assert sum_usage([s.usage for s in samples]) == billed(server)


def test_n_calls_bill_the_prompt_n_times(server):
    samples = draw(generator(server), 3)
    assert [b.get("n") for b in server.sent()] == [None] * 3
    assert sum_usage([s.usage for s in samples]) == billed(server)


def test_a_server_that_ignores_n_is_asked_for_the_rest(server):
    samples = draw(generator(server, "one-small", native_n=True), 3)
    assert len(samples) == 3
    assert [b.get("n") for b in server.sent()] == [3, 2, None]
    assert sum_usage([s.usage for s in samples]) == billed(server)


def test_a_server_that_tells_the_usage_of_one_choice_is_not_believed(server):
    samples = draw(generator(server, "usage1-small", native_n=True), 4, "how are you today my friend")
    assert all(s.usage.estimated for s in samples)
    assert sum_usage([s.usage for s in samples]).output >= server.usage["output"]


def test_a_server_that_tells_nothing_has_its_usage_estimated(server):
    assert draw(generator(server, "nousage-small"), text="how are you today")[0].usage.estimated


def test_parameters_reach_the_server_and_the_call_wins(server):
    draw(generator(server, params={"temperature": 0.2, "max_tokens": 3}), temperature=0.9)
    body = server.sent()[0]
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0.9, 3, "small")


def test_errors_keep_their_type(server):
    for model, kind in (("fail-429-x", openai.RateLimitError), ("fail-401-x", openai.AuthenticationError)):
        with pytest.raises(kind):
            draw(generator(server, model))


def test_what_was_drawn_before_a_failure_is_kept(server):
    server.script("one-small", ["first", {"status": 500}])
    samples = draw(generator(server, "one-small", native_n=True), 3)
    assert [s.text for s in samples] == ["first", "", ""]
    assert isinstance(samples[1].error, openai.InternalServerError)


def test_an_answer_without_choices_is_an_error_with_a_sentence():
    class Empty:
        choices = None
        usage = None

    with pytest.raises(GenerationError, match="answered without a choice"):
        OpenAIGenerator("m")._read(Empty(), Query("hi"), {}, 1, 0.0)


def test_a_stream_brings_the_text_in_pieces_and_the_bill(server):
    *deltas, sample = generator(server).stream(Query("how are you"), params={}, cancel=Cancel())
    assert len(deltas) > 3
    assert all(isinstance(d, Delta) for d in deltas)
    assert "".join(d.text for d in deltas) == sample.text
    assert (sample.usage, sample.finish_reason) == (billed(server), "stop")


def test_async_draws_and_streams_are_the_same(server):
    async def main():
        member = generator(server, native_n=True)
        samples = await member.agenerate(Query("how are you"), 2, params={}, cancel=Cancel())
        pieces = [p async for p in member.astream(Query("how are you"), params={}, cancel=Cancel())]
        return samples, pieces

    samples, pieces = asyncio.run(main())
    assert len(samples) == 2
    assert "".join(p.text for p in pieces[:-1]) == pieces[-1].text
    assert sum_usage([s.usage for s in [*samples, pieces[-1]]]) == billed(server)


def test_no_key_in_a_repr():
    assert "sk-secret" not in repr(OpenAIGenerator("m", api_key="sk-secret"))


def test_a_query_becomes_chat_messages():
    query = Query("Who?", system="Be brief.", context="Mars is red.")
    assert chat_messages(query) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Mars is red.\n\nWho?"},
    ]
    assert chat_messages(Query("", messages=[{"role": "user", "content": "x"}])) == [{"role": "user", "content": "x"}]


def test_a_malformed_usage_is_no_usage():
    class Told:
        prompt_tokens, completion_tokens = -1, 3
        prompt_tokens_details = completion_tokens_details = None

    assert read_usage(Told()) is None
    assert read_usage(None) is None


def test_generators_are_made_as_the_pool_file_says(monkeypatch):
    endpoints = {"a": Endpoint(base_url="http://127.0.0.1:1/v1", api_model="real", temperature=0.5, max_tokens=7)}
    pool = Pool(["a"], {"a": Price(1, 1)}, "a", 5, "once", endpoints)
    member = generators_from(pool)["a"]
    assert (member.model, member.native_n, member.params) == ("real", True, {"temperature": 0.5, "max_tokens": 7})
    missing = Pool(["a"], {"a": Price(1, 1)}, "a", endpoints={"a": Endpoint(api_key_env="NO_SUCH_KEY")})
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="environment variable NO_SUCH_KEY that should hold its key is not set"):
        generators_from(missing)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_server_that_answers_with_one_choice_is_billed_request_by_request(server, is_async):
    pool = Pool(["small"], {"small": Price(1.0, 2.0)}, "small", bills_input="once")
    generator = OpenAIGenerator("one-small", base_url=server.base_url, api_key="k", native_n=True)
    engine = BestRoute(pool, {"small": generator}, reward_model=lambda query, texts: [0.0] * len(texts))
    await engine.arun("hi", model="small", n=3) if is_async else engine.run("hi", model="small", n=3)
    assert engine.ledger.totals()["all"]["requests"] == len(server.requests) == 3
    await engine.aclose()


class Hanging(OpenAIGenerator):
    """Its third request has no end, or is interrupted."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.sent = []

    def _send(self, request):
        self.sent.append(request)
        if len(self.sent) == 3:
            raise KeyboardInterrupt
        return super()._send(request)

    async def _asend(self, request):
        self.sent.append(request)
        if len(self.sent) == 3:
            await asyncio.Event().wait()
        return await super()._asend(request)


@pytest.mark.parametrize("is_async", [False, True])
async def test_choices_that_came_before_an_interruption_are_billed_as_told(server, is_async):
    pool = Pool(["small"], {"small": Price(1.0, 2.0)}, "small", bills_input="once")
    generator = Hanging("one-small", base_url=server.base_url, api_key="k", native_n=True)
    engine = BestRoute(pool, {"small": generator}, reward_model=lambda query, texts: [0.0] * len(texts))
    if is_async:
        call = asyncio.create_task(engine.arun("hi", model="small", n=4))
        while len(generator.sent) < 3:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        with pytest.raises(KeyboardInterrupt):
            engine.run("hi", model="small", n=4)
    rows = engine.ledger.rows()
    assert [row["status"] for row in rows] == ["ok", "ok", "cancelled", "cancelled"]
    assert (
        sum(row["input_tokens"] + row["output_tokens"] for row in rows if row["status"] == "ok") == billed(server).total
    )
    assert rows[2]["input_tokens"] > 0
    assert not rows[3]["input_tokens"]
    await engine.aclose()
