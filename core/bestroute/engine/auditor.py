"""Audits: a random share of answered calls is answered by the reference as well, and the two answers are compared.

In shadow mode, where the reference has answered, the decided plan is run instead. Audits run in the auditor's own
threads, which end when there is nothing to do, so that no call is delayed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bestroute._utils.fork_safe import ProcessState
from bestroute._utils.interruptions import is_interruption
from bestroute.billing.budget import Budget
from bestroute.billing.ledger import Ledger, LedgerRow
from bestroute.billing.ledger_writer import LedgerWriter
from bestroute.billing.outcomes import CallOutcome
from bestroute.engine.call_context import Options, RunContext
from bestroute.engine.comparison import Comparer
from bestroute.engine.decision import Decision
from bestroute.engine.policy_notices import PolicyNotices
from bestroute.engine.result import Result
from bestroute.engine.rollout import check_share
from bestroute.engine.watch import Watch
from bestroute.errors import BudgetError, ConfigError, GenerationError
from bestroute.errors.redaction import describe
from bestroute.monitoring.audits import as_audit
from bestroute.selection.output_spec import read_demand
from bestroute.types.bases import PolicyBase, completed
from bestroute.types.pool import Pool
from bestroute.types.query import Query

logger = logging.getLogger("bestroute.engine")

_MOST_WAITING = 1000
"""The most audits in the queue; further calls are not audited."""
_MOST_THREADS = 8
_IDLE_S = 0.2
"""How long an idle thread waits for another audit before it ends."""
_HOSTED = ("web_search_options", "mcp_servers", "plugins", "code_execution")
"""Call parameters that make the provider run tools itself."""
Draws = Callable[[Query, Decision, RunContext], Result]
"""Runs a decision, as a call of the engine does."""
_Work = Callable[[], object]
"""Any other background work."""


@dataclass(frozen=True)
class _AuditJob:
    query: Query
    result: Result
    outcome: CallOutcome
    decision: Decision
    """What the audit runs."""
    run_id: str


class Auditor(ProcessState):
    """Records the outcome of each call, and audits a share of them.

    Args:
        pool: The pool, whose reference answers are compared with.
        share: Share of calls to audit.
        budget: What all audits together may spend; ``None``: no limit.
        comparer: Compares two answers.
        draws: Runs a decision.
        writer: Writes to the ledger.
        notices: Tells the policy of audits.
        watch: Raises alarms.
    """

    def __init__(
        self,
        pool: Pool,
        share: float,
        budget: Budget | None,
        comparer: Comparer,
        draws: Draws,
        writer: LedgerWriter,
        notices: PolicyNotices,
        watch: Watch,
    ) -> None:
        """Check the share; no thread is started yet."""
        super().__init__()
        self.pool, self.budget, self.comparer = pool, budget, comparer
        self.draws, self.writer, self.notices, self.watch = draws, writer, notices, watch
        self._share = 0.0
        self.share = share
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[_AuditJob | _Work] = deque()
        self._idle = self._threads = 0

    def _forget_parent(self) -> None:
        self._begin()

    @property
    def share(self) -> float:
        """Share of calls that are audited; a change applies to calls that end later."""
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        share = check_share(share, "audit")
        if share and not isinstance(self.writer.ledger, Ledger):
            kind = type(self.writer.ledger).__name__
            raise ConfigError(f"audit needs a bestroute.Ledger, but the ledger is a {kind}")
        if share and not self._share:
            if len(self.pool.models) == 1:
                logger.warning("audit: the pool has no model besides the reference, so there is nothing to compare")
            elif not self.comparer.knows_open_text:
                logger.warning(
                    "audit: only tool calls, JSON, choices, numbers and short answers are audited, by their form; to "
                    "audit open text, give a judge (judge=fn(query, texts), scores in [0, 1]) or a reward_model that "
                    "scores texts (Verifier(fn), a trained one)"
                )
        self._share = self.watch.share = self.notices.share = float(share)

    # These run in a call's thread: they never wait and never raise.

    def offer(self, query: Query, options: Options, result: Result) -> None:
        """Record an answered call; a random share of them is audited."""
        if not (share := self._share):  # it may be set meanwhile
            return
        try:
            if self.notices.is_behind:
                self._enqueue(self.notices.catch_up)
            if self.watch.is_due:
                self._enqueue(self.watch.look)
            job = self._job(query, options, result, share)
            if job is not None and not self._enqueue(job):
                self.writer.note([job.outcome])
                self._failed()
                logger.warning("audit: the queue of %d audits is full, so a call is not audited", _MOST_WAITING)
        except Exception as error:
            logger.warning("a call was not recorded for audits: %s", describe(error, query))

    def _job(self, query: Query, options: Options, result: Result, share: float) -> _AuditJob | None:
        decision = result.decision
        planned = decision.shadow or decision
        if (
            decision.is_forced and decision.shadow is None
        ):  # by the call or the rollout, so there is no decision to audit
            return None
        is_shadow, is_certain = decision.shadow is not None, self._is_reference(planned, result)
        expected = result.cost_usd if is_certain else planned.estimated_cost_usd or 0.0
        outcome = CallOutcome(
            call_id=result.call_id,
            time=time.time(),
            model=planned.model if is_shadow else result.model,
            plan=str(planned.plan),
            status="unaudited",
            probability=share,
            tags=dict(options.tags),
            mode="shadow" if is_shadow else "on",
            predicted_drop=predicted_drop(planned),
            familiarity=planned.familiarity,
            target=None if planned.policy is None else completed(planned.policy, PolicyBase).max_drop,
            cost_usd=expected if is_shadow else result.cost_usd,
            reference_cost_usd=result.cost_usd if is_shadow else result.reference_cost_usd,
        )
        if is_certain:
            self._note(replace(outcome, status="certain", probability=1.0))
            self.notices.certain(outcome.time)
            return None
        if _runs_tools_itself(query) or not self.comparer.may_compare(query, result.samples[result.chosen].sample):
            self._note(replace(outcome, status="uncompared"))
            if random.random() < share:
                self._failed()
            return None
        if random.random() >= share:
            self._note(outcome)
            return None
        self.watch.note_outcome(outcome)
        reason = f"audit of '{planned.plan}'"
        reference = Decision(
            self.pool.reference_plan,
            reason,
            self.pool,
            planned.input_tokens,
            planned.prediction,
            planned.costs_usd,
            is_forced=True,
        )
        drawn = replace(planned, reason=f"{reason}, which was decided on in the shadow") if is_shadow else reference
        return _AuditJob(query, result, outcome, drawn, options.run_id or result.call_id)

    def _note(self, outcome: CallOutcome) -> None:
        self.writer.note([outcome])
        self.watch.note_outcome(outcome)

    def _failed(self) -> None:
        """Tell whoever learns from audits of one that showed nothing."""
        self.notices.failed()
        self.watch.observe_failed()

    def _is_reference(self, planned: Decision, result: Result) -> bool:
        """Whether the answer is, or in shadow mode would have been, one sample of the reference: its drop is 0."""
        reference = self.pool.reference
        if planned is not result.decision:
            return planned.plan == self.pool.reference_plan
        drawn = [s for s in result.samples if s.model == reference and s.error is None]
        return result.model == reference and len(drawn) == 1

    def _enqueue(self, work: _AuditJob | _Work) -> bool:
        """Put work into the queue; returns whether there was room."""
        self._guard()
        with self._changed:
            if len(self._jobs) >= _MOST_WAITING:
                return False
            self._jobs.append(work)
            if not self._idle and self._threads < _MOST_THREADS:
                self._start()
            self._changed.notify()
        return True

    def _start(self) -> None:
        self._threads += 1
        try:  # without the call's context variables, so that audits are not traced as a part of it
            threading.Thread(target=self._run, name="bestroute-audit").start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._threads -= 1

    # These run in the auditor's threads.

    def _run(self) -> None:
        try:
            while (work := self._next()) is not None:
                if isinstance(work, _AuditJob):
                    self._audit(work)
                else:
                    work()
        finally:
            with self._changed:
                self._threads -= 1
                self._changed.notify_all()

    def _next(self) -> _AuditJob | _Work | None:
        with self._changed:
            self._idle += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._jobs, timeout=_IDLE_S)
            finally:
                self._idle -= 1
            if not self._jobs:
                return None
            if threading.main_thread().is_alive():
                return self._jobs.popleft()
            left, self._jobs = self._jobs, deque()
        self.writer.note([job.outcome for job in left if isinstance(job, _AuditJob)])  # the program ends
        return None

    def _audit(self, job: _AuditJob) -> None:
        outcome = replace(job.outcome, status="failed")
        try:
            outcome = self._compared(job)
        except BudgetError:
            outcome = job.outcome
        except GenerationError as error:
            logger.info("an audit got no answer: %s", describe(error, job.query))
        except BaseException as error:
            logger.warning("an audit failed: %s", describe(error, job.query))
            if is_interruption(error):
                raise
        finally:
            self.writer.write([], outcomes=[outcome])
        if outcome.status == "compared":
            self.watch.observe(as_audit(outcome))
            self.notices.tell(outcome)
        else:
            self._failed()

    def _compared(self, job: _AuditJob) -> CallOutcome:
        drawn = replace(job.outcome, status="drawn")
        writer: Any = _WithOutcome(self.writer, drawn)
        call = RunContext(
            job.query,
            Options(tags=job.outcome.tags, run_id=job.run_id),
            self.budget,
            writer,
            call_id=job.outcome.call_id,
            kind="audit",
        )
        result = self.draws(job.query, job.decision, call)
        is_shadow = job.outcome.mode == "shadow"
        if is_shadow:
            drawn = replace(drawn, cost_usd=result.cost_usd)
        else:
            drawn = replace(drawn, reference_cost_usd=result.cost_usd)
        one, other = job.result.samples[job.result.chosen].sample, result.samples[result.chosen].sample
        answer, reference = (other, one) if is_shadow else (one, other)
        if call.is_short or (not is_shadow and (other.flaw is not None or result.model != self.pool.reference)):
            return replace(drawn, status="failed")
        found = self.comparer.compare(job.query, answer, reference)
        if found is None:
            return replace(drawn, status="uncompared")
        return replace(drawn, status="compared", **vars(found))

    @property
    def is_busy(self) -> bool:
        """Whether audits are queued or in progress."""
        self._guard()
        return bool(self._jobs) or self._threads > self._idle

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until all audits are done and written; returns whether they are."""
        self._guard()
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs and self._threads == self._idle, timeout=timeout_s)


