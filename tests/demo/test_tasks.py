import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestroute.demo.dataset import PROMPTS
from bestroute.demo.tasks import FAMILIES, check, generate, normalise
from bestroute.demo.tasks.numbers import roman
from bestroute.records.jsonl import read_jsonl

ALL = generate()


def record(kind, answer):
    return {"kind": kind, "answer": answer}


# One right and several wrong answers of every family, in the forms small models really use.
RIGHT = [
    ("addition", record("number", "84"), ["84", "84.", "**84**", "The answer is 84.", "12 + 72 = 84", "84 apples"]),
    ("subtraction", record("number", "-19"), ["-19", "3 - 22 = -19", "The result is -19.", "-19.0"]),
    (
        "multiplication",
        record("number", "1024"),
        ["1,024", "32*32=1024", "32 times 32 equals 1024.", "$1024", "1024\n\nBecause 32 * 32 = 1024"],
    ),
    (
        "comparison",
        record("number", "10.7"),
        ["10.7", "10.70", "The larger number is 10.7.", "10.7 is larger than 10.19."],
    ),
    ("sequence", record("number", "41"), ["41", "The next number is 41", "Answer: 41"]),
    ("percentage", record("number", "60"), ["60", "60.0", "$60", "It costs 60 dollars"]),
    ("roman", record("text", "XIX"), ["XIX", "XIX.", "`XIX`", "The Roman numeral is XIX"]),
    ("divisibility", record("yesno", "no"), ["No", "no.", "No, 65 is odd.", "**No**", "The answer is no, 65 is odd."]),
    ("word-problem", record("number", "25"), ["25", "Emma has 20 + 5 = 25", "25 marbles"]),
    ("dates", record("word", "Friday"), ["Friday", "friday.", "It is Friday.", "The day is **Friday**"]),
    ("time", record("text", "6:12"), ["6:12", "6:12.", "The film ends: 6:12"]),
    ("units", record("number", "23000"), ["23000", "23,000", "23 km = 23000", "23000 meters"]),
    ("strings", record("text", "nomel"), ["nomel", "'nomel'", "`nomel`", "The word backwards is nomel."]),
    ("lists", record("list", "8, 15, 3"), ["8, 15, 3", "[8, 15, 3]", "8,15,3", "8 15 3", "The list is [8, 15, 3]."]),
    ("sorting", record("list", "castle, pocket"), ["castle, pocket", "['castle', 'pocket']", "castle and pocket"]),
    ("code", record("text", "3 2"), ["3 2", "```\n3 2\n```", "```python\n3 2", "The code prints 3 2"]),
    ("facts", record("word", "Paris"), ["Paris", "paris", "The capital of France is Paris.", '"Paris"']),
    ("vocabulary", record("word", "cold"), ["cold", "Cold.", "The opposite is cold", "opposite: cold"]),
    ("logic", record("word", "True"), ["True", "true", "The value is True."]),
]
WRONG = [
    ("addition", record("number", "84"), ["", "8", "184", "-84", "84 or 85", "83", "12 + 72 = 83", "eighty"]),
    ("subtraction", record("number", "-19"), ["19", "- 18", "3 - 22"]),
    ("multiplication", record("number", "1024"), ["1,0245", "10.24", "32 * 32"]),
    ("comparison", record("number", "10.7"), ["10.19", "10.7 or 10.19", "107", "10", "10.19 is larger than 10.7."]),
    ("sequence", record("number", "41"), ["36, 46", "41, 46", "4"]),
    ("percentage", record("number", "60"), ["600", "0.6", "either 60 or 6"]),
    ("roman", record("text", "XIX"), ["XXI", "xix", "XI", "XIXI"]),
    (
        "divisibility",
        record("yesno", "no"),
        ["Yes", "", "Yes and no", "65", "not sure", "426 is indeed odd. It has no divisors"],
    ),
    (
        "word-problem",
        record("number", "25"),
        ["20", "Emma has 20 + 5 = 26", "2.5", "25 of the 30 apples", "Let 25 and 5 be given"],
    ),
    ("dates", record("word", "Friday"), ["Saturday", "Friday or Saturday", "Fri", ""]),
    ("time", record("text", "6:12"), ["6:1", "16:12", "6.12", "612"]),
    ("units", record("number", "23000"), ["2300", "23", "230000"]),
    ("strings", record("text", "nomel"), ["lemon", "nome", "NOMEL", "n o m e l"]),
    ("lists", record("list", "8, 15, 3"), ["8, 3, 15", "8, 15", "8, 15, 3, 1", ""]),
    ("sorting", record("list", "castle, pocket"), ["pocket, castle", "castle", "castlepocket"]),
    ("code", record("text", "3 2"), ["32", "2 3", "3", "3 2 1"]),
    ("facts", record("word", "Paris"), ["London", "Paris or London", "Parisian", "Paris, London"]),
    ("vocabulary", record("word", "cold"), ["hot", "colder", "hot is the opposite of cold, warm"]),
    ("logic", record("word", "True"), ["False", "True or False", "not True and"]),
]


