"""Asking again: how long to wait between attempts, and when to stop. The loop itself is tenacity's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import tenacity

from bestroute.settings import Settings

if TYPE_CHECKING:
    from bestroute.drawing import Task


def again(task: Task, ask: Callable[[], object]) -> None:
    """Repeat a task that failed once, in this thread; a cancelled call wakes up at once."""
    attempts = _Attempts(task)

    def step() -> bool:
        if attempts.is_first():
            return True
        if attempts.are_wanted():
            ask()
        return task.goes_on()

    def sleep(seconds: float) -> None:
        task.call.cancel.wait(seconds)

    tenacity.Retrying(sleep=sleep, **_rules(task))(step)


async def aagain(task: Task, ask: Callable[[], Awaitable[object]]) -> None:
    """Repeat a task that failed once, without blocking the loop."""
    import asyncio

    attempts = _Attempts(task)

    async def step() -> bool:
        if attempts.is_first():
            return True
        if attempts.are_wanted():
            await ask()
        return task.goes_on()

    await tenacity.AsyncRetrying(sleep=asyncio.sleep, **_rules(task))(step)


def wait_s(task: Task) -> float:
    """Return how long to wait before the next attempt."""
    spread = _spread(task.settings)
    return max(spread(SimpleNamespace(attempt_number=task.attempts)), task.asked_wait_s())  # type: ignore[arg-type]


class _Attempts:
    """The first attempt was made by the caller, who pays nothing for this module while all goes well."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.made = 0

    def is_first(self) -> bool:
        self.made += 1
        return self.made == 1

    def are_wanted(self) -> bool:
        return not self.task.call.cancel.is_set and not self.task.call.is_late


def _spread(settings: Settings) -> tenacity.wait_random_exponential:
    return tenacity.wait_random_exponential(multiplier=settings.first_wait_s, max=settings.max_wait_s)


def _rules(task: Task) -> dict[str, Any]:
    return {
        "retry": tenacity.retry_if_result(bool),
        "stop": tenacity.stop_never,  # Task.goes_on stops it
        "wait": lambda state: wait_s(task),
    }
