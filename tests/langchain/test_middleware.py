"""``BestRouteMiddleware``: agents of LangChain whose every model call is routed."""

import json
import subprocess
import sys
from typing import Annotated

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import StructuredTool
from pydantic import BaseModel

from bestroute import ConfigError, MajorityVote
from langchain_bestroute import BestRouteChat

pytest.importorskip("langchain.agents")

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware, wrap_model_call
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langgraph.checkpoint.memory import InMemorySaver

from langchain_bestroute import BestRouteMiddleware

NAMES = ["add", "subtract", "multiply", "divide", "power", "modulo", "greatest", "smallest"]
TWO_STEPS = 'CALL add({"a": 2, "b": 3}) CALL multiply({"a": 5, "b": 7})'
ASK = {"messages": [("user", TWO_STEPS)]}
VALUES = {"add": lambda a, b: a + b, "multiply": lambda a, b: a * b}


class Person(BaseModel):
    """A person."""

    name: str


def number_tool(name):
    def work(a: int, b: int) -> int:
        return VALUES.get(name, max)(a, b)

    return StructuredTool.from_function(work, name=name, description=f"{name} of two numbers")


TOOLS = [number_tool(name) for name in ("add", "multiply")]


@pytest.fixture
def unused(openai_model):
    """The agent's own model, which must never be called."""
    return openai_model("unused-model")


def models_of(server):
    return [body["model"] for body in server.sent()]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_agent_of_two_to_eight_tools_calls_the_pool_alone(make, unused, server, count, is_async):
    names = ["add", "multiply", *(n for n in NAMES if n not in ("add", "multiply"))][:count]
    pool = make(("small", 3 if count % 2 else 1))
    agent = create_agent(unused, tools=[number_tool(n) for n in names], middleware=[BestRouteMiddleware(pool)])
    out = await agent.ainvoke(ASK) if is_async else agent.invoke(ASK)
    assert [m.content for m in out["messages"] if isinstance(m, ToolMessage)] == ["5", "35"]
    assert out["messages"][-1].text.endswith("tool said: 5 | tool said: 35")
    assert set(models_of(server)) == {"small-mini"}
    assert {len(body["tools"]) for body in server.sent()} == {count}


def test_the_state_holds_what_all_calls_cost_and_the_last_decision(make, unused):
    pool = make(("small", 3))
    out = create_agent(unused, tools=TOOLS, middleware=[BestRouteMiddleware(pool)]).invoke(ASK)
    state = out["bestroute"]
    assert state["calls"] == 3
    assert state["samples"] == len(pool.ledger.rows()) == 9
    assert state["by_model"] == {"small": 3}
    assert state["cost_usd"] == pytest.approx(pool.ledger.cost_usd)
    assert state["reference_cost_usd"] == pytest.approx(pool.ledger.reference_cost_usd)
    assert state["last"]["plan"] == [{"model": "small", "n": 3, "accept": None}]
    assert json.loads(json.dumps(state)) == state


def test_a_plan_of_several_steps_runs_in_an_agent(make, unused, server):
    from bestroute import Plan, Step

    pool = make(lambda q: Plan((Step("small", 2, accept=1.0), Step("large"))), reward_model=MajorityVote())
    out = create_agent(unused, tools=TOOLS, middleware=[BestRouteMiddleware(pool)]).invoke(ASK)
    assert [m.content for m in out["messages"] if isinstance(m, ToolMessage)] == ["5", "35"]
    assert out["bestroute"]["samples"] == len(server.sent())


def test_each_call_is_decided_anew_but_a_tool_turn_stays_with_its_model(make, unused, server):
    answers = iter(["small", "large", "large", "large"])
    pool = make(lambda q: (next(answers), 1))
    agent = create_agent(unused, tools=TOOLS, middleware=[BestRouteMiddleware(pool)], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    agent.invoke(ASK, config)
    assert models_of(server) == ["small-mini"] * 3
    out = agent.invoke({"messages": [("user", "and now?")]}, config)
    assert models_of(server)[3:] == ["large-max"]
    assert out["bestroute"]["by_model"] == {"small": 3, "large": 1}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_turn_stays_with_its_model_where_other_middleware_wrote_the_messages_anew(
    make, unused, server, is_async
):
    class Anew(AgentMiddleware):
        """Hands on messages without their metadata, as trimming and redacting do."""

        def _plain(self, request):
            return request.override(
                messages=[
                    AIMessage(m.content, tool_calls=m.tool_calls) if isinstance(m, AIMessage) else m
                    for m in request.messages
                ]
            )

        def wrap_model_call(self, request, handler):
            return handler(self._plain(request))

        async def awrap_model_call(self, request, handler):
            return await handler(self._plain(request))

    answers = iter(["small", "large", "large", "large"])
    pool = make(lambda q: (next(answers), 1))
    agent = create_agent(unused, tools=TOOLS, middleware=[Anew(), BestRouteMiddleware(pool)])
    _ = await agent.ainvoke(ASK) if is_async else agent.invoke(ASK)
    assert models_of(server) == ["small-mini"] * 3


def test_a_thread_goes_on_in_another_process_and_is_the_conversation_of_the_ledger(make, unused, server):
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "t-7"}}
    turns = iter(["small", *["large"] * 9])

    def build():
        pool = make(lambda q: (next(turns), 1))
        seen_threads.append(pool)
        return create_agent(
            unused,
            tools=TOOLS,
            middleware=[BestRouteMiddleware(pool)],
            checkpointer=saver,
            interrupt_after=["tools"],
        )

    seen_threads: list[BestRouteChat] = []
    build().invoke(ASK, config)
    build().invoke(None, config)
    out = build().invoke(None, config)
    assert models_of(server) == ["small-mini"] * 3
    assert out["bestroute"]["calls"] == 3
    assert out["bestroute"]["cost_usd"] == pytest.approx(sum(pool.ledger.cost_usd for pool in seen_threads))


