"""What a router says of every plan before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestroute.errors import ConfigError
from bestroute.types.arrays import FloatArray
from bestroute.types.plans import Plan, as_plan


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predictions for ``Q`` queries over ``P`` plans of at most ``S`` steps and a pool of ``K`` models.

    Args:
        plans: Candidates first (pool order, then n), then the plans that are more.
        match_probability: Chance to be at least as good as one sample of the reference, shape ``(Q, P)``.
        expected_quality: Shape ``(Q, P)``, in quality units.
        output_tokens: Expected tokens of one sample of each model, shape ``(Q, K)``, pool order.
        expected_draws: Expected samples drawn in each step, shape ``(Q, P, S)``, 0 beyond a plan's last step;
            ``None`` where every plan is a candidate, which draws its ``n``.
        familiarity: How often a query like those of training is as unlike them, shape ``(Q,)``, in [0, 1]; ``None``:
            not known.

    Raises:
        ConfigError: If shapes disagree, or a number is NaN or out of range.
    """

    plans: tuple[Plan, ...]
    match_probability: FloatArray
    expected_quality: FloatArray
    output_tokens: FloatArray
    expected_draws: FloatArray = None  # type: ignore[assignment]  # filled in below
    familiarity: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges; make the arrays read-only."""
        if not isinstance(self.plans, tuple) or set(map(type, self.plans)) != {Plan}:
            object.__setattr__(self, "plans", tuple(as_plan(plan) for plan in self.plans))
        if self.expected_draws is None:
            object.__setattr__(self, "expected_draws", self._draws_of_candidates())
        for name in ("match_probability", "expected_quality", "output_tokens", "expected_draws"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        shape = (self.match_probability.shape[:1] or (0,)) + (len(self.plans),)
        steps = max((len(plan.steps) for plan in self.plans), default=1)
        for name, wanted in (
            ("match_probability", shape),
            ("expected_quality", shape),
            ("output_tokens", (shape[0], None)),
            ("expected_draws", (*shape, None)),
        ):
            array = getattr(self, name)
            fits = len(array.shape) == len(wanted) and all(
                w is None or a == w for a, w in zip(array.shape, wanted, strict=True)
            )
            if not fits:
                raise ConfigError(f"Prediction: {name} must have shape {wanted} for these plans, got {array.shape}")
            if not np.isfinite(array).all():
                raise ConfigError(f"Prediction: {name} holds NaN or infinity; every plan needs a number")
        if self.expected_draws.shape[2] < steps:
            raise ConfigError(
                f"Prediction: expected_draws has {self.expected_draws.shape[2]} steps, but a plan has {steps}"
            )
        self._check_familiarity()
        if ((self.match_probability < 0) | (self.match_probability > 1)).any():
            raise ConfigError("Prediction: match_probability must be in [0, 1]")
        if (self.output_tokens < 0).any() or (self.expected_draws < 0).any():
            raise ConfigError("Prediction: output_tokens and expected_draws must be >= 0")

    def _check_familiarity(self) -> None:
        if self.familiarity is None:
            return
        array = np.array(self.familiarity, dtype=np.float64)
        if array.shape != (len(self),) or not ((array >= 0) & (array <= 1)).all():
            raise ConfigError(f"Prediction: familiarity must be {len(self)} numbers in [0, 1], one for each query")
        array.flags.writeable = False
        object.__setattr__(self, "familiarity", array)

    def _draws_of_candidates(self) -> FloatArray:
        candidates = [plan.candidate for plan in self.plans]
        if any(candidate is None for candidate in candidates):
            raise ConfigError("Prediction: plans with acceptance or several steps need expected_draws")
        draws = np.array([float(candidate.n) for candidate in candidates if candidate is not None])
        return np.broadcast_to(draws[None, :, None], (len(self.match_probability), len(draws), 1))

    def __len__(self) -> int:
        """How many queries it is about."""
        return int(self.match_probability.shape[0])

    def take(self, columns: Sequence[int]) -> Prediction:
        """Return the same predictions over some of the plans only."""
        keep = np.asarray(columns, dtype=np.intp)
        return Prediction(
            tuple(self.plans[i] for i in columns),
            self.match_probability[:, keep],
            self.expected_quality[:, keep],
            self.output_tokens,
            self.expected_draws[:, keep],
            self.familiarity,
        )

    def rows(self, queries: Sequence[int]) -> Prediction:
        """Return the same predictions for some of the queries only."""
        keep = np.asarray(queries, dtype=np.intp)
        return self._of(keep)

    def row(self, query: int) -> Prediction:
        """Return the same predictions for one query, by itself."""
        return self._of(slice(query, query + 1))

    def _of(self, queries: Any) -> Prediction:
        """Return a part of what was checked, which is not checked again."""
        part: Prediction = object.__new__(Prediction)
        object.__setattr__(part, "plans", self.plans)
        for name in ("match_probability", "expected_quality", "output_tokens", "expected_draws", "familiarity"):
            array = getattr(self, name)
            object.__setattr__(part, name, None if array is None else _read_only(array[queries]))
        return part


def _read_only(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array
