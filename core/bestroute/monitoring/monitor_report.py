"""What a ledger shows of live traffic: the drop and the saving, with intervals, and what would tell more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bestroute.billing.ledger import Ledger
from bestroute.billing.outcomes import CallOutcome
from bestroute.monitoring.alarms import Alarm, Alarms
from bestroute.monitoring.audits import as_audit
from bestroute.monitoring.estimate import DropEstimate, Estimates
from bestroute.monitoring.member_changes import NEWEST, member_changes
from bestroute.stats.confidence_sequence import standard_errors_wide

LEAST_GAP = 0.01
"""The difference in drop that more audits are counted for, where the target is smaller."""
_UNKNOWN_SPREAD = 0.3
"""Standard deviation of drops that is assumed before any was audited."""
_FEW = 10
"""Audits of a model, task, tag or day from which it has a line of its own."""
_ENOUGH = 10**9
SWITCH_ON = (
    "no call was audited: switch audits on with BestRoute(..., audit=0.03), chat.audit = 0.03, or in the shadow with "
    'mode="shadow", audit=0.03; a judge= or a reward_model that reads texts lets open text be compared, too'
)


@dataclass(frozen=True)
class DropLine:
    """What is known of one kind of calls."""

    by: str
    """``all``, ``model``, ``task``, ``tag:NAME`` or ``day``."""
    name: str
    drop: float | None
    """The mean relative drop in quality; ``None`` before any audit."""
    low: float
    high: float
    audited: int
    calls: int
    saving: float | None
    """As a share of what the reference costs."""


@dataclass(frozen=True)
class MonitorReport:
    """What a ledger shows of the calls of one mode, ``"on"`` or ``"shadow"``."""

    mode: str
    target: float | None
    """The drop that is asked for, if that is known."""
    calls: int
    certain: int
    """Calls that the reference alone answers: nothing is lost."""
    uncompared: int
    """Calls whose answers nothing can compare; no number here is about them."""
    failed: int
    predicted_drop: float | None
    """By the router, over all calls that it predicted."""
    lines: tuple[DropLine, ...]
    """All calls first, then by model, task, tag and day."""
    differs: float | None
    """How often audited answers have another form than the reference's."""
    saving_ci95: tuple[float, float] | None
    """Of the saving over all calls, at this moment."""
    audit_cost_usd: float
    answer_cost_usd: float
    alarms: tuple[str, ...]
    more: str
    """What it would take to know more."""
    feedback: int = 0
    feedback_mean: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)

    def words(self) -> str:
        """Return it in words."""
        rows = [f"mode {self.mode!r}: {self.calls:,} calls, {self.certain:,} of them the reference's alone"]
        if self.uncompared or self.failed:
            rows.append(f"  {self.uncompared:,} that nothing can compare, {self.failed:,} whose audit failed")
        rows.append(f"  target          {_percent(self.target)}")
        rows.append(f"  predicted drop  {_percent(self.predicted_drop)}")
        for line in self.lines:
            name = "audited drop" if line.by == "all" else f"{line.by} {line.name}"
            saving = "" if line.saving is None else f", {line.saving:.0%} saved"
            rows.append(
                f"  {name:15} {_percent(line.drop)} [{100 * line.low:.1f}, {100 * line.high:.1f}] at every moment, "
                f"{line.audited:,} audited of {line.calls:,}{saving}"
            )
        if self.saving_ci95 is not None:
            rows.append(f"  saving          [{self.saving_ci95[0]:.1%}, {self.saving_ci95[1]:.1%}] over all calls")
        if self.differs is not None:
            rows.append(f"  answers differ  {_percent(self.differs)} of those audited")
        rows.append(f"  audits cost     {self.audit_cost_usd:.4g} USD beside {self.answer_cost_usd:.4g} USD of answers")
        if self.feedback_mean is not None:
            rows.append(f"  feedback        {self.feedback_mean:.2f} on average of {self.feedback:,} calls")
        rows += [f"  alarm: {alarm}" for alarm in self.alarms] or ["  no alarm"]
        return "\n".join([*rows, f"  {self.more}"])


