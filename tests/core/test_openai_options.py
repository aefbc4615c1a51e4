"""The core's generator where a server refuses an option, tells a senseless usage, or an error inside a 200."""

import asyncio

import pytest

openai = pytest.importorskip("openai")

from bestroute import BestRoute, Cancel, OpenAIGenerator, Pool, Price, Query, Settings, Usage  # noqa: E402
from bestroute.faults.error_rules import Action, rule_for  # noqa: E402


def member(server, model="small", **options):
    return OpenAIGenerator(model, base_url=server.base_url, api_key="k", max_retries=0, **options)


def draw(generator, n=1, **params):
    return generator.generate(Query("how are you"), n, params=params, cancel=Cancel())


def stream(generator, **params):
    *_, sample = generator.stream(Query("how are you"), params=params, cancel=Cancel())
    return sample


def test_stream_options_that_are_refused_are_left_out_from_then_on(server):
    generator = member(server, "refuse-stream_options-small")
    first, second = stream(generator), stream(generator)
    assert ["stream_options" in body for body in server.sent()] == [True, False, False]
    assert first.text
    assert second.text
    assert first.usage.estimated
    assert first.usage.output >= len(first.text.split())


def test_what_is_refused_is_remembered_by_the_copy_that_the_engine_uses(server):
    generator = member(server, "refuse-stream_options-small")
    stream(generator.without_retries())
    stream(generator.without_retries())
    assert len(server.sent()) == 3


def test_async_streams_leave_out_what_is_refused(server):
    async def main():
        generator = member(server, "refuse-stream_options-small")
        return [p async for p in generator.astream(Query("how are you"), params={}, cancel=Cancel())]

    assert asyncio.run(main())[-1].text
    assert ["stream_options" in body for body in server.sent()] == [True, False]


def test_stream_options_that_the_caller_chose_are_never_left_out(server):
    mine = {"stream_options": {"include_usage": True}}
    with pytest.raises(openai.BadRequestError):
        stream(member(server, "refuse-stream_options-small"), **mine)
    with pytest.raises(openai.BadRequestError):
        stream(member(server, "refuse-stream_options-small", params=mine))
    assert len(server.sent()) == 2


def test_stream_options_of_the_caller_reach_the_server(server):
    stream(member(server), stream_options={"include_usage": False})
    assert server.sent()[0]["stream_options"] == {"include_usage": False}


def test_a_server_that_refuses_n_is_asked_once_a_sample(server):
    samples = draw(member(server, "refuse-n-small", native_n=True), 3)
    assert [body.get("n") for body in server.sent()] == [3, None, None, None]
    assert len({s.text for s in samples}) == 3
    assert sum(s.usage.input for s in samples) == server.usage["input"]


def test_n_is_the_router_s_and_never_the_member_s(server):
    draw(member(server, params={"n": 3}))
    draw(member(server), n=1)
    assert [body.get("n") for body in server.sent()] == [None, None]


@pytest.mark.parametrize("options", [{"params": {"max_tokens": 3}}, {}])
def test_a_limit_of_length_goes_under_the_name_that_the_server_wants(server, options):
    generator = member(server, "reasoning-small", **options)
    params = {} if options else {"max_tokens": 3}
    first, second = draw(generator, **params), draw(generator, **params)
    limits = [(b.get("max_tokens"), b.get("max_completion_tokens")) for b in server.sent()]
    assert limits == [(3, None), (None, 3), (None, 3)]
    assert [s.finish_reason for s in (*first, *second)] == ["length", "length"]


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5-nano"])
def test_a_reasoning_model_gets_its_limit_under_its_own_name_at_once(server, model):
    draw(member(server, model), max_tokens=3)
    assert [(b.get("max_tokens"), b.get("max_completion_tokens")) for b in server.sent()] == [(None, 3)]


def test_a_server_that_knows_only_the_old_name_is_asked_by_it(server):
    generator = OpenAIGenerator("o3", base_url=server.base_url, api_key="k", max_retries=0)
    generator.model = "refuse-max_completion_tokens-o3"
    draw(generator, max_tokens=3)
    assert [(b.get("max_tokens"), b.get("max_completion_tokens")) for b in server.sent()] == [(None, 3), (3, None)]


