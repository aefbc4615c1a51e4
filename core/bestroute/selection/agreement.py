"""Choose the winner of several samples: unflawed, then most frequent form, highest reward, not truncated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from bestroute.types.sample import Sample

CUT = frozenset({"length", "max_tokens", "max_output_tokens", "MAX_TOKENS"})
"""Providers' finish reasons of a truncated reply."""


def winner(samples: Mapping[int, Sample], rewards: Mapping[int, float | None]) -> int | None:
    """Return the key of the winner among the samples without error or flaw; ``None`` if there are none.

    Args:
        samples: Samples by position in drawing order.
        rewards: Rewards by position; ``None`` and NaN rank below every number.

    Example:
        >>> winner({0: Sample("a", form="x"), 1: Sample("b", form="y"), 2: Sample("c", form="y")}, {})
        1
    """
    eligible = [i for i, sample in samples.items() if sample.error is None and sample.flaw is None]
    if len(eligible) < 2:
        return eligible[0] if eligible else None
    votes = Counter(samples[i].form for i in eligible if samples[i].form is not None)

    def rank(i: int) -> tuple[bool, int, float, bool, int]:
        sample = samples[i]
        is_unchecked = sample.unchecked is not None  # ranks below all checked samples
        return is_unchecked, -votes[sample.form], -_rank(rewards.get(i)), sample.finish_reason in CUT, i

    return min(eligible, key=rank)


def _rank(reward: float | None) -> float:
    return -math.inf if reward is None or math.isnan(reward) else reward
