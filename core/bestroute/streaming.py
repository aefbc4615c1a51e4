"""Streaming one sample: shown as it comes, asked again while nothing has been shown, billed however it ends."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from bestroute.calls import Call
from bestroute.drawing import Drawer, Task
from bestroute.errors import DeadlineError, DrawCancelledError, EmptyReplyError
from bestroute.execution import Draw, DrawnSample
from bestroute.flaws import carries_something
from bestroute.protocols import Delta, Sample
from bestroute.query import Query
from bestroute.usage import Usage, estimate_tokens

_Came = queue.SimpleQueue[tuple[Any, BaseException | None]]

logger = logging.getLogger("bestroute.engine")


class Watch:
    """Follows one attempt at a stream. Nothing is shown before there is something to see: then it can be replaced."""

    def __init__(self, task: Task) -> None:
        """Start with nothing."""
        self.task = task
        self.text = ""
        self.sample: Sample | None = None
        self.started = time.perf_counter()
        self._held: list[Delta] = []
        self._has_shown = False

    def take(self, piece: Delta | Sample) -> list[Delta]:
        """Note a piece; return what the caller is to see now. A sample that came whole is one piece."""
        if isinstance(piece, Sample):
            self.sample = piece
            if piece.error is not None:
                return []
            if not self._has_shown and (piece.text.strip() or carries_something(piece.payload)):
                held, self._held = self._held, []
                return self._shown(held or [Delta(piece.text, piece.payload)])
            return []
        self.text += piece.text
        self._held.append(piece)
        if not (self._has_shown or piece.text or carries_something(piece.payload)):
            return []
        held, self._held = self._held, []
        return self._shown(held)

    def _shown(self, deltas: list[Delta]) -> list[Delta]:
        self._has_shown = self.task.call.is_committed = True
        return deltas

    def end(self, error: Exception | None) -> None:
        """Bill the attempt: the sample's own usage, or an estimate of what a broken stream has sent."""
        seconds = time.perf_counter() - self.started
        sample = self.sample
        if sample is None and error is None:
            error = EmptyReplyError(f"the stream of {self.task.draw.model!r} ended without a sample")
        if error is not None:
            sample = self._broken(error)
        assert sample is not None
        self.task.came([sample], seconds)

    def abandon(self) -> None:
        """Bill a stream that its caller no longer wants."""
        self.task.came([self._broken(DrawCancelledError("the stream was abandoned"))], 0.0)

    def _broken(self, error: BaseException) -> Sample:
        usage = None if self.sample is None else self.sample.usage
        if usage is None and (self.text or isinstance(error, DrawCancelledError)):
            words = estimate_tokens(self.text) if self.text else 0
            usage = Usage(self.task.query.prompt_tokens, words, estimated=True)
        is_wanted = not isinstance(error, DrawCancelledError) or isinstance(error, DeadlineError)
        if is_wanted and self._has_shown and self.task.settings.broken_stream == "keep" and self.text.strip():
            logger.warning("the stream of %r broke and is kept: %s", self.task.draw.model, type(error).__name__)
            return Sample(self.text, usage=usage, finish_reason="broken")
        return Sample(self.text, usage=usage, error=error)


