"""Principal directions of labels, of which many columns are correlated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bestroute.types.arrays import FloatArray

MOST_DIRECTIONS = 12
_VARIANCE_KEPT = 0.995


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """Principal directions of scaled labels."""

    means: FloatArray
    """Shape ``(H,)``."""
    axes: FloatArray
    """From labels to directions, shape ``(H, R)``."""
    loadings: FloatArray
    """From directions to labels, shape ``(R, H)``."""

    @classmethod
    def of(cls, labels: FloatArray, scales: FloatArray) -> LabelSpace:
        """Compute the directions of labels ``(Q, H)``, weighted by ``scales`` ``(H,)``."""
        means, _, sizes, axes = _principal(labels, scales)
        share = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-300)
        rank = min(int(np.searchsorted(share, _VARIANCE_KEPT)) + 1, MOST_DIRECTIONS, len(sizes))
        return cls(means, (axes[:rank] * scales).T, axes[:rank] / np.where(scales > 0, scales, 1.0))

    def directions(self, labels: FloatArray) -> FloatArray:
        """Return labels ``(Q, H)`` as directions ``(Q, R)``."""
        return np.asarray((labels - self.means) @ self.axes)


def unit_directions(labels: FloatArray, scales: FloatArray) -> FloatArray:
    """Return labels ``(Q, H)`` in at most ``MOST_DIRECTIONS`` directions; their squares add up to ``Q``."""
    _, scaled, _, axes = _principal(labels, scales)
    targets = scaled @ axes[:MOST_DIRECTIONS].T
    return np.asarray(targets / max(float(np.sqrt((targets**2).sum(axis=1).mean())), 1e-12))


def _principal(labels: FloatArray, scales: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the labels' means, the centred and scaled labels, and the sizes and axes of their directions."""
    means = labels.mean(axis=0)
    scaled = (labels - means) * scales
    _, sizes, axes = np.linalg.svd(scaled, full_matrices=False)
    return means, scaled, sizes, axes
