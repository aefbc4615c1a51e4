"""Choosing among samples that are tool calls or JSON: what is broken is out, then agreement, then the reward."""

import json
import random
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestroute import BestRoute, Plan, Pool, Price, Sample, Step, Usage
from bestroute.selection import Call, canonical_calls, judge, read_demand, render_calls, winner
from bestroute.selection.checks import MOST_VALUES
from bestroute.selection.tool_calls import canonical
from bestroute.testing import FakeGenerator, FakeReward

ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "unit": {"type": "string", "default": "m"}},
    "required": ["a", "b"],
}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": ADD}}]


def flaw(calls, demand, text="", finish_reason="tool_calls"):
    return judge(Sample(text, finish_reason=finish_reason), calls, demand).flaw


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        (Call.parse("add", '{"a": 1, "b": 2}'), None),
        (Call.parse("add", '{"a": 1, "b": 2.0}'), None),
        (Call.parse("add", '{"a": 1, "b": '), "the arguments of 'add' do not parse"),
        (Call.parse("add", "[1, 2]"), "the arguments of 'add' do not parse"),
        (Call.parse("add", "[" * 100_000), "the arguments of 'add' do not parse"),
        (Call.parse("sub", "{}"), "it calls the unknown tool 'sub'"),
        (Call.parse("add", '{"a": 1}'), "the arguments of 'add' do not fit: 'b' is missing"),
        (Call.parse("add", ""), "the arguments of 'add' do not fit: 'a' is missing"),
        (Call.parse("add", '{"a": 1, "b": "2"}'), "the arguments of 'add' do not fit: 'b' must be of type integer"),
        (Call.parse("add", '{"a": 1, "b": true}'), "the arguments of 'add' do not fit: 'b' must be of type integer"),
    ],
)
def test_a_call_is_checked_against_its_tools_schema(call, wrong):
    assert flaw([call], read_demand(TOOLS)) == wrong


def test_one_broken_call_of_several_is_enough():
    good = Call("add", {"a": 1, "b": 2})
    assert flaw([good, Call("add", {})], read_demand(TOOLS)) is not None


@pytest.mark.parametrize("reason", ["length", "max_tokens", "max_output_tokens"])
def test_a_call_that_was_cut_short_is_out(reason):
    assert flaw([Call("add", {"a": 1, "b": 2})], read_demand(TOOLS), finish_reason=reason) == "it was cut short"


def test_plain_text_that_was_cut_short_is_left_to_the_reward():
    assert judge(Sample("a b c", finish_reason="length"), [], read_demand()) == Sample("a b c", finish_reason="length")


@pytest.mark.parametrize("choice", ["any", "required", True, "add", {"type": "any"}, {"function": {"name": "add"}}])
def test_a_text_where_a_call_was_required_is_out(choice):
    assert flaw([], read_demand(TOOLS, choice), "hello") == "it calls no tool"


@pytest.mark.parametrize("choice", [None, "auto", "none", {"type": "auto"}])
def test_a_text_is_fine_where_no_call_was_required(choice):
    assert flaw([], read_demand(TOOLS, choice), "hello") is None


def test_another_tool_than_the_one_asked_for_is_out():
    tools = [*TOOLS, {"type": "function", "function": {"name": "now", "parameters": {}}}]
    assert flaw([Call("now", {})], read_demand(tools, "add")) == "it calls 'now' where 'add' was asked for"
    assert flaw([Call("now", {})], read_demand(tools, "any")) is None


def test_tools_are_read_as_each_provider_writes_them():
    flat = {"type": "function", "name": "add", "parameters": ADD}
    anthropic = {"name": "add", "input_schema": ADD}
    for tool in (TOOLS[0], flat, anthropic):
        assert dict(read_demand([tool]).tools) == {"add": ADD}


def test_a_providers_own_tools_cannot_be_checked():
    demand = read_demand([{"type": "web_search"}, *TOOLS])
    assert demand.has_foreign_tools
    assert flaw([Call("search", {"q": 1})], demand) is None
    assert flaw([Call("add", {})], demand) is not None


PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"age": 7}', None),
        ('```json\n{"age": 7}\n```', None),
        ("age 7", "it is not JSON"),
        ("", "it is not JSON"),
        ("{}", "it does not fit the schema: 'age' is missing"),
        ('{"age": "7"}', "it does not fit the schema: 'age' must be of type integer"),
    ],
)
def test_a_reply_is_checked_against_the_schema_it_was_asked_for(text, wrong):
    assert flaw([], read_demand(schema=PERSON), text, "stop") == wrong


def test_json_without_a_schema_only_has_to_parse():
    assert flaw([], read_demand(is_json=True), "null", "stop") is None
    assert flaw([], read_demand(is_json=True), "nil", "stop") == "it is not JSON"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "https://nowhere.example/schema"},
        {"properties": {"age": {"pattern": "("}}},
        {"patternProperties": {"^a": {"type": "integer"}}, "unevaluatedProperties": False},
    ],
)
def test_a_schema_that_cannot_be_checked_refuses_nothing_and_says_so(schema):
    judged = judge(Sample('{"age": "x"}', finish_reason="stop"), [], read_demand(schema=schema))
    assert (judged.flaw, judged.form) == (None, '{"age": "x"}')
    assert judged.unchecked.startswith("not checked: ")


def test_references_inside_a_schema_are_followed():
    schema = {"$defs": {"n": {"type": "integer"}}, "properties": {"age": {"$ref": "#/$defs/n"}}}
    assert "'age' must be of type integer" in flaw([], read_demand(schema=schema), '{"age": "x"}', "stop")


def test_a_flaw_names_the_place_and_never_quotes_the_value():
    schema = {"properties": {"p": {"type": "array", "items": {"type": "object", "required": ["x"]}}}}
    assert flaw([], read_demand(schema=schema), '{"p": [{"s": "secret"}]}', "stop").endswith("'p.0.x' is missing")
    limited = {"properties": {"p": {"maxLength": 2}}}
    assert flaw([], read_demand(schema=limited), '{"p": "secret"}', "stop").endswith(
        "'p' breaks the schema's maxLength"
    )


def test_a_reply_that_cannot_be_checked_has_a_flaw_and_its_bill(monkeypatch):
    def fail(*_):
        raise ValueError("a check of ours that fails")

    monkeypatch.setattr("bestroute.selection.checks.flaw_of", fail)
    came = judge(Sample("{}", usage=Usage(3, 4)), [], read_demand(is_json=True))
    assert (came.flaw, came.usage) == ("could not be checked: ValueError", Usage(3, 4))


def test_equal_calls_have_one_form():
    tools = {"add": ADD}
    same = [
        [Call("add", {"a": 1, "b": 2}), Call("now", {})],
        [Call("now", {}), Call("add", {"b": 2.0, "a": 1})],
        [Call("now", {}), Call("add", {"b": 2, "a": 1, "unit": "m"})],
    ]
    assert len({canonical_calls(calls, tools) for calls in same}) == 1
    assert canonical_calls([Call("add", {"a": 1, "b": 2, "unit": "km"})], tools) != canonical_calls(same[0][:1], tools)
    assert canonical_calls([Call("add", {"a": True})]) != canonical_calls([Call("add", {"a": 1})])


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.none() | st.booleans()), max_size=4))
def test_the_order_of_arguments_never_changes_the_form(arguments):
    turned = dict(reversed(arguments.items()))
    assert canonical_calls([Call("f", arguments)]) == canonical_calls([Call("f", turned)])
    assert render_calls([Call("f", arguments)]) == render_calls([Call("f", turned)])


def sample(form=None, flaw=None, text="", error=None):
    return Sample(text, form=form, flaw=flaw, error=error)


@pytest.mark.parametrize(
    ("samples", "rewards", "wanted"),
    [
        ([sample("x"), sample("y"), sample("y")], [0.9, 0.1, 0.2], 2),  # agreement before reward
        ([sample("x"), sample("y"), sample("z")], [0.1, 0.9, 0.9], 1),  # none agree: reward, the earliest of equals
        ([sample("x"), sample("x", flaw="?"), sample("y"), sample("y")], [0.9, None, 0.1, 0.1], 2),  # no flawed votes
        ([sample(), sample(), sample()], [0.1, 0.2, 0.0], 1),  # plain text: the reward alone
        ([sample("x"), sample("y")], [float("nan"), 0.0], 1),
        ([sample("x", error=ValueError()), sample("y")], [None, None], 1),
        ([sample("x", flaw="?")], [None], None),
    ],
)
def test_agreement_then_reward_then_the_earliest(samples, rewards, wanted):
    assert winner(dict(enumerate(samples)), dict(enumerate(rewards))) == wanted