def test_the_thread_is_the_session_of_the_call(make, unused, monkeypatch):
    pool, threads = make(), []
    run = type(pool.engine).run
    monkeypatch.setattr(type(pool.engine), "run", lambda self, q, **o: threads.append(o["thread"]) or run(self, q, **o))
    agent = create_agent(unused, tools=TOOLS, middleware=[BestRouteMiddleware(pool)], checkpointer=InMemorySaver())
    agent.invoke(ASK, {"configurable": {"thread_id": "t-9"}})
    assert threads == ["t-9"] * 3


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    "strategy", [Person, ToolStrategy(Person), ProviderStrategy(Person)], ids=["auto", "tool", "own"]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_response_format_of_the_agent_is_answered(make, unused, n, strategy, is_async):
    agent = create_agent(
        unused, tools=TOOLS[:1], response_format=strategy, middleware=[BestRouteMiddleware(make(("small", n)))]
    )
    ask = {"messages": [("user", "'Ann' is the name")]}
    out = await agent.ainvoke(ask) if is_async else agent.invoke(ask)
    assert out["structured_response"] == Person(name="Ann")
    assert out["bestroute"]["samples"] == n * out["bestroute"]["calls"]


def test_tools_that_other_middleware_leaves_out_are_not_offered(make, unused, server):
    @wrap_model_call
    def only_adding(request, handler):
        return handler(request.override(tools=[t for t in request.tools if t.name == "add"]))

    agent = create_agent(unused, tools=TOOLS, middleware=[only_adding, BestRouteMiddleware(make())])
    agent.invoke({"messages": [("user", 'CALL add({"a": 2, "b": 3})')]})
    assert [[t["function"]["name"] for t in body["tools"]] for body in server.sent()] == [["add"], ["add"]]


@pytest.mark.parametrize("n", [1, 3])
async def test_an_agent_streams_the_winner_and_nothing_else(make, unused, n):
    agent = create_agent(unused, tools=TOOLS, middleware=[BestRouteMiddleware(make(("small", n)))])
    ask = {"messages": [("user", "hello")]}
    chunks = [chunk async for chunk, _ in agent.astream(ask, stream_mode="messages")]
    text = "".join(chunk.text for chunk in chunks)
    assert text.count("answer q=") == 1
    assert len(chunks) > 2 or n > 1
    updates = [update async for update in agent.astream(ask, stream_mode="updates")]
    written = [value for update in updates for value in update.values() if "bestroute" in value]
    assert written[-1]["bestroute"]["samples"] == n


def test_a_fallback_after_it_answers_where_the_pool_cannot(make, unused, openai_model, server):
    pool = make(models={"small": openai_model("fail-500-a"), "large": openai_model("fail-500-b")}, max_retries=0)
    agent = create_agent(
        unused,
        tools=TOOLS,
        middleware=[BestRouteMiddleware(pool), ModelFallbackMiddleware(openai_model("spare-model"))],
    )
    out = agent.invoke({"messages": [("user", "hello")]})
    assert out["messages"][-1].text.startswith("[spare-model")
    assert out["bestroute"] == {}


def test_an_answer_from_the_cache_costs_the_thread_nothing(make, unused):
    from langchain_core.caches import InMemoryCache
    from langchain_core.globals import set_llm_cache

    set_llm_cache(InMemoryCache())
    pool = make()
    agent = create_agent(unused, tools=TOOLS, middleware=[BestRouteMiddleware(pool)], checkpointer=InMemorySaver())
    for thread in "ab":
        out = agent.invoke({"messages": [("user", "hello")]}, {"configurable": {"thread_id": thread}})
    assert len(pool.ledger.rows()) == 1
    assert (out["bestroute"]["calls"], out["bestroute"]["samples"], out["bestroute"]["cost_usd"]) == (1, 0, 0.0)


