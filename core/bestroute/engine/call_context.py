"""What one call of the engine carries along: its options, what is left of its limits, and the flag that stops it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from bestroute._utils.renamed import warn_renamed
from bestroute._utils.text import brief
from bestroute.billing.budget import Budget, Purse
from bestroute.billing.ledger_rows import Kind
from bestroute.billing.ledger_writer import LedgerWriter
from bestroute.engine.call_ids import own_call_id
from bestroute.engine.run_bills import RunBills
from bestroute.errors import ConfigError, did_you_mean, named
from bestroute.types.query import Query
from bestroute.types.sample import Cancel
from bestroute.types.settings import LIMIT_NAMES, NO_LIMITS, Limits

if TYPE_CHECKING:
    from bestroute.engine.decision import Decision
    from bestroute.engine.result import Result
    from bestroute.monitoring.tracing.spans import CallTrace, Tracing


class CallOptions(TypedDict, total=False):
    """What a call of ``run``, ``arun``, ``stream`` or ``astream`` may say beside its query."""

    model: str | None
    """Ask this pool member."""
    n: int | None
    """Draw this many samples."""
    reason: str | None
    """Why ``model`` is wished for, for the decision's ``reason``. Without it the model is an order."""
    max_samples: int | None
    """Samples drawn in all; attempts that failed do not count."""
    max_cost_usd: float | None
    """No draw is begun that could pass it."""
    deadline_s: float | None
    """Seconds from the call's start. Then draws stop and the best seen answers."""
    wave: int | None
    """In place of ``Settings.wave``."""
    allow: Sequence[str] | None
    """Pool names of the members that may be asked."""
    tags: Mapping[str, str] | None
    """Words to find the call by in the ledger, by name."""
    run_id: str | None
    """The caller's own id of what the call is a part of, for the ledger; default: the call's id."""
    call_id: str | None
    """The call's own id, where its caller has one; an id that was used lately gives way to a new one."""
    session: str | None
    """The conversation that the call is a part of; one is treated alike throughout."""
    thread: str | None
    """What a framework calls the same, where the caller names no ``session``."""
    budget: Budget | None
    """What the call spends from, beside the engine's own budget: that of its caller, say."""


STICKY = "a tool turn stays with the model that made the call"
"""A reason to wish for a model."""

CALL_OPTIONS = tuple(CallOptions.__annotations__)


@dataclass(frozen=True)
class Options:
    """The options of one call, checked."""

    model: str | None = None
    n: int | None = None
    reason: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    session: str | None = None
    thread: str | None = None
    limits: Limits = NO_LIMITS
    budget: Budget | None = None
    call_id: str | None = None

    @classmethod
    def of(cls, options: CallOptions | Mapping[str, Any]) -> Options:
        """Check the options of a call.

        Raises:
            ConfigError: Names an option that there is not, or one that makes no sense.
        """
        if not options:
            return _NO_OPTIONS
        if "because" in options:
            warn_renamed("because=", "reason=", stacklevel=4)
            options = {"reason": options["because"], **{k: v for k, v in options.items() if k != "because"}}  # type: ignore[typeddict-item]
        for name in options:
            if name not in CALL_OPTIONS:
                raise ConfigError(
                    f"unknown argument {name!r}; a call may have {named(CALL_OPTIONS)}."
                    f"{did_you_mean(name, CALL_OPTIONS)}"
                )
        limits: dict[str, Any] = {name: options[name] for name in LIMIT_NAMES if name in options}  # type: ignore[literal-required]
        return cls(
            options.get("model"),
            options.get("n"),
            options.get("reason"),
            _checked_tags(options.get("tags")),
            _checked_name(options.get("run_id"), "run_id"),
            _checked_name(options.get("session"), "session"),
            _checked_name(options.get("thread"), "thread"),
            Limits(**limits) if limits else NO_LIMITS,
            _checked_budget(options.get("budget")),
            _checked_name(options.get("call_id"), "call_id"),
        )


_NO_OPTIONS = Options()
_UNTRACED: AbstractContextManager[Any] = nullcontext()


