"""BestRouteChat over real ChatOpenAI members on the loopback server; requirements by number where one is met."""

import asyncio
import concurrent.futures
import json

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_openai")

import openai
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import tool
from langchain_core.tracers.base import BaseTracer
from langchain_openai import ChatOpenAI

from bestroute import ConfigError, Ledger, MajorityVote, OpenAIGenerator, Price, PriceError, Verifier
from bestroute.testing import FakeGenerator, FakeRouter
from langchain_bestroute import BestRouteChat

PRICES = {"small": Price(1.0, 2.0), "large": Price(10.0, 20.0)}


def quality(query, texts):
    """The q=0.xx that the server writes into each draw."""
    return [float(t.partition("q=")[2][:4] or 0) for t in texts]


def openai_model(server, model, **options):
    return ChatOpenAI(model=model, base_url=server.base_url, api_key="sk-secret", **{"max_retries": 0, **options})


def make(server, router=lambda q: ("small", 1), **options):
    models = {"small": openai_model(server, "small-mini"), "large": openai_model(server, "large-max")}
    parts = {"models": models, "prices": PRICES, "router": router, "reward_model": quality}
    return BestRouteChat(**{**parts, **options})


def told(message):
    return message.response_metadata["bestroute"]


# Requirement 2, 6.
def test_best_of_n_is_returned_with_its_metadata(server):
    message = make(server, lambda q: ("small", 4)).invoke("pick me")
    assert "q=0.95" in message.text
    info = told(message)
    assert (info["model"], info["n"], len(info["samples"])) == ("small", 4, 4)
    assert info["rewards"] == [s["reward"] for s in info["samples"]]
    assert max(info["rewards"]) == info["rewards"][info["chosen"]] == 0.95
    assert {s["step"] for s in info["samples"]} == {0}
    assert info["plan"] == [{"model": "small", "n": 4, "accept": None}]
    assert info["reason"] == "chosen by the router function"
    assert info["cost_usd"] == pytest.approx(sum(s["cost_usd"] for s in info["samples"]))
    assert message.response_metadata["model_name"] == "small-mini"


# Requirement 4.
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("bills_input", ["per_sample", "once"])
def test_usage_cost_and_ledger_are_what_the_server_billed(server, n, bills_input):
    ledger = Ledger()
    chat = make(server, lambda q: ("small", n), bills_input=bills_input, ledger=ledger)
    message = chat.invoke("how much is this")
    billed = server.usage
    usage = message.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"]) == (billed["input"], billed["output"])
    assert usage["total_tokens"] == billed["input"] + billed["output"]
    expected = (billed["input"] * 1.0 + billed["output"] * 2.0) / 1e6
    assert told(message)["cost_usd"] == pytest.approx(expected, abs=1e-12)
    assert ledger.cost_usd == pytest.approx(expected, abs=1e-12)
    assert len(server.requests) == (1 if bills_input == "once" else n)
    assert len(ledger.rows()) == n


# Requirement 2.
@pytest.mark.parametrize("n", [1, 3])
async def test_every_way_of_asking_takes_the_same_decision_and_the_best_of_n(server, n):
    wanted = "q=0.95" if n == 3 else "q=0.40"
    chat = make(server, lambda q: ("small", n))
    answers = [
        chat.invoke("q1"),
        await chat.ainvoke("q2"),
        chat.batch(["q3"])[0],
        sum_chunks(list(chat.stream("q4"))),
        sum_chunks([c async for c in chat.astream("q5")]),
        chat.generate([[HumanMessage("q6")]]).generations[0][0].message,
    ]
    for answer in answers:
        assert wanted in answer.text
        assert answer.text.count("[small-mini#") == 1
        assert (told(answer)["model"], told(answer)["n"]) == ("small", n)


def sum_chunks(chunks):
    return sum(chunks[1:], chunks[0])


# Requirement 3, 6.
def test_n_1_streams_token_by_token_with_one_id_and_metadata_once(server):
    chunks = list(make(server).stream("one two three four"))
    assert len([c for c in chunks if c.text]) >= 5
    assert server.sent()[0]["stream"] is True
    assert len({c.id for c in chunks}) == 1
    assert sum("bestroute" in c.response_metadata for c in chunks) == 1
    assert sum(c.usage_metadata is not None for c in chunks) == 1
    assert [c.chunk_position for c in chunks].count("last") == 1
    assert chunks[-1].chunk_position == "last"
    full = sum_chunks(chunks)
    assert full.response_metadata["model_name"] == "small-mini"
    assert full.usage_metadata["output_tokens"] == server.usage["output"]


# Requirement 3.
def test_a_streaming_handler_sees_the_winner_alone(server):
    class Tokens(BaseCallbackHandler):
        seen = ""

        def on_llm_new_token(self, token, **kwargs):
            self.seen += token

    handler = Tokens()
    answer = make(server, lambda q: ("small", 3), streaming=True).invoke("x", config={"callbacks": [handler]})
    assert handler.seen == answer.text
    assert "q=0.95" in handler.seen


