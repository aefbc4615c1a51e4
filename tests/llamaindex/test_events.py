"""Requirement 28: one callback event a call, token counters that are right, the router's span around its members'."""

import pytest
from llama_index.core import Settings
from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import (
    CallbackManager,
    CBEventType,
    EventPayload,
    LlamaDebugHandler,
    TokenCountingHandler,
)
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span import SimpleSpan
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler

METHODS = [
    "chat",
    "stream_chat",
    "achat",
    "astream_chat",
    "complete",
    "stream_complete",
    "acomplete",
    "astream_complete",
]


async def ask(llm, method, user):
    """Ask by any method and use up its stream."""
    reply = getattr(llm, method)("how are you" if "complete" in method else user("how are you"))
    if method.startswith("a"):
        reply = await reply
    if method.startswith("stream"):
        return list(reply)[-1]
    return [r async for r in reply][-1] if method.startswith("astream") else reply


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", ["own", "settings", "settings_late"])
async def test_exactly_one_event_and_the_tokens_of_all_samples(make, server, user, n, method, where):
    counter, debug = TokenCountingHandler(tokenizer=str.split), LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([counter, debug])
    if where == "settings":
        Settings.callback_manager = manager
    llm = make(("small", n), **({"callback_manager": manager} if where == "own" else {}))
    if where == "settings_late":
        Settings.llm = llm
        Settings.callback_manager = manager
        llm = Settings.llm
    await ask(llm, method, user)
    assert len(counter.llm_token_counts) == 1
    assert len(debug.get_event_pairs(CBEventType.LLM)) == 1
    assert counter.prompt_llm_token_count == server.usage["input"]
    assert counter.completion_llm_token_count == server.usage["output"]


async def test_an_error_ends_the_event_too(make, like, user):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    llm = make(models={"small": like("fail-429-x")}, callback_manager=CallbackManager([debug]), max_retries=0)
    for method in METHODS:
        with pytest.raises(Exception, match="429"):
            await ask(llm, method, user)
    pairs = debug.get_event_pairs(CBEventType.LLM)
    assert len(pairs) == len(METHODS)
    assert all(len(pair) == 2 for pair in pairs)


class Told(BaseCallbackHandler):
    """Notes what a handler is told, in order."""

    def __init__(self):
        super().__init__([], [])
        self.told = []

    def start_trace(self, trace_id=None):
        self.told.append(f"trace {trace_id}")

    def end_trace(self, trace_id=None, trace_map=None):
        self.told.append(f"end of trace {trace_id}")

    def on_event_start(self, event_type, payload=None, event_id="", parent_id="", **kwargs):
        self.told.append(f"{event_type.value} {sorted(map(str, payload))}")
        return event_id

    def on_event_end(self, event_type, payload=None, event_id="", **kwargs):
        self.told.append(f"end of {event_type.value} {sorted(map(str, payload))}")


@pytest.mark.parametrize("method", METHODS)
async def test_handlers_are_told_what_the_member_alone_tells_them_in_the_same_order(make, like, user, method):
    alone, pooled = Told(), Told()
    member = like("small-mini", callback_manager=CallbackManager([alone]))
    llm = make(models={"small": like("small-mini")}, callback_manager=CallbackManager([pooled]))
    for model in (member, llm):
        await ask(model, method, user)
    assert pooled.told == alone.told


@pytest.mark.parametrize("method", ["chat", "achat", "complete", "acomplete"])
async def test_handlers_are_told_of_an_exception_as_of_the_member_alone(make, like, user, method):
    alone, pooled = Told(), Told()
    member = like("fail-400-x", callback_manager=CallbackManager([alone]))
    llm = make(models={"small": like("fail-400-x")}, callback_manager=CallbackManager([pooled]), max_retries=0)
    for model in (member, llm):
        with pytest.raises(Exception, match="400"):
            await ask(model, method, user)
    assert pooled.told == alone.told
    assert f"exception {[str(EventPayload.EXCEPTION)]}" in pooled.told


@pytest.mark.parametrize("model", ["fail-400-x", "drop-2-x"])
@pytest.mark.parametrize("method", [name for name in METHODS if "stream" in name])
async def test_a_stream_that_fails_is_an_exception_to_the_dispatcher_before_its_first_piece_and_after(
    make, like, user, root, method, model
):
    events, _ = root
    llm = make(models={"small": like(model)}, max_retries=0)
    with pytest.raises(Exception, match="400|broke off"):
        await ask(llm, method, user)
    own = [event for event in events.seen if event.span_id == events.seen[0].span_id]
    assert len([event for event in own if isinstance(event, ExceptionEvent)]) == 1


def read_usage(events):
    """What somebody who adds up the tokens of all events gets."""
    read = [get_tokens_from_response(event.response) for event in events]
    return {"input": sum(prompt for prompt, _ in read), "output": sum(output for _, output in read)}


