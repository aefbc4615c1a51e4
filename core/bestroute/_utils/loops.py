"""Objects that belong to an event loop and are closed with it, since connections cannot be closed in another."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


def at_loop_end(close: Callable[[], Awaitable[Any]]) -> AsyncGenerator[None]:
    """Have something closed in the running loop when it ends, or once the returned object is released.

    A loop ends the asynchronous generators that were begun in it (``asyncio.run`` and every server see to it), and
    those that nobody holds any more; what is returned is one that waits for that.

    Args:
        close: Called once, in that loop.
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
    """Remove entries of closed loops, whose values may refer to their loop and keep it alive."""
    loops = [ref() for ref in held.keyrefs()]  # a copy: other threads have loops of their own
    for ended in [loop for loop in loops if loop is not None and loop.is_closed()]:
        held.pop(ended, None)


class PerLoop(Generic[T]):
    """One object per event loop: made at first use, closed when its loop ends.

    Copies and unpickled objects start empty.

    Args:
        close: Closes an object.
    """

    def __init__(self, close: Callable[[T], Awaitable[Any]]) -> None:
        """Start empty."""
        self._close = close
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None]]]
        self._held = weakref.WeakKeyDictionary()

    def __reduce__(self) -> Any:
        """Pickle only the closing function."""
        return type(self), (self._close,)

    def get(self, make: Callable[[], T]) -> T:
        """Return the running loop's object, made if needed."""
        import asyncio

        loop = asyncio.get_running_loop()
        if (held := self._held.get(loop)) is not None:
            return held[0]
        forget_ended(self._held)
        made, close = make(), self._close
        self._held[loop] = (made, at_loop_end(lambda: close(made)))
        return made

    async def aclose(self) -> None:
        """Close the running loop's object; the next ``get`` makes a new one."""
        import asyncio

        _, waiting = self._held.pop(asyncio.get_running_loop(), (None, None))
        if waiting is not None:
            await waiting.aclose()
