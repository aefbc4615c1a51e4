"""The context of one call: its options, the remaining limits, its bills, and the flag that cancels it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypedDict, TypeVar

from bestroute._utils.renamed import warn_renamed
from bestroute._utils.text import brief
from bestroute.billing.budget import Budget, BudgetGroup
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

P = ParamSpec("P")
T = TypeVar("T")


class CallOptions(TypedDict, total=False):
    """The keyword arguments of ``run``, ``arun``, ``stream`` and ``astream``."""

    model: str | None
    """Ask this member of the pool."""
    n: int | None
    """Draw this many samples."""
    reason: str | None
    """Makes ``model`` a preference and says why. Without it ``model`` is strict: no other model answers if it fails."""
    max_samples: int | None
    """The most samples in all; failed attempts do not count."""
    max_cost_usd: float | None
    """No draw is begun that could exceed it."""
    deadline_s: float | None
    """Seconds from the call's start, after which draws stop and the best sample so far is the answer."""
    wave: int | None
    """Replaces ``Settings.wave``."""
    allow: Sequence[str] | None
    """Pool names of the only members that may be asked."""
    tags: Mapping[str, str] | None
    """Tags to find the call by in the ledger: texts by name."""
    run_id: str | None
    """The caller's id for a group of calls, for the ledger; default: the call's id."""
    call_id: str | None
    """The caller's id of this call; if it was used recently, a new id is made instead."""
    session: str | None
    """Identifies the conversation, all of whose calls are treated alike."""
    thread: str | None
    """The framework's id of the conversation, used if there is no ``session``."""
    budget: Budget | None
    """A budget that the call spends from in addition to the engine's, such as one of its caller."""


STICKY = "a tool turn stays with the model that made the call"
"""The ``reason`` of a model that is preferred because it made the tool call."""

CALL_OPTIONS = tuple(CallOptions.__annotations__)


_NO_TAGS: Mapping[str, str] = {}


class Options(NamedTuple):
    """The options of one call, checked."""

    model: str | None = None
    n: int | None = None
    reason: str | None = None
    tags: Mapping[str, str] = _NO_TAGS
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
            ConfigError: If an option is unknown or invalid; names it.
        """
        if not options:
            return _NO_OPTIONS
        if "because" in options:
            warn_renamed("because=", "reason=", stacklevel=4)
            options = {"reason": options["because"], **{k: v for k, v in options.items() if k != "because"}}  # type: ignore[typeddict-item]
        known, limits = dict[str, Any](), dict[str, Any]()
        for name, value in options.items():
            if (checked := _CHECKED.get(name)) is not None:
                known[name] = checked(value, name)
            elif name in LIMIT_NAMES:
                limits[name] = value
            elif name in CALL_OPTIONS:
                known[name] = value
            else:
                raise ConfigError(
                    f"unknown argument {name!r}; a call may have {named(CALL_OPTIONS)}."
                    f"{did_you_mean(name, CALL_OPTIONS)}"
                )
        return cls(**known, limits=Limits(**limits) if limits else NO_LIMITS)


_NO_OPTIONS = Options()
_UNTRACED: AbstractContextManager[Any] = nullcontext()


class RunContext:
    """One call in progress.

    Args:
        query: The query.
        options: The options of the call.
        budget: The engine's budget, shared with its other calls.
        writer: Writes to the engine's ledger.
        call_id: The call's id in the ledger; default: a new one.
        kind: What its samples are drawn for.
    """

    __slots__ = (
        "bills",
        "budgets",
        "call_id",
        "cancel",
        "deadline",
        "is_committed",
        "is_short",
        "limits",
        "name",
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
        """Whether a piece of an answer was shown to the caller, so that no other answer can replace it."""
        self.is_short = False
        """Whether a budget left less to be drawn than was decided, or cut what was."""
        self.samples_left = limits.max_samples
        own = None if limits.max_cost_usd is None else Budget(limits.max_cost_usd)
        shared = tuple(filter(None, (own, options.budget, budget)))
        self.budgets = BudgetGroup(shared) if shared else None
        self.reservations = itertools.count(1)
        self.trace: CallTrace | None = None
        """The call's span, if calls are traced."""
        self.bills = RunBills(self.call_id, query, options.tags, writer, run_id=options.run_id, kind=kind)

    def begin_trace(self, tracing: Tracing | None, query: Query, options: Options) -> None:
        """Begin the call's span, if calls are traced."""
        if tracing is not None:
            session = options.session or options.thread
            self.trace = tracing.call(
                query, call_id=self.call_id, kind=self.bills.kind, tags=options.tags, session=session
            )

    def traced(self) -> AbstractContextManager[Any]:
        """Return a context that records errors in the call's span; it may be held across a ``yield``."""
        return _UNTRACED if self.trace is None else self.trace

    def trace_decision(self, decision: Decision) -> None:
        """Record the decision in the call's span."""
        if self.trace is not None:
            self.trace.decided(decision)

    def trace_result(self, result: Result) -> None:
        """End the call's span."""
        if self.trace is not None:
            self.trace.end(result)

    def inside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work with the call's span as the parent of new spans."""
        if self.trace is None:
            return work(*args, **kwargs)
        with self.trace.current():
            return work(*args, **kwargs)

    def within(self) -> AbstractContextManager[Any]:
        """Return a context in which the call's span is the parent of new spans; not to be held across a ``yield``."""
        return _UNTRACED if self.trace is None else self.trace.current()

    def seconds_left(self, *, grace_s: float = 0.0) -> float | None:
        """Return the time to the deadline, at least 0, plus a grace period; ``None`` without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic()) + grace_s

    def attempt_ids(self, n: int) -> tuple[str, ...]:
        """Return ``n`` new ids, under which budgets note reservations for attempts."""
        return tuple(f"{self.name}-{next(self.reservations)}" for _ in range(n))

    def reserve(self, usd: float, attempt_ids: Sequence[str] = ()) -> bool:
        """Reserve a sum in all budgets of the call before its deadline; returns whether that succeeded."""
        if self.budgets is None:
            return True
        return self.budgets.reserve(usd, attempt_ids=attempt_ids, timeout_s=self.seconds_left())

    async def areserve(self, usd: float, attempt_ids: Sequence[str] = ()) -> bool:
        """Reserve a sum without blocking the event loop; see ``reserve``."""
        if self.budgets is None:
            return True
        return await self.budgets.areserve(usd, attempt_ids=attempt_ids, timeout_s=self.seconds_left())

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def _checked_tags(tags: Any, what: str) -> Mapping[str, str]:
    """Return a copy of the tags.

    Raises:
        ConfigError: If they are not a mapping of strings to strings.
    """
    if tags is None:
        return {}
    if not isinstance(tags, Mapping) or not all(isinstance(part, str) for pair in tags.items() for part in pair):
        raise ConfigError(
            f"{what} must be a dict of strings by name, for example {{'team': 'search'}}, got {brief(tags)}"
        )
    return dict(tags)


def _checked_name(value: Any, what: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise ConfigError(f"{what} must be a non-empty string, got {brief(value)}")


def _checked_budget(budget: Any, what: str) -> Budget | None:
    if budget is None or isinstance(budget, Budget):
        return budget
    raise ConfigError(f"{what} must be a Budget, for example Budget(5.0, per='day'), got {brief(budget)}")


_CHECKED: Mapping[str, Callable[[Any, str], Any]] = {
    "tags": _checked_tags,
    "budget": _checked_budget,
    **dict.fromkeys(("run_id", "session", "thread", "call_id"), _checked_name),
}
"""What checks an option of a call; the others are the router's to check, or have a limit's check."""
