"""Features of many queries at once are, to the last bit, those of each alone."""

import numpy as np
import pytest

from bestroute import Query
from bestroute.features import batched, hashing
from bestroute.features.batched import statistics_of
from bestroute.features.hashing import featurise

ODD = [
    "a",
    "A",
    "  \n ",
    "?",
    "3.14 is 2222 in NASA. Yes! no\nline two.\n\n  \n x",
    "ends. With stops.",
    "1234",
    "12 34 567",
    "def f(x): return x\nclass A: pass",
    "\u65e5\u672c\u8a9e text \u00e9 \u00fc\u3000wide",
    "\ud83d broken",
    "\x00 nul\x1c",
    "ABC. DEF",
    "not if then because never",
    "x" * 30_000,
    "word " * 700,
]


def queries():
    return [Query(text, messages=["m"]) for text in ODD] + [
        Query(f"{i} {text}", system="s" * i, context="c" * (i % 3)) for i in range(7) for text in ODD[:-2]
    ]


def test_read_together_they_are_what_each_is_alone():
    together, alone = featurise(queries()), np.vstack([featurise([query]) for query in queries()])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 64, 65])
def test_it_does_not_matter_who_is_in_the_batch(size):
    every = (queries() * 2)[:size]
    assert np.array_equal(featurise(every), featurise(queries() * 2)[:size])


def test_from_a_few_queries_on_they_are_read_together(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        hashing,
        "statistics_of",
        lambda queries, longest: sizes.append(len(queries)) or statistics_of(queries, longest=longest),
    )
    featurise(queries()[:3])
    assert sizes == []
    featurise(queries()[:10])
    assert sizes == [10]


def test_of_no_queries_there_are_no_features():
    assert featurise([]).shape == (0, hashing.WIDTH)
    assert statistics_of([], longest=10).shape == (0, len(hashing.STATISTICS))


def test_every_character_of_ascii_and_some_beyond_it_are_read_alike():
    rng = np.random.default_rng(0)
    points = [*range(128), 0x85, 0xA0, 0xB2, 0x130, 0x3A3, 0x660, 0x2028, 0x3000, 0x1F642]
    drawn = [Query("".join(map(chr, rng.choice(points[: 128 + 9 * (i % 2)], 60))) + "x") for i in range(200)]
    each = [Query(f"a{chr(point)}B {chr(point)}{chr(point)} 7") for point in points]
    together = featurise([*drawn, *each])
    assert np.array_equal(together, np.vstack([featurise([query]) for query in [*drawn, *each]]))


def test_texts_that_share_no_words_are_read_alike(monkeypatch):
    monkeypatch.setattr(batched, "_MOST_COUNTS", 0)
    assert np.array_equal(featurise(queries()), np.vstack([featurise([query]) for query in queries()]))