# In a plan.


def run(samples, plan, reward=lambda text: 0.5):
    pool = Pool(["small", "large"], {"small": Price(1, 1), "large": Price(2, 2)}, "large")
    scored = FakeReward(reward, is_probability=True)
    members = {"small": FakeGenerator(samples["small"]), "large": FakeGenerator(samples.get("large", ["l"]))}
    engine = BestRoute(pool, members, router=lambda q: plan, reward_model=scored)
    return engine.run("q"), scored


def test_flawed_samples_are_billed_and_never_scored():
    drawn = [sample(flaw="?", text="bad"), sample("x", text="good"), sample(flaw="?", text="worse")]
    result, scored = run({"small": drawn}, Plan((Step("small", 3),)))
    assert result.text == "good"
    assert scored.scored == [["good"]]
    assert [s.cost_usd > 0 for s in result.samples] == [True] * 3
    assert sorted(result.to_dict()["flaws"], key=str) == ["?", "?", None]  # three draws at the same time


def test_where_every_sample_is_flawed_the_first_comes_as_the_plain_model_would_have_given_it():
    drawn = [RuntimeError("down"), sample(flaw="?", text="one"), sample(flaw="?", text="two")]
    result, scored = run({"small": drawn}, Plan((Step("small", 3),)))
    assert result.chosen == next(i for i, s in enumerate(result.samples) if s.error is None)
    assert (result.model, len(result.samples), scored.scored) == ("small", 3, [])
    assert "nothing better came: ?" in result.decision.reason


def test_a_flawed_sample_is_never_accepted_and_the_next_step_answers():
    plan = Plan((Step("small", 2, 0.5), Step("large")))
    result, scored = run({"small": [sample(flaw="?", text="bad")], "large": ["fine"]}, plan, lambda text: 1.0)
    assert (result.text, result.model, len(result.samples)) == ("fine", "large", 3)
    assert scored.scored == []


def test_a_last_step_with_a_flaw_gives_way_to_the_best_seen_before():
    plan = Plan((Step("small", 1, 0.9), Step("large")))
    result, _ = run({"small": [sample("x", text="fine")], "large": [sample(flaw="?", text="bad")]}, plan)
    assert result.text == "fine"


def test_where_all_of_a_plan_is_flawed_the_last_models_reply_comes():
    plan = Plan((Step("small", 1, 0.9), Step("large")))
    both = {"small": [sample(flaw="?", text="s")], "large": [sample(flaw="?", text="l")]}
    assert run(both, plan)[0].text == "l"


def test_over_5000_calls_best_of_3_is_valid_exactly_where_a_valid_sample_was_drawn():
    rng = random.Random(7)
    demand = read_demand(TOOLS, "any")
    broken = ['{"a": 1, "b": ', '{"a": 1}', '{"a": 1, "b": "x"}']
    good = [rng.random() < 0.7 for _ in range(15_000)]
    texts = [f'{{"a": {rng.randint(1, 3)}, "b": 2}}' if ok else rng.choice(broken) for ok in good]
    drawn = [judge(Sample(text), [Call.parse("add", text)], demand) for text in texts]
    pool = Pool(["small"], {"small": Price(1, 1)}, "small")
    member = FakeGenerator(drawn, native_n=True)
    engine = BestRoute(pool, {"small": member}, router=lambda q: ("small", 3), reward_model=FakeReward(len))
    valid = hits = 0
    for i in range(0, 15_000, 3):
        result = engine.run("q")
        assert result.text in texts[i : i + 3], "samples are never merged"
        is_valid = result.samples[result.chosen].sample.flaw is None
        assert is_valid == any(good[i : i + 3])
        valid, hits = valid + is_valid, hits + any(good[i : i + 3])
    assert valid == hits
    assert valid / 5000 == pytest.approx(1 - 0.3**3, abs=0.007)


