"""The engine: decide, draw, score, choose, bill. Sync and async differ only in how they execute a run's commands."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, Unpack

from bestroute._utils.amounts import is_whole
from bestroute._utils.interruptions import is_interruption
from bestroute._utils.renamed import warn_renamed
from bestroute._utils.text import brief
from bestroute._utils.threads import ThreadsExhausted, arun_in_thread, in_own_thread, run_in_thread
from bestroute.billing.budget import Budget
from bestroute.billing.ledger import Ledger, as_ledger
from bestroute.billing.ledger_writer import LedgerWriter
from bestroute.billing.store_url import Store
from bestroute.engine.auditor import Auditor
from bestroute.engine.call_context import CallOptions, Options, RunContext
from bestroute.engine.circuit_breaker import Breakers
from bestroute.engine.comparison import Comparer
from bestroute.engine.decider import WINDOW, Decider, Default
from bestroute.engine.decision import Decision
from bestroute.engine.fallbacks import Consult
from bestroute.engine.plan_executor import Draw, Reserve, Score
from bestroute.engine.policy_notices import PolicyNotices
from bestroute.engine.prompt_cache import NOTHING_CACHED
from bestroute.engine.result import Result
from bestroute.engine.rollout import Mode, Rollout
from bestroute.engine.router_reward import router_and_reward
from bestroute.engine.run import Command, EngineContext, WriteBills, run
from bestroute.engine.sampler import Sampler
from bestroute.engine.scorer import ascore, score
from bestroute.engine.sessions import Sessions
from bestroute.engine.streaming import StreamSampler
from bestroute.engine.watch import Watch
from bestroute.errors import ConfigError, DeadlineError, named
from bestroute.errors.held_secrets import keep_hidden
from bestroute.errors.plain_functions import check_plain
from bestroute.errors.redaction import describe
from bestroute.monitoring.tracing.switch import as_tracing, tracing_in_use
from bestroute.reward_models.conversion import as_reward_model
from bestroute.types.bases import GeneratorBase, PolicyBase, completed, has_own
from bestroute.types.pool import Pool
from bestroute.types.protocols import Generator as SampleGenerator
from bestroute.types.protocols import Policy, RewardModel, Router
from bestroute.types.query import Query, as_query
from bestroute.types.sample import Delta
from bestroute.types.settings import Settings

if TYPE_CHECKING:
    from bestroute.monitoring.alarms import Alarm
    from bestroute.monitoring.monitor_report import MonitorReport
    from bestroute.monitoring.tracing.spans import Tracing

T = TypeVar("T")
_GRACE_S = 0.05
"""How long after the deadline a call still waits for its bills to be written."""
_SHADOW_S = 1.0
"""The most that a call in shadow mode waits for a slow router, whose decision does not change its answer."""
_DRAIN_S = 60.0
"""How long ``close`` waits for audits in progress."""
logger = logging.getLogger("bestroute.engine")


class BestRoute:
    """Decides on a plan for each query, runs it, returns the best sample and bills every draw.

    Args:
        pool: The models that may answer, and their prices.
        generators: A generator for each model of the pool, by pool name.
        router: A ``Router``, the folder of a trained one, or a function ``fn(query)`` that returns a pool name,
            ``(model, n)``, a candidate or a plan. With ``None``, ``default`` applies, unless there is a reward model
            that needs no training: then each cheaper model is tried in order of price before the reference (with a
            vote, the cheapest is drawn often enough to agree with itself).
        reward_model: A ``RewardModel``, the folder of a trained one, or a function
            ``fn(query, texts) -> list[float]``; default: with the folder of a trained router the one in that folder.
        policy: Chooses among the router's plans: a ``Policy``, or a text as on the command line, ``"follow:0.01"``;
            default: the router's own, else ``ThresholdPolicy(0.8)``.
        ledger: Where bills are kept: a ``Ledger``, or its path or URL; default: a new one in memory.
        threshold: Short for ``policy=ThresholdPolicy(threshold)``.
        max_drop: Short for ``policy=QualityPolicy(max_drop=max_drop)``, for a tuned router.
        follow: Makes ``max_drop`` a target instead of a promise: the price of quality is adjusted to the drop that
            audits measure. Needs a trained router and ``audit``.
        window: With ``follow``: how many of the latest decisions the adjustment takes into account.
        settings: Retries, circuit breakers, concurrency, and what happens when a budget is used up; see ``Settings``.
        budget: What all calls together may spend: USD, or a ``Budget`` shared with other engines.
        max_retries: Short for ``Settings(attempts=max_retries + 1)``.
        default: What to do without a router and a reward model. ``"plan"``: if the query asks for a tool call, JSON, a
            choice, a number or a short answer, cheaper models are tried, and accepted if their tokens were probable
            enough or two of them agree, as long as that pays (``bestroute.engine.day_one``). Otherwise, and always
            with ``"reference"``, the reference answers.
        mode: ``"on"``: follow decisions. ``"shadow"``: make and log them, but let the reference answer as it would
            alone. ``"off"``: make none, the reference answers. May be changed at any time: ``engine.mode = "off"``.
        share: Share of conversations that ``mode`` applies to; the reference answers the others. Conversations are
            chosen by a hash of the call's ``session``, else of its tag ``user``, else of the first message, so that
            raising the share only adds conversations. May be changed at any time.
        audit: Share of calls that are audited: after the answer was returned, the reference answers as well (in shadow
            mode: the decided plan is run), billed as ``"audit"``, and the two answers are compared. May be changed at
            any time.
        audit_budget: What all audits together may spend: USD, or a ``Budget``. As for calls, the highest possible cost
            of an audit is reserved before it is drawn. Default: no limit.
        judge: Compares the two answers of an audit: ``fn(query, texts) -> scores`` in [0, 1], or a reward model;
            default: ``reward_model`` if it scores texts, else the form of the answers (tool calls, JSON, choices,
            numbers, short answers).
        on_alarm: Called with each ``bestroute.monitoring.alarms.Alarm`` that this process raises while audits are on,
            in a separate thread. Alarms are also logged.
        tracing: Whether to report calls and draws to OpenTelemetry as spans and metrics (extra ``otel``), or a
            ``Tracing``; default: as set by ``bestroute.monitoring.tracing.instrument()``.

    Raises:
        ConfigError: If the arguments do not fit together.
        NotTunedError: If the router was not tuned for ``max_drop``.
    """

    def __init__(
        self,
        pool: Pool,
        generators: Mapping[str, SampleGenerator],
        router: Router | str | Path | Callable[[Query], object] | None = None,
        reward_model: RewardModel | str | Path | Callable[..., Sequence[float]] | None = None,
        policy: Policy | str | None = None,
        ledger: Ledger | Store | None = None,
        *,
        threshold: float | None = None,
        max_drop: float | None = None,
        follow: bool = False,
        window: int = WINDOW,
        settings: Settings | None = None,
        budget: Budget | float | None = None,
        max_retries: int | None = None,
        default: Default = "plan",
        mode: Mode = "on",
        share: float = 1.0,
        audit: float = 0.0,
        audit_budget: Budget | float | None = None,
        judge: RewardModel | Callable[..., Sequence[float]] | None = None,
        on_alarm: Callable[[Alarm], object] | None = None,
        tracing: Tracing | bool | None = None,
    ) -> None:
        """Check that the arguments fit together; no model is called."""
        if not isinstance(pool, Pool) or not isinstance(generators, Mapping):
            raise ConfigError(
                f"BestRoute takes a Pool and a generator by model, got {brief(pool)}, {brief(generators)}"
            )
        self.pool = pool
        self._tracing = as_tracing(tracing)
        self._rollout = Rollout(mode, share)
        if missing := [model for model in pool.models if model not in generators]:
            raise ConfigError(f"generators: none for {named(missing)}; every model of the pool needs one")
        self.generators = {model: _without_retries(generators[model]) for model in pool.models}
        keep_hidden(self.generators.values())
        router, reward_model = router_and_reward(router, reward_model)
        self.reward_model = as_reward_model(reward_model)
        self.ledger, self._closes_ledger = as_ledger(ledger), isinstance(ledger, str | Path)
        for model, generator in self.generators.items():
            check_plain(f"generators: {model!r}.generate", getattr(generator, "generate", None))
        check_plain("on_alarm", on_alarm)
        members = {model: completed(generator, GeneratorBase) for model, generator in self.generators.items()}
        self.settings = _with_retries(_as_settings(settings), max_retries)
        self._decider = Decider(
            pool,
            members,
            router,
            self.reward_model,
            policy,
            threshold=threshold,
            max_drop=max_drop,
            follow=follow,
            window=window,
            settings=self.settings,
            default=default,
        )
        if isinstance(self.settings.concurrency, Mapping):
            for model in self.settings.concurrency:
                pool.check_model(model, what="concurrency")
        self.budget = _as_budget(budget)
        self.breakers = Breakers(
            pool.models, failures=self.settings.breaker_failures, rest_s=self.settings.breaker_rest_s
        )
        self._writer = LedgerWriter(self.ledger)
        self._sampler = Sampler(pool, members, self.settings)
        self._stream_sampler = StreamSampler(self._sampler)
        self._context = EngineContext(
            pool, members, self._decider, self._decider.reward_model, self.settings, self.breakers
        )
        self._sessions = Sessions(pool, self.settings)
        self._auditor = Auditor(
            pool,
            audit,
            _as_budget(audit_budget),
            Comparer(as_reward_model(judge, "judge"), self.reward_model),
            self._run_decision,
            self._writer,
            PolicyNotices(self._decider.policy, self.ledger),
            Watch(pool.models, self._target(), on_alarm, self._note_alarm),
        )

    def share_members(self, other: BestRoute) -> None:
        """Share circuit breakers, concurrency limits, sessions and day-one statistics with another engine.

        Args:
            other: An engine over the same members.
        """
        self.breakers, self._sampler.limits = other.breakers, other._sampler.limits
        self._sessions = other._sessions
        if self._decider.day_one is not None and other._decider.day_one is not None:
            self._decider.day_one = other._decider.day_one
        self._context = replace(self._context, breakers=other.breakers)

    def route(
        self,
        query: Query | str,
        *,
        model: str | None = None,
        n: int | None = None,
        reason: str | None = None,
        allow: Sequence[str] | None = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        because: str | None = None,
    ) -> Decision:
        """Decide on the plan for one query; no model is called.

        Args:
            query: What is asked.
            model: Ask this member of the pool.
            n: Draw this many samples.
            reason: Makes ``model`` a preference and says why, for the decision's ``reason``. Without it ``model`` is
                strict: no other model answers if it fails.
            allow: Pool names of the only members that may be asked.
            session: Identifies the conversation that the query belongs to.
            tags: Tags of the call; the tag ``user`` identifies its user.
            because: Deprecated name of ``reason``.

        Raises:
            ConfigError: If the query is empty, a model is unknown or not allowed, or the router's plan cannot be run.
        """
        if because is not None:
            warn_renamed("because=", "reason=")
        return self._route(as_query(query), _route_options(model, n, reason or because, allow, session, tags))

    async def aroute(
        self,
        query: Query | str,
        *,
        model: str | None = None,
        n: int | None = None,
        reason: str | None = None,
        allow: Sequence[str] | None = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        because: str | None = None,
    ) -> Decision:
        """Decide like ``route``; a router that may be slow (a function, an encoder) runs in a thread."""
        query = as_query(query)
        if because is not None:
            warn_renamed("because=", "reason=")
        work = partial(self._route, query, _route_options(model, n, reason or because, allow, session, tags))
        if self._is_quick:
            return work()
        outcome = await arun_in_thread(work, name="bestroute-router")
        assert outcome is not None  # there is no limit of time
        return outcome.get()

    def route_all(self, queries: Sequence[Query | str]) -> list[Decision]:
        """Decide on many queries as ``route`` does for each, but faster: in one batch. No model is called.

        Args:
            queries: Independent queries; none is taken as a turn of a conversation.

        Raises:
            ConfigError: As ``route``.
        """
        whole = [as_query(query) for query in queries]
        if self._rollout.mode != "on" or self._rollout.share < 1:
            return [self._route(query, Options.of({})) for query in whole]
        return self._decider.route_all(whole)

    async def aroute_all(self, queries: Sequence[Query | str]) -> list[Decision]:
        """Decide on many queries like ``route_all``, in a thread."""
        return await in_own_thread(self.route_all, queries)

    @property
    def router(self) -> Any:
        """The router, loaded."""
        return self._decider.router

    @property
    def policy(self) -> Policy | None:
        """The policy in use; ``None`` where no router predicts."""
        return self._decider.policy

    @property
    def mode(self) -> Mode:
        """``"on"``, ``"shadow"`` or ``"off"``; a change applies to calls that begin later."""
        return self._rollout.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._rollout = replace(self._rollout, mode=mode)

    @property
    def share(self) -> float:
        """Share of conversations that ``mode`` applies to; a change applies to calls that begin later."""
        return self._rollout.share

    @share.setter
    def share(self, share: float) -> None:
        self._rollout = replace(self._rollout, share=share)

    @property
    def audit(self) -> float:
        """Share of calls that are audited; a change applies to calls that end later."""
        return self._auditor.share

    @audit.setter
    def audit(self, audit: float) -> None:
        self._auditor.share = audit

    @property
    def audit_budget(self) -> Budget | None:
        """What all audits together may spend."""
        return self._auditor.budget

    # Running: one generator of commands, two drivers, each of which may stream.

    def run(self, query: Query | str, **options: Unpack[CallOptions]) -> Result:
        """Answer one query.

        Args:
            query: What is asked.
            options: ``model``, ``n``, ``reason`` (see ``route``), ``max_samples``, ``max_cost_usd``, ``deadline_s``,
                ``wave``, ``allow``, ``tags``, ``run_id``; see ``CallOptions``.

        Raises:
            ConfigError: As for ``route``; or if an option is unknown or out of range.
            BudgetError: If nothing fits the budget; nothing was spent.
            GenerationError: If every draw failed; ``failures`` lists each failure with its own error, in order.
            DeadlineError: If the deadline passed without an answer; a ``GenerationError`` and a ``TimeoutError``.
        """
        for item in self._drive(query, options, streams=False):
            result = item
        return result  # type: ignore[return-value]

    async def arun(self, query: Query | str, **options: Unpack[CallOptions]) -> Result:
        """Answer one query without blocking the loop; see ``run``."""
        async with aclosing(self._adrive(query, options, streams=False)) as items:
            async for item in items:
                result = item
        return result  # type: ignore[return-value]

    def stream(self, query: Query | str, **options: Unpack[CallOptions]) -> Iterator[Delta | Result]:
        """Answer one query piece by piece; the last item is the ``Result``. Takes the arguments of ``run``.

        A single sample is streamed as the model streams it. If several samples compete, or a sample may be rejected,
        only the final answer is yielded, in one piece: rejected text is never shown. A stream that breaks before its
        first piece is retried like any draw; after that, ``Settings.broken_stream`` applies.
        """
        return self._drive(query, options, streams=True)

    def astream(
        self,
        query: Query | str,
        *,
        on_decision: Callable[[Decision, str], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[Delta | Result]:
        """Answer one query piece by piece without blocking the loop; see ``stream``.

        Args:
            query: What is asked.
            on_decision: Called with the decision and the call's id, before anything is drawn.
            options: As for ``run``.
        """
        return self._adrive(query, options, streams=True, on_decision=on_decision)

    def _drive(self, query: Query | str, options: CallOptions, *, streams: bool) -> Iterator[Delta | Result]:
        """Execute a run's commands; yield the pieces that may be shown, then the result."""
        query, checked = as_query(query), Options.of(options)
        call = self._begin(query, checked)
        call.begin_trace(tracing_in_use(self._tracing), query, checked)
        with call.traced():
            decision = call.inside(self._decide, query, checked, call)
            result = yield from self._obey(query, decision, call, streams=streams)
        try:
            if streams and not call.is_committed:
                yield Delta(result.text, result.payload)
            yield result
        finally:
            self._finish(query, checked, result)

    def _begin(self, query: Query, options: Options) -> RunContext:
        """Return the context of a call; while audits are on, its ledger rows are also watched for alarms."""
        call = RunContext(query, options, self.budget, self._writer)
        if self._auditor.share:
            call.bills.on_close = self._auditor.watch.note_rows
        return call

    def _finish(self, query: Query, options: Options, result: Result) -> None:
        """Note an answered call for sessions and audits, without waiting."""
        self._sessions.note(query, options, result.samples)
        self._auditor.offer(query, options, result)

    def _obey(
        self, query: Query, decision: Decision, call: RunContext, *, streams: bool
    ) -> Generator[Delta, None, Result]:
        """Run a decision."""
        steps = run(self._context, query, decision, call)
        reply: Any = None
        call.trace_decision(decision)
        try:
            while True:
                try:
                    command = steps.send(reply)
                except StopIteration as stop:
                    call.trace_result(stop.value)
                    return stop.value  # type: ignore[no-any-return]
                if not (streams and self._may_stream(command, GeneratorBase.stream)):
                    reply = call.inside(self._do, command, query, call)
                else:
                    for piece in self._stream_sampler.draw(query, command, call):
                        if isinstance(piece, list):
                            reply = piece
                        else:
                            yield piece
        finally:
            steps.close()
            call.bills.close(seconds=call.seconds_left(grace_s=_GRACE_S))

    def _run_decision(self, query: Query, decision: Decision, call: RunContext) -> Result:
        """Run a decision, for an audit."""
        call.begin_trace(tracing_in_use(self._tracing), query, Options(tags=call.bills.tags))
        steps = self._obey(query, decision, call, streams=False)
        with call.traced():
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]

    def _target(self) -> float | None:
        """Return the policy's target drop, if it has one."""
        return None if self._decider.policy is None else completed(self._decider.policy, PolicyBase).max_drop

    async def _adrive(
        self,
        query: Query | str,
        options: CallOptions,
        *,
        streams: bool,
        on_decision: Callable[[Decision, str], object] | None = None,
    ) -> AsyncGenerator[Delta | Result]:
        """Execute a run's commands without blocking the event loop; see ``_drive``."""
        query, checked = as_query(query), Options.of(options)
        call = self._begin(query, checked)
        call.begin_trace(tracing_in_use(self._tracing), query, checked)
        with call.traced():
            with call.within():
                decision = await self._adecide(query, checked, call)
            call.trace_decision(decision)
            if on_decision is not None:
                on_decision(decision, call.call_id)
        steps = run(self._context, query, decision, call)
        reply: Any = None
        with call.traced():
            try:
                while True:
                    try:
                        command = steps.send(reply)
                    except StopIteration as stop:
                        result: Result = stop.value
                        call.trace_result(result)
                        break
                    if not (streams and self._may_stream(command, GeneratorBase.astream)):
                        with call.within():
                            reply = await self._ado(command, query, call)
                    else:
                        async with aclosing(self._stream_sampler.adraw(query, command, call)) as pieces:
                            async for piece in pieces:
                                if isinstance(piece, list):
                                    reply = piece
                                else:
                                    yield piece
            finally:
                steps.close()
                await call.bills.aclose(seconds=call.seconds_left(grace_s=_GRACE_S))
        try:
            if streams and not call.is_committed:
                yield Delta(result.text, result.payload)
            yield result
        finally:
            self._finish(query, checked, result)

    def feedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Store a user's score of an answer in the ledger.

        Args:
            call_id: The answer's call: ``result.call_id``, or ``call_id`` in the answer's metadata.
            score: In [0, 1]; ``True`` and ``False`` are 1 and 0.
            note: A comment; only a ``Ledger(url, keep_notes=True)`` stores it.

        Raises:
            ConfigError: If the score is invalid, or the ledger does not have the call.
        """
        if not isinstance(self.ledger, Ledger):
            raise ConfigError(f"feedback needs a bestroute.Ledger, but the ledger is a {type(self.ledger).__name__}")
        self._writer.flush()
        self.ledger.feedback(call_id, score, note=note)

    async def afeedback(self, call_id: str, score: float, *, note: str | None = None) -> None:
        """Store a score without blocking the event loop; see ``feedback``."""
        await in_own_thread(self.feedback, call_id, score, note=note)

    def monitor(self, *, target: float | None = None) -> list[MonitorReport]:
        """Return a report on audited calls for each mode in use: drop and saving with intervals, and alarms.

        Args:
            target: The drop to compare with; default: the policy's.

        Raises:
            ConfigError: If the ledger cannot keep audits, or cannot be read.
        """
        if not isinstance(self.ledger, Ledger):
            raise ConfigError(f"monitor needs a bestroute.Ledger, but the ledger is a {type(self.ledger).__name__}")
        from bestroute.monitoring.monitor_report import monitor

        self._writer.flush()
        reports = monitor(self.ledger, target=target)
        if (tracing := tracing_in_use(self._tracing)) is not None:
            tracing.note_reports(reports)
        return reports

    @property
    def alarms_raised(self) -> dict[tuple[str, str], int]:
        """How many alarms this process has raised, by kind and model; see ``on_alarm``."""
        return self._auditor.watch.counts

    def _note_alarm(self, alarm: Alarm) -> None:
        if (tracing := tracing_in_use(self._tracing)) is not None:
            tracing.note_alarm(alarm)

    async def amonitor(self, *, target: float | None = None) -> list[MonitorReport]:
        """Return the report without blocking the event loop; see ``monitor``."""
        return await in_own_thread(self.monitor, target=target)

    def _may_stream(self, command: Command, method: Callable[..., Any]) -> TypeGuard[Draw]:
        """Whether a command is a draw whose single sample may be streamed to the caller."""
        return isinstance(command, Draw) and self._stream_sampler.may_stream(command, method)

    def _do(self, command: Command, query: Query, call: RunContext) -> Any:
        """Execute a command of a run; returns the reply to it."""
        match command:
            case Draw():
                return self._sampler.draw(query, command, call)
            case WriteBills():
                return call.bills.write(seconds=call.seconds_left(grace_s=_GRACE_S))
            case Reserve():
                return call.reserve(command.usd, command.reservations)
            case Score():
                return score(query, command, call)
            case Consult():
                return self._ask(command.work, call)

    async def _ado(self, command: Command, query: Query, call: RunContext) -> Any:
        """Execute a command without blocking the event loop; see ``_do``."""
        match command:
            case Draw():
                return await self._sampler.adraw(query, command, call)
            case WriteBills():
                return await call.bills.awrite(seconds=call.seconds_left(grace_s=_GRACE_S))
            case Reserve():
                return await call.areserve(command.usd, command.reservations)
            case Score():
                return await ascore(query, command, call)
            case Consult():
                return await self._aask(command.work, call)

    def close(self) -> None:
        """Finish waiting audits, write pending bills and close the members' connections.

        A ledger that was given as a path or URL is closed as well. The engine can be used again.
        """
        self._drain()
        self._writer.flush()
        if self._closes_ledger:
            self.ledger.close()
        for generator in self._context.generators.values():
            generator.close()

    async def aclose(self) -> None:
        """Close without blocking the event loop, including the connections of this event loop; see ``close``."""
        if self._auditor.is_busy or self._auditor.watch.is_waiting:
            await in_own_thread(self._drain)
        await self._writer.aflush()
        if self._closes_ledger:
            await in_own_thread(self.ledger.close)
        for generator in self._context.generators.values():
            await generator.aclose()

    def _drain(self) -> None:
        if self._auditor.watch.is_waiting:
            self._auditor.watch.look()
        if not self._auditor.drain(_DRAIN_S):
            logger.warning("audit: audits are still under way after %g s; they are billed when they end", _DRAIN_S)

    def __enter__(self) -> BestRoute:
        """Return the engine, which ``with`` closes at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the engine; see ``close``."""
        self.close()

    async def __aenter__(self) -> BestRoute:
        """Return the engine, which ``async with`` closes at its end."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the engine; see ``close``."""
        await self.aclose()

    def _decide(self, query: Query, options: Options, call: RunContext) -> Decision:
        """Decide for a run; if there is a deadline, a slow router or policy runs in a thread.

        Raises:
            DeadlineError: If the deadline passes first.
        """
        return _in_time(self._ask(partial(self._route, query, options, call.seconds_left()), call), call)

    async def _adecide(self, query: Query, options: Options, call: RunContext) -> Decision:
        """Decide for a run without blocking the event loop; see ``_decide``."""
        work = partial(self._route, query, options, call.seconds_left())
        return _in_time(await self._aask(work, call), call)

    def _ask(self, work: Callable[[], T], call: RunContext) -> T | None:
        """Run work of the router or policy; ``None`` if the deadline passes first."""
        if call.deadline is None or self._is_quick:
            return work()
        try:
            outcome = run_in_thread(work, name="bestroute-router", seconds=call.seconds_left())
        except ThreadsExhausted:  # a late decision is better than none
            return work()
        return None if outcome is None else outcome.get()

    async def _aask(self, work: Callable[[], T], call: RunContext) -> T | None:
        """Run work of the router or policy without blocking the event loop; see ``_ask``."""
        if self._is_quick:
            return work()
        try:
            outcome = await arun_in_thread(work, name="bestroute-router", seconds=call.seconds_left())
        except ThreadsExhausted:
            return work()
        return None if outcome is None else outcome.get()

    @property
    def _is_quick(self) -> bool:
        return self._decider.is_quick or self._rollout.mode == "off"

    def _route(self, query: Query, options: Options, seconds: float | None = None) -> Decision:
        """Decide as ``mode`` and ``share`` say; a shadow decision takes at most half of a call's time."""
        mode, why = self._rollout.mode_of(query, options, self.pool.reference)
        limits = options.limits
        if mode == "off":
            return self._decider.reference_alone(query, why, n=options.n, allow=limits.allow)
        cached_tokens = self._sessions.cached_tokens(query, options)
        decide = partial(
            self._decider.route,
            query,
            model=options.model,
            n=options.n,
            reason=options.reason,
            allow=limits.allow,
            cached_tokens=cached_tokens,
            kept=self._sessions.kept(query, options),
        )
        if mode == "on":
            decision = decide()
            return decision if cached_tokens is NOTHING_CACHED else replace(decision, warmth=cached_tokens)
        alone = self._decider.reference_alone(query, why, n=options.n, allow=limits.allow)
        shadow, trouble = self._shadow_decision(
            decide, query, _SHADOW_S if seconds is None else min(_SHADOW_S, seconds / 2)
        )
        words = trouble if shadow is None else f"'{shadow.plan}' was decided on ({shadow.reason})"
        return replace(alone, reason=f"{why}; {words}", shadow=shadow)

    def _shadow_decision(
        self, decide: Callable[[], Decision], query: Query, seconds: float
    ) -> tuple[Decision | None, str | None]:
        """Return a decision that does not affect the answer, or a message that says why there is none."""
        try:
            if self._decider.is_quick:
                return decide(), None
            outcome = run_in_thread(decide, name="bestroute-router", seconds=seconds)
            return (None, f"nothing was decided within {seconds:.3g} s") if outcome is None else (outcome.get(), None)
        except BaseException as error:  # raised by a third-party router or policy
            if is_interruption(error):
                raise
            trouble = f"deciding failed ({describe(error, query)})"
            logger.warning(trouble)
            return None, trouble


