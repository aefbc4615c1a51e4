"""Requirement 32: ``FunctionAgent``, ``ReActAgent`` and ``AgentWorkflow``; tool turns stay with their model."""

import json
import re

import pytest
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.memory import Memory
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context, JsonSerializer

CALLS = 'CALL add({"a": 2, "b": 3}) then CALL multiply({"a": 5, "b": 7})'


def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two integers."""
    return a * b


class Alternating:
    """Decides for another model on every call: what a router that looks at one call does to an agent."""

    def __init__(self, n=1):
        self.calls, self.n = 0, n

    def __call__(self, query):
        self.calls += 1
        return ("small", "large")[(self.calls - 1) % 2], self.n


async def run(agent, text=CALLS, **options):
    handler = agent.run(text, **options)
    streamed = [event.delta async for event in handler.stream_events() if isinstance(event, AgentStream)]
    return await handler, "".join(streamed)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_function_agent_calls_its_tools_and_answers(make, server, streaming, n):
    llm = make(("small", n))
    result, streamed = await run(FunctionAgent(tools=[add, multiply], llm=llm, streaming=streaming))
    assert "tool said: 5 | tool said: 35" in str(result)
    assert [call.tool_name for call in result.tool_calls] in ([], ["add", "multiply"])
    if streaming:
        assert streamed.count("[small-mini#") == 1
    billed = server.usage
    rows = llm.ledger.rows()
    assert sum(row["input_tokens"] for row in rows) == billed["input"]
    assert sum(row["output_tokens"] for row in rows) == billed["output"]


@pytest.mark.parametrize("count", [2, 5, 8])
async def test_a_function_agent_has_two_to_eight_tools(make, server, count):
    others = [FunctionTool.from_defaults(add, name=f"add_{i}", description="Add.") for i in range(count - 2)]
    result, _ = await run(FunctionAgent(tools=[add, *others, multiply], llm=make(("small", 1 + count % 2))))
    assert "tool said: 5 | tool said: 35" in str(result)
    assert {len(body["tools"]) for body in server.sent()} == {count}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_tool_turn_stays_with_its_model_and_the_next_question_is_free(make, server, streaming, n):
    agent = FunctionAgent(tools=[add, multiply], llm=make(Alternating(n)), streaming=streaming)
    memory = Memory.from_defaults(session_id="x")
    await run(agent, memory=memory)
    assert {body["model"] for body in server.sent()} == {"small-mini"}
    server.requests.clear()
    await run(agent, memory=memory)  # its history holds the first turn
    assert len({body["model"] for body in server.sent()}) == 1
    for body in server.sent():
        announced = {c["id"] for m in body["messages"] for c in m.get("tool_calls") or []}
        assert {m["tool_call_id"] for m in body["messages"] if m["role"] == "tool"} <= announced
        assert "bestroute" not in json.dumps(body)


async def test_a_context_that_was_stored_goes_on(make, told):
    agent = FunctionAgent(tools=[add, multiply], llm=make())
    context = Context(agent)
    await agent.run(CALLS, ctx=context)
    stored = json.loads(json.dumps(context.to_dict(serializer=JsonSerializer())))
    result = await agent.run("and now hello", ctx=Context.from_dict(agent, stored, serializer=JsonSerializer()))
    assert "hello" in str(result)


async def test_a_workflow_of_two_agents_hands_over(make, server):
    llm = make(("small", 2))
    first = FunctionAgent(name="first", description="Adds.", tools=[add], llm=llm, can_handoff_to=["second"])
    second = FunctionAgent(name="second", description="Multiplies.", tools=[multiply], llm=llm)
    workflow = AgentWorkflow(agents=[first, second], root_agent="first")
    text = 'CALL add({"a": 2, "b": 3}) then CALL handoff({"to_agent": "second", "reason": "x"}) '
    result, _ = await run(workflow, text + 'then CALL multiply({"a": 5, "b": 7})')
    assert "tool said: 35" in str(result)
    assert result.current_agent_name == "second"


async def test_a_workflow_from_functions(make):
    workflow = AgentWorkflow.from_tools_or_functions([add, multiply], llm=make())
    result, _ = await run(workflow)
    assert "tool said: 5 | tool said: 35" in str(result)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_react_agent_thinks_acts_and_answers(make, server, streaming, n):
    def think(model, messages):
        observed = [m["content"] for m in messages if str(m["content"]).startswith("Observation")]
        if observed:
            return f"Thought: I can answer.\nAnswer: it is {re.findall(r'[0-9]+', observed[-1])[0]}"
        return 'Thought: I need a tool.\nAction: add\nAction Input: {"a": 2, "b": 3}'

    server.answers = think
    seen = []

    def route(query):
        seen.append(query.text)
        return ("small", n)

    agent = ReActAgent(tools=[add, multiply], llm=make(route), streaming=streaming)
    result, _ = await run(agent, "What is 2 + 3?")
    assert str(result) == "it is 5"
    assert set(seen) == {"What is 2 + 3?"}, "its notes are not the question"
    assert len(server.requests) == 2 * n