@pytest.mark.parametrize(("family", "task", "answers"), RIGHT, ids=[row[0] for row in RIGHT])
def test_right_answers_pass_in_several_forms(family, task, answers):
    assert [a for a in answers if check(task, a) != 1.0] == []


@pytest.mark.parametrize(("family", "task", "answers"), WRONG, ids=[row[0] for row in WRONG])
def test_wrong_answers_fail(family, task, answers):
    assert [a for a in answers if check(task, a) != 0.0] == []


def test_every_family_has_right_and_wrong_answers_above():
    assert {row[0] for row in RIGHT} == {row[0] for row in WRONG} == set(FAMILIES)


def test_there_are_120_groups_in_at_least_12_families_and_no_question_twice():
    assert len({p["group"] for p in ALL}) == 120
    assert len({p["task"] for p in ALL}) >= 12
    assert len({p["query"] for p in ALL}) == len({p["id"] for p in ALL}) == len(ALL) == 720


def test_prompts_come_in_rounds_so_that_a_part_covers_every_group():
    assert len({p["group"] for p in ALL[:120]}) == 120
    assert len({p["group"] for p in ALL[120:240]}) == 120


def test_the_frozen_prompts_are_what_the_generators_make():
    assert [value for _, value in read_jsonl(PROMPTS)] == ALL


def test_a_seed_makes_the_same_prompts_and_another_makes_others():
    assert generate(2, seed=3) == generate(2, seed=3)
    assert generate(2, seed=3) != generate(2, seed=4)


@pytest.mark.parametrize("dress", ["{}", "{}.", "The answer is {}.", "**{}**", '"{}"', "{}\n\nBecause 3 + 4 = 7."])
def test_every_answer_passes_its_own_check(dress):
    assert [p["id"] for p in ALL if check(p, dress.format(p["answer"])) != 1.0] == []


def test_every_other_answer_of_the_group_fails():
    by_group = {}
    for p in ALL:
        by_group.setdefault(p["group"], []).append(p)
    for prompts in by_group.values():
        for one in prompts:
            for other in prompts:
                assert check(one, other["answer"]) == (one["answer"] == other["answer"])


def test_answers_are_short():
    assert max(len(p["answer"]) for p in ALL) <= 40


def numbers_in(prompt):
    return [int(x) for x in re.findall(r"\d+", prompt["query"])]


def test_sums_and_products_are_right_when_read_back_from_the_question():
    for p in ALL:
        if p["task"] == "addition":
            assert sum(numbers_in(p)) == int(p["answer"]), p["query"]
        if p["group"].startswith("multiplication"):
            a, b = numbers_in(p)
            assert a * b == int(p["answer"]), p["query"]
        if p["group"] in ("sort-three", "sort-five"):
            assert ", ".join(map(str, sorted(numbers_in(p)))) == p["answer"]
        if p["group"] == "reverse-word":
            assert re.search(r"'(\w+)'", p["query"]).group(1) == p["answer"][::-1]


def test_roman_numerals():
    assert [roman(n) for n in (4, 9, 14, 40, 90, 149)] == ["IV", "IX", "XIV", "XL", "XC", "CXLIX"]


@pytest.mark.parametrize(
    ("said", "same"),
    [
        (["84", "84.", "**84.0**", "12*7 = 84", "The answer is 84", "84\nBecause"], "84"),
        (["1,024", "1024", "1024.00"], "1024"),
        (["Yes", "yes.", "Yes, it is."], "yes"),
        (["Paris", "paris.", "'Paris'"], "paris"),
        (["```\n3 2\n```", "3 2"], "3 2"),
        (["0.5", ".5", "**.50**", "Answer: .5"], "0.5"),
        (["8,15,3,16", "[8,15,3,16]"], "8,15,3,16"),
        (["-5", "-5.0", "7 - 12 = -5"], "-5"),
    ],
)
def test_equal_answers_normalise_to_one_form(said, same):
    assert {normalise(text) for text in said} == {same}


@settings(max_examples=500)
@given(st.text())
def test_normalising_is_total_and_idempotent(text):
    assert normalise(normalise(text)) == normalise(text)


@settings(max_examples=300)
@given(st.text(), st.sampled_from(ALL))
def test_checking_never_raises(text, prompt):
    assert check(prompt, text) in (0.0, 1.0)
