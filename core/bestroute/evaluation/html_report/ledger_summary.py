"""The figures of a ledger's page, summed by its database."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bestroute.billing.call_bills import CallBill, DrawnModel
from bestroute.billing.ledger import Ledger, Totals
from bestroute.billing.ledger_rows import add_totals, beside_answers, no_totals
from bestroute.billing.outcomes import CallOutcome
from bestroute.monitoring.monitor_report import MonitorReport, monitor
from bestroute.stats.confidence_sequence import standard_errors_wide
from bestroute.stats.ratio import RatioSums

MOST_EXPENSIVE = 20
_BINS = 5
_FEW = 20
"""Fewest audits for comparing predicted with audited drops."""


@dataclass(frozen=True)
class PredictedDrop:
    """Calls with similar predicted drops, and their audited drop."""

    audited: int
    predicted: float
    drop: float
    low: float
    high: float


@dataclass(frozen=True)
class LedgerSummary:
    """All figures of the page."""

    total: Totals
    answers: Totals
    """Totals of draws for answers alone."""
    calls: int
    fell_back: int
    """Calls for which other models than the planned ones were called."""
    saving_ci95: tuple[float, float] | None
    by_day_model: Mapping[tuple[str, str], Totals]
    by_model: Mapping[str, Totals]
    by_day: Mapping[str, Totals]
    by_plan: Mapping[str, Totals]
    by_reason: Mapping[str, Totals]
    by_tag: Mapping[str, Totals]
    calls_by_plan: Mapping[str, int]
    most_expensive: tuple[tuple[CallBill, tuple[DrawnModel, ...]], ...]
    reports: tuple[MonitorReport, ...]
    predicted: tuple[PredictedDrop, ...]
    seconds: tuple[float, float] | None
    """Times of the first and the last call, seconds since 1970."""


@dataclass
class _CallSums:
    """Sums the bills of calls, and keeps the most expensive ones."""

    count: int = 0
    fell_back: int = 0
    savings: RatioSums = field(default_factory=RatioSums)
    by_plan: Counter[str] = field(default_factory=Counter)
    most_expensive: list[CallBill] = field(default_factory=list)
    first: float = math.inf
    last: float = -math.inf

    def __post_init__(self) -> None:
        self.sums = [0.0] * 5

    def add(self, bills: Sequence[CallBill]) -> None:
        if not bills:
            return
        self.count += len(bills)
        self.fell_back += sum(bill.fell_back for bill in bills)
        self.by_plan.update(bill.plan for bill in bills)
        cost = np.array([bill.cost_usd for bill in bills])
        whole = np.array([bill.reference_cost_usd for bill in bills])
        saved = whole - cost
        for i, each in enumerate((saved, whole, saved * saved, whole * whole, saved * whole)):
            self.sums[i] += float(each.sum())
        self.first = min(self.first, *(bill.time for bill in bills))
        self.last = max(self.last, *(bill.time for bill in bills))
        least = self.most_expensive[-1].cost_usd if len(self.most_expensive) == MOST_EXPENSIVE else -math.inf
        dear = [bills[int(i)] for i in np.flatnonzero(cost >= least)]
        self.most_expensive = sorted([*self.most_expensive, *dear], key=lambda bill: (-bill.cost_usd, bill.call_id))[
            :MOST_EXPENSIVE
        ]


def summarise(
    ledger: Ledger, *, since: float | None = None, until: float | None = None, target: float | None = None
) -> LedgerSummary:
    """Summarise a ledger.

    Args:
        ledger: The ledger, in memory or in a database.
        since: Start, inclusive, seconds since 1970.
        until: End, exclusive.
        target: The target drop; default: the policy's.

    Raises:
        ConfigError: If the database cannot be read.
    """
    of: dict[str, Any] = {"since": since, "until": until}
    low, high = -math.inf if since is None else since, math.inf if until is None else until
    sums = ledger.totals(by=("kind", "day", "model", "plan", "reason"), **of)
    by_kind = _rolled_up(sums, 0)
    of_all = {key: more if key[0] == "draw" else beside_answers(more) for key, more in sums.items()}
    by_day_model: dict[tuple[str, str], Totals] = {}
    for (_, day, model, _, _), more in of_all.items():
        add_totals(by_day_model.setdefault((day, model), no_totals()), more)
    calls = _CallSums()
    ledger.visit_calls(calls.add, **of)
    drawn = ledger.drawn_models([bill.call_id for bill in calls.most_expensive])
    total = no_totals()
    for more in by_day_model.values():
        add_totals(total, more)
    return LedgerSummary(
        total=total,
        answers=by_kind.get("draw", no_totals()),
        calls=calls.count,
        fell_back=calls.fell_back,
        saving_ci95=RatioSums(calls.count, *calls.sums).interval95(),
        by_day_model=by_day_model,
        by_model=_rolled_up(by_day_model, 1),
        by_day=_rolled_up(by_day_model, 0),
        by_plan=_rolled_up(of_all, 3),
        by_reason=_rolled_up(of_all, 4),
        by_tag=ledger.totals(by="tag", **of),
        calls_by_plan=dict(calls.by_plan),
        most_expensive=tuple((bill, tuple(drawn.get(bill.call_id, ()))) for bill in calls.most_expensive),
        reports=tuple(monitor(ledger, target=target, since=low, until=high, by_kind=by_kind)),
        predicted=predicted_drops(ledger.outcomes(since=low, until=high, status="compared")),
        seconds=(calls.first, calls.last) if calls.count else None,
    )


def _rolled_up(sums: Mapping[Any, Totals], part: int) -> dict[str, Totals]:
    found: dict[str, Totals] = {}
    for key, more in sums.items():
        add_totals(found.setdefault(key[part], no_totals()), more)
    return found


def predicted_drops(outcomes: Sequence[CallOutcome]) -> tuple[PredictedDrop, ...]:
    """Return the audited drop of calls in equal groups by predicted drop.

    Each audit counts with one over its probability; the intervals hold at every moment, for each group alone.

    Example:
        >>> predicted_drops([])
        ()
    """
    known = sorted(
        (o.predicted_drop, o.drop, 1 / o.probability)
        for o in outcomes
        if o.predicted_drop is not None and o.drop is not None
    )
    if len(known) < _FEW:
        return ()
    found = []
    for i in range(_BINS):
        part = known[i * len(known) // _BINS : (i + 1) * len(known) // _BINS]
        weight = sum(w for _, _, w in part)
        squares = sum(w * w for _, _, w in part)
        predicted = sum(w * p for p, _, w in part) / weight
        drop = sum(w * d for _, d, w in part) / weight
        spread = math.sqrt(sum(w * w * (d - drop) ** 2 for _, d, w in part) + squares / len(part)) / weight
        half = float(standard_errors_wide(max(weight**2 / squares, 1.0))) * spread
        found.append(PredictedDrop(len(part), predicted, drop, max(drop - half, -1.0), min(drop + half, 1.0)))
    return tuple(found)
