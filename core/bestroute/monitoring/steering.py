"""Steering: a price of quality that starts from the frozen one and is adjusted to the drop that audits measure."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from bestroute._utils.fork_safe import ProcessState
from bestroute.monitoring.audits import Audit
from bestroute.types.arrays import FloatArray, IntArray

FORGETS = 100
"""Number of audits after which the weight of earlier ones has fallen by two thirds, if predictions are right."""
LOOKS_EVERY = 20
"""Number of audits between updates of the predicted slope from the latest decisions."""
LOOKS_REMEMBERED = 50
"""Number of slope updates that are averaged. The drop reacts more to the price where the price is low; with smaller
steps there and larger ones where it is high, drops above and below the target would weigh differently, which biases
it."""
USUAL_PROBABILITY = 0.03
"""Assumed audit probability before the first audit."""
LEAST_SLOPE = 0.03
"""Smallest assumed slope of the drop in the price's logarithm; smaller predicted slopes are raised to it."""
MARGIN = 0.05
"""How much worse than predicted plans other than the reference are assumed to be, per unit of the price's logarithm
above the highest price."""
INITIAL_MARGIN = 0.1
"""The initial margin if training found that only the reference meets the target."""
MOST_WEIGHT = 5.0
"""Largest weight of an audit, relative to one of the usual probability."""
_NUDGE = 0.35
"""Change of the price's logarithm in both directions for computing the predicted slope."""


