"""Families about letters, lists and small programs."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bestroute.demo.tasks.group import Group, Make

_WORDS = (
    "apple", "banana", "bridge", "candle", "castle", "cotton", "dragon", "engine", "flower", "garden", "guitar",
    "hammer", "island", "jungle", "kitten", "lemon", "market", "mirror", "needle", "orange", "pepper", "pocket",
    "rabbit", "silver", "summer", "table", "tiger", "violin", "window", "yellow",
)  # fmt: skip


def _of_word(template: str, answer: Callable[[str], str]) -> Make:
    def make(random: Random) -> tuple[str, str]:
        word = random.choice(_WORDS)
        return template.format(word), answer(word)

    return make


def _count_letter(random: Random) -> tuple[str, str]:
    word = random.choice(_WORDS)
    letter = random.choice(word)
    return f"How many times does the letter '{letter}' appear in '{word}'?", str(word.count(letter))


def _nth_letter(random: Random) -> tuple[str, str]:
    word, (name, i) = random.choice(_WORDS), random.choice((("second", 1), ("third", 2), ("fourth", 3)))
    return f"What is the {name} letter of the word '{word}'?", word[i]


def _join(random: Random) -> tuple[str, str]:
    one, two = random.sample(_WORDS, 2)
    return f"Join the words '{one}' and '{two}' without a space.", one + two


def _starts_with(random: Random) -> tuple[str, str]:
    word, letter = random.choice(_WORDS), random.choice("abcfglmps")
    return f"Does the word '{word}' start with the letter '{letter}'?", "yes" if word[0] == letter else "no"


def _numbers(random: Random, size: int, low: int = 1, high: int = 60) -> list[int]:
    return random.sample(range(low, high + 1), size)


def _shown(items: list[int] | list[str]) -> str:
    return "[" + ", ".join(map(str, items)) + "]"


def _of_list(size: tuple[int, int], template: str, answer: Callable[[list[int]], object]) -> Make:
    def make(random: Random) -> tuple[str, str]:
        numbers = _numbers(random, random.randint(*size))
        return template.format(_shown(numbers)), str(answer(numbers))

    return make


def _index_of(random: Random) -> tuple[str, str]:
    numbers = _numbers(random, 5)
    name, i = random.choice((("first", 0), ("second", 1), ("third", 2), ("fourth", 3)))
    return f"What is the {name} element of the list {_shown(numbers)}?", str(numbers[i])


def _count_item(random: Random) -> tuple[str, str]:
    numbers = [random.randint(1, 3) for _ in range(random.randint(5, 8))]
    item = random.choice(numbers)
    return f"How many times does {item} occur in the list {_shown(numbers)}?", str(numbers.count(item))


def _reversed_list(random: Random) -> tuple[str, str]:
    numbers = _numbers(random, 4, 1, 20)
    return f"Reverse the list {_shown(numbers)}.", ", ".join(map(str, numbers[::-1]))


def _sorted_numbers(size: int, high: int, *, down: bool = False) -> Make:
    def make(random: Random) -> tuple[str, str]:
        numbers = _numbers(random, size, 1, high)
        order = "largest to smallest" if down else "smallest to largest"
        return (
            f"Sort these numbers from {order}: {', '.join(map(str, numbers))}.",
            ", ".join(map(str, sorted(numbers, reverse=down))),
        )

    return make


def _sorted_words(size: int) -> Make:
    def make(random: Random) -> tuple[str, str]:
        words = random.sample(_WORDS, size)
        return f"Sort these words alphabetically: {', '.join(words)}.", ", ".join(sorted(words))

    return make


def _first_word(random: Random) -> tuple[str, str]:
    words = random.sample(_WORDS, 3)
    return f"Which of these words comes first in the alphabet: {', '.join(words)}?", min(words)


def _program(template: str, make_values: Callable[[Random], tuple[dict[str, object], object]]) -> Make:
    def make(random: Random) -> tuple[str, str]:
        values, printed = make_values(random)
        return f"What does this Python code print?\n\n{template.format(**values)}\n\n", str(printed)

    return make


def _sum_of_range(r: Random) -> tuple[dict[str, object], object]:
    n = r.randint(3, 9)
    return {"n": n}, sum(range(n))


def _expression(r: Random) -> tuple[dict[str, object], object]:
    a, b, c = r.randint(2, 9), r.randint(2, 9), r.randint(2, 5)
    return {"a": a, "b": b, "c": c}, a + b * c


def _length(r: Random) -> tuple[dict[str, object], object]:
    word = r.choice(_WORDS)
    return {"word": word}, len(word)


def _upper(r: Random) -> tuple[dict[str, object], object]:
    word = r.choice(_WORDS)
    return {"word": word}, word.upper()


def _slice(r: Random) -> tuple[dict[str, object], object]:
    word, i = r.choice(_WORDS), r.randint(1, 2)
    j = i + r.randint(2, 3)
    return {"word": word, "i": i, "j": j}, word[i:j]


def _floor(r: Random) -> tuple[dict[str, object], object]:
    a, b = r.randint(17, 60), r.randint(3, 8)
    return {"a": a, "b": b}, f"{a // b} {a % b}"


def _loop(r: Random) -> tuple[dict[str, object], object]:
    start, times, step = r.randint(1, 5), r.randint(2, 5), r.randint(2, 6)
    return {"start": start, "times": times, "step": step}, start + times * step


def _filter(r: Random) -> tuple[dict[str, object], object]:
    numbers = r.sample(range(1, 20), 5)
    limit = r.randint(5, 14)
    return {"numbers": numbers, "limit": limit}, sum(1 for x in numbers if x > limit)


def _index(r: Random) -> tuple[dict[str, object], object]:
    numbers = r.sample(range(1, 40), 4)
    i = r.choice((-1, -2, 0, 1, 2))
    return {"numbers": numbers, "i": i}, numbers[i]


FAMILIES: dict[str, list[Group]] = {
    "strings": [
        Group("first-letter", 1, "text", _of_word("What is the first letter of the word '{}'?", lambda w: w[0])),
        Group("last-letter", 2, "text", _of_word("What is the last letter of the word '{}'?", lambda w: w[-1])),
        Group("nth-letter", 2, "text", _nth_letter),
        Group(
            "count-letters",
            2,
            "number",
            _of_word("How many letters does the word '{}' have?", lambda w: str(len(w))),
        ),
        Group("count-one-letter", 2, "number", _count_letter),
        Group("reverse-word", 3, "text", _of_word("Write the word '{}' backwards.", lambda w: w[::-1])),
        Group("upper-case", 1, "text", _of_word("Write the word '{}' in capital letters.", str.upper)),
        Group("join-words", 1, "text", _join),
        Group(
            "drop-first-letter",
            2,
            "text",
            _of_word("Remove the first letter from '{}'. What is left?", lambda w: w[1:]),
        ),
        Group("starts-with", 1, "yesno", _starts_with),
    ],
    "lists": [
        Group("list-max", 1, "number", _of_list((4, 6), "What is the largest number in the list {}?", max)),
        Group("list-min", 1, "number", _of_list((4, 6), "What is the smallest number in the list {}?", min)),
        Group(
            "list-last",
            1,
            "number",
            _of_list((4, 6), "What is the last element of the list {}?", lambda x: x[-1]),
        ),
        Group("list-length", 2, "number", _of_list((3, 8), "How many elements does the list {} have?", len)),
        Group("list-sum", 2, "number", _of_list((3, 4), "What is the sum of the numbers in {}?", sum)),
        Group("list-nth", 1, "number", _index_of),
        Group("list-count", 2, "number", _count_item),
        Group("list-reverse", 2, "list", _reversed_list),
    ],
    "sorting": [
        Group("sort-three", 1, "list", _sorted_numbers(3, 20)),
        Group("sort-five", 2, "list", _sorted_numbers(5, 60)),
        Group("sort-four-down", 2, "list", _sorted_numbers(4, 60, down=True)),
        Group("sort-words", 2, "list", _sorted_words(3)),
        Group("first-in-alphabet", 2, "word", _first_word),
    ],
    "code": [
        Group("code-expression", 1, "number", _program("print({a} + {b} * {c})", _expression)),
        Group("code-length", 1, "number", _program("print(len('{word}'))", _length)),
        Group("code-upper", 1, "text", _program("print('{word}'.upper())", _upper)),
        Group("code-slice", 3, "text", _program("print('{word}'[{i}:{j}])", _slice)),
        Group("code-floor", 3, "text", _program("print({a} // {b}, {a} % {b})", _floor)),
        Group("code-range", 2, "number", _program("print(sum(range({n})))", _sum_of_range)),
        Group(
            "code-loop",
            2,
            "number",
            _program("x = {start}\nfor i in range({times}):\n    x = x + {step}\nprint(x)", _loop),
        ),
        Group("code-filter", 3, "number", _program("print(len([x for x in {numbers} if x > {limit}]))", _filter)),
        Group("code-index", 2, "number", _program("items = {numbers}\nprint(items[{i}])", _index)),
    ],
}
