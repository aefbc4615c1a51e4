"""What belongs to an event loop ends with it: connections can be closed in no other."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


def at_loop_end(close: Callable[[], Awaitable[Any]]) -> AsyncGenerator[None]:
    """Have something closed in the running loop when it ends, or as soon as nobody holds what is returned.

    A loop ends the asynchronous generators that were begun in it (``asyncio.run`` and every server see to it), and
    those that nobody holds any more; what is returned is one that waits for that.

    Args:
        close: Called once, in the loop.
    """

    async def wait() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await close()

    waiting = wait()
    try:
        waiting.asend(None).send(None)  # to where it waits; no turn of the loop is needed for it
    except StopIteration:
        pass
    return waiting


def forget_ended(held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any]) -> None:
    """Remove what is held of loops that are closed: it may hold on to its loop, so that none ever goes by itself."""
    loops = [ref() for ref in held.keyrefs()]  # a copy: other threads have loops of their own
    for ended in [loop for loop in loops if loop is not None and loop.is_closed()]:
        held.pop(ended, None)


class PerLoop(Generic[T]):
    """One thing for each event loop: made where it is first asked for, closed when its loop ends.

    A copy, or what comes out of a pickle, holds nothing yet.

    Args:
        close: How one is closed.
    """

    def __init__(self, close: Callable[[T], Awaitable[Any]]) -> None:
        """Hold nothing yet."""
        self._close = close
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None]]]
        self._held = weakref.WeakKeyDictionary()

    def __reduce__(self) -> Any:
        """Keep how things are closed, and none of them."""
        return type(self), (self._close,)

    def get(self, make: Callable[[], T]) -> T:
        """Return the running loop's, made if need be."""
        import asyncio

        loop = asyncio.get_running_loop()
        if (held := self._held.get(loop)) is not None:
            return held[0]
        forget_ended(self._held)
        made, close = make(), self._close
        self._held[loop] = (made, at_loop_end(lambda: close(made)))
        return made

    async def aclose(self) -> None:
        """Close the running loop's; the next that is asked for is a new one."""
        import asyncio

        _, waiting = self._held.pop(asyncio.get_running_loop(), (None, None))
        if waiting is not None:
            await waiting.aclose()
