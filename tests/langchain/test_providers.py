"""Members of other providers for real: langchain-anthropic and langchain-ollama, over their own protocols."""

import pytest

pytest.importorskip("langchain_anthropic")
pytest.importorskip("langchain_ollama")

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from pydantic import BaseModel

from bestroute import Price


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Person(BaseModel):
    """A person, added."""

    name: str
    age: int


CALL = 'CALL add({"a": 2, "b": 3})'
PRICES = {"claude": Price(3.0, 15.0, cached_input=0.3, cache_write=3.75), "llama": Price(0.1, 0.2)}


@pytest.fixture
def chat(make, server):
    def build(model, n=1, **options):
        members = {
            "claude": ChatAnthropic(model="claude", base_url=server.root_url, api_key="sk-ant-secret", max_tokens=500),
            "llama": ChatOllama(model="llama", base_url=server.root_url),
        }
        return make((model, n), **{"models": members, "prices": PRICES, **options})

    return build


BOTH = pytest.mark.parametrize("model", ["claude", "llama"])


@BOTH
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_the_best_of_n_comes_with_the_whole_bill(chat, server, told, joined, model, n, how):
    router = chat(model, n, bills_input="once")  # neither API takes n: n calls are made
    messages = [SystemMessage("be brief"), HumanMessage("pick me")]
    if how == "invoke":
        message = router.invoke(messages)
    elif how == "ainvoke":
        message = await router.ainvoke(messages)
    elif how == "stream":
        message = joined(list(router.stream(messages)))
    else:
        message = joined([chunk async for chunk in router.astream(messages)])
    assert ("q=0.95" if n == 3 else "q=0.40") in message.text
    assert len(server.requests) == n
    usage = message.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"]) == (server.usage["input"], server.usage["output"])
    price = PRICES[model]
    cost = (usage["input_tokens"] * price.input + usage["output_tokens"] * price.output) / 1e6
    assert told(message)["cost_usd"] == pytest.approx(cost, abs=1e-12)
    assert router.ledger.cost_usd == pytest.approx(cost, abs=1e-12)
    assert message.response_metadata["model_name"] == model


@BOTH
def test_one_sample_streams_token_by_token_under_one_id(chat, model):
    chunks = list(chat(model).stream("one two three"))
    assert len([c for c in chunks if c.text]) >= 5
    assert len({c.id for c in chunks}) == 1
    assert sum("bestroute" in c.response_metadata for c in chunks) == 1
    assert sum(c.usage_metadata is not None for c in chunks) == 1


def test_cached_input_is_billed_at_its_own_price(chat, server, told):
    details = {"cached_tokens": 60, "cache_creation_tokens": 10}
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": details}
    server.script("claude", [{"text": "x", "usage": usage}])
    message = chat("claude").invoke("x")
    assert message.usage_metadata["input_tokens"] == 100
    expected = (30 * 3.0 + 60 * 0.3 + 10 * 3.75 + 5 * 15.0) / 1e6
    assert told(message)["cost_usd"] == pytest.approx(expected, abs=1e-12)


@BOTH
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_turn(chat, server, told, joined, model, n, stream):
    bound = chat(model, n).bind_tools([add], parallel_tool_calls=False)
    history = [HumanMessage(CALL)]
    history.append(joined(list(bound.stream(history))) if stream else bound.invoke(history))
    assert history[-1].tool_calls[0]["args"] == {"a": 2, "b": 3}
    assert told(history[-1])["flaws"] == [None] * n
    history.append(add.invoke(history[-1].tool_calls[0]))
    assert "tool said: 5" in bound.invoke(history).text
    sent = server.requests[0]["body"]["tools"][0]
    assert ("input_schema" in sent) == (model == "claude")


@BOTH
@pytest.mark.parametrize("choice", ["any", "add", "required", {"type": "function", "function": {"name": "add"}}])
def test_every_way_to_require_a_call_is_understood(chat, model, choice):
    message = chat(model).bind_tools([add], tool_choice=choice).invoke('CALL add({"a": 4, "b": 5})')
    assert message.tool_calls[0]["args"] == {"a": 4, "b": 5}