class RunContext:
    """One call under way.

    Args:
        query: What is asked.
        options: What the call says beside it.
        budget: The engine's own, shared with its other calls.
        writer: Of the engine's ledger.
        call_id: By which the ledger knows it; a new one by default.
        kind: What its samples are drawn for.
    """

    __slots__ = (
        "bills",
        "call_id",
        "cancel",
        "deadline",
        "is_committed",
        "limits",
        "name",
        "purse",
        "reservations",
        "samples_left",
        "trace",
    )

    def __init__(
        self,
        query: Query,
        options: Options,
        budget: Budget | None,
        writer: LedgerWriter,
        *,
        call_id: str = "",
        kind: Kind = "draw",
    ) -> None:
        """Start the clock."""
        limits = options.limits
        self.limits = limits
        self.call_id = call_id or own_call_id(options.call_id)
        self.name = self.call_id if kind == "draw" else f"{self.call_id}-{kind}"
        self.deadline = None if limits.deadline_s is None else time.monotonic() + limits.deadline_s
        self.cancel = Cancel(self.deadline)
        self.is_committed = False
        """Whether the caller has seen a piece of an answer, so that none other can take its place."""
        self.samples_left = limits.max_samples
        own = () if limits.max_cost_usd is None else (Budget(limits.max_cost_usd),)
        shared = tuple(each for each in (options.budget, budget) if each is not None)
        self.purse = Purse((*own, *shared)) if own or shared else None
        self.reservations = itertools.count(1)
        self.trace: CallTrace | None = None
        """The span of the call, where calls are traced."""
        self.bills = RunBills(self.call_id, query, options.tags, writer, run_id=options.run_id, kind=kind)

    def begin_trace(self, tracing: Tracing | None, query: Query, options: Options) -> None:
        """Begin the call's span, if calls are traced."""
        if tracing is not None:
            session = options.session or options.thread
            self.trace = tracing.call(
                query, call_id=self.call_id, kind=self.bills.kind, tags=options.tags, session=session
            )

    def traced(self) -> AbstractContextManager[Any]:
        """Note in the call's span what goes wrong inside; also across a ``yield``."""
        return _UNTRACED if self.trace is None else self.trace

    def trace_decision(self, decision: Decision) -> None:
        """Note in the call's span what is run."""
        if self.trace is not None:
            self.trace.decided(decision)

    def trace_result(self, result: Result) -> None:
        """End the call's span."""
        if self.trace is not None:
            self.trace.end(result)

    def within(self) -> AbstractContextManager[Any]:
        """Make the call's span the one below which others' spans stand; not across a ``yield``."""
        return _UNTRACED if self.trace is None else self.trace.current()

    def seconds_left(self, *, grace_s: float = 0.0) -> float | None:
        """Return the time to the deadline and the grace after it, never below that; ``None`` without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic()) + grace_s

    def attempt_ids(self, n: int) -> tuple[str, ...]:
        """Return ids under which budgets know so many attempts; none is given twice."""
        return tuple(f"{self.name}-{next(self.reservations)}" for _ in range(n))

    def reserve(self, usd: float, attempt_ids: Sequence[str] = ()) -> bool:
        """Set a sum aside in the call's budgets, within its time; returns whether it was there."""
        if self.purse is None:
            return True
        return self.purse.reserve(usd, attempt_ids=attempt_ids, timeout_s=self.seconds_left())

    async def areserve(self, usd: float, attempt_ids: Sequence[str] = ()) -> bool:
        """Set a sum aside without blocking the loop."""
        if self.purse is None:
            return True
        return await self.purse.areserve(usd, attempt_ids=attempt_ids, timeout_s=self.seconds_left())

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def _checked_tags(tags: Any) -> Mapping[str, str]:
    """Return tags as they are now.

    Raises:
        ConfigError: If they are no mapping of strings to strings.
    """
    if tags is None:
        return {}
    if not isinstance(tags, Mapping) or not all(isinstance(part, str) for pair in tags.items() for part in pair):
        raise ConfigError(
            f"tags must be a dict of strings by name, for example {{'team': 'search'}}, got {brief(tags)}"
        )
    return dict(tags)


def _checked_name(value: Any, what: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise ConfigError(f"{what} must be a text that is not empty, got {brief(value)}")


def _checked_budget(budget: Any) -> Budget | None:
    if budget is None or isinstance(budget, Budget):
        return budget
    raise ConfigError(f"budget must be a Budget, for example Budget(5.0, per='day'), got {brief(budget)}")