class Steering(ProcessState):
    """A price that is adjusted after every audit: up after a drop above the target, down after one below.

    Calls whose drop is known to be zero lower it as well, provisionally: their effect since the last successful audit
    is undone when an audit fails. So a price without working audits returns to where it was.

    This is a control loop, not a promise: the mean drop approaches the target in the long run, and the intervals of
    audits show where it is. The size of a step follows from the router's predictions over the latest decisions, at
    slightly higher and lower prices; its direction from audits alone. If the highest price does not suffice, plans
    other than the reference are assumed to be worse than predicted, in the end so much that none is chosen.

    Args:
        target: The target drop, relative to the reference's quality.
        price_usd: The initial price, USD per unit of quality; ``None`` starts with the reference alone.
        lowest, highest: Limits of the price.
        window: Number of latest decisions used for predictions.
    """

    def __init__(
        self, target: float, price_usd: float | None, *, lowest: float, highest: float, window: int = 200
    ) -> None:
        """Start at a price."""
        super().__init__()
        self.target = target
        self._lowest, self._highest = math.log(lowest), math.log(max(highest, price_usd or 0.0))
        self._start = self._highest + INITIAL_MARGIN / MARGIN if price_usd is None else math.log(price_usd)
        self._moved = self._provisional = 0.0
        self._probability, self._relative_to = USUAL_PROBABILITY, 1.0
        self._slope, self._audits, self._looks = LEAST_SLOPE, 0, 0
        self._recent: deque[tuple[FloatArray, FloatArray, int]] = deque(maxlen=window)

    @property
    def price_usd(self) -> float:
        """The current price, USD."""
        return math.exp(min(self._position, self._highest))

    @property
    def margin(self) -> float:
        """How much worse than predicted plans other than the reference are currently assumed to be."""
        return MARGIN * max(self._position - self._highest, 0.0)

    @property
    def moved(self) -> float:
        """How far the price's logarithm has moved since the start; moves of several processes add up."""
        return self._moved

    @moved.setter
    def moved(self, moved: float) -> None:
        with self._guard():
            self._set(moved)

    def choose(self, quality: FloatArray, cost_usd: FloatArray, reference: int) -> IntArray:
        """Return the plan of the best value at the current price for each query, and remember the options.

        Args:
            quality: Expected quality, shape ``(Q, P)``.
            cost_usd: Expected cost, shape ``(Q, P)``.
            reference: The column of the reference alone.
        """
        chosen = best_value(_worse(quality, reference, self.margin), cost_usd, self.price_usd)
        with self._guard():
            self._recent.extend((q, c, reference) for q, c in zip(quality, cost_usd, strict=True))
        return chosen

    def observe_certain(self, calls: int, probability: float) -> None:
        """Lower the price for calls whose drop is known to be zero, which are not audited.

        Args:
            calls: Number of calls.
            probability: Probability with which each would have been audited; 0 has no effect.
        """
        with self._guard():
            before, lost = self._moved, self.target * self._relative_to * calls
            self._set(before - self._gain() * probability * self._weight(probability) * lost)
            self._provisional += before - self._moved

    def observe_failed(self) -> None:
        """Undo the effect of calls without audits since the last audit, because an audit failed."""
        with self._guard():
            self._set(self._moved + self._provisional)
            self._provisional = 0.0

    def observe(self, audit: Audit) -> None:
        """Adjust the price to an audit."""
        with self._guard():
            share = 1 / FORGETS
            self._probability += (share if self._audits else 1.0) * (audit.probability - self._probability)
            self._relative_to += share * (audit.reference_quality - self._relative_to)
            if self._audits % LOOKS_EVERY == 0:
                self._looks += 1
                share_of_look = max(1 / self._looks, 1 / LOOKS_REMEMBERED)
                self._slope += share_of_look * (max(self._predicted_slope(), LEAST_SLOPE) - self._slope)
            self._audits += 1
            lost = audit.drop - self.target * audit.reference_quality
            self._set(self._moved + self._gain() * self._weight(audit.probability) * lost)
            self._provisional = 0.0

    @property
    def _position(self) -> float:
        return self._start + self._moved

    def _set(self, moved: float) -> None:
        top = self._highest + 1.0 / MARGIN
        self._moved = min(max(self._start + moved, self._lowest), top) - self._start

    def _weight(self, probability: float) -> float:
        """How much an audit counts that was made with a probability, in the usual one's."""
        return min(self._probability / probability, MOST_WEIGHT) if probability else 0.0

    def _gain(self) -> float:
        """Step of the price's logarithm per unit of drop."""
        return 1 / (FORGETS * self._slope)

    def _predicted_slope(self) -> float:
        """Decrease of the predicted drop per unit of the price's logarithm."""
        if not self._recent:
            return LEAST_SLOPE
        sizes = {len(quality) for quality, _, _ in self._recent}
        if len(sizes) > 1:  # some members were left out for some queries
            return LEAST_SLOPE
        quality = np.array([row for row, _, _ in self._recent])
        cost = np.array([row for _, row, _ in self._recent])
        reference = self._recent[-1][2]
        got = []
        for nudge in (-_NUDGE, _NUDGE):
            position = self._position + nudge
            worse = _worse(quality, reference, MARGIN * max(position - self._highest, 0.0))
            chosen = best_value(worse, cost, math.exp(min(position, self._highest)))
            got.append(float(np.take_along_axis(quality, chosen[:, None], 1).mean()))
        return (got[1] - got[0]) / (2 * _NUDGE)


def best_value(quality: FloatArray, cost_usd: FloatArray, price_usd: float) -> IntArray:
    """Return the plan that maximises quality times price minus cost; ties go to the cheaper, then the earlier.

    Args:
        quality: Expected quality, shape ``(Q, P)``.
        cost_usd: Expected cost, shape ``(Q, P)``.
        price_usd: Of a unit of quality.
    """
    net = quality * price_usd - cost_usd
    best = net == net.max(axis=1, keepdims=True)
    return np.asarray(np.argmin(np.where(best, cost_usd, np.inf), axis=1), dtype=np.intp)


def _worse(quality: FloatArray, reference: int, margin: float) -> FloatArray:
    """Lower the quality of every plan but the reference by a margin."""
    if not margin:
        return quality
    worse = quality - margin
    worse[:, reference] = quality[:, reference]
    return worse
