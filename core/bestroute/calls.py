"""What one call of the engine carries along: its limits, what is left of them, and the flag that stops it."""

from __future__ import annotations

import time
import uuid

from bestroute.budget import Budget, Purse
from bestroute.protocols import Cancel
from bestroute.settings import Limits


class Call:
    """One call under way.

    Args:
        limits: What it may use.
        budget: The engine's own, shared with its other calls.
    """

    __slots__ = ("cancel", "deadline", "is_committed", "limits", "purse", "run_id", "samples_left")

    def __init__(self, limits: Limits, budget: Budget | None) -> None:
        """Start the clock."""
        self.limits = limits
        self.run_id = uuid.uuid4().hex
        self.cancel = Cancel()
        self.is_committed = False
        """Whether the caller has seen a piece of an answer, so that none other can take its place."""
        self.deadline = None if limits.deadline_s is None else time.monotonic() + limits.deadline_s
        self.samples_left = limits.max_samples
        own = () if limits.max_cost_usd is None else (Budget(limits.max_cost_usd),)
        shared = () if budget is None else (budget,)
        self.purse = Purse((*own, *shared)) if own or shared else None

    def seconds_left(self) -> float | None:
        """Return the time to the deadline, never below 0; ``None`` without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline
