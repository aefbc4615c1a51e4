"""The state of each promise: how it was established, what live traffic shows, and what has changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bestroute.billing.savings import Savings
from bestroute.evaluation.html_report.blocks import Table, interval, shown, usd
from bestroute.evaluation.html_report.ledger_summary import LedgerSummary
from bestroute.monitoring.monitor_report import MonitorReport
from bestroute.policies.policies import QualityPolicy
from bestroute.policies.promises import Promise
from bestroute.policies.refused_promises import Refusal
from bestroute.router import MultiHeadRouter
from bestroute.router.shrinkage import DEFAULT_TARGET
from bestroute.types.pool import Pool


@dataclass(frozen=True)
class PromiseState:
    """The state of a promise, or of a target drop without a promise."""

    promise: str
    state: str
    """``kept so far``, ``broken``, ``not known yet``, ``not checked``, ``prices have changed`` ..."""
    why: str
    foretold: str = ""
    """The saving when it was established."""
    measured: str = ""
    """The saving according to the ledger or the records."""


def live_states(
    summary: LedgerSummary,
    promises: Sequence[Promise] = (),
    pool: Pool | None = None,
    refusals: Sequence[Refusal] = (),
    foretold: Mapping[str, Sequence[float]] | None = None,
) -> list[PromiseState]:
    """Return the state of promises, and of policies' target drops, according to a ledger.

    Args:
        summary: Of the ledger.
        promises: Promises of the router.
        pool: The router's pool, with current prices.
        refusals: Refused promises of the router.
        foretold: Savings that training predicted for its frozen prices, by drop, with the ends of their intervals.
    """
    states = []
    saving = Savings.of(summary.total)
    whole = summary.total["reference_cost_usd"]
    measured = (
        "no call" if whole <= 0 else f"{shown(saving.saved_usd / whole, percent=True)}, {interval(summary.saving_ci95)}"
    )
    for drop, (value, low, high) in (foretold or {}).items():
        name = f"frozen by training for a drop of {shown(float(drop), percent=True)}, no promise"
        states.append(
            PromiseState(
                name, "an aim", "by held-out folds", f"{shown(value, percent=True)}, {interval((low, high))}", measured
            )
        )
    on = next((report for report in summary.reports if report.mode == "on"), None)
    for promise in promises:
        if promise.kind == "max_drop":
            state, why = drop_state(on, promise.value)
        else:
            state, why = _budget_state(summary, promise.value)
        told_by = (
            f"{shown(promise.estimates['saving'], percent=True)}, biased upwards by the choice"
            if "saving" in promise.estimates
            else ""
        )
        states.append(PromiseState(str(promise), *_with_changes(promise, pool, state, why), told_by, measured))
    states += refused_states(refusals)
    promised = {promise.value for promise in promises if promise.kind == "max_drop"}
    for report in summary.reports:
        if report.target is not None and report.target not in promised:
            drop = f"drop of at most {shown(report.target, percent=True)}, as the policy was asked for"
            name = f"{drop} (mode {report.mode})"
            states.append(PromiseState(name, *drop_state(report, report.target), measured=measured))
    return states


def foretold_by_default(router: MultiHeadRouter) -> dict[str, tuple[float, float, float]]:
    """Return the saving that training predicted for the router's own policy; empty if that is the reference."""
    known = {} if router.trained_on is None else router.trained_on.savings
    is_frozen = isinstance(router.default_policy, QualityPolicy) and str(DEFAULT_TARGET) in known
    return {str(DEFAULT_TARGET): known[str(DEFAULT_TARGET)]} if is_frozen else {}


def refused_states(refusals: Sequence[Refusal]) -> list[PromiseState]:
    """Return the states of refused promises."""
    return [PromiseState(refusal.promise, "refused", f"{refusal}, by bestroute tune") for refusal in refusals]


def drop_state(report: MonitorReport | None, value: float) -> tuple[str, str]:
    """Return the state of an allowed drop according to audits, and the reason.

    Example:
        >>> drop_state(None, 0.01)[0]
        'not checked'
    """
    line = None if report is None or not report.lines else report.lines[0]
    if line is None or line.drop is None:
        return "not checked", "no call was audited: audit=0.03 on the engine would tell"
    known = (
        f"audited drop {shown(line.drop, percent=True)}, {interval((line.low, line.high))} at every moment, by "
        f"{line.audited:,} audits of {line.calls:,} calls"
    )
    if line.low > value:
        return "broken", known
    return ("kept so far" if line.high <= value else "not known yet"), known


def records_states(
    promises: Sequence[Promise], policy: Mapping[str, Any] | None, policy_text: str | None
) -> list[PromiseState]:
    """Return the states of promises according to records: only that of the policy is tested.

    Args:
        promises: Promises of the router.
        policy: The report's figures of the policy.
        policy_text: The policy as given to the command, such as ``max_drop:0.01``.
    """
    kind, _, value = (policy_text or "").partition(":")
    states = []
    for promise in promises:
        on = promise.shown_on
        shown_on = f"shown on {on.get('queries', on.get('calibrate', 'its'))} queries" if on else "shown"
        is_tested = policy is not None and kind == promise.kind and abs(float(value) - promise.value) < 1e-12
        if policy is None or not is_tested:
            flag = "max_drop" if promise.kind == "max_drop" else "budget"
            states.append(
                PromiseState(str(promise), "not tested here", f"{shown_on}; --policy {flag}:{promise.value:g} tests it")
            )
            continue
        savings = _saving_in(promise.estimates), _saving_in(policy)
        if promise.kind == "budget":
            spent = 1000 * policy["cost_usd"]
            state = "kept here" if spent <= promise.value else "above it here"
            states.append(
                PromiseState(str(promise), state, f"{usd(spent)} per 1,000 queries on these records", *savings)
            )
            continue
        ends = policy["drop_ci95"]
        known = f"drop {shown(policy['drop'], percent=True)}, {interval(ends)} on these records"
        is_above = ends is not None and ends[0] > promise.value
        state = "broken here" if is_above else "kept here" if policy["drop"] <= promise.value else "may be chance"
        states.append(PromiseState(str(promise), state, known, *savings))
    return states


def _saving_in(figures: Mapping[str, Any]) -> str:
    return shown(figures["saving"], percent=True) if "saving" in figures else ""


def state_rows(states: Sequence[PromiseState]) -> Table:
    """Return the table of all states."""
    rows = tuple((each.promise, each.state, each.foretold, each.measured, each.why) for each in states)
    columns = ("promise", "state", "saving foretold", "saving measured", "why")
    return Table("The state of every promise", columns, rows, words=5)


def _budget_state(summary: LedgerSummary, value: float) -> tuple[str, str]:
    if not summary.calls:
        return "not checked", "no call was made"
    spent = 1000 * summary.total["cost_usd"] / summary.calls
    return (
        "kept so far" if spent <= value else "broken",
        f"{usd(spent)} per 1,000 calls so far, over {summary.calls:,} calls",
    )


def _with_changes(promise: Promise, pool: Pool | None, state: str, why: str) -> tuple[str, str]:
    changes = promise.price_changes(pool) if pool is not None else []
    if not changes:
        return state, why
    return f"{state}; prices have changed, so it promises nothing", f"{why}; {', '.join(changes)}"
