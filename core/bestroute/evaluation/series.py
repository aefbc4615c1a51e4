"""What is compared, query by query: each way to answer is a series of quality and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bestroute.evaluation.followed import Followed
from bestroute.labels import PlanLabels
from bestroute.types.arrays import FloatArray, IntArray
from bestroute.types.plans import Plan


@dataclass(frozen=True, eq=False)
class Series:
    """Ways to answer that differ in one parameter (or are listed by name), on ``Q`` queries."""

    parameters: tuple[Any, ...]
    """One for each of ``C`` columns."""
    quality: FloatArray
    """Shape ``(Q, C)``."""
    cost: FloatArray
    """USD, shape ``(Q, C)``."""

    @classmethod
    def chosen(cls, labels: PlanLabels, chosen: IntArray, parameters: Sequence[Any]) -> Series:
        """Read off what chosen plans give; ``chosen`` has shape ``(C, Q)``."""
        rows = np.arange(labels.quality.shape[0])
        return cls(tuple(parameters), labels.quality[rows, chosen].T, labels.cost_usd[rows, chosen].T)

    @classmethod
    def joined(cls, folds: Sequence[Series]) -> Series:
        """Put the queries of several folds under each other; the columns correspond.

        A parameter is kept where all folds agree on it, else it is ``None``: each fold has its own.
        """
        return cls(
            tuple(
                parameters[0] if all(t == parameters[0] for t in parameters) else None
                for parameters in zip(*(p.parameters for p in folds), strict=True)
            ),
            np.vstack([part.quality for part in folds]),
            np.vstack([part.cost for part in folds]),
        )


@dataclass(frozen=True, eq=False)
class Matches:
    """Predicted and true match probability of candidates; the reference, which needs no head, left out."""

    plans: tuple[Plan, ...]
    predicted: FloatArray
    """Shape ``(Q, H)``."""
    happened: FloatArray
    """Shape ``(Q, H)``."""

    @classmethod
    def joined(cls, folds: Sequence[Matches | None]) -> Matches | None:
        """Put the queries of several folds under each other, for the plans that every fold has."""
        known = [part for part in folds if part is not None]
        if len(known) < len(folds):
            return None
        plans = tuple(plan for plan in known[0].plans if all(plan in part.plans for part in known))
        columns = [[part.plans.index(plan) for plan in plans] for part in known]
        return cls(
            plans,
            np.vstack([part.predicted[:, c] for part, c in zip(known, columns, strict=True)]),
            np.vstack([part.happened[:, c] for part, c in zip(known, columns, strict=True)]),
        )


@dataclass(frozen=True, eq=False)
class Scored:
    """Everything that is compared, on the same queries."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    series: Mapping[str, Series]
    """``reference`` (one column), ``arms``, ``plans`` (the best fixed plan on the training part at each price),
    ``curve``, ``frozen`` (one column per target drop), ``policy``, and one for each baseline."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Baselines that could not be had, and why."""
    decisions: tuple[Mapping[str, Any], ...] = ()
    """One for each query, at the given policy."""
    matches: Matches | None = None
    followed: Followed | None = None
    """Streams of a policy that follows audits, if the given one does."""

    @classmethod
    def joined(cls, folds: Sequence[Scored]) -> Scored:
        """Pool folds."""
        return cls(
            tuple(name for part in folds for name in part.ids),
            tuple(name for part in folds for name in part.groups),
            {
                name: Series.joined([part.series[name] for part in folds])
                for name in folds[0].series
                if all(name in part.series for part in folds)
            },
            {name: why for part in folds for name, why in part.missing.items()},
            tuple(line for part in folds for line in part.decisions),
            Matches.joined([part.matches for part in folds]),
            Followed.joined(streams) if (streams := [f for part in folds if (f := part.followed)]) else None,
        )
