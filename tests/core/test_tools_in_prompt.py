"""A member in a second mode: tools in its prompt, calls read back from what it writes."""

import asyncio
import json

import pytest

from bestroute import BestRoute, ConfigError, Pool, Price, Query, ToolsInPrompt
from bestroute.generators.tools_in_prompt import read_calls
from bestroute.selection import Call, Demand
from bestroute.testing import FakeGenerator
from bestroute.types.sample import Cancel, Sample
from bestroute.types.usage import Usage

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
                "required": ["a"],
            },
        },
    }
]
QUERY = Query("What is 2 + 1?", tools=TOOLS)
DEMAND = Demand({"add": {}})


class Heard(FakeGenerator):
    """A fake that keeps the queries it was asked."""

    def __init__(self, answers) -> None:
        super().__init__(answers, usage=Usage(10, 5))
        self.heard: list[Query] = []

    def _take(self, query, n, params):
        self.heard.append(query)
        return super()._take(query, n, params)


def drawn(text: str, query: Query = QUERY, **params) -> Sample:
    return ToolsInPrompt(FakeGenerator([text])).generate(query, 1, params=params, cancel=Cancel())[0]


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "add", "arguments": {"a": 2}}]',
        '{"name": "add", "arguments": {"a": 2}}',
        '```json\n[{"name": "add", "arguments": {"a": 2}}]\n```',
        'I will call it:\n```\n{"name": "add", "parameters": {"a": 2}}\n```',
        'Sure! [{"name": "add", "arguments": "{\\"a\\": 2}"}]',
        'add({"a": 2})',
        '{"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 2}"}}]}',
        '[{"name": "add", "arguments": {"a": 2}},]',
        '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 2}}]',
        '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>',
        'It asks for [a sum]: {"name": "add", "arguments": {"a": 2}} {done}',
        '<think>{"name": "add", "arguments": {"a": 9}}?</think>Sure: {"name": "add", "arguments": {"a": 2}}',
    ],
)
def test_calls_are_read_however_a_model_wraps_them(text):
    assert read_calls(text, DEMAND) == [Call("add", {"a": 2})]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "add", "arguments": {"a": 2}}\n{"name": "add", "arguments": {"a": 3}}',
        '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {"a": 3}}\n</tool_call>',
        '```json\n{"name": "add", "arguments": {"a": 2}}\n```\n```json\n{"name": "add", "arguments": {"a": 3}}\n```',
        'Both: [{"name": "add", "arguments": {"a": 2}}], [{"name": "add", "arguments": {"a": 3}}]',
    ],
)
def test_calls_that_follow_one_another_are_all_read(text):
    assert read_calls(text, DEMAND) == [Call("add", {"a": 2}), Call("add", {"a": 3})]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "add", "arguments": {"a": 2}',
        "{'name': 'add', 'arguments': {'a': 2}}",
        '{"function": "add", "arguments": {"a": 2}}',
        '{"add": {"a": 2}}',
        "add(a=2)",
        'First {"name": "add", "arguments": {"a": 2}}, then, with its result, {"name": "add", "arguments": {"a": 3}}',
    ],
)
def test_a_call_that_cannot_be_read_is_a_flaw_and_no_vote_for_no_call(text):
    sample = drawn(text)
    assert (sample.flaw, sample.form) == ("its call of a tool cannot be read", None)


@pytest.mark.parametrize(
    "text", ["It is 3.", "To add (2 and 1) gives 3.", 'I could "add" them: 3.', 'So {"sum": "add"}', "{3}", "sub(1)"]
)
def test_words_about_a_tool_are_no_call(text):
    assert (drawn(text).flaw, drawn(text).form) == (None, "[]")


@pytest.mark.parametrize("text", ["3", "", "I need [more] details {please}.", '{"result": 3}', '["add"]', "[" * 5000])
def test_what_makes_no_call_stays_a_text(text):
    assert not read_calls(text, DEMAND)
    assert drawn(text).text == text


def test_a_sample_has_the_calls_their_form_and_its_mode():
    sample = drawn('[{"name": "add", "arguments": {"a": "2"}}]')
    called = sample.payload["tool_calls"][0]["function"]
    assert (called["name"], json.loads(called["arguments"])) == ("add", {"a": "2"})
    assert sample.signals.tools == "prompt"
    assert drawn('[{"name": "add", "arguments": {"a": 2, "b": 1}}]').form == drawn('add({"a": 2})').form
    assert drawn('[{"name": "sub", "arguments": {}}]').flaw == "it calls the unknown tool 'sub'"
    assert drawn("3", tool_choice="required").flaw == "it calls no tool"


def test_the_member_sees_tools_in_words_alone():
    member = Heard(["3"])
    history = [
        {"role": "user", "content": "2 + 1?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 2}'}}]},
        {"role": "tool", "content": "3"},
    ]
    query = Query("2 + 1?", messages=history, tools=TOOLS, params={"tools": TOOLS, "temperature": 0.5})
    ToolsInPrompt(member).generate(query, 1, params=query.params, cancel=Cancel())
    heard = member.heard[0]
    assert heard.tools is None
    assert dict(heard.params) == dict(member.params[0]) == {"temperature": 0.5}
    assert [m["role"] for m in heard.messages] == ["system", "user", "assistant", "user"]
    assert '"name": "add"' in heard.messages[0]["content"]


def test_without_tools_it_is_the_member_itself():
    member = Heard(["hello there"])
    both = ToolsInPrompt(member)
    assert both.generate(Query("hi"), 1, params={}, cancel=Cancel())[0].text == "hello there"
    assert [p.text for p in both.stream(Query("hi"), params={}, cancel=Cancel())][-1] == "hello there"
    assert member.heard[0] == Query("hi")


def test_two_modes_of_one_model_that_make_the_same_call_answer_in_place_of_the_reference():
    text = '[{"name": "add", "arguments": {"a": 2}}]'
    native = FakeGenerator([Sample("add", form='["add({\\"a\\": 2, \\"b\\": 1})"]', usage=Usage(10, 5))])
    prompted = ToolsInPrompt(FakeGenerator([text], usage=Usage(30, 5)))
    native.model_name = prompted.member.model_name = "small-1"
    members = {"small": native, "small-in-prompt": prompted, "large": FakeGenerator(["reference"])}
    prices = {"small": Price(1, 1), "small-in-prompt": Price(1, 1), "large": Price(50, 50)}
    engine = BestRoute(Pool(list(members), prices, "large"), members)
    assert [s.model for s in engine.run(QUERY).samples] == ["small", "small-in-prompt"]
    assert [s.model for s in asyncio.run(engine.arun(QUERY)).samples] == ["small", "small-in-prompt"]
    number = engine.run("What is 2 + 1? Answer with only the number.")
    assert [s.model for s in number.samples][-1] == "large"  # without tools both modes are one model


def test_a_frameworks_model_is_refused_in_one_sentence_by_the_core():
    with pytest.raises(ConfigError, match="is no bestroute.Generator"):
        ToolsInPrompt(object()).generate(QUERY, 1, params={}, cancel=Cancel())


@pytest.mark.parametrize("ends", ["<|im_end|>", "</tool_call>", "<tool_call>"])
def test_a_model_that_repeats_its_end_holds_nothing_up(ends):
    """Each end could be read in two ways, so that a thousand of them took for ever."""
    calls = json.dumps({"name": "add", "arguments": {"a": 2}})
    assert not read_calls(f"{calls}{ends * 1000} then {calls}", DEMAND)
    assert read_calls(f"{calls}{ends * 1000}{calls}", DEMAND) == [Call("add", {"a": 2})] * 2
