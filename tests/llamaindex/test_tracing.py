"""OpenTelemetry through BestRouteLLM, also beside OpenInference's instrumentor, whose tokens are counted once."""

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


@pytest.mark.parametrize("plan", [("small", 1), ("small", 3)])
async def test_every_way_of_calling_has_its_spans(make, user, exporter, provider, plan):
    llm = make(plan, tracing=Tracing(provider))
    responses = [llm.complete("a"), list(llm.stream_complete("a"))[-1], await llm.acomplete("a")]
    responses.append([each async for each in await llm.astream_complete("a")][-1])
    chats = [llm.chat(user("a")), list(llm.stream_chat(user("a")))[-1], await llm.achat(user("a"))]
    calls, draws = spans(exporter, "invoke_workflow"), spans(exporter, "chat")
    ids = {each.additional_kwargs["bestroute"]["call_id"] for each in responses}
    ids |= {each.message.additional_kwargs["bestroute"]["call_id"] for each in chats}
    assert {call.attributes["bestroute.call_id"] for call in calls} == ids
    assert len(calls) == 7
    assert len(draws) == 7 * plan[1]
    assert draws[0].attributes["gen_ai.request.model"] == "small-mini"
    assert draws[0].attributes["gen_ai.response.model"] == "small-mini"
    billed = sum(each.raw["usage"]["completion_tokens"] for each in (*responses, *chats))
    assert sum(span.attributes["gen_ai.usage.output_tokens"] for span in draws) == billed


@pytest.mark.skipif(
    importlib.util.find_spec("openinference") is None,
    reason="needs openinference-instrumentation-llama-index, which the tests do not install",
)
def test_beside_openinference_each_kind_of_name_adds_up_to_the_bill(make, user, exporter, provider):
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    instrumentor = LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        response = make(("small", 3), tracing=Tracing(provider)).chat(user("a"))
    finally:
        instrumentor.uninstrument()
    every = exporter.get_finished_spans()
    billed = response.raw["usage"]["completion_tokens"]
    for name in ("gen_ai.usage.output_tokens", "llm.token_count.completion"):
        assert sum(span.attributes.get(name, 0) for span in every) == billed
