"""Light text features: hashed words and character n-grams, and statistics of the query. No vocabulary is kept."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bestroute._utils.text import encodable, utf8
from bestroute.features.query_statistics import STATISTICS, statistics
from bestroute.types.arrays import FloatArray
from bestroute.types.query import Query

BUCKETS = 4096
"""Hash buckets; half of them for words, half for character n-grams."""
WIDTH = BUCKETS + len(STATISTICS)
"""Length of a feature vector."""

_WORD = re.compile(r"\w+|[^\w\s]")
_DIGITS = str.maketrans("123456789", "0" * 9)
_SIZES = (3, 4, 5)
_MULTIPLIER = np.uint32(2654435761)
_HALF = BUCKETS // 2
_LONGEST = 20_000
"""Characters read of a query; of what comes after only the length is told."""


def featurise(queries: Sequence[Query]) -> NDArray[np.float32]:
    """Return the features of queries, shape ``(Q, WIDTH)``.

    Words (with numbers reduced to their length) and character n-grams of the query's text fall into hash
    buckets, damped by a logarithm and scaled to length 1; the statistics follow.
    """
    features = np.zeros((len(queries), WIDTH), dtype=np.float32)
    for row, query in zip(features, queries, strict=True):
        text = encodable(query.text[:_LONGEST])
        row[:_HALF] = _damped(_word_buckets(text))
        row[_HALF:BUCKETS] = _damped(_gram_buckets(text))
        row[BUCKETS:] = statistics(query, longest=_LONGEST)
    return features


def _word_buckets(text: str) -> FloatArray:
    """Hash words, and pairs of neighbours by mixing the hashes of the two."""
    words = _WORD.findall(text.lower().translate(_DIGITS))
    single = np.fromiter(map(zlib.crc32, map(str.encode, words)), dtype=np.uint32, count=len(words))
    pairs = ((single[:-1] * _MULTIPLIER) ^ single[1:]) * _MULTIPLIER
    hashes = np.concatenate([single % np.uint32(_HALF), (pairs >> np.uint32(16)) % np.uint32(_HALF)])
    return np.bincount(hashes, minlength=_HALF).astype(np.float64)


def _gram_buckets(text: str) -> FloatArray:
    """Hash all n-grams of bytes at once, by a rolling polynomial."""
    data = np.frombuffer(utf8(f" {text.lower()} "), dtype=np.uint8).astype(np.uint32)
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
