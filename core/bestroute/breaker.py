"""Circuit breakers: a member that keeps failing rests, and is then tried by one draw at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bestroute.process_state import ProcessState


@dataclass
class _Member:
    failures: int = 0
    rests_until: float | None = None
    is_probed: bool = False


class Breakers(ProcessState):
    """One breaker for each member of a pool; safe between threads.

    A closed breaker lets every draw through. After ``failures`` draws in a row that failed for good it opens for
    ``rest_s`` seconds; then it is half open: one draw is let through, whose outcome closes or opens it again.

    Args:
        models: Pool names.
        failures: Draws in a row.
        rest_s: Seconds.
        clock: Seconds that never go back.
    """

    def __init__(
        self, models: Iterable[str], *, failures: int, rest_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with every breaker closed."""
        super().__init__()
        self.failures, self.rest_s, self.clock = failures, rest_s, clock
        self._members = {model: _Member() for model in models}

    def admits(self, model: str) -> bool:
        """Ask to draw: whether the member is well, or this draw may find out. What came of it must be told."""
        member = self._members[model]
        if member.rests_until is None:  # read without the lock: the usual case, and a draw too many does no harm
            return True
        with self._guard():
            if member.rests_until is None:
                return True
            if member.is_probed or self.clock() < member.rests_until:
                return False
            member.is_probed = True
            return True

    def rests(self, model: str) -> bool:
        """Whether a draw would not be let through now."""
        member = self._members[model]
        if member.rests_until is None:
            return False
        with self._guard():
            return member.rests_until is not None and (member.is_probed or self.clock() < member.rests_until)

    def worked(self, model: str) -> None:
        """Note that a draw came: the breaker closes."""
        member = self._members[model]
        if member.failures or member.rests_until is not None:
            with self._guard():
                member.failures, member.rests_until, member.is_probed = 0, None, False

    def failed(self, model: str) -> bool:
        """Note that a draw failed for good; returns whether the member rests from now on."""
        with self._guard():
            member = self._members[model]
            member.failures += 1
            if not member.is_probed and member.failures < self.failures:
                return False
            member.rests_until, member.is_probed = self.clock() + self.rest_s, False
            return True

    def undecided(self, model: str) -> None:
        """Note that a draw ended without telling whether the member is well: it was cancelled, say."""
        member = self._members[model]
        if member.is_probed:
            with self._guard():
                member.is_probed = False

    def _forget_parent(self) -> None:
        for member in self._members.values():
            member.is_probed = False
