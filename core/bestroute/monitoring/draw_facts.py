"""What a call's rows in the ledger show of each member that it asked: what alarms of a member's changes look at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from bestroute.billing.ledger_rows import LedgerRow

NO_LOGPROBS = "no log-probability of each token"
"""How the reason of a row ends whose sample lacks what its reward reads."""
LEAST_LATENCY_S = 0.1
"""Shorter latencies count as that, all of them to the nearest doubling: a little more or less comes and goes with the
hour."""


def draw_facts(rows: Sequence[LedgerRow]) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield for each member that a call asked for an answer what its first draw shows, by the names of ``CHANGES``.

    One draw of a member in a call alone: the others are about the same query, so they tell little that is new. What is
    not known is left out.

    Args:
        rows: Of one call.
    """
    answers = [row for row in rows if row["kind"] == "draw" and row["status"] != "cancelled"]
    first: dict[str, LedgerRow] = {}
    for row in answers:
        first.setdefault(row["model"], row)
    for model, row in first.items():
        facts = {"error": float(row["status"] == "failed")}
        if row["status"] == "ok":
            facts["logprobs"] = float(not (row["reason"] or "").endswith(NO_LOGPROBS))
            if not row["estimated"]:
                facts["length"] = float(row["output_tokens"])
            if (seconds := row.get("latency_s")) is not None:
                facts["latency"] = float(round(math.log2(max(seconds, LEAST_LATENCY_S))))
            plan = row["plan"] or ""
            if plan.count(", then ") > row["step"]:
                facts["acceptance"] = float(all(r["step"] <= row["step"] for r in answers if r["plan"] == plan))
        yield model, facts
