"""Rewards that need no training: forms of equal answers, agreement, and the probability of a short answer."""

import asyncio
import math

import pytest

from bestroute import Agreement, BestRoute, ConfigError, LogprobConfidence, Plan, Pool, Price, Query, Step
from bestroute.selection import Call, canonical_calls
from bestroute.selection.answer_form import answer_form, options_in
from bestroute.selection.call_forms import calls_in
from bestroute.testing import FakeGenerator
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.signals import Signals

PLAIN = Query("What is 12 * 7?")
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {}}}]


@pytest.mark.parametrize(
    "same",
    [
        ("84", "84.", "**84**", "$84$", "`84`", "84.0", "+84", "The answer is 84.", "Answer: **84**", r"\boxed{84}"),
        (
            "84",
            "#### 84",
            "12 * 7 = 84",
            "x = 84",
            "x = 2 * 42 = 2 x 42 = 84",
            "area = length * width = 12 * 7 = 84",
            "x = y = 84",
            "f(12) == 84",
            "```\n84\n```",
            r"**Final answer:** $\boxed{84}$",
            "<answer>84</answer>",
        ),
        ("1234.5", "1,234.50", "$1{,}234.5$", "1.2345e3", r"1.2345 \times 10^3"),
        ("0.5", "1/2", r"\frac{1}{2}", r"$\frac12$", ".50"),
        ("5 km", "5km", "5 kilometers", "5,000 m", "5 kilometres."),
        ("2 hours", "120 min", "2h", "120 minutes"),
        ("$5", "5 dollars", "5 USD", "USD 5", "$5.00"),
        ("50%", "50 %", "50 percent", r"50\%"),
        ("2024-03-05", "March 5, 2024", "5 March 2024", "Tuesday, Mar 5th, 2024", "2024/3/5"),
        ("14:30", "2:30 PM", "2:30 p.m."),
        ("[1, 2, 3]", "1, 2, 3", "1,2,3", "1, 2 and 3", "- 1\n- 2\n- 3", "(1, 2, 3)", "[1.0, 2, 3]"),
        ("['a', 'b']", '["a","b"]', "a, b", "1. a\n2. b"),
        ('{"a": 1, "b": [1.0]}', '{"b":[1],"a":1.0}', "{'a': 1, 'b': [1]}", '```json\n{"a":1,"b":[1]}\n```'),
        ("Paris", "paris.", "**Paris**", "The answer is Paris."),
        ("Yes", "yes.", "Yes, it is."),
        ("-3", "\u22123", "- 3"),
        ("84", "<think>12 * 7, the answer is 80?</think>\n84", "80 or 84?\n</think>The answer is 84."),
    ],
)
def test_equal_answers_have_one_form(same):
    assert len({answer_form(text) for text in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("84", "85"),
        ("84", "-84"),
        ("84", "84 km"),
        ("5 km", "5 m"),
        ("84", "84%"),
        ("007", "7"),
        ("4/8", "1/2"),
        ("03/05/2024", "05/03/2024"),
        ("2:30 am", "2:30 pm"),
        ("1, 2, 3", "1, 3, 2"),
        ("1,234", "1, 234"),
        ("'Ab'", "'ab'"),
        ("7 2", "7\n2"),
        ("Yes", "No"),
        ("No, 5", "No, 6"),
        ("1e999999999", "1e999999998"),
        ("x = 3 or x = 5", "x = 4 or x = 5"),
        ("a = 1, b = 2", "a = 3, b = 2"),
        ("x=1 y=2", "x=3 y=2"),
        ("x >= 5", "x <= 5"),
        ("x = a or y = 5", "x = b or y = 5"),
        ("x !== 5", "x == 5"),
        ("x != 5", "x = 5"),
    ],
)
def test_different_answers_have_different_forms(one, other):
    assert answer_form(one) != answer_form(other)


@pytest.mark.parametrize("text", ["", "  ", "**", "$$", "```\n```", "...", "\\boxed{}", "{", "[[[", "\\boxed{" * 9000])
def test_any_text_has_a_form_and_one_that_says_nothing_has_an_empty_one(text):
    assert isinstance(answer_form(text), str)
    assert answer_form(text) == "" or text.strip(" *$`.\n")


def test_a_choice_is_its_letter_however_it_is_written():
    query = "Capital of France?\nA) Rome\nB) Paris\nC) Nice"
    written = ("B", "(B)", "b)", "B.", "Option B", "B) Paris", "**B**", "Paris", "The correct answer is (B) Paris.")
    assert {answer_form(text, options_in(query)) for text in written} == {"option b"}
    assert answer_form("A. Einstein") != answer_form("A. Newton")  # no letters are offered


