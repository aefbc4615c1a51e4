"""Run work off the caller's thread, in a thread of its own, so that slow work delays nothing else."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The result or exception of work, as a value: an asyncio future cannot hold a ``StopIteration``."""

    value: T | None = None
    error: BaseException | None = None

    @classmethod
    def of(cls, work: Callable[[], T]) -> Outcome[T]:
        """Run the work in this thread."""
        try:
            return cls(work())
        except BaseException as error:
            return cls(error=error)

    def get(self) -> T:
        """Return the value, or raise the exception."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class ThreadsExhausted(RuntimeError):  # a state, not a fault of anybody's
    """The system has no more threads; the work was not started."""


def start(work: Callable[[], object], *, name: str, daemon: bool) -> None:
    """Start work in a thread, with the caller's context variables.

    Args:
        work: The function to run.
        name: Name of the thread.
        daemon: Whether the interpreter may exit before the work ends.

    Raises:
        ThreadsExhausted: If the system has no more threads.
    """
    copied = contextvars.copy_context().run
    try:
        threading.Thread(target=copied, args=(work,), name=name, daemon=daemon).start()
    except RuntimeError as error:
        raise ThreadsExhausted(str(error)) from error


def run_in_thread(work: Callable[[], T], *, name: str, seconds: float | None, daemon: bool = True) -> Outcome[T] | None:
    """Return the outcome of work in a thread; ``None`` if it takes longer, in which case it continues.

    Raises:
        ThreadsExhausted: If the system has no more threads.
    """
    done: queue.SimpleQueue[Outcome[T]] = queue.SimpleQueue()
    start(lambda: done.put(Outcome.of(work)), name=name, daemon=daemon)
    try:
        return done.get(timeout=seconds)
    except queue.Empty:
        return None


async def arun_in_thread(
    work: Callable[[], T], *, name: str, seconds: float | None = None, daemon: bool = True
) -> Outcome[T] | None:
    """Return the outcome of work in a thread without blocking the event loop; see ``run_in_thread``."""
    import asyncio

    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome[T]] = loop.create_future()
    start(lambda: tell(loop, done, Outcome.of(work)), name=name, daemon=daemon)
    if seconds is None:
        return await done
    try:
        async with asyncio.timeout(seconds):
            return await done
    except TimeoutError:
        return None


async def in_own_thread(work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return the result of a function, run in a thread of its own rather than in the loop's small pool.

    The interpreter waits for it at its end, as it does for a call that was abandoned.
    """
    outcome = await arun_in_thread(partial(work, *args, **kwargs), name="bestroute", daemon=False)
    assert outcome is not None  # there is no limit of time
    return outcome.get()


def tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], value: object) -> None:
    """Set a future's result from another thread; does nothing if its loop is closed."""

    def settle() -> None:
        if not done.done():
            done.set_result(value)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        pass
