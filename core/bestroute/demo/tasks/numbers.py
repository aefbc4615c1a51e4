"""Families about numbers: arithmetic, comparisons, sequences, percentages, Roman numerals, divisibility."""

from __future__ import annotations

from math import gcd
from random import Random

from bestroute.demo.tasks.group import Group, Make


def _add(low: int, high: int, template: str, terms: int = 2) -> Make:
    def make(random: Random) -> tuple[str, str]:
        summands = [random.randint(low, high) for _ in range(terms)]
        return template.format(*summands), str(sum(summands))

    return make


def _subtract(low: int, high: int, template: str, *, below_zero: bool = False) -> Make:
    def make(random: Random) -> tuple[str, str]:
        a, b = sorted((random.randint(low, high), random.randint(low, high)), reverse=not below_zero)
        return template.format(a, b), str(a - b)

    return make


def _multiply(a_range: tuple[int, int], b_range: tuple[int, int], template: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        a, b = random.randint(*a_range), random.randint(*b_range)
        return template.format(a, b), str(a * b)

    return make


def _divide(divisor: tuple[int, int], quotient: tuple[int, int], template: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        d, q = random.randint(*divisor), random.randint(*quotient)
        return template.format(d * q, d), str(q)

    return make


def _remainder(low: int, high: int, divisors: tuple[int, int], template: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        a, d = random.randint(low, high), random.randint(*divisors)
        return template.format(a, d), str(a % d)

    return make


def _extreme(low: int, high: int, size: int, template: str, *, largest: bool = True) -> Make:
    def make(random: Random) -> tuple[str, str]:
        numbers = random.sample(range(low, high + 1), size)
        answer = max(numbers) if largest else min(numbers)
        return template.format(*numbers), str(answer)

    return make


def _decimals(template: str, *, largest: bool) -> Make:
    """Compare 3.9 with 3.11: the longer decimal is the smaller number."""

    def make(random: Random) -> tuple[str, str]:
        whole, tenths, hundredths = random.randint(1, 20), random.randint(2, 9), random.randint(10, 19)
        long, short = f"{whole}.{hundredths}", f"{whole}.{tenths}"
        shown = (long, short) if random.random() < 0.5 else (short, long)
        return template.format(*shown), short if largest else long

    return make


def _is_larger(low: int, high: int) -> Make:
    def make(random: Random) -> tuple[str, str]:
        a, b = random.sample(range(low, high + 1), 2)
        return f"Is {a} larger than {b}?", "yes" if a > b else "no"

    return make


def _arithmetic_sequence(step: tuple[int, int], template: str, *, down: bool = False) -> Make:
    def make(random: Random) -> tuple[str, str]:
        d, start = random.randint(*step), random.randint(1, 30)
        terms = [start + d * i for i in range(5)]
        shown = terms[:0:-1] if down else terms[:4]
        return template.format(*shown), str(terms[0] if down else terms[4])

    return make


def _geometric_sequence(template: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        start, ratio = random.randint(1, 7), random.choice((2, 3))
        terms = [start * ratio**i for i in range(5)]
        return template.format(*terms[:4]), str(terms[4])

    return make


def _squares(template: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        start = random.randint(1, 12)
        terms = [(start + i) ** 2 for i in range(5)]
        return template.format(*terms[:4]), str(terms[4])

    return make


def _fibonacci_like(template: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        terms = [random.randint(1, 6), random.randint(2, 9)]
        while len(terms) < 6:
            terms.append(terms[-1] + terms[-2])
        return template.format(*terms[:5]), str(terms[5])

    return make


def _percent(percents: tuple[int, ...], bases: range, template: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        percent, base = random.choice(percents), random.choice(bases)
        return template.format(percent, base), f"{percent * base / 100:g}"

    return make


def _raise_price(template: str, sign: int) -> Make:
    def make(random: Random) -> tuple[str, str]:
        percent, base = random.choice((10, 20, 25, 50)), random.choice(range(20, 401, 20))
        return template.format(base, percent), f"{base + sign * percent * base / 100:g}"

    return make


_NUMERALS = (
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
)


def roman(number: int) -> str:
    """Write a number from 1 to 399 in Roman numerals."""
    out = ""
    for value, sign in _NUMERALS:
        out += sign * (number // value)
        number %= value
    return out


def _from_roman(low: int, high: int) -> Make:
    def make(random: Random) -> tuple[str, str]:
        number = random.randint(low, high)
        return f"What number is the Roman numeral {roman(number)}?", str(number)

    return make


def _to_roman(low: int, high: int) -> Make:
    def make(random: Random) -> tuple[str, str]:
        number = random.randint(low, high)
        return f"Write the number {number} as a Roman numeral.", roman(number)

    return make


def _parity(low: int, high: int, word: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        number = random.randint(low, high)
        return f"Is {number} an {word} number?", "yes" if (number % 2 == 0) == (word == "even") else "no"

    return make


def _divisible(divisors: tuple[int, ...], low: int, high: int) -> Make:
    def make(random: Random) -> tuple[str, str]:
        divisor, number = random.choice(divisors), random.randint(low, high)
        if random.random() < 0.5:
            number -= number % divisor
        return f"Is {number} divisible by {divisor}?", "yes" if number % divisor == 0 else "no"

    return make


def _prime(low: int, high: int) -> Make:
    def make(random: Random) -> tuple[str, str]:
        number = random.randrange(low | 1, high, 2)
        is_prime = number > 1 and all(number % d for d in range(2, int(number**0.5) + 1))
        return f"Is {number} a prime number?", "yes" if is_prime else "no"

    return make


def _common_divisor(random: Random) -> tuple[str, str]:
    factor = random.randint(2, 12)
    a, b = (factor * k for k in random.sample(range(2, 10), 2))
    return f"What is the greatest common divisor of {a} and {b}?", str(gcd(a, b))


FAMILIES: dict[str, list[Group]] = {
    "addition": [
        Group("addition-1digit", 1, "number", _add(1, 9, "What is {} + {}?")),
        Group("addition-2digit", 1, "number", _add(10, 49, "What is {} + {}?")),
        Group("addition-2digit-words", 1, "number", _add(10, 99, "Add {} and {}.")),
        Group("addition-3digit", 2, "number", _add(100, 899, "What is {} + {}?")),
        Group("addition-4digit", 3, "number", _add(1000, 8999, "Calculate {} + {}.")),
        Group("addition-3terms", 2, "number", _add(5, 60, "What is {} + {} + {}?", 3)),
        Group("addition-5terms", 3, "number", _add(2, 30, "Find the total of {}, {}, {}, {} and {}.", 5)),
    ],
    "subtraction": [
        Group("subtraction-2digit", 1, "number", _subtract(3, 60, "What is {} - {}?")),
        Group("subtraction-3digit", 2, "number", _subtract(100, 999, "What is {} - {}?")),
        Group("subtraction-words", 1, "number", _subtract(5, 99, "How much larger is {} than {}?")),
        Group("subtraction-negative", 2, "number", _subtract(3, 80, "What is {} - {}?", below_zero=True)),
        Group("subtraction-4digit", 3, "number", _subtract(1000, 9999, "Calculate {} - {}.")),
    ],
    "multiplication": [
        Group("multiplication-table", 1, "number", _multiply((2, 9), (2, 9), "What is {} times {}?")),
        Group("multiplication-table-sign", 1, "number", _multiply((3, 12), (3, 12), "What is {} * {}?")),
        Group("multiplication-by-digit", 2, "number", _multiply((13, 99), (3, 9), "What is {} * {}?")),
        Group("multiplication-tens", 1, "number", _multiply((2, 30), (10, 10), "Multiply {} by {}.")),
        Group("multiplication-2digit", 3, "number", _multiply((12, 39), (12, 39), "What is {} * {}?")),
        Group("division-table", 1, "number", _divide((2, 9), (2, 10), "What is {} divided by {}?")),
        Group("division-large", 2, "number", _divide((3, 12), (11, 60), "What is {} / {}?")),
        Group(
            "remainder",
            3,
            "number",
            _remainder(20, 99, (3, 9), "What is the remainder when {} is divided by {}?"),
        ),
    ],
    "comparison": [
        Group("larger-of-two", 1, "number", _extreme(10, 999, 2, "Which number is larger, {} or {}?")),
        Group(
            "smaller-of-two",
            1,
            "number",
            _extreme(10, 999, 2, "Which number is smaller, {} or {}?", largest=False),
        ),
        Group("largest-of-four", 2, "number", _extreme(100, 999, 4, "What is the largest of {}, {}, {} and {}?")),
        Group(
            "smallest-of-five",
            2,
            "number",
            _extreme(-50, 50, 5, "What is the smallest of {}, {}, {}, {}, {}?", largest=False),
        ),
        Group("larger-decimal", 3, "number", _decimals("Which number is larger, {} or {}?", largest=True)),
        Group("smaller-decimal", 3, "number", _decimals("Which is the smaller number: {} or {}?", largest=False)),
        Group("is-larger", 1, "yesno", _is_larger(100, 9999)),
    ],
    "sequence": [
        Group(
            "sequence-small-step",
            1,
            "number",
            _arithmetic_sequence((1, 5), "What number comes next: {}, {}, {}, {}, ?"),
        ),
        Group(
            "sequence-large-step",
            2,
            "number",
            _arithmetic_sequence((6, 25), "What number comes next: {}, {}, {}, {}, ?"),
        ),
        Group(
            "sequence-down",
            2,
            "number",
            _arithmetic_sequence((2, 9), "Continue the sequence with one number: {}, {}, {}, {}, ...", down=True),
        ),
        Group(
            "sequence-geometric",
            2,
            "number",
            _geometric_sequence("What is the next number in {}, {}, {}, {}?"),
        ),
        Group("sequence-squares", 3, "number", _squares("What is the next number in {}, {}, {}, {}?")),
        Group(
            "sequence-sums",
            3,
            "number",
            _fibonacci_like("Each number is the sum of the two before it: {}, {}, {}, {}, {}. What comes next?"),
        ),
    ],
    "percentage": [
        Group("percent-easy", 1, "number", _percent((10, 50), range(20, 401, 20), "What is {}% of {}?")),
        Group(
            "percent-medium",
            2,
            "number",
            _percent((5, 20, 25, 75), range(40, 801, 20), "What is {} percent of {}?"),
        ),
        Group(
            "percent-more",
            3,
            "number",
            _raise_price("A price of {} dollars rises by {}%. What is the new price in dollars?", 1),
        ),
        Group(
            "percent-less",
            3,
            "number",
            _raise_price("A {} dollar coat is sold at {}% off. What does it cost in dollars?", -1),
        ),
    ],
    "roman": [
        Group("roman-read-small", 1, "number", _from_roman(2, 20)),
        Group("roman-read-large", 3, "number", _from_roman(21, 150)),
        Group("roman-write-small", 2, "text", _to_roman(2, 20)),
        Group("roman-write-large", 3, "text", _to_roman(21, 150)),
    ],
    "divisibility": [
        Group("is-even", 1, "yesno", _parity(10, 999, "even")),
        Group("is-odd", 1, "yesno", _parity(10, 999, "odd")),
        Group("divisible-by-5", 1, "yesno", _divisible((5, 10), 10, 500)),
        Group("divisible-by-3", 2, "yesno", _divisible((3, 4, 6), 12, 200)),
        Group("is-prime", 3, "yesno", _prime(11, 120)),
        Group("common-divisor", 3, "number", _common_divisor),
    ],
}
