"""The page of a ledger: spending and saving by dimension, quality of answers, and promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bestroute.billing.call_bills import CallBill, DrawnModel
from bestroute.billing.ledger_rows import Totals, moment_of
from bestroute.billing.savings import Savings
from bestroute.evaluation.html_report.blocks import (
    Block,
    Chart,
    DataSeries,
    KeyFigure,
    Page,
    Section,
    Table,
    Text,
    interval,
    shown,
    usd,
)
from bestroute.evaluation.html_report.ledger_summary import LedgerSummary
from bestroute.evaluation.html_report.promise_states import PromiseState, state_rows
from bestroute.monitoring.monitor_report import SWITCH_ON, MonitorReport

_MOST_ROWS = 50
_MOST_SERIES = 8


def ledger_page(summary: LedgerSummary, name: str, states: Sequence[PromiseState]) -> Page:
    """Return the page.

    Args:
        summary: Summary of the ledger.
        name: Name of the ledger, without a password.
        states: State of every promise.
    """
    total, answers, savings = summary.total, summary.answers, Savings.of(summary.total)
    on = next((report for report in summary.reports if report.lines), None)
    line = on.lines[0] if on is not None and on.lines[0].drop is not None else None
    figures = (
        KeyFigure(
            "Spent on answers", usd(total["cost_usd"]), f"{summary.calls:,} calls, {answers['samples']:,} samples"
        ),
        KeyFigure(
            "Saved",
            shown(_saving(total), percent=True),
            f"{usd(savings.saved_usd)}; {interval(summary.saving_ci95)} over calls like these (95 %)",
        ),
        KeyFigure(
            "The reference alone",
            usd(total["reference_cost_usd"]),
            "every call priced as it would have been, a prompt cache as warm included",
        ),
        KeyFigure("Audits", usd(total["audit_cost_usd"]), "beside the answers"),
        KeyFigure("Saved, net of audits", shown(savings.net, percent=True), usd(savings.net_usd)),
        KeyFigure("Training data", usd(total["training_cost_usd"]), "by collect and label; no part of the saving"),
        KeyFigure(
            "Drop in quality",
            "not audited" if line is None else shown(line.drop, percent=True),
            "" if line is None else f"{interval((line.low, line.high))} at every moment",
        ),
        KeyFigure("Failed draws", f"{answers['failed']:,}", f"of {answers['samples']:,}"),
        KeyFigure("Fell back", f"{summary.fell_back:,}", f"of {summary.calls:,} calls: another member had to answer"),
    )
    sections = (
        Section("Promises", tuple(_promises(states))),
        Section("By day", tuple(_by_day(summary))),
        Section("By model", (_spent("Spent by model", "model", summary.by_model, has_saving=False),)),
        Section("Traffic by plan", tuple(_by_plan(summary))),
        Section("By reason", (_spent("Spent by reason", "reason", summary.by_reason),)),
        Section("By tag", (_spent("Spent by tag", "tag", summary.by_tag, unnamed="no tag"),)),
        Section("Quality", tuple(_quality(summary))),
        Section("Alarms", tuple(_alarms(summary.reports))),
        Section(f"The {len(summary.most_expensive)} most expensive decisions", tuple(_most_expensive(summary))),
    )
    period = ""
    if summary.seconds is not None:
        first, last = (moment_of(s).strftime("%Y-%m-%d %H:%M") for s in summary.seconds)
        period = f", calls from {first} to {last} UTC"
    return Page("What routing spent and saved", f"{name}{period}", figures, sections)


def _saving(total: Totals) -> float | None:
    reference = total["reference_cost_usd"]
    return 1 - total["cost_usd"] / reference if reference > 0 else None


def _promises(states: Sequence[PromiseState]) -> Iterable[Block]:
    if not states:
        yield Text(
            ("No promise is known: bestroute tune makes one, and report LEDGER --router DIR shows what became of it.",)
        )
        return
    yield state_rows(states)


def _by_day(summary: LedgerSummary) -> Iterable[Block]:
    days = sorted(summary.by_day)
    by_cost = sorted(summary.by_model, key=lambda model: -summary.by_model[model]["cost_usd"])
    models = by_cost if len(by_cost) <= _MOST_SERIES else by_cost[: _MOST_SERIES - 1]
    series = [_of_model(summary, model, days) for model in models]
    if len(models) < len(by_cost):
        rest = [_of_model(summary, model, days).y for model in by_cost[len(models) :]]
        series.append(DataSeries("other models", tuple(days), tuple(map(sum, zip(*rest, strict=True))), "bars"))
    yield Chart("Spent by day and model", "day", "USD", tuple(series))
    known = [(day, saving) for day in days if (saving := _saving(summary.by_day[day])) is not None]
    saved = DataSeries("saved", tuple(day for day, _ in known), tuple(saving for _, saving in known))
    yield Chart("Saved by day", "day", "share of the reference's cost", (saved,), y_percent=True)
    yield _spent("Spent by day", "day", summary.by_day, in_order=True)


def _of_model(summary: LedgerSummary, model: str, days: Sequence[str]) -> DataSeries:
    costs = (summary.by_day_model.get((day, model)) for day in days)
    return DataSeries(model, tuple(days), tuple(0.0 if cost is None else cost["cost_usd"] for cost in costs), "bars")


def _spent(
    caption: str,
    name: str,
    totals: Mapping[str, Totals],
    *,
    has_saving: bool = True,
    in_order: bool = False,
    unnamed: str = "none",
    calls: Mapping[str, int] | None = None,
) -> Table:
    """Return a table of the most expensive keys, or of keys in order; the reference's cost is per call."""
    keys = sorted(totals) if in_order else sorted(totals, key=lambda key: (-totals[key]["cost_usd"], key))
    left_out, keys = keys[_MOST_ROWS:] if not in_order else [], keys if in_order else keys[:_MOST_ROWS]
    most = max((total["cost_usd"] for total in totals.values()), default=0.0)
    of_calls = sum(calls.values()) if calls else 0
    rows = []
    for key in keys:
        total = totals[key]
        row = [key or unnamed, usd(total["cost_usd"])]
        if has_saving:
            row += [usd(total["reference_cost_usd"]), "" if (s := _saving(total)) is None else shown(s, percent=True)]
        if calls is not None:
            row += [f"{calls.get(key, 0):,}", shown(calls.get(key, 0) / max(of_calls, 1), percent=True)]
        counts = ("samples", "failed", "input_tokens", "output_tokens")
        row += [f"{total[count]:,}" for count in counts]  # type: ignore[literal-required]
        beside = (total["audit_cost_usd"], total["training_cost_usd"])
        rows.append((*row, *(usd(cost) if cost else "" for cost in beside)))
    columns = [name, "USD", *(["reference", "saved"] if has_saving else [])]
    columns += ["calls", "share of calls"] if calls is not None else []
    columns += ["samples", "failed", "tokens in", "tokens out", "audits", "training"]
    caption = f"{caption} (the {_MOST_ROWS} most expensive of {len(keys) + len(left_out):,})" if left_out else caption
    shares = tuple(totals[key]["cost_usd"] / most if most else 0.0 for key in keys)
    return Table(caption, tuple(columns), tuple(rows), shares=shares)