# Requirement 4, 5.
def test_one_chat_model_run_a_call_and_usage_counted_once(server):
    class Runs(BaseTracer):
        def _persist_run(self, run):
            roots.append(run)

    roots: list = []
    with get_usage_metadata_callback() as counted:
        make(server, lambda q: ("small", 3)).invoke("x", config={"callbacks": [Runs()]})
    assert [(r.run_type, len(r.child_runs)) for r in roots] == [("llm", 0)] or roots[0].run_type == "chat_model"
    assert len(roots) == 1
    assert roots[0].extra["metadata"]["ls_provider"] == "bestroute"
    assert counted.usage_metadata["small-mini"]["output_tokens"] == server.usage["output"]


# Requirement 6.
@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_the_metadata_survives_serialisation(server):
    message = make(server, lambda q: ("small", 3)).invoke("x")
    json.dumps(message.response_metadata)
    assert loads(dumps(message), allowed_objects="messages").response_metadata == message.response_metadata


# Requirement 7.
def test_a_global_cache_neither_collapses_samples_nor_asks_twice(server):
    set_llm_cache(InMemoryCache())
    try:
        chat = make(server, lambda q: ("small", 4))
        assert "q=0.95" in chat.invoke("cached?").text
        assert len(server.requests) == 4
        assert "q=0.95" in chat.invoke("cached?").text
        assert len(server.requests) == 4
        other = make(server, lambda q: ("large", 1))
        assert "large-max" in other.invoke("cached?").text, "two routers may not share answers"
    finally:
        set_llm_cache(None)


# Requirement 8.
async def test_the_routers_limiter_counts_calls_and_the_members_counts_requests(server):
    class Count(BaseRateLimiter):
        def __init__(self):
            self.calls = 0

        def acquire(self, *, blocking=True):
            self.calls += 1
            return True

        async def aacquire(self, *, blocking=True):
            return self.acquire()

    router, member = Count(), Count()
    models = {"small": openai_model(server, "small-mini", rate_limiter=member)}
    chat = make(server, lambda q: ("small", 3), models=models, rate_limiter=router)
    chat.invoke("x")
    await chat.ainvoke("y")
    assert (router.calls, member.calls) == (2, 6)


# Requirement 12.
def test_parameters_call_over_router_over_member(server):
    models = {"small": openai_model(server, "small-mini", temperature=0.1, max_tokens=5)}
    make(server, models=models).invoke("x")
    make(server, models=models, temperature=0.3, max_tokens=17, stop=["zzz"]).invoke("x")
    make(server, models=models, temperature=0.3).bind(temperature=0.9).invoke("x", stop=["answer"])
    bodies = server.sent()
    assert [b["temperature"] for b in bodies] == [0.1, 0.3, 0.9]
    assert [b["max_completion_tokens"] for b in bodies] == [5, 17, 5]
    assert [b.get("stop") for b in bodies] == [None, ["zzz"], ["answer"]]


# Requirement 13.
def test_a_call_may_force_the_member_and_n(server):
    chat = make(server, lambda q: ("small", 3))
    assert told(chat.invoke("x", model="large"))["model"] == "large"
    assert {b["model"] for b in server.sent()} == {"large-max"}
    assert told(chat.invoke("y", n=2))["n"] == 2
    with pytest.raises(ConfigError, match="unknown model 'larg'.*Did you mean 'large'"):
        chat.invoke("z", model="larg")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# Requirement 10.
def test_tools_bound_by_plain_bind_are_taken_as_objects_and_checked(server):
    message = make(server, lambda q: ("small", 2)).bind(tools=[add]).invoke('CALL add({"a": 2, "b": 3})')
    assert message.tool_calls[0]["name"] == "add"
    assert server.sent()[0]["tools"][0]["function"]["name"] == "add"
    assert message.response_metadata["bestroute"].get("flaws") in (None, [None, None])


@pytest.mark.parametrize("include_raw", [True, False])
def test_a_tool_offered_beside_a_schema_may_be_called_instead(server, include_raw):
    schema = {"title": "Joke", "description": "A joke.", "type": "object", "properties": {"setup": {"type": "string"}}}
    chat = make(server).with_structured_output(
        {**schema, "required": ["setup"]}, method="json_schema", include_raw=include_raw, strict=True, tools=[add]
    )
    told = chat.invoke('CALL add({"a": 2, "b": 3})')
    if include_raw:
        assert told["raw"].tool_calls[0]["name"] == "add"
        assert (told["parsed"], told["parsing_error"]) == (None, None)
    else:
        assert told is None
    assert server.sent()[0]["tools"][0]["function"]["strict"] is True


