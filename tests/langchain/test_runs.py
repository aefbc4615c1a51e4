"""Requirements 3, 4, 5, 9, 10, 12, 15, 17 and 21: what callers, traces, agents and handlers see of a call."""

import asyncio
import inspect
import json
import logging

import openai
import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.tracers.base import BaseTracer
from pydantic import BaseModel

from bestroute import MajorityVote


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Runs(BaseTracer):
    """Keeps every root run."""

    def __init__(self):
        super().__init__()
        self.roots = []

    def _persist_run(self, run):
        self.roots.append(run)

    def flat(self):
        def walk(run):
            yield run
            for child in run.child_runs:
                yield from walk(child)

        return [run for root in self.roots for run in walk(root)]


class Everything(BaseCallbackHandler):
    """Writes down whatever a handler can see."""

    def __init__(self):
        self.seen = []

    def __getattribute__(self, name):
        if name.startswith("on_") and name != "on_chat_model_start":
            return lambda *args, **kwargs: self.seen.append(repr((args, kwargs)))
        return super().__getattribute__(name)

    def on_chat_model_start(self, *args, **kwargs):
        """Nothing is drawn yet."""


# 3: rejected text reaches nobody.


@pytest.mark.parametrize("how", ["invoke", "stream", "streaming", "astream", "events"])
async def test_rejected_text_reaches_no_handler(make, how):
    seen, config = Everything(), {}
    config["callbacks"] = [seen]
    chat = make(("small", 3), streaming=how == "streaming")
    if how == "stream":
        text = "".join(c.text for c in chat.stream("x", config=config))
    elif how == "astream":
        text = "".join([c.text async for c in chat.astream("x", config=config)])
    elif how == "events":
        events = [event async for event in chat.astream_events("x", config=config, version="v2")]
        text = repr(events)
    else:
        text = chat.invoke("x", config=config).text
    everything = "".join(seen.seen) + text
    assert "q=0.95" in everything
    assert "q=0.40" not in everything
    assert "q=0.10" not in everything


@pytest.mark.parametrize("n", [1, 3])
async def test_astream_events_and_a_v3_stream_tell_one_message(make, n):
    chat = make(("small", n))
    wanted = "q=0.95" if n == 3 else "q=0.40"
    tokens = [e["data"]["chunk"] async for e in chat.astream_events("x") if e["event"] == "on_chat_model_stream"]
    assert wanted in "".join(c.text for c in tokens)
    assert len({c.id for c in tokens}) == 1
    stream = chat.stream_events("y", version="v3")
    assert wanted in stream.output.text


def test_a_stream_costs_no_more_than_its_chunks_are_long(make):
    """Chunks are joined once, at the end; joining them one by one would take minutes for this."""
    member = GenericFakeChatModel(messages=iter([AIMessage("word " * 5_000)]))
    chat = make(("small", 1), models={"small": member}, prices={"small": make().prices["small"]})
    assert len([c for c in chat.stream("x") if c.text]) == 10_000


# 4: what is billed is what is told.


