"""Following: a price of quality that starts from the frozen one and is steered to a drop by what audits show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np

from bestroute.errors import ConfigError
from bestroute.monitoring.audits import Audit
from bestroute.policies.policies import QualityPolicy
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.bases import PolicyBase
from bestroute.types.pool import Pool
from bestroute.types.prediction import Prediction

_STEP = 1.0
"""By how much the price's logarithm moves for one unit of drop."""


class FollowPolicy(PolicyBase):
    """The plan with the largest expected quality at a price that follows audits.

    A control, no promise: the mean drop is steered to the target, and an audit's interval says where it is.

    Args:
        target: The relative drop in quality it steers to.
        price_usd: Where it starts, USD a unit of quality.
        lowest, highest: Prices it stays between.
    """

    is_light = True

    def __init__(self, target: float, price_usd: float, *, lowest: float, highest: float) -> None:
        """Start at a price."""
        self.target, self.lowest, self.highest = target, lowest, highest
        self._log_price = math.log(price_usd)
        self._lock = Lock()

    @classmethod
    def of(cls, router: object, target: float, *, window: int) -> FollowPolicy:
        """Return the policy that starts from the price that a router froze for a target.

        Raises:
            ConfigError: If the router has frozen none.
        """
        path: Sequence[float] = getattr(router, "path", ())
        frozen: Mapping[str, float | None] = getattr(router, "frozen", {})
        if not frozen or not path:
            raise ConfigError("follow=True needs a router that `bestroute train` made: it starts from a frozen price")
        careful = [drop for drop in frozen if float(drop) <= target + 1e-12]
        price = frozen[max(careful, key=float)] if careful else None
        return cls(target, path[-1] if price is None else price, lowest=path[0], highest=path[-1])

    @property
    def price_usd(self) -> float:
        """The price now."""
        return math.exp(self._log_price)

    def observe(self, audit: Audit) -> None:
        """Move the price: up after a drop above the target, down after one below."""
        step = _STEP * (audit.drop - self.target * audit.reference_quality)
        with self._lock:
            self._log_price = float(
                np.clip(self._log_price + step, math.log(self.lowest), math.log(self.highest)),
            )

    def choose(self, prediction: Prediction, cost_usd: FloatArray, pool: Pool) -> IntArray:
        """Return the index of a plan for each query; see ``Policy.choose``."""
        return QualityPolicy(self.price_usd).choose(prediction, cost_usd, pool)

    def verdicts(self, prediction: Prediction, cost_usd: FloatArray, chosen: int, pool: Pool) -> list[str]:
        """Say for each plan of a single query why it was taken or not, and what would flip it."""
        return QualityPolicy(self.price_usd).verdicts(prediction, cost_usd, chosen, pool)

    def __str__(self) -> str:
        """Render as ``following drop 0.01, quality at 0.02 USD now``."""
        return f"following drop {self.target:g}, quality at {self.price_usd:g} USD now"
