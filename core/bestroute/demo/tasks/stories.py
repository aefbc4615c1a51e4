"""Families about quantities in the world: word problems, dates, time, units."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

from bestroute.demo.tasks.group import Group, Make

_NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo")
_THINGS = ("apples", "books", "coins", "pencils", "stickers", "marbles", "cards", "eggs")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def _names(random: Random) -> tuple[str, str, str]:
    one, two = random.sample(_NAMES, 2)
    return one, two, random.choice(_THINGS)


def _gain(random: Random) -> tuple[str, str]:
    name, other, things = _names(random)
    a, b = random.randint(3, 30), random.randint(2, 20)
    return (
        f"{name} has {a} {things}. {other} gives {name} {b} more. How many {things} does {name} have?",
        str(a + b),
    )


def _loss(random: Random) -> tuple[str, str]:
    name, other, things = _names(random)
    a, b = random.randint(15, 60), random.randint(2, 14)
    return f"{name} has {a} {things} and gives {b} to {other}. How many {things} are left for {name}?", str(a - b)


def _boxes(random: Random) -> tuple[str, str]:
    _, _, things = _names(random)
    a, b = random.randint(2, 12), random.randint(3, 12)
    return f"There are {a} boxes with {b} {things} in each. How many {things} are there in all?", str(a * b)


def _share(random: Random) -> tuple[str, str]:
    _, _, things = _names(random)
    a, b = random.randint(2, 9), random.randint(2, 12)
    return f"{a * b} {things} are shared equally among {a} children. How many does each child get?", str(b)


def _two_steps(random: Random) -> tuple[str, str]:
    name, other, things = _names(random)
    a, b, c = random.randint(2, 6), random.randint(4, 12), random.randint(1, 7)
    return (
        f"{name} buys {a} bags with {b} {things} each and gives {c} {things} to {other}. "
        f"How many {things} does {name} keep?",
        str(a * b - c),
    )


def _change(random: Random) -> tuple[str, str]:
    name, _, _ = _names(random)
    a, b = random.randint(2, 6), random.randint(2, 8)
    return (
        f"{name} buys {a} sandwiches for {b} dollars each and pays with a 50 dollar bill. "
        "How many dollars of change are due?",
        str(50 - a * b),
    )


def _age(random: Random) -> tuple[str, str]:
    name, other, _ = _names(random)
    a, b, c = random.randint(6, 20), random.randint(2, 9), random.randint(2, 12)
    return (
        f"{name} is {a} years old. {other} is {b} years older than {name}. How old will {other} be in {c} years?",
        str(a + b + c),
    )


def _speed(random: Random) -> tuple[str, str]:
    speed, hours = random.randint(3, 12) * 10, random.randint(2, 6)
    return f"A train drives {speed} km per hour. How many km does it drive in {hours} hours?", str(speed * hours)


def _twice(random: Random) -> tuple[str, str]:
    name, other, things = _names(random)
    a, times = random.randint(3, 20), random.choice(("twice", "three times"))
    factor = {"twice": 2, "three times": 3}[times]
    return (
        f"{name} has {a} {things}. {other} has {times} as many. How many {things} do they have together?",
        str(a + factor * a),
    )


def _next_day(random: Random) -> tuple[str, str]:
    i = random.randrange(7)
    which, offset = random.choice((("after", 1), ("before", -1)))
    return f"Which day of the week comes right {which} {_DAYS[i]}?", _DAYS[(i + offset) % 7]


def _day_in(low: int, high: int, template: str) -> Make:
    def make(random: Random) -> tuple[str, str]:
        i, ahead = random.randrange(7), random.randint(low, high)
        return template.format(day=_DAYS[i], ahead=ahead), _DAYS[(i + ahead) % 7]

    return make


def _next_month(random: Random) -> tuple[str, str]:
    i = random.randrange(12)
    which, offset = random.choice((("after", 1), ("before", -1)))
    return f"Which month comes right {which} {_MONTHS[i]}?", _MONTHS[(i + offset) % 12]


def _month_number(random: Random) -> tuple[str, str]:
    i = random.randrange(12)
    return f"What is the number of the month {_MONTHS[i]} in the year (January is 1)?", str(i + 1)


def _days_in_month(random: Random) -> tuple[str, str]:
    i = random.choice([m for m in range(12) if m != 1])
    length = (date(2023 + (i == 11), (i + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return f"How many days does the month of {_MONTHS[i]} have?", str(length)


def _days_between(random: Random) -> tuple[str, str]:
    start = date(2023, 1, 1) + timedelta(days=random.randrange(330))
    gap = random.randint(3, 20)
    end = start + timedelta(days=gap)
    return (
        f"How many days is it from {_MONTHS[start.month - 1]} {start.day} to {_MONTHS[end.month - 1]} {end.day}?",
        str(gap),
    )


def _add_hours(random: Random) -> tuple[str, str]:
    hour, add = random.randint(1, 9), random.randint(2, 6)
    return f"It is {hour}:00. What hour will it be in {add} hours, on a 24-hour clock?", str(hour + add)


def _minutes_between(random: Random) -> tuple[str, str]:
    hour, start, gap = random.randint(1, 11), random.randint(0, 29), random.randint(5, 30)
    return f"How many minutes pass from {hour}:{start:02d} to {hour}:{start + gap:02d}?", str(gap)


def _clock(low: int, high: int) -> Make:
    def make(random: Random) -> tuple[str, str]:
        at, gap = random.randint(60, 600), random.randint(low, high)
        then = at + gap
        return (
            f"A film starts at {at // 60}:{at % 60:02d} and lasts {gap} minutes. At what time does it end? "
            "Use the form H:MM.",
            f"{then // 60}:{then % 60:02d}",
        )

    return make


def _convert(template: str, factor: int, values: range) -> Make:
    def make(random: Random) -> tuple[str, str]:
        value = random.choice(values)
        return template.format(value), str(value * factor)

    return make


def _convert_down(template: str, factor: int, values: range) -> Make:
    def make(random: Random) -> tuple[str, str]:
        value = random.choice(values)
        return template.format(value * factor), str(value)

    return make


FAMILIES: dict[str, list[Group]] = {
    "word-problem": [
        Group("story-gain", 1, "number", _gain),
        Group("story-loss", 1, "number", _loss),
        Group("story-boxes", 1, "number", _boxes),
        Group("story-share", 2, "number", _share),
        Group("story-two-steps", 3, "number", _two_steps),
        Group("story-change", 3, "number", _change),
        Group("story-age", 3, "number", _age),
        Group("story-speed", 2, "number", _speed),
        Group("story-twice", 3, "number", _twice),
    ],
    "dates": [
        Group("day-next", 1, "word", _next_day),
        Group(
            "day-in-few",
            2,
            "word",
            _day_in(2, 6, "Today is {day}. Which day of the week is it in {ahead} days?"),
        ),
        Group(
            "day-in-many",
            3,
            "word",
            _day_in(8, 30, "If today is {day}, what day of the week will it be {ahead} days from now?"),
        ),
        Group("month-next", 1, "word", _next_month),
        Group("month-number", 1, "number", _month_number),
        Group("month-length", 1, "number", _days_in_month),
        Group("days-between", 3, "number", _days_between),
    ],
    "time": [
        Group("hours-add", 1, "number", _add_hours),
        Group("minutes-between", 2, "number", _minutes_between),
        Group("clock-short", 2, "text", _clock(10, 50)),
        Group("clock-long", 3, "text", _clock(70, 170)),
        Group("hours-to-minutes", 1, "number", _convert("How many minutes are {} hours?", 60, range(2, 15))),
    ],
    "units": [
        Group("metres-to-cm", 1, "number", _convert("How many centimeters are {} meters?", 100, range(2, 40))),
        Group("km-to-metres", 1, "number", _convert("Convert {} kilometers to meters.", 1000, range(2, 40))),
        Group("grams-to-kg", 2, "number", _convert_down("How many kilograms are {} grams?", 1000, range(2, 40))),
        Group("feet-to-inches", 2, "number", _convert("How many inches are {} feet?", 12, range(2, 20))),
        Group("days-to-hours", 2, "number", _convert("How many hours are {} days?", 24, range(2, 12))),
        Group("weeks-to-days", 1, "number", _convert("How many days are {} weeks?", 7, range(2, 20))),
        Group("dozens", 2, "number", _convert("How many eggs are in {} dozen?", 12, range(2, 15))),
    ],
}
