"""The engine: decide, draw, score, choose, bill. Sync and async differ only in how they obey commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from bestroute.breaker import Breakers
from bestroute.budget import Budget
from bestroute.calls import Call
from bestroute.deciding import Decider
from bestroute.decision import Decision
from bestroute.drawing import Drawer
from bestroute.errors import ConfigError, did_you_mean, named
from bestroute.execution import Draw, Score
from bestroute.ledger import Ledger
from bestroute.pool import Pool
from bestroute.protocols import Delta, Policy, RewardModel, Router
from bestroute.protocols import Generator as SampleGenerator
from bestroute.query import Query, as_query
from bestroute.result import Result
from bestroute.reward_models.conversion import as_reward_model
from bestroute.scoring import ascore, score
from bestroute.script import Bill, Parts, Script, script
from bestroute.settings import LIMIT_NAMES, NO_LIMITS, Limits, Settings
from bestroute.streaming import Streamer


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
        settings: Retries, breakers, pace and what is done at a budget's end; see ``Settings``.
        budget: What all calls together may spend, USD, or a ``Budget`` shared with other engines.
        max_retries: Short for ``Settings(attempts=max_retries + 1)``.

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
        settings: Settings | None = None,
        budget: Budget | float | None = None,
        max_retries: int | None = None,
    ) -> None:
        """Check that the parts fit together; nothing is called."""
        self.pool = pool
        if missing := [model for model in pool.models if model not in generators]:
            raise ConfigError(f"generators: none for {named(missing)}; every model of the pool needs one")
        self.generators = {model: _once_only(generators[model]) for model in pool.models}
        self.reward_model = as_reward_model(reward_model)
        self.ledger = _as_ledger(ledger)
        self._decider = Decider(
            pool,
            self.generators,
            router,
            self.reward_model,
            policy,
            threshold=threshold,
            max_drop=max_drop,
        )
        self.settings = _with_retries(_as_settings(settings), max_retries)
        if isinstance(self.settings.concurrency, Mapping):
            for model in self.settings.concurrency:
                pool.check_model(model, what="concurrency")
        self.budget = budget if budget is None or isinstance(budget, Budget) else Budget(budget)
        self.breakers = Breakers(
            pool.models, failures=self.settings.breaker_failures, rest_s=self.settings.breaker_rest_s
        )
        self._drawer = Drawer(pool, self.generators, self.settings, self.ledger)
        self._streamer = Streamer(self._drawer)
        self._parts = Parts(pool, self.generators, self._decider, self.reward_model, self.settings, self.breakers)

    def route(
        self,
        query: Query | str,
        *,
        model: str | None = None,
        n: int | None = None,
        because: str | None = None,
        allow: Sequence[str] | None = None,
    ) -> Decision:
        """Decide on one query; no model is called.

        Args:
            query: What is asked.
            model: Ask this pool member.
            n: Draw this many samples.
            because: Why ``model`` is wished for, for the decision's ``reason``. Without it the model is an order,
                and nothing else answers if it fails.
            allow: Pool names of the only members that may be asked.

        Raises:
            ConfigError: If the query is empty, a model is unknown or not allowed, or a router's answer cannot be run.
        """
        return self._decider.route(as_query(query), model=model, n=n, because=because, allow=allow)

    async def aroute(
        self,
        query: Query | str,
        *,
        model: str | None = None,
        n: int | None = None,
        because: str | None = None,
        allow: Sequence[str] | None = None,
    ) -> Decision:
        """Decide like ``route``; a router that may take long (a function, an encoder) does so in a thread."""
        if self._decider.is_quick:
            return self.route(query, model=model, n=n, because=because, allow=allow)
        import asyncio

        return await asyncio.to_thread(self.route, query, model=model, n=n, because=because, allow=allow)

    @property
    def router(self) -> Any:
        """The router, loaded."""
        return self._decider.router

    @property
    def policy(self) -> Policy | None:
        """The policy in use; ``None`` where no router predicts."""
        return self._decider.policy

    # Running: one script of commands, two drivers, each of which may stream.

    def run(
        self,
        query: Query | str,
        *,
        model: str | None = None,
        n: int | None = None,
        because: str | None = None,
        **limits: Any,
    ) -> Result:
        """Answer one query.

        Args:
            query: What is asked.
            model: Ask this pool member; see ``route``.
            n: Draw this many samples.
            because: Why ``model`` is wished for.
            limits: ``max_samples``, ``max_cost_usd``, ``deadline_s``, ``wave``, ``allow``; see ``Limits``.

        Raises:
            ConfigError: As ``route``; or a limit is unknown or out of range.
            BudgetError: If nothing fits the budget; nothing was spent.
            GenerationError: If no sample came; ``failures`` holds each failure with its own error, the last one last.
        """
        query = as_query(query)
        steps, call = self._begin(query, model, n, because, limits)
        reply: Any = None
        try:
            while True:
                try:
                    command = steps.send(reply)
                except StopIteration as stop:
                    result: Result = stop.value
                    return result
                if isinstance(command, Draw):
                    reply = self._drawer.draw(query, command, call)
                else:
                    reply = self._obey(command, query, call)
        finally:
            steps.close()

    async def arun(
        self,
        query: Query | str,
        *,
        model: str | None = None,
        n: int | None = None,
        because: str | None = None,
        **limits: Any,
    ) -> Result:
        """Answer one query without blocking the loop; see ``run``."""
        query = as_query(query)
        steps, call = await self._abegin(query, model, n, because, limits)
        reply: Any = None
        try:
            while True:
                try:
                    command = steps.send(reply)
                except StopIteration as stop:
                    result: Result = stop.value
                    return result
                if isinstance(command, Draw):
                    reply = await self._drawer.adraw(query, command, call)
                else:
                    reply = await self._aobey(command, query, call)
        finally:
            steps.close()

    def stream(
        self,
        query: Query | str,
        *,
        model: str | None = None,
        n: int | None = None,
        because: str | None = None,
        **limits: Any,
    ) -> Iterator[Delta | Result]:
        """Answer one query piece by piece; the last item is the ``Result``. Arguments as for ``run``.

        A single sample that nothing can replace streams as the model does. Where samples compete, or may be
        rejected, only the answer is emitted, as one piece: text that may be rejected is never shown. A stream that
        breaks before its first piece is tried again like any draw; after it, ``Settings.broken_stream`` decides.
        """
        query = as_query(query)
        steps, call = self._begin(query, model, n, because, limits)
        reply: Any = None
        try:
            while True:
                try:
                    command = steps.send(reply)
                except StopIteration as stop:
                    result: Result = stop.value
                    break
                if not isinstance(command, Draw):
                    reply = self._obey(command, query, call)
                elif (source := self._streamer.method(command, "stream")) is None:
                    reply = self._drawer.draw(query, command, call)
                else:
                    for piece in self._streamer.draw(source, query, command, call):
                        if isinstance(piece, list):
                            reply = piece
                        else:
                            yield piece
        finally:
            steps.close()
        if not call.is_committed:
            yield Delta(result.text, result.payload)
        yield result

    async def astream(
        self,
        query: Query | str,
        *,
        model: str | None = None,
        n: int | None = None,
        because: str | None = None,
        **limits: Any,
    ) -> AsyncIterator[Delta | Result]:
        """Answer one query piece by piece without blocking the loop; see ``stream``."""
        query = as_query(query)
        steps, call = await self._abegin(query, model, n, because, limits)
        reply: Any = None
        try:
            while True:
                try:
                    command = steps.send(reply)
                except StopIteration as stop:
                    result: Result = stop.value
                    break
                if not isinstance(command, Draw):
                    reply = await self._aobey(command, query, call)
                elif (source := self._streamer.method(command, "astream")) is None:
                    reply = await self._drawer.adraw(query, command, call)
                else:
                    async with aclosing(self._streamer.adraw(source, query, command, call)) as pieces:
                        async for piece in pieces:
                            if isinstance(piece, list):
                                reply = piece
                            else:
                                yield piece
        finally:
            steps.close()
        if not call.is_committed:
            yield Delta(result.text, result.payload)
        yield result

    def close(self) -> None:
        """Close the connections of members that can be closed; the engine may be used again."""
        for generator in self.generators.values():
            if callable(close := getattr(generator, "close", None)):
                close()

    async def aclose(self) -> None:
        """Close the connections of members, those of this event loop among them."""
        for generator in self.generators.values():
            if callable(aclose := getattr(generator, "aclose", None)):
                await aclose()
            elif callable(close := getattr(generator, "close", None)):
                close()

    def __enter__(self) -> BestRoute:
        """Close the connections at the end of a ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    async def __aenter__(self) -> BestRoute:
        """Close the connections at the end of an ``async with``."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.aclose()

    def _begin(
        self, query: Query, model: str | None, n: int | None, because: str | None, limits: Mapping[str, Any]
    ) -> tuple[Script, Call]:
        """Decide, and start the clock."""
        told = _limits(limits)
        call = Call(told, self.budget)
        decision = self.route(query, model=model, n=n, because=because, allow=told.allow)
        return script(self._parts, query, decision, call), call

    async def _abegin(
        self, query: Query, model: str | None, n: int | None, because: str | None, limits: Mapping[str, Any]
    ) -> tuple[Script, Call]:
        told = _limits(limits)
        call = Call(told, self.budget)
        decision = await self.aroute(query, model=model, n=n, because=because, allow=told.allow)
        return script(self._parts, query, decision, call), call

    def _obey(self, command: Bill | Score, query: Query, call: Call) -> Any:
        if isinstance(command, Bill):
            return self.ledger.add(command.rows)
        return score(self._scorer(), query, command.texts, call)

    async def _aobey(self, command: Bill | Score, query: Query, call: Call) -> Any:
        if isinstance(command, Bill):
            return await self._drawer.awrite(command.rows)
        return await ascore(self._scorer(), query, command.texts, call)

    def _scorer(self) -> RewardModel:
        assert self.reward_model is not None  # plans that score are refused without one
        return self.reward_model


def _limits(told: Mapping[str, Any]) -> Limits:
    """Check a call's limits.

    Raises:
        ConfigError: Names an argument that there is not.
    """
    if not told:
        return NO_LIMITS
    for name in told:
        if name not in LIMIT_NAMES:
            raise ConfigError(
                f"unknown argument {name!r}; a call may have {named(LIMIT_NAMES)}.{did_you_mean(name, LIMIT_NAMES)}"
            )
    return Limits(**told)


def _as_ledger(ledger: Any) -> Ledger:
    """Refuse what keeps no bills before anything is spent."""
    if ledger is not None and not callable(getattr(ledger, "add", None)):
        raise ConfigError(f"ledger must be a Ledger, for example Ledger('sqlite:///bills.db'), got {ledger!r}")
    return Ledger() if ledger is None else ledger


def _as_settings(settings: Any) -> Settings:
    if settings is not None and not isinstance(settings, Settings):
        raise ConfigError(f"settings must be a Settings, for example Settings(attempts=2), got {settings!r}")
    return Settings() if settings is None else settings


def _with_retries(settings: Settings, max_retries: int | None) -> Settings:
    if max_retries is None:
        return settings
    if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
        raise ConfigError(f"max_retries must be a whole number >= 0, got {max_retries!r}")
    return replace(settings, attempts=max_retries + 1)


def _once_only(generator: SampleGenerator) -> SampleGenerator:
    """Return the generator without retries of its own, so that the engine's and its do not multiply."""
    without = getattr(generator, "without_retries", None)
    return without() if callable(without) else generator