@pytest.mark.parametrize("bills_input", ["per_sample", "once"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch", "streaming"])
async def test_a_usage_handler_counts_what_the_server_billed(make, server, how, n, bills_input):
    usage = UsageMetadataCallbackHandler()
    config = {"callbacks": [usage]}
    chat = make(("small", n), bills_input=bills_input, streaming=how == "streaming")
    if how in ("invoke", "streaming"):
        chat.invoke("how much", config)
    elif how == "ainvoke":
        await chat.ainvoke("how much", config)
    elif how == "stream":
        list(chat.stream("how much", config))
    elif how == "astream":
        [_ async for _ in chat.astream("how much", config)]
    elif how == "batch":
        chat.batch(["how much", "is it"], config)
    else:
        await chat.abatch(["how much", "is it"], config)
    (counted,) = usage.usage_metadata.values()
    assert list(usage.usage_metadata) == ["small-mini"]
    assert (counted["input_tokens"], counted["output_tokens"]) == (server.usage["input"], server.usage["output"])
    expected = (server.usage["input"] * 1.0 + server.usage["output"] * 2.0) / 1e6
    assert chat.ledger.cost_usd == pytest.approx(expected, abs=1e-12)


# 5: traces.


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("how", ["invoke", "batch", "stream", "ainvoke", "astream", "abatch"])
async def test_a_call_is_one_chat_model_run_below_its_caller(make, n, how):
    runs = Runs()
    config = {"callbacks": [runs], "run_name": "outer"}
    chain = RunnableLambda(lambda x: x) | make(("small", n), temperature=0.5)
    if how == "invoke":
        chain.invoke("x", config)
    elif how == "batch":
        chain.batch(["x"], config)
    elif how == "stream":
        list(chain.stream("x", config))
    elif how == "ainvoke":
        await chain.ainvoke("x", config)
    elif how == "astream":
        [_ async for _ in chain.astream("x", config)]
    else:
        await chain.abatch(["x"], config)
    (root,) = runs.roots
    chats = [run for run in runs.flat() if run.run_type in ("llm", "chat_model")]
    assert root.name == "outer"
    assert len(chats) == 1
    assert chats[0].child_runs == []
    about = chats[0].extra["metadata"]
    assert about["ls_provider"] == "bestroute"
    assert about["ls_model_type"] == "chat"
    assert about["ls_temperature"] == 0.5
    assert chats[0].end_time
    assert chats[0].error is None


def test_an_error_is_recorded_on_the_run(make, openai_model):
    runs = Runs()
    with pytest.raises(openai.BadRequestError):
        make(models={"small": openai_model("fail-400-x")}).invoke("x", config={"callbacks": [runs]})
    assert "forced 400" in runs.roots[0].error


@pytest.mark.parametrize("is_async", [False, True])
async def test_samples_are_child_chain_runs_where_wanted(make, told, is_async):
    runs, usage = Runs(), UsageMetadataCallbackHandler()
    chat = make(("small", 3), trace_samples=True)
    config = {"callbacks": [runs, usage]}
    message = await chat.ainvoke("x", config) if is_async else chat.invoke("x", config)
    (root,) = runs.roots
    assert [run.run_type for run in root.child_runs] == ["chain"] * 3
    assert {run.name for run in root.child_runs} == {"sample of small"}
    texts = [run.outputs["samples"][0]["text"] for run in root.child_runs]
    assert message.text in texts
    assert all(run.end_time for run in root.child_runs)
    assert usage.usage_metadata["small-mini"]["output_tokens"] == message.usage_metadata["output_tokens"]


def test_a_failed_sample_is_a_failed_child_run(make, openai_model):
    runs = Runs()
    chat = make(("small", 2), models={"small": openai_model("flaky-1-x")}, trace_samples=True)
    chat.invoke("x", config={"callbacks": [runs]})
    assert any("flaky" in (run.error or "") for run in runs.flat())


async def test_a_traced_call_bothers_no_handler_that_can_only_await(make):
    class Awaits(AsyncCallbackHandler):
        ends = 0

        async def on_llm_end(self, *args, **kwargs):
            self.ends += 1

    handler = Awaits()
    await make(("small", 2), trace_samples=True).ainvoke("x", config={"callbacks": [handler]})
    assert handler.ends == 1


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({}, {"ls_model_name": "bestroute:small+large", "ls_temperature": 0.5, "ls_max_tokens": 9, "ls_stop": ["a"]}),
        ({"model": "unheard-of"}, {"ls_model_name": "unheard-of"}),
        ({"temperature": 0.1, "stop": ["b"]}, {"ls_temperature": 0.1, "ls_stop": ["b"]}),
    ],
)
def test_langsmith_parameters(make, call, expected):
    params = make(temperature=0.5, max_tokens=9, stop=["a"])._get_ls_params(**call)
    assert {key: params[key] for key in expected} == expected
    assert (params["ls_provider"], params["ls_model_type"]) == ("bestroute", "chat")


# 9: streaming that is switched off.


def streamed(server):
    return [bool(body.get("stream")) for body in server.sent()]


