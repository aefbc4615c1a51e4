"""The engine: decide, draw, score, choose, bill. Sync and async differ only in how they obey commands."""

from __future__ import annotations

import contextvars
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bestroute import billing
from bestroute.deciding import Decider
from bestroute.decision import Decision
from bestroute.errors import ConfigError, Failure, GenerationError, named
from bestroute.execution import Draw, DrawnSample, Outcome, Score, execute
from bestroute.ledger import Ledger, LedgerRow, Status
from bestroute.plans import Plan
from bestroute.pool import Pool
from bestroute.protocols import Cancel, Delta, Policy, RewardModel, Router, Sample
from bestroute.protocols import Generator as SampleGenerator
from bestroute.query import Query, as_query
from bestroute.result import Result
from bestroute.rewards import as_reward_model, calibrated
from bestroute.usage import Usage, estimate_tokens, sum_usage

if TYPE_CHECKING:
    import asyncio  # a fifth of the time of `import bestroute`, so only the async methods load it

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bill:
    """Command: write these rows. The answer is nothing."""

    rows: tuple[LedgerRow, ...]


_Command = Draw | Score | Bill


class BestRoute:
    """Routes a query to a plan, runs it, keeps the best sample and the bill.

    Args:
        pool: Which models may answer, and their prices.
        generators: A generator for each of them, by pool name.
        router: A ``Router``, the folder of a trained one, a function ``fn(query)`` returning a candidate, a plan
            or ``(model, n)``, or ``None``: then the reference answers, or, if the reward needs no training, one
            draw of each cheaper model in price order is tried before it.
        reward_model: A ``RewardModel``, the folder of a trained one, or a function
            ``fn(query, texts) -> list[float]``.
        policy: Chooses among a router's plans; default: the router's own, else ``ThresholdPolicy(0.8)``.
        ledger: Where bills go; default: a new one in memory.
        threshold: Short for ``policy=ThresholdPolicy(threshold)``.
        max_drop: Short for ``policy=QualityPolicy(max_drop=max_drop)``, for a tuned router.

    Raises:
        ConfigError: If parts do not fit together.
        NotTunedError: If ``max_drop`` is asked of a router that was not tuned for it.
    """

    def __init__(
        self,
        pool: Pool,
        generators: Mapping[str, SampleGenerator],
        router: Router | str | Path | Callable[[Query], object] | None = None,
        reward_model: RewardModel | str | Path | Callable[..., Sequence[float]] | None = None,
        policy: Policy | None = None,
        ledger: Ledger | None = None,
        *,
        threshold: float | None = None,
        max_drop: float | None = None,
    ) -> None:
        """Check that the parts fit together; nothing is called."""
        self.pool = pool
        if missing := [model for model in pool.models if model not in generators]:
            raise ConfigError(f"generators: none for {named(missing)}; every model of the pool needs one")
        self.generators = dict(generators)
        self.reward_model = as_reward_model(reward_model)
        self.ledger = Ledger() if ledger is None else ledger
        self._decider = Decider(
            pool,
            self.generators,
            router,
            self.reward_model,
            policy,
            threshold=threshold,
            max_drop=max_drop,
        )

    def route(
        self, query: Query | str, *, model: str | None = None, n: int | None = None, because: str | None = None
    ) -> Decision:
        """Decide on one query; no model is called.

        Args:
            query: What is asked.
            model: Force this pool member.
            n: Force this many samples.
            because: Why the choice is forced, for the decision's ``reason``.

        Raises:
            ConfigError: If the query is empty, a forced model is unknown, or a router's answer cannot be run.
        """
        return self._decider.route(as_query(query), model=model, n=n, because=because)

    async def aroute(
        self, query: Query | str, *, model: str | None = None, n: int | None = None, because: str | None = None
    ) -> Decision:
        """Decide like ``route``: a decision is a matter of a millisecond and waits for nobody."""
        return self.route(query, model=model, n=n, because=because)

    @property
    def router(self) -> Any:
        """The router, loaded."""
        return self._decider.router

    @property
    def policy(self) -> Policy | None:
        """The policy in use; ``None`` where no router predicts."""
        return self._decider.policy

    # Running: one script of commands, two drivers.

    def run(
        self, query: Query | str, *, model: str | None = None, n: int | None = None, because: str | None = None
    ) -> Result:
        """Answer one query.

        Args:
            query: What is asked.
            model: Force this pool member.
            n: Force this many samples.
            because: Why the choice is forced, for the decision's ``reason``.

        Raises:
            ConfigError: As ``route``.
            GenerationError: If every draw failed; ``failures`` holds each with its own error.
        """
        query = as_query(query)
        return self._obey(self._script(query, self.route(query, model=model, n=n, because=because)), query)

    async def arun(
        self, query: Query | str, *, model: str | None = None, n: int | None = None, because: str | None = None
    ) -> Result:
        """Answer one query without blocking the loop; see ``run``."""
        query = as_query(query)
        return await self._aobey(
            self._script(query, await self.aroute(query, model=model, n=n, because=because)), query
        )

    def stream(
        self, query: Query | str, *, model: str | None = None, n: int | None = None, because: str | None = None
    ) -> Iterator[Delta | Result]:
        """Answer one query piece by piece; the last item is the ``Result``.

        A plan of one sample streams as the model does. Where samples compete, only the winner is emitted, as one
        piece: text that may be rejected is never shown.
        """
        query = as_query(query)
        decision = self.route(query, model=model, n=n, because=because)
        source = self._streams(decision.plan, "stream")
        if source is None:
            result = self._obey(self._script(query, decision), query)
            yield Delta(result.text, result.payload)
            yield result
            return
        watch = _Watch(self, decision)
        try:
            for piece in source(query, params=query.params, cancel=Cancel()):
                if (delta := watch.take(piece)) is not None:
                    yield delta
        except Exception as error:
            watch.error = error
        finally:
            self.ledger.add(watch.close(query))
        yield watch.result(query)

    async def astream(
        self, query: Query | str, *, model: str | None = None, n: int | None = None, because: str | None = None
    ) -> AsyncIterator[Delta | Result]:
        """Answer one query piece by piece without blocking the loop; see ``stream``."""
        query = as_query(query)
        decision = await self.aroute(query, model=model, n=n, because=because)
        source = self._streams(decision.plan, "astream")
        if source is None:
            result = await self._aobey(self._script(query, decision), query)
            yield Delta(result.text, result.payload)
            yield result
            return
        watch = _Watch(self, decision)
        try:
            async for piece in source(query, params=query.params, cancel=Cancel()):
                if (delta := watch.take(piece)) is not None:
                    yield delta
        except Exception as error:
            watch.error = error
        finally:
            await self._awrite(watch.close(query))
        yield watch.result(query)

    def _streams(self, plan: Plan, method: str) -> Any:
        """Return the generator's stream method if the plan is one sample that nothing can replace."""
        is_single = len(plan.steps) == 1 and plan.steps[0].n == 1 and plan.steps[0].accept is None
        return getattr(self.generators[plan.steps[0].model], method, None) if is_single else None

    def _script(self, query: Query, decision: Decision) -> Generator[_Command, Any, Result]:
        """Say what to do, step by step: the pure part of a run."""
        run_id = uuid.uuid4().hex
        reward = self.reward_model
        steps = execute(
            decision.plan,
            calibrated=lambda rewards: calibrated(reward, rewards) if reward is not None else list(rewards),
            is_joint=getattr(reward, "is_joint", False),
        )
        reply: Any = None
        is_first = True
        while True:
            try:
                command = steps.send(reply)
            except StopIteration as stop:
                return self._result(query, decision, stop.value)
            reply = yield command
            if isinstance(command, Draw):
                reply = [self._bill(query, command, sample) for sample in reply]
                rows = [billing.ledger_row(run_id, drawn) for drawn in reply]
                if is_first and rows:
                    rows[0]["reference_cost_usd"] = billing.reference_cost(query, decision, reply, self.pool)[0]
                    is_first = False
                yield Bill(tuple(rows))
            elif isinstance(command, Score):
                reply = _checked_rewards(reply, command.texts)

    def _obey(self, script: Generator[_Command, Any, Result], query: Query) -> Result:
        reply: Any = None
        while True:
            try:
                command = script.send(reply)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            if isinstance(command, Draw):
                reply = self._draw(query, command)
            elif isinstance(command, Score):
                reply = self._scorer().score(query, command.texts)
            else:
                self.ledger.add(command.rows)

    async def _aobey(self, script: Generator[_Command, Any, Result], query: Query) -> Result:
        reply: Any = None
        while True:
            try:
                command = script.send(reply)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            if isinstance(command, Draw):
                reply = await self._adraw(query, command)
            elif isinstance(command, Score):
                reply = await _ascore(self._scorer(), query, command.texts)
            else:
                await self._awrite(command.rows)

    async def _awrite(self, rows: Sequence[LedgerRow]) -> None:
        """Write rows without blocking the loop; once begun, it is finished even if the caller is cancelled."""
        if self.ledger.is_persistent:
            import asyncio

            await asyncio.shield(asyncio.to_thread(self.ledger.add, rows))
        else:
            self.ledger.add(rows)

    def _scorer(self) -> RewardModel:
        assert self.reward_model is not None  # plans that score are refused without one
        return self.reward_model

    def _draw(self, query: Query, draw: Draw) -> list[Sample]:
        generator, cancel = self.generators[draw.model], Cancel()

        def once(n: int) -> list[Sample]:
            started = time.perf_counter()
            try:
                samples = list(generator.generate(query, n, params=query.params, cancel=cancel))
            except Exception as error:
                samples = [Sample("", error=error) for _ in range(n)]
            return _complete(samples, n, draw.model, time.perf_counter() - started)

        if draw.n == 1 or generator.native_n:
            return once(draw.n)
        with ThreadPoolExecutor(draw.n, thread_name_prefix="bestroute") as threads:
            draws = [threads.submit(contextvars.copy_context().run, once, 1) for _ in range(draw.n)]
            return [sample for future in draws for sample in future.result()]

    async def _adraw(self, query: Query, draw: Draw) -> list[Sample]:
        import asyncio

        generator, cancel = self.generators[draw.model], Cancel()
        agenerate = getattr(generator, "agenerate", None)

        async def once(n: int) -> list[Sample]:
            started = time.perf_counter()
            try:
                if agenerate is not None:
                    samples = list(await agenerate(query, n, params=query.params, cancel=cancel))
                else:
                    samples = list(
                        await asyncio.to_thread(generator.generate, query, n, params=query.params, cancel=cancel)
                    )
            except Exception as error:
                samples = [Sample("", error=error) for _ in range(n)]
            return _complete(samples, n, draw.model, time.perf_counter() - started)

        sizes = [draw.n] if draw.n == 1 or generator.native_n else [1] * draw.n
        tasks = [asyncio.ensure_future(once(size)) for size in sizes]
        try:
            return [sample for samples in await asyncio.gather(*tasks) for sample in samples]
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await self._awrite(self._cancelled_rows(query, draw, tasks, sizes))
            raise

    def _cancelled_rows(
        self, query: Query, draw: Draw, tasks: Sequence[asyncio.Future[list[Sample]]], sizes: Sequence[int]
    ) -> list[LedgerRow]:
        """Bill a draw that was cancelled: what had come as it came, the rest as a prompt that was sent."""
        run_id, rows = uuid.uuid4().hex, []
        for task, size in zip(tasks, sizes, strict=True):
            if task.done() and not task.cancelled() and task.exception() is None:
                drawn = [self._bill(query, draw, sample) for sample in task.result()]
                rows += [billing.ledger_row(run_id, sample) for sample in drawn]
            else:
                lost = billing.cancelled(size, model=draw.model, step=draw.step, query=query, pool=self.pool)
                rows += [billing.ledger_row(run_id, sample, "cancelled") for sample in lost]
        return rows

    def _bill(self, query: Query, draw: Draw, sample: Sample) -> DrawnSample:
        return billing.bill(sample, model=draw.model, step=draw.step, query=query, pool=self.pool)

    def _result(self, query: Query, decision: Decision, outcome: Outcome) -> Result:
        if outcome.chosen is None:
            failures = [Failure(s.model, s.error) for s in outcome.samples if s.error is not None]
            raise GenerationError(f"every draw of the plan '{decision.plan}' failed", failures) from (
                failures[-1].error if failures else None
            )
        for s in outcome.samples:
            if s.error is not None:
                logger.warning("a draw of %r failed: %s: %s", s.model, type(s.error).__name__, s.error)
        chosen = outcome.samples[outcome.chosen]
        reference_cost, is_estimated = billing.reference_cost(query, decision, outcome.samples, self.pool)
        return Result(
            text=chosen.text,
            payload=chosen.sample.payload,
            samples=outcome.samples,
            chosen=outcome.chosen,
            decision=decision,
            usage=sum_usage([s.usage for s in outcome.samples]),
            cost_usd=sum(s.cost_usd for s in outcome.samples),
            reference_cost_usd=reference_cost,
            reference_cost_is_estimated=is_estimated,
        )


