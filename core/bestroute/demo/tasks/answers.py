"""Reading a model's answer: normalising it for votes, and checking it against the truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NUMBER = re.compile(r"(?<![\w.])[-\u2212+]?\$?\d[\d,]*(?:\.\d+)?|(?<![\w.])[-\u2212+]?\.\d+")
_LEAD_IN = re.compile(
    r"^(?:(?:the|final|correct|your|my|so|result|answer|output|it|this|that|would|will|be|code|print(?:s|ed)?|"
    r"value|word|number|of|is|are|equals?|sure|here)\b[\s,!]*)*?(?:answer|result|output|it|this|that|prints?|value)\b"
    r"[\s]*(?:is|are|equals?|will be|would be|:|=)\s*:?\s*",
    re.IGNORECASE,
)
_EDGES = " \t\r\n`*_\"'\u201c\u201d\u2018\u2019.,;:!?()[]{}$#>"
_FENCE = re.compile(r"^\s*```\w*\s*$")


def first_line(text: str) -> str:
    """Return the first line that says something; code fences do not."""
    for line in text.splitlines():
        if line.strip(_EDGES) and not _FENCE.match(line):
            return line.strip()
    return ""


def normalise(text: str) -> str:
    """Reduce an answer to one form, so that equal answers agree; knows nothing of the question or the truth.

    The first line that says something, without markup, quotes, lead-in ("The answer is ...") and end
    punctuation, in lower case; what follows the last "=" of a calculation; numbers without thousands separators
    and trailing zeros. Total and idempotent.

    Example:
        >>> [normalise(t) for t in ("**84.0**", "The answer is 84.", "12 * 7 = 84", "Yes, it is.")]
        ['84', '84', '84', 'yes']
    """
    answer = first_line(text)
    previous = None
    while answer != previous:
        previous, answer = answer, _peel(answer)
    return answer


def check(record: Mapping[str, Any], text: str) -> float:
    """Return 1.0 if an answer is right, else 0.0: strict about the value, lenient about the form.

    Args:
        record: A prompt of ``generate``, with its ``answer`` and ``kind``.
        text: What a model said.
    """
    return float(_CHECKS[str(record["kind"])](str(record["answer"]), text))


def _peel(answer: str) -> str:
    answer = answer.strip(_EDGES).casefold()
    answer = re.sub(r"[*`]+", "", answer)
    answer = _LEAD_IN.sub("", answer, count=1)
    if "=" in answer and answer.rpartition("=")[2].strip(_EDGES):
        answer = answer.rpartition("=")[2]
    if match := re.match(r"(yes|no)\b(?!\w)", answer):
        answer = match.group(1)
    if match := re.fullmatch(r"[-\u2212+]?\$?[\d,]*\.?\d+", answer.strip(_EDGES.replace("-", ""))):
        answer = _canonical(match.group(0))
    return " ".join(answer.strip(_EDGES).split())


def _canonical(number: str) -> str:
    digits = number.replace(",", "").replace("$", "").replace("\u2212", "-").lstrip("+")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    whole, _, decimals = digits.partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    text = whole + ("." + decimals if decimals else "")
    return text if text == "0" else sign + text


def _is_number(truth: str, text: str) -> bool:
    """Accept the number alone, at the end of a calculation, or as the only number of a sentence's claim."""
    line = first_line(text)
    claim = line.rpartition("=")[2] if "=" in line else _LEAD_IN.sub("", line.strip(_EDGES))
    if re.search(r"\b(or|either|maybe|between)\b", claim):
        return False
    claim = re.split(r"\b(?:is|are|be|equals)\b", claim)[-1]
    numbers = {_canonical(m.group(0).rstrip(",")) for m in _NUMBER.finditer(claim)}
    return numbers == {_canonical(truth)}


def _is_word(truth: str, text: str) -> bool:
    """Accept the word alone, or a sentence that ends by claiming it."""
    truth = truth.casefold()
    answer = normalise(text)
    if answer == truth:
        return True
    claim = re.split(r"\b(?:is|are|called|be)\b|:", answer)[-1].strip(_EDGES)
    claim = re.sub(r"^(?:a|an|the)\s+", "", claim)
    return claim == truth


def _is_text(truth: str, text: str) -> bool:
    """Accept the exact letters, without quotes and markup; a lead-in may stand before them."""
    line = first_line(text).strip(_EDGES)
    claim = re.split(r"\b(?:is|are|be|prints|left|backwards)\b\s*:?|:\s+", line)[-1].strip(_EDGES)
    return truth in (line, claim)


def _is_yes_or_no(truth: str, text: str) -> bool:
    said = set(re.findall(r"\b(?:yes|no)\b", first_line(text).casefold()))
    return said == {truth}


def _is_list(truth: str, text: str) -> bool:
    """Accept the items in order, whatever separates and wraps them."""
    line = first_line(text)
    claim = re.split(r":\s+|\bis\b|\bare\b", line)[-1]

    def items(part: str) -> list[str]:
        return re.findall(r"[\w.-]*\w", part.casefold().replace(" and ", " "))

    return items(claim) == items(truth)


_CHECKS = {"number": _is_number, "word": _is_word, "text": _is_text, "yesno": _is_yes_or_no, "list": _is_list}