@BOTH
def test_what_a_tool_tells_one_provider_reaches_that_one(chat, server, model):
    @tool(extras={"cache_control": {"type": "ephemeral"}, "defer_loading": True})
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    message = chat(model, 2).bind_tools([add]).invoke(CALL)
    (sent,) = server.requests[0]["body"]["tools"]
    assert message.tool_calls[0]["args"] == {"a": 2, "b": 3}
    assert ("cache_control" in sent) == (model == "claude")
    assert "extras" not in sent


@BOTH
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@pytest.mark.parametrize("n", [1, 2])
def test_structured_output(chat, model, method, n):
    chain = chat(model, n).with_structured_output(Person, method=method)
    assert chain.invoke("'Ann' is 7, person") == Person(name="Ann", age=7)


def test_parameters_reach_each_member_in_its_own_words(chat, server):
    options = {"temperature": 0.3, "max_tokens": 17, "stop": ["zzz"]}
    chat("claude", **options).invoke("x")
    chat("llama", **options).invoke("x")
    claude, llama = (request["body"] for request in server.requests)
    assert (claude["temperature"], claude["max_tokens"], claude["stop_sequences"]) == (0.3, 17, ["zzz"])
    assert llama["options"] == {"temperature": 0.3, "num_predict": 17, "stop": ["zzz"]}
    chat("llama", **options).bind(temperature=0.9).invoke("x", stop=["y"])
    assert server.requests[-1]["body"]["options"] == {"temperature": 0.9, "num_predict": 17, "stop": ["y"]}


def test_a_limit_of_the_member_is_kept_where_the_router_sets_none(make, server):
    member = ChatOllama(model="llama", base_url=server.root_url, num_predict=2, stop=["never"])
    chat = make(("llama", 1), models={"llama": member}, prices={"llama": Price(0, 0)})
    assert chat.invoke("x").text == "[llama#0] answer"
    assert chat.invoke("x", max_tokens=3).text.count(" ") == 2
    assert chat.invoke("x", stop=["q="]).text.strip() == "[llama#2] answer"
    assert member.num_predict == 2


@BOTH
def test_errors_keep_the_providers_type(chat, model, server):
    import anthropic
    import ollama

    kinds = {"claude": anthropic.RateLimitError, "llama": ollama.ResponseError}
    router = chat(model)
    member = router.models[model]
    member.model = "fail-429-x"
    with pytest.raises(kinds[model]):
        router.invoke("x", model=model)


@BOTH
def test_a_cut_reply_says_so_in_one_word_of_the_core(chat, model):
    from bestroute import Query

    generator = chat(model).engine.generators[model]
    (sample,) = generator.generate(Query("x", messages=[HumanMessage("x")]), 1, params={"max_tokens": 2}, cancel=None)
    assert sample.finish_reason in ("length", "max_tokens")


def test_the_secret_of_no_member_shows(chat):
    router = chat("claude")
    assert "sk-ant-secret" not in repr(router) + router._get_llm_string()


def test_a_limit_of_length_has_the_name_that_the_members_class_knows(make):
    calls = []

    class Member(GenericFakeChatModel):
        max_output_tokens: int | None = None

        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            calls.append(kwargs)
            return super()._generate(messages, stop, run_manager)

    member = Member(messages=iter(["one", "two", "three"]))
    chat = make(("google", 1), models={"google": member}, prices={"google": Price(1, 2)}, reference="google")
    chat.invoke("x", max_tokens=17)
    chat.invoke("x", max_tokens=17, max_output_tokens=18)
    chat.invoke("x", max_cost_usd=0.0006)  # which limits the length
    limits = [call.pop("max_output_tokens") for call in calls]
    assert limits[:2] == [17, 18]
    assert 0 < limits[2] < 300
    assert calls == [{}, {}, {}]
