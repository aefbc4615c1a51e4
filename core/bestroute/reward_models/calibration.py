"""Calibration: map rewards to probabilities by an increasing curve, isotonic or Platt, fitted on held-out rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from bestroute._utils.text import brief
from bestroute.errors import ArtifactError, ConfigError, named
from bestroute.types.arrays import FloatArray

CalibrationMethod = Literal["auto", "isotonic", "platt"]
"""``auto`` is isotonic from ``ENOUGH`` held-out samples on, Platt with fewer."""
ENOUGH = 1000
"""Held-out samples from which isotonic regression is used."""
_BINS, _SMALLEST_BIN = 100, 20
_TILT = 1e-6
"""Weight of a strictly increasing curve that is added, so that calibrated rewards keep the order of rewards."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A piecewise linear (isotonic) or logistic (Platt) curve over standardised rewards.

    Args:
        center, scale: Turn a reward into ``(reward - center) / scale``.
        knots: Standardised rewards, ascending, shape ``(B,)``; empty for Platt.
        values: Probabilities at the knots, non-decreasing, shape ``(B,)``; for Platt slope and intercept.
    """

    center: float
    scale: float
    knots: FloatArray
    values: FloatArray

    def __post_init__(self) -> None:
        """Check that the curve is valid and increasing."""
        is_platt = len(self.knots) == 0
        if not all(np.isfinite(x).all() for x in (self.center, self.scale, self.knots, self.values)):
            raise ArtifactError("calibration: it holds NaN or infinity")
        fits = self.values.shape == (2,) if is_platt else self.values.shape == self.knots.shape
        if self.scale <= 0 or not fits:
            raise ArtifactError("calibration: its arrays do not fit together")
        rises = self.values[0] >= 0 if is_platt else bool((np.diff(self.knots) > 0).all())
        if not rises or (not is_platt and ((np.diff(self.values) < 0).any() or not _is_share(self.values))):
            raise ArtifactError("calibration: probabilities must lie in [0, 1] and rise with the reward")

    @property
    def method(self) -> str:
        """``"isotonic"`` or ``"platt"``."""
        return "isotonic" if len(self.knots) else "platt"

    def __call__(self, rewards: FloatArray) -> FloatArray:
        """Return probabilities in [0, 1], strictly in the order of the rewards; NaN stays NaN."""
        z = (np.asarray(rewards, dtype=np.float64) - self.center) / self.scale
        if len(self.knots):
            p = np.interp(z, self.knots, self.values)
        else:
            p = _sigmoid(self.values[0] * z + self.values[1])
        return np.asarray((1 - _TILT) * p + _TILT * (0.5 + 0.5 * z / (1 + np.abs(z))), dtype=np.float64)


def fit_calibration(rewards: FloatArray, matches: FloatArray, method: CalibrationMethod = "auto") -> Calibration:
    """Fit the probability of a match on held-out rewards.

    Args:
        rewards: Shape ``(N,)``.
        matches: Whether, or how probably, each sample matched, in [0, 1], shape ``(N,)``.
        method: Which curve.

    Raises:
        ConfigError: If the method is unknown, or there is no sample.

    Source:
        Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning" (2005), also for the
        number of samples that isotonic regression needs; Platt (1999) for targets drawn in from 0 and 1.
    """
    if method not in get_args(CalibrationMethod):
        raise ConfigError(f"calibration must be one of {named(get_args(CalibrationMethod))}, got {brief(method)}")
    if not len(rewards):
        raise ConfigError(
            "calibration: no held-out sample can be compared with the reference; records must hold samples of both"
        )
    rewards, matches = np.asarray(rewards, dtype=np.float64), np.asarray(matches, dtype=np.float64)
    center, scale = float(rewards.mean()), float(rewards.std()) or 1.0
    z = (rewards - center) / scale
    if method == "isotonic" or (method == "auto" and len(z) >= ENOUGH):
        return Calibration(center, scale, *_isotonic(z, matches))
    return Calibration(center, scale, np.zeros(0), _platt(z, matches))


def _isotonic(z: FloatArray, matches: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Merge bins of equal size until their means increase; a minimum size keeps means away from 0 and 1."""
    order = np.argsort(z, kind="stable")
    bins = np.array_split(order, max(1, min(_BINS, len(z) // _SMALLEST_BIN)))
    blocks: list[tuple[float, float, float]] = []  # size, sum of z, sum of matches
    for part in bins:
        blocks.append((float(len(part)), float(z[part].sum()), float(matches[part].sum())))
        while len(blocks) > 1 and blocks[-2][2] / blocks[-2][0] >= blocks[-1][2] / blocks[-1][0]:
            last = blocks.pop()
            blocks[-1] = tuple(a + b for a, b in zip(blocks[-1], last, strict=True))  # type: ignore[assignment]
    size, total, matched = np.array(blocks).T
    knots, first = np.unique(total / size, return_index=True)
    return knots, ((matched + 0.5) / (size + 1))[first] if len(knots) == 1 else _rising(matched, size)[first]


def _rising(matched: FloatArray, size: FloatArray) -> FloatArray:
    """Return matched shares smoothed away from 0 and 1; their order is kept."""
    return np.maximum.accumulate((matched + 0.5) / (size + 1))


def _platt(z: FloatArray, matches: FloatArray) -> FloatArray:
    """Return slope (non-negative) and intercept of a logistic regression, by Newton's method."""
    positive, negative = matches.sum(), (1 - matches).sum()
    targets = matches * (positive + 1) / (positive + 2) + (1 - matches) / (negative + 2)
    columns = np.column_stack([z, np.ones(len(z))])
    w = np.array([0.0, np.log((positive + 1) / (negative + 1))])
    for _ in range(100):
        p = _sigmoid(columns @ w)
        hessian = (columns * (p * (1 - p))[:, None]).T @ columns + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, columns.T @ (p - targets) + 1e-6 * w)
        w = w - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-10:
            break
    if w[0] < 0:  # a negatively correlated reward carries no information
        share = float(np.clip(targets.mean(), 1e-9, 1 - 1e-9))
        return np.array([0.0, np.log(share / (1 - share))])
    return w


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


def _is_share(values: FloatArray) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())
