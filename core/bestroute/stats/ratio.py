"""The ratio of two sums over independent pairs, with its interval, computed from sums that a database can add."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RatioSums:
    """Sums over pairs of a part and its whole.

    Example:
        >>> sums = RatioSums.of(1.0, 2.0).plus(RatioSums.of(3.0, 4.0))
        >>> sums.ratio, sums.count
        (0.6666666666666666, 2)
    """

    count: int = 0
    part: float = 0.0
    whole: float = 0.0
    part2: float = 0.0
    whole2: float = 0.0
    product: float = 0.0

    @classmethod
    def of(cls, part: float, whole: float) -> RatioSums:
        """Return the sums of one pair."""
        return cls(1, part, whole, part * part, whole * whole, part * whole)

    def plus(self, other: RatioSums) -> RatioSums:
        """Return the sums over the pairs of both."""
        return RatioSums(
            self.count + other.count,
            self.part + other.part,
            self.whole + other.whole,
            self.part2 + other.part2,
            self.whole2 + other.whole2,
            self.product + other.product,
        )

    @property
    def ratio(self) -> float | None:
        """Sum of parts divided by sum of wholes; ``None`` if that is zero."""
        return self.part / self.whole if self.whole > 0 else None

    def interval95(self) -> tuple[float, float] | None:
        """Return a 95 % interval of the ratio by the normal approximation; ``None`` for fewer than two pairs.

        Source:
            Cochran (1977), Sampling Techniques, chapter 6, for the variance of a ratio.
        """
        ratio = self.ratio
        if ratio is None or self.count < 2:
            return None
        squares = max(self.part2 - 2 * ratio * self.product + ratio * ratio * self.whole2, 0.0)
        half = 1.96 * math.sqrt(squares * self.count / (self.count - 1)) / self.whole
        return ratio - half, ratio + half
