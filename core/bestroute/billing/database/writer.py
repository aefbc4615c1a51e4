"""A thread that writes submitted items in batches, and retries failed writes."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")

_IDLE_S = 2.0
"""How long the thread waits for more items before it ends and its connection is closed, seconds."""
_MOST_ITEMS = 500
"""Most items of one transaction."""
_RETRY_S = (0.1, 5.0)
"""First and longest pause before a failed write is retried, seconds; it doubles."""
_LATER_S = 0.5
"""How long an item that nobody waits for may wait to be written with others, seconds."""
_EXIT_S = 10.0
"""How long the end of the process waits for unwritten items, seconds."""


class Writer(Generic[Item]):
    """Passes items to ``write`` in order, in batches, from one thread that starts when needed.

    If ``write`` raises, its items are retried after a pause, and together with new ones.

    Args:
        write: Writes items, all or none; may be called twice for the same ones.
        close: Called when there is nothing to write.
        failed: Called with the error of a failed write.
        lost: Called with the items that could not be written before the process ended.
    """

    def __init__(
        self,
        write: Callable[[list[Item]], None],
        close: Callable[[], None],
        failed: Callable[[Exception], None],
        lost: Callable[[list[Item]], None],
    ) -> None:
        """Start without items and without a thread."""
        self._write, self._close, self._failed, self._lost = write, close, failed, lost
        self._condition = threading.Condition()
        self._writing = threading.Lock()
        self._items: deque[tuple[Item, Future[None] | None]] = deque()
        """Items with the callback for when they are written; ``None`` if nobody waits."""
        self._thread: threading.Thread | None = None
        self._is_new = self._is_closing = False
        self.is_away = False
        """Whether the last write failed."""
        self.process = os.getpid()
        close_at_exit(self)

    def submit(self, item: Item) -> Future[None]:
        """Submit an item; the future is done when it is written, or has failed once and waits for a retry."""
        future: Future[None] = Future()
        with self._condition:
            self._items.append((item, future))
            self._is_new = True
            self._start()
            self._condition.notify_all()
        return future

    def submit_later(self, item: Item) -> None:
        """Submit an item that may be written with the next one, or half a second later."""
        with self._condition:
            self._items.append((item, None))
            self._start()
            self._condition.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="bestroute-writer", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends: whoever flushes writes
                self._thread = None

    def waiting(self) -> list[Item]:
        """Return the items that are not written."""
        with self._condition:
            return [item for item, _ in self._items]

    def drop_oldest(self) -> Item | None:
        """Remove the oldest item; only to be called by ``failed``."""
        with self._condition:
            return self._items.popleft()[0] if self._items else None

    def flush(self, timeout_s: float | None = None) -> bool:
        """Write waiting items; returns whether all are written."""
        with self._condition:
            last = self._items[-1][1] if self._items and self._thread is not None else None
        if last is not None and not last.done():
            try:
                last.result(timeout_s)
            except TimeoutError:
                return False
        while self.waiting():
            if self._write_some() is not None:
                return False
        return True

    def close(self, timeout_s: float | None = None) -> bool:
        """Write waiting items, end the thread and close the connection; both restart with the next item."""
        is_written = self.flush(timeout_s)
        with self._condition:
            thread = self._thread
            self._is_closing = True
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        with self._condition:
            self._is_closing = False
        if thread is None:
            with self._writing:
                self._close()
        return is_written

    def give_up(self) -> None:
        """Report the items that are lost."""
        if waiting := self.waiting():
            self._lost(waiting)

    def held(self) -> threading.Lock:
        """Return the lock that prevents writing."""
        return self._writing

    def _run(self) -> None:
        pause = _RETRY_S[0]
        while not self._is_idle(pause):
            error = self._write_some()
            pause = _RETRY_S[0] if error is None else min(2 * pause, _RETRY_S[1])
        with self._writing:
            if self._thread is None:  # no other was started meanwhile
                self._close()

    def _is_idle(self, pause: float) -> bool:
        """Wait for items; returns whether none came, so that the thread may end."""
        with self._condition:
            if not self._items:
                self._condition.wait_for(lambda: self._is_closing or self._items, timeout=_IDLE_S)
            if self._items and (self.is_away or all(future is None for _, future in self._items)):
                self._condition.wait_for(
                    lambda: self._is_closing or self._is_new, timeout=pause if self.is_away else _LATER_S
                )
            if not self._items or (self._is_closing and self.is_away):
                self._thread = None
                return True
            self._is_new = False
            return False

    def _write_some(self) -> Exception | None:
        """Write the oldest items; returns the error if that failed."""
        with self._writing:
            with self._condition:
                batch = list(self._items)[:_MOST_ITEMS]
            if not batch:
                return None
            error: Exception | None = None
            try:
                self._write([item for item, _ in batch])
            except Exception as failure:
                error = failure
            with self._condition:
                self.is_away = error is not None
                if error is None:
                    for _ in batch:
                        self._items.popleft()
                futures = [future for _, future in (batch if error is None else self._items)]
            if error is not None:
                self._failed(error)
        for future in futures:
            if future is not None and not future.done():
                future.set_result(None)
        return error


class Closable(Protocol):
    """An object with items to write before the process ends."""

    process: int

    def close(self, timeout_s: float | None = None) -> bool:
        """Write them; returns whether all are written."""
        ...

    def give_up(self) -> None:
        """Report what is lost with the process."""
        ...


_open: dict[int, weakref.ref[Closable]] = {}
"""Objects to close at exit, by id; iterated as a copy, since other threads may add some."""


def _flush_all() -> None:
    """Write what this process has not written; a forked process leaves its parent's items alone."""
    end = time.monotonic() + _EXIT_S
    for ref in _open.copy().values():
        thing = ref()
        if thing is not None and thing.process == os.getpid():
            if not thing.close(max(0.0, end - time.monotonic())):
                thing.give_up()


def _terminate(_number: int, _frame: Any) -> None:
    """Write waiting items, then let the signal take its default effect.

    The writing is done in another thread, since the interrupted one may hold a lock that it needs.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def end() -> None:
        _flush_all()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, name="bestroute-terminate", daemon=True).start()


def close_at_exit(thing: Closable) -> None:
    """Have an object closed at the interpreter's exit and at SIGTERM, unless the program handles that signal."""
    key = id(thing)
    _open[key] = weakref.ref(thing, lambda _: _open.pop(key, None))
    atexit.unregister(_flush_all)  # once is enough
    atexit.register(_flush_all)
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
