"""The monitoring report of a ledger: drop and saving with intervals, alarms, and how many more audits are needed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bestroute._utils.amounts import is_number
from bestroute._utils.text import brief, one_line
from bestroute.billing.ledger import Ledger, Totals
from bestroute.billing.ledger_rows import no_totals
from bestroute.billing.outcomes import CallOutcome, OutcomeGroup, OutcomeNotes
from bestroute.billing.savings import Savings
from bestroute.billing.store_url import Store, existing_store
from bestroute.errors import ConfigError
from bestroute.monitoring.alarms import Alarm, Alarms
from bestroute.monitoring.audits import Audit, as_audit
from bestroute.monitoring.estimate import DropEstimate, Estimates
from bestroute.monitoring.member_changes import NEWEST, member_changes
from bestroute.stats.confidence_sequence import standard_errors_wide
from bestroute.stats.ratio import RatioSums
from bestroute.types.arrays import FloatArray, ObjectArray

LEAST_GAP = 0.01
"""Smallest difference in drop for which needed audits are counted, if the target is smaller."""
_UNKNOWN_SPREAD = 0.3
"""Standard deviation of drops that is assumed without audits."""
_FEW = 10
"""Number of audits from which a model, task, tag or day gets its own line."""
_ENOUGH = 10**9
SWITCH_ON = (
    "no call was audited: switch audits on with BestRoute(..., audit=0.03), chat.audit = 0.03, or in the shadow with "
    'mode="shadow", audit=0.03; a judge= or a reward_model that reads texts lets open text be compared, too'
)


@dataclass(frozen=True)
class DropLine:
    """The estimate for one subset of calls."""

    by: str
    """``all``, ``model``, ``task``, ``tag:NAME`` or ``day``."""
    name: str
    drop: float | None
    """The mean relative drop in quality; ``None`` without audits."""
    low: float
    high: float
    audited: int
    calls: int
    saving: float | None
    """As a share of the reference's cost."""


