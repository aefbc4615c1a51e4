"""What became known of a call beside its bill: how it compares with the reference, and what people say of it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bestroute._utils.text import brief
from bestroute.billing.ledger_rows import as_text
from bestroute.errors import ConfigError

OutcomeStatus = Literal["certain", "unaudited", "drawn", "compared", "uncompared", "failed"]
"""``certain``: the plan was the reference alone, so nothing is lost; ``unaudited``: it was not chosen; ``drawn``: the
other answer is there and not compared yet; ``uncompared``: nothing can compare the two; ``failed``: no other answer."""
Method = Literal["judge", "reward", "agreement"]


@dataclass(frozen=True)
class CallOutcome:
    """One call that an audit might have chosen, and what came of it."""

    call_id: str
    time: float
    """Of the call, seconds since 1970, UTC."""
    model: str
    """Pool name of the answer's; in the shadow, of the first member of the plan that was not run."""
    plan: str
    status: OutcomeStatus
    probability: float
    """With which the call was chosen, before its answer was known."""
    tags: Mapping[str, str] = field(default_factory=dict)
    mode: str = "on"
    predicted_drop: float | None = None
    """By the router: the reference's expected quality less the plan's."""
    familiarity: float | None = None
    target: float | None = None
    """The drop that the policy was asked for."""
    drop: float | None = None
    """The reference's quality less the plan's answer's, in [-1, 1]; where only agreement is known, 1 for answers that
    differ: no more can be lost."""
    reference_quality: float | None = None
    method: Method | None = None
    differs: bool | None = None
    """Whether the two answers have another form; ``None`` where that cannot be told."""
    cost_usd: float = 0.0
    """Of the plan's answer."""
    reference_cost_usd: float = 0.0
    """Of the reference's; as drawn where it was, else estimated."""


@dataclass(frozen=True)
class Feedback:
    """What somebody, or a later verdict, says of the answer of one call."""

    call_id: str
    score: float
    """In [0, 1]; 1 is as good as can be."""
    time: float
    note: str | None = None
    """In words, if the ledger keeps them."""


def as_feedback(call_id: Any, score: Any, note: Any, *, keeps_notes: bool) -> Feedback:
    """Return feedback, checked.

    Raises:
        ConfigError: Says what is wrong.

    Example:
        >>> as_feedback("c1", True, "fine", keeps_notes=False).score
        1.0
    """
    if not isinstance(call_id, str) or not call_id:
        raise ConfigError(f"feedback: call_id must be that of an answer (metadata 'call_id'), got {brief(call_id)}")
    number = score if isinstance(score, bool) else getattr(score, "item", lambda: score)()  # of numpy
    if not isinstance(number, int | float) or not math.isfinite(number) or not 0 <= number <= 1:
        raise ConfigError(f"feedback: score must be a number in [0, 1], or True or False, got {brief(score)}")
    if note is not None and not isinstance(note, str):
        raise ConfigError(f"feedback: note must be a text, got {brief(note)}")
    kept = as_text(note) if note and keeps_notes else None
    return Feedback(as_text(call_id), float(number), time.time(), kept)