def test_tools_are_bound_lazily_and_arrive_in_the_members_format(server):
    bound = make(server).bind_tools([add], tool_choice="any", parallel_tool_calls=False)
    assert server.requests == []
    json.dumps(bound.kwargs["tools"])
    message = bound.invoke("1 and 2")
    assert message.tool_calls[0]["args"] == {"a": 1, "b": 2}
    assert server.sent()[0]["tool_choice"] == "required"
    assert server.sent()[0]["parallel_tool_calls"] is False


# Requirement 14.
@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_a_tool_turn_stays_with_the_model_that_made_the_call(server):
    turns = iter(["small", "large", "large", "large"])
    chat = make(server, lambda q: (next(turns), 1)).bind_tools([add])
    messages = [HumanMessage('CALL add({"a": 2, "b": 3})')]
    messages.append(chat.invoke(messages))
    messages.append(ToolMessage("5", tool_call_id=messages[-1].tool_calls[0]["id"]))
    again = loads(dumps(messages), allowed_objects="messages")  # as from a checkpoint
    answer = chat.invoke(again)
    assert [b["model"] for b in server.sent()] == ["small-mini", "small-mini"]
    assert "tool said: 5" in answer.text
    assert told(answer)["reason"] == "a tool turn stays with the model that made the call"
    chat.invoke([*again, answer, HumanMessage("something new")])
    assert server.sent()[-1]["model"] == "large-max"


def test_a_stream_of_tool_calls_can_be_joined(server):
    chat = make(server, lambda q: ("small", 2)).bind_tools([add])
    full = sum_chunks(list(chat.stream('CALL add({"a": 2, "b": 3})')))
    assert full.tool_calls[0]["args"] == {"a": 2, "b": 3}


# Requirement 17.
async def test_errors_keep_the_members_type_and_fallbacks_work(server):
    chat = make(server, models={"small": openai_model(server, "fail-429-x")})
    for ask in (chat.invoke, lambda x: list(chat.stream(x))):
        with pytest.raises(openai.RateLimitError):
            ask("x")
    with pytest.raises(openai.RateLimitError):
        await chat.ainvoke("x")
    assert "large-max" in chat.with_fallbacks([openai_model(server, "large-max")]).invoke("x").text


# Requirement 17.
def test_one_failed_sample_does_not_lose_the_rest(server):
    chat = make(server, lambda q: ("small", 3), models={"small": openai_model(server, "flaky-1-x")})
    message = chat.invoke("x")
    errors = [s["error"] for s in told(message)["samples"]]
    assert sum(e is not None for e in errors) == 1
    assert "Error code: 500" in next(e for e in errors if e)


# Requirement 20.
async def test_async_samples_run_at_the_same_time_and_leave_the_loop_free(server, meeting):
    chat = make(server, lambda q: ("small", 4))
    message = await meeting(chat.ainvoke("x"), 4)
    assert told(message)["n"] == 4
    assert server.max_inflight == 4


# Requirement 20.
def test_threads_share_a_chat_model(server):
    chat = make(server, lambda q: ("small" if "even" in q.text else "large", 2))

    def one(i):
        word = "even" if i % 2 == 0 else "odd"
        return told(chat.invoke(f"{word} {i}"))["model"] == ("small" if i % 2 == 0 else "large")

    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        assert all(threads.map(one, range(48)))
    assert len(chat.ledger.rows()) == 96


# Requirement 20.
def test_batch_keeps_the_order_and_the_concurrency_limit(server):
    chat = make(server, models={"small": openai_model(server, "slow-50-x")})
    answers = chat.batch([f"number {i}" for i in range(6)], config={"max_concurrency": 2})
    assert [f"number {i}" in a.text for i, a in enumerate(answers)] == [True] * 6
    assert server.max_inflight <= 2


# Requirement 22.
def test_inputs_are_not_changed_and_images_go_through(server):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [SystemMessage("be brief"), HumanMessage([{"type": "text", "text": "what is this"}, image])]
    before = dumps(messages)
    make(server, lambda q: ("small", 2)).invoke(messages)
    assert dumps(messages) == before
    assert server.sent()[0]["messages"][1]["content"][1] == image


def test_without_a_router_the_reference_answers_or_a_verifier_decides(server):
    assert told(make(server, None).invoke("x"))["model"] == "large"
    chat = make(server, None, reward_model=Verifier(lambda q, text: "small-mini" in text))
    assert told(chat.invoke("x"))["model"] == "small"


def test_a_trained_router_and_a_threshold_decide(server):
    router = FakeRouter({("small", 1): 0.5, ("large", 1): 1.0}, [10, 10])
    assert told(make(server, router, threshold=0.4).invoke("x"))["model"] == "small"
    message = make(server, router, threshold=0.6).invoke("x")
    assert told(message)["model"] == "large"
    assert "threshold 0.6" in told(message)["reason"]


