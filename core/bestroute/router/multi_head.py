"""A light router: one linear head per plan on light text features, numpy at run time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bestroute.errors import ArtifactError, named
from bestroute.plans import Plan
from bestroute.policies import QualityPolicy
from bestroute.pool import Pool
from bestroute.prediction import Prediction
from bestroute.protocols import FloatArray
from bestroute.query import Query
from bestroute.router.features import WIDTH, featurise


@dataclass(frozen=True, eq=False)
class MultiHeadRouter:
    """Predicts match probability and expected quality of every plan, and tokens of every model.

    A head is a linear function of the features, shrunk towards the mean over the training queries: with
    ``shrinkage`` 0 every query gets the same prediction, the training mean.

    Args:
        pool: The pool it was trained for.
        plans: ``P`` plans; candidates, the reference's single sample among them.
        weights: Shape ``(WIDTH, 2 P)``: match probability heads, then expected quality heads.
        means: Training means of the same, shape ``(2 P,)``.
        center: Training mean of the features, shape ``(WIDTH,)``.
        output_tokens: Mean tokens of a sample of each model, shape ``(K,)``.
        shrinkage: In [0, 1], chosen on inner folds.
        seen: Hashes of the ids and groups it was trained on.
        default_policy: What decides where the user names no policy.
    """

    pool: Pool
    plans: tuple[Plan, ...]
    weights: FloatArray
    means: FloatArray
    center: FloatArray
    output_tokens: FloatArray
    shrinkage: float = 1.0
    seen: frozenset[str] = field(default_factory=frozenset)
    default_policy: QualityPolicy | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        heads = 2 * len(self.plans)
        for name, array, shape in (
            ("weights", self.weights, (WIDTH, heads)),
            ("means", self.means, (heads,)),
            ("center", self.center, (WIDTH,)),
            ("output_tokens", self.output_tokens, (len(self.pool.models),)),
        ):
            if array.shape != shape:
                raise ArtifactError(f"router: {name} must have shape {shape}, got {array.shape}; train it again")
            if not np.isfinite(array).all():
                raise ArtifactError(f"router: {name} holds NaN or infinity; train it again")
        if self.pool.reference_plan not in self.plans:
            raise ArtifactError(f"router: no head for the reference, '{self.pool.reference_plan}'; train it again")

    def predict(self, queries: Sequence[Query]) -> Prediction:
        """Return predictions for queries; see ``Router.predict``."""
        deviations = (featurise(queries) - self.center) @ self.weights
        heads = self.means + self.shrinkage * deviations
        match, quality = np.split(np.clip(heads, 0.0, 1.0), 2, axis=1)
        match[:, self.plans.index(self.pool.reference_plan)] = 1.0  # the reference matches itself
        tokens = np.tile(self.output_tokens, (len(queries), 1))
        return Prediction(self.plans, match, quality, tokens)

    def check_pool(self, pool: Pool) -> None:
        """Refuse a pool it was not trained for.

        Raises:
            ArtifactError: If models, reference or ``max_n`` differ; prices may.
        """
        if set(pool.models) != set(self.pool.models):
            raise ArtifactError(
                f"this router was trained for the models {named(self.pool.models)}, the pool has "
                f"{named(pool.models)}; train it again"
            )
        if pool.models != self.pool.models or pool.reference != self.pool.reference:
            raise ArtifactError(
                f"this router was trained for the models {named(self.pool.models)} in this order with reference "
                f"{self.pool.reference!r}; got {named(pool.models)} with reference {pool.reference!r}"
            )
        most = max(step.n for plan in self.plans for step in plan.steps)
        if pool.max_n < most:
            raise ArtifactError(f"this router offers up to {most} samples, the pool's max_n is {pool.max_n}")

    def has_seen(self, name: str) -> bool:
        """Whether an id or a group was in its training records."""
        return seen_hash(name) in self.seen

    @property
    def fingerprint(self) -> str:
        """A name that two routers share only if they predict alike."""
        digest = hashlib.sha256(repr((self.plans, self.shrinkage, str(self.default_policy))).encode())
        for array in (self.weights, self.means, self.center, self.output_tokens):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the router into a folder; see ``bestroute.router.persistence``."""
        from bestroute.router.persistence import save

        save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> MultiHeadRouter:
        """Read a router's folder.

        Raises:
            ArtifactError: If it is missing, damaged, or of another version.
        """
        from bestroute.router.persistence import load

        return load(Path(folder))


def seen_hash(name: str) -> str:
    """Return what is kept of an id or a group: a hash, not the name."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def fit_heads(features: FloatArray, targets: FloatArray, *, l2: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fit linear heads by ridge regression, in its dual form: cheap while queries are fewer than features.

    Args:
        features: Shape ``(Q, D)``.
        targets: Shape ``(Q, H)``.
        l2: Strength of the penalty, > 0.

    Returns:
        Weights ``(D, H)``, means of the targets ``(H,)``, means of the features ``(D,)``.
    """
    center, means = features.mean(axis=0), targets.mean(axis=0)
    centered = features - center
    gram = centered @ centered.T
    dual = np.linalg.solve(gram + l2 * np.eye(len(gram)), targets - means)
    return centered.T @ dual, means, center


def settings_of(router: MultiHeadRouter) -> dict[str, Any]:
    """Return the parts of a router that are not arrays, as plain JSON."""
    policy = router.default_policy
    return {
        "plans": [plan.to_json() for plan in router.plans],
        "shrinkage": router.shrinkage,
        "seen": sorted(router.seen),
        "default_policy": None if policy is None else {"price_usd": policy.price_usd},
    }
