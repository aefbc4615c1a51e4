"""Asking the reward model, no longer than a call may take; whatever it raises is handed on as a value."""

from __future__ import annotations

import contextvars
import inspect
import queue
import threading
from collections.abc import Sequence
from typing import Any

from bestroute.calls import Call
from bestroute.errors import ConfigError, DeadlineError
from bestroute.protocols import RewardModel
from bestroute.query import Query

_GRACE_S = 0.05
"""What came just before the deadline may still be scored, if that is quick."""


def score(reward: RewardModel, query: Query, texts: Sequence[str], call: Call) -> Any:
    """Return the rewards, or the error that there were none; where there is a deadline a thread asks for them.

    Raises:
        ConfigError: If the reward model says that it is set up wrongly.
    """
    if call.deadline is None:
        return _asked(reward, query, texts)
    came: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        try:
            came.put(_asked(reward, query, texts))
        except BaseException as crash:
            came.put(crash)

    try:
        copied = contextvars.copy_context().run
        threading.Thread(target=copied, args=(work,), name="bestroute-reward", daemon=True).start()
        reply = came.get(timeout=_seconds(call))
    except queue.Empty:
        return _late(call)
    except RuntimeError as error:  # the system gives no more threads
        return error
    if isinstance(reply, ConfigError) or (isinstance(reply, BaseException) and not isinstance(reply, Exception)):
        raise reply
    return reply


async def ascore(reward: RewardModel, query: Query, texts: Sequence[str], call: Call) -> Any:
    """Return the rewards, or the error that there were none, without blocking the loop; see ``score``."""
    import asyncio

    try:
        async with asyncio.timeout(None if call.deadline is None else _seconds(call)) as limit:
            if inspect.iscoroutinefunction(getattr(reward, "ascore", None)):
                return await reward.ascore(query, texts)  # type: ignore[attr-defined]
            return await asyncio.to_thread(_asked, reward, query, texts)
    except ConfigError:
        raise
    except Exception as error:
        return _late(call) if limit.expired() else error


def _asked(reward: RewardModel, query: Query, texts: Sequence[str]) -> Any:
    try:
        return reward.score(query, texts)
    except ConfigError:
        raise
    except Exception as error:
        return error  # the script has a rule for it


def _seconds(call: Call) -> float:
    return (call.seconds_left() or 0.0) + _GRACE_S


def _late(call: Call) -> DeadlineError:
    return DeadlineError(f"no rewards within {call.limits.deadline_s:g} s")
