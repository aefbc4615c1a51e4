"""Light text features: hashed words and character n-grams, and statistics of the query, without a vocabulary."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bestroute._utils.text import encodable, utf8
from bestroute.features.batched import damped_rows, gram_counts, statistics_of, word_counts
from bestroute.features.hash_rules import BUCKETS, DIGITS, HALF, MULTIPLIER, SIZES, WORD
from bestroute.features.query_statistics import STATISTICS, statistics
from bestroute.types.arrays import FloatArray
from bestroute.types.query import Query

WIDTH = BUCKETS + len(STATISTICS)
"""Length of a feature vector."""

WORTH_SHARING = 4
"""Number of queries from which they are processed in batches."""
_AT_ONCE = 64
"""Batch size; the counts of more would not fit into a core's cache."""
_LONGEST = 20_000
"""Most characters read of a query; its length counts in full."""


def featurise(queries: Sequence[Query]) -> NDArray[np.float32]:
    """Return the features of queries, shape ``(Q, WIDTH)``.

    Words (with numbers reduced to their length) and character n-grams of the query's text fall into hash
    buckets, damped by a logarithm and scaled to length 1; the statistics follow.
    """
    features = np.zeros((len(queries), WIDTH), dtype=np.float32)
    if len(queries) >= WORTH_SHARING:
        for start in range(0, len(queries), _AT_ONCE):
            some, rows = queries[start : start + _AT_ONCE], features[start : start + _AT_ONCE]
            texts = [encodable(query.text[:_LONGEST]) for query in some]
            rows[:, :HALF] = damped_rows(word_counts(texts))
            rows[:, HALF:BUCKETS] = damped_rows(gram_counts(texts))
            rows[:, BUCKETS:] = statistics_of(some, longest=_LONGEST)
        return features
    for row, query in zip(features, queries, strict=True):
        text = encodable(query.text[:_LONGEST])
        row[:HALF] = _damped(_word_buckets(text))
        row[HALF:BUCKETS] = _damped(_gram_buckets(text))
        row[BUCKETS:] = statistics(query, longest=_LONGEST)
    return features


def _word_buckets(text: str) -> FloatArray:
    """Hash words and pairs of adjacent words, by mixing the hashes of the two."""
    words = WORD.findall(text.lower().translate(DIGITS))
    single = np.fromiter(map(zlib.crc32, map(str.encode, words)), dtype=np.uint32, count=len(words))
    pairs = ((single[:-1] * MULTIPLIER) ^ single[1:]) * MULTIPLIER
    hashes = np.concatenate([single % np.uint32(HALF), (pairs >> np.uint32(16)) % np.uint32(HALF)])
    return np.bincount(hashes, minlength=HALF).astype(np.float64)


def _gram_buckets(text: str) -> FloatArray:
    """Hash all byte n-grams by a rolling polynomial."""
    data = np.frombuffer(utf8(f" {text.lower()} "), dtype=np.uint8).astype(np.uint32)
    counts = np.zeros(HALF)
    hashes = np.zeros(len(data), dtype=np.uint32)
    for size in range(1, max(SIZES) + 1):
        if size > len(data):
            break
        hashes = hashes[: len(data) - size + 1] * np.uint32(31) + data[size - 1 :]
        if size in SIZES:
            spread = (hashes * MULTIPLIER) >> np.uint32(16)
            counts += np.bincount(spread % np.uint32(HALF), minlength=HALF)
    return counts


def _damped(counts: FloatArray) -> FloatArray:
    damped = np.log1p(counts)
    length = np.sqrt(damped @ damped)
    return damped / length if length else damped
