"""Statistics of a query: length, kinds of characters, shape of words. No word is stored or compared."""

from __future__ import annotations

import re
from collections import Counter
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from bestroute.types.arrays import BoolArray, FloatArray
from bestroute.types.query import Query

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

_LOGGED = {
    "log_words": 5,
    "log_characters": 7,
    "log_prompt_tokens": 7,
    "log_system_characters": 7,
    "log_context_characters": 7,
    "code_marks": 4,
    "lines": 4,
    "question_marks": 1,
    "quotes": 3,
    "longest_word": 3,
    "longest_number": 1,
    "words_a_sentence": 4,
    "mean_line_length": 5,
    "line_length_spread": 5,
}
"""Statistics that enter by their logarithm, and its divisor."""
LOGGED_AT = np.array([STATISTICS.index(name) for name in _LOGGED])
LOGGED_BY = np.array(list(_LOGGED.values()), dtype=np.float64)

CODE_MARKS = "{}();=<>[]"
CODE_WORDS = re.compile(
    "|".join(rf"{word}\b(?<!\w{word})" for word in ("def", "return", "class", "import", "print", "for", "while"))
)
"""Whole words; what stands before one is looked at last, so that the search skips to their first letters."""
NEGATIONS = frozenset(("not", "no", "never", "except", "cannot", "without", "least", "neither", "nor"))
CONDITIONS = frozenset(("if", "then", "therefore", "because", "suppose", "given", "let", "assume", "unless", "when"))
EDGES = ".,;:!?()[]\"'"

UPPER, _LOWER, DIGIT, SPACE, NEWLINE, MATHS, COMMA, BRACKET, QUOTE, STOP, OTHER = range(11)


NON_ASCII = 11


def _classes() -> NDArray[np.uint8]:
    table = np.full(129, OTHER, dtype=np.uint8)
    table[128] = NON_ASCII
    table[ord("A") : ord("Z") + 1] = UPPER
    table[ord("a") : ord("z") + 1] = _LOWER
    table[ord("0") : ord("9") + 1] = DIGIT
    for marks, kind in ((" \t\r", SPACE), ("\n", NEWLINE), ("+-*/^=<>%$\\_", MATHS), (",", COMMA)):
        table[[ord(mark) for mark in marks]] = kind
    for marks, kind in (("()[]{}", BRACKET), ("\"'`", QUOTE), (".!?", STOP)):
        table[[ord(mark) for mark in marks]] = kind
    return table


CLASS_OF = _classes()
"""Kind of each character; those beyond ASCII are at 128."""


def statistics(query: Query, *, longest: int) -> FloatArray:
    """Return the query's statistics, in the order of ``STATISTICS``; each of the order of 1.

    Args:
        query: Its text counts; of system prompt and context only their size does.
        longest: Characters of the text that are read; its length is told of the whole.
    """
    text = query.text[:longest]
    words = text.split()
    times = Counter(map(str.strip, text.lower().split(), repeat(EDGES)))
    size, count = max(1, len(text)), max(1, len(words))
    points = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    kinds = CLASS_OF[np.minimum(points, 128)]
    marks = np.bincount(kinds, minlength=12).tolist()
    lengths = np.fromiter(map(len, words or [""]), dtype=np.intp, count=count)
    firsts, seconds = _initials(kinds)
    numbers = _runs(kinds == DIGIT) if marks[DIGIT] else np.zeros(0, dtype=np.intp)
    lines = np.array([len(line) for line in text.split("\n") if line and not line.isspace()] or [0])
    stops = np.count_nonzero((kinds[:-1] == STOP) & (kinds[1:] >= SPACE) & (kinds[1:] <= NEWLINE)) + 1
    values = np.array(
        [
            len(words),
            len(query.text),
            max(0, query.prompt_tokens),
            len(query.system),
            len(query.context),
            marks[DIGIT] / size,
            marks[UPPER] / size,
            sum(marks[kind] for kind in (MATHS, COMMA, BRACKET, QUOTE, STOP, OTHER)) / size,
            marks[NON_ASCII] / size,
            marks[MATHS] / size,
            sum(map(text.count, CODE_MARKS)) + len(CODE_WORDS.findall(text)),
            marks[NEWLINE],
            lengths.sum() / count / 8,
            text.count("?"),
            marks[QUOTE],
            marks[COMMA] / count,
            marks[BRACKET] / count,
            len(times) / count,
            np.count_nonzero(lengths <= 3) / count,
            np.count_nonzero(lengths >= 8) / count,
            np.count_nonzero(firsts == UPPER) / count,
            np.count_nonzero((firsts == UPPER) & (seconds == UPPER)) / count,
            lengths.max(),
            len(numbers) / count,
            numbers.max() if len(numbers) else 0,
            10 * sum(times[word] for word in NEGATIONS) / count,
            5 * sum(times[word] for word in CONDITIONS) / count,
            count / stops,
            lines[0] / max(1, lines.sum()),
            lines.mean(),
            lines.std(),
        ],
        dtype=np.float64,
    )
    values[LOGGED_AT] = np.log1p(values[LOGGED_AT]) / LOGGED_BY
    return values


def _initials(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the kinds of the first and the second character of each word."""
    blank = (kinds == SPACE) | (kinds == NEWLINE)
    starts = np.flatnonzero(~blank & np.concatenate([[True], blank[:-1]])) if len(kinds) else np.zeros(0, dtype=np.intp)
    return kinds[starts], np.append(kinds, OTHER)[starts + 1]


def _runs(is_in: BoolArray) -> NDArray[np.intp]:
    """Return the lengths of the runs of ``True``."""
    edges = np.diff(np.concatenate([[0], is_in.view(np.int8), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