def test_the_reference_defaults_to_the_dearest(server):
    assert make(server).reference == make(server, reference=None).reference == "large"


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"prices": {"small": Price(1, 1)}}, PriceError, "no price for 'large'"),
        ({"reference": "larg"}, ConfigError, "unknown reference 'larg'.*Did you mean 'large'"),
        ({"models": {}}, ConfigError, "at least one chat model"),
        ({"models": {"small": 3}}, ConfigError, "'small' must be a chat model"),
        ({"threshold": 0.5}, ConfigError, "a router function decides alone"),
        ({"max_n": 0}, ConfigError, "max_n must be a whole number"),
    ],
)
def test_what_does_not_fit_is_said_at_construction(server, options, error, sentence):
    with pytest.raises(error, match=sentence):
        make(server, **options)


# Requirement 19.
def test_no_secret_in_a_repr_or_a_dump(server):
    chat = make(server)
    assert "sk-secret" not in repr(chat) + str(chat) + dumps(chat) + chat._get_llm_string()


def test_core_generators_can_be_members(server):
    models = {
        "small": FakeGenerator(["4", "5", "4"]),
        "large": OpenAIGenerator("large-max", base_url=server.base_url, api_key="k"),
    }
    chat = make(server, lambda q: ("small", 3), models=models, reward_model=MajorityVote())
    assert chat.invoke("2 + 2?").text == "4"
    message = chat.invoke([SystemMessage("be brief"), HumanMessage("hello")], model="large", n=1)
    assert "large-max" in message.text
    assert server.sent()[0]["messages"][0] == {"role": "system", "content": "be brief"}
    assert message.usage_metadata["output_tokens"] == server.usage["output"]


def test_other_chat_models_can_be_members():
    chat = BestRouteChat(
        models={"small": FakeListChatModel(responses=["hello there"]), "large": FakeListChatModel(responses=["x"])},
        prices=PRICES,
        router=lambda q: ("small", 1),
    )
    assert chat.invoke("hi").text == "hello there"
    assert "".join(c.text for c in chat.stream("hi")) == "hello there"


def test_a_message_without_usage_is_billed_by_estimate(server):
    ledger = Ledger()
    chat = make(server, models={"small": openai_model(server, "nousage-x")}, ledger=ledger)
    message = chat.invoke("x")
    row = ledger.rows()[0]
    assert row["estimated"]
    assert message.usage_metadata["output_tokens"] == row["output_tokens"] > 0
    assert ledger.cost_usd > 0


def test_an_explicit_answer_of_the_history_is_left_alone(server):
    history = [HumanMessage("a"), AIMessage("b"), HumanMessage("c")]
    make(server).invoke(history)
    assert [m["content"] for m in server.sent()[0]["messages"]] == ["a", "b", "c"]


# Requirement 23.
@pytest.mark.parametrize("n", [1, 2])
async def test_the_responses_api_streams_and_tells_its_usage(server, n):
    models = {"small": openai_model(server, "small-mini", use_responses_api=True)}
    chat = make(server, lambda q: ("small", n), models=models)
    for chunks in (
        list(chat.stream("x", stream_usage=True)),
        [c async for c in chat.bind_tools([{"type": "web_search"}]).astream("y")],
    ):
        full = sum_chunks(chunks)
        assert "small-mini" in full.text
        assert full.usage_metadata["output_tokens"] > 0
    assert server.sent() == []
    assert len(server.sent("/responses")) == 2 * n


# Requirement 4.
async def test_a_stream_that_is_abandoned_is_billed_at_once(server):
    ledger = Ledger()
    chat = make(server, ledger=ledger)
    stream = chat.stream("one two three")
    next(stream)
    stream.close()
    assert [row["status"] for row in ledger.rows()] == ["cancelled"]
    source = chat._astream([HumanMessage("one two three")])
    await anext(source)
    await source.aclose()
    assert [row["status"] for row in ledger.rows()] == ["cancelled"] * 2
    while server.inflight:  # its bill is not to fall into the next test
        await asyncio.sleep(0.01)


# Requirement 23.
@pytest.mark.parametrize("how", ["member", "tool"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_the_responses_api_knows_no_n_so_n_calls_are_made(server, how, is_async):
    models = {"small": openai_model(server, "small-mini", use_responses_api=True if how == "member" else None)}
    chat = make(server, lambda q: ("small", 3), models=models, bills_input="once")
    asked = chat.bind_tools([{"type": "web_search"}]) if how == "tool" else chat
    message = await asked.ainvoke("hello") if is_async else asked.invoke("hello")
    assert len(server.sent("/responses")) == 3
    assert server.sent() == []
    assert told(message)["n"] == 3
    assert "q=0.95" in message.text
    assert message.usage_metadata["output_tokens"] == server.usage["output"]
