"""Drawing samples: attempts, retries, limits, threads and tasks; whatever happens, every attempt is billed once."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bestroute import billing
from bestroute.allowance import with_token_limit
from bestroute.calls import Call
from bestroute.errors import GenerationError
from bestroute.execution import Draw, DrawnSample
from bestroute.facts import retry_after_s
from bestroute.faults import Action, Rule, rule_for
from bestroute.flaws import EMPTY, flaw_of
from bestroute.gate import Gate
from bestroute.ledger import Ledger, LedgerRow
from bestroute.paid_errors import sample_of_error
from bestroute.pool import Pool
from bestroute.protocols import Generator, Sample
from bestroute.query import Query
from bestroute.settings import Settings

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("bestroute.engine")

_GRACE_S = 0.05
"""How long cancelled tasks may take to stop before they are left to themselves."""


class Task:
    """One call of a member and its repetitions: what came, what it cost, and what is still owed.

    All of it is bookkeeping; ``Drawer`` does the calling.
    """

    def __init__(self, query: Query, draw: Draw, size: int, call: Call, pool: Pool, settings: Settings) -> None:
        """Owe ``size`` samples; their money was reserved by whoever made the draw."""
        self.query, self.draw, self.call = query, draw, call
        self.pool, self.settings = pool, settings
        self.params = with_token_limit(query.params, draw.max_tokens)
        self.missing = size
        self.drawn: list[DrawnSample] = []
        self.attempts = 0
        self.rule: Rule | None = None
        """Of the last attempt, if it failed."""
        self.crash: BaseException | None = None
        self._error: BaseException | None = None
        self._reserved_usd = size * draw.reserved_usd
        self._in_flight = False
        self._handover = threading.Lock()
        self._is_in_air = self._is_grounded = self._is_left = False

    def begin(self) -> None:
        """Note that the member is being asked."""
        self.attempts += 1
        self._in_flight = True

    def came(self, samples: Sequence[Sample], seconds: float) -> None:
        """Note what an attempt brought."""
        self._in_flight = False
        samples = _complete(list(samples), self.missing, self.draw.model, seconds)
        is_split = len(samples) > 1  # n choices of one call share its prompt
        drawn = []
        for i, sample in enumerate(samples):
            if sample.error is None and sample.flaw is None and (flaw := flaw_of(sample)) is not None:
                sample = replace(sample, flaw=flaw)
            drawn.append(self._bill(sample, bills_prompt=i == 0 or not is_split))
        self._note(drawn)
        failed = [s for s in drawn if s.error is not None or s.flaw == EMPTY]
        self.missing = len(failed)
        self._error = next((s.error for s in reversed(failed) if s.error is not None), None)
        self.rule = None if not failed else _EMPTY if self._error is None else rule_for(self._error)

    def failed(self, error: BaseException, seconds: float) -> None:
        """Note that an attempt brought nothing but an error, which may tell what was paid."""
        self.came([sample_of_error(error), *[Sample("", error=error)] * (self.missing - 1)], seconds)

    def cut(self) -> None:
        """Note that an attempt was called off; its prompt was sent."""
        if self._in_flight:
            self._in_flight = False
            self._note(
                billing.cancelled(
                    self.missing, model=self.draw.model, step=self.draw.step, query=self.query, pool=self.pool
                )
            )

    @property
    def is_fatal(self) -> bool:
        """Whether its error is to be raised at once."""
        return self.rule is not None and self.rule.action is Action.RAISE

    def goes_on(self) -> bool:
        """Whether to ask again: it can help, there are attempts, time and money left."""
        if self.rule is None or self.rule.action is not Action.RETRY or self.attempts >= self.settings.attempts:
            return False
        asked = retry_after_s(self._error) or 0.0
        if self.call.cancel.is_set or asked > self.settings.max_wait_s:
            return False
        left = self.call.seconds_left()
        if left is not None and asked >= left:
            return False
        if self.call.purse is not None and not self._reserved_usd:
            wanted = self.missing * self.draw.reserved_usd
            if not self.call.purse.reserve(wanted):
                return False
            self._reserved_usd = wanted
        logger.info("%r is asked again after attempt %d: %s", self.draw.model, self.attempts, self.rule.name)
        return True

    def asked_wait_s(self) -> float:
        """Return the seconds the provider asked to wait."""
        return retry_after_s(self._error) or 0.0

    def rows(self) -> list[LedgerRow]:
        """Return the ledger's rows of every attempt."""
        return [billing.ledger_row(self.call.run_id, s, self.query) for s in self.drawn]

    def close(self) -> None:
        """Give back what was reserved and not spent."""
        if self._reserved_usd and self.call.purse is not None:
            self.call.purse.settle(self._reserved_usd, 0.0)
            self._reserved_usd = 0.0

    # Work in a thread cannot be stopped, so whoever waits for it may leave; then the thread bills. Under the lock it is
    # one or the other, never both and never none.

    def take_off(self) -> bool:
        """Begin work in a thread; returns whether it is still wanted."""
        with self._handover:
            self._is_in_air = not self._is_grounded
            return self._is_in_air

    def land(self) -> bool:
        """End work in a thread; returns whether somebody waits for it. If not, it has to bill itself."""
        with self._handover:
            self._is_in_air = False
            return not self._is_left

    def leave(self) -> bool:
        """Stop waiting; returns whether a thread is at work, which will bill. One that has not begun never does."""
        with self._handover:
            self._is_left = self._is_in_air
            self._is_grounded = True
            return self._is_left

    def give_up(self) -> None:
        """Leave a coroutine that will not stop to itself."""
        self._is_left = True

    @property
    def is_left(self) -> bool:
        """Whether it bills itself."""
        return self._is_left

    def late_rows(self) -> list[LedgerRow]:
        """Return the rows of a task that nobody waited for: what came is billed as it came, and was not used."""
        return [
            billing.ledger_row(self.call.run_id, s, self.query, "cancelled" if s.error is None else None)
            for s in self.drawn
        ]

    def _bill(self, sample: Sample, *, bills_prompt: bool) -> DrawnSample:
        return billing.bill(
            sample,
            model=self.draw.model,
            step=self.draw.step,
            query=self.query,
            pool=self.pool,
            bills_prompt=bills_prompt,
        )

    def _note(self, drawn: Sequence[DrawnSample]) -> None:
        self.drawn += drawn
        if self.call.purse is not None:
            self.call.purse.settle(self._reserved_usd, sum(s.cost_usd for s in drawn))
            self._reserved_usd = 0.0