def test_a_limit_of_the_call_takes_the_place_of_the_member_s_under_any_name(server):
    draw(member(server, params={"max_completion_tokens": 9}), max_tokens=3)
    assert [(b.get("max_tokens"), b.get("max_completion_tokens")) for b in server.sent()] == [(3, None)]


def test_a_default_temperature_that_is_refused_is_left_out(server):
    generator = member(server, "reasoning-small", params={"temperature": 0.2})
    draw(generator)
    draw(generator)
    assert [b.get("temperature") for b in server.sent()] == [0.2, None, None]


def test_a_temperature_of_the_call_that_is_refused_is_the_member_s_own_error(server):
    generator = member(server, "reasoning-small", params={"temperature": 0.2})
    draw(generator)
    with pytest.raises(openai.BadRequestError, match="'temperature' does not support 0.7"):
        draw(generator, temperature=0.7)


def test_a_reasoning_model_works_with_a_budget(server):
    prices = {"reasoning-small": Price(1, 1), "large": Price(9, 9)}
    pool = Pool(list(prices), prices, reference="large")
    engine = BestRoute(pool, {m: member(server, m) for m in prices}, router=lambda q: ("reasoning-small", 1))
    result = engine.run("how are you", max_cost_usd=1e-4)
    assert result.decision.model == "reasoning-small"
    assert result.text.startswith("[reasoning-small")
    assert "max_completion_tokens" in server.sent()[-1]


@pytest.mark.parametrize("how", ["none", "bare", "zero", "negative", "nan", "text"])
@pytest.mark.parametrize("ask", [lambda g: draw(g)[0], stream])
def test_a_usage_that_makes_no_sense_is_estimated(server, how, ask):
    sample = ask(member(server, f"usage-{how}-small"))
    assert sample.usage.estimated
    assert sample.usage.input >= 3
    assert sample.usage.output >= len(sample.text.split())


def test_the_usage_of_an_empty_reply_is_believed(server):
    server.script("small", [{"text": "", "usage": {"prompt_tokens": 9, "completion_tokens": 0}}])
    assert draw(member(server))[0].usage == Usage(9, 0)


@pytest.mark.parametrize("ask", [draw, stream])
def test_overload_inside_a_200_is_an_error_that_is_asked_again(server, ask):
    with pytest.raises(openai.APIError) as failure:
        ask(member(server, "overload-1-small"))
    assert rule_for(failure.value).action is Action.RETRY
    prices = {"overload-1-small": Price(1, 1), "large": Price(9, 9)}
    server.reset()
    engine = BestRoute(
        Pool(list(prices), prices, reference="large"),
        {m: member(server, m) for m in prices},
        router=lambda q: ("overload-1-small", 1),
        settings=Settings(first_wait_s=0.0),
    )
    result = engine.run("how are you") if ask is draw else list(engine.stream("how are you"))[-1]
    assert result.text.startswith("[overload-1-small")
    assert [body["model"] for body in server.sent()] == ["overload-1-small"] * 2


def test_a_reply_without_choices_that_was_billed_is_billed(server, monkeypatch):
    class Reply:
        choices, usage, error = [], {"prompt_tokens": 9, "completion_tokens": 4}, None

    generator = member(server)
    monkeypatch.setattr(generator, "_create", lambda *_: (Reply(), {}))
    first, second = draw(generator, 2)
    assert (first.usage, second.usage) == (Usage(9, 4), None)
    assert first.error is second.error


@pytest.mark.parametrize(
    ("content", "text"),
    [([{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}], "ab"), (None, ""), (7, "")],
)
def test_content_in_parts_is_read_as_text(server, monkeypatch, content, text):
    class Message:
        tool_calls = refusal = None

    class Choice:
        finish_reason, message = "stop", Message()

    class Reply:
        choices, usage = [Choice()], {"prompt_tokens": 9, "completion_tokens": 4}

    Message.content = content
    generator = member(server)
    monkeypatch.setattr(generator, "_create", lambda *_: (Reply(), {}))
    (sample,) = draw(generator)
    assert (sample.text, sample.usage) == (text, Usage(9, 4))
