"""One call of a member with its retries: what each attempt returned, whether to retry, and what is billed."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from bestroute._utils.interruptions import is_interruption
from bestroute._utils.text import brief
from bestroute.billing import sample_bills
from bestroute.engine.call_context import RunContext
from bestroute.engine.draw_wishes import missing_evidence
from bestroute.engine.plan_executor import Draw
from bestroute.engine.spending import with_token_limit
from bestroute.errors import GenerationError
from bestroute.errors.facts import retry_after_s
from bestroute.errors.redaction import describe, hide_quotations
from bestroute.faults.error_rules import Action, Rule, rule_for
from bestroute.faults.paid_errors import sample_of_error
from bestroute.selection.agreement import CUT
from bestroute.selection.empty_reply import EMPTY, flaw_of
from bestroute.types.draw_params import DrawParams
from bestroute.types.pool import Pool
from bestroute.types.query import Query
from bestroute.types.sample import DrawnSample, Sample
from bestroute.types.settings import Settings

if TYPE_CHECKING:
    from bestroute.monitoring.tracing.spans import DrawTrace

logger = logging.getLogger("bestroute.engine")
_UNTRACED: AbstractContextManager[Any] = nullcontext()

MOST_SURPLUS = 1000
"""The most surplus samples read from a member that yields them one by one."""
_SURPLUS_S = 0.05
"""How long surplus samples are read, counted from the last sample that was requested."""
_EMPTY = Rule("empty reply", Action.RETRY, lambda facts: True)
_EMPTY_AT_LIMIT = Rule("empty reply, cut at its limit of length", Action.GO_ON, lambda facts: True)


class Attempts:
    """The bookkeeping of one call of a member and its retries; ``Sampler`` makes the calls.

    Args:
        query: What is asked.
        draw: The command that this call is a part of.
        size: How many samples this call has to return; the money for them is reserved already.
        order: Position of this call among those of the draw, from 0.
        call: The run.
        pool: Prices.
        settings: How often to retry, and how long to wait.
        is_greedy: Whether the samples are drawn at temperature 0.
    """

    def __init__(
        self,
        query: Query,
        draw: Draw,
        size: int,
        order: int,
        call: RunContext,
        pool: Pool,
        settings: Settings,
        *,
        is_greedy: bool = False,
    ) -> None:
        """Begin with every sample missing."""
        self.is_greedy = is_greedy
        self.query, self.draw, self.order, self.call = query, draw, order, call
        self.pool, self.settings = pool, settings
        self.missing = size
        self.drawn: list[DrawnSample] = []
        self.made = 0
        """How many attempts were begun."""
        self.rule: Rule | None = None
        """The error rule that applies to the last attempt; ``None`` if it succeeded."""
        self.interruption: BaseException | None = None
        self._params = with_token_limit(query.params, draw.max_tokens)
        self._error: BaseException | None = None
        first = order if size < draw.n else 0
        self._reserved = draw.reservations[first : first + size]
        self._in_flight = False
        self._unbilled: list[tuple[int, DrawnSample]] = []
        self._handover = threading.Lock()
        self._is_in_thread = self._may_not_begin = self._is_abandoned = False
        self._trace: DrawTrace | None = None

    def own_params(self) -> dict[str, Any]:
        """Return a copy of the call parameters, which the member may modify, with the engine's wishes for this draw."""
        params = _own(self._params) if self._params else {}
        if self.is_greedy or self.draw.logprobs:
            return DrawParams(params, greedy=self.is_greedy, logprobs=self.draw.logprobs)
        return params

    def begin(self, member: object) -> None:
        """Note that an attempt begins."""
        self.made += 1
        self._in_flight = True
        if self.call.trace is not None:
            self._trace = self.call.trace.draw(self.draw.model, self.missing, self.draw.step, member, self.made)

    def within(self) -> AbstractContextManager[Any]:
        """Make the draw's span the parent of the member's own spans; must not be held across a ``yield``."""
        return _UNTRACED if self._trace is None else self._trace.current()

    def received(self, samples: Iterable[Sample], seconds: float) -> None:
        """Note what an attempt returned, even if reading the samples raises part of the way."""
        found: list[Sample] = []
        interruption: BaseException | None = None
        try:
            for sample in samples if isinstance(samples, (list, tuple)) else self._bounded(samples):
                found.append(self._checked(sample))  # one by one, so that the samples before an error are kept
        except BaseException as error:
            found.append(Sample("", error=self.failure(error)))
            interruption = error if is_interruption(error) else None
        found = _complete(found, self.missing, self.draw.model, seconds)
        is_split = len(found) > 1  # n choices of one call share its prompt
        drawn = [self._bill(sample, bills_prompt=i == 0 or not is_split) for i, sample in enumerate(found)]
        if len(drawn) > self.missing:
            logger.warning(
                "%r was asked for %d samples and returned %d; the surplus ones are billed but not used",
                self.draw.model,
                self.missing,
                len(drawn),
            )
            last = self.missing - 1
            drawn = [*drawn[:last], sample_bills.joined(drawn[last:])]
        self._note(drawn)
        failed = [s for s in drawn if s.sample.error is not None or s.sample.flaw == EMPTY]
        self.missing = len(failed)
        self._error = self.rule = None
        if failed:
            self._error = next((s.error for s in reversed(failed) if s.error is not None), None)
            self.rule = _rule_for(failed, self._error)
        if interruption is not None:
            raise interruption

    def _bounded(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Yield the samples of a member's iterator, read up to a limit of surplus samples and of time."""
        last = math.inf
        for i, sample in enumerate(islice(samples, self.missing + MOST_SURPLUS), start=1):
            yield sample
            if i == self.missing:
                last = time.monotonic() + _SURPLUS_S
            if self.call.is_late or self.call.cancel.is_set or time.monotonic() > last:
                return

    def failed(self, error: BaseException, seconds: float) -> None:
        """Note that an attempt raised; the error may carry the usage that was billed."""
        error = self.failure(error)
        self.received([sample_of_error(error), *[Sample("", error=error)] * (self.missing - 1)], seconds)

    def cancelled(self) -> None:
        """Note that the attempt in progress, if any, was cancelled; its prompt was sent and is billed."""
        if self._in_flight:
            self._note(
                sample_bills.cancelled(
                    self.missing, model=self.draw.model, step=self.draw.step, query=self.query, pool=self.pool
                )
            )

    @property
    def is_fatal(self) -> bool:
        """Whether the error must be raised at once, without trying another member."""
        return self.rule is not None and self.rule.action is Action.RAISE

    def pause_s(self) -> float | None:
        """Return how long to wait before the next attempt; ``None`` if a retry cannot help or there is no time."""
        if self.rule is None or self.rule.action is not Action.RETRY or self.made >= self.settings.attempts:
            return None
        wished = retry_after_s(self._error) or 0.0
        if self.call.cancel.is_set or wished > self.settings.max_wait_s:
            return None
        pause, left = max(backoff_s(self.made, self.settings), wished), self.call.seconds_left()
        if left is not None and pause >= left:
            return None
        logger.info("%r is asked again after attempt %d: %s", self.draw.model, self.made, self.rule.name)
        return pause

    def reserve_again(self) -> bool:
        """Reserve the money for a retry; returns whether there was enough."""
        if self.call.budgets is None or self._reserved:
            return True
        ids = self.call.attempt_ids(self.missing)
        self._reserved = ids if self.call.reserve(self.missing * self.draw.reserved_usd, ids) else ()
        return bool(self._reserved)

    async def areserve_again(self) -> bool:
        """Reserve the money for a retry without blocking the event loop; see ``reserve_again``."""
        if self.call.budgets is None or self._reserved:
            return True
        ids = self.call.attempt_ids(self.missing)
        self._reserved = ids if await self.call.areserve(self.missing * self.draw.reserved_usd, ids) else ()
        return bool(self._reserved)

    # A thread cannot be stopped, so its caller may stop waiting for it. The lock decides which of the two closes the
    # attempts: exactly one of them, so that the bill is entered once.

    def begin_in_thread(self) -> bool:
        """Note that a thread begins the work; returns whether the result is still wanted."""
        with self._handover:
            self._is_in_thread = not self._may_not_begin
            return self._is_in_thread

    def end_in_thread(self) -> bool:
        """Note that the thread is done; returns whether the caller still waits. If not, the thread must ``close``."""
        with self._handover:
            self._is_in_thread = False
            return not self._is_abandoned

    def abandon(self) -> None:
        """Stop waiting: a thread that works will close the attempts, one that has not begun never will begin."""
        with self._handover:
            self._is_abandoned = self._is_in_thread
            self._may_not_begin = True

    def abandon_coroutine(self) -> None:
        """Stop waiting for a coroutine that ignores its cancellation; it closes the attempts when it ends."""
        with self._handover:
            self._is_abandoned = True

    @property
    def is_in_thread(self) -> bool:
        """Whether a thread works on it, which will close it."""
        return self._is_in_thread

    @property
    def is_abandoned(self) -> bool:
        """Whether its caller has stopped waiting."""
        return self._is_abandoned

    def close(self) -> bool:
        """Enter the bills of all attempts and release unused reservations; returns whether the caller still waits.

        Every way of sampling ends here, however it ended, and nothing else enters bills.
        """
        self.cancelled()
        with self._handover:
            self._is_in_thread = False
            is_abandoned, unbilled, self._unbilled = self._is_abandoned, self._unbilled, []
        try:
            self.call.bills.enter(self.order, unbilled, is_late=is_abandoned)
        finally:
            if self._reserved and self.call.budgets is not None:
                self.call.budgets.settle(self._reserved, 0.0)
                self._reserved = ()
        return not is_abandoned

    def _checked(self, received: Any) -> Sample:
        """Return a sample with valid fields; one that cannot be inspected gets a flaw and keeps its usage."""
        if not isinstance(received, Sample):
            raise GenerationError(f"{self.draw.model!r} must return Sample objects, got {type(received).__name__}")
        sample = _of_right_types(received, self.draw.model)
        if sample.error is not None:
            sample = replace(sample, error=self.failure(sample.error))
        try:
            if not isinstance(sample.text, str):
                sample = replace(sample, text="" if sample.text is None else str(sample.text))
            if sample.error is not None:
                return sample
            flaw = sample.flaw if sample.flaw is not None else flaw_of(sample)
        except Exception as error:
            flaw = f"could not be checked: {describe(error, self.query)}"
            if not isinstance(sample.text, str):
                sample = replace(sample, text="")
        return sample if flaw == sample.flaw else replace(sample, flaw=flaw)

    def failure(self, error: BaseException) -> BaseException:
        """Return an error that is safe to raise anywhere: ``SystemExit``, ``StopIteration`` and so on are wrapped."""
        error = hide_quotations(error, self.query)
        if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
            return error
        wrapped = GenerationError(f"{self.draw.model!r} raised {describe(error, self.query)}")
        wrapped.__cause__ = error
        return wrapped

    def _bill(self, sample: Sample, *, bills_prompt: bool) -> DrawnSample:
        drawn = sample_bills.bill(
            sample,
            model=self.draw.model,
            step=self.draw.step,
            query=self.query,
            pool=self.pool,
            bills_prompt=bills_prompt,
        )
        missing = missing_evidence(sample) if self.draw.needs_logprobs else None
        return drawn if missing is None else replace(drawn, missing=missing)

    def _note(self, drawn: Sequence[DrawnSample]) -> None:
        with self._handover:
            self.drawn += drawn
            self._unbilled += [(max(1, self.made), sample) for sample in drawn]
            self._in_flight = False
            trace, self._trace = self._trace, None
        if trace is not None:
            trace.end(drawn)
        if self.call.budgets is not None:
            ids = self._reserved or self.call.attempt_ids(1)
            self.call.budgets.settle(ids, sum(s.cost_usd for s in drawn))
            self._reserved = ()


def _of_right_types(sample: Sample, model: str) -> Sample:
    """Return a sample whose fields have their declared types, whatever a third-party member put there."""
    changes: dict[str, Any] = {}
    if sample.error is not None and not isinstance(sample.error, BaseException):
        kind = type(sample.error).__name__
        changes["error"] = GenerationError(f"{model!r} returned a sample whose error is no exception but a {kind}")
    if not isinstance(sample.request, int):
        changes["request"] = 0
    for name in ("finish_reason", "flaw", "form", "unchecked"):
        value = getattr(sample, name)
        if value is not None and not isinstance(value, str):
            changes[name] = brief(value)
    return replace(sample, **changes) if changes else sample


def backoff_s(made: int, settings: Settings) -> float:
    """Return a random wait before the next attempt; its upper bound doubles with every attempt (full jitter)."""
    return random.uniform(0.0, min(settings.max_wait_s, settings.first_wait_s * 2.0 ** min(made - 1, 60)))


def _rule_for(failed: Sequence[DrawnSample], error: BaseException | None) -> Rule:
    """Return the rule for a failed attempt; replies that are empty because of their token limit are not retried."""
    if error is not None:
        return rule_for(error)
    return _EMPTY_AT_LIMIT if all(is_cut_empty(sample) for sample in failed) else _EMPTY


def is_cut_empty(sample: DrawnSample) -> bool:
    """Whether a reply is empty because its token limit was used up before any text."""
    return sample.error is None and sample.flaw == EMPTY and sample.sample.finish_reason in CUT


def _own(value: Any) -> Any:
    """Copy nested dicts and lists, but not the values in them; a dict subclass copies itself."""
    if isinstance(value, Mapping):
        if hasattr(type(value), "__deepcopy__"):
            return deepcopy(value)
        return {key: _own(part) for key, part in value.items()}
    return [_own(part) for part in value] if type(value) is list else value


def _complete(samples: list[Sample], n: int, model: str, seconds: float) -> list[Sample]:
    """Add a failed sample for each missing one, and the latency where a sample has none."""
    if len(samples) < n:
        error = GenerationError(f"{model!r} was asked for {n} samples, got {len(samples)}")
        samples = samples + [Sample("", error=error)] * (n - len(samples))
    return [s if s.latency_s is not None else replace(s, latency_s=seconds) for s in samples]