@dataclass(frozen=True)
class MonitorReport:
    """The report on the calls of one mode, ``"on"`` or ``"shadow"``."""

    mode: str
    target: float | None
    """The target drop, if known."""
    calls: int
    certain: int
    """Calls that the reference alone answers, whose drop is zero."""
    uncompared: int
    """Calls whose answers cannot be compared; they are in no other figure."""
    failed: int
    predicted_drop: float | None
    """Mean drop predicted by the router, over all calls with a prediction."""
    lines: tuple[DropLine, ...]
    """All calls first, then by model, task, tag and day."""
    differs: float | None
    """Share of audited answers whose form differs from the reference's."""
    saving_ci95: tuple[float, float] | None
    """Interval of the saving over all calls, valid at this moment."""
    audit_cost_usd: float
    answer_cost_usd: float
    reference_cost_usd: float
    """Cost of the reference alone; costs are for all modes together."""
    alarms: tuple[str, ...]
    more: str
    """How many more audits would be informative."""
    feedback: int = 0
    feedback_mean: float | None = None
    training_cost_usd: float = 0.0
    """Cost of `collect` and `label`."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)

    @property
    def _savings(self) -> Savings:
        return Savings(self.reference_cost_usd, self.answer_cost_usd, self.audit_cost_usd, self.training_cost_usd)

    def words(self) -> str:
        """Return the report as text."""
        rows = [f"mode {self.mode!r}: {self.calls:,} calls, {self.certain:,} of them the reference's alone"]
        if self.uncompared or self.failed:
            rows.append(f"  {self.uncompared:,} that cannot be compared, {self.failed:,} whose audit failed")
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
            over = "all calls" if self.mode != "shadow" else "the calls that were audited and the reference's own"
            rows.append(f"  saving          [{self.saving_ci95[0]:.1%}, {self.saving_ci95[1]:.1%}] over {over}")
        if self.differs is not None:
            rows.append(f"  answers differ  {_percent(self.differs)} of audited ones")
        rows.append(f"  money, all modes: {self._savings}")
        if self.feedback_mean is not None:
            rows.append(f"  feedback        {self.feedback_mean:.2f} on average of {self.feedback:,} calls")
        if self.target is None:
            rows.append("  no target is known, so no drop raises an alarm: give --target, or target= to monitor()")
        rows += [f"  alarm: {alarm}" for alarm in self.alarms] or ["  no alarm"]
        return "\n".join(map(one_line, [*rows, f"  {self.more}"]))


@dataclass
class _Calls:
    """Collects the calls of one mode."""

    estimates: Estimates = field(default_factory=Estimates)
    statuses: Counter[str] = field(default_factory=Counter)
    predicted_drop: float = 0.0
    predicted: int = 0
    savings: RatioSums = field(default_factory=RatioSums)
    """Sums of saved and reference cost."""
    compared: list[Audit] = field(default_factory=list)
    differs: list[bool] = field(default_factory=list)
    target: float | None = None
    """Time of the newest call."""
    newest: float = -math.inf

    def add(self, group: OutcomeGroup) -> None:
        if group.target is not None and group.newest > self.newest:
            self.target, self.newest = group.target, group.newest
        self.statuses[group.status] += group.calls
        self.predicted_drop += group.predicted_drop
        self.predicted += group.predicted
        self.savings = self.savings.plus(
            RatioSums(
                *(group.priced, group.saved_usd, group.reference_usd),
                *(group.saved2, group.reference2, group.saved_reference),
            )
        )
        at = group.day * 86_400.0
        if group.status == "certain":
            self.estimates.add_certain(group.calls, at=at, model=group.model, tags=group.tags)
        elif group.status == "unaudited":
            self.estimates.add_unaudited(
                group.calls, at=at, model=group.model, tags=group.tags, predicted_drop=group.predicted_drop
            )

    def compare(self, outcome: CallOutcome) -> None:
        self.compared.append(audit := as_audit(outcome))
        self.estimates.add(audit)
        if outcome.differs is not None:
            self.differs.append(outcome.differs)


def monitor(
    ledger: Ledger | Store,
    *,
    target: float | None = None,
    level: float = 0.95,
    since: float = -math.inf,
    until: float = math.inf,
    by_kind: Mapping[str, Totals] | None = None,
) -> list[MonitorReport]:
    """Return what a ledger shows, for each mode that calls were noted in; nothing where audits were never on.

    Args:
        ledger: Of the engine; or its path or URL.
        target: The drop that is asked for; default: the policy's, as it was when calls were made.
        level: Of the intervals, at all moments together.
        since: First moment that counts, seconds since 1970.
        until: First moment that counts no more.
        by_kind: The ledger's totals by kind over that time, where the caller has them.

    Raises:
        ConfigError: If the target is no number in [0, 1], or the database cannot be read.
        FileNotFoundError: If a path is given, and no file is there.
    """
    if target is not None and not (is_number(target) and 0 <= target <= 1):
        raise ConfigError(f"target must be a number in [0, 1], a relative drop, got {brief(target)}")
    if isinstance(ledger, str | Path):
        with Ledger(existing_store(ledger, "a ledger")) as opened:
            return monitor(opened, target=target, level=level, since=since, until=until, by_kind=by_kind)
    calls: dict[str, _Calls] = {}
    for group in ledger.outcome_groups(since=since, until=until):
        calls.setdefault(group.mode, _Calls()).add(group)
    if not calls:
        return []
    for outcome in ledger.outcomes(since=since, until=until, status="compared"):
        calls.setdefault(outcome.mode, _Calls()).compare(outcome)
    raised = _raised(ledger, calls, target, since, until)
    if by_kind is None:
        by_kind = ledger.totals(by="kind", since=_moment(since), until=_moment(until))
    scores = {note.call_id: note.score for note in ledger.feedbacks() if since <= note.time < until}
    newest = [row for row in ledger.rows(newest=NEWEST, kind="draw", until=until) if since <= row["time"]]
    changes = [_in_words(call_id, alarm) for call_id, alarm in member_changes(newest)]
    reports = [
        _report(mode, calls[mode], target, level, by_kind, list(scores.values()), raised[mode])
        for mode in sorted(calls)
    ]
    return [replace(report, alarms=(*report.alarms, *changes)) for report in reports]


def _moment(time: float) -> float | None:
    return time if math.isfinite(time) else None


def _report(
    mode: str,
    calls: _Calls,
    target: float | None,
    level: float,
    by_kind: Mapping[str, Totals],
    scores: Sequence[float],
    raised: Sequence[str],
) -> MonitorReport:
    target = calls.target if target is None else target
    overall, statuses = calls.estimates.of(), calls.statuses
    answers = by_kind.get("draw", no_totals())
    audit_cost = sum(total["audit_cost_usd"] for total in by_kind.values())
    lines = tuple(_lines(calls.estimates, level))
    drawn = statuses["compared"] + statuses["failed"] + statuses["drawn"]
    return MonitorReport(
        mode=mode,
        target=target,
        calls=sum(statuses.values()),
        certain=statuses["certain"],
        uncompared=statuses["uncompared"],
        failed=statuses["failed"],
        predicted_drop=calls.predicted_drop / calls.predicted if calls.predicted else None,
        lines=lines,
        differs=sum(calls.differs) / len(calls.differs) if calls.differs else None,
        saving_ci95=calls.savings.interval95(),
        audit_cost_usd=audit_cost,
        answer_cost_usd=answers["cost_usd"],
        reference_cost_usd=answers["reference_cost_usd"],
        alarms=(*_alarms(lines[0], target), *raised),
        more=_more(overall, target, level, audit_cost / drawn if drawn else None),
        feedback=len(scores),
        feedback_mean=sum(scores) / len(scores) if scores else None,
        training_cost_usd=sum(total["training_cost_usd"] for total in by_kind.values()),
    )


def _lines(estimates: Estimates, level: float) -> Iterable[DropLine]:
    """Yield a line for all calls, and for each subset with enough audits."""
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


def _alarms(line: DropLine, target: float | None) -> Iterable[str]:
    if target is None or line.drop is None:
        return
    if line.low > target:
        yield f"the drop is above the target of {_percent(target)}: at least {_percent(line.low)}"
    elif line.drop > target:
        yield f"the audited drop is above the target of {_percent(target)}, which may be chance"


@dataclass
class _Watch:
    """Recomputes the alarms that the calls of one mode would have raised."""

    audits: Iterator[Audit]
    alarms: Alarms
    target: float | None
    raised: list[str] = field(default_factory=list)

    def add(self, call_ids: ObjectArray, statuses: ObjectArray, familiarity: FloatArray) -> None:
        """Add calls, as arrays of shape ``(calls,)``; familiarity is NaN if unknown."""
        found, certain, before = list[tuple[int, Alarm]](), np.cumsum(statuses == "certain"), 0
        for i in np.flatnonzero(statuses == "compared"):
            if (audit := next(self.audits, None)) is not None and self.target is not None:
                self.alarms.observe_certain(int(certain[i]) - before)
                before = int(certain[i])
                found += [(int(i), alarm) for alarm in self.alarms.observe(audit)]
        self.alarms.observe_certain(int(certain[-1]) - before)
        known = np.flatnonzero(~np.isnan(familiarity))
        found += [(int(known[i]), alarm) for i, alarm in self.alarms.observe_queries(familiarity[known])]
        self.raised += [_in_words(call_ids[i], alarm) for i, alarm in sorted(found, key=lambda pair: pair[0])]


def _raised(
    ledger: Ledger, calls: Mapping[str, _Calls], target: float | None, since: float, until: float
) -> dict[str, list[str]]:
    """Return the alarms of each mode, with their false-alarm probabilities."""
    watches: dict[str, _Watch] = {}
    for mode, of in calls.items():
        asked_for = of.target if target is None else target
        least = min((audit.probability for audit in of.compared), default=1.0)
        watches[mode] = _Watch(iter(of.compared), Alarms(asked_for or 0.0, (), least_probability=least), asked_for)

    def watch(notes: OutcomeNotes) -> None:
        modes, call_ids, statuses = (np.array(of, dtype=object) for of in (notes.modes, notes.call_ids, notes.statuses))
        familiarity = np.array(notes.familiarity, dtype=np.float64)
        for mode in watches.keys() & set(notes.modes):
            own = modes == mode
            watches[mode].add(call_ids[own], statuses[own], familiarity[own])

    ledger.visit_notes(watch, since=since, until=until)
    return {mode: watch.raised for mode, watch in watches.items()}


def _in_words(call_id: str, alarm: Alarm) -> str:
    return f"at call {call_id}: {alarm}"


def _more(estimate: DropEstimate, target: float | None, level: float, audit_usd: float | None) -> str:
    """Return how many audits would distinguish a drop at the target from one twice as large."""
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
        return f"{round(estimate.audited):,} audited calls distinguish {pair}"
    cost = "" if audit_usd is None else f"; they cost {more * audit_usd:.2f} USD"
    return f"{more:,} more audited calls distinguish {pair}{cost}"


def audits_for(half_width: float, spread: float, *, level: float = 0.95) -> int:
    """Return the number of audits for an interval, valid at all times, of a given half-width.

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
