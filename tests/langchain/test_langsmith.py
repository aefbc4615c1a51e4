"""What LangSmith gets of a call: dollars beside tokens, samples as child runs, the run's id as the call's."""

import json
import pickle
import uuid
from unittest import mock

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.load import dumpd
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_usage
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.langchain import LangChainTracer


class Runs(BaseTracer):
    """Keeps every root run."""

    def __init__(self):
        super().__init__()
        self.roots = []

    def _persist_run(self, run):
        self.roots.append(run)


def whole(chunks):
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


async def call(chat, way, chunks=None, **config):
    """Return the message; of a stream the sum of its chunks, those with a usage being kept apart."""
    if way == "invoke":
        return chat.invoke("a", config)
    if way == "ainvoke":
        return await chat.ainvoke("a", config)
    if way == "stream":
        pieces = list(chat.stream("a", config))
    else:
        pieces = [chunk async for chunk in chat.astream("a", config)]
    if chunks is not None:
        chunks += [chunk for chunk in pieces if chunk.usage_metadata]
    return whole(pieces)


WAYS = ["invoke", "ainvoke", "stream", "astream"]


@pytest.mark.parametrize("plan", [("small", 1), ("small", 3)])
@pytest.mark.parametrize("way", WAYS)
async def test_a_message_tells_dollars_that_add_up_to_the_bill(make, told, way, plan):
    chunks = []
    message = await call(make(plan), way, chunks)
    usage, about = (chunks[-1] if chunks else message).usage_metadata, told(message)
    assert usage["total_cost"] == about["cost_usd"] > 0
    assert usage["input_cost"] + usage["output_cost"] == pytest.approx(usage["total_cost"])
    assert usage["output_cost"] == pytest.approx(usage["output_tokens"] * 2.0 / 1e6)


@pytest.mark.parametrize("way", WAYS)
async def test_usages_with_dollars_are_added_up_by_langchains_counters(make, way):
    handler, chat = UsageMetadataCallbackHandler(), make(("small", 2))
    messages = [await call(chat, way, callbacks=[handler]) for _ in range(3)]
    (counted,) = handler.usage_metadata.values()
    assert counted["output_tokens"] == sum(message.usage_metadata["output_tokens"] for message in messages)


def test_usages_of_two_answers_add_up_as_tokens(make):
    chat = make()
    one, other = chat.invoke("a").usage_metadata, chat.invoke("b").usage_metadata
    assert add_usage(one, other)["total_tokens"] == one["total_tokens"] + other["total_tokens"]
    tokens = {name: value for name, value in one.items() if not name.endswith("_cost")}
    assert one == tokens == pickle.loads(pickle.dumps(one))
    assert pickle.loads(pickle.dumps(one))["total_cost"] == one["total_cost"]


@pytest.mark.parametrize("way", WAYS)
async def test_langsmith_is_sent_tokens_and_dollars(make, told, way):
    client = mock.MagicMock()
    client.tracing_queue = None
    tracer = LangChainTracer(client=client)
    message = await call(make(("small", 2)), way, callbacks=[tracer])
    sent = [one.kwargs for one in client.update_run.call_args_list]
    (run,) = [each for each in sent if "usage_metadata" in (each.get("extra") or {}).get("metadata", {})]
    usage = run["extra"]["metadata"]["usage_metadata"]
    assert usage["total_cost"] == told(message)["cost_usd"]
    assert json.loads(json.dumps(usage))["input_cost"] == usage["input_cost"]
    assert usage["output_tokens"] == message.usage_metadata["output_tokens"]
    assert str(run["run_id"]) == told(message)["call_id"]


@pytest.mark.parametrize("plan", [("small", 1), ("small", 3)])
@pytest.mark.parametrize("way", WAYS)
async def test_samples_are_child_runs_in_every_way_of_calling(make, way, plan):
    tracer = Runs()
    message = await call(make(plan, trace_samples=True), way, callbacks=[tracer])
    (root,) = tracer.roots
    assert [child.name for child in root.child_runs] == ["sample of small"] * plan[1]
    assert all(child.run_type == "chain" and child.end_time is not None for child in root.child_runs)
    texts = [child.outputs["samples"][0]["text"] for child in root.child_runs]
    assert message.text in texts


def test_a_stream_that_is_left_ends_its_sample(make):
    tracer = Runs()
    stream = make(trace_samples=True).stream("a", {"callbacks": [tracer]})
    next(stream)
    stream.close()
    (root,) = tracer.roots
    assert [child.end_time is not None for child in root.child_runs] == [True]


def test_unless_it_is_wished_for_there_are_none(make):
    tracer = Runs()
    list(make().stream("a", {"callbacks": [tracer]}))
    assert tracer.roots[0].child_runs == []


@pytest.mark.parametrize("way", WAYS)
async def test_the_calls_id_is_the_runs(make, told, way):
    chat, run_id = make(), uuid.uuid4()
    message = await call(chat, way, run_id=run_id)
    assert told(message)["call_id"] == str(run_id)
    assert {row["call_id"] for row in chat.ledger.rows()} == {str(run_id)}
    chat.feedback(str(run_id), 1.0)


def test_a_run_id_that_is_used_twice_does_not_join_two_calls(make, told):
    chat, run_id = make(budget=1.0), uuid.uuid4()
    one, other = (told(chat.invoke("a", {"run_id": run_id})) for _ in range(2))
    assert one["call_id"] == str(run_id) != other["call_id"]
    assert chat.budget.spent_usd == pytest.approx(one["cost_usd"] + other["cost_usd"])


@pytest.mark.parametrize("way", WAYS)
async def test_messages_that_were_streamed_or_saved_can_be_added_up(make, way):
    chat = make()
    one, other = await call(chat, way), await call(chat, way)
    saved = AIMessageChunk(content="", usage_metadata=dumpd(one)["kwargs"]["usage_metadata"])
    for usage in (one.usage_metadata, saved.usage_metadata):
        total = add_usage(usage, other.usage_metadata)
        assert total["total_tokens"] == usage["total_tokens"] + other.usage_metadata["total_tokens"]