@dataclass
class _Calls:
    """The calls of one mode."""

    estimates: Estimates = field(default_factory=Estimates)
    statuses: Counter[str] = field(default_factory=Counter)
    predicted: list[float] = field(default_factory=list)
    savings: list[tuple[float, float]] = field(default_factory=list)
    """Of each call what it saved and what the reference costs, USD."""
    differs: list[bool] = field(default_factory=list)
    targets: list[float] = field(default_factory=list)
    outcomes: list[CallOutcome] = field(default_factory=list)

    def add(self, outcome: CallOutcome) -> None:
        self.statuses[outcome.status] += 1
        self.outcomes.append(outcome)
        if outcome.target is not None:
            self.targets.append(outcome.target)
        if outcome.predicted_drop is not None:
            self.predicted.append(outcome.predicted_drop)
        if outcome.reference_cost_usd > 0 and (outcome.mode == "on" or outcome.status in ("compared", "certain")):
            weight = 1 / outcome.probability if outcome.mode == "shadow" else 1.0
            saved = outcome.reference_cost_usd - outcome.cost_usd
            self.savings.append((weight * saved, weight * outcome.reference_cost_usd))
        known = {"at": outcome.time, "model": outcome.model, "tags": outcome.tags}
        if outcome.status == "compared":
            self.estimates.add(as_audit(outcome))
            if outcome.differs is not None:
                self.differs.append(outcome.differs)
        elif outcome.status == "certain":
            self.estimates.add_certain(**known)  # type: ignore[arg-type]
        elif outcome.status == "unaudited":
            self.estimates.add_unaudited(**known, predicted_drop=outcome.predicted_drop or 0.0)  # type: ignore[arg-type]


def monitor(ledger: Ledger, *, target: float | None = None, level: float = 0.95) -> list[MonitorReport]:
    """Return what a ledger shows, for each mode that calls were noted in; nothing where audits were never on.

    Args:
        ledger: Of the engine.
        target: The drop that is asked for; default: the policy's, as it was when calls were made.
        level: Of the intervals, at all moments together.

    Raises:
        ConfigError: If the database cannot be read.
    """
    calls: dict[str, _Calls] = {}
    for outcome in ledger.outcomes():
        calls.setdefault(outcome.mode, _Calls()).add(outcome)
    if not calls:
        return []
    by_kind = ledger.totals(by="kind")
    costs = {kind: total["cost_usd"] for kind, total in by_kind.items()}
    scores = {note.call_id: note.score for note in ledger.feedbacks()}
    changes = [_in_words(call_id, alarm) for call_id, alarm in member_changes(ledger.rows(newest=NEWEST))]
    reports = [_report(mode, calls[mode], target, level, costs, list(scores.values())) for mode in sorted(calls)]
    return [replace(report, alarms=(*report.alarms, *changes)) for report in reports]


def _report(
    mode: str,
    calls: _Calls,
    target: float | None,
    level: float,
    costs: Mapping[str, float],
    scores: Sequence[float],
) -> MonitorReport:
    if target is None and calls.targets:
        target = calls.targets[-1]
    overall, statuses = calls.estimates.of(), calls.statuses
    audit_cost = sum(cost for kind, cost in costs.items() if kind != "draw")
    lines = tuple(_lines(calls.estimates, level))
    drawn = statuses["compared"] + statuses["failed"] + statuses["drawn"]
    return MonitorReport(
        mode=mode,
        target=target,
        calls=sum(statuses.values()),
        certain=statuses["certain"],
        uncompared=statuses["uncompared"],
        failed=statuses["failed"],
        predicted_drop=sum(calls.predicted) / len(calls.predicted) if calls.predicted else None,
        lines=lines,
        differs=sum(calls.differs) / len(calls.differs) if calls.differs else None,
        saving_ci95=_saving(calls.savings),
        audit_cost_usd=audit_cost,
        answer_cost_usd=costs.get("draw", 0.0),
        alarms=(*_alarms(lines[0], target), *_raised(calls.outcomes, target)),
        more=_more(overall, target, level, audit_cost / drawn if drawn else None),
        feedback=len(scores),
        feedback_mean=sum(scores) / len(scores) if scores else None,
    )