CALENDAR = {
    "properties": {
        "count": {"type": "integer"},
        "city": {"type": "string"},
        "unit": {"type": "string", "default": "km"},
        "sort": {"type": "string", "description": "How to sort. Default is 'date'."},
        "all": {"type": "boolean"},
    },
    "required": ["count"],
}


@pytest.mark.parametrize(
    "arguments",
    [
        {"count": 5, "city": "Paris, France"},
        {"count": "5", "city": "paris france"},
        {"count": 5.0, "city": "Paris, France", "unit": "km"},
        {"count": 5, "city": "Paris, France", "sort": "date"},
        {"count": 5, "city": "Paris, France", "unit": "", "sort": None},
    ],
)
def test_calls_that_mean_the_same_by_their_schema_have_one_form(arguments):
    wanted = canonical_calls([Call("find", {"count": 5, "city": "Paris, France"})], {"find": CALENDAR})
    assert canonical_calls([Call("find", arguments)], {"find": CALENDAR}) == wanted


@pytest.mark.parametrize(
    "arguments",
    [{"count": 6}, {"count": 5, "unit": "mi"}, {"count": 5, "sort": "name"}, {"count": 5, "all": True}, {}],
)
def test_calls_that_mean_something_else_have_another_form(arguments):
    wanted = canonical_calls([Call("find", {"count": 5})], {"find": CALENDAR})
    assert canonical_calls([Call("find", arguments)], {"find": CALENDAR}) != wanted


def test_arguments_are_read_by_their_type_where_the_schema_refers_to_it_or_allows_null():
    schema = {
        "properties": {
            "count": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "limit": {"type": ["integer", "null"]},
            "at": {"$ref": "#/$defs/place"},
        },
        "$defs": {"place": {"properties": {"x": {"type": "integer", "default": 7}, "near": {"$ref": "#/$defs/place"}}}},
    }
    same = [
        {"count": 5, "limit": 2, "at": {"x": 7, "near": {"x": 1}}},
        {"count": "5", "limit": "2", "at": {"near": {"x": "1"}}},
    ]
    assert len({canonical_calls([Call("find", arguments)], {"find": schema}) for arguments in same}) == 1


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        ("Long", "5", 5),
        ("double", "1.50", 1.5),
        ("Boolean", "true", True),
        ("char", 5, "5"),
        ("ArrayList", '["a", "B"]', ["a", "b"]),
        ("HashMap", '{"a": 1.0}', {"a": 1}),
        ("object", '{"a": 1}', {"a": 1}),
        (["Integer", "null"], "5", 5),
    ],
)
def test_types_of_programming_languages_are_those_of_json(kind, written, meant):
    schema = {"properties": {"x": {"type": kind}}}
    forms = {canonical_calls([Call("f", {"x": value})], {"f": schema}) for value in (written, meant)}
    assert len(forms) == 1


def test_names_that_a_provider_had_to_change_are_those_of_the_tools():
    tools = {"geo.area": {"properties": {"side": {"type": "integer"}}}}
    same = [Call("geo.area", {"side": 2}), Call("geo_area", {"side": "2"})]
    assert len({canonical_calls([call], tools) for call in same}) == 1
    assert canonical_calls([Call("a.b", {})], tools) != canonical_calls([Call("a_b", {})], tools)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"n": {"type": "integer", "allOf": [{"minimum": 1}]}}},
        {"properties": {"n": {"type": "integer"}}, "anyOf": [{"required": ["n"]}]},
        {"$ref": "#/$defs/all", "$defs": {"all": {"properties": {"n": {"type": "integer"}}}}},
    ],
    ids=["a bound beside the type", "a demand beside the properties", "the whole one elsewhere"],
)
def test_what_stands_beside_a_type_takes_nothing_from_it(schema):
    outer = {"properties": {"at": schema}, "$defs": schema.get("$defs", {})}
    assert canonical_calls([Call("f", {"n": "5"})], {"f": schema}) == canonical_calls([Call("f", {"n": 5})])
    assert canonical_calls([Call("f", {"at": {"n": "5"}})], {"f": outer}) == canonical_calls(
        [Call("f", {"at": {"n": 5}})]
    )


def test_calls_are_read_from_json_and_from_what_we_render():
    wanted = [Call("add", {"a": 2}), Call("now", {})]
    assert calls_in('[{"name": "add", "arguments": {"a": 2}}, {"name": "now", "arguments": "{}"}]') == wanted
    assert calls_in('add({"a": 2})\nnow({})') == wanted
    assert calls_in("Shall I add 2?") is None


def drawn(*pairs: tuple[str, str]) -> list[DrawnSample]:
    return [DrawnSample(Sample(text), model, 0) for model, text in pairs]


