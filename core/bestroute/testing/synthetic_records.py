"""Records with known probabilities: easy and hard queries that differ in their words, for training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bestroute.records.records import ModelSamples, Record
from bestroute.types.pool import Pool
from bestroute.types.prices import Price

_WORDS = {
    "easy": ("sum", "list", "colour", "name", "small", "count", "first", "short"),
    "hard": ("prove", "integral", "theorem", "contour", "manifold", "lemma", "bound", "spectral"),
}
ODDS: Mapping[str, Mapping[str, float]] = {
    "small": {"easy": 0.9, "hard": 0.1},
    "mid": {"easy": 0.9, "hard": 0.3},
    "large": {"easy": 0.95, "hard": 0.85},
}
"""Probability of a right answer, by model and kind of query."""


def synthetic_pool(*, max_n: int = 3) -> Pool:
    """Return a pool of three models: ``small`` and ``mid`` are cheaper than the reference, ``large``."""
    prices = {"small": Price(0.5, 2.0), "mid": Price(1.0, 4.0), "large": Price(2.0, 8.0)}
    return Pool(tuple(prices), prices, "large", max_n=max_n)


def synthetic_records(queries: int = 200, *, samples: int = 6, seed: int = 0, prefix: str = "q") -> list[Record]:
    """Draw records whose queries are easy or hard in equal parts; four queries of a kind form a group.

    Args:
        queries: How many records.
        samples: Of each model.
        seed: Of everything that is drawn.
        prefix: Of ids and groups.

    Returns:
        Records with text (the answer), quality and a reward that equals it: right is 1, wrong is 0.
    """
    rng = np.random.default_rng(seed)
    records = []
    for i in range(queries):
        kind = "easy" if i % 2 else "hard"
        words = " ".join(rng.choice(_WORDS[kind], size=rng.integers(4, 9)))
        by_model = {}
        for model, odds in ODDS.items():
            right = rng.random(samples) < odds[kind]
            answers = tuple("right" if r else f"wrong {rng.integers(5)}" for r in right)
            quality = tuple(map(float, right))
            tokens = tuple(map(float, rng.integers(20, 60, samples)))
            by_model[model] = ModelSamples(quality, answers, quality, input_tokens=50.0, output_tokens=tokens)
        records.append(Record(f"{prefix}{i}", f"{words} {i}?", by_model, f"{prefix}-group-{i // 8}-{kind}", kind))
    return records