def _lines(estimates: Estimates, level: float) -> Iterable[DropLine]:
    """Yield a line for all calls, and for what has enough audits to say something."""
    order = {"all": 0, "model": 1, "task": 2, "day": 9}
    for by, name in sorted(estimates.by_key, key=lambda key: (order.get(key[0], 3), key)):
        estimate = estimates.by_key[by, name]
        if by != "all" and estimate.audited < _FEW:
            continue
        known, scale = estimate.interval(level), 1 / max(estimate.relative_to, 1e-9)
        total = estimate.weight + estimate.certain
        share = estimate.weight / total if total else 1.0
        yield DropLine(
            by,
            name,
            known.mean * scale if known.audited else None,
            max(-1.0, known.low * scale),
            min(1.0, known.high * scale),
            known.audited,
            known.calls,
            None if estimate.saving is None else share * estimate.saving,
        )


def _saving(savings: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return a 95 % interval of the saving, as a ratio of two sums, at this moment."""
    total = sum(reference for _, reference in savings)
    if len(savings) < 2 or total <= 0:
        return None
    ratio = sum(saved for saved, _ in savings) / total
    squares = sum((saved - ratio * reference) ** 2 for saved, reference in savings)
    half = 1.96 * math.sqrt(squares * len(savings) / (len(savings) - 1)) / total
    return ratio - half, ratio + half


def _alarms(line: DropLine, target: float | None) -> Iterable[str]:
    if target is None or line.drop is None:
        return
    if line.low > target:
        yield f"the drop is above the target of {_percent(target)}: at least {_percent(line.low)}"
    elif line.drop > target:
        yield f"the audited drop is above the target of {_percent(target)}, which may be chance"


def _raised(outcomes: Sequence[CallOutcome], target: float | None) -> Iterable[str]:
    """Yield the alarms that calls would have raised one after another, each with its chance of being false."""
    least = min((o.probability for o in outcomes if o.status == "compared"), default=1.0)
    alarms = Alarms(target or 0.0, (), least_probability=least)
    for outcome in outcomes:
        raised: list[Alarm] = []
        if target is not None and outcome.status == "compared":
            raised += alarms.observe(as_audit(outcome))
        elif outcome.status == "certain":
            alarms.observe_certain()
        if outcome.familiarity is not None:
            raised += alarms.observe_query(outcome.familiarity)
        for alarm in raised:
            yield _in_words(outcome.call_id, alarm)


def _in_words(call_id: str, alarm: Alarm) -> str:
    return f"at call {call_id}: {alarm.message} (false in {_percent(alarm.level)} of streams of {alarm.horizon:,})"


def _more(estimate: DropEstimate, target: float | None, level: float, audit_usd: float | None) -> str:
    """Say how many audits would tell a drop at the target from one that is twice as large."""
    gap = max(target or 0.0, LEAST_GAP)
    spread = _UNKNOWN_SPREAD
    if estimate.audited >= _FEW:
        mean = estimate.drop / estimate.weight
        spread = math.sqrt(max(estimate.weight2_drop2 / estimate.weight2 - mean**2, 0.0) + 1 / estimate.audited)
    wanted = audits_for(gap / 2, spread, level=level)
    start = gap if target is None or target < LEAST_GAP else target
    low = 0.0 if target is not None and target < LEAST_GAP else start
    more = max(0, wanted - round(estimate.audited))
    pair = f"{_percent(low)} from {_percent(low + gap)}"
    if not more:
        return f"{round(estimate.audited):,} audited calls tell {pair}"
    cost = "" if audit_usd is None else f"; they cost {more * audit_usd:.2f} USD"
    return f"{more:,} more audited calls tell {pair}{cost}"


def audits_for(half_width: float, spread: float, *, level: float = 0.95) -> int:
    """Return how many audits make an interval that holds at every moment so narrow.

    Args:
        half_width: Half of what lies between its ends.
        spread: Standard deviation of drops.
        level: Of the interval.

    Example:
        >>> audits_for(0.05, 0.3)
        194
    """
    low, high = 1, _ENOUGH
    while low < high:
        middle = (low + high) // 2
        wide = float(standard_errors_wide(float(middle), level=level, horizon=max(middle, 1))) * spread
        low, high = (low, middle) if wide / math.sqrt(middle) <= half_width else (middle + 1, high)
    return low


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.3g} %"
