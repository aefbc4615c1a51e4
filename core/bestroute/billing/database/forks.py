"""A fork waits for statements that are under way, and finds no connection open.

SQLite remembers a file's locks in the memory of its process. A forked process has that memory and none of the locks:
where its parent was writing, it would find the file locked for ever; where its parent's connection was merely open, it
would take no lock of its own, and others could put the journal away under what it writes. A server's connection that
two processes hold breaks for both.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

logger = logging.getLogger(__name__)
PATIENCE_S = 10.0
"""How long a fork waits for statements, seconds."""
_COURTESY_S = 1.0
"""How long a new statement waits for a pending fork, seconds; one in progress may need a lock of this thread."""


class Connected(Protocol):
    """An object with a lasting connection."""

    def close(self) -> None:
        """Close it; it reopens when needed."""
        ...


class ForkGate:
    """A gate that statements pass through, and that a fork closes briefly."""

    def __init__(self) -> None:
        """Start open, with no thread inside."""
        self._condition = threading.Condition(threading.RLock())
        self._inside: Counter[int] = Counter()
        """How many times each thread is inside."""
        self._is_awaited = False
        """Whether a fork is pending."""
        self._kept: weakref.WeakSet[Connected] = weakref.WeakSet()

    def keep(self, database: Connected) -> None:
        """Register a database whose connection is to be closed before a fork."""
        with self._condition:
            self._kept.add(database)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Return a context in which no other thread forks, unless it lasts too long."""
        thread, inside = threading.get_ident(), self._inside
        with self._condition:
            if self._is_awaited and thread not in inside:
                self._condition.wait_for(lambda: not self._is_awaited, _COURTESY_S)
            inside[thread] += 1
        try:
            yield
        finally:
            with self._condition:
                inside[thread] -= 1
                if not inside[thread]:
                    del inside[thread]
                    self._condition.notify_all()

    def before_fork(self) -> None:
        """Wait until no other thread is inside, close every connection, and keep new statements out."""
        self._condition.acquire()
        self._is_awaited, me = True, threading.get_ident()
        try:
            if not self._condition.wait_for(lambda: self._inside.keys() <= {me}, PATIENCE_S):
                logger.warning("a fork did not wait longer than %g s for a ledger's statement", PATIENCE_S)
        finally:
            self._is_awaited = False
        if not self._inside:
            for database in list(self._kept):
                database.close()

    def after_in_parent(self) -> None:
        """Open the gate again."""
        self._condition.notify_all()
        self._condition.release()

    def after_in_child(self) -> None:
        """Start open: the parent's other threads do not exist here."""
        self._condition = threading.Condition(threading.RLock())
        self._inside = Counter()


gate = ForkGate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=gate.before_fork, after_in_parent=gate.after_in_parent, after_in_child=gate.after_in_child
    )