def test_streaming_may_be_switched_off_on_the_router(make, server):
    assert len(list(make(disable_streaming=True).stream("x"))) == 1
    chat = make(disable_streaming="tool_calling")
    list(chat.stream("x"))
    list(chat.bind_tools([add]).stream("x"))
    list(chat.with_structured_output(Person, method="function_calling").stream("'Ann'"))
    list(chat.with_structured_output(Person, method="json_schema").stream("'Ann'"))
    assert streamed(server) == [False, True, False, False, True]


class Person(BaseModel):
    """A person."""

    name: str


async def test_and_on_a_member(make, openai_model, server):
    off = make(models={"small": openai_model("small-mini", disable_streaming=True)})
    assert "q=0.40" in "".join(c.text for c in off.stream("x"))
    assert "q=0.95" in "".join([c.text async for c in off.astream("x")])
    partly = make(models={"small": openai_model("small-mini", disable_streaming="tool_calling")})
    list(partly.stream("x"))
    list(partly.bind_tools([add]).stream("x"))
    list(partly.with_structured_output(Person, method="function_calling").stream("'Ann'"))
    assert streamed(server) == [False, False, True, False, False]


def test_streaming_inside_invoke(make, server):
    make(streaming=True).invoke("x")
    make(streaming=False).invoke("x")
    make().invoke("x", stream=True)
    make(("small", 2), streaming=True).invoke("x")
    assert streamed(server) == [True, False, True, False, False]


@pytest.mark.parametrize("bills_input", ["per_sample", "once"])
@pytest.mark.parametrize("n", [1, 3])
async def test_a_member_that_always_streams_is_streamed_also_where_nobody_listens(
    make, openai_model, server, n, bills_input
):
    models = {"small": openai_model("small-mini", streaming=True), "large": openai_model("large-max")}
    chat = make(("small", n), models=models, bills_input=bills_input)
    for ask in (chat.invoke, chat.ainvoke):
        server.reset()
        told = ask("one two")
        answer = await told if asyncio.iscoroutine(told) else told
        assert answer.response_metadata["model_name"] == "small-mini"
        assert streamed(server) == [True] * n
        assert answer.usage_metadata["input_tokens"] == server.usage["input"]
        assert answer.usage_metadata["output_tokens"] == server.usage["output"]
        assert n == 1 or "q=0.95" in answer.text


# 10 and 12: tools and parameters on their way.


def test_a_providers_own_tools_stay_as_they_are(make):
    own = [{"type": "web_search"}, {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]
    own.append({"google_search": {}})
    custom = {"type": "custom", "name": "shell", "description": "runs anything"}
    bound = make().bind_tools([*own, custom, add])
    assert bound.kwargs["tools"][:4] == [*own, custom]
    assert bound.kwargs["tools"][4]["function"]["name"] == "add"
    json.dumps(bound.kwargs)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("add", {"type": "function", "function": {"name": "add"}}),
        ({"type": "function", "function": {"name": "add"}}, {"type": "function", "function": {"name": "add"}}),
        ({"type": "any"}, "required"),
        (None, None),
    ],
)
def test_a_tool_choice_arrives_in_the_members_words(make, server, choice, sent):
    make().bind_tools([add, multiply], tool_choice=choice).invoke("1 and 2")
    assert server.sent()[0].get("tool_choice") == sent


def test_strict_reaches_tools_that_are_plain_json_already(make, server):
    make().bind_tools([add], strict=True, parallel_tool_calls=False).invoke("x")
    (sent,) = server.sent()[0]["tools"]
    assert sent["function"]["strict"] is True
    assert sent["function"]["parameters"]["additionalProperties"] is False


def test_an_empty_stop_is_not_sent_and_an_unset_parameter_overrides_nothing(make, openai_model, server):
    models = {"small": openai_model("small-mini", temperature=0.1, stop=["m"])}
    make(models=models, stop=[]).invoke("x")
    make(models=models).invoke("x", stop=[])
    assert [(b["temperature"], b.get("stop")) for b in server.sent()] == [(0.1, ["m"])] * 2


