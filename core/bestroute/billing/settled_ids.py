"""Attempts that were settled: a second time for the same notes nothing."""

from __future__ import annotations

MOST = 10_000
"""So many are remembered, the newest."""


class SettledIds:
    """The ids of attempts that were settled; whoever holds them keeps others out meanwhile."""

    def __init__(self) -> None:
        """Know none yet."""
        self._ids: dict[str, None] = {}

    def __contains__(self, attempt_id: str) -> bool:
        """Whether it was settled."""
        return attempt_id in self._ids

    def add(self, attempt_id: str) -> bool:
        """Note that an attempt is settled; returns whether it was not before."""
        if attempt_id in self._ids:
            return False
        self._ids[attempt_id] = None
        if len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]
        return True
