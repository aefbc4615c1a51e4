"""OpenTelemetry through BestRouteChat, also beside OpenInference's instrumentor, whose tokens are counted once."""

import importlib.util

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bestroute.monitoring.tracing.spans import Tracing


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def spans(exporter, start):
    return [span for span in exporter.get_finished_spans() if span.name.startswith(start)]


async def answers(chat):
    """Return the message of each way to call a model."""
    whole = chat.invoke("a")
    pieces = list(chat.stream("a"))
    later = await chat.ainvoke("a")
    streamed = [piece async for piece in chat.astream("a")]
    summed = pieces[0]
    for piece in pieces[1:]:
        summed = summed + piece
    last = streamed[0]
    for piece in streamed[1:]:
        last = last + piece
    return [whole, summed, later, last]


@pytest.mark.parametrize("plan", [("small", 1), ("small", 3)])
async def test_every_way_of_calling_has_its_spans(make, exporter, provider, plan):
    chat = make(plan, tracing=Tracing(provider))
    messages = await answers(chat)
    calls, draws = spans(exporter, "invoke_workflow"), spans(exporter, "chat")
    assert len(calls) == 4
    ids = {message.response_metadata["bestroute"]["call_id"] for message in messages}
    assert {call.attributes["bestroute.call_id"] for call in calls} == ids
    assert len(draws) == 4 * plan[1]
    draw = draws[0].attributes
    assert (draw["gen_ai.provider.name"], draw["gen_ai.request.model"]) == ("openai", "small-mini")
    assert draw["gen_ai.response.model"] == messages[0].response_metadata["model_name"]
    billed = sum(message.usage_metadata["output_tokens"] for message in messages)
    assert sum(span.attributes["gen_ai.usage.output_tokens"] for span in draws) == billed


def test_a_copy_keeps_its_tracing_and_it_may_be_set_later(make, exporter, provider):
    chat = make()
    chat.invoke("a")
    assert not exporter.get_finished_spans()
    chat.tracing = Tracing(provider)
    chat.bind_tools([]).invoke("a")
    chat.model_copy(deep=True).invoke("a")
    assert len(spans(exporter, "invoke_workflow")) == 2


@pytest.mark.skipif(
    importlib.util.find_spec("openinference") is None,
    reason="needs openinference-instrumentation-langchain, which the tests do not install",
)
def test_beside_openinference_each_kind_of_name_adds_up_to_the_bill(make, exporter, provider):
    from openinference.instrumentation.langchain import LangChainInstrumentor

    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        message = make(("small", 3), tracing=Tracing(provider)).invoke("a")
    finally:
        instrumentor.uninstrument()
    every = exporter.get_finished_spans()
    billed = message.usage_metadata["output_tokens"]
    for name in ("gen_ai.usage.output_tokens", "llm.token_count.completion"):
        assert sum(span.attributes.get(name, 0) for span in every) == billed
