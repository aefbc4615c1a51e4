"""The features of many queries at once: every array step is taken for all of them, which is five times as fast.

Each number is, to the last bit, what ``hashing`` and ``query_statistics`` say of one query; a test holds them together.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from bestroute._utils.text import utf8
from bestroute.features import query_statistics as one
from bestroute.features.hash_rules import DIGITS, HALF, MULTIPLIER, SIZES, WORD
from bestroute.types.arrays import BoolArray, FloatArray
from bestroute.types.query import Query

_BETWEEN = 12
"""The kind of the separator between texts that are processed together."""
_MOST_COUNTS = 1 << 20
"""Most word counts by text in memory at once, including zeros."""


def statistics_of(queries: Sequence[Query], *, longest: int) -> FloatArray:
    """Return queries' statistics, in the order of ``STATISTICS``, shape ``(Q, S)``; each of the order of 1.

    Characters, words and lines of all queries are counted at once, by the query they stand in: for short queries that
    takes a third of the time of one after the other.

    Args:
        queries: Their texts count; of system prompts and contexts only their size does.
        longest: Characters of a text that are read; its length is told of the whole.
    """
    if not queries:
        return np.zeros((0, len(one.STATISTICS)))
    texts = [query.text[:longest] for query in queries]
    lowered = [text.lower().split() for text in texts]
    words = [low if text.isascii() else text.split() for text, low in zip(texts, lowered, strict=True)]
    kinds = _WordKinds.of(lowered)
    count = np.maximum(1, list(map(len, words)))
    size = np.maximum(1, list(map(len, texts)))
    characters = _Characters.of(texts)
    marks, runs = characters.marks, characters.runs
    length = _Lengths.of(words)
    lines = _Lengths.of([_lines(text) for text in texts])
    values = np.stack(
        [
            np.array(list(map(len, words)), dtype=np.float64),
            np.array([len(query.text) for query in queries]),
            np.array([max(0, query.prompt_tokens) for query in queries]),
            np.array([len(query.system) for query in queries]),
            np.array([len(query.context) for query in queries]),
            marks[:, one.DIGIT] / size,
            marks[:, one.UPPER] / size,
            marks[:, [one.MATHS, one.COMMA, one.BRACKET, one.QUOTE, one.STOP, one.OTHER]].sum(axis=1) / size,
            marks[:, one.NON_ASCII] / size,
            marks[:, one.MATHS] / size,
            np.array([sum(map(text.count, one.CODE_MARKS)) + len(one.CODE_WORDS.findall(text)) for text in texts]),
            marks[:, one.NEWLINE],
            length.sum() / count / 8,
            np.array([text.count("?") for text in texts]),
            marks[:, one.QUOTE],
            marks[:, one.COMMA] / count,
            marks[:, one.BRACKET] / count,
            kinds.distinct / count,
            length.count(length.values <= 3) / count,
            length.count(length.values >= 8) / count,
            characters.capitalised / count,
            characters.acronyms / count,
            length.max(),
            runs.number / count,
            runs.longest,
            10 * kinds.negations / count,
            5 * kinds.conditions / count,
            count / characters.stops,
            lines.first() / np.maximum(1, lines.sum()),
            lines.mean(),
            lines.spread(),
        ],
        axis=1,
    )
    values[:, one.LOGGED_AT] = np.log1p(values[:, one.LOGGED_AT]) / one.LOGGED_BY
    return np.asarray(values)


@dataclass(frozen=True)
class _WordKinds:
    """Properties of the words of texts, without punctuation at their edges, by text."""

    distinct: NDArray[np.intp]
    negations: NDArray[np.intp]
    conditions: NDArray[np.intp]

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> _WordKinds:
        """Analyse each distinct word once, since texts share many."""
        places: dict[str, int] = {}
        known = {w: places.setdefault(w.strip(one.EDGES), len(places)) for w in set(chain.from_iterable(texts))}
        rows, width, lengths = len(texts), max(1, len(places)), list(map(len, texts))
        place = np.fromiter(map(known.__getitem__, chain.from_iterable(texts)), dtype=np.intp, count=sum(lengths))
        at = np.repeat(np.arange(rows) * width, lengths) + place
        if rows * width <= _MOST_COUNTS:
            found = np.bincount(at, minlength=rows * width).reshape(rows, width)
            row, place = found.nonzero()
            times = found[row, place]
        else:  # long texts that share little
            pairs, times = np.unique(at, return_counts=True)
            row, place = np.divmod(pairs, width)

        def number(words: Collection[str]) -> NDArray[np.intp]:
            is_one = np.fromiter(map(words.__contains__, places), dtype=bool, count=len(places))[place]
            return np.bincount(row[is_one], weights=times[is_one], minlength=rows).astype(np.intp)

        return cls(np.bincount(row, minlength=rows), number(one.NEGATIONS), number(one.CONDITIONS))


def _lines(text: str) -> list[str]:
    """Return the non-blank lines."""
    return [line for line in text.split("\n") if line and not line.isspace()]


@dataclass(frozen=True)
class _Runs:
    """Return, for each text, the number of runs of digits and the length of the longest."""

    number: FloatArray
    longest: FloatArray


@dataclass(frozen=True)
class _Characters:
    """Counts of kinds of characters, by text."""

    marks: NDArray[np.intp]
    """Number of characters of each kind, shape ``(Q, kinds)``."""
    capitalised: NDArray[np.intp]
    """Words that begin with a capital letter."""
    acronyms: NDArray[np.intp]
    """Words that begin with two capital letters."""
    stops: NDArray[np.intp]
    """Number of sentence ends, plus one."""
    runs: _Runs

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Characters:
        """Process all texts at once, separated by a character of a kind of its own."""
        rows = len(texts)
        lengths = np.array(list(map(len, texts))) + 1
        points = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le", "replace"), dtype=np.uint32)
        kinds = one.CLASS_OF[np.minimum(points, 128)]
        kinds[np.cumsum(lengths) - 1] = _BETWEEN
        row = np.repeat(np.arange(rows), lengths)
        marks = np.bincount(row * (_BETWEEN + 1) + kinds, minlength=rows * (_BETWEEN + 1)).reshape(rows, -1)
        blank = (kinds == one.SPACE) | (kinds == one.NEWLINE) | (kinds == _BETWEEN)
        starts = np.flatnonzero(~blank & np.concatenate([[True], blank[:-1]]))
        capital = starts[kinds[starts] == one.UPPER]
        acronym = capital[kinds[capital + 1] == one.UPPER]
        ends = (kinds[:-1] == one.STOP) & (kinds[1:] >= one.SPACE) & (kinds[1:] <= one.NEWLINE)

        def by_row(places: NDArray[np.intp]) -> NDArray[np.intp]:
            return np.bincount(row[places], minlength=rows)

        digits = np.diff(np.concatenate([[0], (kinds == one.DIGIT).view(np.int8), [0]]))
        begun = np.flatnonzero(digits == 1)
        longest = np.zeros(rows)
        np.maximum.at(longest, row[begun], np.flatnonzero(digits == -1) - begun)
        runs = _Runs(by_row(begun).astype(np.float64), longest)
        return cls(marks, by_row(capital), by_row(acronym), by_row(np.flatnonzero(ends)) + 1, runs)


@dataclass(frozen=True)
class _Lengths:
    """Numbers of words or lines, grouped by text; each text has at least one."""

    values: FloatArray
    starts: NDArray[np.intp]
    number: NDArray[np.intp]

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]]) -> _Lengths:
        whole = [some or ("",) for some in lists]
        number = np.array(list(map(len, whole)))
        values = np.fromiter(map(len, chain.from_iterable(whole)), dtype=np.float64, count=int(number.sum()))
        return cls(values, np.cumsum(number) - number, number)

    def sum(self) -> FloatArray:
        return np.asarray(np.add.reduceat(self.values, self.starts))

    def max(self) -> FloatArray:
        return np.asarray(np.maximum.reduceat(self.values, self.starts))

    def first(self) -> FloatArray:
        return np.asarray(self.values[self.starts])

    def count(self, holds: BoolArray) -> FloatArray:
        return np.asarray(np.add.reduceat(holds.astype(np.float64), self.starts))

    def mean(self) -> FloatArray:
        return np.asarray(self.sum() / self.number)

    def spread(self) -> FloatArray:
        away = (self.values - np.repeat(self.mean(), self.number)) ** 2
        return np.asarray(np.sqrt(np.add.reduceat(away, self.starts) / self.number))


def word_counts(texts: Sequence[str]) -> NDArray[np.intp]:
    """Hash words and pairs of adjacent words, by mixing the hashes of the two; returns counts, one row per text."""
    words = [_words(text) for text in texts]
    known: dict[str, int] = {word: zlib.crc32(word.encode()) for word in set(chain.from_iterable(words))}
    lengths = np.array(list(map(len, words)))
    count = int(lengths.sum())
    single = np.fromiter(map(known.__getitem__, chain.from_iterable(words)), dtype=np.uint32, count=count)
    pairs = ((single[:-1] * MULTIPLIER) ^ single[1:]) * MULTIPLIER
    begins = np.repeat(np.arange(len(texts)) * HALF, lengths)
    last = np.cumsum(lengths[:-1]) - 1
    return _counted(
        len(texts),
        begins + _bucket(single),
        _within(begins[:-1] + _bucket(pairs >> np.uint32(16)), last[(last >= 0) & (last < count - 1)], len(texts)),
    )


def _words(text: str) -> list[str]:
    """Return the matches of ``WORD`` in a lower-case text with digits replaced by zeros; for ASCII by bytes."""
    if not text.isascii():
        return WORD.findall(text.lower().translate(DIGITS))
    plain = text.encode().translate(_PLAIN)
    for mark, apart in _MARKS:
        if mark in plain:
            plain = plain.replace(mark, apart)
    return plain.decode().split()


def _of_words(code: int) -> int:
    character = chr(code)
    if code < 128 and (character.isspace() or character.isdigit()):
        return ord(" " if character.isspace() else "0")
    return ord(character.lower()) if code < 128 else code


_PLAIN = bytes(map(_of_words, range(256)))
"""Translation of ASCII to lower case, digits to zeros and white space to spaces."""
_MARKS = [(m.encode(), f" {m} ".encode()) for m in map(chr, range(128)) if not (m.isalnum() or m == "_" or m.isspace())]
"""Characters that are words by themselves, and the same surrounded by spaces."""


def gram_counts(texts: Sequence[str]) -> NDArray[np.intp]:
    """Hash all byte n-grams at once, by a rolling polynomial; returns counts, one row per text."""
    encoded = [utf8(f" {text.lower()} ") for text in texts]
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8).astype(np.uint32)
    lengths = list(map(len, encoded))
    begins, ends = np.repeat(np.arange(len(texts)) * HALF, lengths), np.cumsum(lengths)
    found = []
    hashes = np.zeros(len(data), dtype=np.uint32)
    for size in range(1, max(SIZES) + 1):
        if size > len(data):
            break
        hashes = hashes[: len(data) - size + 1] * np.uint32(31) + data[size - 1 :]
        if size in SIZES:
            at = begins[: len(hashes)] + _bucket((hashes * MULTIPLIER) >> np.uint32(16))
            across = (ends[:, None] - np.arange(1, size)).ravel()
            found.append(_within(at, across[(across >= 0) & (across < len(at))], len(texts)))
    return _counted(len(texts), *found)


def _bucket(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the remainder modulo ``HALF``, a power of two."""
    return hashes & np.uint32(HALF - 1)


def _within(at: NDArray[np.intp], across: NDArray[np.intp], rows: int) -> NDArray[np.intp]:
    """Return buckets, with those of n-grams that span two texts moved behind all others."""
    at[across] = rows * HALF
    return at


def _counted(rows: int, *places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Count buckets, one row per text; those behind all rows are dropped."""
    at = np.concatenate(places) if places else np.zeros(0, dtype=np.intp)
    return np.bincount(at, minlength=rows * HALF + 1)[:-1].reshape(rows, HALF)


def damped_rows(counts: NDArray[np.intp]) -> FloatArray:
    """Return logarithms of counts, with rows normalised to length 1."""
    damped = np.log1p(np.arange(counts.max(initial=0) + 1, dtype=np.float64))[counts]
    lengths = np.array([np.sqrt(row @ row) for row in damped])
    return np.asarray(damped / np.where(lengths > 0, lengths, 1.0)[:, None])