_EMPTY = Rule("empty reply", Action.RETRY, lambda facts: True)


class Drawer:
    """Obeys ``Draw``, with threads or with tasks."""

    def __init__(self, pool: Pool, generators: Mapping[str, Generator], settings: Settings, ledger: Ledger) -> None:
        """Make a gate for every member that has a limit."""
        self.pool, self.generators, self.settings, self.ledger = pool, generators, settings, ledger
        limits = {model: settings.concurrency_of(model) for model in pool.models}
        self.gates = {model: Gate(limit) for model, limit in limits.items() if limit is not None}

    def task(self, query: Query, draw: Draw, size: int, call: Call) -> Task:
        """Return the bookkeeping of one call of a member."""
        return Task(query, draw, size, call, self.pool, self.settings)

    def _tasks(self, query: Query, draw: Draw, call: Call) -> list[Task]:
        is_one_call = draw.n == 1 or self.generators[draw.model].native_n
        return [self.task(query, draw, size, call) for size in ([draw.n] if is_one_call else [1] * draw.n)]

    # Threads.

    def draw(self, query: Query, draw: Draw, call: Call) -> list[DrawnSample]:
        """Draw samples; those under way at the deadline are abandoned, and billed when they come."""
        tasks = self._tasks(query, draw, call)
        if len(tasks) > 1 or call.deadline is not None:
            self._in_threads(tasks, call)
        else:
            try:
                self._repeat(tasks[0])
            except BaseException:
                self._write_off(tasks)
                raise
        return _gathered(tasks)

    def _in_threads(self, tasks: Sequence[Task], call: Call) -> None:
        done: queue.SimpleQueue[Task] = queue.SimpleQueue()
        waiting: set[Task] = set()
        for task in tasks:
            target = contextvars.copy_context().run
            try:
                threading.Thread(target=target, args=(self._work, task, done), name="bestroute").start()
                waiting.add(task)
            except RuntimeError as error:  # the system gives no more threads
                task.failed(error, 0.0)
        try:
            while waiting:
                task = done.get(timeout=call.seconds_left())
                waiting.discard(task)
                if task.crash is not None:
                    raise task.crash
                if task.is_fatal:
                    break
        except queue.Empty:  # the deadline
            pass
        except BaseException:
            call.cancel.set()
            self._write_off([task for task in tasks if not task.leave()])
            raise
        if waiting:
            call.cancel.set()
            for task in waiting:
                task.leave()

    def _work(self, task: Task, done: queue.SimpleQueue[Task]) -> None:
        if not task.take_off():
            return
        try:
            self._repeat(task)
        except BaseException as crash:
            task.crash = crash
            task.cut()
        task.close()
        if task.land():
            done.put(task)
        else:
            self.ledger.add(task.late_rows())

    def _repeat(self, task: Task) -> None:
        """Ask, and ask again where that can help."""
        self._ask(task)
        if task.goes_on():
            from bestroute.retrying import again

            again(task, lambda: self._ask(task))

    def _ask(self, task: Task) -> None:
        gate = self.gates.get(task.draw.model)
        if gate is not None and not gate.enter(task.call.cancel):
            return
        try:
            if not task.call.cancel.is_set:
                self._generate(task)
        finally:
            if gate is not None:
                gate.leave()

    def _generate(self, task: Task) -> None:
        generator = self.generators[task.draw.model]
        started = time.perf_counter()
        task.begin()
        try:
            samples = generator.generate(task.query, task.missing, params=task.params, cancel=task.call.cancel)
            task.came(samples, time.perf_counter() - started)
        except Exception as error:
            task.failed(error, time.perf_counter() - started)

    def _write_off(self, tasks: Sequence[Task]) -> None:
        """Bill tasks whose caller is gone, at once."""
        for task in tasks:
            task.cut()
            task.close()
        self.ledger.add([row for task in tasks for row in task.rows()])

    # Tasks.

    async def adraw(self, query: Query, draw: Draw, call: Call) -> list[DrawnSample]:
        """Draw samples without blocking the loop; those under way at the deadline are cancelled."""
        tasks = self._tasks(query, draw, call)
        if len(tasks) > 1 or call.deadline is not None:
            await self._in_tasks(tasks, call)
        else:
            try:
                await self._arepeat(tasks[0])
            except BaseException:
                call.cancel.set()
                await self._awrite_off(tasks)
                raise
        return _gathered(tasks)

    async def _in_tasks(self, tasks: Sequence[Task], call: Call) -> None:
        import asyncio

        running: dict[asyncio.Future[None], Task] = {}
        for task in tasks:
            running[asyncio.ensure_future(self._arepeat(task))] = task
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
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self._clean_up(running, call)))
            raise

    async def _clean_up(self, running: Mapping[asyncio.Future[None], Task], call: Call) -> None:
        """Stop everything and bill it; finished even if the caller is cancelled twice."""
        await self._stop(running, call)
        await self._awrite_off(list(running.values()))

    async def _stop(self, running: Mapping[asyncio.Future[None], Task], call: Call) -> None:
        """Cancel what is under way. What does not stop is left to itself, and bills itself when it ends."""
        import asyncio

        call.cancel.set()
        pending = [future for future in running if not future.done()]
        for future in pending:
            future.cancel()
        if pending:
            await asyncio.wait(pending, timeout=_GRACE_S)
        for future, task in running.items():
            if future.done():
                _consume(future)
            elif not task.is_left:
                task.give_up()
                future.add_done_callback(self._bill_late(task))

    def _bill_late(self, task: Task) -> Callable[[asyncio.Future[None]], None]:
        def bill(future: asyncio.Future[None]) -> None:
            _consume(future)
            task.cut()
            task.close()
            self.ledger.add(task.late_rows())

        return bill

    async def _awrite_off(self, tasks: Sequence[Task]) -> None:
        await self.awrite([row for task in tasks if not task.is_left for row in task.rows()])

    async def _arepeat(self, task: Task) -> None:
        try:
            await self._aask(task)
            if task.goes_on():
                from bestroute.retrying import aagain

                await aagain(task, lambda: self._aask(task))
        finally:
            if not task.is_left:
                task.cut()
                task.close()

    async def _aask(self, task: Task) -> None:
        gate = self.gates.get(task.draw.model)
        if gate is None:
            await self._agenerate(task)
            return
        await gate.aenter()
        try:
            await self._agenerate(task)
        finally:
            gate.leave()

    async def _agenerate(self, task: Task) -> None:
        generator = self.generators[task.draw.model]
        native: Callable[..., Awaitable[Any]] | None = getattr(generator, "agenerate", None)
        if native is None:
            await self._generate_elsewhere(task)
            return
        started = time.perf_counter()
        task.begin()
        try:
            samples = await native(task.query, task.missing, params=task.params, cancel=task.call.cancel)
            task.came(samples, time.perf_counter() - started)
        except Exception as error:
            task.failed(error, time.perf_counter() - started)

    async def _generate_elsewhere(self, task: Task) -> None:
        """Run a generator that cannot wait in a thread; if its caller goes, the thread bills what comes."""
        import asyncio

        def work() -> None:
            if not task.take_off():
                return
            self._generate(task)
            if not task.land():
                task.close()
                self.ledger.add(task.late_rows())

        try:
            await asyncio.to_thread(work)
        except asyncio.CancelledError:
            task.leave()
            raise

    async def awrite(self, rows: Sequence[LedgerRow]) -> None:
        """Write rows without blocking the loop; once begun, it is finished even if the caller is cancelled."""
        if not rows:
            return
        if self.ledger.is_persistent:
            import asyncio

            await asyncio.shield(asyncio.to_thread(self.ledger.add, rows))
        else:
            self.ledger.add(rows)


def _consume(future: asyncio.Future[None]) -> None:
    """Look at a future's exception, which has been billed or is the caller's own cancellation, so that none is lost."""
    if not future.cancelled():
        future.exception()


def _gathered(tasks: Sequence[Task]) -> list[DrawnSample]:
    return [sample for task in tasks if not task.is_left for sample in task.drawn]


def _complete(samples: list[Sample], n: int, model: str, seconds: float) -> list[Sample]:
    """Put a failed sample for each one that is missing, and the time where none was taken."""
    if len(samples) < n:
        error = GenerationError(f"{model!r} was asked for {n} samples, got {len(samples)}")
        samples = samples + [Sample("", error=error)] * (n - len(samples))
    return [s if s.latency_s is not None else replace(s, latency_s=seconds) for s in samples]
