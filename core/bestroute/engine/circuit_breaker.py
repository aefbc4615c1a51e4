"""Circuit breakers: a member that keeps failing is not called for a while, and is then tried by one draw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bestroute._utils.fork_safe import ProcessState


@dataclass
class _Member:
    failures: int = 0
    open_until: float | None = None
    trial_by: object = None
    """The owner of the half-open trial in progress."""


class Breakers(ProcessState):
    """One breaker for each member of a pool; safe between threads.

    A closed breaker admits every draw. After ``failures`` consecutive draws that failed for good it opens for
    ``rest_s`` seconds; then it is half open and admits one trial draw, whose outcome closes or reopens it.

    Args:
        models: Pool names.
        failures: Consecutive failed draws that open a breaker.
        rest_s: Seconds that it stays open.
        clock: Monotonic seconds.
    """

    def __init__(
        self, models: Iterable[str], *, failures: int, rest_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with every breaker closed."""
        super().__init__()
        self.failures, self.rest_s, self.clock = failures, rest_s, clock
        self._members = {model: _Member() for model in models}

    def admits(self, model: str, *, by: object = True) -> bool:
        """Ask to draw; returns whether the breaker is closed, or this draw is its trial.

        Whoever is admitted must then call ``succeeded``, ``failed`` or ``undecided``.

        Args:
            model: Pool name.
            by: The owner of the draw; only the owner of a trial can end it without an outcome.
        """
        member = self._members[model]
        if member.open_until is None:  # the usual case, read without the lock: one draw too many does no harm
            return True
        with self._guard():
            if member.open_until is None:
                return True
            if member.trial_by is not None or self.clock() < member.open_until:
                return False
            member.trial_by = by
            return True

    def is_trial(self, model: str, *, by: object = True) -> bool:
        """Whether this owner's draw is the trial."""
        return self._members[model].trial_by is by

    def is_open(self, model: str) -> bool:
        """Whether a draw would be refused now."""
        member = self._members[model]
        if member.open_until is None:
            return False
        with self._guard():
            if member.open_until is None:
                return False
            return member.trial_by is not None or self.clock() < member.open_until

    def succeeded(self, model: str) -> None:
        """Note that a draw succeeded; the breaker closes."""
        member = self._members[model]
        if member.failures or member.open_until is not None:
            with self._guard():
                member.failures, member.open_until, member.trial_by = 0, None, None

    def failed(self, model: str, *, by: object = True) -> bool:
        """Note that a draw failed for good; returns whether that opened the breaker.

        While it is open, only the trial counts: other draws began earlier, or were made for lack of another member.
        """
        with self._guard():
            member = self._members[model]
            member.failures += 1
            is_open = member.open_until is not None
            if (is_open and member.trial_by is not by) or (not is_open and member.failures < self.failures):
                return False
            member.open_until, member.trial_by = self.clock() + self.rest_s, None
            return True

    def undecided(self, model: str, *, by: object = True) -> None:
        """Note that a draw ended without an outcome, because it was cancelled for example."""
        member = self._members[model]
        if member.trial_by is by:
            with self._guard():
                if member.trial_by is by:
                    member.trial_by = None

    def _forget_parent(self) -> None:
        for member in self._members.values():
            member.trial_by = None
