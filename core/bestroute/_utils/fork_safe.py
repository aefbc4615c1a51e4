"""State shared by threads that a forked process must not inherit in an inconsistent state."""

from __future__ import annotations

import os
import threading
from typing import Any


class ProcessState:
    """Base of small objects with a lock.

    In a forked process the lock is open, regardless of the parent's threads, and what is in progress in the parent only
    is dropped. Copies and unpickled objects have their own lock.
    """

    def __init__(self) -> None:
        """Set up for this process."""
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _guard(self) -> threading.Lock:
        """Return this process's lock, to be held while state is read or changed."""
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
            self._forget_parent()
        return self._lock

    def _forget_parent(self) -> None:
        """Drop what is in progress in the parent process only."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the lock."""
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore with a new lock."""
        vars(self).update(state)
        ProcessState.__init__(self)
        self._forget_parent()
