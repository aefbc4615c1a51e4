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
_RESULT = re.compile(r"=|\b(?:answer|result)\b\s*(?:is|:)|(?<=\d)\s+(?:is|equals)\s+(?=\S+$)", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"[-\u2212+]?\$?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)")
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
    answer = re.sub(r"[*`]+", "", _trim(answer).casefold())
    answer = _LEAD_IN.sub("", answer, count=1)
    if "=" in answer and answer.rpartition("=")[2].strip(_EDGES):
        answer = answer.rpartition("=")[2]
    if match := re.match(r"(yes|no)\b", answer):
        answer = match.group(1)
    answer = _trim(answer)
    if _WHOLE_NUMBER.fullmatch(answer):
        answer = _canonical(answer)
    return " ".join(answer.split())


def _trim(text: str) -> str:
    """Strip what stands around an answer; the point of ".5" is part of it."""
    point = re.search(r"(?<![\w.])\.\d", text)
    trimmed = text.strip(_EDGES)
    return "." + trimmed if point and text.index(trimmed) == point.start() + 1 else trimmed


def _canonical(number: str) -> str:
    digits = number.replace(",", "").replace("$", "").replace("\u2212", "-").lstrip("+")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    whole, _, decimals = digits.partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    text = whole + ("." + decimals if decimals else "")
    return text if text == "0" else sign + text


def _is_number(truth: str, text: str) -> bool:
    """Accept the number that is claimed, and only if it is the one claimed.

    Claimed is what follows the last "=" of a calculation, or "the answer is"; else the number that begins the
    answer; else the number that ends it, a unit of up to two words aside. An answer that weighs two is none.
    """
    line = first_line(text)
    if re.search(r"\b(?:or|either|maybe|between)\b", line):
        return False
    claim = _LEAD_IN.sub("", _RESULT.split(line)[-1].strip(_EDGES))
    begins = _NUMBER.match(claim)
    if begins is not None:
        rest = claim[begins.end() :]
        first, others = begins.group(0), _NUMBER.findall(rest)
        is_sentence = re.match(r"\s+(?:is|are|was|equals?)\b", rest) is not None
        return (is_sentence or not others) and _canonical(first.rstrip(",")) == _canonical(truth)
    claim = re.split(r"[,;]\s+(?:which|because|since|so|as)\b|\.\s", claim)[0]
    ending = rf"({_NUMBER.pattern})(?:\s+[a-z]+){{0,2}}$"
    ends = re.search(ending, claim.strip(_EDGES.replace("$", "")), re.IGNORECASE)
    claimed = re.split(r"\b(?:is|are|be|equals|has|have|costs?|prints?)\b", claim)
    return (
        ends is not None
        and len(claimed) > 1
        and len(_NUMBER.findall(claimed[-1])) == 1
        and _canonical(ends.group(1).rstrip(",")) == _canonical(truth)
    )


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
    """Accept the first word after a lead-in, if no other word of the line takes it back."""
    words = re.findall(r"\w+", _LEAD_IN.sub("", first_line(text).strip(_EDGES)).casefold())
    return words[:1] == [truth] and not {"yes", "no"} - {truth} & set(words)


def _is_list(truth: str, text: str) -> bool:
    """Accept the items in order, whatever separates and wraps them."""
    line = first_line(text)
    claim = re.split(r":\s+|\bis\b|\bare\b", line)[-1]

    def items(part: str) -> list[str]:
        return re.findall(r"[\w.-]*\w", part.casefold().replace(" and ", " "))

    return items(claim) == items(truth)


_CHECKS = {"number": _is_number, "word": _is_word, "text": _is_text, "yesno": _is_yes_or_no, "list": _is_list}
