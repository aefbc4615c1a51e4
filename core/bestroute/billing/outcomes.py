"""Outcomes of calls besides their bills: the comparison with the reference, and users' feedback."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """A call that could have been audited, and its outcome."""

    call_id: str
    time: float
    """Time of the call, seconds since 1970, UTC."""
    model: str
    """Pool name of the model that answered; in shadow mode, of the first member of the plan that was not run."""
    plan: str
    status: OutcomeStatus
    probability: float
    """Probability with which the call was chosen for an audit, before its answer was known."""
    tags: Mapping[str, str] = field(default_factory=dict)
    mode: str = "on"
    predicted_drop: float | None = None
    """Predicted by the router: the reference's expected quality less the plan's."""
    familiarity: float | None = None
    target: float | None = None
    """The policy's target drop."""
    drop: float | None = None
    """The reference's quality less the plan's answer's, in [-1, 1]; where only agreement is known, 1 for answers that
    differ: no more can be lost."""
    reference_quality: float | None = None
    method: Method | None = None
    differs: bool | None = None
    """Whether the two answers have different forms; ``None`` if unknown."""
    cost_usd: float = 0.0
    """Cost of the plan's answer, USD."""
    reference_cost_usd: float = 0.0
    """Cost of the reference's answer, USD; as drawn, else estimated."""


@dataclass(frozen=True)
class OutcomeGroup:
    """Outcomes of calls with the same mode, status, model, day, target and tags."""

    mode: str
    status: OutcomeStatus
    model: str
    day: int
    """Days since 1970, UTC."""
    tags: Mapping[str, str]
    calls: int
    predicted_drop: float
    """Sum over all calls; those without a prediction count 0."""
    predicted: int
    """Number of calls with a predicted drop."""
    priced: int
    """Number of calls with a known saving: those with a reference cost, in shadow mode with a known answer."""
    saved_usd: float
    """Sums over these; in shadow mode each is weighted by the inverse probability of its audit."""
    reference_usd: float
    saved2: float
    reference2: float
    saved_reference: float
    """Sums of their squares and products."""
    target: float | None
    newest: float
    """Time of the newest of them, seconds since 1970."""


@dataclass(frozen=True, slots=True)
class OutcomeNotes:
    """What alarms need of some calls, in order of time, as columns."""

    call_ids: Sequence[str]
    modes: Sequence[str]
    statuses: Sequence[OutcomeStatus]
    familiarity: Sequence[float | None]


def outcome_groups(outcomes: Iterable[CallOutcome]) -> Iterator[OutcomeGroup]:
    """Yield each call as a group of its own."""
    for o in outcomes:
        weight = 1 / o.probability if o.mode == "shadow" else 1.0
        is_priced = o.reference_cost_usd > 0 and (o.mode != "shadow" or o.status in ("compared", "certain"))
        saved, reference = weight * (o.reference_cost_usd - o.cost_usd), weight * o.reference_cost_usd
        saved, reference = (saved, reference) if is_priced else (0.0, 0.0)
        yield OutcomeGroup(
            mode=o.mode,
            status=o.status,
            model=o.model,
            day=math.floor(o.time / 86_400),
            tags=o.tags,
            calls=1,
            predicted_drop=o.predicted_drop or 0.0,
            predicted=int(o.predicted_drop is not None),
            priced=int(is_priced),
            saved_usd=saved,
            reference_usd=reference,
            saved2=saved**2,
            reference2=reference**2,
            saved_reference=saved * reference,
            target=o.target,
            newest=o.time,
        )


@dataclass(frozen=True)
class Feedback:
    """A score of one call's answer, by a user or a later verdict."""

    call_id: str
    score: float
    """In [0, 1]; 1 is best."""
    time: float
    note: str | None = None
    """A comment, if the ledger stores them."""


def _scalar(score: Any) -> Any:
    """Return the one number of an array of numpy or torch; anything else as it is."""
    try:
        return score.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):  # none, or several numbers
        return score


def as_feedback(call_id: Any, score: Any, note: Any, *, keeps_notes: bool) -> Feedback:
    """Check feedback and return it.

    Raises:
        ConfigError: If an argument is invalid.

    Example:
        >>> as_feedback("c1", True, "fine", keeps_notes=False).score
        1.0
    """
    if not isinstance(call_id, str) or not call_id:
        raise ConfigError(f"feedback: call_id must be that of an answer (metadata 'call_id'), got {brief(call_id)}")
    number = _scalar(score)
    if not isinstance(number, int | float) or not 0 <= number <= 1:  # NaN, too
        raise ConfigError(f"feedback: score must be a number in [0, 1], or True or False, got {brief(score)}")
    if note is not None and not isinstance(note, str):
        raise ConfigError(f"feedback: note must be a text, got {brief(note)}")
    kept = as_text(note) if note and keeps_notes else None
    return Feedback(as_text(call_id), float(number), time.time(), kept)