class _WithOutcome:
    """A ledger writer that writes a call's outcome together with the bills of its audit."""

    def __init__(self, writer: LedgerWriter, outcome: CallOutcome) -> None:
        self.writer, self.outcome = writer, outcome

    def write(self, rows: Sequence[LedgerRow], *, seconds: float | None = None) -> None:
        if rows:
            self.writer.write(rows, outcomes=[self.outcome], seconds=seconds)

    def hand_over(self, rows: Sequence[LedgerRow]) -> None:
        self.writer.hand_over(rows)


def predicted_drop(decision: Decision) -> float | None:
    """Return the predicted drop in quality of a decision's plan, compared with the reference's plan."""
    prediction = decision.prediction
    if prediction is None or decision.column is None or decision.pool.reference_plan not in prediction.plans:
        return None
    quality = prediction.expected_quality[0]
    reference = prediction.plans.index(decision.pool.reference_plan)
    return float(min(max(quality[reference] - quality[decision.column], -1.0), 1.0))


def _runs_tools_itself(query: Query) -> bool:
    """Whether the provider would run tools for the query, whose side effects must not happen twice."""
    if any(query.params.get(name) for name in _HOSTED):
        return True
    tools = [tool for tool in query.tools or () if isinstance(tool, Mapping)]
    return read_demand(tools).has_foreign_tools
