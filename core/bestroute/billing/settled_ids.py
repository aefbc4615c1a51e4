"""Ids of settled attempts, which make settling idempotent."""

from __future__ import annotations

MOST = 10_000
"""How many ids are remembered, the newest."""


class SettledIds:
    """The ids of settled attempts; callers hold a lock of their own."""

    def __init__(self) -> None:
        """Start empty."""
        self._ids: dict[str, None] = {}

    def __contains__(self, attempt_id: str) -> bool:
        """Return whether an attempt is settled."""
        return attempt_id in self._ids

    def add(self, attempt_id: str) -> bool:
        """Record that an attempt is settled; returns whether it was not before."""
        if attempt_id in self._ids:
            return False
        self._ids[attempt_id] = None
        if len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]
        return True
