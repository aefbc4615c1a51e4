"""What ``bestroute train`` prints about a router: what it would save, and a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bestroute.router.evidence import Evidence
    from bestroute.router.training import Training

_SHOWN = ("0.005", "0.01", "0.02", "0.03")
"""Of the drops that prices are frozen for, those shown without ``--verbose``."""


def training_lines(training: Training, records: int, folder: Path, *, verbose: bool = False) -> Iterator[str]:
    """Yield the estimates of held-out folds with 95 % intervals, the default policy, and a verdict.

    Args:
        training: The result of training.
        records: How many records it was trained on.
        folder: Where the router is.
        verbose: Whether to add how well its parts predict.
    """
    from bestroute.router.accept_levels import TARGET as LEVEL_TARGET
    from bestroute.router.shrinkage import DEFAULT_TARGET

    reference = training.router.pool.reference
    if verbose:
        for name, value in training.summary.items():
            interval = training.intervals.get(name)
            shown = f"{value:.4g}" if isinstance(value, float) else value
            yield f"{name}: {shown}" + ("" if interval is None else f" [{interval[0]:.4g}, {interval[1]:.4g}]")
    yield f"on queries it was not trained on, against {reference} alone, by the drop aimed at [95 % intervals]:"
    for target, evidence in training.evidence.items():
        if verbose or target in _SHOWN:
            yield f"  {float(target):.1%}: {evidence or f'{reference} alone, nothing cheaper met it'}"
    if verbose and training.accept_levels:
        yield f"first answers accepted by reward, else the reference; a level for {LEVEL_TARGET:.0%} by other folds:"
        for model, level in training.accept_levels.items():
            yield f"  {model} {level}"
    yield f"without a policy it does: {training.router.default_policy}"
    yield f"verdict: {verdict(training.evidence[DEFAULT_TARGET], records, reference, folder)}"


def verdict(evidence: Evidence | None, records: int, reference: str, folder: Path) -> str:
    """Return one sentence: whether the router is worth using, what it saves, and what to do next.

    Args:
        evidence: About the price that is frozen for the default drop.
        records: How many records it was trained on.
        reference: The model whose quality is to be matched.
        folder: Where the router is.
    """
    from bestroute.router.evidence import MOST_DROP
    from bestroute.router.shrinkage import DEFAULT_TARGET
    from bestroute.tuning.learning_curve import FEWEST_RECORDS

    target = float(DEFAULT_TARGET)
    without = "use the default, without a router"
    if records < FEWEST_RECORDS:
        needed = FEWEST_RECORDS
        if evidence is not None and not evidence.is_enough:
            needed = max(needed, evidence.records_needed(records, target))
        saves = "" if evidence is None else f"at {target:.0%} this one {evidence}, and "
        return f"{without}: {saves}{records} records are few; label about {needed} like these, then train again"
    if evidence is None:
        return (
            f"{without}: nothing cheaper than {reference} stayed within a drop of {target:.0%} on held-out queries; "
            "try a stronger cheap model, or more labels (--learning-curve says what they would bring)"
        )
    if not evidence.is_enough:
        needed = evidence.records_needed(records, target)
        return (
            f"{without}, for now: at {target:.0%} this one {evidence}, and {records} records of {evidence.groups} "
            f"groups are too few to rule out a drop of more than {MOST_DROP:.0%}; label about {needed} like these, "
            "then train again"
        )
    if evidence.saving_ci95[0] <= 0:
        return (
            f"{without}, for now: at {target:.0%} this one {evidence}, which may be no saving at all; label more "
            "(--learning-curve says what that would bring), then train again"
        )
    return (
        f"worth using: at {target:.0%} it {evidence} on held-out queries; next, watch it on live traffic with "
        f"audit=0.03, or get a promise on fresh records: bestroute tune {folder} FRESH.jsonl --max-drop {target:g}"
    )
