"""Statistics of an answer and its fit to the query: form, signs of trouble, overlap."""

from __future__ import annotations

import re
import zlib

import numpy as np

from bestroute.types.arrays import FloatArray

ASKS = (
    "asks_number",
    "asks_yes_or_no",
    "asks_one_word",
    "asks_list",
    "asks_json",
    "asks_code",
    "asks_reason",
    "asks_output",
)
ANSWER_STATISTICS = (
    "is_empty",
    "log_characters",
    "log_lines",
    "longer_than_query",
    "is_number",
    "numbers",
    "is_yes_or_no",
    "is_one_word",
    "is_quoted",
    "is_list",
    "is_mapping",
    "is_tuple",
    "is_truth_or_none",
    "has_code_fence",
    "is_balanced",
    "has_box",
    "has_final_answer",
    "refuses",
    "hedges",
    "apologises",
    "speaks_of_itself",
    "retracts",
    "headings_or_bullets",
    "equations",
    "ends_a_sentence",
    "repeats_itself",
    "last_line_share",
    "words_from_query",
    "query_words_covered",
    "numbers_from_query",
    "characters_from_query",
    "is_part_of_query",
    "gives_asked_number",
    "gives_asked_yes_or_no",
    "gives_asked_one_word",
    "gives_asked_list",
    "gives_asked_json",
    "gives_asked_code",
)
LONGEST = 20_000
"""Most characters read of a text; its length counts in full."""

_ASKS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bhow (?:many|much|old|far|long)\b|\bnumber\b|\bcalculate\b|\bcompute\b|\bsum\b|\bvalue of\b"
        r"|\d\s*[-+*/]\s*\d",
        r"\byes or no\b|\btrue or false\b|^(?:is|are|does|do|can|was|were|will|has|have)\b",
        r"\b(?:one|single) word\b|\bword only\b",
        r"\blist\b|\benumerate\b|\bnames? (?:of )?(?:some|three|five|ten|\d+)\b|\bsort(?:ed)?\b",
        r"\bjson\b",
        r"\bdef \w+\(|\bfunction\b|\bpython\b|\bcode\b|\bscript\b|\bsql\b|\bjava",
        r"\bwhy\b|\bexplain\b|\bprove\b|\bshow that\b|\bstep by step\b|\bhow (?:do|does|can|to)\b",
        r"\boutput\b|\bassert\b|\breturns?\b|\bprints?\b",
    )
)
_REFUSES = re.compile(
    r"\bI(?:'m| am) (?:unable|not able)\b|\bI (?:can(?:no|')t|won't|will not)\b|\bas an AI\b|\bI don't (?:know|have)\b"
    r"|\bcannot (?:be determined|answer|provide)\b|\bnot enough information\b|\bno solution\b",
    re.IGNORECASE,
)
_HEDGES = re.compile(
    r"\b(?:maybe|perhaps|probably|possibly|might|seems?|likely|approximately|roughly|I think|guess|assum\w+)\b",
    re.IGNORECASE,
)
_SORRY = re.compile(r"\b(?:sorry|apologi[sz]e|unfortunately|mistake)\b", re.IGNORECASE)
_SELF = re.compile(r"\b(?:I|I'm|I'll|my|me|we|let's)\b")
_RETRACTS = re.compile(r"\b(?:wait|however|but|actually|instead|correct(?:ion|ing)|re-?check\w*|hmm)\b", re.IGNORECASE)
_MARKS = re.compile(r"^\s*(?:#+\s|[-*\u2022]\s|\d+[.)]\s)", re.MULTILINE)
_FINAL = re.compile(r"\b(?:final answer|the answer is|therefore|thus|hence)\b|\"answer\"|####", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WORD = re.compile(r"\w+")
_YES = re.compile(r"(?:yes|no|true|false)\b", re.IGNORECASE)
_TRUTHS = frozenset(("true", "false", "none", "null"))
_OPENING, _CLOSING = "([{", ")]}"


def asks(query: str) -> FloatArray:
    """Return what a query seems to request, in the order of ``ASKS``; each 0 or 1."""
    head = query[:LONGEST]
    return np.array([float(pattern.search(head) is not None) for pattern in _ASKS])


def answer_statistics(query: str, wishes: FloatArray, text: str) -> FloatArray:
    """Return statistics of an answer, in the order of ``ANSWER_STATISTICS``; each of the order of 1.

    Args:
        query: What is answered.
        wishes: ``asks(query)``.
        text: The answer.
    """
    answer, read = text.strip()[:LONGEST], query[:LONGEST]
    bare = answer.strip(".!`*\"' ")
    words, query_words = _WORD.findall(answer.lower()), set(_WORD.findall(read.lower()))
    distinct = set(words)
    numbers, query_numbers = set(_NUMBER.findall(answer)), set(_NUMBER.findall(read))
    is_number = float(_NUMBER.fullmatch(bare.lstrip("-+$").replace(",", "")) is not None)
    is_yes, is_word = float(_YES.match(bare) is not None), float(len(words) == 1)
    is_list = float(answer[:1] == "[" and answer[-1:] == "]")
    is_mapping = float(answer[:1] == "{" and answer[-1:] == "}")
    has_fence = float("```" in answer)
    marks = len(_MARKS.findall(answer))
    lines = answer.splitlines() or [""]
    balanced = all(answer.count(a) == answer.count(b) for a, b in zip(_OPENING, _CLOSING, strict=True))
    raw = answer.encode("utf-8", "replace")
    packed = len(zlib.compress(raw, 1)) / len(raw) if len(raw) > 50 else 1.0
    length = np.log1p(len(text.strip()))
    has_code = has_fence or float("def " in answer or "return " in answer)
    wants_number, wants_yes, wants_word, wants_list, wants_json, wants_code = wishes[:6]
    return np.array(
        [
            float(not answer),
            length / 7,
            np.log1p(len(lines)) / 4,
            (length - np.log1p(len(query))) / 4,
            is_number,
            np.log1p(len(numbers)) / 3,
            is_yes,
            is_word,
            float(len(answer) > 1 and answer[0] in "\"'" and answer[-1] == answer[0]),
            is_list,
            is_mapping,
            float(answer[:1] == "(" and answer[-1:] == ")"),
            float(bare.lower() in _TRUTHS),
            has_fence,
            float(balanced),
            float("\\boxed" in answer),
            np.log1p(len(_FINAL.findall(answer))),
            float(_REFUSES.search(answer) is not None),
            np.log1p(len(_HEDGES.findall(answer))) / 2,
            float(_SORRY.search(answer) is not None),
            np.log1p(len(_SELF.findall(answer))) / 2,
            np.log1p(len(_RETRACTS.findall(answer))) / 2,
            np.log1p(marks) / 3,
            np.log1p(answer.count("=")) / 3,
            float(answer[-1:] in tuple(".!?)]}`\"'$>*:") and answer != ""),
            packed,
            len(lines[-1]) / max(1, len(answer)),
            sum(word in query_words for word in words) / max(1, len(words)),
            len(distinct & query_words) / max(1, len(query_words)),
            len(numbers & query_numbers) / max(1, len(numbers)),
            sum(c in set(read) for c in set(answer)) / max(1, len(set(answer))),
            float(bool(bare) and bare in read),
            wants_number * (is_number or float(bool(numbers))),
            wants_yes * is_yes,
            wants_word * is_word,
            wants_list * max(is_list, float(marks > 1)),
            wants_json * max(is_mapping, is_list),
            wants_code * has_code,
        ]
    )
