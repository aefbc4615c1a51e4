"""Parse a judge's reply: scores of answers, or the better one; ``None`` if ambiguous."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from bestroute.judges.questions import TOP

_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder()
_LISTED = re.compile(r"answer\s*(\d+)\W{0,4}(?:score\W{0,4})?(\d+(?:\.\d+)?)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)(?:\s*/\s*10)?(?![\d.])")
_MARKS = r"[ \t\"'`*_<>()\[\]]{0,6}"
_SIGN = rf"[:=>]\s*{_MARKS}"
_BETTER = re.compile(
    rf"\b(?i:better|winner|prefer)(?i: +answer)?(?i: +is)?{_MARKS}(?:{_SIGN})?(?:(?i:answer)\s*)?([AB]|(?i:tie))\b"
    rf"|\b(?i:answer){_MARKS}{_SIGN}([AB]|(?i:tie))\b(?! \w)"
    r"|\b(?i:answer)\s*([AB])\s+is\s+(?:(?!not|no|never)\w+\s+)?better\b"
    r"|^[^\w\n]*(?:(?i:answer) *)?((?i:a|b|tie))[^\w\n]*$",
    re.MULTILINE,
)
"""A preference in words; the article "a" does not count as an answer's name."""
_WORDS = {"a": 1.0, "b": 0.0, "tie": 0.5}
_LONGEST = 20_000
"""Characters at the end of a reply that are parsed, since the decision comes last."""
_MOST_BRACKETS = 1000
"""Most brackets that are tried as the beginning of JSON."""


def read_scores(reply: str, count: int) -> list[float] | None:
    """Return the quality of each answer, in [0, 1]; ``None`` if the reply does not have all of them.

    Args:
        reply: The judge's reply; the last ``{"scores": ...}`` in it counts, else the last JSON, else scores as
            ``Answer 1: 7``, else one number.
        count: Number of answers in the question.

    Example:
        >>> read_scores('So: {"scores": [10, 5]}', 2), read_scores("7/10", 1), read_scores("[7]", 2)
        ([1.0, 0.5], [0.7], None)
    """
    reply = reply[-_LONGEST:]
    values = _json_in(reply)
    named = [value for value in values if isinstance(value, dict) and ("scores" in value or "score" in value)]
    for value in (*reversed(named), *reversed(values)):
        scores = _scores_in(value)
        if scores is not None and len(scores) == count:
            return _on_scale(scores)
    listed = {int(place): float(score) for place, score in _LISTED.findall(reply)}
    if set(listed) == set(range(1, count + 1)):
        return _on_scale([listed[place] for place in sorted(listed)])
    numbers = _NUMBER.findall(reply)
    return _on_scale([float(numbers[0])]) if count == 1 and len(numbers) == 1 else None


def read_preference(reply: str) -> float | None:
    """Return 1 if A is better, 0 if B is, 0.5 for a tie; ``None`` if the reply is ambiguous.

    Example:
        >>> read_preference('{"better": "B"}'), read_preference("tie"), read_preference("Both have merits.")
        (0.0, 0.5, None)
    """
    reply = reply[-_LONGEST:]
    values = _json_in(reply)
    for value in reversed(values):
        if isinstance(value, dict) and (word := value.get("better", value.get("winner"))) is not None:
            return _WORDS.get(_name(word))
    for value in reversed(values):
        if isinstance(value, dict) and _name(value.get("answer")) in _WORDS:
            return _WORDS[_name(value["answer"])]
    found = ["".join(words) for words in _BETTER.findall(reply)]
    return _WORDS[found[-1].lower()] if found else None


def _name(word: Any) -> str:
    return str(word).strip(" .<>*()[]'").lower().removeprefix("answer").strip()


def _json_in(reply: str) -> list[Any]:
    """Return the JSON objects and lists in a reply, in order, nested ones before their containers."""
    found: list[Any] = []
    at = failed = 0
    while failed < _MOST_BRACKETS and (opening := _OPENING.search(reply, at)):
        try:
            value, at = _DECODER.raw_decode(reply, opening.start())
            found += _with_inner(value)[::-1]
        except ValueError:
            at, failed = opening.end(), failed + 1
        except RecursionError:
            break
    return found


def _with_inner(value: Any) -> list[Any]:
    """Return a value followed by the objects nested in it."""
    found = [value]
    for each in found:  # it grows
        if isinstance(each, dict):
            found += [inner for inner in each.values() if isinstance(inner, dict)]
    return found


def _scores_in(value: Any) -> list[float] | None:
    if isinstance(value, dict):
        value = value.get("scores", value.get("score"))
    values = value if isinstance(value, list) else [value]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    return numbers if len(numbers) == len(values) else None


def _on_scale(scores: list[float]) -> list[float] | None:
    return [score / TOP for score in scores] if all(0 <= score <= TOP for score in scores) else None