async def test_stream_usage_is_an_argument_of_streams_alone(make, server):
    chat = make(("small", 2))
    list(chat.stream("x", stream_usage=True))
    list(make().stream("x", stream_usage=True))
    assert server.sent()[-1]["stream_options"] == {"include_usage": True}
    assert len(server.sent()) == 3


# 15 and 14: agents.

TWO_STEPS = 'CALL add({"a": 2, "b": 3}) then CALL multiply({"a": 5, "b": 7})'


@pytest.fixture
def agent():
    agents = pytest.importorskip("langchain.agents")
    return agents.create_agent


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_agent_with_two_tools(make, agent, n, is_async):
    runner = agent(make(("small", n)), tools=[add, multiply], system_prompt="be brief")
    asked = {"messages": [("user", TWO_STEPS)]}
    out = (await runner.ainvoke(asked) if is_async else runner.invoke(asked))["messages"]
    assert [m.content for m in out if isinstance(m, ToolMessage)] == ["5", "35"]
    assert out[-1].text.endswith("tool said: 5 | tool said: 35")


async def test_an_agent_with_a_checkpointer_stays_with_the_model_of_the_turn(make, agent, server, told):
    checkpoints = pytest.importorskip("langgraph.checkpoint.memory")
    turns = iter(["small", "large"] * 20)
    saver, config = checkpoints.InMemorySaver(), {"configurable": {"thread_id": "1"}}

    def build():  # as another process would
        return agent(
            make(lambda q: (next(turns), 1)), tools=[add, multiply], checkpointer=saver, interrupt_after=["tools"]
        )

    await build().ainvoke({"messages": [("user", TWO_STEPS)]}, config)
    await build().ainvoke(None, config)
    out = (await build().ainvoke(None, config))["messages"]
    assert {b["model"] for b in server.sent()} == {"small-mini"}
    assert told(out[-1])["reason"] == "a tool turn stays with the model that made the call"
    assert out[-1].text.endswith("tool said: 5 | tool said: 35")


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("strategy", ["auto", "tool", "provider"])
def test_an_agent_with_a_response_format(make, agent, n, strategy):
    structured = pytest.importorskip("langchain.agents.structured_output")
    forms = {"tool": structured.ToolStrategy(Person), "provider": structured.ProviderStrategy(Person), "auto": Person}
    runner = agent(make(("small", n)), tools=[add], response_format=forms[strategy])
    out = runner.invoke({"messages": [("user", "'Ann' is the name")]})
    assert out["structured_response"] == Person(name="Ann")


@pytest.mark.parametrize("strict", [None, True])
def test_an_agent_without_tools_asks_for_its_response_format_as_the_member_alone_does(
    make, openai_model, agent, server, strict
):
    structured = pytest.importorskip("langchain.agents.structured_output")
    for model in (openai_model("small-mini"), make()):
        runner = agent(model, tools=[], response_format=structured.ProviderStrategy(Person, strict=strict))
        out = runner.invoke({"messages": [("user", "'Ann' is the name")]})
        assert out["structured_response"] == Person(name="Ann")
    alone, pooled = server.sent()
    assert alone.pop("tools") == []  # which OpenAI refuses
    assert pooled == alone


def test_what_is_said_of_no_tools_is_no_argument_of_the_call(make, server):
    make().bind_tools([], strict=True).invoke("hi")
    assert "strict" not in server.sent()[0]


@pytest.mark.parametrize("n", [1, 3])
def test_langgraph_streams_the_winners_tokens_alone(make, agent, n):
    runner = agent(make(("small", n)), tools=[add])
    pieces = runner.stream({"messages": [("user", "tell me")]}, stream_mode="messages")
    chunks = [chunk for chunk, _ in pieces if isinstance(chunk, AIMessageChunk)]
    text = "".join(c.text for c in chunks)
    assert text.count("[small-mini#") == 1
    assert ("q=0.95" if n == 3 else "q=0.40") in text
    assert len({c.id for c in chunks}) == 1


