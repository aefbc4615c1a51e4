"""What a judge's reply says: scores of answers, or which of two is better; nothing where it cannot be told."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from bestroute.judges.questions import TOP

_OBJECT = re.compile(r"[\[{][^\[\]{}]*(?:\[[^\[\]{}]*\][^\[\]{}]*)?[\]}]")
_LISTED = re.compile(r"answer\s*(\d+)\W{0,4}(?:score\W{0,4})?(\d+(?:\.\d+)?)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)(?:\s*/\s*10)?(?![\d.])")
_BETTER = re.compile(r"\b(?:better|answer|winner)\W{0,6}(a|b|tie)\b|^\W*(a|b|tie)\W*$", re.IGNORECASE | re.MULTILINE)
_WORDS = {"a": 1.0, "b": 0.0, "tie": 0.5}
_LONGEST = 20_000
"""Characters of a reply that are read, from its end: what it decides comes last."""


def read_scores(reply: str, count: int) -> list[float] | None:
    """Return the quality of each answer, in [0, 1]; ``None`` where the reply does not tell every one.

    Args:
        reply: What the judge said; the last JSON in it counts, else scores as ``Answer 1: 7``, else one number.
        count: How many answers it was asked about.

    Example:
        >>> read_scores('So: {"scores": [10, 5]}', 2), read_scores("7/10", 1), read_scores("[7]", 2)
        ([1.0, 0.5], [0.7], None)
    """
    reply = reply[-_LONGEST:]
    for found in reversed(_OBJECT.findall(reply)):
        scores = _scores_in(found)
        if scores is not None and len(scores) == count:
            return _on_scale(scores)
    listed = {int(place): float(score) for place, score in _LISTED.findall(reply)}
    if set(listed) == set(range(1, count + 1)):
        return _on_scale([listed[place] for place in sorted(listed)])
    numbers = _NUMBER.findall(reply)
    return _on_scale([float(numbers[0])]) if count == 1 and len(numbers) == 1 else None


def read_preference(reply: str) -> float | None:
    """Return 1 where A is better, 0 where B is, 0.5 for a tie; ``None`` where the reply does not tell.

    Example:
        >>> read_preference('{"better": "B"}'), read_preference("tie"), read_preference("Both have merits.")
        (0.0, 0.5, None)
    """
    found = _BETTER.findall(reply[-_LONGEST:])
    words = {(one or other).lower() for one, other in found}
    if len(words) > 1:
        words = {(found[-1][0] or found[-1][1]).lower()}
    return _WORDS[words.pop()] if words else None


def _scores_in(text: str) -> list[float] | None:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = value.get("scores", value.get("score"))
    values = value if isinstance(value, list) else [value]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    return numbers if len(numbers) == len(values) else None


def _on_scale(scores: list[float]) -> list[float] | None:
    return [score / TOP for score in scores] if all(0 <= score <= TOP for score in scores) else None