MARK = {"type": "ephemeral", "ttl": "5m"}


@pytest.fixture
def mixed_pool(openai_model, server):
    """A member of Anthropic and one of OpenAI, the answer by whom the question names."""
    anthropic = pytest.importorskip("langchain_anthropic")
    from bestroute import Price

    claude = anthropic.ChatAnthropic(model="claude-x", base_url=server.root_url, api_key="k", max_retries=0)
    return claude, BestRouteChat(
        models={"claude": claude, "gpt": openai_model("gpt-x")},
        prices={"claude": Price(1, 2), "gpt": Price(10, 20)},
        router=lambda query: query.text.split()[0],
    )


@pytest.mark.parametrize("is_async", [False, True])
async def test_anthropics_prompt_caching_before_it_marks_what_goes_to_anthropic_alone(mixed_pool, server, is_async):
    from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware

    claude, pool = mixed_pool
    middleware = [AnthropicPromptCachingMiddleware(), BestRouteMiddleware(pool)]
    agent = create_agent(claude, tools=TOOLS, system_prompt="be brief", middleware=middleware)
    for name in ("claude", "gpt"):
        ask = {"messages": [("user", f"{name} {TWO_STEPS}")]}
        out = await agent.ainvoke(ask) if is_async else agent.invoke(ask)
        assert out["bestroute"]["by_model"] == {name: 3}
    bodies = [request["body"] for request in server.requests]
    for body in bodies[:3]:
        assert (
            body["cache_control"] == body["system"][-1]["cache_control"] == body["tools"][-1]["cache_control"] == MARK
        )
    assert "cache_control" not in json.dumps(bodies[3:])
    assert bodies[3]["messages"][0]["content"] == [{"type": "text", "text": "be brief"}]


def test_anthropics_prompt_caching_after_it_says_that_it_does_nothing(mixed_pool, server):
    from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware

    claude, pool = mixed_pool
    agent = create_agent(claude, middleware=[BestRouteMiddleware(pool), AnthropicPromptCachingMiddleware()])
    with pytest.warns(UserWarning, match="only supports Anthropic models"):
        agent.invoke({"messages": [("user", "claude hello")]})
    assert "cache_control" not in json.dumps([request["body"] for request in server.requests])


def test_what_is_no_pool_is_refused(unused):
    with pytest.raises(ConfigError, match="takes a BestRouteChat, got"):
        BestRouteMiddleware(unused)


def test_the_package_imports_without_langchain_and_says_what_the_middleware_needs():
    code = """
import sys
for name in ("langchain", "langgraph"):
    sys.modules[name] = None
import langchain_bestroute
assert langchain_bestroute.BestRouteChat
assert "langchain.agents" not in sys.modules
try:
    langchain_bestroute.BestRouteMiddleware
except ImportError as error:
    assert "BestRouteMiddleware needs langchain" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_members_named_as_for_init_chat_model_are_an_agents_pool(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    from bestroute import Price

    pool = BestRouteChat(
        models={"small": "openai:small-mini", "large": "openai:large-max"},
        prices={"small": Price(1, 2), "large": Price(10, 20)},
        router=lambda query: "small",
    )
    out = create_agent("openai:unused", tools=TOOLS, middleware=[BestRouteMiddleware(pool)]).invoke(ASK)
    assert out["bestroute"]["by_model"] == {"small": 3}


def test_a_graphs_edge_asks_the_pool_where_to_go(make, server):
    from langgraph.graph import END, START, StateGraph
    from langgraph.graph.message import add_messages
    from typing_extensions import TypedDict

    class State(TypedDict):
        messages: Annotated[list, add_messages]

    pool = make(lambda query: "small" if len(query.text) < 10 else "large")
    graph = StateGraph(State)
    for name in ("small", "large"):
        graph.add_node(name, lambda state, name=name: {"messages": [AIMessage(f"{name} node")]})
        graph.add_edge(name, END)
    graph.add_conditional_edges(START, lambda state: pool.route(state["messages"]).model, ["small", "large"])
    app = graph.compile()
    assert app.invoke({"messages": [("user", "short")]})["messages"][-1].text == "small node"
    assert app.invoke({"messages": [("user", "a longer question")]})["messages"][-1].text == "large node"
    assert server.sent() == []


async def test_a_decision_alone_is_that_of_the_call(make):
    pool = make(lambda query: ("small", 3))
    assert (pool.route("hi").model, pool.route("hi").n) == ("small", 3)
    assert (await pool.aroute("hi", n=1)).n == 1
    message = pool.invoke("hi", model="large")
    call = AIMessage(
        "", tool_calls=[{"name": "add", "args": {}, "id": "1"}], response_metadata=message.response_metadata
    )
    turn = [("user", "hi"), call, ToolMessage("5", tool_call_id="1")]
    assert pool.route(turn).reason == "a tool turn stays with the model that made the call"
    assert pool.route(turn).model == "large"
