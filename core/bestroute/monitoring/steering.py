"""Steering: a price of quality that starts from the frozen one and follows what audits show of the drop."""

from __future__ import annotations

import math
from threading import Lock

import numpy as np

from bestroute.monitoring.audits import Audit

STEP = 1.0
"""By how much the price's logarithm moves for one unit of drop."""


class Steering:
    """A price that moves with every audit: up after a drop above the target, down after one below.

    A control, no promise: an audit's interval says where the drop is.

    Args:
        target: The relative drop in quality it steers to.
        price_usd: Where it starts, USD a unit of quality.
        lowest, highest: Prices it stays between.
    """

    def __init__(self, target: float, price_usd: float, *, lowest: float, highest: float) -> None:
        """Start at a price."""
        self.target, self._ends = target, (math.log(lowest), math.log(highest))
        self._log_price = math.log(price_usd)
        self._lock = Lock()

    @property
    def price_usd(self) -> float:
        """The price now."""
        return math.exp(self._log_price)

    def observe(self, audit: Audit) -> None:
        """Move the price by what an audit shows."""
        step = STEP * (audit.drop - self.target * audit.reference_quality)
        with self._lock:
            self._log_price = float(np.clip(self._log_price + step, *self._ends))
