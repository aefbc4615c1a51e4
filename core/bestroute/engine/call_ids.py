"""Ids of calls: the caller's where it has one of its own, and none twice, since ledgers and budgets go by them."""

from __future__ import annotations

import os
import threading
from collections import deque

_MOST = 10_000
_lately: deque[str] = deque()
_known: set[str] = set()
_lock = threading.Lock()


def own_call_id(wished: str | None) -> str:
    """Return the id that was wished for, or a new one where that is another call's.

    Args:
        wished: The caller's; of the last 10,000 that were given none is given again.

    Example:
        >>> own_call_id("run 1"), own_call_id("run 1") == "run 1"
        ('run 1', False)
    """
    if wished is not None:
        with _lock:
            if wished not in _known:
                _known.add(wished)
                _lately.append(wished)
                if len(_lately) > _MOST:
                    _known.discard(_lately.popleft())
                return wished
    return os.urandom(16).hex()