class Streamer:
    """Obeys a ``Draw`` of one sample by streaming it."""

    def __init__(self, drawer: Drawer) -> None:
        """Share gates, settings and ledger with the drawer."""
        self.drawer = drawer

    def method(self, draw: Draw, name: str) -> Any:
        """Return the generator's stream method, if this draw may be shown as it comes."""
        if draw.n != 1 or not draw.is_last_word:
            return None
        return getattr(self.drawer.generators[draw.model], name, None)

    def draw(self, source: Any, query: Query, draw: Draw, call: Call) -> Iterator[Delta | list[DrawnSample]]:
        """Yield pieces, then the drawn samples of all attempts."""
        task = self.drawer.task(query, draw, 1, call)
        try:
            while True:
                yield from self._attempt(source, task)
                if (pause := _pause(task)) is None or call.cancel.wait(pause):
                    break
        except BaseException:  # the caller closed the stream, or was interrupted
            task.call.cancel.set()
            task.close()
            self.drawer.ledger.add(task.rows())
            raise
        task.close()
        yield task.drawn

    def _attempt(self, source: Any, task: Task) -> Iterator[Delta]:
        gate = self.drawer.gates.get(task.draw.model)
        if gate is not None and not gate.enter(task.call.cancel, deadline=task.call.deadline):
            return
        task.begin()
        watch = Watch(task)
        error: Exception | None = None
        try:
            for piece in _in_time(source(task.query, params=task.params, cancel=task.call.cancel), task.call):
                yield from watch.take(piece)
        except Exception as failure:
            error = failure
        except BaseException:
            watch.abandon()
            raise
        finally:
            if gate is not None:
                gate.leave()
        watch.end(error)

    async def adraw(
        self, source: Any, query: Query, draw: Draw, call: Call
    ) -> AsyncGenerator[Delta | list[DrawnSample]]:
        """Yield pieces, then the drawn samples of all attempts, without blocking the loop."""
        import asyncio

        task = self.drawer.task(query, draw, 1, call)
        try:
            while True:
                async with aclosing(self._aattempt(source, task)) as deltas:
                    async for delta in deltas:
                        yield delta
                if (pause := _pause(task)) is None:
                    break
                await asyncio.sleep(pause)
        except BaseException:  # the caller was cancelled, or closed the stream
            task.call.cancel.set()
            task.close()
            await self.drawer.awrite(task.rows())
            raise
        task.close()
        yield task.drawn

    async def _aattempt(self, source: Any, task: Task) -> AsyncGenerator[Delta]:
        gate = self.drawer.gates.get(task.draw.model)
        if gate is not None:
            import asyncio

            try:
                async with asyncio.timeout(task.call.seconds_left()):
                    await gate.aenter()
            except TimeoutError:
                return
        task.begin()
        watch = Watch(task)
        error: Exception | None = None
        try:
            pieces = source(task.query, params=task.params, cancel=task.call.cancel)
            async with _closing(pieces), aclosing(_ain_time(pieces, task.call)) as timed:
                async for piece in timed:
                    for delta in watch.take(piece):
                        yield delta
        except Exception as failure:
            error = failure
        except BaseException:
            watch.abandon()
            raise
        finally:
            if gate is not None:
                gate.leave()
        watch.end(error)


@asynccontextmanager
async def _closing(pieces: Any) -> AsyncIterator[None]:
    """Close a stream that can be closed, so that its connection is free at once."""
    try:
        yield
    finally:
        if (close := getattr(pieces, "aclose", None)) is not None:
            await close()


def _pause(task: Task) -> float | None:
    """Return how long to wait before the next attempt; ``None`` if there is to be none."""
    if task.call.is_committed or not task.goes_on():
        return None
    from bestroute.retrying import wait_s

    pause, left = wait_s(task), task.call.seconds_left()
    return pause if left is None or pause < left else None


def _late(call: Call) -> DeadlineError:
    return DeadlineError(f"the stream was not done within {call.limits.deadline_s:g} s")


def _in_time(pieces: Iterator[Any], call: Call) -> Iterator[Any]:
    """Hand pieces on until the deadline; where there is one they are read in a thread, which can be left behind."""
    if call.deadline is None:
        yield from pieces
        return
    came: _Came = queue.SimpleQueue()
    target = contextvars.copy_context().run
    threading.Thread(target=target, args=(_read, pieces, came, call), name="bestroute-stream").start()
    while True:
        try:
            piece, end = came.get(timeout=call.seconds_left())
        except queue.Empty:
            call.cancel.set()
            raise _late(call) from None
        if isinstance(end, StopIteration):
            return
        if end is not None:
            raise end
        yield piece


def _read(pieces: Iterator[Any], came: _Came, call: Call) -> None:
    """Read a stream to its end, or until nobody wants it any more."""
    end: BaseException = StopIteration()
    try:
        for piece in pieces:
            if call.cancel.is_set:
                break
            came.put((piece, None))
    except BaseException as error:
        end = error
    finally:
        try:
            if (close := getattr(pieces, "close", None)) is not None:
                close()
        finally:
            came.put((None, end))


async def _ain_time(pieces: AsyncIterator[Any], call: Call) -> AsyncGenerator[Any]:
    """Hand pieces on until the deadline."""
    if call.deadline is None:
        async for piece in pieces:
            yield piece
        return
    import asyncio

    while True:
        try:
            async with asyncio.timeout(call.seconds_left()) as limit:
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if limit.expired():
                raise _late(call) from None
            raise
        yield piece
