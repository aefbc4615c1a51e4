"""Extract from a call's ledger rows what the alarms about changes of members observe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from bestroute.billing.ledger_rows import LedgerRow

NO_LOGPROBS = "no log-probability of each token"
"""End of a row's reason if the sample lacks the log-probabilities that its reward needs."""
LEAST_LATENCY_S = 0.1
"""Shorter latencies count as this; all are rounded to powers of two, since small variations are normal."""


def draw_facts(rows: Sequence[LedgerRow]) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield, for each member that a call asked for an answer, the observations of its first draw, named as ``CHANGES``.

    Only one draw per member and call is used, since others are about the same query and so not independent. Unknown
    observations are left out.

    Args:
        rows: Rows of one call.
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
