"""Members of other providers, for real, against loopback servers that speak their protocols."""

import importlib.metadata
import json

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock
from llama_index.core.llms.mock import MockLLM
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAIResponses
from pydantic import BaseModel

from bestroute import Cancel, Price, Query
from llamaindex_bestroute.generator import LLMGenerator
from llamaindex_bestroute.members import quiet, variant
from llamaindex_bestroute.providers import adapt_call

CALLS = 'CALL add({"a": 2, "b": 3}) then CALL multiply({"a": 5, "b": 7})'


def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two integers."""
    return a * b


TOOLS = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(multiply)]


class Joke(BaseModel):
    """A joke."""

    setup: str
    age: int


def make_claude(server, **options):
    llms = pytest.importorskip("llama_index.llms.anthropic")
    if not importlib.metadata.version("anthropic").startswith("0."):
        pytest.skip("llama-index-llms-anthropic needs anthropic below 1.0 (constraints.txt)")
    told = {"model": "claude-sonnet-4-5", "base_url": server.root_url, "api_key": "sk-ant-secret", "max_tokens": 200}
    return llms.Anthropic(**{**told, **options})


def make_llama(server, **options):
    llms = pytest.importorskip("llama_index.llms.ollama")
    return llms.Ollama(**{"model": "llama3", "base_url": server.root_url, "context_window": 8000, **options})


def make_responses(server, **options):
    return OpenAIResponses(**{"model": "gpt-4o-mini", "api_base": server.base_url, "api_key": "sk-secret", **options})


MAKERS = {"claude": make_claude, "llama": make_llama, "responses": make_responses}
PATHS = {"claude": "/v1/messages", "llama": "/api/chat", "responses": "/v1/responses"}
PRICES = {"claude": Price(3.0, 15.0), "llama": Price(0.0, 0.0), "responses": Price(2.0, 4.0), "gpt": Price(1.0, 2.0)}


@pytest.fixture
def pool(make, like, server):
    """Makes a router of one provider's member and an OpenAI-like one."""

    def build(name, n=1, **options):
        models = {name: MAKERS[name](server), "gpt": like("gpt-x")}
        told = {"models": models, "prices": {m: PRICES[m] for m in models}, "reference": "gpt", **options}
        return make((name, n), **told)

    return build


def test_a_members_own_limit_is_known_by_either_name(make, server):
    llm = make(models={"responses": make_responses(server, max_output_tokens=70)}, prices={"responses": Price(1, 2)})
    assert llm.engine.generators["responses"].max_output_tokens == 70


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", ["claude", "llama", "responses"])
class TestProviders:
    async def test_chat_and_streams_tell_what_was_billed(self, pool, server, user, told, name, n):
        llm = pool(name, n)
        replies = [llm.chat(user("how are you")), await llm.achat(user("how are you"))]
        for pieces in (
            list(llm.stream_chat(user("how are you"))),
            [p async for p in await llm.astream_chat(user("how are you"))],
        ):
            assert "".join(p.delta for p in pieces) == pieces[-1].message.content
            assert len(pieces) > 5 if n == 1 else len(pieces) == 1
            replies.append(pieces[-1])
        assert not any("usage" in {**r.additional_kwargs, **r.message.additional_kwargs} for r in replies), (
            "of one alone"
        )
        assert all(reply.message.content.startswith(f"[{reply.raw['model']}#") for reply in replies)
        assert sum(reply.raw["usage"]["prompt_tokens"] for reply in replies) == server.usage["input"]
        assert sum(reply.raw["usage"]["completion_tokens"] for reply in replies) == server.usage["output"]
        assert not any(row["estimated"] for row in llm.ledger.rows())
        assert len(server.sent(PATHS[name])) == 4 * n
        price = PRICES[name]
        cost = (server.usage["input"] * price.input + server.usage["output"] * price.output) / 1e6
        assert llm.ledger.cost_usd == pytest.approx(cost)
        json.dumps(replies[-1].raw, default=str)

    @pytest.mark.parametrize("streaming", [False, True])
    async def test_an_agent_and_its_tools(self, pool, server, name, n, streaming):
        agent = FunctionAgent(tools=[add, multiply], llm=pool(name, n), streaming=streaming)
        assert "tool said: 5 | tool said: 35" in str(await agent.run(CALLS))
        assert server.sent() == [], "the turn stayed"

    async def test_structured_output(self, pool, name, n):
        llm, prompt = pool(name, n), PromptTemplate("a joke of 'abc' and {n}")
        wanted = Joke(setup="abc", age=42)
        assert llm.structured_predict(Joke, prompt, n=42) == wanted
        assert await llm.astructured_predict(Joke, prompt, n=42) == wanted
        assert list(llm.stream_structured_predict(Joke, prompt, n=42))[-1] == wanted

    def test_call_parameters_arrive_in_its_own_words(self, pool, server, user, name, n):
        llm = pool(name, n, temperature=0.3)
        stop = {} if name == "responses" else {"stop": ["answer"]}  # of which that API knows nothing
        llm.chat(user("say answer"), max_tokens=50, **stop)
        llm.chat(user("x"))
        first, last = server.sent(PATHS[name])[0], server.sent(PATHS[name])[-1]
        if name == "claude":
            assert (first["temperature"], first["max_tokens"], first["stop_sequences"]) == (0.3, 50, ["answer"])
            assert (last["max_tokens"], "stop_sequences" in last) == (200, False)
        elif name == "responses":
            assert (first["temperature"], first["max_output_tokens"]) == (0.3, 50)
            assert last["max_output_tokens"] is None
        else:
            assert first["options"]["temperature"] == 0.3
            assert (first["options"]["num_predict"], first["options"]["stop"]) == (50, ["answer"])
            assert "num_predict" not in last["options"]

    async def test_a_limit_of_the_router_is_said_in_its_own_words(self, pool, server, user, name, n):
        llm = pool(name, n, max_tokens=50)
        llm.chat(user("x"))
        _ = [piece async for piece in await llm.astream_chat(user("x"))]
        for body in server.sent(PATHS[name]):
            own = {"claude": body, "responses": body, "llama": body.get("options")}[name]
            word = {"claude": "max_tokens", "responses": "max_output_tokens", "llama": "num_predict"}[name]
            assert own[word] == 50

    def test_a_named_tool_is_the_one_on_offer(self, pool, server, name, n):
        llm = pool(name, n)
        response = llm.chat_with_tools(TOOLS, user_msg="1 and 2, multiply", tool_choice="multiply")
        assert llm.get_tool_calls_from_response(response)[0].tool_name == "multiply"
        if name != "responses":  # these say it by what is on offer
            assert len(server.sent(PATHS[name])[0]["tools"]) == 1