@pytest.mark.parametrize(("n", "bills_input"), [(1, "per_sample"), (3, "per_sample"), (3, "once")])
@pytest.mark.parametrize("method", METHODS)
async def test_the_usage_of_all_events_adds_up_to_the_bill_once(make, server, user, root, method, n, bills_input):
    events, _ = root
    events.seen.clear()
    response = await ask(make(("small", n), bills_input=bills_input), method, user)
    ends = [e for e in events.seen if isinstance(e, LLMChatEndEvent | LLMCompletionEndEvent)]
    assert read_usage(ends) == server.usage
    assert response.raw["usage"]["prompt_tokens"] == server.usage["input"], "the caller is told the whole bill"


@pytest.mark.parametrize("method", METHODS)
async def test_what_no_members_event_tells_is_told_by_the_routers(make, like, user, root, method):
    events, _ = root
    events.seen.clear()
    llm = make(models={"small": like("nousage-x")})
    await ask(llm, method, user)
    ends = [e for e in events.seen if isinstance(e, LLMChatEndEvent | LLMCompletionEndEvent)]
    (row,) = llm.ledger.rows()
    assert row["estimated"]
    assert read_usage(ends) == {"input": row["input_tokens"], "output": row["output_tokens"]}


class Results(SimpleSpanHandler):
    ended: dict = Field(default_factory=dict)  # results by the span's method

    def prepare_to_exit_span(self, id_, bound_args, instance=None, result=None, **kwargs):
        self.ended[id_.partition("-")[0]] = result
        return super().prepare_to_exit_span(id_, bound_args, instance, result, **kwargs)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("method", METHODS)
async def test_the_routers_span_has_the_answer_as_its_output(make, user, root, method, n):
    results = Results()
    get_dispatcher().add_span_handler(results)
    response = await ask(make(("small", n)), method, user)
    assert results.ended[f"BestRouteLLM.{method}"] == response
    assert results.open_spans == {}


async def test_a_stream_that_is_left_ends_its_span_with_what_has_been_read(make, user, root):
    results = Results()
    get_dispatcher().add_span_handler(results)
    stream = make().stream_chat(user("how are you"))
    first = next(stream)
    stream.close()
    assert results.ended["BestRouteLLM.stream_chat"] == first


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("method", ["chat", "complete"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_stream_that_nobody_reads_is_closed_billed_and_ends_its_span(make, user, root, method, is_async, n):
    results, llm = Results(), make(("small", n))
    get_dispatcher().add_span_handler(results)
    subject = "how are you" if method == "complete" else user("how are you")
    if is_async:
        await (await getattr(llm, f"astream_{method}")(subject)).aclose()
    else:
        getattr(llm, f"stream_{method}")(subject).close()
    assert results.open_spans == {}
    assert [row["status"] for row in llm.ledger.rows()] == (["cancelled"] if n == 1 else ["ok"] * n)


class Events(BaseEventHandler):
    seen: list  # of events

    def handle(self, event, **kwargs):
        kinds = LLMChatStartEvent | LLMChatEndEvent | LLMCompletionStartEvent | LLMCompletionEndEvent | ExceptionEvent
        if isinstance(event, kinds):
            self.seen.append(event)


class Spans(SimpleSpanHandler):
    def names(self):
        return {span.id_: span.id_.partition("-")[0] for span in self.spans}


@pytest.fixture
def root():
    dispatcher = get_dispatcher()
    events, spans = Events(seen=[]), Spans()
    before = list(dispatcher.event_handlers), list(dispatcher.span_handlers)
    dispatcher.add_event_handler(events)
    dispatcher.add_span_handler(spans)
    yield events, spans
    dispatcher.event_handlers, dispatcher.span_handlers = before


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("method", METHODS)
async def test_the_routers_events_are_first_and_last_and_its_span_holds_its_members(make, user, root, n, method):
    events, spans = root
    events.seen.clear()
    await ask(make(("small", n)), method, user)
    starts = [e for e in events.seen if isinstance(e, LLMChatStartEvent | LLMCompletionStartEvent)]
    ends = [e for e in events.seen if isinstance(e, LLMChatEndEvent | LLMCompletionEndEvent)]
    assert len(starts) == len(ends) == 1 + n
    assert starts[0].model_dict["class_name"] == "bestroute_llm"
    assert [e.model_dict["class_name"] for e in starts[1:]] == ["OpenAILike"] * n
    assert ends[-1].span_id == starts[0].span_id
    assert "sk-secret" not in str([e.model_dump() for e in starts])
    spans_by_id: dict[str, SimpleSpan] = {span.id_: span for span in spans.completed_spans}
    routers = [id_ for id_ in spans_by_id if id_.startswith("BestRouteLLM.")]
    assert len(routers) == 1
    assert spans_by_id[routers[0]].parent_id is None
    members = [span for id_, span in spans_by_id.items() if id_.startswith("OpenAILike.")]
    assert len(members) >= n

    def top(span):
        while span.parent_id is not None:
            span = spans_by_id[span.parent_id]
        return span.id_

    assert {top(span) for span in members} == {routers[0]}
    assert spans.open_spans == {}
