"""The posterior probability that the leading answer of a vote is the more likely one."""

from __future__ import annotations

import math


def beta_exceeds_half(a: int, b: int) -> float:
    """Return ``Pr[X > 1/2]`` for ``X ~ Beta(a + 1, b + 1)``, exactly, for whole ``a, b >= 0``.

    Example:
        >>> beta_exceeds_half(2, 0)
        0.875
    """
    draws = a + b + 1
    return float(sum(math.comb(draws, k) for k in range(a + 1)) / 2**draws)
