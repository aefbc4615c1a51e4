"""Statistics of a query: how long it is, what its characters and words are like. No word is kept or compared."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from bestroute.protocols import BoolArray, FloatArray
from bestroute.query import Query

STATISTICS = (
    "log_words",
    "log_characters",
    "log_prompt_tokens",
    "log_system_characters",
    "log_context_characters",
    "digit_share",
    "upper_share",
    "punctuation_share",
    "non_ascii_share",
    "maths_share",
    "code_marks",
    "lines",
    "mean_word_length",
    "question_marks",
    "quotes",
    "commas_a_word",
    "brackets_a_word",
    "distinct_word_share",
    "short_word_share",
    "long_word_share",
    "capitalised_word_share",
    "acronym_share",
    "longest_word",
    "numbers_a_word",
    "longest_number",
    "negations_a_word",
    "conditions_a_word",
    "words_a_sentence",
    "first_line_share",
    "mean_line_length",
    "line_length_spread",
)

_CODE = re.compile(r"[{}();=<>\[\]]|\b(?:def|return|class|import|print|for|while)\b")
_NEGATIONS = frozenset(("not", "no", "never", "except", "cannot", "without", "least", "neither", "nor"))
_CONDITIONS = frozenset(("if", "then", "therefore", "because", "suppose", "given", "let", "assume", "unless", "when"))
_EDGES = ".,;:!?()[]\"'"

_UPPER, _LOWER, _DIGIT, _SPACE, _NEWLINE, _MATHS, _COMMA, _BRACKET, _QUOTE, _STOP, _OTHER = range(11)


def _classes() -> NDArray[np.uint8]:
    table = np.full(128, _OTHER, dtype=np.uint8)
    table[ord("A") : ord("Z") + 1] = _UPPER
    table[ord("a") : ord("z") + 1] = _LOWER
    table[ord("0") : ord("9") + 1] = _DIGIT
    for marks, kind in ((" \t\r", _SPACE), ("\n", _NEWLINE), ("+-*/^=<>%$\\_", _MATHS), (",", _COMMA)):
        table[[ord(mark) for mark in marks]] = kind
    for marks, kind in (("()[]{}", _BRACKET), ("\"'`", _QUOTE), (".!?", _STOP)):
        table[[ord(mark) for mark in marks]] = kind
    return table


_CLASS_OF = _classes()
_NON_ASCII = 11


def statistics(query: Query, *, longest: int) -> FloatArray:
    """Return the query's statistics, in the order of ``STATISTICS``; each of the order of 1.

    Args:
        query: Its text counts; of system prompt and context only their size does.
        longest: Characters of the text that are read; its length is told of the whole.
    """
    text = query.text[:longest]
    words = text.split()
    times = Counter([word.strip(_EDGES) for word in text.lower().split()])
    size, count = max(1, len(text)), max(1, len(words))
    points = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    kinds = np.where(points < 128, _CLASS_OF[np.minimum(points, 127)], _NON_ASCII)
    marks = np.bincount(kinds, minlength=12)
    lengths = np.fromiter(map(len, words or [""]), dtype=np.intp, count=count)
    firsts, seconds = _initials(kinds)
    numbers = _runs(kinds == _DIGIT)
    lines = np.array([len(line) for line in text.split("\n") if line and not line.isspace()] or [0])
    stops = int(((kinds[:-1] == _STOP) & (kinds[1:] >= _SPACE) & (kinds[1:] <= _NEWLINE)).sum()) + 1
    marked = marks[[_MATHS, _COMMA, _BRACKET, _QUOTE, _STOP, _OTHER]].sum()
    return np.array(
        [
            np.log1p(len(words)) / 5,
            np.log1p(len(query.text)) / 7,
            np.log1p(max(0, query.prompt_tokens)) / 7,
            np.log1p(len(query.system)) / 7,
            np.log1p(len(query.context)) / 7,
            marks[_DIGIT] / size,
            marks[_UPPER] / size,
            marked / size,
            marks[_NON_ASCII] / size,
            marks[_MATHS] / size,
            np.log1p(len(_CODE.findall(text))) / 4,
            np.log1p(marks[_NEWLINE]) / 4,
            lengths.sum() / count / 8,
            np.log1p(text.count("?")),
            np.log1p(marks[_QUOTE]) / 3,
            marks[_COMMA] / count,
            marks[_BRACKET] / count,
            len(times) / count,
            (lengths <= 3).sum() / count,
            (lengths >= 8).sum() / count,
            (firsts == _UPPER).sum() / count,
            ((firsts == _UPPER) & (seconds == _UPPER)).sum() / count,
            np.log1p(lengths.max()) / 3,
            len(numbers) / count,
            np.log1p(numbers.max() if len(numbers) else 0),
            10 * sum(times[word] for word in _NEGATIONS) / count,
            5 * sum(times[word] for word in _CONDITIONS) / count,
            np.log1p(count / stops) / 4,
            lines[0] / max(1, lines.sum()),
            np.log1p(lines.mean()) / 5,
            np.log1p(lines.std()) / 5,
        ]
    )


def _initials(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the kinds of the first and the second character of each word."""
    blank = (kinds == _SPACE) | (kinds == _NEWLINE)
    starts = np.flatnonzero(~blank & np.concatenate([[True], blank[:-1]])) if len(kinds) else np.zeros(0, dtype=np.intp)
    return kinds[starts], np.append(kinds, _OTHER)[starts + 1]


def _runs(is_in: BoolArray) -> NDArray[np.intp]:
    """Return the lengths of the runs of ``True``."""
    edges = np.diff(np.concatenate([[0], is_in.view(np.int8), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
