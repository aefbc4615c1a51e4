"""The bill of one call: the cost of all its samples, the plan that was run, and the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bestroute.billing.ledger_rows import LedgerRow, Selection

FELL_BACK = "fell back from "
"""Begins the part of a row's reason that says which members gave nothing usable."""


def fell_back_from(models: Sequence[str]) -> str:
    """Return the part of a row's reason that names members without a usable answer.

    Example:
        >>> fell_back_from(["small", "mid"])
        'fell back from small, mid'
    """
    return FELL_BACK + ", ".join(models) if models else ""


@dataclass(slots=True)
class CallBill:
    """The bill of one call's answer, without audits."""

    call_id: str
    time: float
    """Time of the first sample, seconds since 1970, UTC."""
    plan: str
    """The model that answered; if none did, one that was tried."""
    reason: str
    samples: int
    failed: int
    cost_usd: float
    reference_cost_usd: float

    @property
    def fell_back(self) -> bool:
        """Whether other models than the planned ones were called."""
        return FELL_BACK in self.reason


@dataclass(frozen=True)
class DrawnModel:
    """What one call drew from one model."""

    model: str
    samples: int
    failed: int
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the call."""


def call_bills(rows: Iterable[LedgerRow], selection: Selection) -> list[CallBill]:
    """Add up the rows of each call.

    Example:
        >>> call_bills([], Selection())
        []
    """
    found: dict[str, CallBill] = {}
    ranks: dict[str, int] = {}
    for row in _chosen(rows, selection):
        call_id, plan, reason = row["call_id"], row["plan"] or "", row["reason"] or ""
        bill = found.get(call_id)
        if bill is None:
            bill = found[call_id] = CallBill(call_id, row["time"], plan, reason, 0, 0, 0.0, 0.0)
        bill.time = min(bill.time, row["time"])
        bill.samples += 1
        bill.failed += row["status"] != "ok"
        bill.cost_usd += row["cost_usd"]
        bill.reference_cost_usd += row["reference_cost_usd"]
        rank = (2 + (row["status"] == "ok")) if FELL_BACK in reason else int(row["reference_cost_usd"] != 0)
        known = ranks.setdefault(call_id, rank)
        if rank > known:
            ranks[call_id], bill.plan, bill.reason = rank, plan, reason
        elif rank == known:
            bill.plan, bill.reason = max((bill.plan, bill.reason), (plan, reason))
    return list(found.values())


def drawn_models(rows: Iterable[LedgerRow], call_ids: Iterable[str]) -> dict[str, list[DrawnModel]]:
    """Return what each of some calls drew of each model, in drawing order."""
    wanted, found = set(call_ids), dict[tuple[str, str], DrawnModel]()
    for row in rows:
        if row["call_id"] not in wanted or row["kind"] != "draw":
            continue
        key = row["call_id"], row["model"]
        known = found.get(key) or DrawnModel(row["model"], 0, 0, 0, 0, 0, 0.0, row["tags"])
        found[key] = DrawnModel(
            row["model"],
            known.samples + 1,
            known.failed + (row["status"] != "ok"),
            known.requests + row["requests"],
            known.input_tokens + row["input_tokens"],
            known.output_tokens + row["output_tokens"],
            known.cost_usd + row["cost_usd"],
            row["tags"],
        )
    return {call: [drawn for (of, _), drawn in found.items() if of == call] for call in wanted}


def _chosen(rows: Iterable[LedgerRow], selection: Selection) -> Iterator[LedgerRow]:
    tags = (selection.tags or {}).items()
    for row in rows:
        if row["kind"] == "draw" and selection.since <= row["time"] < selection.until:
            if all(row["tags"].get(name) == value for name, value in tags):
                yield row