@pytest.mark.parametrize("how", ["stream", "invoke"])
async def test_what_a_judge_of_the_users_own_says_is_traced_and_streamed_to_nobody(make, openai_model, how):
    graphs = pytest.importorskip("langgraph.graph")
    judge = openai_model("judge-x", streaming=True)

    def judged(query, texts):
        return [len(judge.invoke(text).text) + float(text.partition("q=")[2][:4]) for text in texts]

    chat = make(("small", 3), reward_model=judged)

    def ask(state):
        chunks = list(chat.stream(state["messages"])) if how == "stream" else [chat.invoke(state["messages"])]
        return {"messages": [sum(chunks[1:], chunks[0])]}

    async def aask(state):
        if how == "invoke":
            return {"messages": [await chat.ainvoke(state["messages"])]}
        chunks = [chunk async for chunk in chat.astream(state["messages"])]
        return {"messages": [sum(chunks[1:], chunks[0])]}

    asked = {"messages": [("user", "tell me")]}
    for node in (ask, aask):
        graph = graphs.StateGraph(graphs.MessagesState).add_node("node", node)
        runner = graph.add_edge(graphs.START, "node").add_edge("node", graphs.END).compile()
        text = "".join([chunk.text async for chunk, _ in runner.astream(asked, stream_mode="messages")])
        assert text.count("[small-mini#") == 1
        assert "judge-x" not in text
        events = [event async for event in runner.astream_events(asked, version="v2")]
        assert [e["event"] for e in events].count("on_chat_model_start") == 1
        runs = Runs()
        await runner.ainvoke(asked, config={"callbacks": [runs]})
        assert len(runs.roots) == 1
        assert len([run for run in runs.flat() if run.run_type in ("llm", "chat_model")]) == 1 + 3


# 17: errors.


@pytest.mark.parametrize("n", [1, 3])
async def test_fallbacks_work_also_with_tools_and_in_streams(make, openai_model, n):
    chat = make(("small", n), models={"small": openai_model("fail-400-x")}).bind_tools([add])
    safe = chat.with_fallbacks([openai_model("large-max").bind_tools([add])])
    assert "large-max" in safe.invoke("x").text
    assert "large-max" in (await safe.ainvoke("x")).text
    assert "large-max" in "".join(c.text for c in safe.stream("x"))


def test_the_router_may_be_a_fallback_itself(make, openai_model):
    safe = openai_model("fail-500-x").with_fallbacks([make(("small", 2))])
    assert "small-mini" in safe.invoke("x").text


# 20 and 21.


async def test_many_async_calls_at_a_time(make, server):
    chat = make(lambda q: ("small" if "even" in q.text else "large", 2))
    asked = [f"{'even' if i % 2 == 0 else 'odd'} {i}" for i in range(24)]
    answers = await asyncio.gather(*(chat.ainvoke(text) for text in asked))
    assert all(text in answer.text for text, answer in zip(asked, answers, strict=True))


def test_tokens_are_counted_without_a_download(make):
    chat = make()
    assert chat.get_num_tokens("some words to be counted") > 3
    messages = [HumanMessage("some words to be counted")]
    assert chat.get_num_tokens_from_messages(messages, tools=[add]) > chat.get_num_tokens_from_messages(messages) > 3
    assert make(custom_get_token_ids=lambda text: [1, 2]).get_num_tokens("x") == 2
    assert make(custom_get_token_ids=lambda text: [1, 2]).get_token_ids("x") == [1, 2]
    with pytest.raises(ValueError, match="pass custom_get_token_ids"):
        chat.get_token_ids("x")


# What a trap becomes here.


def test_equal_samples_at_temperature_0_are_told(make, caplog):
    with caplog.at_level(logging.WARNING, "langchain_bestroute"):
        make(("small", 3)).invoke("x")
        assert "temperature 0" not in caplog.text
        make(("small", 3), temperature=0.0).invoke("x")
    assert "3 samples of 'small' were drawn at temperature 0" in caplog.text


