"""Circuit breakers: a member that keeps failing rests, and is then tried by one draw at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bestroute._utils.fork_safe import ProcessState


@dataclass
class _Member:
    failures: int = 0
    rests_until: float | None = None
    probed_by: object = None
    """Whose draw finds out whether it is well."""


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

    def admits(self, model: str, *, by: object = True) -> bool:
        """Ask to draw: whether the member is well, or this draw may find out. What came of it must be told.

        Args:
            model: Pool name.
            by: Who asks: nobody else can end a probe without an outcome.
        """
        member = self._members[model]
        if member.rests_until is None:  # read without the lock: the usual case, and a draw too many does no harm
            return True
        with self._guard():
            if member.rests_until is None:
                return True
            if member.probed_by is not None or self.clock() < member.rests_until:
                return False
            member.probed_by = by
            return True

    def is_probe(self, model: str, *, by: object = True) -> bool:
        """Whether it is this draw that finds out."""
        return self._members[model].probed_by is by

    def rests(self, model: str) -> bool:
        """Whether a draw would not be let through now."""
        member = self._members[model]
        if member.rests_until is None:
            return False
        with self._guard():
            if member.rests_until is None:
                return False
            return member.probed_by is not None or self.clock() < member.rests_until

    def worked(self, model: str) -> None:
        """Note that a draw came: the breaker closes."""
        member = self._members[model]
        if member.failures or member.rests_until is not None:
            with self._guard():
                member.failures, member.rests_until, member.probed_by = 0, None, None

    def failed(self, model: str, *, by: object = True) -> bool:
        """Note that a draw failed for good; returns whether the member rests from now on.

        While it rests only the draw that finds out counts: others began before, or asked it for want of anybody else.
        """
        with self._guard():
            member = self._members[model]
            member.failures += 1
            is_open = member.rests_until is not None
            if (is_open and member.probed_by is not by) or (not is_open and member.failures < self.failures):
                return False
            member.rests_until, member.probed_by = self.clock() + self.rest_s, None
            return True

    def undecided(self, model: str, *, by: object = True) -> None:
        """Note that a draw ended without telling whether the member is well: it was cancelled, say."""
        member = self._members[model]
        if member.probed_by is by:
            with self._guard():
                if member.probed_by is by:
                    member.probed_by = None

    def _forget_parent(self) -> None:
        for member in self._members.values():
            member.probed_by = None
