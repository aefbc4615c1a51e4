"""Sampling: runs the calls of members in threads or tasks, within concurrency limits and the deadline."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from bestroute._utils.interruptions import is_interruption, samples_of
from bestroute._utils.threads import arun_in_thread, start
from bestroute.engine.attempts import Attempts
from bestroute.engine.call_context import RunContext
from bestroute.engine.concurrency import ConcurrencyLimit
from bestroute.engine.plan_executor import Draw
from bestroute.types.bases import GeneratorBase, has_own
from bestroute.types.pool import Pool
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample
from bestroute.types.settings import Settings

if TYPE_CHECKING:
    import asyncio


class Sampler:
    """Executes ``Draw`` commands, with threads in sync code and with tasks in async code.

    Args:
        pool: Prices.
        generators: The members, by pool name.
        settings: Retries and concurrency limits.
    """

    def __init__(self, pool: Pool, generators: Mapping[str, GeneratorBase], settings: Settings) -> None:
        """Prepare a limit of concurrent calls for every member whose settings have one."""
        self.pool, self.generators, self.settings = pool, generators, settings
        limits = {model: settings.concurrency_of(model) for model in pool.models}
        self.limits = {model: ConcurrencyLimit(limit) for model, limit in limits.items() if limit is not None}

    def attempts(self, query: Query, draw: Draw, size: int, call: RunContext, *, order: int = 0) -> Attempts:
        """Return the bookkeeping of one call of a member."""
        is_greedy = draw.greedy and order == 0
        return Attempts(query, draw, size, order, call, self.pool, self.settings, is_greedy=is_greedy)

    def _calls(self, query: Query, draw: Draw, call: RunContext) -> list[Attempts]:
        if draw.n == 1 or not self.generators[draw.model].native_n:
            sizes = [1] * draw.n
        else:
            sizes = [1, draw.n - 1] if draw.greedy else [draw.n]
        return [self.attempts(query, draw, size, call, order=i) for i, size in enumerate(sizes)]

    # Threads.

    def draw(self, query: Query, draw: Draw, call: RunContext) -> list[DrawnSample]:
        """Draw samples; calls in progress at the deadline are abandoned, and billed when they return."""
        calls = self._calls(query, draw, call)
        if len(calls) > 1 or call.deadline is not None:
            self._in_threads(calls, call)
        else:
            try:
                self._repeat(calls[0])
            finally:
                calls[0].close()
        return _gathered(calls)

    def _in_threads(self, calls: Sequence[Attempts], call: RunContext) -> None:
        done: queue.SimpleQueue[Attempts] = queue.SimpleQueue()
        waiting: set[Attempts] = set()
        try:
            for attempts in calls:
                self._start(attempts, done, waiting)
            while waiting:
                attempts = done.get(timeout=call.seconds_left())
                waiting.discard(attempts)
                if attempts.interruption is not None:
                    raise attempts.interruption
                if attempts.is_fatal:
                    break
        except queue.Empty:  # the deadline
            pass
        finally:
            if waiting:
                call.cancel.set()
                for attempts in waiting:
                    attempts.abandon()

    def _start(self, attempts: Attempts, done: queue.SimpleQueue[Attempts], waiting: set[Attempts]) -> None:
        waiting.add(attempts)
        try:
            start(lambda: self._work(attempts, done), name="bestroute", daemon=False)
        except RuntimeError as error:  # the system gives no more threads
            waiting.discard(attempts)
            attempts.failed(error, 0.0)
            attempts.close()

    def _work(self, attempts: Attempts, done: queue.SimpleQueue[Attempts]) -> None:
        if not attempts.begin_in_thread():
            return
        is_wanted = True
        try:
            try:
                self._repeat(attempts)
            finally:
                is_wanted = attempts.close()
        except BaseException as interruption:
            attempts.interruption = interruption
        if is_wanted:
            done.put(attempts)

    def _repeat(self, attempts: Attempts) -> None:
        """Call the member, and retry while that can help."""
        self._ask(attempts)
        while (pause := attempts.pause_s()) is not None and attempts.reserve_again():
            if attempts.call.cancel.wait(pause) or attempts.call.is_late:
                return
            self._ask(attempts)

    def _ask(self, attempts: Attempts) -> None:
        limit, call = self.limits.get(attempts.draw.model), attempts.call
        if limit is not None and not limit.acquire(call.cancel, is_audit=call.bills.kind == "audit"):
            return
        try:
            if not call.cancel.is_set:
                self._generate(attempts)
        finally:
            if limit is not None:
                limit.release()

    def _generate(self, attempts: Attempts) -> None:
        generator = self.generators[attempts.draw.model]
        started = time.perf_counter()
        attempts.begin(generator)
        try:
            with attempts.within():
                samples = generator.generate(
                    attempts.query, attempts.missing, params=attempts.own_params(), cancel=attempts.call.cancel
                )
        except BaseException as error:
            if is_interruption(error):
                if samples := samples_of(error):
                    attempts.received(samples, time.perf_counter() - started)
                raise
            attempts.failed(error, time.perf_counter() - started)
        else:
            attempts.received(samples, time.perf_counter() - started)

    # Tasks.

    async def adraw(self, query: Query, draw: Draw, call: RunContext) -> list[DrawnSample]:
        """Draw samples without blocking the event loop; calls in progress at the deadline are cancelled."""
        calls = self._calls(query, draw, call)
        if len(calls) > 1 or call.deadline is not None:
            await self._in_tasks(calls, call)
        else:
            try:
                await self._arepeat(calls[0])
            except BaseException:
                call.cancel.set()
                raise
        return _gathered(calls)

    async def _in_tasks(self, calls: Sequence[Attempts], call: RunContext) -> None:
        import asyncio

        running: dict[asyncio.Future[None], Attempts] = {}
        for attempts in calls:
            running[asyncio.ensure_future(self._arepeat(attempts))] = attempts
        pending = set(running)
        try:
            while pending:
                done, pending = await asyncio.wait(
                    pending, timeout=call.seconds_left(), return_when=asyncio.FIRST_COMPLETED
                )
                for future in done:
                    future.result()
                if not done or any(running[future].is_fatal for future in done):
                    break
            if pending:
                await self._stop(running, call)
        except BaseException:  # finished even if the caller is cancelled twice
            await asyncio.shield(asyncio.ensure_future(self._stop(running, call)))
            raise

    async def _stop(self, running: Mapping[asyncio.Future[None], Attempts], call: RunContext) -> None:
        """Cancel the calls in progress; those that do not stop are abandoned, and billed when they end."""
        from bestroute._utils.tasks import consume, leave

        call.cancel.set()
        await leave(running)
        for future, attempts in running.items():
            if future.done():
                consume(future)
            elif not attempts.is_abandoned:
                attempts.abandon_coroutine()

    async def _arepeat(self, attempts: Attempts) -> None:
        import asyncio

        try:
            await self._aask(attempts)
            while (pause := attempts.pause_s()) is not None and await attempts.areserve_again():
                await asyncio.sleep(pause)
                if attempts.call.cancel.is_set or attempts.call.is_late:
                    return
                await self._aask(attempts)
        finally:
            if not attempts.is_in_thread:
                attempts.close()

    async def _aask(self, attempts: Attempts) -> None:
        limit = self.limits.get(attempts.draw.model)
        if limit is None:
            await self._agenerate(attempts)
            return
        await limit.aacquire()
        try:
            await self._agenerate(attempts)
        finally:
            limit.release()

    async def _agenerate(self, attempts: Attempts) -> None:
        generator = self.generators[attempts.draw.model]
        if not has_own(generator, GeneratorBase.agenerate):
            await self._in_own_thread(attempts, partial(self._generate, attempts))
            return
        started = time.perf_counter()
        attempts.begin(generator)
        try:
            with attempts.within():
                samples = await generator.agenerate(
                    attempts.query, attempts.missing, params=attempts.own_params(), cancel=attempts.call.cancel
                )
        except BaseException as error:
            if is_interruption(error):
                if samples := samples_of(error):
                    attempts.received(samples, time.perf_counter() - started)
                raise
            attempts.failed(error, time.perf_counter() - started)
        else:
            received = partial(attempts.received, samples, time.perf_counter() - started)
            if isinstance(samples, list | tuple):
                received()
            else:  # an iterator may block while it is read
                await self._in_own_thread(attempts, received)

    async def _in_own_thread(self, attempts: Attempts, work: Callable[[], None]) -> None:
        """Do blocking work in a thread of its own, which bills the result if the caller is cancelled."""

        def do() -> None:
            if not attempts.begin_in_thread():
                return
            try:
                work()
            finally:
                if not attempts.end_in_thread():
                    attempts.close()

        try:
            outcome = await arun_in_thread(do, name="bestroute", daemon=False)
        except RuntimeError as error:  # the system gives no more threads
            attempts.failed(error, 0.0)
            return
        except BaseException:  # the caller is cancelled
            attempts.abandon()
            raise
        assert outcome is not None  # there is no limit of time
        outcome.get()


def _gathered(calls: Sequence[Attempts]) -> list[DrawnSample]:
    return [sample for attempts in calls if not attempts.is_abandoned for sample in attempts.drawn]