def test_a_query_that_asks_for_no_form_keeps_its_samples_as_they_are():
    assert judge(Sample("x"), [Call("add", None)], read_demand()) == Sample("x")


HOSTILE = {
    "a pattern with many ways": (
        {"type": "object", "properties": {"a": {"pattern": "^(a|a)*$"}}},
        json.dumps({"a": "a" * 40 + "!"}),
    ),
    "a pattern of names with many ways": (
        {"type": "object", "patternProperties": {"^(a|a)*$": {}}, "additionalProperties": False},
        json.dumps({"a" * 40 + "!": 1}),
    ),
    "a schema that doubles": (
        {
            "$defs": {
                **{f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)},
                "d40": {"type": "string"},
            },
            "$ref": "#/$defs/d0",
        },
        "1",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_check_that_runs_out_of_time_is_not_checked_and_says_so(name):
    schema, text = HOSTILE[name]
    judged = judge(Sample(text, finish_reason="stop"), [], read_demand(is_json=True, schema=schema))
    assert judged.flaw is None
    assert judged.unchecked.startswith("not checked: ")


def test_a_sample_that_was_not_checked_stands_behind_one_that_was():
    doubtful = Sample("a", form="x", unchecked="not checked: ...")
    assert winner({0: doubtful, 1: doubtful, 2: Sample("b", form="y")}, {0: 1.0, 1: 1.0, 2: 0.0}) == 2
    assert winner({0: Sample("c", flaw="broken"), 1: doubtful}, {}) == 1


@pytest.mark.parametrize(
    ("items", "is_unique"),
    [([1, True, 0, False, "1", None], True), ([1, 1.0], False), ([{"a": [1, 2]}, {"a": [1, 2.0]}], False), ([], True)],
)
def test_items_are_unique_as_json_schema_says(items, is_unique):
    sample = Sample(json.dumps(items), finish_reason="stop")
    judged = judge(sample, [], read_demand(is_json=True, schema={"type": "array", "uniqueItems": True}))
    assert (judged.flaw is None, judged.unchecked) == (is_unique, None)


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False}, {"n1": 1}, True),
        ({"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False}, {"n1": "x"}, False),
        ({"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False}, {"m": 1}, False),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, {"a": 1, "b": 2}, False),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, {"a": 1, "b": "2"}, True),
        ({"properties": {"a": {"pattern": "^x"}}}, {"a": "xy"}, True),
        ({"properties": {"a": {"pattern": "^x"}}}, {"a": "yx"}, False),
        ({"properties": {"a": {"pattern": "^x"}}}, {"a": 3}, True),
    ],
)
def test_patterns_mean_what_json_schema_says(schema, value, fits):
    judged = judge(Sample(json.dumps(value), finish_reason="stop"), [], read_demand(is_json=True, schema=schema))
    assert (judged.flaw is None) == fits


@pytest.mark.parametrize("text", ["[" * 400 + "]" * 400, "[" * 5000 + "]" * 5000, "1e400", "9" * 5000, '"\\ud83d"'])
def test_any_json_is_judged_without_an_error(text):
    judge(Sample(text, finish_reason="stop"), [], read_demand(is_json=True, schema={"type": ["array", "number"]}))


def test_json_of_more_values_than_are_read_is_not_checked_and_never_parsed(monkeypatch):
    monkeypatch.setattr("bestroute.selection.checks.read_json", lambda text: pytest.fail("it was read"))
    judged = judge(Sample("[" + "[]," * MOST_VALUES + "1]"), [], read_demand(is_json=True))
    assert (judged.flaw, judged.unchecked) == (None, "not checked: it holds more than 100,000 values")


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (1.0, "1"),
        (1e16, "10000000000000000"),
        ("1.0", '"1.0"'),
        ({"b": 1.5, "a": (1, 2.0)}, '{"a": [1, 2], "b": 1.5}'),
        (MappingProxyType({2: 1, "1": 0}), '{"1": 0, "2": 1}'),
    ],
)
def test_equal_values_are_written_in_one_form(value, form):
    assert canonical(value) == form
