"""Best-of-n for tool calls and schemas through the adapter; the rules themselves are tested in the core."""

import random
import threading

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field

from bestroute import Price
from langchain_bestroute import generator


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


GOOD = {"tool": "add", "args": {"a": 1, "b": 2}}
BROKEN = [
    {"tool": "add", "args": {"a": 1}},
    {"tool": "add", "args": {"a": 1, "b": "two"}},
    {"tool": "subtract", "args": {}},
    {"tool": "add", "args": {"a": 1, "b": 2}, "finish_reason": "length"},
    {"text": "I will not"},
]


@pytest.mark.parametrize("how", ["invoke", "stream", "ainvoke"])
@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_call_never_wins_over_a_whole_one(make, server, told, joined, broken, how):
    server.script("small-mini", [broken, GOOD, broken])
    chat = make(("small", 3), bills_input="once").bind_tools([add], tool_choice="any")
    if how == "stream":
        message = joined(list(chat.stream("x")))
    else:
        message = chat.invoke("x") if how == "invoke" else await chat.ainvoke("x")
    assert [c["args"] for c in message.tool_calls] == [{"a": 1, "b": 2}]
    flaws = told(message)["flaws"]
    assert (flaws[0] is None, flaws[1], told(message)["chosen"]) == (False, None, 1)
    assert told(message)["rewards"][0] is None, "a broken sample is not scored"
    assert message.usage_metadata["output_tokens"] == server.usage["output"], "but it is billed"


def test_agreement_comes_before_the_reward(make, server, told):
    other = {"tool": "add", "args": {"a": 9, "b": 9}}
    server.script("small-mini", [other, GOOD, {"tool": "add", "args": {"b": 2.0, "a": 1}}])
    seen = []

    def reward(query, texts):
        seen.extend(texts)
        return [1.0 if '"a": 9' in text else 0.0 for text in texts]

    chat = make(("small", 3), bills_input="once", reward_model=reward).bind_tools([add])
    message = chat.invoke("x")
    assert message.tool_calls[0]["args"] == {"a": 1, "b": 2}
    assert told(message)["chosen"] == 1
    assert seen == ['add({"a": 9, "b": 9})', 'add({"a": 1, "b": 2})', 'add({"a": 1, "b": 2})'], "calls are read as text"


def test_where_all_of_the_only_member_are_broken_the_first_comes_as_the_plain_model_would_return_it(
    make, server, openai_model
):
    server.script("small-mini", [*BROKEN[:2], BROKEN[0]])
    chat = make(("small", 3), bills_input="once", models={"small": openai_model("small-mini")})
    message = chat.bind_tools([add]).invoke("x")
    server.script("small-mini", BROKEN[:1])
    plain = openai_model("small-mini").bind_tools([add]).invoke("x")
    assert [c["args"] for c in message.tool_calls] == [c["args"] for c in plain.tool_calls] == [{"a": 1}]


class Person(BaseModel):
    """A person."""

    name: str
    age: int = Field(ge=0)


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
@pytest.mark.parametrize("broken", ['{"name": "Ann"}', '{"name": "Ann", "age": -1}', "Ann is 7", '{"name": "An'])
def test_a_reply_that_breaks_the_schema_never_wins(make, server, method, broken):
    server.script("small-mini", [broken, broken, '{"name": "Ann", "age": 7}'])
    chat = make(("small", 3), bills_input="once").with_structured_output(Person, method=method)
    assert chat.invoke("x") == Person(name="Ann", age=7)


def test_a_response_format_is_a_demand_too(make, server):
    server.script("small-mini", ["no", '{"a": 1}', "no"])
    chat = make(("small", 3), bills_input="once").bind(response_format={"type": "json_object"})
    assert chat.invoke("x").text == '{"a": 1}'


def test_plain_text_is_still_chosen_by_the_reward_alone(make, server, told):
    message = make(("small", 3), bills_input="once").invoke("x", max_tokens=4)
    assert told(message)["flaws"] == [None] * 3
    assert told(message)["chosen"] == 1


class SometimesValid(BaseChatModel):
    """Calls a tool; the call is valid in a share of cases."""

    rng: random.Random
    n: int = 1
    share: float = 0.7

    @property
    def _llm_type(self):
        return "sometimes"

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        return self.bind(tools=[convert_to_openai_tool(t) for t in tools], **kwargs)

    def _generate(self, messages, stop=None, run_manager=None, n=1, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=self._call()) for _ in range(n)])

    def _call(self):
        args = {"a": self.rng.randint(1, 3), "b": 2} if self.rng.random() < self.share else {"a": "one"}
        return AIMessage("", tool_calls=[{"name": "add", "args": args, "id": "c", "type": "tool_call"}])


def test_over_5000_calls_best_of_3_is_valid_exactly_where_a_valid_sample_came(make, told):
    chat = make(
        ("small", 3),
        models={"small": SometimesValid(rng=random.Random(11))},
        prices={"small": Price(1, 1)},
        reward_model=lambda query, texts: [0.0] * len(texts),
        bills_input="once",
    ).bind_tools([add])
    valid = hits = 0
    for _ in range(5000):
        message = chat.invoke("x")
        flaws = told(message)["flaws"]
        is_valid = isinstance(message.tool_calls[0]["args"]["a"], int)
        assert is_valid == (None in flaws)
        valid, hits = valid + is_valid, hits + (None in flaws)
    assert valid == hits
    assert valid / 5000 == pytest.approx(0.973, abs=0.007)


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_large_reply_is_judged_off_the_loop_in_async_calls(make, server, monkeypatch, how):
    judges = []
    monkeypatch.setattr("bestroute.selection.checks.IN_PLACE", 0)
    judge = generator.judge
    monkeypatch.setattr(generator, "judge", lambda *of: judges.append(threading.current_thread().name) or judge(*of))
    server.script("small-mini", [GOOD])
    chat = make(("small", 1)).bind_tools([add], tool_choice="any")
    if how in ("invoke", "stream"):
        reply = chat.invoke("x") if how == "invoke" else list(chat.stream("x"))
    else:
        reply = await chat.ainvoke("x") if how == "ainvoke" else [chunk async for chunk in chat.astream("x")]
    assert reply
    assert [name == "bestroute-judge" for name in judges] == [how.startswith("a")]