def _route_options(
    model: str | None,
    n: int | None,
    reason: str | None,
    allow: Sequence[str] | None,
    session: str | None,
    tags: Mapping[str, str] | None,
) -> Options:
    given = {"model": model, "n": n, "reason": reason, "allow": allow, "session": session, "tags": tags}
    return Options.of({name: value for name, value in given.items() if value is not None})


def _in_time(decision: Decision | None, call: RunContext) -> Decision:
    if decision is None:
        raise DeadlineError(f"the router did not decide within {call.limits.deadline_s:g} s; nothing was drawn")
    return decision


def _as_budget(budget: Budget | float | None) -> Budget | None:
    return budget if budget is None or isinstance(budget, Budget) else Budget(budget)


def _as_settings(settings: Any) -> Settings:
    if settings is not None and not isinstance(settings, Settings):
        raise ConfigError(f"settings must be a Settings, for example Settings(attempts=2), got {brief(settings)}")
    return Settings() if settings is None else settings


def _with_retries(settings: Settings, max_retries: int | None) -> Settings:
    if max_retries is None:
        return settings
    if not is_whole(max_retries) or max_retries < 0:
        raise ConfigError(f"max_retries must be a whole number >= 0, got {brief(max_retries)}")
    return replace(settings, attempts=int(max_retries) + 1)


def _without_retries(generator: SampleGenerator) -> SampleGenerator:
    """Return the generator with its own retries off, so that they do not multiply with the engine's."""
    whole = completed(generator, GeneratorBase)
    return whole.without_retries() if has_own(whole, GeneratorBase.without_retries) else generator