def test_a_lone_vote_is_no_agreement():
    rewards = Agreement().score_samples(PLAIN, drawn(("a", "84"), ("b", "85")))
    assert all(map(math.isnan, rewards))
    assert math.isnan(Agreement().score(PLAIN, ["84"])[0])


def test_members_vote_together_and_apart():
    samples = drawn(("a", "84"), ("b", "84."), ("a", "**84**"))
    assert Agreement().score_samples(PLAIN, samples) == [0.9375] * 3
    own = Agreement(across=False).score_samples(PLAIN, samples)
    assert own[0] == own[2] == 0.875
    assert math.isnan(own[1])


def test_no_call_is_an_answer_of_its_own_kind_that_takes_a_vote_more():
    query = Query("What time is it?", tools=TOOLS)
    call, none = Sample("now({})", form='["now({})"]'), Sample("I cannot tell.", form="[]")
    assert Agreement().score_samples(query, [call, call]) == [0.875, 0.875]
    assert Agreement().score_samples(query, [none, none]) == [0.75, 0.75]
    assert all(map(math.isnan, Agreement().score_samples(query, [call, none])))


@pytest.mark.parametrize(
    ("signals", "finish", "expected"),
    [
        (Signals.from_logprobs([-0.1, -0.2]), "stop", math.exp(-0.3)),
        (Signals.from_logprobs([-0.01] * 16), "stop", math.exp(-0.16)),
        (Signals.from_logprobs([-0.001] * 17), "stop", math.nan),
        (Signals.from_logprobs([-0.1, None]), "stop", math.nan),
        (Signals.from_logprobs([-0.1], tokens=2), "stop", math.nan),
        (Signals.from_logprobs([-0.1]), "length", math.nan),
        (Signals(sum_logprob=-0.1), "stop", math.nan),
        (Signals(sum_logprob=0.5, tokens=1), "stop", math.nan),
        (Signals(sum_logprob=math.nan, tokens=1), "stop", math.nan),
        (Signals(), "stop", math.nan),
        (None, "stop", math.nan),
    ],
)
def test_the_probability_of_a_short_whole_answer_is_known_only_where_all_of_it_is(signals, finish, expected):
    found = LogprobConfidence().score_samples(PLAIN, [Sample("84", signals=signals, finish_reason=finish)])[0]
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("accept", [-0.1, 1.1, True, "0.7", math.nan])
def test_a_level_that_is_no_probability_is_refused(accept):
    with pytest.raises(ConfigError, match="accept must be in"):
        LogprobConfidence(accept)
    with pytest.raises(ConfigError, match="accept must be in"):
        Agreement(accept=accept)


def engine(small: FakeGenerator, reward, plan: Plan) -> BestRoute:
    pool = Pool(
        ["small", "mid", "large"], {m: Price(p, p) for m, p in (("small", 1), ("mid", 2), ("large", 50))}, "large"
    )
    members = {"small": small, "mid": FakeGenerator(["84."]), "large": FakeGenerator(["the reference"])}
    return BestRoute(pool, members, router=lambda query: plan, reward_model=reward)


THREE = Plan((Step("small", 1, 0.7), Step("mid", 1, 0.7), Step("large")))


def test_two_members_that_agree_are_accepted_and_two_that_do_not_are_not():
    agreed = engine(FakeGenerator(["**84**"]), Agreement(), THREE).run("What is 12 * 7?")
    assert (agreed.text, [s.model for s in agreed.samples]) == ("**84**", ["small", "mid"])
    apart = engine(FakeGenerator(["83"]), Agreement(), THREE).run("What is 12 * 7?")
    assert (apart.text, len(apart.samples)) == ("the reference", 3)


def test_sync_and_async_accept_alike_on_log_probabilities_and_without_them_nothing_is():
    plan = Plan((Step("small", 1, 0.7), Step("large")))
    sure = Sample("84", signals=Signals.from_logprobs([-0.1]))
    for sample, text in ((sure, "84"), (Sample("84"), "the reference")):
        made = engine(FakeGenerator([sample]), LogprobConfidence(), plan)
        assert made.run("What is 12 * 7?").text == text
        assert asyncio.run(made.arun("What is 12 * 7?")).text == text


def test_the_form_of_a_list_is_found_however_much_white_space_is_in_it():
    assert answer_form("red, green" + " " * 1_000_000 + "and blue") == answer_form("red; green and blue")
    assert answer_form("a,b" + " " * 1_000_000 + "and") == answer_form("a, b and")


@pytest.mark.parametrize("separator", [",", "\n- "])
def test_a_list_of_very_many_items_is_compared_as_a_text(separator):
    many, few = ("- " + separator.join(["1.0"] * count) for count in (100_000, 1_000))
    assert answer_form(few).startswith("[")
    assert not answer_form(many).startswith("[")
