"""Parse policies as written in flags and files."""

from __future__ import annotations

import math
from collections.abc import Callable

from bestroute._utils.text import brief
from bestroute.errors import ConfigError
from bestroute.policies.policies import BudgetPolicy, QualityPolicy, ThresholdPolicy
from bestroute.types.protocols import Policy


def parse_policy(text: str) -> Policy:
    """Parse ``threshold:0.8``, ``quality:0.02``, ``max_drop:0.01``, ``follow:0.01`` or ``budget:2.5``.

    A budget is in USD per 1,000 queries. Where no audits come, a price that follows them stays where it starts.

    Raises:
        ConfigError: If it is none of these.
    """
    kind, _, value = text.partition(":")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    makers: dict[str, Callable[[float], Policy]] = {
        "threshold": ThresholdPolicy,
        "quality": QualityPolicy,
        "max_drop": lambda drop: QualityPolicy(max_drop=drop),
        "follow": lambda drop: QualityPolicy(max_drop=drop, follow=True),
        "budget": BudgetPolicy,
    }
    if kind not in makers or math.isnan(number):
        raise ConfigError(
            f"policy must be threshold:0.8, quality:0.02, max_drop:0.01, follow:0.01 or budget:2.5, got {brief(text)}"
        )
    return makers[kind](number)
