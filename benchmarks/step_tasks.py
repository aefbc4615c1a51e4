# ruff: noqa: E501 - questions are one text each
"""Questions that take several steps, with their truth, and the reading of step-by-step answers.

``python benchmarks/step_tasks.py --per-group 4 > PROMPTS.jsonl`` writes them; a group is one template. The model is asked
to work step by step and to end with a line ``Answer: <number>``. A second kind asks plain facts of the demo set in one
sentence: short free answers, whose right word stands among others.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from bestroute.demo.tasks import facts

Make = Callable[[Random], tuple[str, int]]

STEPS = 'Work it out step by step. End with a line "Answer: " and the number.'
BY_LINE = (
    "Work it out step by step, one short calculation a line, as in this example. Question: A shop sells 3 boxes of 12 pens "
    "and then 5 single pens. How many pens is that? Work: 3 * 12 = 36\n36 + 5 = 41\nAnswer: 41\n\nQuestion: {}\nWork:"
)
SENTENCE = "Answer in one short sentence."
_NAMES = ("Ada", "Bruno", "Chloe", "Dario", "Elif", "Farid", "Gita", "Henk", "Ines", "Jonas")


def _who(random: Random) -> str:
    return random.choice(_NAMES)


def _bakery(r: Random) -> tuple[str, int]:
    trays, rolls, eaten, bag = r.randint(4, 9), r.randint(12, 24), r.randint(3, 11), r.randint(3, 6)
    left = trays * rolls - eaten
    left -= left % bag
    eaten = trays * rolls - left
    return (
        f"A bakery makes {trays} trays of {rolls} rolls. The staff eat {eaten}, and the rest goes into bags of {bag}. "
        "How many bags are filled?",
        left // bag,
    )


def _savings(r: Random) -> tuple[str, int]:
    name, start, week, weeks, spent = _who(r), r.randint(20, 90), r.randint(5, 18), r.randint(4, 9), r.randint(10, 40)
    return (
        f"{name} has {start} dollars, saves {week} dollars a week for {weeks} weeks, and then spends {spent} dollars. "
        f"How many dollars does {name} have then?",
        start + week * weeks - spent,
    )


def _train(r: Random) -> tuple[str, int]:
    on, off1, on1, off2, on2 = (
        r.randint(60, 140),
        r.randint(8, 30),
        r.randint(5, 25),
        r.randint(8, 30),
        r.randint(5, 25),
    )
    return (
        f"A train starts with {on} passengers. At the first stop {off1} get off and {on1} get on; at the second {off2} "
        f"get off and {on2} get on. How many passengers are on the train now?",
        on - off1 + on1 - off2 + on2,
    )


def _garden(r: Random) -> tuple[str, int]:
    length, width, post = r.randint(8, 30) * 2, r.randint(4, 15) * 2, 2
    return (
        f"A garden is {length} metres long and {width} metres wide. A fence runs around it with a post every {post} metres. "
        "How many posts are there?",
        (length + width) * 2 // post,
    )


def _discount(r: Random) -> tuple[str, int]:
    price, count, off = r.randint(3, 12) * 10, r.randint(2, 6), r.choice((10, 20, 30, 40))
    return (
        f"A chair costs {price} dollars. You buy {count} chairs and get {off} percent off the whole bill. "
        "How many dollars do you pay?",
        price * count * (100 - off) // 100,
    )


def _ages(r: Random) -> tuple[str, int]:
    young, more, times = r.randint(4, 12), r.randint(2, 6), r.randint(2, 4)
    one, two, three = r.sample(_NAMES, 3)
    return (
        f"{one} is {young} years old. {two} is {more} years older than {one}. {three} is {times} times as old as {two}. "
        "How old are the three together?",
        young + young + more + times * (young + more),
    )


def _pages(r: Random) -> tuple[str, int]:
    days1, rate1, days2, rate2, rest = (
        r.randint(3, 8),
        r.randint(12, 30),
        r.randint(2, 6),
        r.randint(20, 45),
        r.randint(10, 99),
    )
    name = _who(r)
    total = days1 * rate1 + days2 * rate2 + rest
    return (
        f"A book has {total} pages. {name} reads {rate1} pages a day for {days1} days and {rate2} pages a day for {days2} days. "
        "How many pages are left?",
        rest,
    )


def _tank(r: Random) -> tuple[str, int]:
    fill, drain, minutes, start = r.randint(12, 30), r.randint(3, 10), r.randint(5, 15), r.randint(20, 80)
    return (
        f"A tank holds {start} litres. {fill} litres flow in each minute and {drain} litres leak out each minute. "
        f"How many litres are in it after {minutes} minutes?",
        start + (fill - drain) * minutes,
    )


def _tickets(r: Random) -> tuple[str, int]:
    adult, child, adults, children = r.randint(9, 18), r.randint(3, 8), r.randint(2, 7), r.randint(3, 12)
    paid = ((adult * adults + child * children) // 50 + 1) * 50
    return (
        f"A ticket costs {adult} dollars for an adult and {child} dollars for a child. A group of {adults} adults and "
        f"{children} children pays with {paid} dollars. How many dollars do they get back?",
        paid - adult * adults - child * children,
    )


def _wages(r: Random) -> tuple[str, int]:
    name, rate, hours, extra = _who(r), r.randint(11, 25), r.randint(36, 40), r.randint(2, 9)
    return (
        f"{name} earns {rate} dollars an hour for the first {hours} hours of a week and twice that for every further hour. "
        f"How many dollars does {name} earn in a week of {hours + extra} hours?",
        rate * hours + 2 * rate * extra,
    )


def _eggs(r: Random) -> tuple[str, int]:
    hens, eggs, days, broken = r.randint(6, 15), r.randint(2, 5), r.randint(5, 9), r.randint(3, 20)
    total = hens * eggs * days - broken
    broken += total % 12
    return (
        f"{hens} hens lay {eggs} eggs each in a day. In {days} days {broken} eggs break; the rest is packed in dozens. "
        "How many dozens are there?",
        (hens * eggs * days - broken) // 12,
    )


def _ratio(r: Random) -> tuple[str, int]:
    a, b, unit = r.randint(2, 5), r.randint(6, 9), r.randint(4, 15)
    one, two = r.sample(_NAMES, 2)
    return (
        f"{one} and {two} share {(a + b) * unit} marbles in the ratio {a} to {b}. How many more marbles does {two} get?",
        (b - a) * unit,
    )


def _trip(r: Random) -> tuple[str, int]:
    speed1, hours1, speed2, hours2 = r.randint(5, 9) * 10, r.randint(2, 5), r.randint(4, 11) * 5, r.randint(2, 4)
    left = r.randint(12, 95)
    return (
        f"A car drives {hours1} hours at {speed1} km/h and then {hours2} hours at {speed2} km/h. The whole trip is "
        f"{speed1 * hours1 + speed2 * hours2 + left} km long. How many km are left?",
        left,
    )


def _seats(r: Random) -> tuple[str, int]:
    rows, seats, sections, empty = r.randint(8, 15), r.randint(9, 16), r.randint(2, 4), r.randint(15, 60)
    return (
        f"A hall has {sections} sections, each with {rows} rows of {seats} seats. {empty} seats are empty. "
        "How many seats are taken?",
        sections * rows * seats - empty,
    )


def _interest(r: Random) -> tuple[str, int]:
    amount, rate, years = r.randint(2, 15) * 100, r.randint(2, 8), r.randint(2, 6)
    return (
        f"{amount} dollars earn {rate} percent simple interest a year. How many dollars are there after {years} years?",
        amount + amount * rate * years // 100,
    )


def _clock(r: Random) -> tuple[str, int]:
    hour, minute, lessons, length, gap = (
        r.randint(7, 9),
        r.choice((0, 10, 15, 20)),
        r.randint(3, 5),
        r.randint(35, 55),
        r.randint(5, 15),
    )
    return (
        f"School starts at {hour}:{minute:02}. There are {lessons} lessons of {length} minutes with a break of {gap} minutes "
        "between two lessons. How many minutes after the start does the last lesson end?",
        lessons * length + (lessons - 1) * gap,
    )


def _average(r: Random) -> tuple[str, int]:
    mean, known = r.randint(70, 90), [r.randint(50, 85) for _ in range(3)]
    return (
        f"The average of four test scores is {mean}. Three of them are {known[0]}, {known[1]} and {known[2]}. "
        "What is the fourth score?",
        4 * mean - sum(known),
    )


def _paint(r: Random) -> tuple[str, int]:
    walls, long, high, per = r.randint(3, 6), r.randint(4, 9), r.randint(2, 4), r.choice((4, 5, 6))
    area = walls * long * high
    return (
        f"{walls} walls, each {long} metres long and {high} metres high, are painted. One can covers {per} square metres. "
        "How many full cans must be bought?",
        -(-area // per),
    )


def _consecutive(r: Random) -> tuple[str, int]:
    first = r.randint(11, 60)
    return f"The sum of three consecutive whole numbers is {3 * first + 3}. What is the largest of them?", first + 2


def _stairs(r: Random) -> tuple[str, int]:
    floors, steps, times = r.randint(3, 9), r.randint(14, 22), r.randint(2, 5)
    return (
        f"There are {steps} steps between two floors. Someone walks from floor 1 to floor {floors} and back, {times} times. "
        "How many steps is that?",
        (floors - 1) * steps * 2 * times,
    )


def _mixture(r: Random) -> tuple[str, int]:
    red, blue, green = r.randint(8, 30), r.randint(2, 4), r.randint(3, 12)
    return (
        f"A box holds {red} red balls, {blue} times as many blue balls, and {green} fewer green balls than blue ones. "
        "How many balls are in the box?",
        red + blue * red + blue * red - green,
    )


def _phone(r: Random) -> tuple[str, int]:
    base, free, rate, used = r.randint(10, 25), r.choice((50, 100, 150)), r.choice((2, 3, 4)), r.randint(20, 90)
    return (
        f"A phone plan costs {base} dollars a month with {free} free minutes; each further minute costs {rate} dollars. "
        f"How many dollars does a month with {free + used} minutes cost?",
        base + rate * used,
    )


def _halves(r: Random) -> tuple[str, int]:
    rest, gone = r.randint(3, 15), r.randint(2, 9)
    name = _who(r)
    return (
        f"{name} gives half of a number of stamps away, then {gone} more, and has {rest} left. "
        f"How many stamps did {name} have at first?",
        2 * (rest + gone),
    )


def _sequence(r: Random) -> tuple[str, int]:
    first, step, place = r.randint(3, 20), r.randint(4, 13), r.randint(8, 15)
    return (
        f"A sequence starts with {first} and each term is {step} more than the one before. "
        f"What is the sum of term 1 and term {place}?",
        2 * first + step * (place - 1),
    )


FAMILIES: Mapping[str, Make] = {
    make.__name__.removeprefix("_"): make
    for make in (
        _bakery, _savings, _train, _garden, _discount, _ages, _pages, _tank, _tickets, _wages, _eggs, _ratio, _trip,
        _seats, _interest, _clock, _average, _paint, _consecutive, _stairs, _mixture, _phone, _halves, _sequence,
    )
}  # fmt: skip


def step_prompts(per_group: int, seed: int = 0) -> list[dict[str, Any]]:
    """Make prompts in rounds: one question of every group, then the second of every group, and so on."""
    by_group = [_distinct(name, make, per_group, Random(f"{seed}:{name}")) for name, make in FAMILIES.items()]
    return [group[i] for i in range(per_group) for group in by_group]


def _distinct(name: str, make: Make, size: int, random: Random) -> list[dict[str, Any]]:
    found: dict[str, int] = {}
    while len(found) < size:
        question, answer = make(random)
        found.setdefault(question, answer)
    return [
        {
            "id": f"{name}-{i}",
            "query": f"{question} {STEPS}",
            "group": name,
            "task": "steps",
            "answer": str(answer),
        }
        for i, (question, answer) in enumerate(found.items())
    ]


def sentence_prompts(per_group: int, seed: int = 0) -> list[dict[str, Any]]:
    """Make questions about facts of the demo set that are to be answered by a sentence."""
    prompts = []
    for groups in facts.FAMILIES.values():
        for group in (group for group in groups if group.kind == "word"):
            random, found = Random(f"{seed}:{group.name}"), dict[str, str]()
            for _ in range(50 * per_group):
                question, answer = group.make(random)
                if len(found) < per_group and answer.casefold() not in question.casefold():
                    found.setdefault(question, answer)
            prompts += [
                (i, {"id": f"{group.name}-s{i}", "query": f"{question} {SENTENCE}", "group": group.name, "task": "sentence",
                     "answer": answer})
                for i, (question, answer) in enumerate(found.items())
            ]  # fmt: skip
    return [prompt for _, prompt in sorted(prompts, key=lambda numbered: numbered[0])]


_FINAL = re.compile(r"(?:answer|boxed)\W*(?:is\W*|boxed\W*)?(\d[\d,]*(?:\.\d+)?)", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def final_number(text: str) -> tuple[str, int, int] | None:
    """Return the number that an answer ends with, in one form, and where it stands; ``None`` if it has none.

    What follows the last "Answer:" or stands in the last box, else the last number; no truth here is below 0.

    Example:
        >>> final_number("4 * 3 = 12. Answer: 1,012.0 dollars in 3 days")
        ('1012', 20, 27)
    """
    named = list(_FINAL.finditer(text))
    if named:
        begin, end = named[-1].span(1)
    elif numbers := list(_NUMBER.finditer(text)):
        begin, end = numbers[-1].span()
    else:
        return None
    digits = text[begin:end].replace(",", "")
    whole, _, decimals = digits.partition(".")
    return whole + ("." + decimals.rstrip("0") if decimals.rstrip("0") else ""), begin, end


def check(prompt: Mapping[str, Any], text: str) -> float:
    """Return 1.0 if an answer is right, else 0.0."""
    if prompt["task"] == "sentence":
        return float(re.search(rf"(?<!\w){re.escape(prompt['answer'])}(?!\w)", text, re.IGNORECASE) is not None)
    found = final_number(text)
    return float(found is not None and found[0] == prompt["answer"])


def _lines(prompts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (json.dumps(prompt, ensure_ascii=False) for prompt in prompts)


def main() -> None:
    """Print the prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("steps", "steps-by-line", "sentences"), default="steps")
    parser.add_argument("--per-group", type=int, default=4)
    options = parser.parse_args()
    make = sentence_prompts if options.kind == "sentences" else step_prompts
    prompts = make(options.per_group)
    if options.kind == "steps-by-line":
        prompts = [{**p, "query": BY_LINE.format(p["query"].removesuffix(f" {STEPS}"))} for p in prompts]
    print("\n".join(_lines(prompts)))


if __name__ == "__main__":
    main()