def test_a_conversation_moves_between_three_providers_with_its_tool_turns(make, like, server, told):
    models = {"claude": make_claude(server), "gpt": like("gpt-x"), "llama": make_llama(server)}
    order = ["claude", "gpt", "llama", "claude", "llama", "gpt", "claude"]
    llm = make(lambda q: (order[int(q.text[15])], 1), models=models, prices=PRICES, reference="gpt")
    owners, history = [], []
    for i in range(7):
        history.append(ChatMessage(role="user", content=f'CALL add({{"a": {i}, "b": 3}})'))
        response = llm.chat_with_tools(TOOLS, chat_history=history)
        owners.append(told(response)["model"])
        (call,) = llm.get_tool_calls_from_response(response)
        result = ChatMessage(
            role="tool", content=str(add(**call.tool_kwargs)), additional_kwargs={"tool_call_id": call.tool_id}
        )
        history += [response.message, result]
        response = llm.chat_with_tools(TOOLS, chat_history=history)
        history.append(response.message)
        assert told(response)["model"] == owners[-1]
        assert f"tool said: {i + 3}" in response.message.content
    assert owners == order
    assert {bill.status for bill in server.bills} == {"ok"}


def test_thoughts_go_back_to_their_own_provider_alone(make, like, server, user):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    models = {"claude": make_claude(server, thinking_dict=thinking, max_tokens=2000), "gpt": like("gpt-x")}
    llm = make(("gpt", 1), models=models, prices={m: PRICES[m] for m in models}, reference="gpt")
    first = llm.chat(user("think"), model="claude", n=1).message
    assert any(isinstance(block, ThinkingBlock) for block in first.blocks)
    history = [*user("think"), first, *user("and now?")]
    assert llm.chat(history, model="claude", n=1)
    sent = json.dumps(server.sent(PATHS["claude"])[-1]["messages"])
    assert '"signature"' in sent
    assert llm.chat(history, model="gpt", n=1)
    assert "signature" not in json.dumps(server.sent()[-1])
    assert any(isinstance(block, ThinkingBlock) for block in first.blocks), "the caller's message keeps its thought"


def test_anthropics_cached_tokens_are_a_part_of_the_input(pool, server, user, told):
    details = {"cached_tokens": 60, "cache_creation_tokens": 10}
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": details}
    server.script("claude-sonnet-4-5", [{"text": "x", "usage": usage}])
    prices = {"claude": Price(3.0, 15.0, cached_input=0.3, cache_write=3.75), "gpt": PRICES["gpt"]}
    response = pool("claude", prices=prices).chat(user("x"))
    assert response.raw["usage"]["prompt_tokens"] == 100
    expected = (30 * 3.0 + 60 * 0.3 + 10 * 3.75 + 5 * 15.0) / 1e6
    assert told(response)["cost_usd"] == pytest.approx(expected)


def test_anthropics_client_does_not_retry_while_sampling_and_the_members_own_still_does(server, user):
    member = make_claude(server, max_retries=4)
    server.script("claude-sonnet-4-5", [{"status": 503}] * 9)
    generator = LLMGenerator("claude", member, native_n=False)
    with pytest.raises(Exception, match="503"):
        generator.generate(Query("x", messages=user("x")), 1, params={}, cancel=Cancel())
    assert len(server.requests) == 1
    assert member._client.max_retries == 4
    assert generator.member._client._client is member._client._client, "connections are shared"


def test_ollamas_options_make_no_second_client(server):
    member = quiet(make_llama(server))
    settings, rest = adapt_call(member, {"stop": ["x"], "format": "json"})
    changed = variant(member, settings)
    assert rest == {"format": "json"}
    assert changed.additional_kwargs == {"stop": ["x"]}
    assert changed.client is member.client


def test_an_integration_that_reads_options_in_one_argument_alone_gets_them_there():
    class GenAI(MockLLM):
        @classmethod
        def class_name(cls):
            return "GenAI"

    options = {
        "max_tokens": 17,
        "temperature": 0.3,
        "stop": ["x"],
        "generation_config": {"temperature": 0.5},
        "tools": [],
    }
    assert adapt_call(GenAI(), options) == (
        {},
        {"tools": [], "generation_config": {"max_output_tokens": 17, "temperature": 0.5, "stop_sequences": ["x"]}},
    )
    assert adapt_call(GenAI(), {"tools": []}) == ({}, {"tools": []})
