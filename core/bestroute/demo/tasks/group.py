"""A group: one template with its parameter range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal["number", "word", "list", "text", "yesno"]
"""How an answer is compared: by value, as a word, item by item, letter by letter, or by its first word."""

Make = Callable[[Random], tuple[str, str]]
"""From a source of randomness to a question and its true answer."""

ASK: dict[Kind, str] = {
    "number": "Answer with only the number.",
    "word": "Answer with one word.",
    "list": "Answer with only the list, separated by commas.",
    "text": "Answer with only the result.",
    "yesno": "Answer yes or no.",
}


@dataclass(frozen=True)
class Group:
    """One template: its queries differ only in parameters, so they never stand on both sides of a split."""

    name: str
    level: int
    """1 (easy) to 3 (hard), as guessed before anything was sampled."""
    kind: Kind
    make: Make


def pick(table: dict[str, str], template: str) -> Make:
    """Make a group that asks ``template`` about a row of a table: ``{key}`` is asked, the value is the answer."""
    rows = sorted(table.items())

    def make(random: Random) -> tuple[str, str]:
        key, answer = random.choice(rows)
        return template.format(key=key), answer

    return make
