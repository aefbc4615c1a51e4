"""The ways to answer that are compared: series of quality and cost, query by query."""

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
    """Ways to answer that differ in one parameter (or are named), on ``Q`` queries."""

    parameters: tuple[Any, ...]
    """Parameter or name of each of ``C`` columns."""
    quality: FloatArray
    """Shape ``(Q, C)``."""
    cost: FloatArray
    """USD, shape ``(Q, C)``."""

    @classmethod
    def chosen(cls, labels: PlanLabels, chosen: IntArray, parameters: Sequence[Any]) -> Series:
        """Return the series of chosen plans; ``chosen`` has shape ``(C, Q)``."""
        rows = np.arange(labels.quality.shape[0])
        return cls(tuple(parameters), labels.quality[rows, chosen].T, labels.cost_usd[rows, chosen].T)

    @classmethod
    def joined(cls, folds: Sequence[Series]) -> Series:
        """Concatenate the queries of several folds; columns correspond.

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
    """Predicted and true match probability of candidates, without the reference."""

    plans: tuple[Plan, ...]
    predicted: FloatArray
    """Shape ``(Q, H)``."""
    happened: FloatArray
    """Shape ``(Q, H)``."""

    @classmethod
    def joined(cls, folds: Sequence[Matches | None]) -> Matches | None:
        """Concatenate the queries of several folds, for the plans that all of them have."""
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
    """Baselines that are not available, with reasons."""
    decisions: tuple[Mapping[str, Any], ...] = ()
    """One decision per query, by the given policy."""
    matches: Matches | None = None
    followed: Followed | None = None
    """Simulated streams, if the policy follows audits."""

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
