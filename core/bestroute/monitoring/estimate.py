"""Estimates of drop and saving from audits: sums that can be added, and intervals valid at all times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields

import numpy as np

from bestroute.monitoring.audits import Audit, day_of
from bestroute.stats.confidence_sequence import HORIZON, standard_errors_wide
from bestroute.types.arrays import FloatArray

PADDING = 1.0
"""Squared drops added to variances: events that did not occur among few audits may still occur."""
Key = tuple[str, str]
"""What an estimate refers to: ``("all", "")``, ``("model", "small")``, ``("task", "sums")``, ``("tag:team", "a")``,
``("day", "2026-01-31")``.
"""


@dataclass(frozen=True)
class Interval:
    """A mean with its interval."""

    mean: float
    low: float
    high: float
    audited: int
    """Number of calls that were compared with the reference."""
    calls: int
    """Number of all calls, including those whose drop is known to be zero."""

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass
class DropEstimate:
    """Estimate of the mean drop over calls, from audited calls.

    The estimand is the mean of the expected drops of the calls made so far, in any order, also under drift. Audited
    calls are weighted by the inverse of their probability. Predictions serve as a control variate: their mean over all
    calls corrects for the random choice of audited ones, with a coefficient in [0, 1] that is estimated.

    All fields are sums: those of two processes add up to those of both, in any order (``plus``, ``to_dict``).
    """

    audited: float = 0.0
    certain: float = 0.0
    """Calls whose plan was the reference alone."""
    unaudited: float = 0.0
    """Calls that could have been audited but were not."""
    predicted_unaudited: float = 0.0
    """Sum of their predicted drops."""
    weight: float = 0.0
    drop: float = 0.0
    predicted: float = 0.0
    reference_quality: float = 0.0
    saved_usd: float = 0.0
    reference_usd: float = 0.0
    """``weight`` to ``reference_usd``: weighted sums over audited calls."""
    weight2: float = 0.0
    weight2_drop: float = 0.0
    weight2_predicted: float = 0.0
    weight2_drop2: float = 0.0
    weight2_drop_predicted: float = 0.0
    weight2_predicted2: float = 0.0
    """``weight2`` and below: sums with squared weights."""

    def add(self, audit: Audit) -> None:
        """Add an audited call."""
        w, d, m = 1 / audit.probability, audit.drop, audit.predicted_drop
        self.audited += 1
        self.weight += w
        self.drop += w * d
        self.predicted += w * m
        self.reference_quality += w * audit.reference_quality
        self.saved_usd += w * audit.saved_usd
        self.reference_usd += w * audit.reference_usd
        self.weight2 += w * w
        self.weight2_drop += w * w * d
        self.weight2_predicted += w * w * m
        self.weight2_drop2 += w * w * d * d
        self.weight2_drop_predicted += w * w * d * m
        self.weight2_predicted2 += w * w * m * m

    def add_certain(self, calls: int = 1) -> None:
        """Add calls whose drop is known to be zero, since the plan was the reference alone."""
        self.certain += calls

    def add_unaudited(self, calls: int = 1, *, predicted_drop: float = 0.0) -> None:
        """Add calls that could have been audited but were not; ``predicted_drop`` is the sum of their predictions.

        Either all calls are counted, by the predictions that audits have too, or none: then their number is estimated
        by the audits' weights, and predictions are not used.
        """
        self.unaudited += calls
        self.predicted_unaudited += predicted_drop

    def interval(self, level: float = 0.95, *, horizon: float = HORIZON) -> Interval:
        """Return the mean drop over all calls, with an interval valid at all times together.

        Args:
            level: Joint confidence level of all intervals of this estimate, in (0, 1).
            horizon: Number of audits for which the interval is narrowest.

        Returns:
            An interval within [-1, 1]; all of it without audits.
        """
        mean, low, high = bounds(self, level=level, horizon=horizon)
        calls = (self.audited + self.unaudited if self.unaudited else self.weight) + self.certain
        return Interval(float(mean), float(low), float(high), round(self.audited), round(calls))

    @property
    def saving(self) -> float | None:
        """Saving of the audited calls, as a share of the reference's cost; ``None`` if unknown."""
        return self.saved_usd / self.reference_usd if self.reference_usd > 0 else None

    @property
    def relative_to(self) -> float:
        """The reference's mean quality over audited calls, by which relative drops are defined; 1 without audits."""
        return self.reference_quality / self.weight if self.weight else 1.0

    def plus(self, other: DropEstimate) -> DropEstimate:
        """Return the estimate from the calls of both."""
        return DropEstimate(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def to_dict(self) -> dict[str, float]:
        """Return the sums by name; they can be added in a database."""
        return asdict(self)

    @classmethod
    def from_dict(cls, sums: Mapping[str, float]) -> DropEstimate:
        """Create an estimate from such sums; missing ones, from older versions, are 0."""
        return cls(**{f.name: float(sums.get(f.name, 0.0)) for f in fields(cls)})


def bounds(
    sums: DropEstimate, *, level: float = 0.95, horizon: float = HORIZON
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, lower and upper end; see ``DropEstimate.interval``. The sums may be arrays, one entry per stream.

    The mean over eligible calls is the ratio of weighted sums, corrected along the predictions; its error is a walk
    whose steps are the weighted residuals.
    """
    n, w, w2 = np.maximum(sums.audited, 1e-300), np.maximum(sums.weight, 1e-300), np.maximum(sums.weight2, 1e-300)
    counted = np.asarray(sums.unaudited) > 0
    eligible = np.where(counted, sums.audited + sums.unaudited, sums.weight)
    total = eligible + sums.certain
    share = np.divide(eligible, total, out=np.ones_like(total, dtype=np.float64), where=total > 0)
    padding = PADDING * w2 / n
    together = sums.weight2_drop_predicted - sums.weight2_drop * sums.weight2_predicted / w2
    power = sums.weight2_predicted2 - sums.weight2_predicted**2 / w2
    slope = np.where(counted, np.clip(together / (np.maximum(power, 0) + padding), 0, 1), 0.0)
    predicted = sums.predicted / w
    on_average = (sums.predicted_unaudited + predicted * sums.audited) / np.maximum(eligible, 1e-300)
    mean = sums.drop / w + slope * (on_average - predicted)
    # where eligible calls are not counted their number is an estimate too, and the residual is from the mean over all
    center = np.where(counted, sums.drop / w, share * mean) - slope * predicted
    squares = (
        sums.weight2_drop2
        - 2 * slope * sums.weight2_drop_predicted
        + slope**2 * sums.weight2_predicted2
        - 2 * center * (sums.weight2_drop - slope * sums.weight2_predicted)
        + center**2 * w2
    )
    errors = standard_errors_wide(np.maximum(w**2 / w2, 1.0), level=level, horizon=horizon)
    half = np.where(np.asarray(sums.audited) > 0, errors * np.sqrt(np.maximum(squares, 0) + padding) / w, 1.0)
    low, high = np.maximum(mean - half, -1), np.minimum(mean + half, 1)
    return share * mean, share * low, share * high


@dataclass
class Estimates:
    """Estimates for all calls, and by model, task, tag and day."""

    by_key: dict[Key, DropEstimate] = field(default_factory=dict)

    def add(self, audit: Audit) -> None:
        """Add an audited call to every estimate that it belongs to."""
        for key in keys_of(model=audit.model, tags=audit.tags, day=audit.day):
            self.of(key).add(audit)

    def add_certain(self, calls: int = 1, *, at: float, model: str = "", tags: Mapping[str, str] | None = None) -> None:
        """Add calls whose drop is known to be zero."""
        for key in keys_of(model=model, tags=tags or {}, day=day_of(at)):
            self.of(key).add_certain(calls)

    def add_unaudited(
        self,
        calls: int = 1,
        *,
        at: float,
        model: str = "",
        tags: Mapping[str, str] | None = None,
        predicted_drop: float = 0.0,
    ) -> None:
        """Add calls that could have been audited but were not; ``predicted_drop`` is the sum of their predictions."""
        for key in keys_of(model=model, tags=tags or {}, day=day_of(at)):
            self.of(key).add_unaudited(calls, predicted_drop=predicted_drop)

    def of(self, key: Key = ("all", "")) -> DropEstimate:
        """Return the estimate of a key, created if missing."""
        return self.by_key.setdefault(key, DropEstimate())


def keys_of(*, model: str, tags: Mapping[str, str], day: str) -> Iterator[Key]:
    """Yield the keys that a call counts for.

    Example:
        >>> list(keys_of(model="small", tags={"task": "sums"}, day="2026-01-31"))
        [('all', ''), ('model', 'small'), ('day', '2026-01-31'), ('task', 'sums')]
    """
    yield "all", ""
    if model:
        yield "model", model
    yield "day", day
    for name, value in tags.items():
        yield ("task" if name == "task" else f"tag:{name}"), value
