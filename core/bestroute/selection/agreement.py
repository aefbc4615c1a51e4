"""Which of several samples wins: checked ones, the form that most share, the highest reward, a complete text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from bestroute.types.sample import Sample

CUT = frozenset({"length", "max_tokens", "max_output_tokens", "MAX_TOKENS"})
"""Finish reasons of a reply that was cut short, in the words of the providers."""


def winner(samples: Mapping[int, Sample], rewards: Mapping[int, float | None]) -> int | None:
    """Return the place of the winner among the samples that may compete; ``None`` if none may.

    Args:
        samples: By place in drawing order.
        rewards: By place; no reward, and NaN, stand behind every number.

    Example:
        >>> winner({0: Sample("a", form="x"), 1: Sample("b", form="y"), 2: Sample("c", form="y")}, {})
        1
    """
    able = [i for i, sample in samples.items() if sample.error is None and sample.flaw is None]
    if len(able) < 2:
        return able[0] if able else None
    votes = Counter(samples[i].form for i in able if samples[i].form is not None)

    def rank(i: int) -> tuple[bool, int, float, bool, int]:
        sample = samples[i]
        in_doubt = sample.unchecked is not None  # it stands behind all that were checked
        return in_doubt, -votes[sample.form], -_rank(rewards.get(i)), sample.finish_reason in CUT, i

    return min(able, key=rank)


def _rank(reward: float | None) -> float:
    return -math.inf if reward is None or math.isnan(reward) else reward
