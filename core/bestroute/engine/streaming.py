"""Streaming one sample: shown as it comes, asked again while nothing has been shown, billed however it ends."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from bestroute._utils.closing import aclose, close
from bestroute._utils.interruptions import is_interruption, keep_samples, samples_of
from bestroute._utils.threads import start
from bestroute.engine.attempts import MOST_SURPLUS, Attempts
from bestroute.engine.call_context import RunContext
from bestroute.engine.concurrency import ConcurrencyLimit
from bestroute.engine.plan_executor import Draw
from bestroute.engine.sampler import Sampler
from bestroute.errors import DeadlineError, DrawCancelledError, EmptyReplyError, GenerationError
from bestroute.faults.paid_errors import sample_of_error
from bestroute.selection.empty_reply import carries_something
from bestroute.types.bases import GeneratorBase, has_own
from bestroute.types.query import Query
from bestroute.types.sample import Delta, DrawnSample, Sample
from bestroute.types.stream_usage import StreamUsage
from bestroute.types.usage import Usage, estimate_tokens

if TYPE_CHECKING:
    import asyncio

_Pieces = queue.SimpleQueue[tuple[Any, BaseException | None]]

logger = logging.getLogger("bestroute.engine")


class StreamAccumulator:
    """Follows one attempt at a stream. Nothing is shown before there is something to see: then it can be replaced.

    Args:
        attempts: Where the attempt is billed.
    """

    def __init__(self, attempts: Attempts) -> None:
        """Start with nothing."""
        self.attempts = attempts
        self.usage = StreamUsage()
        self.samples: list[Sample] = []
        self.started = time.perf_counter()
        self._held: list[Delta] = []
        self._has_shown = False

    def take(self, piece: Delta | Sample) -> list[Delta]:
        """Note a piece; return what the caller is to see now. A sample that came whole is one piece."""
        if isinstance(piece, Sample):
            self.samples.append(piece)
            if piece.error is not None or len(self.samples) > 1:
                return []
            if not self._has_shown and (piece.text.strip() or carries_something(piece.payload)):
                held, self._held = self._held, []
                return self._shown(held or [Delta(piece.text, piece.payload)])
            return []
        if not isinstance(piece, Delta):
            raise GenerationError(
                f"the stream of {self.attempts.draw.model!r} must yield Delta and Sample objects, "
                f"got {type(piece).__name__}"
            )
        self.usage.add(piece)
        if not piece.text and piece.payload is None:
            return []
        self._held.append(piece)
        if not (self._has_shown or piece.text.strip() or carries_something(piece.payload)):
            return []
        held, self._held = self._held, []
        return self._shown(held)

    @property
    def is_full(self) -> bool:
        """Whether so many samples came that nobody asked for that no more are read."""
        return len(self.samples) > MOST_SURPLUS

    def _shown(self, deltas: list[Delta]) -> list[Delta]:
        self._has_shown = self.attempts.call.is_committed = True
        return deltas

    def end(self, error: BaseException | None) -> None:
        """Note how the attempt ended: with its sample, or, where that is missing, an estimate of what was sent."""
        seconds = time.perf_counter() - self.started
        if self.samples and (error is None or self.samples[0].error is None):
            if error is not None:
                logger.warning(
                    "the stream of %r came whole, then raised %s", self.attempts.draw.model, type(error).__name__
                )
            self.attempts.received(self.samples, seconds)
            return
        if error is None:
            error = EmptyReplyError(f"the stream of {self.attempts.draw.model!r} ended without a sample")
        self.attempts.received([self._broken(error)], seconds)

    def abandon(self, interruption: BaseException) -> None:
        """Bill a stream that its caller no longer wants, and that may not have been asked for yet."""
        error = DrawCancelledError("the stream was abandoned")
        keep_samples(error, samples_of(interruption))
        self.attempts.received([self._broken(error)], 0.0)

    def _broken(self, error: BaseException) -> Sample:
        if known := samples_of(error):
            return cast(Sample, known[0])
        paid = sample_of_error(error)
        if paid.error is None:  # it was cut off at its limit of length, and the error holds it whole
            return paid
        usage = self.samples[0].usage if self.samples else paid.usage
        prompt, text = self.attempts.query.prompt_tokens, self.usage.text
        if usage is None:
            usage = self.usage.of_broken(prompt)
        if usage is None and (self._has_shown or text or isinstance(error, DrawCancelledError)):
            words = estimate_tokens(text) if text else 0
            usage = Usage(prompt, words, estimated=True)
        is_wanted = not isinstance(error, DrawCancelledError) or isinstance(error, DeadlineError)
        if is_wanted and self._has_shown and self.attempts.settings.broken_stream == "keep" and text.strip():
            logger.warning("the stream of %r broke and is kept: %s", self.attempts.draw.model, type(error).__name__)
            return Sample(text, usage=usage, finish_reason="broken")
        return Sample(text, usage=usage, error=self.attempts.failure(error))


class StreamSampler:
    """Obeys a ``Draw`` of one sample by streaming it.

    Args:
        sampler: Its members, settings and concurrency limits are used.
    """

    def __init__(self, sampler: Sampler) -> None:
        """Keep the sampler."""
        self.sampler = sampler

    def may_stream(self, draw: Draw, method: Callable[..., Any]) -> bool:
        """Whether a draw may be shown as it comes, and its member has that method of ``GeneratorBase`` of its own."""
        return draw.n == 1 and draw.is_last_word and has_own(self.sampler.generators[draw.model], method)

    def draw(self, query: Query, draw: Draw, call: RunContext) -> Iterator[Delta | list[DrawnSample]]:
        """Yield pieces, then the drawn samples of all attempts."""
        attempts = self.sampler.attempts(query, draw, 1, call)
        try:
            while True:
                yield from self._attempt(attempts)
                if call.is_committed or (pause := attempts.pause_s()) is None or not attempts.reserve_again():
                    break
                if call.cancel.wait(pause):
                    break
        except BaseException:  # the caller closed the stream, or was interrupted
            call.cancel.set()
            raise
        finally:
            attempts.close()
        yield attempts.drawn

    def _member(self, model: str) -> tuple[ConcurrencyLimit | None, GeneratorBase]:
        return self.sampler.limits.get(model), self.sampler.generators[model]

    def _attempt(self, attempts: Attempts) -> Iterator[Delta]:
        limit, generator = self._member(attempts.draw.model)
        if limit is not None and not limit.acquire(attempts.call.cancel, deadline=attempts.call.deadline):
            return
        attempts.begin(generator)
        stream = StreamAccumulator(attempts)
        error: BaseException | None = None
        pieces: Any = None
        try:
            while not stream.is_full:
                try:
                    with attempts.within():
                        if pieces is None:
                            opened = generator.stream(
                                attempts.query, params=attempts.own_params(), cancel=attempts.call.cancel
                            )
                            pieces = _in_time(opened, attempts.call)
                        piece = next(pieces)
                    deltas = stream.take(piece)
                except StopIteration:
                    break
                except BaseException as failure:
                    if is_interruption(failure):
                        raise
                    error = failure
                    break
                yield from deltas
        except BaseException as interruption:
            stream.abandon(interruption)
            raise
        finally:
            if limit is not None:
                limit.release()
            close(pieces)
        stream.end(error)

    async def adraw(self, query: Query, draw: Draw, call: RunContext) -> AsyncGenerator[Delta | list[DrawnSample]]:
        """Yield pieces, then the drawn samples of all attempts, without blocking the loop."""
        import asyncio

        attempts = self.sampler.attempts(query, draw, 1, call)
        try:
            while True:
                async with aclosing(self._aattempt(attempts)) as deltas:
                    async for delta in deltas:
                        yield delta
                if call.is_committed or (pause := attempts.pause_s()) is None or not await attempts.areserve_again():
                    break
                await asyncio.sleep(pause)
        except BaseException:  # the caller was cancelled, or closed the stream
            call.cancel.set()
            raise
        finally:
            attempts.close()
        yield attempts.drawn

    async def _aattempt(self, attempts: Attempts) -> AsyncGenerator[Delta]:
        (limit, generator), call = self._member(attempts.draw.model), attempts.call
        if limit is not None and not await _acquired(limit, call):
            return
        attempts.begin(generator)
        stream = StreamAccumulator(attempts)
        error: BaseException | None = None
        pieces: Any = None
        try:
            while not stream.is_full:
                try:
                    with attempts.within():
                        if pieces is None:
                            opened = generator.astream(attempts.query, params=attempts.own_params(), cancel=call.cancel)
                            pieces = opened if call.deadline is None else _ain_time(opened, call)
                            pieces = aiter(pieces)
                        piece = await anext(pieces)
                    deltas = stream.take(piece)
                except StopAsyncIteration:
                    break
                except BaseException as failure:
                    if is_interruption(failure):
                        raise
                    error = failure
                    break
                for delta in deltas:
                    yield delta
        except BaseException as interruption:
            stream.abandon(interruption)
            raise
        finally:
            if limit is not None:
                limit.release()
            await aclose(pieces)
        stream.end(error)


async def _acquired(limit: ConcurrencyLimit, call: RunContext) -> bool:
    """Wait for a free place until the deadline; returns whether one was taken."""
    import asyncio

    try:
        async with asyncio.timeout(call.seconds_left()):
            await limit.aacquire()
            return True
    except TimeoutError:
        return False


def _late(call: RunContext) -> DeadlineError:
    return DeadlineError(f"the stream was not done within {call.limits.deadline_s:g} s")


def _in_time(pieces: Any, call: RunContext) -> Iterator[Any]:
    """Hand pieces on until the deadline; where there is one they are read in a thread, which can be left behind."""
    if call.deadline is None:
        try:
            yield from pieces
        finally:
            close(pieces)
        return
    queued: _Pieces = queue.SimpleQueue()
    left = threading.Event()
    start(lambda: _read(pieces, queued, left), name="bestroute-stream", daemon=False)
    is_begun = False
    try:
        while True:
            try:
                if call.is_late:  # what comes faster than it is read would have no end
                    raise queue.Empty
                piece, end = queued.get(timeout=call.seconds_left())
            except queue.Empty:
                late = _late(call)
                call.cancel.set()
                if call.cancel.is_unsent and not is_begun:
                    never_sent = DrawCancelledError("the stream was called off before anything was sent")
                    keep_samples(late, [Sample("", usage=Usage(), error=never_sent)])
                raise late from None
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            is_begun = True
            yield piece
    finally:
        left.set()


def _read(pieces: Iterator[Any], queued: _Pieces, left: threading.Event) -> None:
    """Read a stream to its end, or until nobody wants it any more."""
    end: BaseException = StopIteration()
    try:
        for piece in pieces:
            if left.is_set():
                break
            queued.put((piece, None))
    except BaseException as error:
        end = error
    close(pieces)
    queued.put((None, end))


async def _ain_time(opened: Any, call: RunContext) -> AsyncGenerator[Any]:
    """Hand pieces on until the deadline; they are read in a task, which can be left behind if it does not stop."""
    import asyncio

    from bestroute._utils.tasks import leave

    queued: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()
    reading = asyncio.ensure_future(_aread(opened, queued, call))
    try:
        while True:
            try:
                async with asyncio.timeout(call.seconds_left()) as limit:
                    piece, end = await queued.get()
            except TimeoutError:
                if limit.expired():
                    raise await _left(reading, call) from None
                raise
            if isinstance(end, StopAsyncIteration):
                return
            if end is not None:
                raise end
            if call.is_late:  # what is read without waiting would have no end
                raise _late(call)
            yield piece
    finally:
        if call.is_late:
            call.cancel.set()
        await leave([reading])


async def _left(reading: asyncio.Future[None], call: RunContext) -> DeadlineError:
    """Stop reading; returns the error, with what is known of a stream that was not asked for yet."""
    import asyncio

    from bestroute._utils.tasks import leave

    late = _late(call)
    call.cancel.set()
    await leave([reading])
    if reading.cancelled():
        try:
            reading.result()
        except asyncio.CancelledError as interruption:
            keep_samples(late, samples_of(interruption))
    return late


async def _aread(opened: Any, queued: asyncio.Queue[tuple[Any, BaseException | None]], call: RunContext) -> None:
    """Read a stream to its end, or until nobody wants it any more."""
    import asyncio

    end: BaseException = StopAsyncIteration()
    try:
        async for piece in opened:
            queued.put_nowait((piece, None))
            await asyncio.sleep(0)  # whoever reads them goes first
            if call.cancel.is_set or call.is_late:
                break
    except BaseException as error:
        if is_interruption(error):
            raise
        end = error
    finally:
        await aclose(opened)
    queued.put_nowait((None, end))