def test_members_that_answer_in_standard_blocks_make_a_router_that_does(make, openai_model, joined):
    models = {"small": openai_model("small-mini", output_version="v1")}
    chat = make(models=models)
    assert chat.invoke("x").content[0]["type"] == "text"
    assert joined(list(chat.stream("x"))).content[0]["type"] == "text"
    assert isinstance(make(models=models, output_version="v0").invoke("x").content, str)


def test_the_usage_is_also_told_where_older_callbacks_look(make, server):
    out = make(("small", 2)).generate([[HumanMessage("x")], [HumanMessage("y z")]])
    assert out.llm_output["token_usage"]["completion_tokens"] == server.usage["output"]
    assert out.llm_output["token_usage"]["prompt_tokens"] == server.usage["input"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_older_callbacks_are_told_what_the_provider_says_of_the_call(make, openai_model, how):
    told = []
    for model in (openai_model("small-mini"), make()):
        handler = AnswerKeeper()
        answer = getattr(model, how)("hi", {"callbacks": [handler]})
        await answer if inspect.isawaitable(answer) else answer
        told.append({name: value for name, value in handler.output.items() if name != "id"})
    alone, pooled = told
    assert alone["system_fingerprint"] == "fp_x"
    assert {name: pooled[name] for name in alone} == alone


@pytest.mark.filterwarnings("ignore:Unexpected type for token usage")  # of langchain-openai's own
def test_batches_of_generate_tell_the_fingerprint_as_the_member_alone_does(make, openai_model):
    messages = [[HumanMessage("one")], [HumanMessage("two")]]
    alone, pooled = (model.generate(messages).llm_output for model in (openai_model("small-mini"), make()))
    assert pooled["system_fingerprint"] == alone["system_fingerprint"] == "fp_x"


class AnswerKeeper(BaseCallbackHandler):
    def on_llm_end(self, response, **kwargs):
        self.output = response.llm_output


def test_details_of_a_usage_have_openais_names_there_and_are_added(make):
    def reply(cached, reasoned):
        usage = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
        usage["input_token_details"], usage["output_token_details"] = {"cache_read": cached}, {"reasoning": reasoned}
        return AIMessage("x", usage_metadata=usage)

    models = {name: GenericFakeChatModel(messages=iter([reply(1, 2), reply(3, 4)])) for name in ("small", "large")}
    chat = make(models=models)
    asked = [HumanMessage("x")]
    usage = chat.generate([asked, asked]).llm_output["token_usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 6}
    assert usage["total_tokens"] == 28


def test_a_vote_counts_equal_calls(make, server, told):
    from bestroute import Plan, Step

    plan = Plan((Step("small", 3, 0.8), Step("large")))
    call = {"tool": "add", "args": {"a": 1, "b": 2}}
    server.script("small-mini", [call, {"tool": "add", "args": {"b": 2, "a": 1.0}}])
    chat = make(lambda q: plan, reward_model=MajorityVote()).bind_tools([add])
    message = chat.invoke("x")
    assert (told(message)["model"], told(message)["n"]) == ("small", 2)


def test_a_member_without_streams_is_handed_out_whole(make, joined):
    models = {"small": FakeListChatModel(responses=["hello there"], disable_streaming=True)}
    chat = make(models=models, prices={"small": make().prices["small"]})
    assert joined(list(chat.stream("x"))).text == "hello there"


def test_what_a_built_in_tool_is_to_send_is_not_traced(make, server):
    runs = Runs()
    tool_of_theirs = {
        "type": "mcp",
        "server_label": "wiki",
        "server_url": "https://wiki.example",
        "headers": {"X-Key": "secret-of-the-header"},
        "authorization": "secret-of-the-server",
    }
    make().bind_tools([tool_of_theirs, add]).invoke("hello", config={"callbacks": [runs]})
    traced = runs.roots[0].extra["invocation_params"]["tools"]
    assert "secret-of" not in str(runs.roots[0].extra)
    assert (traced[0]["headers"], traced[0]["server_label"]) == ("**REDACTED**", "wiki")
    assert str(tool_of_theirs) in str(server.requests)
    assert traced[1]["function"]["name"] == "add"