def _by_plan(summary: LedgerSummary) -> Iterable[Block]:
    shares = sorted(summary.calls_by_plan.items(), key=lambda item: (-item[1], item[0]))[:20]
    names = tuple(plan or "none" for plan, _ in shares)
    values = tuple(count / max(summary.calls, 1) for _, count in shares)
    yield Chart(
        "Share of calls by plan",
        "plan",
        "share of calls",
        (DataSeries("calls", names, values, "bars"),),
        y_percent=True,
    )
    yield _spent("Spent by plan", "plan", summary.by_plan, calls=summary.calls_by_plan)


def _quality(summary: LedgerSummary) -> Iterable[Block]:
    if not summary.reports:
        yield Text((f"The quality is unknown: {SWITCH_ON}.",))
    for report in summary.reports:
        yield Text(
            (
                f"Mode {report.mode}: {report.calls:,} calls, {report.certain:,} of them the reference's alone, "
                f"{report.uncompared:,} that cannot be compared.  Predicted drop "
                f"{shown(report.predicted_drop, percent=True)}, target {shown(report.target, percent=True)}. "
                f"{report.more}.",
            )
        )
        yield Table(
            f"Audited drop, mode {report.mode}: intervals hold at every moment one looks (95 %)",
            ("by", "name", "drop", "from", "to", "audited", "calls", "saved"),
            tuple(
                (
                    line.by,
                    line.name,
                    *(shown(each, percent=True) for each in (line.drop, line.low, line.high)),
                    *(f"{line.audited:,}", f"{line.calls:,}"),
                    "" if line.saving is None else shown(line.saving, percent=True),
                )
                for line in report.lines
            ),
            words=2,
        )
        days = [line for line in report.lines if line.by == "day" and line.drop is not None]
        if len(days) > 1:
            yield Chart(
                f"Audited drop by day, mode {report.mode}",
                "day",
                "drop in quality",
                (_drops("audited", [(line.name, line.drop or 0.0, line.low, line.high) for line in days]),),
                y_percent=True,
            )
    if summary.predicted:
        most = max(part.predicted for part in summary.predicted)
        audited = _drops("audited", [(part.predicted, part.drop, part.low, part.high) for part in summary.predicted])
        yield Chart(
            "Calibration: the drop as predicted and as audited",
            "predicted drop",
            "audited drop",
            (audited, DataSeries("as predicted", (0.0, most), (0.0, most))),
            y_percent=True,
            x_percent=True,
        )


def _drops(name: str, points: Sequence[tuple[float | str, float, float, float]]) -> DataSeries:
    x, y, low, high = zip(*points, strict=True)
    return DataSeries(name, x, y, "points", low, high)


def _alarms(reports: Sequence[MonitorReport]) -> Iterable[Block]:
    alarms = tuple(f"Mode {report.mode}: {alarm}" for report in reports for alarm in report.alarms)
    if alarms:
        yield Text(alarms, is_list=True)
    else:
        yield Text(("No alarm." if reports else "Nothing was watched: no call was noted for audits.",))
    for report in reports:
        if report.target is None:
            yield Text((f"Mode {report.mode}: no target is known, so no drop raises an alarm; give --target.",))


def _most_expensive(summary: LedgerSummary) -> Iterable[Block]:
    yield Table(
        "The decisions that cost most, and why",
        ("call", "USD", "reference", "time", "plan", "why", "drawn"),
        tuple(_of_call(bill, drawn) for bill, drawn in summary.most_expensive),
        words_right=4,
    )


def _of_call(bill: CallBill, drawn: Sequence[DrawnModel]) -> tuple[str, ...]:
    when = moment_of(bill.time).strftime("%Y-%m-%d %H:%M:%S")
    models = [
        f"{each.samples} x {each.model} ({usd(each.cost_usd)}, {each.input_tokens:,} tokens in, "
        f"{each.output_tokens:,} out" + (f", {each.failed} failed)" if each.failed else ")")
        for each in drawn
    ]
    tags = ", ".join(f"{name}={value}" for name, value in (drawn[0].tags.items() if drawn else ()))
    why = f"{bill.reason or 'none given'}{f' [{tags}]' if tags else ''}"
    return bill.call_id, usd(bill.cost_usd), usd(bill.reference_cost_usd), when, bill.plan, why, "; ".join(models)
