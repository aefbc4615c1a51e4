"""Recompute alarms about changes of members from a ledger's rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bestroute.billing.ledger_rows import LedgerRow
from bestroute.monitoring.alarms import Alarm, Alarms
from bestroute.monitoring.draw_facts import draw_facts

NEWEST = 100_000
"""Number of newest answer rows that are read, five times the horizon of an alarm."""
_AT_ONCE = 256


def member_changes(rows: Sequence[LedgerRow]) -> Iterator[tuple[str, Alarm]]:
    """Yield the alarms that calls would have raised, member by member, each with the call that raised it.

    Args:
        rows: Rows in writing order.
    """
    models = sorted({row["model"] for row in rows})
    calls: dict[str, list[LedgerRow]] = {}
    for row in rows:  # those of one call need not stand together
        calls.setdefault(row["call_id"], []).append(row)
    draws: dict[str, list[tuple[str, Mapping[str, float]]]] = {}
    for call_id, own in calls.items():
        for model, facts in draw_facts(own):
            draws.setdefault(model, []).append((call_id, facts))
    alarms = Alarms(0.0, models, least_probability=1.0)
    for model, of in sorted(draws.items()):
        for start in range(0, len(of), _AT_ONCE):
            part = of[start : start + _AT_ONCE]
            for i, alarm in alarms.observe_draws(model, [facts for _, facts in part]):
                yield part[i][0], alarm
