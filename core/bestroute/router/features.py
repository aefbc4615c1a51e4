"""Light text features: hashed words and character n-grams, and statistics of the query. No vocabulary is kept."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bestroute.protocols import FloatArray
from bestroute.query import Query

BUCKETS = 4096
"""Hash buckets; half of them for words, half for character n-grams."""
STATISTICS = (
    "log_words",
    "log_characters",
    "log_context_tokens",
    "digit_share",
    "upper_share",
    "punctuation_share",
    "non_ascii_share",
    "code_marks",
    "lines",
    "mean_word_length",
    "question_marks",
)
WIDTH = BUCKETS + len(STATISTICS)
"""Length of a feature vector."""

_WORD = re.compile(r"\w+|[^\w\s]")
_DIGIT = re.compile(r"[0-9]")
_CODE = re.compile(r"[{}();=<>\[\]]|\b(?:def|return|class|import|print|for|while)\b")
_SIZES = (3, 4, 5)
_MULTIPLIER = np.uint32(2654435761)
_HALF = BUCKETS // 2
_LONGEST = 20_000
"""Characters read of a query; what comes after changes only the statistics."""


def featurise(queries: Sequence[Query]) -> NDArray[np.float32]:
    """Return the features of queries, shape ``(Q, WIDTH)``.

    Words (with numbers reduced to their length) and character n-grams of the query's text fall into hash
    buckets, damped by a logarithm and scaled to length 1; the statistics follow.
    """
    features = np.zeros((len(queries), WIDTH), dtype=np.float32)
    for row, query in zip(features, queries, strict=True):
        row[:_HALF] = _damped(_word_buckets(query.text[:_LONGEST]))
        row[_HALF:BUCKETS] = _damped(_gram_buckets(query.text[:_LONGEST]))
        row[BUCKETS:] = statistics(query)
    return features


def _word_buckets(text: str) -> FloatArray:
    words = _WORD.findall(_DIGIT.sub("0", text.lower()))
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    hashes = [zlib.crc32(term.encode()) % _HALF for term in (*words, *pairs)]
    return np.bincount(hashes, minlength=_HALF).astype(np.float64) if hashes else np.zeros(_HALF)


def _gram_buckets(text: str) -> FloatArray:
    """Hash all n-grams of bytes at once, by a rolling polynomial."""
    data = np.frombuffer(f" {text.lower()} ".encode(), dtype=np.uint8).astype(np.uint32)
    counts = np.zeros(_HALF)
    hashes = np.zeros(len(data), dtype=np.uint32)
    for size in range(1, max(_SIZES) + 1):
        if size > len(data):
            break
        hashes = hashes[: len(data) - size + 1] * np.uint32(31) + data[size - 1 :]
        if size in _SIZES:
            spread = (hashes * _MULTIPLIER) >> np.uint32(16)
            counts += np.bincount(spread % np.uint32(_HALF), minlength=_HALF)
    return counts


def _damped(counts: FloatArray) -> FloatArray:
    damped = np.log1p(counts)
    length = np.sqrt(damped @ damped)
    return damped / length if length else damped


def statistics(query: Query) -> FloatArray:
    """Return the query's statistics, in the order of ``STATISTICS``; each of the order of 1."""
    text = query.text
    size = max(1, len(text))
    words = text.split()
    points = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    digits = _count(points, "09")
    upper = _count(points, "AZ")
    letters = upper + _count(points, "az")
    non_ascii = int((points > 127).sum())
    plain = letters + digits + non_ascii + _count(points, "\t\r") + _count(points, "  ")
    return np.array(
        [
            np.log1p(len(words)) / 5,
            np.log1p(len(text)) / 7,
            np.log1p(max(0, query.prompt_tokens)) / 7,
            digits / size,
            upper / size,
            (len(text) - plain) / size,
            non_ascii / size,
            np.log1p(len(_CODE.findall(text))) / 4,
            np.log1p(text.count("\n")) / 4,
            (sum(map(len, words)) / len(words) if words else 0.0) / 8,
            np.log1p(text.count("?")),
        ]
    )


def _count(points: NDArray[np.uint32], bounds: str) -> int:
    low, high = map(ord, bounds)
    return int(((points >= low) & (points <= high)).sum())
