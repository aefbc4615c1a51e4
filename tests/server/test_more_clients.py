"""Clients that no environment of ours installs: where one is there, it asks the server as it asks OpenAI."""

import asyncio

import pytest

QUESTION = "What is 2 + 2?"
CALLS_ADD = 'Please CALL add({"a": 1, "b": 2})'


@pytest.fixture
def url(served, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return served.base_url


def test_litellm_asks_for_chat_completions_and_responses(url):
    litellm = pytest.importorskip("litellm")
    call = {"model": "openai/auto", "api_base": url, "api_key": "none"}
    messages = [{"role": "user", "content": QUESTION}]
    assert litellm.completion(messages=messages, **call).choices[0].message.content.endswith(QUESTION)
    pieces = litellm.completion(messages=messages, stream=True, **call)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces).endswith(QUESTION)
    response = litellm.responses(input=QUESTION, **call)
    assert response.output[0].content[0].text.endswith(QUESTION)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.parametrize("kind", ["OpenAIChatModel", "OpenAIResponsesModel"])
def test_pydantic_ai_runs_an_agent(url, kind):
    pydantic_ai = pytest.importorskip("pydantic_ai")
    import pydantic
    from pydantic_ai.models import openai as models
    from pydantic_ai.providers.openai import OpenAIProvider

    model = getattr(models, kind)("auto", provider=OpenAIProvider(base_url=url, api_key="none"))

    async def main():
        assert (await pydantic_ai.Agent(model).run(QUESTION)).output.endswith(QUESTION)
        async with pydantic_ai.Agent(model).run_stream(QUESTION) as stream:
            assert (await stream.get_output()).endswith(QUESTION)
        agent = pydantic_ai.Agent(model, tools=[add])
        found = await agent.run(CALLS_ADD)
        parts = [type(part).__name__ for message in found.all_messages() for part in message.parts]
        assert "ToolReturnPart" in parts
        point = pydantic.create_model("Point", x=(int, ...), y=(int, ...))
        output = (await pydantic_ai.Agent(model, output_type=pydantic_ai.NativeOutput(point)).run("A point.")).output
        assert isinstance(output.x, int)

    asyncio.run(main())


def test_dspy_predicts(url):
    dspy = pytest.importorskip("dspy")
    lm = dspy.LM("openai/auto", api_base=url, api_key="none", cache=False)
    (text,) = lm(QUESTION)
    assert (text if isinstance(text, str) else text["text"]).endswith(QUESTION)
    lm = dspy.LM("openai/auto", api_base=url, api_key="none", cache=False, model_type="responses")
    (text,) = lm(QUESTION)
    assert (text if isinstance(text, str) else text["text"]).endswith(QUESTION)


@pytest.mark.parametrize("kind", ["OpenAIChatCompletionsModel", "OpenAIResponsesModel"])
def test_the_openai_agents_sdk_runs_an_agent(url, kind):
    agents = pytest.importorskip("agents")
    if not hasattr(agents, "Runner"):
        pytest.skip("the module agents is another package's")
    import openai

    agents.set_tracing_disabled(True)

    async def main():
        client = openai.AsyncOpenAI(base_url=url, api_key="none")
        model = getattr(agents, kind)(model="auto", openai_client=client)
        agent = agents.Agent(name="adder", model=model, tools=[agents.function_tool(add)])
        found = await agents.Runner.run(agent, CALLS_ADD)
        kinds = [type(item).__name__ for item in found.new_items]
        assert kinds == ["ToolCallItem", "ToolCallOutputItem", "MessageOutputItem"]
        streamed = agents.Runner.run_streamed(agent, CALLS_ADD)
        seen_types = [event.type async for event in streamed.stream_events()]
        assert "raw_response_event" in seen_types
        assert streamed.final_output
        await client.close()

    asyncio.run(main())