class _Watch:
    """Follows one streamed sample, so that whatever happens to the stream it is billed once."""

    def __init__(self, engine: BestRoute, decision: Decision) -> None:
        self.engine, self.decision = engine, decision
        self.draw = Draw(0, decision.model, 1)
        self.text = ""
        self.sample: Sample | None = None
        self.error: Exception | None = None
        self.drawn: DrawnSample | None = None

    def take(self, piece: Delta | Sample) -> Delta | None:
        """Note a piece; return what the caller is to see of it. A sample that came whole is one piece."""
        if isinstance(piece, Sample):
            self.sample = piece
            return None if self.text or piece.error is not None else Delta(piece.text, piece.payload)
        self.text += piece.text
        return piece

    def close(self, query: Query) -> list[LedgerRow]:
        """Return the bill: the sample's own, or an estimate of what a broken or abandoned stream has sent."""
        sample = self.sample
        status: Status | None = None
        if sample is None:
            usage = None
            if self.text:
                usage = Usage(query.prompt_tokens, estimate_tokens(self.text), estimated=True)
            error: BaseException = self.error or GenerationError("the stream was abandoned")
            sample, status = (
                Sample(self.text, usage=usage, error=error),
                "failed" if self.error else "cancelled",
            )
        self.drawn = self.engine._bill(query, self.draw, sample)
        row = billing.ledger_row(uuid.uuid4().hex, self.drawn, status)
        row["reference_cost_usd"] = billing.reference_cost(query, self.decision, [self.drawn], self.engine.pool)[0]
        return [row]

    def result(self, query: Query) -> Result:
        drawn = self.drawn
        assert drawn is not None  # close came first
        chosen = 0 if drawn.error is None else None
        return self.engine._result(query, self.decision, Outcome((drawn,), chosen))


def _complete(samples: list[Sample], n: int, model: str, seconds: float) -> list[Sample]:
    """Put a failed sample for each one that is missing, and the time where none was taken."""
    if len(samples) < n:
        error = GenerationError(f"{model!r} was asked for {n} samples, got {len(samples)}")
        samples = samples + [Sample("", error=error)] * (n - len(samples))
    return [s if s.latency_s is not None else replace(s, latency_s=seconds) for s in samples]


def _checked_rewards(rewards: Any, texts: Sequence[str]) -> list[float]:
    values = [float(reward) for reward in rewards]
    if len(values) != len(texts):
        raise ConfigError(f"the reward model was given {len(texts)} texts and returned {len(values)} rewards")
    if any(np.isnan(values)):
        logger.warning("the reward model returned NaN; such samples stand behind all others")
    return values


async def _ascore(reward: RewardModel, query: Query, texts: Sequence[str]) -> Any:
    if inspect.iscoroutinefunction(getattr(reward, "ascore", None)):
        return await reward.ascore(query, texts)  # type: ignore[attr-defined]
    import asyncio

    return await asyncio.to_thread(reward.score, query, texts)
